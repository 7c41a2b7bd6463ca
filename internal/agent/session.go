package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// ErrDied is returned by Session.Next when the engine ended without a last
// word. The keeper sees to the guest then; the VM's journal tells how.
var ErrDied = errors.New("the engine died")

// Session is a client's connection to an engine. One goroutine calls Next,
// others may call Cancel.
type Session struct {
	dir     string
	reader  *bufio.Reader // of Next alone
	last    bool          // of Next alone: the Exit line was read
	process *exec.Cmd     // nil in a session that Dial made
	ended   chan struct{} // closed when process has been waited for

	mu     sync.Mutex // protects all below
	conn   *net.UnixConn
	closed bool
}

// Line is one JSON object from an engine.
type Line struct {
	// Kind is its "event".
	Kind string
	// Raw is the object itself.
	Raw []byte
}

// Start starts an engine for job. The engine outlives this process.
func Start(job Job) (*Session, error) {
	dir, err := makeDir(job.StateDir, job.VM)
	if err != nil {
		return nil, err
	}
	line, err := marshalLine(job)
	if err != nil {
		return nil, err
	}
	process, conn, err := spawn(roleEngine, job.VM, dir, job.LogFormat)
	if err != nil {
		return nil, err
	}
	s := newSession(dir, conn)
	s.process, s.ended = process, make(chan struct{})
	go s.serveWait()
	if _, err := conn.Write(line); err != nil {
		return nil, errors.Join(fmt.Errorf("give the engine its job: %w", err), s.Close())
	}
	return s, nil
}

// Dial connects to the engine that works on a VM. It returns ErrNoEngine if
// there is none.
func Dial(stateDir, vm string) (*Session, error) {
	dir, err := migrate.VMDir(stateDir, vm)
	if err != nil {
		return nil, err
	}
	conn, err := connect(dir)
	if err != nil {
		return nil, err
	}
	return newSession(dir, conn), nil
}

func newSession(dir string, conn *net.UnixConn) *Session {
	return &Session{dir: dir, conn: conn, reader: bufio.NewReader(conn)}
}

// serveWait reaps the engine if it ends before this process does.
func (s *Session) serveWait() {
	defer close(s.ended)
	_ = s.process.Wait() // the exit status is in ProcessState
}

// Next returns the next line: first a Snapshot, last an Exit, then io.EOF. A
// session that was dropped because it was slow comes back by itself, and gets
// another Snapshot for what it missed. ErrDied says that the engine is no more,
// net.ErrClosed that the session was closed.
func (s *Session) Next() (Line, error) {
	if s.last {
		return Line{}, io.EOF
	}
	for {
		raw, err := readLine(s.reader)
		if err == nil {
			kind, err := kindOf(raw)
			s.last = kind == LineExit
			return Line{Kind: kind, Raw: raw}, err
		}
		switch err := s.reattach(); {
		case errors.Is(err, ErrNoEngine):
			return s.epitaph()
		case err != nil:
			return Line{}, err
		}
	}
}

// Cancel asks the engine to take the migration back. An Answer follows.
func (s *Session) Cancel() error {
	line, err := marshalLine(request{Signal: signalCancel})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	if _, err := s.conn.Write(line); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	return nil
}

// Close ends the session, not the engine.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.conn.Close()
}

// reattach connects again to an engine that is still there.
func (s *Session) reattach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	conn, err := connect(s.dir)
	if err != nil {
		return err
	}
	s.conn.Close()
	s.conn, s.reader = conn, bufio.NewReader(conn)
	return nil
}

// epitaph stands for the Exit line of an engine that has gone, or tells that
// it died. Whoever was dropped just before the end gets only the exit code. A
// panic has the exit code of a usage error, which no engine ends with after it
// took its job.
func (s *Session) epitaph() (Line, error) {
	if s.process == nil {
		return Line{}, ErrDied
	}
	<-s.ended
	code := s.process.ProcessState.ExitCode()
	log := filepath.Join(s.dir, roleEngine+".log")
	if code < exitDone || code == exitUsage {
		return Line{}, fmt.Errorf("%w: %v, its log is %s", ErrDied, s.process.ProcessState, log)
	}
	exit := Exit{Event: LineExit, Code: code}
	if code != exitDone {
		exit.Error = "the engine ended, its last words are in " + log
	}
	raw, err := marshalLine(exit)
	s.last = true
	return Line{Kind: LineExit, Raw: raw}, err
}
