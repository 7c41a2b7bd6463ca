package vm

import (
	"fmt"
	"net"
	"os"

	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/link"
)

// Sharing says where a block of guest RAM is.
type Sharing int

// The places for guest RAM.
const (
	// SharedFile is a named file on tmpfs, share=on: what lazymig moves.
	SharedFile Sharing = iota
	// PrivateFile is the same file mapped privately.
	PrivateFile
	// Memfd is shared memory without a name.
	Memfd
	// Plain is memory of QEMU alone, as it has it by default.
	Plain
)

// Backend is one block of guest RAM.
type Backend struct {
	MiB     int
	Sharing Sharing
	// DIMM makes it a memory device with a backing object, instead of one of
	// the NUMA nodes that the machine has from the start.
	DIMM bool
}

// Config describes a guest and one host that runs it. The zero value of a
// field takes the default that its comment names.
type Config struct {
	// Image is the guest; there is no default.
	Image guest.Image
	// Guest says how the guest's program behaves.
	Guest guest.Params
	// Name is QEMU's -name, by which lazymig knows the VM. Default "guest".
	Name string
	// Binary is the QEMU to run. Default qemu-system-x86_64.
	Binary string
	// Accel is QEMU's accelerator, tcg or kvm. Default tcg, which runs
	// everywhere.
	Accel string
	// Machine is QEMU's machine type. Default q35.
	Machine string
	// CPUs is the number of virtual CPUs. Default 1.
	CPUs int
	// RAM lists the blocks of guest memory. Default: one shared file of 1 GiB.
	// Several blocks that are no DIMMs become NUMA nodes.
	RAM []Backend
	// Disk is a raw disk image, opened without a cache. Default: no disk.
	Disk string
	// Files is an image of guest.Files, which the guest keeps in its page cache.
	// Default: none.
	Files string
	// Link and Side are the network; a nil Link means none.
	Link *link.Link
	Side link.Side
	// Host is where QEMU runs. Default: the namespace of Side, or this machine
	// without a Link. Dir, RAMDir and Image are paths there.
	Host host.Host
	// Paused leaves the guest stopped at its start.
	Paused bool
	// Dir is the folder for sockets and log, RAMDir the one for RAM files.
	// Default: the folder for temporary files, and /dev/shm.
	Dir, RAMDir string
	// Beats records the guest's heartbeat. Default: a recorder of its own.
	Beats *heartbeat.Recorder
	// Extra is appended to QEMU's command line.
	Extra []string
}

// MAC is the address of the guest's network device.
func MAC() net.HardwareAddr { return net.HardwareAddr{0x52, 0x54, 0x00, 0x4c, 0x4d, 0x01} }

// withDefaults returns a valid copy of c.
func (c Config) withDefaults() (Config, error) {
	if c.Image.Kernel == "" || c.Image.Initramfs == "" {
		return c, fmt.Errorf("configure a VM: it has no image (call guest.Build)")
	}
	if c.Name == "" {
		c.Name = "guest"
	}
	if c.Binary == "" {
		c.Binary = "qemu-system-x86_64"
	}
	if c.Accel == "" {
		c.Accel = "tcg"
	}
	if c.Machine == "" {
		c.Machine = "q35"
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if len(c.RAM) == 0 {
		c.RAM = []Backend{{MiB: 1024}}
	}
	if c.RAM[0].DIMM {
		return c, fmt.Errorf("configure a VM: the first RAM block cannot be a DIMM")
	}
	if c.Link != nil && c.Guest.Address == "" {
		c.Guest.Address = link.GuestAddress
	}
	if c.Files != "" {
		c.Guest.Files = "vda"
		if c.Disk != "" {
			c.Guest.Files = "vdb"
		}
	}
	if c.Host == nil {
		c.Host = host.Here()
		if c.Link != nil {
			c.Host = host.Namespace(c.Link, c.Side)
		}
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if c.RAMDir == "" {
		c.RAMDir = "/dev/shm"
	}
	if c.Beats == nil {
		c.Beats = heartbeat.NewRecorder()
	}
	return c, nil
}
