package quictransport

import (
	"errors"
	"fmt"
	"net"

	"github.com/lazymig/lazymig/internal/wire"
)

// What can go wrong with identities.
var (
	// ErrNoIdentity is returned when a file of an identity is missing.
	ErrNoIdentity = errors.New("no identity")
	// ErrIdentity is returned for files that are no valid identity: damaged,
	// of different hosts, or of another CA.
	ErrIdentity = errors.New("invalid identity")
	// ErrPermissions is returned for a key file that others may read.
	ErrPermissions = errors.New("key file is open to others")
	// ErrExpired is returned for a certificate whose time is over.
	ErrExpired = errors.New("certificate has expired")
	// ErrNotYetValid is returned for a certificate whose time has not come.
	ErrNotYetValid = errors.New("certificate is not valid yet")
	// ErrExists is returned instead of overwriting a file of an identity.
	ErrExists = errors.New("file exists")
	// ErrName is returned for a name that no host can have.
	ErrName = errors.New("invalid name")
)

// What can go wrong with a link.
var (
	// ErrConfig is returned for a Config, address or Hello that cannot work.
	ErrConfig = errors.New("invalid configuration")
	// ErrNotLoopback is returned when a side without identities is to talk to
	// another host.
	ErrNotLoopback = errors.New("not a loopback address")
	// ErrNoAnswer is returned when nobody answers a dial.
	ErrNoAnswer = errors.New("no answer")
	// ErrPortClosed is returned when the other host says that nobody listens.
	ErrPortClosed = errors.New("connection refused")
	// ErrUnreachable is returned when the network refuses to send.
	ErrUnreachable = errors.New("unreachable")
	// ErrWrongCA is returned when the peer's certificate is of another CA.
	ErrWrongCA = errors.New("certificate of an unknown authority")
	// ErrPeerName is returned when the peer is not the one that Config.Peer
	// names.
	ErrPeerName = errors.New("other peer than expected")
	// ErrRejected is returned when the peer did not accept this side's
	// certificate.
	ErrRejected = errors.New("certificate rejected by the other side")
	// ErrProtocol is returned when the peer does not speak this protocol.
	ErrProtocol = errors.New("other protocol")
	// ErrVersion is returned when the peer speaks another version of it.
	ErrVersion = wire.ErrVersion
	// ErrDomainKey is returned when both sides have different domain keys.
	ErrDomainKey = errors.New("other domain key")
	// ErrRefused is what every RefusedError wraps.
	ErrRefused = errors.New("refused")
	// ErrPeerGone is the cause of a link whose peer went silent.
	ErrPeerGone = errors.New("peer is gone")
	// ErrReplaced is the cause of a link for which its source dialled a new
	// one.
	ErrReplaced = errors.New("link was replaced by a new one")
	// ErrNotConfirmed is returned by CloseGracefully when the peer did not
	// confirm that it has read everything.
	ErrNotConfirmed = errors.New("peer did not confirm the end of the control stream")
)

// Error is an error with advice. It wraps one of the sentinels above.
type Error struct {
	kind  error
	text  string
	hint  string
	cause error
}

// Error says what is wrong.
func (e *Error) Error() string {
	s := e.kind.Error()
	if e.text != "" {
		s = e.text
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Hint says what to do about it; it may be empty.
func (e *Error) Hint() string { return e.hint }

// Unwrap returns the sentinel and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// RefusedError is returned by DialLink when the destination says no, and is
// what the callback of Accept returns to say no. An error that wraps it offers
// its hint by a method Hint, like Error does.
type RefusedError struct {
	Code wire.Code
	// Text says what is wrong, Hint what to do.
	Text, Hint string
}

// Error says what is wrong, in the words of the side that refused.
func (e *RefusedError) Error() string { return "refused: " + e.Text }

// Unwrap returns ErrRefused and the sentinel of the code, if it has one.
func (e *RefusedError) Unwrap() []error {
	errs := []error{&Error{kind: ErrRefused, text: e.Text, hint: e.Hint}}
	switch e.Code {
	case wire.CodeVersion:
		errs = append(errs, ErrVersion)
	case wire.CodeKey:
		errs = append(errs, ErrDomainKey)
	default:
	}
	return errs
}

// Temporary reports whether the same dial may work later.
func (e *RefusedError) Temporary() bool {
	switch e.Code {
	case wire.CodeInternal, wire.CodeTimeout, wire.CodeBusy, wire.CodeReplaced, wire.CodeBroken, wire.CodeClosing:
		return true
	default:
		return false
	}
}

func (e *RefusedError) frame() wire.Refuse {
	return wire.Refuse{Code: e.Code, Text: e.Text, Hint: e.Hint}
}

// ClosedError is the cause of a link that one side closed. It wraps
// net.ErrClosed.
type ClosedError struct {
	Code   wire.Code
	Reason string
	// Remote is set if the other side closed it.
	Remote bool

	readAll bool // the other side had read the control stream to its end
}

// Error says who closed the link and why.
func (e *ClosedError) Error() string {
	who := "closed"
	if e.Remote {
		who = "closed by the other side"
	}
	return fmt.Sprintf("%s (%s): %s", who, e.Code, e.Reason)
}

// Unwrap returns net.ErrClosed, and ErrReplaced for CodeReplaced.
func (e *ClosedError) Unwrap() []error {
	if e.Code == wire.CodeReplaced {
		return []error{net.ErrClosed, ErrReplaced}
	}
	return []error{net.ErrClosed}
}
