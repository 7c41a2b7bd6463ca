package prereq

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Guest lists the programs that building and running the test guest takes.
func Guest() []string {
	return []string{"qemu-system-x86_64", "apt-get", "apt-cache", "dpkg-deb", "gcc", "busybox"}
}

// Network lists the programs that package link takes.
func Network() []string { return []string{"ip", "tc"} }

// Require returns if this machine can run a test that needs root and all
// tools. Otherwise it skips the test, or ends it as failed in CI.
func Require(t testing.TB, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: it makes network namespaces and taps, which needs root")
	}
	err := missing(tools)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("find what the test needs: %v", err)
	default:
		t.Skipf("skipped: %v", err)
	}
}

func missing(tools []string) error {
	var problems []error
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			problems = append(problems, fmt.Errorf("install %s: %w", tool, err))
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		problems = append(problems, fmt.Errorf("provide the tun device: %w", err))
	}
	return errors.Join(problems...)
}
