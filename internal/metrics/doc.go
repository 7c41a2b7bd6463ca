// Package metrics shows one migration to Prometheus: it listens at an address
// and answers /metrics with what the engine's events have told so far. The
// engine's own paths do not know of it, and a scrape reads nothing but the
// newest events.
//
// Start opens the address, Server.Observe takes every event, Server.Close ends
// it. There is one lock, view.mu, a leaf: Observe and a scrape hold it while
// they copy some numbers.
package metrics
