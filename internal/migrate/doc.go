// Package migrate is the engine: it moves one guest from a source to a
// destination and is the only place that wires the other parts together.
//
// The source freezes the guest, streams the device state, decides, and then
// answers page requests from the frozen memory (source.go, serve.go). The
// destination arms an empty VMM, loads the state, runs the guest on the
// source's word, and installs pages: those that the guest waits for first, the
// rest in the background (destination.go, install.go). Who may run the guest
// is decided by the state machines of package failover; a keeper process
// (keeper.go) finishes what an engine that died left undone.
//
// Each side has one goroutine, its session loop, that owns the state machine,
// and the destination has one more, the installer, that owns the page table
// and the userfaultfd. Neither waits for the other and there are no locks
// between them: they talk through bounded channels. Locks protect leaves only
// (the demand queue, the counters) and are never held together.
//
// Start with Send or Receive.
package migrate
