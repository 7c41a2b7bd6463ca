package vm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// console splits what comes from the first serial port into the answers of
// the guest's program, which begin with '@', and the kernel's messages.
type console struct {
	ready   chan Answer // holds READY
	answers chan Answer
	ended   chan struct{} // closed when nothing more will come
	ending  sync.Once
	err     error // why it ended, set before ended is closed

	commands sync.Mutex // held from a command to its answer

	mu  sync.Mutex // guards log
	log []byte
}

func newConsole() *console {
	return &console{ready: make(chan Answer, 1), answers: make(chan Answer, maxAnswers), ended: make(chan struct{})}
}

func (c *console) serve(conn io.Reader) {
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if text, ok := strings.CutPrefix(line, "@"); ok && err == nil {
			c.deliver(parseAnswer(text))
		} else {
			c.note(line)
		}
		if err != nil {
			c.end(fmt.Errorf("%w: read its first serial port: %w", errEnded, err))
			return
		}
	}
}

func (c *console) deliver(a Answer) {
	switch a.Name {
	case "READY":
		offer(c.ready, a)
	case "FATAL":
		c.end(fmt.Errorf("run the guest: %s", a))
	default:
		offer(c.answers, a)
	}
}

// offer keeps an answer; when nobody takes them, the oldest goes.
func offer(answers chan Answer, a Answer) {
	for {
		select {
		case answers <- a:
			return
		default:
		}
		select {
		case <-answers:
		default:
		}
	}
}

// forget drops the answers to commands that were given up.
func (c *console) forget() {
	for {
		select {
		case <-c.answers:
		default:
			return
		}
	}
}

func (c *console) note(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, line...)
	c.log = c.log[max(0, len(c.log)-maxLog):]
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.log)
}

func (c *console) end(err error) {
	c.ending.Do(func() {
		c.err = err
		close(c.ended)
	})
}

// next returns the next answer of the channel with the name.
func (c *console) next(ctx context.Context, answers <-chan Answer, name string) (Answer, error) {
	for {
		select {
		case a := <-answers:
			if a.Name == name {
				return a, nil
			}
		case <-c.ended:
			return Answer{}, fmt.Errorf("wait for %q of the guest: %w", name, c.err)
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("wait for %q of the guest: %w", name, context.Cause(ctx))
		}
	}
}
