package qemu

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// Description is everything about a guest that both sides must agree on. It
// travels as JSON and is compared by Compare.
type Description struct {
	// Name is QEMU's -name, empty if the guest has none.
	Name string `json:"name"`
	// Version is that of QEMU.
	Version Version `json:"version"`
	// Machine is the machine type with its version, such as
	// "pc-q35-7.2-machine".
	Machine string `json:"machine"`
	// Arch is QEMU's target, such as "x86_64".
	Arch string `json:"arch"`
	CPU  CPU    `json:"cpu"`
	// RAM lists the memory backends, ordered by ID. It is the order of the
	// regions of Layout.
	RAM []RAMBlock `json:"ram"`
	// Blocks lists all of QEMU's RAM blocks (backends, ROMs, video memory),
	// ordered by name.
	Blocks []Block `json:"blocks"`
	// DIMMs lists the memory devices, ordered by ID.
	DIMMs []DIMM `json:"dimms,omitempty"`
	// Disks lists the drives that hold a medium, in QEMU's order.
	Disks []Disk `json:"disks,omitempty"`
	// State is QEMU's run state, such as "running" or "paused".
	State string `json:"state"`
	// Running says that the vCPUs run.
	Running bool `json:"running"`
	// Allocated is how much of the RAM files is data, in bytes.
	Allocated uint64 `json:"allocated"`
}

// Version is QEMU's version.
type Version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
	Micro int `json:"micro"`
	// Package is the distribution's name of the build; it is not compared.
	Package string `json:"package,omitempty"`
}

// AtLeast reports whether the version is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// String returns the version as QEMU writes it.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// CPU is what the guest sees as its processors.
type CPU struct {
	// Type is QEMU's name of the model, such as "qemu64-x86_64-cpu".
	Type string `json:"type"`
	// Count is the number of vCPUs.
	Count int `json:"count"`
	// Features holds the feature words of the first vCPU that are not zero,
	// ordered by leaf, subleaf and register.
	Features []FeatureWord `json:"features,omitempty"`
}

// FeatureWord is one register of a CPUID leaf.
type FeatureWord struct {
	Leaf     uint32 `json:"leaf"`
	Subleaf  uint32 `json:"subleaf,omitempty"`
	Register string `json:"register"`
	Bits     uint32 `json:"bits"`
}

// RAMBlock is one memory backend.
type RAMBlock struct {
	// ID is the backend's id, such as "ram0".
	ID string `json:"id"`
	// Size is in bytes.
	Size uint64 `json:"size"`
	// Path is the backend's file on its own host; the sides differ in it.
	Path string `json:"path,omitempty"`
	// PageSize is the host page size of the file, in bytes.
	PageSize uint64 `json:"page_size"`
	// Shared says that the backend has share=on.
	Shared bool `json:"shared"`
	// Type is the backend's type, such as "memory-backend-file".
	Type string `json:"type"`
}

// Block is one of QEMU's RAM blocks, whoever made it.
type Block struct {
	Name string `json:"name"`
	// Size is the largest size that the block can have, in bytes.
	Size uint64 `json:"size"`
}

// DIMM is one memory device.
type DIMM struct {
	ID string `json:"id"`
	// Backend is the id of its memory backend.
	Backend string `json:"backend"`
	// Address is the guest-physical address of its first byte.
	Address uint64 `json:"address"`
	Size    uint64 `json:"size"`
}

// Disk is one drive with a medium.
type Disk struct {
	// Device is QEMU's name of the drive, or the path of the device that has
	// it.
	Device string `json:"device"`
	// Path is the image as QEMU names it: a path of its host, or an address.
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only"`
	// Direct says that the host's page cache is not used (cache.direct=on).
	Direct bool     `json:"direct"`
	Kind   DiskKind `json:"kind"`
	// Inode and Size identify a regular file. Size, in bytes, is known for a
	// block device, too. Zero: not known.
	Inode uint64 `json:"inode,omitempty"`
	Size  uint64 `json:"size,omitempty"`
	// FileSystem names the file system that holds a regular file, if it is a
	// known one.
	FileSystem string `json:"file_system,omitempty"`
}

// DiskKind tells what a disk's path names.
type DiskKind string

// The kinds of disks.
const (
	DiskFile   DiskKind = "file"   // a regular file
	DiskDevice DiskKind = "device" // a block device
	DiskOther  DiskKind = "other"  // a network address, or a path that cannot be looked at
)

// huge returns how many bytes of RAM are in huge pages. A file of those looks
// allocated from its first byte to its last.
func (d Description) huge() uint64 {
	var sum uint64
	for _, r := range d.RAM {
		if r.PageSize != lazymig.PageSize {
			sum += r.Size
		}
	}
	return sum
}

// Layout returns the regions that lazymig moves, in the order that both sides
// use: the memory backends ordered by ID.
func (d Description) Layout() lazymig.Layout {
	layout := make(lazymig.Layout, 0, len(d.RAM))
	for _, r := range d.RAM {
		layout = append(layout, lazymig.Region{Name: r.ID, Size: r.Size})
	}
	return layout
}
