package qemu

import (
	"os/user"
	"strconv"
	"strings"
)

// unusable are options that no destination can have, with reason and fix.
var unusable = map[string][2]string{
	"mem-path": {
		"RAM of -mem-path is private to QEMU and would travel in QEMU's own stream",
		"use -object memory-backend-file,id=ram0,mem-path=/dev/shm/NAME,size=SIZE,share=on and -machine …,memory-backend=ram0",
	},
	"mem-prealloc": {"it fills the guest's RAM before the guest's memory has arrived", "leave it out"},
	"snapshot":     {"its disks are temporary files that the other host does not have", "leave it out and use shared disks"},
	"loadvm":       {"a destination gets its state from the source", "leave it out"},
	"preconfig":    {"QEMU would wait for somebody to finish the configuration", "leave it out"},
	"readconfig":   {"options in a file cannot be checked or rewritten", "put the file's options on the command line"},
}

const correctSyntax = "correct it; JSON is read with double quotes only"

// readOption notes what an option means for the destination, or refuses it.
func (c *commandLine) readOption(i int, o option) error {
	if why, ok := unusable[o.name]; ok {
		return &Refusal{o.String(), why[0], why[1]}
	}
	switch o.name {
	case "object":
		return c.readObject(i, o)
	case "daemonize":
		c.daemonize = true
	case "incoming":
		return c.readIncoming(o)
	case "runas", "run-with":
		return c.readOwner(o)
	case "set":
		return refuseSet(o)
	case "overcommit", "realtime":
		return refuseMemoryLock(o)
	case "device", "netdev", "nic", "net":
		return refuseDevice(o)
	}
	return nil
}

func (c *commandLine) readIncoming(o option) error {
	if o.value != "defer" {
		return &Refusal{o.String(), "lazymig itself tells QEMU where the guest comes from", "leave -incoming out"}
	}
	c.hasIncoming = true
	return nil
}

// refuseSet refuses -set for objects and sockets, which would change them
// behind the back of the checks.
func refuseSet(o option) error {
	group, _, _ := strings.Cut(o.value, ".")
	if group == "object" || group == "chardev" {
		return &Refusal{o.String(), "it changes an option that has to be checked first", "write the value into the -" + group + " itself"}
	}
	return nil
}

func refuseMemoryLock(o option) error {
	p := properties{list: splitProperties(o.value, "")}
	if p.is("mem-lock") || p.is("mlock") {
		return &Refusal{o.String(), "locking touches all of the guest's RAM before the guest's memory has arrived", "leave it out"}
	}
	return nil
}

// foreignMemory are devices and network backends in which somebody beside
// QEMU's own threads reads or writes guest RAM. userfaultfd does not see
// those accesses: they would find zeros.
var foreignMemory = map[string]string{
	"vhost-user": "use virtio with vhost or a tap instead",
	"vfio":       "give the guest an emulated or virtio device instead",
	"vhost-vdpa": "give the guest a virtio device instead",
	"ivshmem":    "remove the shared memory device",
}

func refuseDevice(o option) error {
	implied := "driver"
	if o.name != "device" {
		implied = "type"
	}
	p, err := parseProperties(o.value, implied)
	if err != nil {
		return &Refusal{o.String(), err.Error(), correctSyntax}
	}
	kind, _ := p.get(implied)
	for prefix, fix := range foreignMemory {
		if kind == prefix || strings.HasPrefix(kind, prefix+"-") {
			return &Refusal{o.String(), "another process or a device would read guest memory that has not arrived, as zeros", fix}
		}
	}
	return nil
}

// owner is the user that QEMU changes to.
type owner struct{ uid, gid int }

// readOwner reads -runas USER, -runas UID:GID and -run-with user=….
func (c *commandLine) readOwner(o option) error {
	name := o.value
	if o.name == "run-with" {
		p := properties{list: splitProperties(o.value, "")}
		value, ok := p.get("user")
		if !ok {
			return nil
		}
		name = value
	}
	ids, ok := lookUpOwner(name)
	if !ok {
		return &Refusal{o.String(), "this host has no such user", "create the user here or give UID:GID"}
	}
	c.owner = ids
	return nil
}

func lookUpOwner(name string) (*owner, bool) {
	uidText, gidText, isPair := strings.Cut(name, ":")
	if u, err := user.Lookup(name); err == nil {
		uidText, gidText, isPair = u.Uid, u.Gid, true
	}
	uid, err1 := strconv.ParseUint(uidText, 10, 31)
	gid, err2 := strconv.ParseUint(gidText, 10, 31)
	if !isPair || err1 != nil || err2 != nil {
		return nil, false
	}
	return &owner{int(uid), int(gid)}, true
}
