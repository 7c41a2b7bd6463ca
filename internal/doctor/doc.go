// Package doctor examines a host: what it can do as the source and as the
// destination of a migration, what is missing, and which command mends it.
//
// # What the package owns
//
// A list of checks. Each looks at one thing, changes nothing that stays, and
// gives a Result. What the engine checks before a migration is asked of the
// package that will check it then (internal/vmm/qemu, uffd, quictransport), so
// that nothing is called ready here which is refused there. What cannot be
// found out is "unknown", which counts as a limit.
//
// # First call
//
// Run, then Summarize. Everything that the checks look at is reached through
// the struct host: files below a root directory, and function values for what
// is no file. Tests replace both.
//
// There are no goroutines and no locks; what can hang has a bound.
package doctor
