package firecracker

import (
	"errors"
	"fmt"
)

var (
	// ErrMessage is returned for a message that no VMM sends: garbage, too
	// long, cut short, or regions that cannot be.
	ErrMessage = errors.New("invalid hand-off message")
	// ErrDescriptor is returned if not exactly one userfaultfd came with the
	// message.
	ErrDescriptor = errors.New("not one userfaultfd came with the hand-off")
	// ErrGuestMemfd is returned for memory that userfaultfd cannot fill.
	ErrGuestMemfd = errors.New("the guest's memory is in a guest_memfd, which cannot be served")
	// ErrInUse is returned by Listen if somebody listens on the socket.
	ErrInUse = errors.New("another process listens on the socket")
	// ErrNotSocket is returned by Listen if the path has something else.
	ErrNotSocket = errors.New("the path exists and is no socket")
)

// RefusedError is returned by Accept for a VMM that was turned away. Others
// can be accepted.
type RefusedError struct {
	// PID is the process that connected, or 0 if it is not known.
	PID int
	// Killed is set if the process had handed a userfaultfd over and was
	// killed: nobody would have served its faults.
	Killed bool
	cause  error
}

// Error says who was refused and why.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("refuse the hand-off of process %d: %v", e.PID, e.cause)
	if e.Killed {
		text += "; it was killed, since nobody would serve its memory"
	}
	return text
}

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.cause }

// Hint says what to do about it; it may be empty.
func (e *RefusedError) Hint() string {
	if errors.Is(e.cause, ErrGuestMemfd) {
		return "restore the snapshot without guest_memfd (Firecracker: without secret_free)"
	}
	return ""
}
