package qemu

import "errors"

var (
	// ErrStateChanged is returned by Freeze if the guest was stopped or let
	// run by somebody else since Prepare.
	ErrStateChanged = errors.New("somebody else stopped the guest or let it run during the preparation")

	// ErrNoVMM is returned by Attach if the process behind the monitor cannot
	// be found.
	ErrNoVMM = errors.New("the VMM's process cannot be found")

	// ErrNoRAMFile is returned by Guest.Memory if the guest's RAM is not all
	// in shared named files. Preflight says what to change.
	ErrNoRAMFile = errors.New("the guest's RAM is not in files that can be served")

	// ErrStreamTooLong is returned by Freeze if the migration stream is too
	// long to be device state alone.
	ErrStreamTooLong = errors.New("the migration stream is too long: guest RAM is in it")
)
