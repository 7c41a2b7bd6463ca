package bench_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/process"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// smallGuest boots fast and writes slowly, so that most words stay as they
// were at the start.
func smallGuest(machine string) vm.Config {
	return vm.Config{
		Machine: machine,
		RAM:     []vm.Backend{{MiB: 384}},
		Guest:   guest.Params{MemoryMiB: 64, Rate: 2000},
	}
}

// TestGuest shows that the full guest does all that it is for.
func TestGuest(t *testing.T) {
	began := time.Now()
	ctx, p := newPair(t, bench.Config{DiskMiB: 64})
	t.Logf("READY after %v", time.Since(began).Round(time.Millisecond))
	source := p.Source()
	capture := capture(t, p.Link, link.HostB)
	echo, err := p.Link.DialEcho(ctx, link.GuestAddress)
	if err != nil {
		t.Fatal(err)
	}
	free := command(ctx, t, source, "stats").Number("free_kib")
	inflate(ctx, t, source, 900)
	if _, err := source.Stream().Wait(ctx, 2000); err != nil {
		t.Fatal(err)
	}
	answer, err := source.Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Number("records") == 0 || answer.Number("pages") != 600<<8 {
		t.Errorf("verify saw too little: %s", answer)
	}
	stats := command(ctx, t, source, "stats")
	if gone := free - stats.Number("free_kib"); gone < 100<<10 || gone > 150<<10 {
		t.Errorf("the balloon took %d KiB from the guest: %s", gone, stats)
	}
	seen := echo.Stats()
	if err := echo.Close(); err != nil || seen.Count == 0 {
		t.Errorf("echo: %d messages, %v", seen.Count, err)
	}
	if count, frames, err := capture.Frames(); count > 0 || err != nil {
		t.Errorf("%d frames of the guest came from host B: %q, %v", count, frames, err)
	}
	if err := p.Beats.Check(); err != nil {
		t.Error(err)
	}
	pid, err := source.PID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cost, err := process.Usage(pid, "/dev/shm/")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f beats/s; echo: %d messages, worst %v; QEMU: %+v\n%s\n%s", source.Stream().Rate(), seen.Count, seen.Worst, cost, stats, answer)
	if err := source.PowerOff(ctx); err != nil {
		t.Error(err)
	}
}

func command(ctx context.Context, t *testing.T, v *vm.VM, line string) vm.Answer {
	t.Helper()
	answer, err := v.Command(ctx, line)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// inflate takes memory from the guest until it has only this many MiB.
func inflate(ctx context.Context, t *testing.T, v *vm.VM, mib int64) {
	t.Helper()
	c := monitor(ctx, t, v.MonitorPath())
	events := c.Subscribe(64)
	defer events.Close()
	execute(ctx, t, c, "balloon", map[string]int64{"value": mib << 20})
	waitEvent(ctx, t, events, "BALLOON_CHANGE", func(e qmp.Event) bool {
		var change struct{ Actual int64 }
		return json.Unmarshal(e.Data, &change) == nil && change.Actual <= mib<<20
	})
}

func capture(t *testing.T, l *link.Link, side link.Side) *link.Capture {
	t.Helper()
	c, err := l.Capture(side, link.Tap, vm.MAC())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestPlainMove moves the guest with QEMU's own stop, migrate and cont: what
// the harness says of a correct move.
func TestPlainMove(t *testing.T) {
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			ctx, p := newPair(t, bench.Config{VM: smallGuest(machine), DiskMiB: 16})
			echo, err := p.Link.DialEcho(ctx, link.GuestAddress)
			if err != nil {
				t.Fatal(err)
			}
			atB := capture(t, p.Link, link.HostB)
			plainMove(ctx, t, p)
			if _, err := p.Source().Stream().Wait(ctx, 1000); err != nil {
				t.Fatal(err)
			}
			before := echo.Stats().Count
			for echo.Stats().Count == before && echo.Stats().Err == nil {
				if _, err := p.Source().Stream().Wait(ctx, 10); err != nil {
					t.Fatal(err)
				}
			}
			checkMove(ctx, t, p)
			if err := echo.Close(); err != nil {
				t.Errorf("the connection did not survive: %v", err)
			}
			if count, _, err := atB.Frames(); count == 0 || err != nil {
				t.Errorf("%d frames of the guest came from host B: %v", count, err)
			}
		})
	}
}

