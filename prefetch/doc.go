// Package prefetch decides which missing pages the background asks for next,
// and how much of it may be under way. It is pure: no I/O, no goroutine, no
// clock and no lock; each value belongs to the goroutine that uses it.
//
// MergeHot keeps what a guest touched first at earlier switches, Linear says
// what comes next, Window how much may be in flight, Pacer how fast the
// background may be sent. All of them count pages, but for Pacer, which counts
// bytes. Time is what the caller says it is, and nothing can fail.
//
// Start with a zero Linear and a Window whose fields are set; the example shows
// how they work together.
package prefetch
