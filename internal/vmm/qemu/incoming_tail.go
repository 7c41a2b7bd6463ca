package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

// announceTail is the stream of device state into QEMU. It keeps QEMU from
// announcing the guest's network addresses before the switch is decided, which
// takes two values of one parameter:
//
//   - While the devices load, announce-rounds has to be at least 1. With 0,
//     virtio-net frees a timer that its next reset uses: QEMU 7.2 crashes when
//     the guest reboots or powers off. The timer's clock stands still until
//     the guest runs.
//   - When the load ends it has to be 0: then QEMU announces the guest itself.
//
// So the last byte is held back. It belongs to the description behind the
// devices, so when QEMU has read everything before it, all devices are loaded.
// Then the parameter is set, and then QEMU gets the byte.
type announceTail struct {
	incoming *Incoming
	file     *os.File
	held     [1]byte
	holds    bool
}

// Write passes all but the last byte so far.
func (t *announceTail) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if t.holds {
		if _, err := t.file.Write(t.held[:]); err != nil {
			return 0, fmt.Errorf("pass the device state to QEMU: %w", err)
		}
	}
	n, err := t.file.Write(p[:len(p)-1])
	if err != nil {
		t.holds = false
		return n, fmt.Errorf("pass the device state to QEMU: %w", err)
	}
	t.held[0], t.holds = p[len(p)-1], true
	return len(p), nil
}

// Close passes the last byte and ends the stream. Without a byte, or if QEMU
// does not take the rest, the stream ends early and the load fails. Calls after
// the first do nothing.
func (t *announceTail) Close() error {
	err := t.finish()
	if closing := t.file.Close(); !errors.Is(closing, os.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

func (t *announceTail) finish() error {
	if !t.holds {
		return nil
	}
	t.holds = false
	ctx, cancel := context.WithTimeoutCause(context.Background(), tailTimeout, fmt.Errorf("QEMU has not read the device state in %v", tailTimeout))
	defer cancel()
	if err := t.drained(ctx); err != nil {
		return fmt.Errorf("end the device state: %w", err)
	}
	none := map[string]int{"announce-rounds": 0}
	if err := t.incoming.client.Execute(ctx, "migrate-set-parameters", none, nil); err != nil {
		return t.incoming.explain(fmt.Errorf("end the device state: %w", err))
	}
	if _, err := t.file.Write(t.held[:]); err != nil {
		return fmt.Errorf("end the device state: %w", err)
	}
	return nil
}

// drained waits until QEMU has read all that was written.
func (t *announceTail) drained(ctx context.Context) error {
	recheck := time.NewTicker(tailRecheck)
	defer recheck.Stop()
	for {
		left, err := t.unread()
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-recheck.C:
		case <-t.incoming.exited:
			return vmm.ErrGone
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// unread returns how many bytes are in the socket.
func (t *announceTail) unread() (left int, err error) {
	conn, err := t.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := conn.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return left, errors.Join(failed, err)
}
