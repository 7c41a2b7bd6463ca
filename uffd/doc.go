// Package uffd binds Linux userfaultfd without cgo: the kernel stops a thread
// that touches a missing page and reports the fault on a descriptor, and a
// handler, usually in another process, installs the page and wakes the thread.
//
// # What the package owns
//
// The kernel's ABI, feature probing, the descriptor (Handle), the operations
// that resolve faults, the reader of events (Reader), and the ways to get a
// descriptor of another process: AdoptFrom duplicates one that exists, CreateIn
// makes one there by ptrace. It keeps no page state, and it never retries: which
// page holds what, and when to try again, is the caller's business.
//
// # First call
//
// Open (or CreateIn and AdoptFrom), then Handle.Handshake, NewReader, and
// Handle.Register. From the return of Register on, faults wait to be served.
//
// # Three rules
//
// The process whose memory is registered keeps a copy of the descriptor for as
// long as pages are missing: when the last copy closes, the threads that wait
// read zeros. A descriptor that is open but not served only stalls them.
//
// Go code never touches registered memory in the process that serves its
// faults: a stop of the world would wait for the thread that waits for the
// handler that the stop has halted.
//
// A handler reads events without holding anything that the read path needs,
// and applies what Batch.Removed says before it answers Batch.Faults: while a
// removal is unread, each Copy, ZeroPage and Poison fails with EAGAIN.
//
// # Locks
//
// Reader.mu comes before Reader.wakeMu. Handle.mu is never taken together with
// one of them. No lock is held while the reader waits but Reader.mu, which
// belongs to Read.
package uffd
