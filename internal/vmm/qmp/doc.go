// Package qmp is a client for QEMU's machine protocol on a UNIX socket.
//
// It owns the connection: the greeting, the numbering of commands, the
// matching of answers to them, and the distribution of events. It knows
// nothing of any command's meaning.
//
// The first call to make is Dial. One goroutine per Client, started by Dial
// and joined by Close, reads everything that the monitor says, so an event
// reaches its subscribers as soon as the kernel has it. It never waits for
// them: a subscription whose buffer is full ends with ErrOverflow.
//
// Events that QEMU sent before the answer to a command are in the
// subscriptions before Execute returns.
//
// Lock order: Client.writing (a semaphore, held while one command is written)
// before Client.mu; Client.mu is a leaf otherwise and is never held across a
// write or a read.
package qmp
