package metal_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/metal"
	"github.com/lazymig/lazymig/bench/migrations"
)

// TestMove moves a small guest by lazymig and by QEMU, between two hosts that
// are reached by ssh, and checks that what was measured can be.
func TestMove(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	m := newMachines(ctx, t)
	for _, r := range m.measure(ctx, t, func() {}, migrations.Lazymig, migrations.PostCopyPreempt) {
		t.Logf("%s: %+v, %d points", r.Setting, r.Results, len(r.Series))
		used := float64(r.ChangingMiB << 20)
		switch {
		case r.Outcome != migrations.Verified:
			t.Errorf("%s: %s", r.Setting, r.Error)
		case r.Environment.Place != "a and b" || r.Environment.QEMU == "" || r.Environment.Kernel == "" || r.Environment.CPUs == 0:
			t.Errorf("%s: environment %+v", r.Setting, r.Environment)
		case r.StoppedMS <= 0 || r.GapMS <= 0 || r.StoppedMS > r.GapMS+100 || r.ClockBoundMS <= 0 || r.ClockBoundMS > 100:
			t.Errorf("%s: times of the switch: %+v", r.Setting, r.Results)
		case r.FreeMS < r.SwitchAtMS || r.SwitchAtMS < 0 || r.BaseRate < 1000:
			t.Errorf("%s: times of the move: %+v", r.Setting, r.Results)
		case float64(r.MemoryUsed) < used || float64(r.BytesOut) < used/4 || r.BytesOut > 4*r.MemoryUsed:
			t.Errorf("%s: bytes: %+v", r.Setting, r.Results)
		case r.CPUSource+r.CPUDestination <= 0 || r.CPUSource+r.CPUDestination > 60:
			t.Errorf("%s: processor time: %+v", r.Setting, r.Results)
		case r.PeakSource > 1<<30 || r.PeakDestination > 1<<30 || r.Technique == migrations.Lazymig && r.PeakDestination == 0:
			t.Errorf("%s: memory: %+v", r.Setting, r.Results)
		case len(r.Series) < 50 || r.Verification == "":
			t.Errorf("%s: %d points, verification %q", r.Setting, len(r.Series), r.Verification)
		}
	}
}

// TestCutOff: when ssh to a host ends in the middle, the run is recorded as
// failed, nothing stays on either host, and the next run connects anew.
func TestCutOff(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	m := newMachines(ctx, t)
	done := make(chan struct{})
	runs := 0
	records := m.measure(ctx, t, func() {
		if runs++; runs == 1 {
			go func() {
				defer close(done)
				m.cut(ctx, t)
			}()
		}
	}, migrations.Lazymig, migrations.PostCopy)
	<-done
	if r := records[0]; r.Outcome != migrations.Failed || !strings.HasPrefix(r.Error, "a: the connection is lost") {
		t.Errorf("the run that was cut off: %s, %s", r.Outcome, r.Error)
	}
	if r := records[1]; r.Outcome != migrations.Verified {
		t.Errorf("the next run: %s", r.Error)
	}
}

// cut ends the ssh session to host A when a guest boots there.
func (m *machines) cut(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, text := range m.processes(t, link.HostA) {
			if strings.HasPrefix(text, m.config.QEMU+" -name bench") {
				m.hangUp(t)
				return
			}
		}
	}
}

// hangUp kills the ssh client that is connected to host A.
func (m *machines) hangUp(t *testing.T) {
	out, err := exec.Command("ip", "netns", "pids", m.link.Namespace(link.Client)).Output()
	if err != nil {
		t.Error(err)
	}
	killed := 0
	for field := range strings.FieldsSeq(string(out)) {
		line, err := os.ReadFile("/proc/" + field + "/cmdline")
		pid, _ := strconv.Atoi(field) // it is a number
		if err == nil && strings.Contains(string(line), "\x00--\x00a\x00") && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed != 1 {
		t.Errorf("%d ssh clients were cut off", killed)
	}
}

// TestUnreachable: two hosts of which one cannot be reached by the other.
func TestUnreachable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	m := newMachines(ctx, t)
	out, err := m.link.Command(ctx, link.HostA, "ip", "route", "add", "prohibit", link.HostB.Address()+"/32").CombinedOutput()
	if err != nil {
		t.Fatalf("close the way: %v: %s", err, out)
	}
	_, err = metal.Open(ctx, m.config)
	if failure, ok := errors.AsType[*metal.CheckError](err); !ok || failure.Host != "a" || failure.Hint() == "" {
		t.Errorf("no way: %v", err)
	}
	m.config.Targets[1].Address = "10.77.0.33"
	_, err = metal.Open(ctx, m.config)
	if failure, ok := errors.AsType[*metal.CheckError](err); !ok || failure.Host != "b" || !strings.Contains(err.Error(), "cannot assign") {
		t.Errorf("a wrong address: %v", err)
	}
}
