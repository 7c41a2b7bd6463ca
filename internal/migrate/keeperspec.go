package migrate

import (
	"encoding/json"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

// KeeperSpec is what a keeper process must know to finish what an engine that
// died left undone. It travels as JSON from the engine to its keeper.
type KeeperSpec struct {
	// Source says which side the keeper is on.
	Source bool `json:"source"`
	// Done says that the engine has ended in order: there is nothing to keep.
	Done bool `json:"done,omitempty"`
	// Notify says that the guest goes on at the source and the destination
	// must still learn of it.
	Notify   bool   `json:"notify,omitempty"`
	VM       string `json:"vm"`
	StateDir string `json:"state_dir"`
	// PID is the VMM's, once there is one.
	PID int `json:"pid,omitempty"`
	// Monitor is the socket of a monitor that the keeper can use when the
	// engine is gone.
	Monitor string `json:"monitor,omitempty"`
	// Tag marks the VMM that a destination starts, before its PID is known.
	Tag string `json:"tag,omitempty"`
	// Kind is the kind of the VMM.
	Kind vmm.Kind `json:"kind,omitempty"`
	// Thaw says how to let the guest at the source go on.
	Thaw json.RawMessage `json:"thaw,omitempty"`
	// Remove lists the files that a destination without a guest leaves behind.
	Remove []string `json:"remove,omitempty"`

	// Address is where the source dials or the destination listens.
	Address string `json:"address"`
	// TLSDir has the identity; empty where the engine runs without. Whoever
	// starts the keeper fills it in.
	TLSDir string `json:"tls_dir,omitempty"`
	// Key is the domain key of the engine: that of its identity, unless it was
	// given another.
	Key     [32]byte      `json:"key"`
	Peer    string        `json:"peer,omitempty"`
	Session [16]byte      `json:"session"`
	ID      lazymig.VMID  `json:"id"`
	Epoch   lazymig.Epoch `json:"epoch"`
}
