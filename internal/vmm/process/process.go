package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that is watched through its pidfd. One goroutine waits
// for its end.
type Process struct {
	PID int
	// FD is the pidfd, valid until Release.
	FD int
	// Child is set for a child of this process, which the watcher reaps.
	Child *exec.Cmd

	file   *os.File // owns FD
	conn   syscall.RawConn
	exited chan struct{} // closed when the process has ended
	done   chan struct{} // closed when the watcher has ended
}

// Watch opens a process by its number and starts to watch it. child is set if
// the process is a child of this one.
func Watch(pid int, child *exec.Cmd) (*Process, error) {
	pidfd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &Process{
		PID:    pid,
		FD:     pidfd,
		file:   os.NewFile(uintptr(pidfd), "pidfd"),
		Child:  child,
		exited: make(chan struct{}),
		done:   make(chan struct{}),
	}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch process %d: %w", pid, err), p.file.Close())
	}
	go p.serveExit()
	return p, nil
}

// serveExit waits for the end of the process or for release.
func (p *Process) serveExit() {
	defer close(p.done)
	err := p.conn.Read(func(fd uintptr) bool { return isReadable(int(fd)) })
	if err != nil {
		return // released
	}
	if p.Child != nil {
		_ = p.Child.Wait() // the state is kept in p.Child
	}
	close(p.exited)
}

func isReadable(fd int) bool {
	list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(list, 0)
	return err == nil && n > 0
}

// Kill ends the process at once. A process that has ended is fine; after
// Release the error is os.ErrClosed.
func (p *Process) Kill() error {
	var failure error
	err := p.conn.Control(func(fd uintptr) {
		failure = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	})
	if err = errors.Join(err, failure); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

// End kills the process and waits until it has ended.
func (p *Process) End() error {
	if err := p.Kill(); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(killTimeout):
		return fmt.Errorf("kill process %d: it does not end within %v", p.PID, killTimeout)
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// HasExited reports whether the process has ended.
func (p *Process) HasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Release stops watching and leaves the process as it is. Calls after the
// first do nothing.
func (p *Process) Release() {
	p.file.Close()
	<-p.done
}