func checkMove(ctx context.Context, t *testing.T, p *bench.Pair) {
	t.Helper()
	answer, err := p.Source().Verify(ctx)
	if err != nil {
		t.Error(err)
	}
	if err := p.Beats.Check(); err != nil {
		t.Error(err)
	}
	seen, err := p.Beats.Switch(p.Source().Stream())
	if err != nil {
		t.Fatal(err)
	}
	if seen.Last.Stream != 0 || seen.First.Stream != 1 || seen.Gap < time.Millisecond {
		t.Errorf("the switch was not seen: %+v", seen)
	}
	t.Logf("gap %v, by the guest's clock %v, worst operation %v; %s", seen.Gap, seen.GuestGap, seen.Worst, answer)
}

// plainMove stops the guest, copies it to the other host and runs it there.
func plainMove(ctx context.Context, t *testing.T, p *bench.Pair) {
	t.Helper()
	destination, err := p.Destination()
	if err != nil {
		t.Fatal(err)
	}
	if err := destination.Start("-incoming", "defer", "-S"); err != nil {
		t.Fatal(err)
	}
	if _, err := destination.PID(ctx); err != nil {
		t.Fatal(err)
	}
	from := monitor(ctx, t, p.Source().MonitorPath())
	to := monitor(ctx, t, destination.MonitorPath())
	completed := from.Subscribe(64)
	loaded := to.Subscribe(64)
	for _, c := range []*qmp.Client{from, to} {
		execute(ctx, t, c, "migrate-set-capabilities", map[string]any{
			"capabilities": []map[string]any{{"capability": "events", "state": true}},
		})
	}
	socket := t.TempDir() + "/stream"
	execute(ctx, t, to, "migrate-incoming", map[string]string{"uri": "unix:" + socket})
	execute(ctx, t, from, "migrate-set-parameters", map[string]any{"max-bandwidth": 1 << 40})
	execute(ctx, t, from, "stop", nil)
	execute(ctx, t, from, "migrate", map[string]string{"uri": "unix:" + socket})
	isCompleted := func(e qmp.Event) bool { return strings.Contains(string(e.Data), `"completed"`) }
	waitEvent(ctx, t, completed, "MIGRATION", isCompleted)
	waitEvent(ctx, t, loaded, "MIGRATION", isCompleted)
	execute(ctx, t, to, "cont", nil)
	if err := p.Moved(); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyFindsDamage changes one byte behind the guest's back.
func TestVerifyFindsDamage(t *testing.T) {
	ctx, p := newPair(t, bench.Config{VM: smallGuest("q35"), DiskMiB: 16})
	if _, err := p.Source().Stream().Wait(ctx, 200); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Source().Verify(ctx); err != nil {
		t.Fatalf("before any damage: %v", err)
	}
	t.Run("disk", func(t *testing.T) {
		flip := flipper(t, p.Disk, 100)
		flip()
		expect(ctx, t, p.Source(), "bad_records", 1)
		flip()
		expect(ctx, t, p.Source(), "bad_records", 0)
	})
	for _, page := range []uint64{4, 5} { // random words, and runs of words
		t.Run("memory", func(t *testing.T) {
			offset, err := guest.FindPage(p.Source().RAMFiles()[0], guest.PatternMixed, page)
			if err != nil {
				t.Fatal(err)
			}
			flip := flipper(t, p.Source().RAMFiles()[0], offset+8*300+3)
			flip()
			expect(ctx, t, p.Source(), "bad_pages", 1)
			flip()
			expect(ctx, t, p.Source(), "bad_pages", 0)
		})
	}
}

// flipper returns a function that flips a bit of a file; the second call
// flips it back.
func flipper(t *testing.T, path string, offset int64) (flip func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func() {
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(ctx context.Context, t *testing.T, v *vm.VM, key string, want uint64) {
	t.Helper()
	answer := command(ctx, t, v, "verify")
	if answer.Number(key) != want || (answer.Status == "ok") != (want == 0) {
		t.Errorf("want %s=%d: %s", key, want, answer)
	}
}

// TestLink shows that the cable can be cut and restored, and slowed down.
func TestLink(t *testing.T) {
	ctx, p := newPair(t, bench.Config{VM: smallGuest("pc")})
	echo, err := p.Link.DialEcho(ctx, link.GuestAddress)
	if err != nil {
		t.Fatal(err)
	}
	const outage = 500 * time.Millisecond
	if err := p.Link.Cut(ctx, link.HostA); err != nil {
		t.Fatal(err)
	}
	for cut := time.Now(); time.Since(cut) < outage; {
		if _, err := p.Source().Stream().Wait(ctx, 100); err != nil {
			t.Fatal(err)
		}
	}
	if worst := echo.Stats().Worst; worst < outage-100*time.Millisecond {
		t.Errorf("the longest round trip is %v although the cable was cut for %v", worst, outage)
	}
	if err := p.Link.Restore(ctx, link.HostA); err != nil {
		t.Fatal(err)
	}
	before := echo.Stats().Count
	for echo.Stats().Count < before+10 && echo.Stats().Err == nil {
		if _, err := p.Source().Stream().Wait(ctx, 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := echo.Close(); err != nil {
		t.Errorf("the connection did not survive the cut: %v", err)
	}
	const rate = 80_000_000 // 10 MB/s
	if err := p.Link.SetRate(ctx, rate); err != nil {
		t.Fatal(err)
	}
	if got := throughput(t, p.Link, 5<<20); got > rate/8*1.3 {
		t.Errorf("%.0f bytes/s passed a link of %d bit/s", got, rate)
	}
	if err := p.Link.SetRate(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if got := throughput(t, p.Link, 50<<20); got < rate/8*2 {
		t.Errorf("%.0f bytes/s passed a link without a limit", got)
	}
}

// throughput sends n bytes from host A to host B over TCP.
func throughput(t *testing.T, l *link.Link, n int64) float64 {
	t.Helper()
	var listener net.Listener
	var conn net.Conn
	if err := l.Inside(link.HostB, func() (err error) {
		listener, err = net.Listen("tcp4", link.HostB.Address()+":0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := l.Inside(link.HostA, func() (err error) {
		conn, err = net.Dial("tcp4", listener.Addr().String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	go send(conn, n)
	return float64(n) / receive(t, listener, n).Sub(start).Seconds()
}

// TestMemoryBlocks fills a guest that needs two NUMA nodes and a DIMM.
func TestMemoryBlocks(t *testing.T) {
	ctx, p := newPair(t, bench.Config{VM: vm.Config{
		CPUs:  2,
		RAM:   []vm.Backend{{MiB: 256}, {MiB: 256}, {MiB: 256, DIMM: true}},
		Guest: guest.Params{MemoryMiB: 480, Rate: 2000},
	}})
	if _, err := p.Source().Verify(ctx); err != nil {
		t.Error(err)
	}
	for _, path := range p.Source().RAMFiles() {
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err != nil {
			t.Fatal(err)
		}
		if used := s.Blocks * 512 >> 20; used < 64 {
			t.Errorf("only %d MiB of %s are used", used, path)
		}
	}
}

// TestDamagedStart has QEMU refuse its command line.
func TestDamagedStart(t *testing.T) {
	ctx, p := newPair(t, bench.Config{VM: smallGuest("pc")})
	destination, err := p.Destination()
	if err != nil {
		t.Fatal(err)
	}
	if err := destination.Start("-machine", "nonsense"); err != nil {
		t.Fatal(err)
	}
	if _, err := destination.Ready(ctx); err == nil || !strings.Contains(err.Error(), "unsupported machine type") {
		t.Errorf("a QEMU that did not start: %v", err)
	}
	if err := p.Dropped(); err != nil {
		t.Error(err)
	}
	if _, err := p.Source().Verify(ctx); err != nil {
		t.Error(err)
	}
}
