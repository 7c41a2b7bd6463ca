package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/uffd"
	"golang.org/x/sys/unix"
)

// deviceName is QEMU's name of the /dev/userfaultfd that is passed to it.
const deviceName = "lazymig-userfaultfd"

// Arm makes a userfaultfd inside QEMU, registers all guest RAM with it and
// returns a duplicate. QEMU keeps its own copy, so that missing pages never
// read as zeros, whatever becomes of this process. The caller owns the handle
// and has to serve the faults from here on.
//
// Nothing of it may be done once the device state is loaded: a tracer that
// dies in the middle kills QEMU. After an error QEMU has to be killed, too: it
// may have a part of it.
func (i *Incoming) Arm(ctx context.Context) (*uffd.Handle, []vmm.Mapping, error) {
	ctx, cancel := bound(ctx, armTimeout)
	defer cancel()
	handle, err := i.createUserfaultfd(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("create a userfaultfd in QEMU (process %d): %w", i.PID(), err)
	}
	mappings, err := i.register(handle)
	if err != nil {
		return nil, nil, errors.Join(err, handle.Close())
	}
	return handle, mappings, nil
}

// createUserfaultfd makes the userfaultfd from /dev/userfaultfd, which serves
// an unprivileged QEMU too, or by the system call where there is none.
func (i *Incoming) createUserfaultfd(ctx context.Context) (*uffd.Handle, error) {
	number := -1
	device, err := uffd.OpenDevice()
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		defer device.Close()
		if number, err = i.passDevice(ctx, device); err != nil {
			return nil, err
		}
	}
	remote, err := uffd.CreateIn(ctx, i.PID(), number)
	if number >= 0 {
		err = errors.Join(err, i.client.Execute(ctx, "closefd", map[string]string{"fdname": deviceName}, nil))
	}
	if err != nil {
		return nil, i.explain(err)
	}
	return uffd.AdoptFrom(i.PIDFD(), remote)
}

// passDevice gives QEMU an open /dev/userfaultfd and returns its number there.
func (i *Incoming) passDevice(ctx context.Context, device *os.File) (int, error) {
	name := map[string]string{"fdname": deviceName}
	if err := i.client.ExecuteFD(ctx, "getfd", name, int(device.Fd())); err != nil {
		return -1, i.explain(err)
	}
	var wanted unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &wanted); err != nil {
		return -1, fmt.Errorf("look at %s: %w", device.Name(), err)
	}
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", i.PID()))
	if err != nil {
		return -1, err
	}
	for _, path := range paths {
		var status unix.Stat_t
		if unix.Stat(path, &status) == nil && status.Mode&unix.S_IFMT == unix.S_IFCHR && status.Rdev == wanted.Rdev {
			return strconv.Atoi(filepath.Base(path))
		}
	}
	return -1, fmt.Errorf("find the descriptor of %s in process %d: it has %d, or they cannot be read", device.Name(), i.PID(), len(paths))
}

// register registers the mappings of all RAM files, and makes sure that QEMU
// had not touched one before: a page that is there would pass for one that has
// arrived.
func (i *Incoming) register(handle *uffd.Handle) ([]vmm.Mapping, error) {
	if _, err := handle.Handshake(needed); err != nil {
		return nil, err
	}
	all, err := readMaps(i.PID())
	if err != nil {
		return nil, err
	}
	mappings, err := findMappings(all, i.regions)
	if err != nil {
		return nil, err
	}
	for _, m := range mappings {
		if err := handle.Register(m.Start, m.Length); err != nil {
			return nil, fmt.Errorf("register the RAM of %s: %w", i.regions[m.Region].id, err)
		}
	}
	for _, f := range i.regions {
		if err := f.untouched(); err != nil {
			return nil, err
		}
	}
	return mappings, nil
}
