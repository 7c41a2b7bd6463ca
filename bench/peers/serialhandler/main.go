//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/loopholelabs/userfaultfd-go/pkg/mapper"
	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/worker"
)

func main() {
	var job faults.Job
	err := worker.Run(os.Stdin, &job, func(ctx context.Context) error { return serve(ctx, job, os.Stdout) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "serialhandler:", err)
		os.Exit(1)
	}
}

// serve takes the memory of one process and serves it until ctx ends.
func serve(ctx context.Context, job faults.Job, out io.Writer) error {
	if job.Plain == nil {
		return errors.New("the job names no page server: lazymig bench faults starts this program")
	}
	pages, err := plainpages.Dial(ctx, *job.Plain, job.Transport)
	if err != nil {
		return err
	}
	defer pages.Close()
	vmm, err := faults.TakeOver(ctx, job.Socket, out)
	if err != nil {
		return err
	}
	defer vmm.Close()
	ended := make(chan error, 1)
	go func() { ended <- handle(vmm.Handle.Fd(), uintptr(vmm.Regions[0].Address), pages) }() // ends with the process
	select {
	case err := <-ended:
		return fmt.Errorf("serve faults with userfaultfd-go: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// handle is the library's loop. It ends at a signal, which Go's runtime sends
// to itself, and when a fault that woke it has gone again: then it begins anew,
// as whoever uses it has to.
func handle(fd int, start uintptr, pages io.ReaderAt) error {
	for {
		err := mapper.Handle(mapper.UFFD(fd), start, pages)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
}
