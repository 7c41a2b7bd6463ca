// Package microvm is a small VMM in pure Go: one vCPU that runs one built-in
// guest program in flat 32-bit mode, RAM in a file, a serial port for its
// heartbeat, and a control socket. It exists so that a migration can be shown,
// measured and tortured without QEMU, without root and without a disk image.
//
// The VMM is a process of its own: [Run]. On a host with a usable /dev/kvm its
// vCPU is KVM's; elsewhere the same algorithm runs as native code of the process,
// on the same memory and with the same state, so that a guest may move from one
// kind to the other.
//
// A VMM that takes a guest creates its userfaultfd by itself and hands it over
// by Firecracker's protocol: no ptrace, and no privilege where the native vCPU
// is enough. [Guest] is such a VMM at the source of a migration, [Incoming] at
// the destination.
//
// # The guest
//
// The program walks over its pages for ever, in an order that looks random. In
// each it compares a stamp with the one that it left there a pass ago, counts
// what is wrong, writes the next stamp, and rings a doorbell. The rest of each
// page holds noise that never changes. So every byte of the memory can be
// verified at any time from the program's registers alone.
//
// # Locks
//
// machine.mu and control.mu are never held together. The vCPU's goroutine takes
// the first only to park.
package microvm
