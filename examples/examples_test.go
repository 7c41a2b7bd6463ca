package examples

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tryTimeout bounds a whole example: QEMU under emulation on a busy machine.
const tryTimeout = 5 * time.Minute

// need skips the test without a program; with CI=true that is a failure.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestShellcheck reads every script of the repository.
func TestShellcheck(t *testing.T) {
	need(t, "shellcheck")
	scripts, err := filepath.Glob("*/*.sh")
	if err != nil || len(scripts) < 7 {
		t.Fatalf("scripts %v, %v", scripts, err)
	}
	scripts = append(scripts, "../.ci/deps", "../.ci/run")
	args := append([]string{"--external-sources", "--source-path=SCRIPTDIR"}, scripts...)
	if out, err := exec.CommandContext(t.Context(), "shellcheck", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// buildProgram returns the path of a new lazymig.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lazymig")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "../cmd/lazymig")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func TestTryOnOneMachine(t *testing.T) {
	need(t, "qemu-system-x86_64")
	if os.Geteuid() != 0 {
		t.Skip("needs root: traces QEMU and makes a userfaultfd in it")
	}
	program := buildProgram(t)
	ctx, cancel := context.WithTimeout(t.Context(), tryTimeout)
	defer cancel()
	try := exec.CommandContext(ctx, "two-hosts/try-on-one-machine.sh")
	top := t.TempDir()
	try.Env = append(os.Environ(), "LAZYMIG="+program, "PORT="+freePort(t), "TMPDIR="+top)
	try.Cancel = func() error { return try.Process.Signal(os.Interrupt) } // so that it cleans up
	out, err := try.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"can be moved. Nothing was changed.",
		"has moved: it runs at the destination and needs the source no more.",
		"has moved: it runs here and needs the source no more.",
		"has the guest now",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the script does not say %q:\n%s", want, out)
		}
	}
	ram, err := filepath.Glob("/dev/shm/try-" + strconv.Itoa(try.Process.Pid) + "*")
	if left, dirErr := os.ReadDir(top); err != nil || dirErr != nil || len(ram)+len(left) > 0 {
		t.Errorf("left behind: %v, %v (%v, %v)", ram, left, err, dirErr)
	}
}

// freePort returns a UDP port that nobody uses at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestCertificates makes the identities of two hosts and loads one where it
// would be.
func TestCertificates(t *testing.T) {
	need(t, "bash")
	program, dir := buildProgram(t), filepath.Join(t.TempDir(), "identities")
	script := exec.CommandContext(t.Context(), "two-hosts/certificates.sh", "host7", "host8")
	script.Env = append(os.Environ(), "LAZYMIG="+program, "DIR="+dir)
	out, err := script.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "{ca.crt,domain.key,host8.crt,host8.key} host8:/etc/lazymig/tls/") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"ca.crt", "ca.key", "domain.key", "host7.crt", "host7.key", "host8.crt", "host8.key"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
