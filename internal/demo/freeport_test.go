package demo

import (
	"net"
	"testing"
)

func TestFreePort(t *testing.T) {
	if first := kernelPorts(); first < 1024 || first > 65535 {
		t.Fatalf("the kernel's ports begin at %d", first)
	}
	seen := map[uint16]bool{}
	for range 50 {
		address, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		if port := int(address.Port()); kernelPorts() > lowestPort && (port < lowestPort || port >= kernelPorts()) {
			t.Errorf("port %d", port)
		}
		seen[address.Port()] = true
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if len(seen) < 25 {
		t.Errorf("%d different ports of 50", len(seen))
	}
}
