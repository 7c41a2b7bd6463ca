// Package qemu attaches lazymig to a stock QEMU: Guest is the VMM at the
// source, Incoming the one that lazymig starts at the destination.
//
// It owns what is done to QEMU and to its process: the queries and commands
// on the QMP monitor, the migration capabilities (remembered, and put back),
// the RAM files, signals to the VMM, and at the destination its start, its
// userfaultfd and its end.
//
// At the source the first call to make is Attach; then Preflight, Memory,
// Prepare and Freeze, and from there Kill, or Thaw to take everything back.
// At the destination it is NewIncoming; then Create, Start, Preflight, Arm,
// Load and Run.
//
// Guest RAM has to be a shared named file on tmpfs. QEMU's capability
// x-ignore-shared keeps such files out of the migration stream, which is left
// with the state of the devices. The x- is QEMU's own mark for "unstable": it
// may change or go in any version, so it is looked for before anything is
// touched. QEMU before 8.1 leaves out every shared block, later versions only
// shared blocks that are named files; Preflight refuses guests for which that
// is not exactly what lazymig can serve, because what nobody serves reads as
// zeros.
//
// Locks: Guest has none and serves one caller at a time, but for PID, PIDFD
// and FileMemory, which any goroutine may use.
package qemu
