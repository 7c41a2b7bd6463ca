package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/uffd"
)

// receipt is one message that is coming in. It owns what has come until take.
type receipt struct {
	conn        *net.UnixConn
	text        []byte
	descriptors []int
}

// receive reads the message of the VMM behind conn and checks it.
func receive(ctx context.Context, conn *net.UnixConn) (*Handoff, error) {
	who, err := peerOf(conn)
	if err != nil {
		return nil, &RefusedError{PID: who.pid, cause: err}
	}
	if err := conn.SetDeadline(time.Now().Add(handoffTimeout)); err != nil {
		return nil, who.refuse(nil, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails only when closed
	defer stop()
	in := &receipt{conn: conn}
	regions, err := in.read(ctx)
	if err == nil {
		err = in.checkDescriptors()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, who.refuse(in.descriptors, err)
	}
	return &Handoff{
		Regions: regions, Handle: uffd.Adopt(in.descriptors[0]),
		PID: who.pid, PIDFD: who.pidfd,
	}, nil
}

// read reads until the message is complete and a descriptor has come.
func (in *receipt) read(ctx context.Context) ([]Region, error) {
	for empty := 0; ; {
		err := in.readOnce()
		switch {
		case errors.Is(err, io.EOF) && len(in.text) == 0 && empty < emptyReads:
			empty++
			if err := pause(ctx); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, io.EOF) && len(in.text) == 0:
			return nil, fmt.Errorf("%w: nothing was sent", ErrMessage)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		regions, problem := parse(in.text)
		switch {
		case problem == nil && len(in.descriptors) > 0:
			return regions, nil
		case problem != nil && !errors.Is(problem, errShort):
			return nil, problem
		case err != nil && problem != nil:
			return nil, problem
		case err != nil:
			return nil, nil // without a descriptor, which the caller sees
		}
	}
}

// readOnce takes what is there. A descriptor that came is kept in any case.
func (in *receipt) readOnce() error {
	room := make([]byte, readBytes)
	control := make([]byte, unix.CmsgSpace(maxDescriptors*4))
	n, c, flags, _, err := in.conn.ReadMsgUnix(room, control) // with MSG_CMSG_CLOEXEC
	if problem := in.keep(control[:max(c, 0)]); problem != nil {
		return problem
	}
	in.text = append(in.text, room[:max(n, 0)]...) // -1 at an error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: no complete message and descriptor in %v", ErrMessage, handoffTimeout)
	case err != nil:
		return err
	case flags&unix.MSG_CTRUNC != 0:
		return fmt.Errorf("%w: more than %d descriptors, or no room for them in this process", ErrDescriptor, maxDescriptors)
	case flags&unix.MSG_TRUNC != 0:
		return fmt.Errorf("%w: the kernel cut it off", ErrMessage)
	case len(in.text) > maxMessage:
		return fmt.Errorf("%w: more than %d bytes", ErrMessage, maxMessage)
	case len(in.descriptors) > maxDescriptors:
		return fmt.Errorf("%w: more than %d descriptors", ErrDescriptor, maxDescriptors)
	}
	return nil
}

// keep notes the descriptors in a control message.
func (in *receipt) keep(control []byte) error {
	if len(control) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDescriptor, err)
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDescriptor, err)
		}
		in.descriptors = append(in.descriptors, fds...)
	}
	return nil
}

// checkDescriptors fails unless there is one and it is a userfaultfd.
func (in *receipt) checkDescriptors() error {
	if n := len(in.descriptors); n != 1 {
		return fmt.Errorf("%w: %d descriptors came", ErrDescriptor, n)
	}
	if err := uffd.CheckKind(in.descriptors[0]); err != nil {
		return fmt.Errorf("%w: %w", ErrDescriptor, err)
	}
	return nil
}

// pause waits before the next look.
func pause(ctx context.Context) error {
	select {
	case <-time.After(emptyPause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
