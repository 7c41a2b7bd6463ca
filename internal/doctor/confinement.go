package doctor

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const hostFix = "run lazymig on the host itself, not in the container"

// The kernel's first namespaces have fixed numbers.
const firstPIDNamespace = "pid:[4026531836]"

// checkUserNamespace: in a user namespace root is a user like others to the
// kernel, whatever its capabilities.
func checkUserNamespace(_ context.Context, h *host) finding {
	text, err := h.read("/proc/self/uid_map")
	if errors.Is(err, fs.ErrNotExist) {
		return ok("the kernel has no user namespaces")
	}
	if err != nil {
		return unknown("mount -t proc proc /proc", "%v", err)
	}
	if strings.Join(strings.Fields(text), " ") != "0 0 4294967295" {
		return limited("run lazymig outside of it (docker without userns-remap, podman as root)",
			"in a user namespace: privileges end at it, also for /dev/userfaultfd and the OOM score")
	}
	return ok("the host's own")
}

// containerMarks are files that containers have.
var containerMarks = []string{"/.dockerenv", "/run/.containerenv", "/run/systemd/container"}

// checkContainer: what matters is whether processes of the host are seen, one
// of which may use the guest's RAM, and whether QEMU ends with a container.
func checkContainer(_ context.Context, h *host) finding {
	mark := h.containerMark()
	namespace, err := os.Readlink(h.path("/proc/self/ns/pid"))
	switch {
	case err != nil && mark == "":
		return unknown("mount -t proc proc /proc", "%v", err)
	case err == nil && namespace != firstPIDNamespace:
		return limited(hostFix, "in a process namespace of its own%s: the host's processes are not seen, and QEMU ends with it", by(mark))
	case mark != "" && err != nil:
		return limited(hostFix, "in a container%s", by(mark))
	case mark != "":
		return ok("%s, but with the host's processes", mark)
	}
	return ok("none")
}

func by(mark string) string {
	if mark == "" {
		return ""
	}
	return " (" + mark + ")"
}

// containerMark returns what tells of a container, empty if nothing does.
func (h *host) containerMark() string {
	for _, name := range containerMarks {
		if h.exists(name) {
			return name
		}
	}
	groups, err := h.read("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for _, word := range []string{"docker", "libpod", "kubepods", "containerd", "lxc"} {
		if strings.Contains(groups, "/"+word) {
			return "control group of " + word
		}
	}
	return ""
}

// checkSession is about what ends when a user logs out or a unit stops.
func checkSession(_ context.Context, h *host) finding {
	if info, err := os.Stat(h.path("/run/systemd/system")); err != nil || !info.IsDir() {
		return ok("no systemd that would end processes")
	}
	root := h.euid() == 0
	if !root && h.killsUserProcesses() {
		return limited("loginctl enable-linger $USER, or KillUserProcesses=no in /etc/systemd/logind.conf",
			"systemd ends all processes of this user at logout (KillUserProcesses=yes), also a migration and QEMU")
	}
	if !root {
		return limited("sudo lazymig, or: systemd-run --user --scope lazymig …", "systemd would end a QEMU that receive starts together with the unit of this shell")
	}
	if err := h.lookPath("systemd-run"); err != nil {
		return limited("apt-get install systemd", "there is no systemd-run: QEMU would end with lazymig's unit")
	}
	return ok("systemd; QEMU gets a scope of its own")
}

// killsUserProcesses reads logind's files in the order of their precedence:
// the last word counts.
func (h *host) killsUserProcesses() bool {
	var dropIns []string
	for _, dir := range []string{"/usr/lib", "/run", "/etc"} {
		found, err := filepath.Glob(h.path(dir + "/systemd/logind.conf.d/*.conf"))
		if err == nil {
			dropIns = append(dropIns, found...)
		}
	}
	slices.SortStableFunc(dropIns, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	kills := false
	for _, name := range append([]string{h.path("/usr/lib/systemd/logind.conf"), h.path("/etc/systemd/logind.conf")}, dropIns...) {
		if value, found := setting(name, "KillUserProcesses"); found {
			kills = slices.Contains([]string{"yes", "true", "1", "on"}, strings.ToLower(value))
		}
	}
	return kills
}

// setting returns the last value of a key in a file of systemd's form.
func setting(path, key string) (value string, found bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.TrimSpace(name) == key {
			value, found = strings.TrimSpace(text), true
		}
	}
	return value, found
}
