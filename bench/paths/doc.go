// Package paths measures what lazymig's engine does over network links, without
// a guest: a memory server in one network namespace, in another one the handler
// of faults and a process whose threads touch memory, and between them a link
// with a rate, a delay and losses (package link). Each figure that has a limit
// is set beside it, and beside what it is compared with in the same round:
//
//	floor          a handler that copies a page of its own, no network
//	round-trip     4 KiB over one plain quic-go stream
//	quic-bulk      one plain quic-go connection, as fast as it goes
//	tcp-reno       as many TCP flows as lazymig has bulk connections, by Reno
//	serial-quic    the serial handler of userfaultfd-go over plain QUIC
//	lazymig-…      the engine: on demand only, beside its background, the
//	               background alone, and all of a memory read at random
//
// # Processes
//
// Each measurement has processes of its own, this program started again by
// Config.Command and told its role, in the namespace of its host. The measurements
// of a round follow each other, and the rounds too, so that what disturbs the
// machine for a while disturbs all of them. The relay that delays and loses
// packets is in the process that calls Run.
//
// All memory is noise, no two pages alike, unless a case says otherwise. Every
// page that is read is compared with the file that it comes from. What fails is
// recorded as failed, and is no data.
//
// First call: Run, which needs root; and Child in the processes that
// Config.Command starts.
package paths
