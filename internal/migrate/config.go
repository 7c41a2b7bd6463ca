package migrate

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lazymig/lazymig/prefetch"
	"github.com/lazymig/lazymig/quictransport"
)

// ErrConfig is returned by Send and Receive for a configuration that cannot
// work. Nothing was touched.
var ErrConfig = errors.New("invalid configuration")

// SendConfig says what to move and where to.
type SendConfig struct {
	// QMP is the path of the guest's monitor socket.
	QMP string
	// MicroVM is the path of the control socket of a guest in the embedded
	// VMM, instead of QMP.
	MicroVM string
	// To is the destination, "HOST:PORT".
	To string
	// VM is the guest's name on both sides.
	VM string
	// StateDir holds what lazymig must remember about each VM.
	StateDir string
	// Identity authenticates this host.
	Identity *quictransport.Identity
	// Peer narrows the destination to one certificate name. Empty: any name
	// that the CA has certified.
	Peer string
	// ReadyTimeout bounds the time from the stop of the guest to the
	// destination's READY; then the guest goes on here. 0: two seconds.
	ReadyTimeout time.Duration
	// Bandwidth bounds the background, in bytes per second. 0: no bound.
	Bandwidth uint64
	// Cache keeps what leaves, so that its return is cheap. Nil: no cache.
	Cache PageCache
	// Warm brings pages to the destination's cache while the guest still runs.
	Warm WarmConfig
	// DryRun checks everything on both sides and moves nothing.
	DryRun bool
	// KeepRAM leaves the guest's RAM file on this host after it has moved.
	KeepRAM bool
	// Report is called for each event, one at a time. It must not block.
	Report func(Event)
	// Keeper starts the keeper process at its first call and updates what it
	// knows at later ones. Nil: no keeper.
	Keeper func(KeeperSpec) error

	// memory, if set, stands before the guest's memory: tests break pages.
	memory func(SourceMemory) SourceMemory
}

func (c SendConfig) validated() (SendConfig, error) {
	if (c.QMP == "") == (c.MicroVM == "") || c.To == "" || c.VM == "" || c.StateDir == "" || c.Identity == nil {
		return c, fmt.Errorf("%w: QMP or MicroVM, To, VM, StateDir and Identity are required", ErrConfig)
	}
	if c.ReadyTimeout < 0 {
		return c, fmt.Errorf("%w: ReadyTimeout is negative", ErrConfig)
	}
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = defaultReadyTimeout
	}
	if c.memory == nil {
		c.memory = func(m SourceMemory) SourceMemory { return m }
	}
	c.Report, c.Keeper = reportOrNot(c.Report), keeperOrNot(c.Keeper)
	return c, nil
}

// Policy is a prefetch policy, for those who configure and do not prefetch.
type Policy = prefetch.Policy

// ReceiveConfig says where to wait for a guest and how to start its VMM.
type ReceiveConfig struct {
	// Listen is the address to wait at, "HOST:PORT".
	Listen string
	// VM is the guest's name on both sides.
	VM string
	// StateDir holds what lazymig must remember about each VM.
	StateDir string
	// Identity authenticates this host.
	Identity *quictransport.Identity
	// Peer narrows the source to one certificate name. Empty: any name that
	// the CA has certified.
	Peer string
	// Args is the command line of the VMM, the same as the source's but for
	// what belongs to this host.
	Args []string
	// OOMScoreAdj is what the VMM gets as its oom_score_adj.
	OOMScoreAdj int
	// Cache is what this host has already, and keeps of what arrives. Nil: no
	// cache.
	Cache PageCache
	// Prefetch are the policies of the background. Nil: all. Without
	// prefetch.LinearPolicy the move ends when the guest has touched everything.
	Prefetch []Policy
	// Trace is where the order in which the guest touches its pages is written,
	// for as long as TraceFor says; meanwhile nothing is fetched ahead. Empty: no
	// trace.
	Trace    string
	TraceFor time.Duration
	// FaultWaits has each progress tell how long the guest waited for pages.
	FaultWaits bool
	// MapCells is the number of cells of the page map that is told along with
	// the progress. 0: none. A guest with fewer pages has fewer cells, none has
	// more than 4096.
	MapCells int
	// Report is called for each event, one at a time. It must not block.
	Report func(Event)
	// Keeper starts the keeper process at its first call and updates what it
	// knows at later ones. Nil: no keeper.
	Keeper func(KeeperSpec) error
}

func (c ReceiveConfig) validated() (ReceiveConfig, error) {
	if c.Listen == "" || c.VM == "" || c.StateDir == "" || c.Identity == nil || len(c.Args) == 0 {
		return c, fmt.Errorf("%w: Listen, VM, StateDir, Identity and Args are required", ErrConfig)
	}
	if c.Prefetch == nil {
		c.Prefetch = prefetch.Policies()
	}
	c.Report, c.Keeper = reportOrNot(c.Report), keeperOrNot(c.Keeper)
	return c, nil
}

func reportOrNot(f func(Event)) func(Event) {
	if f == nil {
		return func(Event) {}
	}
	var mu sync.Mutex // one event at a time
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		e.Time = time.Now()
		f(e)
	}
}

func keeperOrNot(f func(KeeperSpec) error) func(KeeperSpec) error {
	if f == nil {
		return func(KeeperSpec) error { return nil }
	}
	return f
}
