package metal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"
)

// device returns the network card that leads to an address.
func device(ctx context.Context, address string) (string, error) {
	out, err := exec.CommandContext(ctx, "ip", "-j", "route", "get", address).Output()
	if err != nil {
		said := err.Error()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			said = strings.TrimSpace(string(exit.Stderr))
		}
		return "", fmt.Errorf("find the way to %s: %s", address, said)
	}
	var routes []struct {
		Device string `json:"dev"`
	}
	if err := json.Unmarshal(out, &routes); err != nil || len(routes) == 0 {
		return "", fmt.Errorf("find the way to %s: ip says %q", address, out)
	}
	if routes[0].Device == "lo" {
		return "", fmt.Errorf("find the way to %s: it is this host itself", address)
	}
	return routes[0].Device, nil
}

// echo answers on the ports of migrations until it is closed.
type echo struct {
	packets net.PacketConn
	streams net.Listener
}

func newEcho(a reachArgs) (*echo, error) {
	packets, err := net.ListenPacket("udp", a.UDP)
	if err != nil {
		return nil, err
	}
	streams, err := net.Listen("tcp", a.TCP)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	e := &echo{packets: packets, streams: streams}
	go e.servePackets()
	go e.serveStreams()
	return e, nil
}

func (e *echo) servePackets() {
	b := make([]byte, 64)
	for {
		n, from, err := e.packets.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = e.packets.WriteTo(b[:n], from) // it is sent again
	}
}

func (e *echo) serveStreams() {
	for {
		conn, err := e.streams.Accept()
		if err != nil {
			return
		}
		_, _ = io.CopyN(conn, conn, int64(len(knock))) // the other end finds out
		_ = conn.Close()
	}
}

func (e *echo) close() error { return errors.Join(e.packets.Close(), e.streams.Close()) }

// knock is what goes there and back.
const knock = "lazymig?"

// reach asks the echo of the other host.
func reach(a reachArgs) error {
	return errors.Join(knockAt("udp", a.UDP), knockAt("tcp", a.TCP))
}

func knockAt(network, address string) error {
	conn, err := net.DialTimeout(network, address, reachTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	b := make([]byte, len(knock))
	for range reachTries { // a datagram may be lost
		if _, err = io.WriteString(conn, knock); err != nil {
			continue
		}
		if err = conn.SetReadDeadline(time.Now().Add(reachTimeout / reachTries)); err != nil {
			break
		}
		if _, err = io.ReadFull(conn, b); err == nil || network == "tcp" {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("no answer from %s %s: %w", network, address, err)
	}
	return nil
}
