// Package agent is the process side of lazymig: which process does what, and
// how they talk.
//
//	front end ──── socketpair ────▶ engine ──── socketpair ────▶ keeper
//	(send, receive; a terminal)       │ STATE/vm/NAME/engine.sock
//	status, cancel ───────────────────┘
//
// The front end of send and receive starts an engine in a session of its own,
// gives it a Job and shows what it tells. The engine does the work. It lives on
// when the front end is killed, and anybody who may write in its state
// directory can follow or cancel it through engine.sock. The keeper puts things
// right when the engine itself dies. All talk is JSON, one object a line.
//
// The package moves lines and owns processes. What a migration is, it leaves to
// package migrate: migrate.go is the file that calls it.
//
// Locks: hub.mu protects the set of clients and is a leaf; keeperLink.mu
// protects the link to the keeper and is held while a line is written to it,
// with a deadline. They are never held together.
//
// First call: Start in a front end, Engine in an engine, Keeper in a keeper,
// Dial in status and cancel.
package agent
