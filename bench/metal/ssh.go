package metal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
)

// shellScript takes lazymig from its standard input and becomes its helper. The
// folder has the number of the process in its name, which exec keeps: package
// leftover tells by it whose it is. It has no quote that a shell between would
// need to know.
const shellScript = `umask 077; d="${TMPDIR:-/tmp}/lmb-$$-0-metal"; mkdir "$d" || exit; ` +
	`trap "rm -rf \"$d\"" EXIT; trap "exit 1" HUP INT TERM; ` +
	`head -c %[1]d >"$d/lazymig" && [ "$(wc -c <"$d/lazymig")" -eq %[1]d ] && chmod 700 "$d/lazymig" && umask 022 && exec "$d/lazymig" bench host "$d"`

// sshOptions make ssh ask nobody, find a dead line within 15 s, and be its own
// connection, which ends with it.
var sshOptions = []string{
	"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
	"-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ForwardX11=no",
}

// SSHError is an ssh that does not lead to a helper.
type SSHError struct {
	Host string
	said string // by ssh, or the other machine
	err  error
}

// Error says what ssh said.
func (e *SSHError) Error() string {
	text := fmt.Sprintf("run lazymig on %s by ssh: %v", e.Host, e.err)
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

// Unwrap returns the cause.
func (e *SSHError) Unwrap() error { return e.err }

// Hint says what to try.
func (e *SSHError) Hint() string {
	if strings.Contains(e.said, "Permission denied\n") || strings.HasSuffix(e.said, "lazymig: Permission denied") {
		return "its folder for temporary files must allow programs; set TMPDIR for ssh sessions there"
	}
	return "`ssh " + e.Host + " true` must work without a question: use a key or an agent, and accept the host's key once"
}

// said keeps the end of what ssh says.
type said struct {
	mu   sync.Mutex // protects text
	text []byte
}

func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, text...)
	s.text = s.text[max(0, len(s.text)-maxSaid):]
	return len(text), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.text))
}

// connect starts a helper on a machine. ssh is the program with what stands
// before the machine's name, program the lazymig to run there.
func connect(ctx context.Context, ssh []string, login string, program []byte) (*Remote, error) {
	var words said
	fail := func(err error) (*Remote, error) {
		return nil, &SSHError{Host: login, said: words.String(), err: err}
	}
	dir := filepath.Join(os.TempDir(), leftover.Name("metal"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fail(err)
	}
	args := append(append(append([]string{}, ssh...), sshOptions...), "--", login, "exec sh -c '"+fmt.Sprintf(shellScript, len(program))+"'")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ^C is for the driver, which then ends it in order
	cmd.WaitDelay = closeTimeout
	in, err := cmd.StdinPipe()
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	if err := cmd.Start(); err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
	_, err = io.Copy(in, bytes.NewReader(program))
	lines := bufio.NewReaderSize(out, maxGreeting)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		err = greeting(lines)
	}
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = end(cmd, in, partingTimeout) // what ssh said tells more
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	return newRemote(login, lines, in, dir, &words, func() error { return end(cmd, in, closeTimeout) }), nil
}

// greeting waits for a helper's hello, and passes over what a shell says.
func greeting(lines *bufio.Reader) error {
	for read := 0; read < maxGreeting; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return errors.New("it has ended before lazymig ran there")
		}
		read += len(line)
		var m message
		if json.Unmarshal(line, &m) == nil && m.Hello != "" {
			return nil
		}
	}
	return errors.New("its shell says too much before lazymig runs there")
}

// end has the helper end, by the end of its input.
func end(cmd *exec.Cmd, in io.Closer, timeout time.Duration) error {
	_ = in.Close() // it may have ended
	kill := time.AfterFunc(timeout, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("end the helper: %w: %s", err, cmd.Stderr)
	}
	return nil
}
