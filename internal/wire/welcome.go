package wire

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// Welcome is the destination's answer on the control stream, sent when all
// parts of a link are there.
type Welcome struct {
	// Version is the protocol version; Append writes Version when it is 0.
	Version uint16
	// State is the destination's failover state.
	State uint8
	Epoch lazymig.Epoch
	// Session is the one of the Hello.
	Session [16]byte
	// DomainKey is the destination's key of page digests when both sides run
	// without identities, else zero.
	DomainKey [32]byte
}

// Length returns the bytes that Append adds.
func (Welcome) Length() int { return headerSize + welcomeSize }

// Append appends the frame with its header to b.
func (f Welcome) Append(b []byte) []byte {
	if f.Version == 0 {
		f.Version = Version
	}
	b = appendHeader(b, TypeWelcome, welcomeSize)
	b = appendU16(b, f.Version)
	b = append(b, f.State, 0)
	b = appendU64(b, uint64(f.Epoch))
	b = append(b, f.Session[:]...)
	return append(b, f.DomainKey[:]...)
}

// ParseWelcome parses a payload. A peer of another version gets a
// *VersionError, anything else that is wrong an error that wraps ErrMalformed.
func ParseWelcome(payload []byte) (Welcome, error) {
	d := decoder{rest: payload}
	f := Welcome{Version: d.u16()}
	if d.fault == "" && f.Version != Version {
		return Welcome{}, fmt.Errorf("parse %s frame: %w", TypeWelcome, &VersionError{Ours: Version, Theirs: f.Version})
	}
	f.State = d.u8()
	d.zero(1)
	f.Epoch = d.epoch()
	copy(f.Session[:], d.take(len(f.Session)))
	copy(f.DomainKey[:], d.take(len(f.DomainKey)))
	return f, d.finish(TypeWelcome)
}
