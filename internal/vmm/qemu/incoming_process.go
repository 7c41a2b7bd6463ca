package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process that is watched through its pidfd. One goroutine waits
// for its end.
type process struct {
	pid    int
	pidfd  int
	file   *os.File // owns pidfd
	conn   syscall.RawConn
	child  *exec.Cmd     // to be reaped by the watcher; nil for others
	exited chan struct{} // closed when the process has ended
	done   chan struct{} // closed when the watcher has ended
}

// watch opens a process by its number and starts to watch it. child is set if
// the process is a child of this one.
func watch(pid int, child *exec.Cmd) (*process, error) {
	pidfd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &process{
		pid:    pid,
		pidfd:  pidfd,
		file:   os.NewFile(uintptr(pidfd), "pidfd"),
		child:  child,
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
func (p *process) serveExit() {
	defer close(p.done)
	err := p.conn.Read(func(fd uintptr) bool { return isReadable(int(fd)) })
	if err != nil {
		return // released
	}
	if p.child != nil {
		_ = p.child.Wait() // the state is kept in p.child
	}
	close(p.exited)
}

func isReadable(fd int) bool {
	list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(list, 0)
	return err == nil && n > 0
}

// kill ends the process at once. A process that has ended is fine; after
// release the error is os.ErrClosed.
func (p *process) kill() error {
	var failure error
	err := p.conn.Control(func(fd uintptr) {
		failure = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	})
	if err = errors.Join(err, failure); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// end kills the process and waits until it has ended.
func (p *process) end() error {
	if err := p.kill(); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(killTimeout):
		return fmt.Errorf("kill process %d: it does not end within %v", p.pid, killTimeout)
	}
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// release stops watching and leaves the process as it is. Calls after the
// first do nothing.
func (p *process) release() {
	p.file.Close()
	<-p.done
}
