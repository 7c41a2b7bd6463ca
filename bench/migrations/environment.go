package migrations

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/metal"
)

// Namespaces is the Place of runs between two namespaces of one machine.
const Namespaces = "namespaces"

// Here returns what there is to say of this machine. Program, Commit
// and Accel are the caller's to fill in.
func Here(ctx context.Context, qemu string) (Environment, error) {
	e := Environment{CPUs: runtime.NumCPU(), CPU: processor(), Place: Namespaces}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return e, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	e.Kernel = unix.ByteSliceToString(u.Release[:])
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return e, fmt.Errorf("ask QEMU for its version: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	e.QEMU = strings.TrimPrefix(first, "QEMU emulator version ")
	return e, nil
}

// Between returns what there is to say of two machines, of which a record of
// one machine has room: what differs stands there twice. Program, Commit and
// Accel are the caller's to fill in.
func Between(hosts *metal.Hosts) Environment {
	f := hosts.Facts()
	both := func(a, b string) string {
		if a == b {
			return a
		}
		return a + " / " + b
	}
	return Environment{
		CPUs: f[0].Machine.Cores, CPU: both(f[0].Machine.CPU, f[1].Machine.CPU), Place: hosts.Place(),
		Kernel: both(f[0].Machine.Kernel, f[1].Machine.Kernel), QEMU: both(f[0].QEMU, f[1].QEMU),
	}
}

// processor returns the name of the processor.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load returns the machine's load over the last minute: what others do shows
// in a measurement.
func load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return n
}
