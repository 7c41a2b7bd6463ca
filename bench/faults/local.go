package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/worker"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// local answers faults without asking anybody: what a fault costs when the
// content is there already.
type local struct {
	vmm    *firecracker.Handoff
	answer func(address uint64) (int, error)
}

func serveFloor(ctx context.Context, job Job, out io.Writer) error {
	return serveLocal(ctx, job, out, func(l *local) func(uint64) (int, error) {
		page := make([]byte, pageBytes)
		region := l.vmm.Regions[0]
		return func(address uint64) (int, error) {
			binary.LittleEndian.PutUint64(page, Pattern((address-region.Address)/pageBytes))
			return l.vmm.Handle.Copy(address, page)
		}
	})
}

func serveZero(ctx context.Context, job Job, out io.Writer) error {
	return serveLocal(ctx, job, out, func(l *local) func(uint64) (int, error) {
		return func(address uint64) (int, error) { return l.vmm.Handle.ZeroPage(address, pageBytes) }
	})
}

func serveLocal(ctx context.Context, job Job, out io.Writer, answer func(*local) func(uint64) (int, error)) error {
	vmm, err := TakeOver(ctx, job.Socket, out)
	if err != nil {
		return err
	}
	defer vmm.Close()
	l := &local{vmm: vmm}
	l.answer = answer(l)
	reader, err := uffd.NewReader(vmm.Handle)
	if err != nil {
		return err
	}
	defer reader.Close()
	stop := context.AfterFunc(ctx, reader.Wakeup)
	defer stop()
	var batch uffd.Batch
	for ctx.Err() == nil {
		if err := reader.Read(&batch, -1); err != nil {
			return err
		}
		for _, f := range batch.Faults {
			if err := l.serve(f.Address); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve answers one fault. Nothing removes memory here, so EAGAIN passes.
func (l *local) serve(address uint64) error {
	for {
		_, err := l.answer(address)
		switch {
		case err == nil, errors.Is(err, unix.ESRCH): // its process has ended
			return nil
		case errors.Is(err, unix.EEXIST):
			return l.vmm.Handle.Wake(address, pageBytes)
		case !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("answer a fault at %#x: %w", address, err)
		}
	}
}

// TakeOver listens at the socket, says that it does, and takes the memory of
// the process that comes.
func TakeOver(ctx context.Context, socket string, out io.Writer) (*firecracker.Handoff, error) {
	listener, err := firecracker.Listen(socket)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	if err := worker.Say(out, Ready{}); err != nil {
		return nil, err
	}
	return listener.Accept(ctx)
}
