package microvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// Run is the VMM: it runs a new guest, or waits for one that arrives, until
// somebody says quit or ctx ends. The process must have no other work: with
// Incoming, its threads may wait for pages at any time.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	memory, err := c.openRAM()
	if err != nil {
		return err
	}
	p := newProgram(c.Size)
	if c.Incoming == "" {
		defer func() {
			if err != nil {
				err = errors.Join(err, os.Remove(c.RAM))
			}
		}()
		p.fill(memory)
	} else if c.Accel, err = handOver(c.Incoming, memory, c.Accel); err != nil {
		return err
	}
	vcpu, accel, err := openCPU(c.Accel, p, memory)
	if err != nil {
		return err
	}
	serial, err := c.openSerial()
	if err != nil {
		return err
	}
	control, err := listenControl(c.Control)
	if err != nil {
		return err
	}
	control.status = Status{Name: c.Name, PID: os.Getpid(), Accel: accel, Version: stateVersion, RAM: c.RAM, Size: c.Size}
	return c.serve(ctx, newMachine(vcpu, p, memory, serial), control)
}

// serve runs the machine and its control socket until the end.
func (c Config) serve(ctx context.Context, m *machine, control *control) error {
	ctx, quit := context.WithCancelCause(ctx)
	control.machine, control.quit = m, func() { quit(nil) }
	go func() {
		if err := m.serveCPU(); err != nil {
			control.tell(event{Event: eventShutdown, Reason: "guest-panic"})
			quit(err)
		}
	}()
	var err error
	if c.Incoming == "" {
		_, err = m.run(false)
	}
	go control.serve() // whoever asks first finds a guest that runs
	if err == nil {
		<-ctx.Done()
		if err = context.Cause(ctx); errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	if err == nil {
		control.tell(event{Event: eventShutdown, At: time.Now().UnixNano(), Reason: commandQuit})
	}
	m.end(nil)
	_ = os.Remove(c.Control)
	control.close()
	// A vCPU that waits for a page ends with the process.
	return err
}

// openRAM maps the RAM file, which a new guest's VMM creates.
func (c Config) openRAM() ([]byte, error) {
	flags := os.O_RDWR | unix.O_NOFOLLOW
	if c.Incoming == "" {
		flags |= os.O_CREATE | os.O_EXCL
	}
	file, err := os.OpenFile(c.RAM, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the RAM: %w", err)
	}
	defer file.Close()
	if c.Incoming == "" {
		err = file.Truncate(int64(c.Size))
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr); err == nil && info.Size() != int64(c.Size) {
		err = fmt.Errorf("%s has %d bytes, not %d", c.RAM, info.Size(), c.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("open the RAM: %w", err)
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, int(c.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the RAM: %w", err)
	}
	return memory, nil
}

// handOver makes a userfaultfd for memory and gives a copy of it to the handler
// that listens at path. From its return on, touching memory may wait. The VMM's
// own copy is never closed: if it were the last one, missing pages would read
// as zeros. Without privileges only faults of user mode can be served, so that
// the vCPU has to be native then: KVM touches memory in the kernel.
func handOver(path string, memory []byte, accel Accel) (Accel, error) {
	handle, err := uffd.Open()
	if err != nil && accel != AccelKVM {
		var userErr error
		handle, userErr = uffd.OpenUserMode()
		if accel = AccelNative; userErr == nil {
			err = nil
		}
	}
	if err != nil {
		return accel, err
	}
	return accel, register(handle, path, memory)
}

func register(handle *uffd.Handle, path string, memory []byte) error {
	if _, err := handle.Handshake(uffd.FeatureEventRemove | uffd.FeatureMissingShmem | uffd.FeatureThreadID); err != nil {
		return err
	}
	start, size := address(memory), uint64(len(memory))
	if err := handle.Register(start, size); err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("hand the userfaultfd over: %w", err)
	}
	defer conn.Close()
	region := firecracker.Region{Address: start, Size: size, PageSize: lazymig.PageSize}
	return firecracker.Send(conn, []firecracker.Region{region}, handle.Fd())
}

// openSerial connects the serial port.
func (c Config) openSerial() (io.Writer, error) {
	if c.Serial == "" {
		return nil, nil
	}
	conn, err := net.Dial("unix", c.Serial)
	if err != nil {
		return nil, fmt.Errorf("connect the serial port: %w", err)
	}
	return conn, nil
}
