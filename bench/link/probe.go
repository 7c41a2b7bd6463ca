package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// probe returns when datagrams pass between host B and the client: the kernel
// takes up to a second to notice that a new cable is plugged in, and drops
// what is sent meanwhile.
func (l *Link) probe(ctx context.Context) error {
	host, err := l.udp(HostB)
	if err != nil {
		return err
	}
	defer host.Close()
	client, err := l.udp(Client)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for {
		there, err := passes(host, client)
		if err != nil {
			return err
		}
		back := false
		if there {
			if back, err = passes(client, host); err != nil {
				return err
			}
		}
		if back {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("wait until the new cable works: %w", err)
		}
	}
}

func (l *Link) udp(side Side) (conn *net.UDPConn, err error) {
	err = l.Inside(side, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(side.Address())})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket on %s: %w", side, err)
	}
	return conn, nil
}

// passes sends a datagram and says whether one came soon.
func passes(from, to *net.UDPConn) (bool, error) {
	if _, err := from.WriteToUDP([]byte{0}, to.LocalAddr().(*net.UDPAddr)); err != nil {
		return false, wait(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(probePeriod)); err != nil {
		return false, fmt.Errorf("probe the cable: %w", err)
	}
	_, _, err := to.ReadFromUDP(make([]byte, 8))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return err == nil, wait(err)
}

// wait says that an error of a probe is the network's, and passes by.
func wait(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	time.Sleep(probePeriod) // it may come at once, again and again
	return nil
}
