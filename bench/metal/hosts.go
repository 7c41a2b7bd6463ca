package metal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
)

// Target is one machine.
type Target struct {
	// Login is what ssh calls it, such as root@kvm1.
	Login string
	// Address is where the other one reaches it. Default: what Login resolves to.
	Address string
}

// ParseTarget reads LOGIN or LOGIN=ADDRESS.
func ParseTarget(text string) (Target, error) {
	login, address, _ := strings.Cut(text, "=")
	if login == "" || strings.HasPrefix(login, "-") || strings.ContainsAny(login, " \t'\"") {
		return Target{}, fmt.Errorf("%q is no host: use HOST, USER@HOST, or one of them with =ADDRESS", text)
	}
	if strings.Contains(text, "=") && net.ParseIP(address) == nil {
		return Target{}, fmt.Errorf("%q is no IP address for %s", address, login)
	}
	return Target{Login: login, Address: address}, nil
}

// Config says how to get at two machines.
type Config struct {
	// Targets are the machine that the guest comes from, and the one where it
	// goes to.
	Targets [2]Target
	// SSH is the program and what stands before the machine's name. Default ssh.
	SSH []string
	// Program is the lazymig that is copied to them. There is no default.
	Program string
	// QEMU and Accel are as in vm.Config.
	QEMU, Accel string
	// MemoryMiB is that of the largest guest.
	MemoryMiB int
	// UDP and TCP are the ports of migrations.
	UDP, TCP string
}

// Hosts are two machines. Its methods are for one goroutine.
type Hosts struct {
	config  Config
	program []byte
	image   guest.Image // on this machine
	remotes [2]*Remote  // nil while there is none
	runs    int
}

// sides are those of Config.Targets.
var sides = [2]link.Side{link.HostA, link.HostB}

// Open builds the guest, starts helpers on both machines and checks that guests
// can move from the first to the second one.
func Open(ctx context.Context, config Config) (*Hosts, error) {
	if len(config.SSH) == 0 {
		config.SSH = []string{"ssh"}
	}
	h := &Hosts{config: config}
	if err := h.resolve(ctx); err != nil {
		return nil, err
	}
	var err error
	if h.program, err = os.ReadFile(config.Program); err != nil {
		return nil, fmt.Errorf("read the program for the hosts: %w", err)
	}
	if err := h.Connect(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// errSame is why two names are of no use.
var errSame = errors.New("both hosts have the same address")

// resolve finds the addresses that were not given.
func (h *Hosts) resolve(ctx context.Context) error {
	for i, t := range h.config.Targets {
		if t.Address != "" {
			continue
		}
		name, err := h.hostName(ctx, t.Login)
		if err != nil {
			return err
		}
		found, err := net.DefaultResolver.LookupIPAddr(ctx, name)
		if err != nil {
			return &AddressError{Host: t.Login, err: err}
		}
		if found[0].IP.IsLoopback() {
			return &AddressError{Host: t.Login, err: fmt.Errorf("%s is %s here", name, found[0])}
		}
		h.config.Targets[i].Address = found[0].String()
	}
	if h.config.Targets[0].Address == h.config.Targets[1].Address {
		return &AddressError{Host: h.config.Targets[1].Login, err: errSame}
	}
	return nil
}

// hostName asks ssh's configuration for a machine's name in the network.
func (h *Hosts) hostName(ctx context.Context, login string) (string, error) {
	args := append(append([]string{}, h.config.SSH...), "-G", "--", login)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		text := ""
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			text = strings.TrimSpace(string(exit.Stderr))
		}
		return "", &SSHError{Host: login, said: text, err: err}
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(line, "hostname "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return login, nil
}

// Connect starts the helpers that do not run, checks and prepares their
// machines. Nothing happens if both run.
func (h *Hosts) Connect(ctx context.Context) error {
	fresh := false
	for i, t := range h.config.Targets {
		if r := h.remotes[i]; r != nil {
			if r.Lost() == nil {
				continue
			}
			_ = r.Close() // it has failed before
			h.remotes[i] = nil
		}
		r, err := connect(ctx, h.config.SSH, t.Login, h.program)
		if err != nil {
			return err
		}
		r.address, h.remotes[i], fresh = t.Address, r, true
		if err := r.call("facts", factsArgs{QEMU: h.config.QEMU}, &r.facts); err != nil {
			return err
		}
		if err := h.check(r); err != nil {
			return err
		}
	}
	if !fresh {
		return nil
	}
	if err := h.checkWay(); err != nil {
		return err
	}
	return h.copyGuest(ctx)
}

// copyGuest brings the guest to both machines.
func (h *Hosts) copyGuest(ctx context.Context) (err error) {
	if h.image.Kernel == "" {
		if h.image, err = guest.Build(ctx); err != nil {
			return fmt.Errorf("build the guest: %w", err)
		}
	}
	for here, name := range map[string]string{h.image.Kernel: "kernel", h.image.Initramfs: "initramfs"} {
		content, err := os.ReadFile(here)
		if err != nil {
			return fmt.Errorf("read the guest: %w", err)
		}
		for _, r := range h.remotes {
			if err := r.Write(filepath.Join(r.facts.Dir, name), content, 0o644); err != nil {
				return fmt.Errorf("copy the guest: %w", err)
			}
		}
	}
	return nil
}

// Prepare makes folders for a run on both machines. The caller removes them.
func (h *Hosts) Prepare() (map[link.Side]bench.Place, error) {
	h.runs++
	places := map[link.Side]bench.Place{}
	for i, r := range h.remotes {
		name := fmt.Sprintf("run%d", h.runs)
		f := r.facts
		p := bench.Place{
			Host: r, Files: r.files, Program: filepath.Join(f.Dir, "lazymig"),
			Image: guest.Image{Kernel: filepath.Join(f.Dir, "kernel"), Initramfs: filepath.Join(f.Dir, "initramfs"), Release: h.image.Release},
			Dir:   filepath.Join(f.Dir, name), RAMDir: filepath.Join(f.RAMDir, name),
		}
		if err := errors.Join(r.Mkdir(p.Dir), r.Mkdir(p.RAMDir)); err != nil {
			return nil, err
		}
		places[sides[i]] = p
	}
	return places, nil
}

// Facts returns what both machines were like when they were connected.
func (h *Hosts) Facts() [2]Facts {
	var both [2]Facts
	for i, r := range h.remotes {
		if r != nil {
			both[i] = r.facts
		}
	}
	return both
}

// Targets returns the machines with their addresses.
func (h *Hosts) Targets() [2]Target { return h.config.Targets }

// Load returns the load over the last minute of the busier machine.
func (h *Hosts) Load() float64 {
	most := 0.0
	for _, r := range h.remotes {
		var load float64
		if r != nil && r.call("load", nothing{}, &load) == nil {
			most = max(most, load)
		}
	}
	return most
}

// Lost returns why a machine cannot be reached any more; nil if both can.
func (h *Hosts) Lost() error {
	var problems []error
	for _, r := range h.remotes {
		if r != nil {
			problems = append(problems, r.Lost())
		}
	}
	return errors.Join(problems...)
}

// Place names the machines.
func (h *Hosts) Place() string {
	return h.config.Targets[0].Login + " and " + h.config.Targets[1].Login
}

// Close ends the helpers, which clean up.
func (h *Hosts) Close() error {
	var problems []error
	for i, r := range h.remotes {
		if r != nil {
			problems = append(problems, r.Close())
			h.remotes[i] = nil
		}
	}
	return errors.Join(problems...)
}
