package qemu

import (
	"context"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/internal/vmm"
)

// Preflight looks at everything that could keep the guest from being moved,
// and changes nothing. The error is about looking; what was found is in the
// checks.
func (g *Guest) Preflight(ctx context.Context) ([]vmm.Check, error) {
	f, err := g.gather(ctx)
	if err != nil {
		return nil, fmt.Errorf("check the guest: %w", g.explain(err))
	}
	return f.checks(), nil
}

// findings is what the checks of the source judge.
type findings struct {
	inspection
	migration    migrationInfo
	capabilities map[string]bool
	devices      []child
	network      string // "info network"
	locked       uint64 // VmLck, bytes
	fileSystems  map[string]int64
	users        map[inode][]fileUser
}

// gather asks for all of it.
func (g *Guest) gather(ctx context.Context) (findings, error) {
	i, err := inspect(ctx, g.monitor, g.PID())
	if err != nil {
		return findings{}, err
	}
	f := findings{inspection: i}
	q := queries{g.monitor}
	if f.migration, err = q.migration(ctx); err != nil {
		return f, err
	}
	if f.capabilities, err = q.capabilities(ctx); err != nil {
		return f, err
	}
	if f.devices, err = q.devices(ctx); err != nil {
		return f, err
	}
	if f.network, err = q.human(ctx, "info network"); err != nil {
		return f, err
	}
	return f, f.gatherProcess()
}

// gatherProcess looks at the VMM's process and at others.
func (f *findings) gatherProcess() error {
	locked, err := statusField(f.pid, "VmLck")
	if err != nil {
		return err
	}
	f.locked = locked << 10
	files := make(map[inode]string)
	f.fileSystems = make(map[string]int64)
	for _, r := range f.rams {
		if !r.isFile() || r.err != nil {
			continue
		}
		files[r.file] = r.path
		region, err := openRegion(f.pid, r)
		if err != nil {
			return err
		}
		f.fileSystems[r.ID], err = fileSystem(region.File())
		region.File().Close()
		if err != nil {
			return err
		}
	}
	f.users, err = findUsers(files, f.pid)
	return err
}

// devices lists the devices that the user or a device itself created.
func (q queries) devices(ctx context.Context) ([]child, error) {
	var all []child
	for _, path := range []string{"/machine/peripheral", "/machine/peripheral-anon"} {
		list, err := q.children(ctx, path)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	if len(all) > maxDevices {
		return nil, fmt.Errorf("look at the devices: there are %d", len(all))
	}
	return all, nil
}

// checks judges the findings.
func (f *findings) checks() []vmm.Check {
	return slices.Concat(
		[]vmm.Check{
			f.checkArchitecture(),
			f.checkState(),
			f.checkMigration(),
			f.checkBlocked(),
			f.checkCapabilities(),
		},
		f.checkRAM(),
		[]vmm.Check{
			f.checkForeignShared(),
			f.checkStream(),
			f.checkUsers(),
			f.checkLocked(),
		},
		f.checkDevices(),
		f.checkDisks(),
	)
}

func (f *findings) checkArchitecture() vmm.Check {
	const name, wanted = "architecture", "x86_64"
	if f.Arch != wanted {
		return refused(name, "move it by other means: lazymig moves "+wanted+" guests only", "the guest is %s", f.Arch)
	}
	return passed(name, "the guest is %s", f.Arch)
}

// checkState refuses states that a guest cannot be taken back to.
func (f *findings) checkState() vmm.Check {
	const name = "guest-state"
	switch f.State {
	case "running", "paused", "prelaunch":
		return passed(name, "the guest is %s", f.State)
	case "inmigrate":
		return refused(name, "wait until it has arrived", "the guest is arriving by a migration")
	case "postmigrate", "finish-migrate":
		return refused(name, "make sure that it does not run elsewhere, then `cont` it (and `stop` it to move it paused)", "the guest is %s: it was moved away, or a move of it was given up while it was paused", f.State)
	case "suspended":
		return refused(name, "wake it up first (system_wakeup)", "the guest is suspended")
	case "io-error":
		return refused(name, "mend the disk and `cont` it first", "the guest was stopped by a disk error")
	case "guest-panicked", "shutdown", "internal-error", "watchdog":
		return refused(name, "reset it first, or start it anew at the destination", "the guest is %s", f.State)
	}
	return refused(name, "let it run or pause it first", "the guest is %s", f.State)
}

func (f *findings) checkMigration() vmm.Check {
	const name = "other-migration"
	if isMigrating(f.migration.Status) {
		return refused(name, "wait for its end or cancel it (migrate_cancel)", "another migration of the guest is %s", f.migration.Status)
	}
	return passed(name, "no other migration is under way")
}

func (f *findings) checkBlocked() vmm.Check {
	const name = "migration-blockers"
	if len(f.migration.Reasons) > 0 {
		return refused(name, "remove the device or job that QEMU names", "QEMU refuses to migrate: %s", list(f.migration.Reasons))
	}
	if f.migration.Blocked {
		return refused(name, "remove devices that cannot be migrated", "QEMU refuses to migrate and gives no reason")
	}
	return passed(name, "QEMU has nothing against it")
}

func (f *findings) checkCapabilities() vmm.Check {
	const name = "capabilities"
	missing := missingCapabilities(f.capabilities)
	if len(missing) > 0 {
		return refused(name, "use QEMU 4.0 or newer (x-ignore-shared is unstable: a later version may have dropped it)", "QEMU %v has no migration capability %s", f.Version, list(missing))
	}
	return passed(name, "QEMU %v has %s", f.Version, list(captureCapabilities))
}

func (f *findings) checkLocked() vmm.Check {
	const name = "mem-lock"
	if f.locked > 0 {
		return refused(name, "start QEMU without -overcommit mem-lock=on, -realtime mlock=on and on-fault locking", "%d KiB of QEMU's memory are locked: at the destination every page would be touched at once", f.locked>>10)
	}
	return passed(name, "none of QEMU's memory is locked")
}
