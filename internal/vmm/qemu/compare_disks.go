package qemu

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/internal/vmm"
)

const diskFix = "let both sides use the same image on storage that both hosts share"

// compareDisks gives one check for each disk of the source, and one for disks
// that only the destination has.
func compareDisks(source, destination []Disk) []vmm.Check {
	if len(source) == 0 && len(destination) == 0 {
		return []vmm.Check{passed("disks", "the guest has none")}
	}
	var checks []vmm.Check
	for _, s := range source {
		i := slices.IndexFunc(destination, func(d Disk) bool { return d.Device == s.Device })
		if i < 0 {
			checks = append(checks, refused("disk "+s.Device, "give the destination's QEMU the same drives, with the same ids",
				"the source has %s, the destination has no drive %s with a medium", s.Path, s.Device))
			continue
		}
		checks = append(checks, compareDisk(s, destination[i]))
	}
	for _, d := range destination {
		if !slices.ContainsFunc(source, func(s Disk) bool { return s.Device == d.Device }) {
			checks = append(checks, refused("disk "+d.Device, "give the destination's QEMU the same drives and media",
				"the destination has %s, the source has no drive %s with a medium", d.Path, d.Device))
		}
	}
	return checks
}

// compareDisk compares what the two sides call the same disk. A file is the
// same if it has the same inode and size, whatever its path: the numbers of a
// shared file system are the same on every host.
func compareDisk(source, destination Disk) vmm.Check {
	name := "disk " + source.Device
	both := fmt.Sprintf("the source has %s, the destination %s", source.text(), destination.text())
	switch {
	case source.ReadOnly != destination.ReadOnly:
		return refused(name, "open it with the same readonly= on both sides", "%s", both)
	case source.Kind != destination.Kind:
		return refused(name, diskFix, "%s", both)
	case source.Size != destination.Size && source.Size != 0 && destination.Size != 0:
		return refused(name, diskFix, "%s: not the same size", both)
	case source.Kind == DiskFile && source.Inode != destination.Inode && source.ReadOnly:
		return warned(name, diskFix+", or make sure that both are equal", "%s: a copy of a read-only file", both)
	case source.Kind == DiskFile && source.Inode != destination.Inode:
		return refused(name, diskFix, "%s: not the same file", both)
	case source.Kind == DiskFile:
		return passed(name, "%s", both)
	case source.Kind == DiskOther && source.Path == destination.Path:
		return passed(name, "%s", both)
	}
	return warned(name, "make sure that both are the same storage", "%s: lazymig cannot tell whether they are the same", both)
}

func (d Disk) text() string {
	mode := "read-write"
	if d.ReadOnly {
		mode = "read-only"
	}
	switch d.Kind {
	case DiskFile:
		return fmt.Sprintf("%s (file, inode %d, %d bytes, %s)", d.Path, d.Inode, d.Size, mode)
	case DiskDevice:
		return fmt.Sprintf("%s (device, %d bytes, %s)", d.Path, d.Size, mode)
	case DiskOther:
	}
	return fmt.Sprintf("%s (%s)", d.Path, mode)
}
