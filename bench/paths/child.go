package paths

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/rawquic"
	"github.com/lazymig/lazymig/bench/worker"
)

// Roles of the processes of a measurement. Those of package faults that are
// needed here, too, keep their names.
const (
	roleTouch     = "path-touch"
	roleEngine    = "path-engine"
	roleMemory    = "path-memory"
	rolePages     = "path-pages"
	roleRoundTrip = "path-round-trip"
	roleSendFlows = "path-send-flows"
	roleReadFlows = "path-read-flows"
	roleRawQUIC   = "path-raw-quic"
)

// ready is the first line of a worker that serves something.
type ready struct {
	// Address is where it listens.
	Address string `json:",omitempty"`
	// Plain is where the plain page server listens.
	Plain *plainpages.Address `json:",omitempty"`
}

// job is what a worker is to do. Each role reads its part.
type job struct {
	// Host is the address of the worker's own host.
	Host string
	// Identity is the folder of the certificates.
	Identity string
	// Socket is where the memory is handed over.
	Socket string
	// Path is the file with the pages, Pages how many of them count.
	Path  string
	Pages int
	// From is the address of the server.
	From string
	// Plain is the address of the plain page server.
	Plain *plainpages.Address
	// OnDemand leaves the engine's background out.
	OnDemand bool
	// Profile is where a profile of the engine's processor time goes, or empty.
	Profile string
	Touch   touchJob
	// Flows is the number of TCP connections.
	Flows int
	// Settle is how long after the start it begins to count, Budget for how long
	// it counts.
	Settle, Budget time.Duration
	Seed           uint64
}

// Child does the work of one role until in ends. Config.Command starts
// processes that call it.
func Child(role string, in io.Reader, out io.Writer) error {
	if role == roleRawQUIC {
		if code, is := rawquic.Child(); !is || code != 0 {
			return errors.New("be an end of a plain QUIC connection: it has failed")
		}
		return nil
	}
	work, ok := map[string]func(context.Context, job, io.Writer) error{
		roleTouch: touch, roleEngine: serveEngine, roleMemory: serveMemory,
		rolePages: servePages, roleRoundTrip: roundTrips, roleSendFlows: sendFlows, roleReadFlows: readFlows,
	}[role]
	if !ok {
		return faults.Child(role, in, out)
	}
	var j job
	return worker.Run(in, &j, func(ctx context.Context) error { return work(ctx, j, out) })
}
