// Package faults measures how long a thread that touches a missing page waits
// for it, as that thread sees it, under several handlers in the same run:
//
//	floor          a handler that does nothing else copies a page of its own
//	zero           the same handler answers with a zero page
//	lazymig-cached lazymig's engine, all pages in its cache, each verified
//	lazymig        lazymig's engine, pages over QUIC, almost no background
//	lazymig-bulk   the same while the background saturates the link
//	serial-quic    the serial handler of userfaultfd-go, pages over plain QUIC
//	serial-tcp     the same over plain TCP
//	round-trip-…   no fault: a page over plain QUIC or TCP
//
// # Processes
//
// Each measurement has processes of its own, this program started again by
// Config.Command and told its role: the server of the pages, the handler, and
// the one whose threads touch memory. The last must be apart from the handler:
// Go code that waits for a page would halt the Go code that brings it. Only the
// serial handler is a program of its own, since it needs cgo.
//
// A touch counts only if the kernel counts a fault for the thread, so pages
// that the background had brought before do not make the figures look better. What was read is compared with what it must be.
//
// First call: Run; and Child in the processes that Config.Command starts.
package faults
