package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		a, _ := p.hear()
		p.say(`{"timestamp": {"seconds": 1700000000, "microseconds": 250}, "event": "MIGRATION", "data": {"status": "setup"}}`)
		p.answer(a.ID)
		p.untilClosed()
	}))
	s := c.Subscribe(4)
	if err := c.Execute(t.Context(), "migrate", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-s.Events(): // there before the answer
		if e.Name != "MIGRATION" || string(e.Data) != `{"status": "setup"}` ||
			!e.Timestamp.Equal(time.Unix(1700000000, 250000)) || time.Since(e.Received) > time.Minute {
			t.Errorf("event %+v", e)
		}
	default:
		t.Error("the answer came before the event")
	}
	s.Close()
	s.Close()
	if _, ok := next(t, s); ok || !errors.Is(s.Err(), net.ErrClosed) {
		t.Errorf("closed subscription: %v", s.Err())
	}
}

func TestEventStormEndsOnlyTheSlow(t *testing.T) {
	t.Parallel()
	const storm = 1000
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		a, _ := p.hear()
		for i := range storm {
			p.say(`{"timestamp": {"seconds": 1, "microseconds": 1}, "event": "E%d"}`, i)
		}
		p.answer(a.ID)
		p.untilClosed()
	}))
	slow, wide := c.Subscribe(3), c.Subscribe(storm)
	if err := c.Execute(t.Context(), "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	for i := range storm {
		if e, ok := next(t, wide); !ok || e.Name != fmt.Sprintf("E%d", i) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	for range 3 {
		if _, ok := next(t, slow); !ok {
			t.Fatal("events from before the overflow are lost")
		}
	}
	if _, ok := next(t, slow); ok || !errors.Is(slow.Err(), ErrOverflow) {
		t.Errorf("slow subscription ended with %v", slow.Err())
	}
	if wide.Err() != nil {
		t.Error(wide.Err())
	}
}

func TestSettleReadsAllThatWasSaid(t *testing.T) {
	t.Parallel()
	say, said := make(chan int), make(chan struct{})
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		_, _ = p.conn.Write([]byte("{"))
		for i := range say { // each time the beginning of the next line, too
			_, _ = fmt.Fprintf(p.conn, `"event": "E%d"}`+"\n{", i)
			said <- struct{}{}
		}
		_, _ = p.conn.Write([]byte("}\n"))
		p.echo()
	}))
	s := c.Subscribe(1)
	for i := range 200 {
		say <- i
		<-said
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-s.Events():
			if e.Name != fmt.Sprintf("E%d", i) {
				t.Fatalf("event %s, want E%d", e.Name, i)
			}
		default:
			t.Fatalf("event %d was not there after Settle", i)
		}
	}
	close(say)
	var got string
	if err := c.Execute(t.Context(), "after", nil, &got); err != nil || got != "after" {
		t.Errorf("answer %q, %v after Settle", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 { // an ended context must not leave the reader astray
		if err := c.Settle(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := c.Execute(t.Context(), "still", nil, &got); err != nil || got != "still" {
		t.Errorf("answer %q, %v", got, err)
	}
}
