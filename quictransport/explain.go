package quictransport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// readAllBit is set in the QUIC error code of a side that closes after it has
// read the control stream to its end. The rest of the code is a wire.Code.
const readAllBit = 1 << 16

// alertBase is what QUIC adds to the number of a TLS alert.
const alertBase = 0x100

// The TLS alerts that have words of their own.
const (
	alertBadCertificate      = 42
	alertCertificateExpired  = 45
	alertUnknownCA           = 48
	alertCertificateRequired = 116
	alertNoProtocol          = 120
)

// explain turns an error of QUIC, TLS or a socket into words. established says
// that the handshake was over. Errors that need no words stay as they are.
func explain(err error, established bool) error {
	if e, ok := errors.AsType[*Error](err); ok {
		if _, wrapped := errors.AsType[*quic.TransportError](err); wrapped {
			return e // of this side's check of a certificate, in QUIC's wrapping
		}
		return err
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return closedError(e)
	}
	if e := explainCertificate(err); e != nil {
		return e
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		return explainTransport(e)
	}
	if _, ok := errors.AsType[*quic.VersionNegotiationError](err); ok {
		return protocolError(err)
	}
	_, idle := errors.AsType[*quic.IdleTimeoutError](err)
	_, slow := errors.AsType[*quic.HandshakeTimeoutError](err)
	_, reset := errors.AsType[*quic.StatelessResetError](err)
	switch {
	case (idle || reset) && established:
		return &Error{kind: ErrPeerGone, text: "peer is gone", cause: err, hint: "check the other host, its lazymig and the network between"}
	case idle || slow:
		return &Error{
			kind: ErrNoAnswer, text: "no answer",
			hint: "check the address, that lazymig listens there, and that no firewall drops UDP to that port",
		}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EPERM):
		return &Error{kind: ErrUnreachable, text: "cannot send to that address", cause: err, hint: "check routes and firewall rules of this host"}
	}
	return err
}

// explainDial is explain for a link in the making, where a close by the other
// side is a refusal.
func explainDial(err error) error {
	err = explain(err, false)
	if e, ok := errors.AsType[*ClosedError](err); ok && e.Remote {
		return &RefusedError{Code: e.Code, Text: e.Reason}
	}
	return err
}

// closedError translates a close by either side.
func closedError(e *quic.ApplicationError) *ClosedError {
	return &ClosedError{
		Code:    wire.Code(e.ErrorCode & (readAllBit - 1)),
		Reason:  wire.CleanText(e.ErrorMessage, maxReason),
		Remote:  e.Remote,
		readAll: e.ErrorCode&readAllBit != 0,
	}
}

// explainCertificate words what this side found wrong with the peer's
// certificate; nil if it is something else.
func explainCertificate(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &Error{
			kind: ErrWrongCA, text: "the other side's certificate was not issued by this side's CA",
			hint: "use the same ca.crt on both hosts and certificates that its CA issued, or --insecure-loopback on both sides",
		}
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return nil
	}
	if invalid.Reason != x509.Expired {
		return &Error{kind: ErrIdentity, text: "the other side's certificate is not valid", cause: err, hint: "issue a new one with `lazymig cert issue`"}
	}
	return validityError("the other side's certificate", invalid.Cert, time.Now())
}

// validityError returns an error if cert is not valid at the time now, else
// nil.
func validityError(what string, cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return &Error{
			kind: ErrNotYetValid, text: fmt.Sprintf("%s is valid only from %s on", what, cert.NotBefore.Format(time.RFC3339)),
			hint: "check the clocks of both hosts and of the one that issued it",
		}
	case now.After(cert.NotAfter):
		return &Error{
			kind: ErrExpired, text: fmt.Sprintf("%s has expired at %s", what, cert.NotAfter.Format(time.RFC3339)),
			hint: "issue a new one with `lazymig cert issue` and copy it to its host; if that is recent, check the clocks",
		}
	}
	return nil
}

func explainTransport(e *quic.TransportError) error {
	if e.ErrorCode == quic.ConnectionRefused && e.Remote {
		return &RefusedError{Code: wire.CodeBusy, Text: "the other side takes no more connections now", Hint: "try again later"}
	}
	if e.ErrorCode < alertBase || e.ErrorCode >= 2*alertBase {
		return e
	}
	alert := e.ErrorCode - alertBase
	if alert == alertNoProtocol {
		return protocolError(nil)
	}
	if !e.Remote {
		return e
	}
	switch alert {
	case alertUnknownCA:
		return &Error{
			kind: ErrRejected, text: "the other side does not know the CA of this side's certificate",
			hint: "use the same ca.crt on both hosts and certificates that its CA issued, or --insecure-loopback on both sides",
		}
	case alertCertificateExpired:
		return &Error{
			kind: ErrExpired, text: "the other side says that this side's certificate has expired or is not valid yet",
			hint: "check the clocks of both hosts; issue a new one with `lazymig cert issue`",
		}
	case alertBadCertificate, alertCertificateRequired:
		return &Error{
			kind: ErrRejected, text: "the other side does not accept this side's certificate",
			hint: "it may have another CA, run with --insecure-loopback, or name another host with --peer; see its messages",
		}
	default:
		return e
	}
}

func protocolError(cause error) error {
	return &Error{
		kind: ErrProtocol, text: "the other side does not speak " + alpn, cause: cause,
		hint: "check the port, and install the same version of lazymig on both hosts",
	}
}

// refusal turns the error with which a peer's arrival failed into what the
// peer is told.
func refusal(err error) *RefusedError {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e
	}
	sameVersion := "install the same version of lazymig on both hosts"
	switch {
	case errors.Is(err, ErrVersion):
		return &RefusedError{Code: wire.CodeVersion, Text: err.Error(), Hint: sameVersion}
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrUnknownType), errors.Is(err, wire.ErrUnexpected):
		return &RefusedError{Code: wire.CodeMalformed, Text: err.Error(), Hint: sameVersion}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return &RefusedError{Code: wire.CodeTimeout, Text: "a part of the link came too late"}
	case errors.Is(err, net.ErrClosed):
		return &RefusedError{Code: wire.CodeBroken, Text: err.Error()}
	}
	return &RefusedError{Code: wire.CodeInternal, Text: err.Error(), Hint: "see the messages at the other side"}
}
