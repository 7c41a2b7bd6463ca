// Package replay replays traces of a guest's faults, as `lazymig receive
// --trace` records them, against prefetch policies: which pages would have been
// there in time, and how long the guest would have waited for the others. It is
// a simulation with a clock of its own; the policies are those of the product.
//
// The first calls to make are [Read] and [Simulate].
package replay
