// Package leftover names what the harness creates outside its own process,
// so that it can be found again: network namespaces, files in /dev/shm,
// folders in the temporary folder, QEMU processes. A name holds the process
// id of its owner; [Sweep] removes what belongs to a process that has ended
// without cleaning up, and a [Snapshot] before and after a test shows what
// the test has left behind.
//
// The first calls to make are [Sweep] and [Name].
package leftover
