// Package x86 guesses which memory a guest touches next, from the registers of
// its processors and from what they lead to: the page tables, the pages around
// the registers, the memory that the guest's kernel keeps for each processor,
// and the stacks and the code that this points to.
//
// All of it is read while the guest runs, and is the guest's to write: it may be
// stale, and hostile. Nothing here believes it: each read, each table and each
// list is bounded, a frame that is in no RAM leads nowhere, and what comes out is
// numbers of frames that whoever asks has to check. A wrong one costs the time
// to send it.
//
// The first call to make is ParseRegisters, then Likely. There are no locks, and
// no state that outlives a call.
package x86
