package faults

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/worker"
)

// Roles of processes that other measurements have, too.
const (
	// RoleFloor answers each fault with a page of its own. Its job has a Socket.
	RoleFloor = "floor"
	// RoleBusy computes on every core. Its job is empty.
	RoleBusy = "busy"
)

// Roles of the processes of a measurement.
const (
	roleTouch     = "touch"
	roleZero      = "zero"
	roleEngine    = "engine"
	roleMemory    = "memory"
	rolePages     = "pages"
	roleRoundTrip = "round-trip"
)

// Ready is the first line of a worker that serves something.
type Ready struct {
	// Address is where lazymig's memory server listens.
	Address string `json:",omitempty"`
	// Plain is where the plain page server listens.
	Plain *plainpages.Address `json:",omitempty"`
}

// Job is what a worker is to do. Each role reads its part.
type Job struct {
	// Socket is where the memory is handed over.
	Socket string `json:",omitempty"`
	// Path is the file with the pages.
	Path string `json:",omitempty"`
	// Bandwidth limits lazymig's background, in bytes per second; 0: not.
	Bandwidth uint64 `json:",omitempty"`
	// Cached is the file whose pages the engine has in its cache; empty: it has
	// none. It brings only what is touched then.
	Cached string `json:",omitempty"`
	// From is the address of lazymig's memory server.
	From string `json:",omitempty"`
	// Plain is the address of the plain page server.
	Plain *plainpages.Address `json:",omitempty"`
	// Transport is the way to it.
	Transport plainpages.Transport `json:",omitempty"`
	// Touch says what to touch.
	Touch touchJob
}

// Child does the work of one role until in ends. Config.Command starts
// processes that call it.
func Child(role string, in io.Reader, out io.Writer) error {
	work, ok := map[string]func(context.Context, Job, io.Writer) error{
		roleTouch: touch, RoleFloor: serveFloor, roleZero: serveZero, roleEngine: serveEngine, roleMemory: serveMemory,
		rolePages: servePages, roleRoundTrip: roundTrips, RoleBusy: beBusy,
	}[role]
	if !ok {
		return fmt.Errorf("%q is no role of a measurement of faults", role)
	}
	var job Job
	return worker.Run(in, &job, func(ctx context.Context) error { return work(ctx, job, out) })
}

// beBusy computes on every core, as the vCPUs of guests do.
func beBusy(ctx context.Context, _ Job, out io.Writer) error {
	for range runtime.NumCPU() {
		go func() { // ends with the process
			for runtime.LockOSThread(); ctx.Err() == nil; {
			}
		}()
	}
	if err := worker.Say(out, Ready{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
