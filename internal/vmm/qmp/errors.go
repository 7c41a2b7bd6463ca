package qmp

import (
	"errors"
	"fmt"
)

var (
	// ErrInUse is returned by Dial when the monitor accepts the connection
	// and does not greet: QEMU serves one client per monitor.
	ErrInUse = errors.New("another client holds this monitor")

	// ErrNotQMP is returned by Dial when what answers on the socket is not a
	// QMP monitor.
	ErrNotQMP = errors.New("not a QMP monitor")

	// ErrNoAnswer is returned when a command got no answer in time: QEMU's
	// main loop hangs. It comes together with the context's error.
	ErrNoAnswer = errors.New("the monitor gives no answer")

	// ErrOverflow ends a subscription whose buffer was full when an event
	// came. Events were lost.
	ErrOverflow = errors.New("events came faster than they were read")

	// ErrProtocol ends a connection on which the monitor said something that
	// is not QMP.
	ErrProtocol = errors.New("the monitor breaks the protocol")
)

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	// Class is QEMU's error class, such as "GenericError".
	Class string `json:"class"`
	// Desc is QEMU's text for people.
	Desc string `json:"desc"`
}

// Error returns QEMU's text.
func (e *CommandError) Error() string {
	if e.Class == "GenericError" || e.Class == "" {
		return e.Desc
	}
	return fmt.Sprintf("%s (%s)", e.Desc, e.Class)
}
