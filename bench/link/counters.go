package link

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Counters are the bytes that a host has sent and received over its cable
// since it was laid, as its kernel counts them.
type Counters struct{ Sent, Received uint64 }

// Counters returns the counters of a host's cable.
func (l *Link) Counters(side Side) (Counters, error) {
	var text []byte
	err := l.Inside(side, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return Counters{}, fmt.Errorf("read the counters of host %s: %w", side, err)
	}
	return parseCounters(text, Uplink)
}

// DeviceCounters returns the counters of a network card of this machine.
func DeviceCounters(device string) (Counters, error) {
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return Counters{}, fmt.Errorf("read the counters of %s: %w", device, err)
	}
	return parseCounters(text, device)
}

// parseCounters finds a device in /proc/net/dev, where "NAME:" stands before
// eight numbers of what was received and eight of what was sent.
func parseCounters(text []byte, device string) (Counters, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || strings.TrimSpace(name) != device || len(fields) < 16 {
			continue
		}
		received, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return Counters{}, fmt.Errorf("read the counters of %s: %w", device, err)
		}
		sent, err := strconv.ParseUint(fields[8], 10, 64)
		if err != nil {
			return Counters{}, fmt.Errorf("read the counters of %s: %w", device, err)
		}
		return Counters{Sent: sent, Received: received}, nil
	}
	return Counters{}, fmt.Errorf("find the counters of %s: %w", device, os.ErrNotExist)
}
