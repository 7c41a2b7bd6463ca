package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// identify loads who the engine was.
func (k *keeper) identify() error {
	if k.identity != nil {
		return nil
	}
	var err error
	if k.spec.TLSDir != "" {
		k.identity, err = quictransport.LoadIdentity(k.spec.TLSDir)
	} else {
		k.identity, err = quictransport.InsecureLoopback()
	}
	if err == nil && k.spec.Key != [32]byte{} {
		k.identity.DomainKey = k.spec.Key
	}
	return err
}

// reconnect looks for the other side in a goroutine that reports to run: a
// source dials, a destination listens.
func (k *keeper) reconnect() error {
	if k.linking != nil || k.link != nil {
		return nil
	}
	if err := k.identify(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.linking = cancel
	if k.spec.Source {
		hello := k.hello()
		go func() { k.links <- k.dial(ctx, hello) }()
		return nil
	}
	state, epoch := k.driver.Announce()
	go func() { k.links <- k.listen(ctx, state, epoch) }()
	return nil
}

// listen waits for the source at the address of the engine, which may take a
// moment to become free.
func (k *keeper) listen(ctx context.Context, state failover.State, epoch lazymig.Epoch) linked {
	for {
		listener, err := quictransport.Listen(k.spec.Address, k.identity, quictransport.Config{Peer: k.spec.Peer})
		if err == nil {
			return k.accept(ctx, listener, state, epoch)
		}
		slog.Warn("wait for the source", "error", err)
		select {
		case <-time.After(progressInterval):
		case <-ctx.Done():
			return linked{err: context.Cause(ctx)}
		}
	}
}

func (k *keeper) hello() wire.Hello {
	state, epoch := k.driver.Announce()
	return wire.Hello{State: uint8(state), Epoch: epoch, VM: k.spec.ID, Session: k.spec.Session, Name: k.spec.VM}
}

func (k *keeper) dial(ctx context.Context, hello wire.Hello) linked {
	dialer := quictransport.Redialer{
		Addr: k.spec.Address, Identity: k.identity, Config: quictransport.Config{Peer: k.spec.Peer},
	}
	link, welcome, err := dialer.Dial(ctx, hello)
	return linked{link: link, state: failover.State(welcome.State), epoch: welcome.Epoch, err: err}
}

// accept waits for the source of this session. The listener goes when the link
// does.
func (k *keeper) accept(ctx context.Context, listener *quictransport.Listener, state failover.State, epoch lazymig.Epoch) linked {
	link, hello, err := listener.Accept(ctx, func(hello wire.Hello, _ string) (wire.Welcome, error) {
		if hello.VM == k.spec.ID && hello.Epoch > epoch {
			select {
			case k.newer <- struct{}{}:
			default:
			}
		}
		if hello.Session != k.spec.Session {
			return wire.Welcome{}, &quictransport.RefusedError{
				Code: wire.CodeBusy, Text: "a guest of another migration waits here for its source's decision",
				Hint: "run `lazymig status " + k.spec.VM + "` on the destination",
			}
		}
		welcome := wire.Welcome{State: uint8(state), Epoch: epoch, Session: hello.Session}
		if k.identity.Insecure {
			welcome.DomainKey = k.identity.DomainKey
		}
		return welcome, nil
	})
	if err != nil {
		return linked{err: errors.Join(err, listener.Close())}
	}
	return linked{link: link, state: failover.State(hello.State), epoch: hello.Epoch, listener: listener}
}

// knowsNothing reports whether an error of dialling is the word of the other
// side's engine that it has nothing to do with this migration. Another key or
// version is no such word.
func knowsNothing(err error) bool {
	refused, ok := errors.AsType[*quictransport.RefusedError](err)
	return ok && refused.Code == wire.CodeEngine
}

// linked goes on with what the other side says of itself.
func (k *keeper) linked(l linked) error {
	k.linking()
	k.linking = nil
	if l.err != nil {
		slog.Warn("no link to the other side", "error", l.err)
		if k.spec.Source && knowsNothing(l.err) {
			return k.driver.Apply(failover.EventPeerAbandoned, "the destination knows nothing of this migration")
		}
		return l.err
	}
	k.link, k.listener = l.link, l.listener
	k.control = startControl(l.link, k.frames, wire.TypeCommit, wire.TypeAbort, wire.TypeAbandoned, wire.TypeRenounced, wire.TypeReleased)
	return k.driver.Reconnected(l.state, l.epoch)
}

func (k *keeper) receive(f inbound) error {
	if f.from != k.control {
		return nil
	}
	if f.end {
		k.link.Close(wire.CodeDone, "done")
		return nil
	}
	err := k.dispatch(f)
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, failover.ErrUnexpected) || errors.Is(err, failover.ErrEpoch) {
		closeLink(k.link, err)
		return nil
	}
	return err
}

func (k *keeper) dispatch(f inbound) error {
	switch f.kind {
	case wire.TypeCommit:
		frame, err := wire.ParseCommit(f.payload)
		if err != nil {
			return err
		}
		return k.driver.ApplyMessage(failover.EventCommitted, frame.Epoch, "the keeper cannot serve pages")
	case wire.TypeAbort:
		frame, err := wire.ParseAbort(f.payload)
		if err != nil {
			return err
		}
		return k.driver.ApplyMessage(failover.EventAborted, frame.Epoch, frame.Reason)
	case wire.TypeReleased:
		frame, err := wire.ParseReleased(f.payload)
		if err != nil {
			return err
		}
		return k.driver.ApplyMessage(failover.EventPeerReleased, frame.Epoch, "")
	case wire.TypeAbandoned:
		frame, err := wire.ParseAbandoned(f.payload)
		if err != nil {
			return err
		}
		return k.driver.ApplyMessage(failover.EventPeerAbandoned, frame.Epoch, frame.Reason)
	case wire.TypeRenounced:
		frame, err := wire.ParseRenounced(f.payload)
		if err != nil {
			return err
		}
		return k.driver.ApplyMessage(failover.EventRenounced, frame.Epoch, frame.Reason)
	default:
		return fmt.Errorf("%w: %s", wire.ErrMalformed, f.kind)
	}
}

func (k *keeper) tell(f appender) {
	if k.link == nil {
		return
	}
	if err := k.control.send(f); err != nil {
		closeLink(k.link, err)
	}
}

func (k *keeper) linkDone() <-chan struct{} {
	if k.link == nil {
		return nil
	}
	return k.link.Done()
}

// unlink puts the link away, and an attempt to make one.
func (k *keeper) unlink() {
	if k.linking != nil {
		k.linking()
		k.linking = nil
		if l := <-k.links; l.link != nil {
			k.link, k.listener = l.link, l.listener
			l.link.Close(wire.CodeDone, "done")
			k.link = nil
		}
	}
	if k.link != nil {
		k.control.finish()
		k.link = nil
	}
	if k.listener != nil {
		if err := k.listener.Close(); err != nil {
			slog.Warn("close the listener", "error", err)
		}
		k.listener = nil
	}
}
