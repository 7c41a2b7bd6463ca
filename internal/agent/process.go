package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The hidden commands by which lazymig starts itself again.
const (
	roleEngine = "engine"
	roleKeeper = "keeper"
)

// inheritedFD is where a started process finds its end of the socket pair.
const inheritedFD = 3

// spawn starts this very program, even if its file has been replaced, as
// `lazymig ROLE VM --log-format=FORMAT` in a session of its own, with its
// output in DIR/ROLE.log and one end of a socket pair as descriptor 3. The
// caller waits for the process and closes the connection.
func spawn(role, vm, dir, format string) (*exec.Cmd, *net.UnixConn, error) {
	log, err := openLog(filepath.Join(dir, role+".log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	process := exec.Command("/proc/self/exe", role, vm, "--log-format="+format)
	process.Args[0] = os.Args[0]
	process.Stdout, process.Stderr = log, log
	process.ExtraFiles = []*os.File{theirs}
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start the %s: %w", role, err), ours.Close())
	}
	return process, ours, nil
}

// socketPair returns two ends of which the first stays in this process.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "socketpair")
	ours, err := adopt(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// inherited returns the connection to the process that started this one.
func inherited() (*net.UnixConn, error) {
	conn, err := adopt(inheritedFD)
	if err != nil {
		return nil, fmt.Errorf("find who started this process (send and receive do): %w", err)
	}
	return conn, nil
}

// adopt makes a connection of a descriptor, which it closes in any case.
func adopt(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "socketpair")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a UNIX socket"), conn.Close())
	}
	return u, nil
}

// openLog opens a log file to append to. One that has grown large is put aside
// first, over the one that was put aside before.
func openLog(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("put the log aside: %w", err)
		}
	}
	log, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}
