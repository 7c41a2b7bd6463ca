package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// keeperReady is what a keeper says once it has its first spec.
const keeperReady = "ready\n"

// keeperLink is the engine's end of the link to its keeper. A keeper that
// sees the link end without the last spec takes the engine for dead.
type keeperLink struct {
	vm, dir   string
	logFormat string

	mu      sync.Mutex // protects all below
	process *exec.Cmd
	conn    *net.UnixConn
}

// send gives the keeper its spec, the first time to a new process, and returns
// when that process has it. The spec is final if the keeper is to end.
func (k *keeperLink) send(spec any, final bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	line, err := marshalLine(spec)
	if err != nil {
		return err
	}
	if k.conn == nil {
		if final {
			return nil // nobody to end
		}
		return k.startLocked(line)
	}
	if err := k.writeLocked(line); err != nil {
		return err
	}
	if final {
		return k.waitLocked()
	}
	return nil
}

func (k *keeperLink) startLocked(line []byte) error {
	process, conn, err := spawn(roleKeeper, k.vm, k.dir, k.logFormat)
	if err != nil {
		return err
	}
	k.process, k.conn = process, conn
	if err := k.writeLocked(line); err != nil {
		return err
	}
	var said [len(keeperReady)]byte
	if _, err := conn.Read(said[:]); err != nil {
		return fmt.Errorf("wait for the keeper, see keeper.log in %s: %w", k.dir, err)
	}
	return nil
}

func (k *keeperLink) writeLocked(line []byte) error {
	if err := k.conn.SetDeadline(time.Now().Add(keeperTimeout)); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	if _, err := k.conn.Write(line); err != nil {
		return fmt.Errorf("tell the keeper, see keeper.log in %s: %w", k.dir, err)
	}
	return nil
}

// waitLocked waits for a keeper that was told to end.
func (k *keeperLink) waitLocked() error {
	slow := time.AfterFunc(keeperTimeout, func() { _ = k.process.Process.Kill() })
	defer slow.Stop()
	err := k.process.Wait()
	k.conn.Close()
	k.process, k.conn = nil, nil
	if err != nil {
		return fmt.Errorf("end the keeper: %w", err)
	}
	return nil
}

// Keeper is the whole of a keeper process: it hands keep every spec that its
// engine sends, and closes gone when the engine is no more. It returns the
// exit code. S is what keep wants to be told.
func Keeper[S any](keep func(ctx context.Context, specs <-chan S, gone <-chan struct{}) error) int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM) // it ends when its work is done
	engine, err := inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lazymig: error:", err)
		return exitUsage
	}
	defer engine.Close()
	if _, err := protect(); err != nil {
		slog.Warn("memory pressure may end this keeper", "error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	specs, gone := make(chan S), make(chan struct{})
	go func() {
		defer close(gone)
		serveSpecs(ctx, engine, specs)
	}()
	if err := keep(ctx, specs, gone); err != nil {
		slog.Error("keep", "error", err)
		return exitFailed
	}
	return exitDone
}

// serveSpecs reads specs until the engine goes or ctx ends.
func serveSpecs[S any](ctx context.Context, engine *net.UnixConn, specs chan<- S) {
	reader := bufio.NewReader(engine)
	for first := true; ; first = false {
		line, err := readLine(reader)
		if err != nil {
			slog.Info("the engine has gone", "error", err)
			return
		}
		var spec S
		if err := json.Unmarshal(line, &spec); err != nil {
			slog.Error("parse a spec", "error", err)
			return
		}
		select {
		case specs <- spec:
		case <-ctx.Done():
			return
		}
		if first {
			_, _ = engine.Write([]byte(keeperReady)) // an engine that died meanwhile is seen at the next read
		}
	}
}
