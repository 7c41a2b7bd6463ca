package demo

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/relay"
)

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{VMM: QEMU, Memory: qemuLeast},
		{VMM: Microvm, Memory: MinMemory, Rate: relay.MinRate, RTT: 2 * relay.MaxDelay},
		{Memory: MaxMemory, BreakLink: MaxBreak},
	} {
		valid, err := cfg.validated()
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
		if valid.VMM == "" || valid.Memory == 0 || valid.Rate == 0 || valid.Program == "" || valid.Report == nil || valid.timeout() < moveTimeout {
			t.Errorf("%+v has no defaults: %+v", cfg, valid)
		}
	}
	for want, cfg := range map[string]Config{
		"invalid VMM":            {VMM: "xen"},
		"too small":              {Memory: 1 << 20},
		"256 MiB or more":        {VMM: QEMU, Memory: MinMemory},
		"too large":              {Memory: MaxMemory + 1<<20},
		"whole MiB":              {Memory: DefaultMemory + 1},
		"too slow":               {Rate: relay.MinRate - 1},
		"round trip":             {RTT: -1},
		"0s to 1s":               {RTT: 2*relay.MaxDelay + 1},
		"cannot be cut":          {BreakLink: -1},
		"up to 5m":               {BreakLink: MaxBreak + 1},
		"too soon":               {Memory: MinMemory, Rate: math.MaxInt64, BreakLink: time.Second},
		"cannot be measured for": {Measure: -1},
	} {
		_, err := cfg.validated()
		e, ok := errors.AsType[*Error](err)
		if !errors.Is(err, ErrConfig) || !ok || !strings.Contains(e.Error()+"; "+e.Hint(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// TestMachine checks what a machine can lack.
func TestMachine(t *testing.T) {
	cfg, err := Config{shm: "/nowhere/shm"}.validated()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]error{"is missing": checkMachine(cfg)}
	cfg.shm = "/proc"
	cases["is no tmpfs"] = checkMachine(cfg)
	cfg.shm, cfg.Memory = "/dev/shm", 1<<50
	cases["use less --memory"] = checkSpace(cfg)
	cases["of memory to spare"] = checkMemory(cfg)
	for want, err := range cases {
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Hint() == "" || !strings.Contains(e.Error()+"; "+e.Hint(), want) || errors.Is(err, ErrConfig) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
