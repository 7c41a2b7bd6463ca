package demo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// freePort returns a UDP port of 127.0.0.1 that nobody uses. The kernel does
// not give it to anybody either before the destination listens there: it is
// none of those that the kernel chooses from by itself.
func freePort() (netip.AddrPort, error) {
	first := kernelPorts()
	for range portTries {
		port := 0 // let the kernel choose: there are no others
		if first > lowestPort {
			port = lowestPort + rand.IntN(first-lowestPort)
		}
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return netip.AddrPort{}, err
		}
		return conn.LocalAddr().(*net.UDPAddr).AddrPort(), conn.Close()
	}
	return netip.AddrPort{}, fmt.Errorf("%d ports are in use", portTries)
}

// kernelPorts returns the first port that the kernel chooses by itself, or 0 if
// that is not known.
func kernelPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		return 0
	}
	return first
}
