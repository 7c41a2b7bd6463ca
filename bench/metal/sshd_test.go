package metal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/metal"
	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/lazymig/lazymig/bench/prereq"
)

// testTimeout bounds a test with guests.
const testTimeout = 4 * time.Minute

// sshd's own program wants its whole path.
const sshd = "/usr/sbin/sshd"

// machines are two hosts with an sshd each, in namespaces, and a third one from
// which they are measured.
type machines struct {
	link   *link.Link
	dir    string
	config metal.Config
}

// newMachines starts them. Nothing may stay of them, or of what ran there.
func newMachines(ctx context.Context, t *testing.T) *machines {
	t.Helper()
	prereq.Require(t, append(append(prereq.Guest(), prereq.Network()...), sshd, "ssh", "ssh-keygen")...)
	before := leftover.Take()
	t.Cleanup(func() {
		if left := before.Since("-metal"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	l, err := link.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m := &machines{link: l, dir: t.TempDir()}
	t.Cleanup(func() {
		m.empty(t)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	m.keys(ctx, t)
	for _, side := range []link.Side{link.HostA, link.HostB} {
		m.serve(ctx, t, side)
	}
	m.config = metal.Config{
		Targets: [2]metal.Target{{Login: "a"}, {Login: "b"}},
		SSH:     []string{"ip", "netns", "exec", l.Namespace(link.Client), "ssh", "-F", filepath.Join(m.dir, "config")},
		Program: build(ctx, t), QEMU: "qemu-system-x86_64", Accel: "tcg", MemoryMiB: small().MemoryMiB,
		UDP: migrations.OwnPort, TCP: migrations.PeerPort,
	}
	return m
}

// keys makes all keys and configurations, for this test only.
func (m *machines) keys(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, name := range []string{"user", "host"} {
		cmd := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(m.dir, name))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make a key: %v: %s", err, out)
		}
	}
	m.write(t, "sshd_config", `
HostKey DIR/host
AuthorizedKeysFile DIR/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
`)
	m.write(t, "config", fmt.Sprintf(`
Host a
 HostName %s
Host b
 HostName %s
Host *
 User root
 IdentityFile DIR/user
 IdentitiesOnly yes
 UserKnownHostsFile DIR/known
 GlobalKnownHostsFile /dev/null
 StrictHostKeyChecking accept-new
 LogLevel ERROR
`, link.HostA.Address(), link.HostB.Address()))
}

func (m *machines) write(t *testing.T, name, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "DIR", m.dir)
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve starts a host's sshd and waits until it listens.
func (m *machines) serve(ctx context.Context, t *testing.T, side link.Side) {
	t.Helper()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // it insists on an empty folder there
		t.Fatal(err)
	}
	cmd := m.link.Command(ctx, side, sshd, "-D", "-e", "-f", filepath.Join(m.dir, "sshd_config"))
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait() // it was killed
	})
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening on") {
			go func() {
				defer close(ended)
				for lines.Scan() { // or it would wait for a reader
				}
			}()
			return
		}
		t.Logf("sshd: %s", lines.Text())
	}
	close(ended)
	t.Fatal("sshd has ended")
}

// processes returns the command lines of a host's processes but for those of
// sshd.
func (m *machines) processes(t *testing.T, side link.Side) map[string]string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "pids", m.link.Namespace(side)).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for pid := range strings.FieldsSeq(string(out)) {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if text := strings.ReplaceAll(string(line), "\x00", " "); err == nil && text != "" && !strings.HasPrefix(text, "sshd:") {
			found[pid] = text
		}
	}
	return found
}

// empty checks that neither host runs anything, or has a file of a measurement.
// A helper whose line was cut takes a moment.
func (m *machines) empty(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		var left []string
		for _, side := range []link.Side{link.HostA, link.HostB} {
			for _, text := range m.processes(t, side) {
				left = append(left, text)
			}
		}
		for _, pattern := range []string{filepath.Join(os.TempDir(), "lmb-*-metal"), "/dev/shm/lmb-*-metal-ram"} {
			files, _ := filepath.Glob(pattern) // the patterns are valid
			left = append(left, files...)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("left behind on the hosts: %q", left)
			return
		}
	}
}

// small is a guest that boots and moves fast.
func small() migrations.Setting {
	s := migrations.Base()
	s.MemoryMiB, s.ChangingMiB, s.RateBits = 384, 64, 0
	return s
}

func build(ctx context.Context, t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lazymig")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/lazymig/lazymig/cmd/lazymig")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build lazymig: %v\n%s", err, out)
	}
	return path
}

// measure makes runs between the machines and returns their records.
func (m *machines) measure(ctx context.Context, t *testing.T, begun func(), techniques ...migrations.Technique) []migrations.Record {
	t.Helper()
	hosts, err := metal.Open(ctx, m.config)
	if err != nil {
		t.Fatal(err)
	}
	c := migrations.Config{
		Out: filepath.Join(t.TempDir(), "results"), Hosts: hosts, Environment: migrations.Between(hosts), QEMU: m.config.QEMU,
		Runs: migrations.Plan(small(), nil, techniques, 1), Begun: func(int, int, migrations.Run) { begun() },
	}
	c.Environment.Accel = m.config.Accel
	if err := errors.Join(migrations.Measure(ctx, c), hosts.Close()); err != nil {
		t.Fatal(err)
	}
	m.empty(t)
	f, err := os.Open(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := migrations.Read(f)
	if err != nil || len(records) != len(c.Runs) {
		t.Fatalf("%d records of %d runs: %v", len(records), len(c.Runs), err)
	}
	return records
}
