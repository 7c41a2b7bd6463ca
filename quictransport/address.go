package quictransport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// resolve turns HOST:PORT into an address, IPv4 if the host has one. An empty
// host is the unspecified address. Without identities the result must be a
// loopback address.
func resolve(ctx context.Context, address string, insecure bool) (*net.UDPAddr, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: port %q is no number from 0 to 65535", ErrConfig, service)
	}
	var ip netip.Addr
	if host == "" {
		ip = netip.IPv6Unspecified()
	} else if ip, err = lookup(ctx, host); err != nil {
		return nil, err
	}
	if insecure && !ip.IsLoopback() {
		return nil, loopbackError(address)
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port))), nil
}

func lookup(ctx context.Context, host string) (netip.Addr, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, &Error{kind: ErrUnreachable, text: "cannot resolve " + host, cause: err, hint: "check the name, or use an IP address"}
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if i := slices.IndexFunc(ips, netip.Addr.Is4); i >= 0 {
		return ips[i], nil
	}
	return ips[0], nil
}

func loopbackError(address string) error {
	return &Error{
		kind: ErrNotLoopback, text: address + " is not a loopback address",
		hint: "without identities only 127.0.0.1 and ::1 are allowed; for other hosts make identities with `lazymig cert` and use --tls-dir",
	}
}

// isLoopback reports whether a UDP address is one of this host only.
func isLoopback(a net.Addr) bool {
	udp, ok := a.(*net.UDPAddr)
	return ok && udp.IP.IsLoopback()
}

// localSocket opens the socket from which remote is dialled.
func localSocket(remote *net.UDPAddr, insecure bool) (*net.UDPConn, error) {
	var local net.UDPAddr
	if insecure {
		local.IP = remote.IP
	}
	network := "udp6"
	if remote.IP.To4() != nil {
		network = "udp4"
	}
	return net.ListenUDP(network, &local)
}
