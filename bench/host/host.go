package host

import (
	"io"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/link"
)

// Host is a place for QEMU and lazymig. Paths are those of the host. Its
// methods may be called from any goroutine.
type Host interface {
	// Name is for people, Address an IP address at which the other host reaches
	// this one.
	Name() string
	Address() string

	// Mkdir makes a folder in one that is there.
	Mkdir(path string) error
	// Write makes a file.
	Write(path string, content []byte, mode os.FileMode) error
	// Tail returns the end of a file, of at most this many bytes; "" if it cannot
	// be read.
	Tail(path string, most int) string
	// Allocated returns how much memory or disk the file that matches a pattern
	// has, in bytes.
	Allocated(pattern string) (uint64, error)
	// Remove removes what matches a pattern (see filepath.Match), folders with
	// all in them. It is no error if nothing does.
	Remove(pattern string) error

	// Start starts a program, in a session of its own.
	Start(Command) (*Process, error)
	// Listen makes a UNIX socket that a program there connects to.
	Listen(path string) (Listener, error)
	// Reach returns a path on this machine that leads to a UNIX socket there.
	Reach(path string) (string, error)
	// Clear ends every process that was started, and theirs.
	Clear() error

	// Counters returns what went over the cable to the other host.
	Counters() (link.Counters, error)
	// Watch begins to watch the costs of processes.
	Watch() (Watch, error)
	// Clock compares the clock of the host with that of this machine.
	Clock() (Clock, error)
}

// Command is a program to start.
type Command struct {
	Args []string // the program first
	// Log is a file of the host for all that the program says. If it is empty,
	// Stdout and Stderr take it.
	Log            string
	Stdout, Stderr io.Writer
}

// Listener waits for programs.
type Listener interface {
	Accept() (Caller, error)
	Close() error
}

// Caller is a program that has connected to a socket of the harness.
type Caller interface {
	io.ReadWriteCloser
	// PID is its process, of the host.
	PID() int
	// Kill ends it and waits. It is no error if it has ended.
	Kill() error
	// Wait waits until it has ended; see leftover.WaitFD.
	Wait(timeout time.Duration) error
}

// Watch watches the processes of one host. What a process had used when it was
// seen last counts; what runs when the watch begins has used nothing yet.
type Watch interface {
	// Exclude names the virtual CPUs of a QEMU and the memory that it has
	// without a move, which then count no more.
	Exclude(pid int, vcpus []int, memory uint64) error
	// Rebase forgets what has been used until now.
	Rebase() error
	// Spent returns what has been used since.
	Spent() (Spent, error)
	// Close ends the watch. It is safe to call more than once.
	Close() error
}

// Spent is what the processes of a host have used.
type Spent struct {
	// Time is the time of processors, Peak the most anonymous memory at one
	// time, in bytes.
	Time time.Duration
	Peak uint64
	// Resident is the anonymous memory of each process that lives.
	Resident map[int]uint64
}

// Clock is a host's clock beside the one of this machine.
type Clock struct {
	// Offset is how far it is ahead, and Bound by how much that may be wrong.
	Offset, Bound time.Duration
}

// Process is a program that was started.
type Process struct {
	ended chan struct{}
	err   error // set before ended is closed
	kill  func()
}

// NewProcess returns a process that has ended when wait returns, with its
// error; kill ends it.
func NewProcess(wait func() error, kill func()) *Process {
	p := &Process{ended: make(chan struct{}), kill: kill}
	go p.serve(wait)
	return p
}

func (p *Process) serve(wait func() error) {
	defer close(p.ended)
	p.err = wait()
}

// Ended is closed when the program has ended and all that it said has come.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err returns how it ended: nil if well, or while it runs.
func (p *Process) Err() error {
	select {
	case <-p.ended:
		return p.err
	default:
		return nil
	}
}

// Kill ends it and waits.
func (p *Process) Kill() {
	p.kill()
	<-p.ended
}
