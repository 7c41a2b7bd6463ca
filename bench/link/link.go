package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
)

// Side is one of the three namespaces.
type Side string

// The sides of a link.
const (
	HostA  Side = "a"
	HostB  Side = "b"
	Client Side = "c"
)

const (
	// GuestAddress is the address that a guest on the link should have.
	GuestAddress = "10.77.0.5"
	// Tap is the name of the tap of a guest in the namespace of its host.
	Tap = "tap0"
	// Uplink is the name of the cable to the switch on HostA and HostB.
	Uplink = "up0"
)

// Address returns the side's own IPv4 address; on a host it is what migration
// uses.
func (s Side) Address() string {
	return map[Side]string{HostA: "10.77.0.1", HostB: "10.77.0.2", Client: "10.77.0.9"}[s]
}

// mac returns the address of the side's bridge. It stays when a cable is laid
// anew, so that nobody's ARP cache is wrong then.
func (s Side) mac() string {
	return map[Side]string{HostA: "02:4c:4d:00:00:01", HostB: "02:4c:4d:00:00:02", Client: "02:4c:4d:00:00:09"}[s]
}

// Other returns the other host.
func (s Side) Other() Side {
	if s == HostA {
		return HostB
	}
	return HostA
}

// Link is a network of three namespaces.
type Link struct {
	namespaces map[Side]string
	rate       uint64 // bits per second, 0 for no limit
	path       Path
	relay      *relay // nil while the path is a plain cable
	closing    sync.Once
	closed     error
}

// New makes the network. It needs root.
func New(ctx context.Context) (*Link, error) {
	l := &Link{namespaces: make(map[Side]string)}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build the network: %w", err), l.Close())
	}
	return l, nil
}

func (l *Link) build(ctx context.Context) error {
	for _, side := range []Side{Client, HostA, HostB} {
		name := leftover.Name(string(side))
		if err := run(ctx, "", "ip", "netns", "add", name); err != nil {
			return err
		}
		l.namespaces[side] = name
		if err := l.batch(ctx, side,
			"link set lo up",
			"link add br0 address "+side.mac()+" type bridge stp_state 0 mcast_snooping 0",
			"addr add "+side.Address()+"/24 dev br0",
			"link set br0 up",
		); err != nil {
			return err
		}
	}
	for _, side := range []Side{HostA, HostB} {
		if err := l.connect(ctx, side); err != nil {
			return err
		}
	}
	return nil
}

// connect makes a host's tap and lays the cable between it and the switch.
func (l *Link) connect(ctx context.Context, side Side) error {
	if err := l.batch(ctx, side, "tuntap add "+Tap+" mode tap", "link set "+Tap+" master br0 up"); err != nil {
		return err
	}
	return l.cable(ctx, side)
}

// cable lays the cable alone.
func (l *Link) cable(ctx context.Context, side Side) error {
	if err := l.batch(ctx, side,
		"link add "+Uplink+" type veth peer name "+port(side)+" netns "+l.namespaces[Client],
		"link set "+Uplink+" master br0 up",
	); err != nil {
		return err
	}
	return l.batch(ctx, Client, "link set "+port(side)+" master br0 up")
}

// port returns the name of a host's cable at the switch.
func port(side Side) string { return "host-" + string(side) }

// Namespace returns the name of a side's namespace for ip netns exec.
func (l *Link) Namespace(side Side) string { return l.namespaces[side] }

// Command returns a command that runs in the namespace of side. Its process
// is the program itself.
func (l *Link) Command(ctx context.Context, side Side, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.namespaces[side], name}, args...)...)
}

// Cut unplugs a host's cable at the switch.
func (l *Link) Cut(ctx context.Context, side Side) error {
	return l.batch(ctx, Client, "link set "+port(side)+" down")
}

// Restore plugs the cable in again.
func (l *Link) Restore(ctx context.Context, side Side) error {
	return l.batch(ctx, Client, "link set "+port(side)+" up")
}

// SetRate limits what each host sends to bits per second; 0 takes the limit
// away. The queue holds what the rate sends in 10 ms, see rateQueue.
func (l *Link) SetRate(ctx context.Context, bits uint64) error {
	for _, side := range []Side{HostA, HostB} {
		args := []string{"-n", l.namespaces[side], "qdisc", "replace", "dev", Uplink, "root"}
		if bits == 0 {
			args = append(args, "noqueue")
		} else {
			limit := max(bits/8*uint64(rateQueue/time.Millisecond)/1000, minQueue)
			burst := max(bits/8*uint64(rateBurst/time.Millisecond)/1000, minBurst)
			args = append(args, "tbf", "rate", fmt.Sprint(bits), "burst", fmt.Sprint(burst), "limit", fmt.Sprint(limit))
		}
		if err := run(ctx, "", "tc", args...); err != nil {
			return fmt.Errorf("limit the rate of host %s: %w", side, err)
		}
	}
	l.rate = bits
	return nil
}

// Close kills every process in the namespaces and removes them. It is safe to
// call more than once.
func (l *Link) Close() error {
	l.closing.Do(func() { l.closed = l.remove() })
	return l.closed
}

func (l *Link) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var problems []error
	if l.relay != nil {
		problems = append(problems, l.relay.close())
		l.relay = nil
	}
	for _, name := range l.namespaces {
		problems = append(problems, leftover.RemoveNamespace(ctx, name))
	}
	return errors.Join(problems...)
}

// batch runs lines of ip in the namespace of side.
func (l *Link) batch(ctx context.Context, side Side, lines ...string) error {
	return run(ctx, strings.Join(lines, "\n")+"\n", "ip", "-n", l.namespaces[side], "-batch", "-")
}

func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(text))
	}
	return nil
}
