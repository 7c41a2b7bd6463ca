package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// Config says what to examine.
type Config struct {
	// Role is the side to examine; Both is usual.
	Role Role
	// StateDir, TLSDir and Insecure are as for send and receive.
	StateDir, TLSDir string
	Insecure         bool
	// Listen is the address that receive would listen at; empty to leave it.
	Listen string
	// Memory is the RAM in bytes of a guest that is to come; 0 if not known.
	Memory uint64
	// RAMDir is where RAM files would be made.
	RAMDir string
	// QEMU is the program that receive would start.
	QEMU string
	// QMP is the monitor of a running guest to examine; empty for none.
	QMP string
}

// host is everything that checks look at.
type host struct {
	Config
	root string // in front of the paths of files

	machine   func() (string, error) // as uname says it
	pageSize  func() int
	euid      func() int
	openFiles func() (limit uint64, err error)
	clock     func() (time.Duration, error) // its resolution

	userfaultfd func(userModeOnly bool) error // make one by the system call
	device      func(path string) error       // make one by the device
	features    func() (uffd.Feature, error)
	preflight   func() vmm.Check // of userfaultfd
	pidfd       func() error     // hold a process and send it a signal
	getfd       func() error     // take a descriptor of a process
	kvmVersion  func(path string) (int, error)
	probe       func(context.Context, string) (qemu.Probed, error)
	room        func(directory string) (qemu.Room, error)
	huge        func(directory string) (vmm.Check, error)

	writable func(directory string) error
	fileSys  func(path string) (fileSystem, error)
	syncTime func(directory string) ([]time.Duration, error)
	identity func(directory string) (*quictransport.Identity, error)
	sockets  func() (sockets, error)
	listen   func(context.Context, string) error
	lookPath func(string) error
	now      func() time.Time

	probed   *qemu.Probed // what probe returned, once it was called
	probeErr error
}

func newHost(c Config) *host {
	var system qemu.Host
	return &host{
		Config: c, root: "/",
		machine: machine, pageSize: os.Getpagesize, euid: os.Geteuid, openFiles: openFiles, clock: clockResolution,
		userfaultfd: tryUserfaultfd, device: tryDevice, features: uffd.Features, preflight: qemu.CheckUserfaultfd, pidfd: tryPidfd, getfd: tryGetfd,
		kvmVersion: kvmVersion, probe: qemu.Probe, room: system.Room, huge: system.CheckHugePages,
		writable: writable, fileSys: statFileSystem, syncTime: measureSync,
		identity: quictransport.LoadIdentity, sockets: trySockets, listen: tryListen, lookPath: lookPath, now: time.Now,
	}
}

// check is one thing to look at.
type check struct {
	name, group string
	role        Role
	look        func(context.Context, *host) finding
}

// The headings, in their order.
const (
	groupMachine     = "Machine"
	groupUserfaultfd = "Userfaultfd"
	groupPrivileges  = "Privileges"
	groupQEMU        = "QEMU"
	groupMemory      = "Memory"
	groupNetwork     = "Network"
	groupState       = "State and identity"
	groupGuest       = "Guest"
)

// checks lists all checks of the host.
func checks() []check {
	return []check{
		{"architecture", groupMachine, Both, checkArchitecture},
		{"kernel", groupMachine, Both, checkKernel},
		{"clock", groupMachine, Both, checkClock},
		{"uffd-call", groupUserfaultfd, Destination, checkUserfaultfdCall},
		{"uffd-device", groupUserfaultfd, Destination, checkUserfaultfdDevice},
		{"uffd-sysctl", groupUserfaultfd, Destination, checkUserfaultfdSysctl},
		{"uffd-features", groupUserfaultfd, Destination, checkUserfaultfdFeatures},
		{"uffd-in-qemu", groupUserfaultfd, Destination, checkUserfaultfdInQEMU},
		{"user", groupPrivileges, Both, checkUser},
		{"linux-capabilities", groupPrivileges, Both, checkCapabilities},
		{"ptrace-scope", groupPrivileges, Destination, checkPtraceScope},
		{"pidfd", groupPrivileges, Both, checkPidfd},
		{"pidfd-getfd", groupPrivileges, Destination, checkGetfd},
		{"seccomp", groupPrivileges, Destination, checkSeccomp},
		{"user-namespace", groupPrivileges, Both, checkUserNamespace},
		{"container", groupPrivileges, Both, checkContainer},
		{"open-files", groupPrivileges, Both, checkOpenFiles},
		{"oom-score", groupPrivileges, Both, checkOOMScore},
		{"session", groupPrivileges, Both, checkSession},
		{"kvm", groupQEMU, Destination, checkKVM},
		{"qemu", groupQEMU, Destination, checkQEMU},
		{"qemu-migration", groupQEMU, Destination, checkQEMUMigration},
		{"accelerators", groupQEMU, Destination, checkAccelerators},
		{"tmpfs", groupMemory, Destination, checkTmpfs},
		{"host-memory", groupMemory, Destination, checkHostMemory},
		{"memory-cgroup", groupMemory, Destination, checkMemoryGroup},
		{"huge-pages", groupMemory, Destination, checkHugePages},
		{"udp-buffers", groupNetwork, Both, checkSocketBuffers},
		{"udp-offload", groupNetwork, Both, checkOffload},
		{"listen", groupNetwork, Destination, checkListen},
		{"state-dir", groupState, Both, checkStateDir},
		{"state-disk", groupState, Both, checkStateDisk},
		{"state-sync", groupState, Both, checkStateSync},
		{"identity", groupState, Both, checkIdentity},
	}
}

// Run examines the host, and the guest if there is one, and returns what it
// found in the order of the groups.
func Run(ctx context.Context, c Config) []Result { return newHost(c).run(ctx) }

func (h *host) run(ctx context.Context) []Result {
	var results []Result
	for _, c := range checks() {
		if !c.role.Covers(h.Role) || c.name == "listen" && h.Listen == "" {
			continue
		}
		f := c.look(ctx, h)
		results = append(results, Result{c.name, c.group, c.role, f.status, f.detail, f.fix})
	}
	if h.QMP != "" {
		results = append(results, h.examineGuest(ctx)...)
	}
	return results
}

func (h *host) path(name string) string { return filepath.Join(h.root, name) }

// read returns a small file of the system without the white space around it.
func (h *host) read(name string) (string, error) {
	text, err := os.ReadFile(h.path(name))
	return strings.TrimSpace(string(text)), err
}

func (h *host) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}

// qemu starts the QEMU program for a moment, the first time.
func (h *host) qemu(ctx context.Context) (*qemu.Probed, error) {
	if h.probed == nil {
		found, err := h.probe(ctx, h.QEMU)
		h.probed, h.probeErr = &found, err
	}
	return h.probed, h.probeErr
}
