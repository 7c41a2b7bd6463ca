package wire

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// magic starts every Hello, in every version.
const magic = "LAZYMIG\n"

// Role says what a stream is for.
type Role uint8

// The roles of streams.
const (
	// RoleControl is the stream for everything but pages.
	RoleControl Role = 1
	// RoleDemand is the page stream of the demand connection.
	RoleDemand Role = 2
	// RoleBulk is the page stream of a bulk connection.
	RoleBulk Role = 3
	// RoleRecipe is the second stream of the first bulk connection, for what
	// the destination has and what the guest's memory is made of.
	RoleRecipe Role = 4
)

// String returns the role as errors name it.
func (r Role) String() string {
	switch r {
	case RoleControl:
		return "control"
	case RoleDemand:
		return "demand"
	case RoleBulk:
		return "bulk"
	case RoleRecipe:
		return "recipe"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Purpose says what a link is for.
type Purpose uint8

// The purposes of links.
const (
	// PurposeMigration is the move of a guest.
	PurposeMigration Purpose = 0
	// PurposeMemory is reading the pages of a memory snapshot.
	PurposeMemory Purpose = 1
)

// String returns the purpose as errors name it.
func (p Purpose) String() string {
	switch p {
	case PurposeMigration:
		return "migration"
	case PurposeMemory:
		return "memory"
	}
	return fmt.Sprintf("purpose %d", uint8(p))
}

// Hello is the first frame of every stream, source to destination. All streams
// of one link carry the same Attempt, Session, VM and Epoch.
type Hello struct {
	// Version is the protocol version; Append writes Version when it is 0.
	Version uint16
	Role    Role
	// Insecure says that the source runs without identities.
	Insecure bool
	// State is the source's failover state. Its values belong to failover.
	State   uint8
	Purpose Purpose
	// Index numbers the bulk connections from 0. On the control stream it is
	// the number of bulk connections; on the demand stream it is 0.
	Index uint16
	// Attempt is a random number of this attempt to link.
	Attempt uint64
	Epoch   lazymig.Epoch
	VM      lazymig.VMID
	// Session stays the same when a link is dialled again. It is not zero.
	Session [16]byte
	// KeyCheck proves that both sides have the same domain key; zero when
	// Insecure.
	KeyCheck [32]byte
	// Name is the name of the VM, at most MaxName bytes.
	Name string
}

// Length returns the bytes that Append adds.
func (f Hello) Length() int { return headerSize + helloFixed + len(CleanText(f.Name, MaxName)) }

// Append appends the frame with its header to b.
func (f Hello) Append(b []byte) []byte {
	if f.Version == 0 {
		f.Version = Version
	}
	b = appendHeader(b, TypeHello, f.Length()-headerSize)
	b = append(b, magic...)
	b = appendU16(b, f.Version)
	b = append(b, byte(f.Role))
	b = appendFlag(b, f.Insecure)
	b = appendU16(b, f.Index)
	b = append(b, f.State, byte(f.Purpose))
	b = appendU64(b, f.Attempt)
	b = appendU64(b, uint64(f.Epoch))
	b = append(b, f.VM[:]...)
	b = append(b, f.Session[:]...)
	b = append(b, f.KeyCheck[:]...)
	return append(b, CleanText(f.Name, MaxName)...)
}

// ParseHello parses a payload. A peer of another version gets a *VersionError,
// anything else that is wrong an error that wraps ErrMalformed.
func ParseHello(payload []byte) (Hello, error) {
	d := decoder{rest: payload}
	if m := d.take(len(magic)); m != nil && string(m) != magic {
		d.fail("it does not start with the magic of lazymig")
	}
	f := Hello{Version: d.u16()}
	if d.fault == "" && f.Version != Version {
		return Hello{}, fmt.Errorf("parse %s frame: %w", TypeHello, &VersionError{Ours: Version, Theirs: f.Version})
	}
	f.Role = Role(d.u8())
	f.Insecure = d.flag()
	f.Index = d.u16()
	f.State = d.u8()
	f.Purpose = Purpose(d.u8())
	f.Attempt = d.u64()
	f.Epoch = d.epoch()
	copy(f.VM[:], d.take(len(f.VM)))
	copy(f.Session[:], d.take(len(f.Session)))
	copy(f.KeyCheck[:], d.take(len(f.KeyCheck)))
	f.Name = d.text(len(d.rest), MaxName)
	if f.Role < RoleControl || f.Role > RoleRecipe {
		d.fail("%s is unknown", f.Role)
	}
	if f.Purpose > PurposeMemory {
		d.fail("%s is unknown", f.Purpose)
	}
	if f.Session == [16]byte{} {
		d.fail("session is zero")
	}
	return f, d.finish(TypeHello)
}
