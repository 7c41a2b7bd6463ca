package qemu

import "strings"

// withoutArgument are the options of all QEMU versions since 4.0 that take no
// argument.
var withoutArgument = optionSet(`
	S alt-grab async-teardown audio-help ctrl-grab curses daemonize
	enable-fips enable-hax enable-kvm enable-sync-profile full-screen h help
	jitdump mem-prealloc no-acpi no-fd-bootchk no-frame no-hpet no-kvm
	no-quit no-reboot no-shutdown no-user-config nodefaults nodefconfig
	nographic nouserconfig old-param only-migratable perfmap portrait
	preconfig s sdl semihosting singlestep snapshot usb version win2k-hack
	xen-attach xen-create xen-domid-restrict`)

// withArgument are the options that take one argument, even one that begins
// with a dash.
var withArgument = optionSet(`
	D L M accel acpitable action add-fd append audio audiodev balloon bios
	blockdev boot bt cdrom chardev chroot clock compat cpu d debugcon device
	dfilter display drive dtb dump-vmstate echr fda fdb fsdev fw_cfg g gdb
	global hda hdb hdc hdd icount igd-passthru incoming initrd iscsi k kernel
	loadvm m machine mem-path mon monitor msg mtdblock name net netdev nic
	numa object option-rom overcommit parallel pflash pidfile plugin prom-env
	qmp qmp-pretty qtest qtest-log readconfig realtime rotate rtc run-with
	runas sandbox sd seed semihosting-config serial set shim smbios smp
	soundhw spice tb-size tpmdev trace usbdevice uuid vga virtfs vnc watchdog
	watchdog-action writeconfig xen-domid`)

func optionSet(names string) map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

// option is one option of a QEMU command line with its argument.
type option struct {
	// flag is the option as it was written, with one or two dashes, or a word
	// that belongs to no option: QEMU takes it for a disk image.
	flag string
	// name is the flag without its dashes; empty for a disk image.
	name     string
	value    string
	hasValue bool
}

// String returns the option the way it was written.
func (o option) String() string {
	if o.hasValue {
		return o.flag + " " + o.value
	}
	return o.flag
}

// parseOptions cuts arguments into options as QEMU does: an argument belongs
// to the option before it, whatever it looks like. An option that is in
// neither list takes an argument unless the next word begins with a dash.
func parseOptions(arguments []string) ([]option, error) {
	var list []option
	for i := 0; i < len(arguments); i++ {
		o := option{flag: arguments[i], name: optionName(arguments[i])}
		next := i + 1
		switch {
		case o.name == "" || withoutArgument[o.name]:
		case next == len(arguments):
			if withArgument[o.name] {
				return nil, &Refusal{o.flag, "the option needs an argument", "complete the command line"}
			}
		case withArgument[o.name] || !strings.HasPrefix(arguments[next], "-"):
			o.value, o.hasValue = arguments[next], true
			i = next
		}
		list = append(list, o)
	}
	return list, nil
}

// optionName returns the name of an option without its dashes, or "" for a
// word that is none.
func optionName(word string) string {
	if !strings.HasPrefix(word, "-") {
		return ""
	}
	return strings.TrimPrefix(word[1:], "-")
}
