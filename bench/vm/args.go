package vm

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/lazymig/lazymig/bench/link"
)

// Args returns QEMU's whole command line, the program first, as a person would
// start the guest on this VM's host.
func (v *VM) Args() []string {
	c := v.config
	args := []string{
		c.Binary, "-name", c.Name, "-accel", c.Accel, "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-smp", strconv.Itoa(c.CPUs),
		// The monitors stand before the serial ports: QEMU opens them in this
		// order, so they listen when a port has connected.
		"-qmp", "unix:" + v.QMPPath() + ",server=on,wait=off",
		"-qmp", "unix:" + v.MonitorPath() + ",server=on,wait=off",
		"-kernel", c.Image.Kernel, "-initrd", c.Image.Initramfs, "-append", c.Guest.CommandLine(),
		"-chardev", "socket,id=control,path=" + v.path("control"), "-serial", "chardev:control",
		"-chardev", "socket,id=beat,path=" + v.path("beat"), "-serial", "chardev:beat",
		"-device", "virtio-balloon-pci,id=balloon0,deflate-on-oom=on",
	}
	args = append(args, v.ramArgs()...)
	if c.Link != nil {
		args = append(args, "-netdev", "tap,id=net0,ifname="+link.Tap+",script=no,downscript=no,vhost=off",
			"-device", "virtio-net-pci,netdev=net0,mac="+MAC().String())
	}
	if c.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk0,format=raw,cache=none,file="+c.Disk,
			"-device", "virtio-blk-pci,drive=disk0")
	}
	if c.Files != "" {
		args = append(args, "-drive", "if=none,id=files0,format=raw,cache=none,readonly=on,file="+c.Files,
			"-device", "virtio-blk-pci,drive=files0")
	}
	if c.Paused {
		args = append(args, "-S")
	}
	return append(args, c.Extra...)
}

// ramArgs returns the options for memory: one block is the machine's own,
// several are NUMA nodes, DIMMs come behind them.
func (v *VM) ramArgs() []string {
	machine := v.config.Machine
	var args, nodes, dimms []string
	base, all, cold := 0, 0, 0
	for i, b := range v.config.RAM {
		id := fmt.Sprintf("ram%d", i)
		args = append(args, "-object", v.backend(id, i, b))
		all += b.MiB
		if b.DIMM {
			dimms = append(dimms, "-device", fmt.Sprintf("pc-dimm,id=dimm%d,memdev=%s", i, id))
			continue
		}
		base += b.MiB
		nodes = append(nodes, "-numa", fmt.Sprintf("node,nodeid=%d,memdev=%s", cold, id))
		cold++
	}
	size := fmt.Sprintf("%dM", base)
	if len(dimms) > 0 {
		size += fmt.Sprintf(",slots=%d,maxmem=%dM", len(dimms)/2, all)
	}
	if cold == 1 {
		machine += ",memory-backend=ram0"
		nodes = nil
	}
	args = append(args, "-machine", machine, "-m", size)
	return append(append(args, nodes...), dimms...)
}

func (v *VM) backend(id string, i int, b Backend) string {
	switch b.Sharing {
	case Memfd:
		return fmt.Sprintf("memory-backend-memfd,id=%s,size=%dM,share=on", id, b.MiB)
	case PrivateFile:
		return fmt.Sprintf("memory-backend-file,id=%s,size=%dM,share=off,mem-path=%s", id, b.MiB, v.ramPath(i))
	case Plain:
		return fmt.Sprintf("memory-backend-ram,id=%s,size=%dM,share=off", id, b.MiB)
	default:
		return fmt.Sprintf("memory-backend-file,id=%s,size=%dM,share=on,mem-path=%s", id, b.MiB, v.ramPath(i))
	}
}

func (v *VM) ramPath(i int) string {
	return filepath.Join(v.config.RAMDir, fmt.Sprintf("%s-ram%d", v.name, i))
}

// RAMFiles returns the paths of the RAM files that the command line names.
func (v *VM) RAMFiles() []string {
	var paths []string
	for i, b := range v.config.RAM {
		if b.Sharing != Memfd && b.Sharing != Plain {
			paths = append(paths, v.ramPath(i))
		}
	}
	return paths
}

// QMPPath returns the socket of the monitor that is meant for lazymig.
func (v *VM) QMPPath() string { return v.path("qmp") }

// MonitorPath returns the socket of a second monitor, for the harness.
func (v *VM) MonitorPath() string { return v.path("monitor") }

// LogPath returns the file that has what QEMU itself said, if Start started it.
func (v *VM) LogPath() string { return v.path("qemu.log") }

func (v *VM) path(name string) string { return filepath.Join(v.dir, name) }
