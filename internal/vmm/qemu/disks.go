package qemu

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sectorSize is the unit of /sys/dev/block/*/size, in bytes.
const sectorSize = 512

// localFileSystems are the file systems that only one host can use.
var localFileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	0x2fc12fc1:                 "zfs",
	0xca451a4e:                 "bcachefs",
}

// disksOf describes the drives that hold a medium.
func disksOf(pid int, drives []driveInfo) []Disk {
	var list []Disk
	for _, d := range drives {
		if d.Inserted == nil {
			continue
		}
		disk := Disk{
			Device:   d.Device,
			Path:     strings.TrimPrefix(d.Inserted.File, "file:"),
			ReadOnly: d.Inserted.ReadOnly,
			Direct:   d.Inserted.Cache.Direct,
		}
		if disk.Device == "" {
			disk.Device = d.QDev
		}
		if disk.Device == "" {
			disk.Device = d.Inserted.NodeName
		}
		disk.look(pid)
		list = append(list, disk)
	}
	return list
}

// look finds out what the disk's path names on this host.
func (d *Disk) look(pid int) {
	d.Kind = DiskOther
	status, err := statOf(pid, d.Path)
	if err != nil {
		return
	}
	switch status.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.Kind, d.Inode, d.Size = DiskFile, status.Ino, uint64(status.Size)
		d.FileSystem = localFileSystem(pid, d.Path)
	case unix.S_IFBLK:
		d.Kind, d.Size = DiskDevice, deviceSize(status.Rdev)
	}
}

// localFileSystem names the file system of a path if only one host can use
// it.
func localFileSystem(pid int, path string) string {
	for _, p := range pathsOf(pid, path) {
		var fs unix.Statfs_t
		if unix.Statfs(p, &fs) == nil {
			return localFileSystems[fs.Type]
		}
	}
	return ""
}

// deviceSize returns the size of a block device in bytes, 0 if not known.
func deviceSize(device uint64) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/size", unix.Major(device), unix.Minor(device)))
	if err != nil {
		return 0
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 55)
	if err != nil {
		return 0
	}
	return sectors * sectorSize
}
