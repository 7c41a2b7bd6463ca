package qemu

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// serverSocket is a UNIX socket on which QEMU is going to listen.
type serverSocket struct {
	argument   string
	path       string
	isDatagram bool
}

// characterDevices are the options whose argument is a character device in
// the short form, unix:PATH,server=on.
var characterDevices = optionSet(`serial parallel monitor qmp qmp-pretty debugcon gdb qtest`)

// serverSockets returns the UNIX sockets on which QEMU would listen. QEMU
// removes a socket that is there already, so a guest that listens on it would
// lose its monitor or console.
func (c *commandLine) serverSockets() []serverSocket {
	var list []serverSocket
	for _, o := range c.options {
		s := serverSocket{argument: o.String()}
		if s.path, s.isDatagram = listeningPath(o); s.path != "" {
			list = append(list, s)
		}
	}
	return list
}

// listeningPath returns the socket on which an option makes QEMU listen, or "".
func listeningPath(o option) (path string, isDatagram bool) {
	switch {
	case characterDevices[o.name]:
		return shortFormPath(o.value), false
	case o.name == "chardev":
		return pathIf(o.value, "backend", "socket", "path"), false
	case o.name == "vnc":
		return vncPath(o.value), false
	case o.name == "display":
		p := properties{list: splitProperties(o.value, "type")}
		value, _ := p.get("vnc")
		return vncPath(value), false
	case o.name == "spice":
		p := properties{list: splitProperties(o.value, "")}
		if address, _ := p.get("addr"); p.is("unix") {
			return address, false
		}
	case o.name == "netdev":
		return netdevPath(o.value)
	}
	return "", false
}

// shortFormPath reads [mon:]unix:PATH[,server=on].
func shortFormPath(value string) string {
	value, ok := strings.CutPrefix(strings.TrimPrefix(value, "mon:"), "unix:")
	if !ok {
		return ""
	}
	return serverPath(properties{list: splitProperties(value, "path")}, "path")
}

// pathIf returns the value of key if the first property, kindKey, is kind.
func pathIf(value, kindKey, kind, key string) string {
	p, err := parseProperties(value, kindKey)
	if err != nil {
		return ""
	}
	if k, _ := p.get(kindKey); k != kind {
		return ""
	}
	return serverPath(p, key)
}

// serverPath returns the path if the properties ask for a server on a socket
// with a name in the file system.
func serverPath(p properties, key string) string {
	path, _ := p.get(key)
	if !p.is("server") || p.is("abstract") {
		return ""
	}
	return path
}

func vncPath(value string) string {
	p := properties{list: splitProperties(value, "vnc")}
	display, _ := p.get("vnc")
	path, ok := strings.CutPrefix(display, "unix:")
	if !ok || p.is("reverse") {
		return ""
	}
	return path
}

func netdevPath(value string) (path string, isDatagram bool) {
	p, err := parseProperties(value, "type")
	if err != nil {
		return "", false
	}
	kind, _ := p.get("type")
	remote, _ := p.get("addr.type")
	local, _ := p.get("local.type")
	switch {
	case kind == "stream" && remote == "unix":
		return serverPath(p, "addr.path"), false
	case kind == "dgram" && local == "unix":
		path, _ := p.get("local.path")
		return path, true
	}
	return "", false
}

// refuseLiveSockets returns an error if somebody listens on a socket that
// QEMU would take over.
func (c *commandLine) refuseLiveSockets() error {
	var problems []error
	for _, s := range c.serverSockets() {
		alive, err := s.isAlive()
		if err != nil {
			problems = append(problems, fmt.Errorf("look at the socket %s of %q: %w", s.path, s.argument, err))
		}
		if alive {
			problems = append(problems, &Refusal{
				s.argument,
				"another process listens on " + s.path + ", and QEMU would take the socket away from it",
				"use another path at the destination",
			})
		}
	}
	return errors.Join(problems...)
}

// isAlive connects to the socket, because /proc/net/unix does not list the
// sockets of other network namespaces. Whoever listens sees a connection that
// ends at once.
func (s serverSocket) isAlive() (bool, error) {
	kind := unix.SOCK_STREAM
	if s.isDatagram {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.path}); {
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return true, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return false, nil
	default:
		return false, err
	}
}
