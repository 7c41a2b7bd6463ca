package metal

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// CheckError is a machine on which guests cannot move.
type CheckError struct {
	Host, Problem, hint string
}

// Error says what is wrong.
func (e *CheckError) Error() string { return e.Host + ": " + e.Problem }

// Hint says what to do.
func (e *CheckError) Hint() string { return e.hint }

// AddressError is a machine of which it is not known where the other one
// reaches it.
type AddressError struct {
	Host string
	err  error
}

// Error says why not.
func (e *AddressError) Error() string {
	return fmt.Sprintf("find the address of %s for migrations: %v", e.Host, e.err)
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.err }

// Hint says how to name it.
func (e *AddressError) Hint() string { return "name it: " + e.Host + "=ADDRESS" }

// problem returns the check's error for one of a call, which names the machine.
func (r *Remote) problem(err error, hint string) error {
	return &CheckError{r.name, strings.TrimPrefix(err.Error(), r.name+": "), hint}
}

// check finds what a machine lacks.
func (h *Hosts) check(r *Remote) error {
	f := r.facts
	need := uint64(h.config.MemoryMiB) << 20
	need += need / memoryReserve
	switch {
	case f.User != 0:
		return &CheckError{r.name, fmt.Sprintf("ssh logs in as user %d, not as root", f.User), "use root@HOST, or a user of ssh's configuration who is root"}
	case f.NoQEMU != "":
		return &CheckError{r.name, "there is no QEMU: " + f.NoQEMU, "install qemu-system-x86 there, or name the program with --qemu"}
	case h.config.Accel == "kvm" && f.NoKVM != "":
		return &CheckError{r.name, "there is no KVM: " + f.NoKVM, "enable virtualization and load kvm_intel or kvm_amd there, or measure emulation with --accel tcg"}
	case f.NoFaultFD != "":
		return &CheckError{r.name, "userfaultfd does not work: " + f.NoFaultFD, "run `lazymig doctor` there"}
	case f.FreeRAM < need:
		return &CheckError{
			r.name, fmt.Sprintf("/dev/shm and memory have %d MiB free, and %d are needed", f.FreeRAM>>20, need>>20),
			"free some, or enlarge it: mount -o remount,size=SIZE /dev/shm",
		}
	}
	return nil
}

// checkWay checks that the machines reach each other, and finds their network
// cards.
func (h *Hosts) checkWay() (err error) {
	for i, r := range h.remotes {
		other := h.remotes[1-i]
		if err := r.call("route", routeArgs{Address: other.address}, nil); err != nil {
			return r.problem(err, "name the address of each host in their network: HOST=ADDRESS")
		}
	}
	source, destination := h.remotes[0], h.remotes[1]
	ports := reachArgs{UDP: net.JoinHostPort(destination.address, h.config.UDP), TCP: net.JoinHostPort(destination.address, h.config.TCP)}
	if err := destination.call("echo", ports, nil); err != nil {
		return destination.problem(err, "the address must be one of its own, and nobody may use the ports")
	}
	defer func() { err = errors.Join(err, destination.call("no-echo", nothing{}, nil)) }()
	if err := source.call("reach", ports, nil); err != nil {
		return &CheckError{
			source.name, fmt.Sprintf("%s is not reached: %s", destination.name, strings.TrimPrefix(err.Error(), source.name+": ")),
			fmt.Sprintf("let UDP port %s and TCP port %s of %s through, or name another address: HOST=ADDRESS", h.config.UDP, h.config.TCP, destination.name),
		}
	}
	return nil
}
