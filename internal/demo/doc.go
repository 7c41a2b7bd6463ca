// Package demo moves one live guest between two hosts that are played by this
// machine, and tells what it sees: the same commands that an operator types,
// `lazymig receive` and `lazymig send`, started as child processes, over QUIC
// with identities made for the occasion and a relay that plays the network.
//
//	heartbeat ◀── guest at the source ◀─ lazymig send ══ relay ══▶ lazymig receive ─▶ guest at the destination ──▶ heartbeat
//
// The package owns everything that a run makes: processes, sockets, files and
// memory, which all carry the name of the run's [workplace] and are gone when
// [Run] returns, whatever happens. What a run that was killed has left is
// swept away by the next one.
//
// A figure that it tells was measured in this run: by the VMMs' own time
// stamps, by the heartbeat of the guest as it arrives here, or by the reports
// of both sides.
//
// # Locks
//
// command.mu protects what one child process has told; it is a leaf.
//
// The first call to make is [Run].
package demo
