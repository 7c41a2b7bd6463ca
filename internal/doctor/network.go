package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockets is what UDP sockets of this host can do.
type sockets struct {
	receive, send int   // bytes of the largest buffers, as the kernel counts them
	segment       error // of UDP_SEGMENT: many packets by one call
	coalesce      error // of UDP_GRO, which lazymig does not use
}

// trySockets sets up a socket as quic-go does.
func trySockets() (found sockets, err error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return found, fmt.Errorf("open a UDP socket: %w", err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return found, err
	}
	var problem error
	err = raw.Control(func(fd uintptr) { problem = found.try(int(fd)) })
	return found, errors.Join(err, problem)
}

func (s *sockets) try(fd int) (err error) {
	if s.receive, err = enlarge(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE); err != nil {
		return err
	}
	if s.send, err = enlarge(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE); err != nil {
		return err
	}
	s.segment = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1200)
	s.coalesce = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	return nil
}

// enlarge asks for a buffer as large as wanted: within the limits of the
// sysctl, else with privileges above them. It returns what the kernel gave.
func enlarge(fd, option, force int) (int, error) {
	for _, o := range []int{option, force} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, socketBuffer) // the size tells
		size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil || size >= socketBuffer {
			return size, err
		}
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
}

func checkSocketBuffers(_ context.Context, h *host) finding {
	fix := fmt.Sprintf("sysctl -w net.core.rmem_max=%d net.core.wmem_max=%[1]d", socketBuffer)
	found, err := h.sockets()
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return notAble("allow UDP sockets to lazymig (seccomp, SELinux, systemd: RestrictAddressFamilies=)", "%v", err)
	case err != nil:
		return unknown("ip link set lo up", "%v", err)
	case found.receive < socketBuffer || found.send < socketBuffer:
		return limited(fix, "buffers of %s to receive and %s to send, QUIC wants %s: packets get lost at high rates",
			bytesText(uint64(found.receive)), bytesText(uint64(found.send)), bytesText(socketBuffer))
	}
	return ok("%s to receive, %s to send", bytesText(uint64(found.receive)), bytesText(uint64(found.send)))
}

func checkOffload(_ context.Context, h *host) finding {
	found, err := h.sockets()
	if err != nil {
		return unknown("see udp-buffers above", "%v", err)
	}
	if disabled, err := strconv.ParseBool(os.Getenv("QUIC_GO_DISABLE_GSO")); err == nil && disabled {
		return limited("unset QUIC_GO_DISABLE_GSO", "QUIC_GO_DISABLE_GSO turns UDP_SEGMENT off: about one system call a packet")
	}
	if found.segment != nil {
		return limited("use Linux 5.0 or newer; in gVisor, run lazymig on the host itself", "no UDP_SEGMENT (%v): one system call a packet costs throughput", found.segment)
	}
	if found.coalesce != nil {
		return ok("UDP_SEGMENT works; UDP_GRO does not and is not used")
	}
	return ok("UDP_SEGMENT works, UDP_GRO too")
}

func tryListen(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func checkListen(ctx context.Context, h *host) finding {
	_, port, _ := net.SplitHostPort(h.Listen) // was checked with the flags
	err := h.listen(ctx, h.Listen)
	_, unresolved := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil:
		return ok("UDP %s is free here (firewalls are not seen)", h.Listen)
	case errors.Is(err, syscall.EADDRINUSE):
		return notAble("ss -ulpn sport = :"+port+" shows who; end it or use another port", "UDP %s is in use", h.Listen)
	case errors.Is(err, syscall.EACCES):
		return notAble("use a port from 1024 on, or run as root", "UDP %s needs a privilege", h.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return notAble("ip -brief address shows this host's; 0.0.0.0 is all of them", "%s is no address of this host", h.Listen)
	case unresolved:
		return notAble("use an address instead, or add the name to /etc/hosts", "%v", err)
	}
	return notAble("use another --listen", "%v", err)
}
