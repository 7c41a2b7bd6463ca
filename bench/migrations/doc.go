// Package migrations measures how the same guest moves over the same link by
// lazymig and by QEMU's own techniques. Every run boots a fresh guest, measures
// its speed and the smallest gap that a stop of it shows, moves it once, and
// verifies every word of its memory afterwards. What is measured is seen from
// outside: the guest's heartbeat, the VMMs' STOP and RESUME, the counters of
// the cable, the times and the memory of the processes on both hosts.
//
// The first call to make is [Measure] with the runs that [Plan] lists: it
// appends one [Record] for each run to a file and leaves out what the file has
// already. [Read] reads such a file.
package migrations
