// Package vm runs the test guest in QEMU, as lazymig wants it prepared: RAM in
// shared files on tmpfs, a monitor of its own for lazymig, the disk without a
// cache. A [VM] is one QEMU that runs the guest or is going to: the source is
// started by [VM.Start]; for a destination, [VM.Args] is the command line that
// a lazymig receive is given.
//
// The two serial ports are sockets on which the harness listens and to which
// QEMU connects, so that no byte is lost and nothing is polled, whoever starts
// QEMU. The first calls to make are [New] and [VM.Start], then [VM.Ready].
package vm
