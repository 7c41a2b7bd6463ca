// Package firecracker is the hand-off by which Firecracker, and any VMM that
// speaks its protocol, gives the faults of its guest's memory to another
// process: the VMM connects to a UNIX stream socket and sends one message, a
// JSON array of memory regions with a userfaultfd beside it.
//
// The package owns the socket, the checks of the message, and until
// Handoff.Close the userfaultfd and the pidfd that came with it. It serves no
// fault. The VMM has done UFFDIO_API (with EVENT_REMOVE) and UFFDIO_REGISTER
// (MISSING) already: a receiver does neither again.
//
// The first call is Listen; then Listener.Accept, from one goroutine or
// several. Send is the other end, for a VMM.
//
// # What a VMM must do beside the message
//
// It keeps a copy of the userfaultfd for as long as pages are missing. When
// the last copy closes, the kernel hands out zeros for them. For the same
// reason a receiver that refuses a VMM which has handed a userfaultfd over
// kills it first: nobody would serve its faults, and it may have kept no copy.
//
// There are no locks.
package firecracker
