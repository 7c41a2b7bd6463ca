package doctor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// oldestKernel has all calls that lazymig cannot do without; the last of them
// is pidfd_open with PIDFD_NONBLOCK.
const oldestMajor, oldestMinor = 5, 10

func machine() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the machine: %w", err)
	}
	return unix.ByteSliceToString(name.Machine[:]), nil
}

func checkArchitecture(_ context.Context, h *host) finding {
	const fix = "use hosts with x86_64 processors and a 64-bit kernel"
	name, err := h.machine()
	size := h.pageSize()
	switch {
	case err != nil:
		return unknown(fix, "%v", err)
	case name != "x86_64":
		return notAble(fix, "this machine is %s; lazymig moves x86_64 guests only", name)
	case size != lazymig.PageSize:
		return notAble(fix, "pages have %d bytes, not %d", size, lazymig.PageSize)
	}
	return ok("%s, pages of %d bytes", name, size)
}

func checkKernel(_ context.Context, h *host) finding {
	fix := fmt.Sprintf("install Linux %d.%d or newer; 6.6 or newer has all that lazymig can use", oldestMajor, oldestMinor)
	release, err := h.read("/proc/sys/kernel/osrelease")
	if err != nil {
		return unknown("mount -t proc proc /proc", "%v", err)
	}
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return unknown(fix, "the version %q is no version", release)
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return notAble(fix, "Linux %s is too old", release)
	}
	return ok("Linux %s", release)
}

func clockResolution() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("ask for the clock's resolution: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// checkClock is about the times in reports and of the pacing: lazymig compares
// no clocks of two hosts, so nothing is said of NTP. Certificates need a date
// that is about right, which the check of the identity sees.
func checkClock(_ context.Context, h *host) finding {
	const fix = "leave out nohz=off, highres=off and clocksource= on the kernel's command line"
	resolution, err := h.clock()
	if err != nil {
		return unknown(fix, "%v", err)
	}
	source, err := h.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil {
		source = "unknown source"
	}
	switch {
	case resolution > coarseClock:
		return limited(fix, "the monotonic clock moves in steps of %v: times in reports are coarse", resolution)
	case source == "jiffies", source == "acpi_pm", source == "pit":
		return limited("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
			"the clock is read from %s, which is slow or coarse", source)
	}
	return ok("monotonic, steps of %v (%s)", resolution, source)
}
