package microvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// stateVersion is that of State and of the program.
const stateVersion = 1

// ErrState is returned for a state that is none, or not of this guest.
var ErrState = errors.New("invalid state of a microvm")

// State is the device state of a stopped guest.
type State struct {
	Version   int       `json:"version"`
	Size      uint64    `json:"size"` // of its RAM, bytes
	Registers Registers `json:"registers"`
	// Sequence counts the beats, Ops the page operations.
	Sequence uint64 `json:"sequence"`
	Ops      uint64 `json:"ops"`
	// Clock is how long the guest has run.
	Clock time.Duration `json:"clock_ns"`
}

// parseState reads a state for a guest with size bytes of RAM.
func parseState(text []byte, size uint64) (State, error) {
	var s State
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%w: %w", ErrState, err)
	}
	p := newProgram(size)
	switch r := s.Registers; {
	case s.Version != stateVersion:
		return s, fmt.Errorf("%w: it has version %d, this is %d", ErrState, s.Version, stateVersion)
	case s.Size != size:
		return s, fmt.Errorf("%w: it is of a guest with %d bytes, this one has %d", ErrState, s.Size, size)
	case r.Position >= p.modulus || r.Left >= p.modulus && r.Pass > 0 || s.Clock < 0:
		return s, fmt.Errorf("%w: registers out of range", ErrState)
	}
	return s, nil
}
