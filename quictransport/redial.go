package quictransport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
)

// Redialer dials until there is a link. Addr and Identity must be set. It has
// no state: each Dial starts with short pauses.
type Redialer struct {
	// Addr is HOST:PORT of the destination.
	Addr     string
	Identity *Identity
	Config   Config
	// Failed, if set, is called after each attempt that failed, from 1 on.
	Failed func(attempt int, err error)
}

// Dial calls DialLink until it works. It gives up when ctx ends, with its
// cause and the last failure, and at once when trying again cannot help: at a
// *RefusedError that is not Temporary and at errors that wrap ErrConfig or
// ErrNotLoopback. The pauses between attempts double from 50 ms to 1 s, with
// jitter.
func (r *Redialer) Dial(ctx context.Context, hello wire.Hello) (*Link, wire.Welcome, error) {
	for attempt := 1; ; attempt++ {
		link, welcome, err := DialLink(ctx, r.Addr, r.Identity, r.Config, hello)
		if err == nil {
			return link, welcome, nil
		}
		if r.Failed != nil {
			r.Failed(attempt, err)
		}
		if isFinal(err) {
			return nil, wire.Welcome{}, err
		}
		select {
		case <-time.After(pause(attempt, rand.Float64())):
		case <-ctx.Done():
			return nil, wire.Welcome{}, fmt.Errorf("%w, last failure: %w", context.Cause(ctx), err)
		}
	}
}

// pause returns the time to wait after an attempt, 1 and up. spread is from 0
// to 1: hosts that lost the same line do not come back all at once.
func pause(attempt int, spread float64) time.Duration {
	full := redialMax
	if attempt < 6 {
		full = min(redialMin<<attempt, redialMax)
	}
	return full/2 + time.Duration(spread*float64(full/2))
}

// isFinal reports whether another attempt cannot help.
func isFinal(err error) bool {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return !e.Temporary()
	}
	return errors.Is(err, ErrConfig) || errors.Is(err, ErrNotLoopback)
}
