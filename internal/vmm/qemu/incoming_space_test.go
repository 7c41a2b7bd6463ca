package qemu

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

const gib = 1 << 30

func TestCheckSpace(t *testing.T) {
	one := func(size, free uint64) []place { return []place{{directory: "/a", device: 1, size: size, free: free}} }
	two := func(free1, free2 uint64) []place {
		return []place{{"/a", 1, 2 * gib, free1}, {"/b", 2, 2 * gib, free2}}
	}
	for name, c := range map[string]struct {
		places []place
		need   uint64
		want   vmm.Status
	}{
		"enough":                           {one(4*gib, 8*gib), 3 * gib, vmm.StatusOK},
		"no limit":                         {one(4*gib, ^uint64(0)), 3 * gib, vmm.StatusOK},
		"enough for now":                   {one(4*gib, 3*gib), 2 * gib, vmm.StatusWarning},
		"too little":                       {one(4*gib, 2*gib), 3 * gib, vmm.StatusRefused},
		"spare counts":                     {one(4*gib, gib), withSpare(gib), vmm.StatusRefused},
		"no more than all of the guest":    {one(gib, gib), withSpare(gib), vmm.StatusOK},
		"two, enough":                      {two(2*gib, 2*gib), 3 * gib, vmm.StatusOK},
		"two, one of them small":           {two(gib, 9*gib), 3 * gib, vmm.StatusWarning},
		"two, room where it is of no use":  {two(gib/2, 9*gib), 3 * gib, vmm.StatusRefused},
		"nothing allocated at the source":  {one(4*gib, gib), 0, vmm.StatusWarning},
		"nothing allocated, and no limits": {one(4*gib, ^uint64(0)), 0, vmm.StatusOK},
	} {
		for _, got := range checkSpace(c.places, c.need) {
			if got.Status != c.want || (got.Fix == "") != (c.want == vmm.StatusOK) {
				t.Errorf("%s: %+v, want %s", name, got, c.want)
			}
		}
	}
}

func TestMachineMemory(t *testing.T) {
	have, err := Host{}.readMachineMemory()
	if err != nil || have < 16<<20 {
		t.Errorf("this host has %d bytes, %v", have, err)
	}
	if checkMachineMemory(gib, 2*gib).Status != vmm.StatusRefused || checkMachineMemory(2*gib, gib).Status != vmm.StatusOK {
		t.Error("the check does not compare")
	}
}

func TestMemoryLimits(t *testing.T) {
	top := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		full := filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("vm.slice/one/memory.max", "max\n")
	write("vm.slice/one/memory.current", "5\n")
	write("vm.slice/memory.max", "1000000\n")
	write("vm.slice/memory.current", "900000\n")
	write("vm.slice/memory.stat", "anon 5\ninactive_file 300000\nactive_file 100000\nshmem 4\n")
	write("old/memory.limit_in_bytes", "5000\n")
	write("old/memory.usage_in_bytes", "6000\n")
	write("memory.limit_in_bytes", "9223372036854771712\n")
	for path, c := range map[string]struct {
		files cgroupFiles
		want  string
	}{
		"/vm.slice/one":      {cgroupV2, "/vm.slice 500000"},
		"/vm.slice/one/gone": {cgroupV2, "/vm.slice 500000"},
		"/old":               {cgroupV1, "/old 0"},
		"/":                  {cgroupV1, ""},
		"/../../elsewhere":   {cgroupV1, ""},
	} {
		list, err := limitsAbove(top, path, c.files)
		var got []string
		for _, l := range list {
			got = append(got, strings.TrimPrefix(l.group, top)+" "+strconv.FormatUint(l.free, 10))
		}
		if err != nil || strings.Join(got, ",") != c.want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, c.want)
		}
	}
	write("bad/memory.max", "lots\n")
	if _, err := limitsAbove(top, "/bad", cgroupV2); err == nil {
		t.Error("a limit that is no number was read")
	}
}

func TestMemoryLimitsOfThisProcess(t *testing.T) {
	limits, err := Host{}.readMemoryLimits("self")
	if err != nil {
		t.Fatal(err)
	}
	if got := checkMemoryLimits(limits, 1); got.Status != vmm.StatusOK {
		t.Errorf("%+v: %+v", limits, got)
	}
	if got := checkMemoryLimits([]memoryLimit{{"/a", 9}, {"/b", 5}}, 6); got.Status != vmm.StatusRefused || !strings.Contains(got.Detail, "/b") {
		t.Errorf("%+v", got)
	}
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`36 35 0:28 /a\040b /mnt/x\134y rw,noatime shared:1 master:2 - tmpfs tmpfs rw,size=1k,huge=within_size` + "\n")
	want := mount{device: unix.Mkdev(0, 28), root: "/a b", point: `/mnt/x\y`, kind: "tmpfs", options: "rw,size=1k,huge=within_size"}
	if !ok || m != want || m.option("huge") != "within_size" || m.option("uid") != "" {
		t.Errorf("%+v, %v", m, ok)
	}
	for _, line := range []string{"", "36 35 0:28 / / rw", "36 35 028 / / rw - tmpfs x rw", " - "} {
		if _, ok := parseMount(line); ok {
			t.Errorf("%q is no mount", line)
		}
	}
	mounts, err := Host{}.readMounts()
	if err != nil || len(mounts) == 0 {
		t.Errorf("%d mounts, %v", len(mounts), err)
	}
}

func TestHugePages(t *testing.T) {
	for _, c := range []struct {
		policy, option string
		want           bool
	}{
		{"never", "", false},
		{"never", "always", true},
		{"advise", "within_size", true},
		{"always", "", false}, // the policy is for memory without a mount
		{"deny", "always", false},
		{"force", "", true},
		{"force", "never", true},
		{"never", "never", false},
	} {
		if got := usesHugePages(c.policy, c.option); got != c.want {
			t.Errorf("policy %s, huge=%s: %v", c.policy, c.option, got)
		}
	}
	for release, want := range map[string]bool{"6.4.0": true, "6.18.44-x": true, "7.0-rc1": true, "6.3.9": false, "5.15": false, "": false, "x": false} {
		if got := isAtLeast(release, 6, 4); got != want {
			t.Errorf("%q ≥ 6.4: %v", release, got)
		}
	}
	policy := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(policy, []byte("always within_size [advise] never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readPolicy(policy); got != "advise" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := readPolicy(policy + "x"); got != "deny" || err != nil {
		t.Errorf("without the file: %q, %v", got, err)
	}
}
