package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/doctor"
)

// TestDoctorExitCodes is about what the codes mean; the scripts run hosts that
// are as they are.
func TestDoctorExitCodes(t *testing.T) {
	result := func(role doctor.Role, status doctor.Status) doctor.Result {
		return doctor.Result{Name: "a", Group: "G", Role: role, Status: status, Detail: "d", Fix: "f"}
	}
	for _, c := range []struct {
		as      doctor.Role
		results []doctor.Result
		want    int
	}{
		{doctor.Both, []doctor.Result{result(doctor.Both, doctor.OK)}, 0},
		{doctor.Both, []doctor.Result{result(doctor.Source, doctor.Limited), result(doctor.Both, doctor.OK)}, 1},
		{doctor.Both, []doctor.Result{result(doctor.Destination, doctor.Unknown)}, 1},
		{doctor.Both, []doctor.Result{result(doctor.Destination, doctor.NotAble), result(doctor.Both, doctor.Limited)}, 2},
		{doctor.Source, []doctor.Result{result(doctor.Both, doctor.NotAble)}, 2},
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			a := &app{out: &out, err: &out}
			code := 0
			if f, ok := errors.AsType[*failure](a.examine(doctor.Config{Role: c.as}, c.results, asJSON)); ok {
				code = f.code
			}
			if code != c.want || asJSON && !strings.Contains(out.String(), fmt.Sprintf(`"exit_code":%d}`, c.want)) {
				t.Errorf("%+v: exit code %d, want %d\n%s", c.results, code, c.want, out.String())
			}
		}
	}
}

// TestSheet looks at the sheet itself.
func TestSheet(t *testing.T) {
	results := []doctor.Result{
		{Name: "kvm", Group: "QEMU", Status: doctor.OK, Detail: "/dev/kvm answers"},
		{Name: "qemu", Group: "QEMU", Status: doctor.NotAble, Detail: strings.Repeat("word ", 15), Fix: strings.Repeat("mend ", 16)},
		{Name: "disk-cache a-name-that-is-long", Group: "Guest", Status: doctor.Limited, Detail: "goes through the cache", Fix: "use cache=none"},
		{Name: "ram", Group: "Guest", Status: doctor.NotAble, Detail: "private", Fix: "start it with " + strings.Repeat("x", 72) + " and look"},
		{Name: "empty", Group: "Guest", Status: doctor.Unknown},
	}
	summary := doctor.Summary{Source: doctor.Ready, Destination: doctor.Unable, DestinationNames: []string{"qemu"}, Next: "qemu: mend"}
	var out bytes.Buffer
	newSheet(&out).write(results, summary)
	want := `QEMU
  ok       kvm                /dev/kvm answers
  NOT ABLE qemu               word word word word word word word word word word
                              word word word word word
           fix: mend mend mend mend mend mend mend mend mend mend mend mend mend
                mend mend mend

Guest
  limited  disk-cache a-name-that-is-long
                              goes through the cache
           fix: use cache=none
  NOT ABLE ram                private
           fix: start it with
        ` + strings.Repeat("x", 72) + `
                and look
  unknown  empty

as source:      ready
as destination: not able (qemu)
next:           qemu: mend
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	sheet{out: &out, coloured: true}.write(results[:1], summary)
	if !strings.Contains(out.String(), "  \x1b[32mok      \x1b[0m kvm") {
		t.Errorf("%q has no colour", out.String())
	}
}

// doctorReport is the last line of doctor --json.
type doctorReport struct {
	Event       string
	Source      string
	Destination string
	Problems    []string `json:"source_problems"`
	ExitCode    int      `json:"exit_code"`
}

// runDoctor runs the command and returns its output and exit code.
func runDoctor(t *testing.T, attributes *syscall.SysProcAttr, args ...string) (string, int) {
	t.Helper()
	command := exec.Command("/proc/self/exe", append([]string{"doctor"}, args...)...)
	command.Args[0] = "lazymig"
	command.Dir = "/"
	command.SysProcAttr = attributes
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	if complaints.Len() > 0 {
		t.Errorf("doctor %v complains: %s", args, complaints.String())
	}
	return string(output), command.ProcessState.ExitCode()
}

// report returns the last of the JSON lines.
func (r *doctorReport) parse(t *testing.T, output string) {
	t.Helper()
	all := strings.Split(strings.TrimSpace(output), "\n")
	if err := json.Unmarshal([]byte(all[len(all)-1]), r); err != nil || r.Event != "report" {
		t.Fatalf("%v in %s", err, output)
	}
}

// startVMM starts a guest with private RAM and waits for its monitor.
func startVMM(t *testing.T, monitor string) {
	t.Helper()
	vmm := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "32M",
		"-machine", "pc", "-qmp", "unix:"+monitor+",server=on,wait=off")
	if err := vmm.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = vmm.Process.Kill()
		_ = vmm.Wait()
	})
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", monitor)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("QEMU does not come up: %v", err)
		}
	}
}

// TestDoctorOfAPrivateGuest examines a stock QEMU that was never prepared.
func TestDoctorOfAPrivateGuest(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("qemu-system-x86_64 is not installed (package qemu-system-x86)")
	}
	dir, err := os.MkdirTemp("", "lmdoc") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	monitor := filepath.Join(dir, "q")
	startVMM(t, monitor)
	common := []string{"--qmp", monitor, "--insecure-loopback", "--state-dir", dir}
	output, code := runDoctor(t, nil, common...)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"  NOT ABLE ram pc.ram", "private", "-object", "limited  name", "as source:      not able (ram pc.ram", "as destination: not examined"} {
		if !strings.Contains(output, want) {
			t.Errorf("there is no %q in\n%s", want, output)
		}
	}
	for line := range lines(output) {
		if len([]rune(line)) > 80 {
			t.Errorf("too wide: %s", line)
		}
	}
	output, code = runDoctor(t, nil, append(common, "--json")...)
	var r doctorReport
	r.parse(t, output)
	if code != 2 || r.ExitCode != 2 || r.Source != "not able" || r.Destination != "not examined" || r.Problems[0] != "ram pc.ram" {
		t.Errorf("exit code %d, %+v", code, r)
	}
}

// TestDoctorAsOrdinaryUser explains to a user without privileges what is
// missing, instead of failing.
func TestDoctorAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, code := runDoctor(t, nobody, "--state-dir", "/var/lib/lazymig", "--listen", "127.0.0.1:700")
	if code != 2 {
		t.Errorf("exit code %d, want 2\n%s", code, output)
	}
	for _, want := range []string{
		"limited  user               user 65534", "limited  linux-capabilities missing: CHOWN", "NOT ABLE state-dir", "permission denied",
		"next:           look again as root: sudo lazymig doctor",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("there is no %q in\n%s", want, output)
		}
	}
	if _, err := os.Stat("/dev/userfaultfd"); err == nil && !strings.Contains(output, "uffd-device") {
		t.Errorf("nothing is said of the device:\n%s", output)
	}
}
