package qemu

import (
	"slices"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
)

// deviceRule refuses devices by their QOM type.
type deviceRule struct {
	name     string // of the check
	prefixes []string
	reason   string
	fix      string
}

// deviceRules list what reaches guest RAM past QEMU's page tables, or brings
// memory of its own that others share.
var deviceRules = []deviceRule{
	{
		"vhost-user",
		[]string{"vhost-user-"},
		"a process outside QEMU works on the guest's RAM, where its accesses to missing pages cannot be trapped",
		"use the device of QEMU or of the kernel instead (virtio-*, vhost=on)",
	},
	{
		"vfio",
		[]string{"vfio-", "x-vfio-user-", "vhost-vdpa-"},
		"hardware reads and writes the guest's RAM, where its accesses to missing pages cannot be trapped",
		"unplug the device first (device_del)",
	},
	{
		"ivshmem",
		[]string{"ivshmem"},
		"its memory is shared with other guests",
		"unplug the device first (device_del)",
	},
}

// networkKinds are the same for network backends, by what "info network" says
// of them.
var networkKinds = map[string]string{
	"vhost-user": "type=vhost-user",
	"vfio":       "type=vhost-vdpa",
}

// checkDevices gives one check for each rule.
func (f *findings) checkDevices() []vmm.Check {
	var checks []vmm.Check
	for _, rule := range deviceRules {
		found := f.devicesOf(rule)
		if len(found) > 0 {
			checks = append(checks, refused(rule.name, rule.fix, "the guest has %s: %s", list(found), rule.reason))
			continue
		}
		checks = append(checks, passed(rule.name, "the guest has no such device"))
	}
	return checks
}

// devicesOf lists the devices and network backends that a rule is about.
func (f *findings) devicesOf(rule deviceRule) []string {
	var found []string
	for _, d := range f.devices {
		model := d.model()
		if slices.ContainsFunc(rule.prefixes, func(p string) bool { return strings.HasPrefix(model, p) }) {
			found = append(found, model+" "+d.Name)
		}
	}
	kind, ok := networkKinds[rule.name]
	if !ok {
		return found
	}
	for line := range strings.Lines(f.network) {
		if strings.Contains(line, kind) {
			found = append(found, "network backend "+strings.TrimSpace(line))
		}
	}
	return found
}

// checkDisks warns of disks whose content could differ on the other host.
func (f *findings) checkDisks() []vmm.Check {
	var checks []vmm.Check
	for _, d := range f.Disks {
		checks = append(checks, d.checkCache(), d.checkPlace())
	}
	return checks
}

func (d *Disk) checkCache() vmm.Check {
	name := "disk-cache " + d.Device
	if d.Direct || d.ReadOnly || d.Kind == DiskOther {
		return passed(name, "disk %s does not depend on this host's page cache", d.Device)
	}
	return warned(name, "use cache=none (cache.direct=on)", "disk %s (%s) goes through this host's page cache: the destination may read old data, unless its file system is coherent", d.Device, d.Path)
}

func (d *Disk) checkPlace() vmm.Check {
	name := "disk-storage " + d.Device
	if d.FileSystem != "" && !d.ReadOnly {
		return warned(name, "put the image on storage that both hosts share", "disk %s (%s) is on %s, a file system that only one host can use at a time", d.Device, d.Path, d.FileSystem)
	}
	return passed(name, "disk %s (%s) may be on shared storage", d.Device, d.Path)
}
