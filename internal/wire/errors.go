package wire

import (
	"errors"
	"fmt"
)

var (
	// ErrMalformed is returned for bytes that are no frame of this protocol:
	// cut, too long, over a limit, or with values that have no meaning.
	ErrMalformed = errors.New("malformed frame")
	// ErrUnknownType is returned for a frame type that this version lacks.
	ErrUnknownType = errors.New("unknown frame type")
	// ErrUnexpected is returned for a known frame that the caller did not
	// allow at this point.
	ErrUnexpected = errors.New("unexpected frame")
	// ErrVersion is what a VersionError unwraps to.
	ErrVersion = errors.New("other protocol version")
)

// VersionError is returned when the peer speaks another protocol version.
type VersionError struct {
	// Ours is Version, Theirs is what the peer sent.
	Ours, Theirs uint16
}

// Error names both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: this side speaks version %d, the other side version %d", ErrVersion, e.Ours, e.Theirs)
}

// Unwrap returns ErrVersion.
func (e *VersionError) Unwrap() error { return ErrVersion }
