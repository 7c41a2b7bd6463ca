package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Refusal says why a command line cannot be used for a destination, and what
// to change.
type Refusal struct {
	// Argument is the part of the command line that it is about.
	Argument string
	// Reason says what would go wrong.
	Reason string
	// Fix says what to change.
	Fix string
}

// Error returns all three parts.
func (r *Refusal) Error() string {
	return fmt.Sprintf("refuse %q: %s; %s", r.Argument, r.Reason, r.Fix)
}

// commandLine is a QEMU command line that a destination can use.
type commandLine struct {
	binary      string // as found on PATH
	options     []option
	backends    []backend
	daemonize   bool
	hasIncoming bool
	owner       *owner
}

// NameFromArgs returns the guest's name on a QEMU command line: what -name
// gives, in any of its forms. It is empty for a guest without one.
func NameFromArgs(args []string) string {
	if len(args) == 0 {
		return ""
	}
	options, err := parseOptions(args[1:])
	if err != nil {
		return ""
	}
	var name string
	for _, o := range options {
		if o.name != "name" {
			continue
		}
		p := properties{list: splitProperties(o.value, "guest")}
		if v, ok := p.get("guest"); ok {
			name = v
		}
	}
	return name
}

// parseCommandLine reads a command line and checks everything that can be
// checked without starting QEMU. All refusals are reported together, each a
// *Refusal.
func parseCommandLine(args []string) (*commandLine, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, &Refusal{"", "there is no QEMU command line", "give the guest's command line behind --"}
	}
	binary, err := findBinary(args[0])
	if err != nil {
		return nil, err
	}
	options, err := parseOptions(args[1:])
	if err != nil {
		return nil, err
	}
	c := &commandLine{binary: binary, options: options}
	var problems []error
	for i, o := range options {
		problems = append(problems, c.readOption(i, o))
	}
	problems = append(problems, c.checkBackends())
	return c, errors.Join(problems...)
}

// findBinary looks QEMU up on PATH.
func findBinary(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &Refusal{name, "no QEMU here: the file is not executable", "give the path of an executable qemu-system-x86_64"}
	}
	return "", &Refusal{name, "no QEMU here: " + err.Error(), "install QEMU on this host (the version of the source or a newer one) or give its full path"}
}

// arguments returns the command line that starts the destination: RAM files
// instead of the given ones, stopped, waiting for a migration, with a private
// monitor on the socket monitor.
func (c *commandLine) arguments(files map[string]string, monitor, tag string) ([]string, error) {
	list := []string{c.binary}
	rewritten, err := c.rewrite(files)
	if err != nil {
		return nil, err
	}
	for i, o := range c.options {
		list = append(list, o.flag)
		if value, ok := rewritten[i]; ok {
			o.value = value
		}
		if o.hasValue {
			list = append(list, o.value)
		}
	}
	if !c.hasIncoming {
		list = append(list, "-incoming", "defer")
	}
	id := "lazymig-" + tag
	return append(list, "-S",
		"-chardev", "socket,id="+id+",path="+strings.ReplaceAll(monitor, ",", ",,")+",server=on,wait=off",
		"-mon", "chardev="+id+",mode=control"), nil
}

// rewrite returns the new arguments of the options that name RAM files, by
// the position of the option. files maps the id of a backend to its file.
func (c *commandLine) rewrite(files map[string]string) (map[int]string, error) {
	list := make(map[int]string)
	for _, b := range c.backends {
		path, ok := files[b.id]
		if !ok {
			return nil, fmt.Errorf("rewrite the memory backend %s: it has no file", b.id)
		}
		argument, err := b.properties.with("mem-path", path)
		if err != nil {
			return nil, fmt.Errorf("rewrite the memory backend %s: %w", b.id, err)
		}
		list[b.option] = argument
	}
	return list, nil
}
