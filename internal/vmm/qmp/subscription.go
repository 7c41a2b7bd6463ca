package qmp

import (
	"fmt"
	"net"
)

// Subscription receives events from the moment of Subscribe on.
type Subscription struct {
	client *Client
	events chan Event
	err    error // why events was closed; written before that
}

// Subscribe makes a subscription that holds up to buffer unread events.
func (c *Client) Subscribe(buffer int) *Subscription {
	s := &Subscription{client: c, events: make(chan Event, buffer)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		s.end(c.err)
		return s
	}
	c.watchers[s] = struct{}{}
	return s
}

// Events returns the channel of events. It is closed when the subscription
// has ended, after the events that were received before; Err then says why.
func (s *Subscription) Events() <-chan Event { return s.events }

// Err returns why the subscription has ended: ErrOverflow, the connection's
// error, or net.ErrClosed after Close. It is nil before that.
func (s *Subscription) Err() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.err
}

// Close ends the subscription. Calls after the first do nothing.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if s.err == nil {
		delete(s.client.watchers, s)
		s.end(fmt.Errorf("read events: %w", net.ErrClosed))
	}
}

// end closes the channel; the caller holds Client.mu and took s out of the
// watchers.
func (s *Subscription) end(err error) {
	s.err = err
	close(s.events)
}

// publish hands an event to every subscription that has room for it, and ends
// the others.
func (c *Client) publish(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.watchers {
		select {
		case s.events <- e:
		default:
			delete(c.watchers, s)
			s.end(fmt.Errorf("read event %s: %w (%d unread)", e.Name, ErrOverflow, len(s.events)))
		}
	}
}
