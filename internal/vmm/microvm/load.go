package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Load takes the device state: the caller writes it to stream and closes that.
// loaded gets nil when the guest is ready to run, or the reason why it never
// will be.
func (i *Incoming) Load(context.Context) (stream io.WriteCloser, loaded <-chan error, err error) {
	done := make(chan error, 1)
	return &loader{incoming: i, loaded: done}, done, nil
}

// loader collects a state and gives it to the VMM.
type loader struct {
	incoming *Incoming
	text     bytes.Buffer
	loaded   chan error
	isClosed bool
}

func (l *loader) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > maxRequest/2 {
		return 0, fmt.Errorf("%w: it is too long", ErrState)
	}
	return l.text.Write(p)
}

// Close loads what was written. Calls after the first do nothing.
func (l *loader) Close() error {
	if l.isClosed {
		return nil
	}
	l.isClosed = true
	err := l.load()
	if err != nil {
		err = fmt.Errorf("load the device state: %w", err)
	}
	l.loaded <- err
	return nil
}

func (l *loader) load() error {
	if _, err := parseState(l.text.Bytes(), l.incoming.vm.Size); err != nil {
		return err
	}
	select {
	case <-l.incoming.resumed:
		return errors.New("the guest runs already")
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return l.incoming.client.execute(ctx, request{Execute: commandLoad, State: l.text.Bytes()}, nil)
}
