package relay

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPlan checks when datagrams arrive over a link of 1 MB/s and 5 ms.
func TestPlan(t *testing.T) {
	start := time.Unix(1, 0)
	s := shape{rate: 1_000_000, delay: 5 * time.Millisecond}
	for i, c := range []struct {
		at   time.Duration
		size int
		due  time.Duration // 0: dropped
	}{
		{0, 1000, 6 * time.Millisecond},
		{0, 1000, 7 * time.Millisecond}, // behind the first
		{500 * time.Microsecond, 500, 7500 * time.Microsecond},
		{4 * time.Millisecond, 1000, 10 * time.Millisecond}, // the link was idle
		{4 * time.Millisecond, 9000, 19 * time.Millisecond},
		{4 * time.Millisecond, 100, 19100 * time.Microsecond}, // waits 10 ms: just fits
		{4 * time.Millisecond, 100, 0},
		{5 * time.Millisecond, 100, 19200 * time.Microsecond}, // there is room again
	} {
		due, ok := s.plan(start.Add(c.at), c.size)
		if ok != (c.due != 0) || ok && due.Sub(start) != c.due {
			t.Errorf("datagram %d: due %v, %v, want %v", i, due.Sub(start), ok, c.due)
		}
	}
	free := shape{delay: time.Millisecond}
	for range 100 {
		if due, ok := free.plan(start, 60_000); !ok || due.Sub(start) != time.Millisecond {
			t.Fatalf("a link without a bound: %v, %v", due, ok)
		}
	}
}

// came is what came out of a lane.
type came struct {
	mu   sync.Mutex // protects all below
	at   []time.Duration
	text [][]byte
}

func (c *came) all() ([]time.Duration, [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.text
}

func startLane(t *testing.T, s shape) (*lane, *came) {
	start, out := time.Now(), &came{}
	l := newLane(s, func(d datagram) {
		out.mu.Lock()
		defer out.mu.Unlock()
		out.at, out.text = append(out.at, time.Since(start)), append(out.text, bytes.Clone(d.buffer))
	}, time.Sleep)
	var wait sync.WaitGroup
	wait.Go(l.serve)
	t.Cleanup(func() {
		l.close()
		wait.Wait()
	})
	return l, out
}

// TestLane checks rate, delay, order and content of what a lane passes.
func TestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 3000
		l, out := startLane(t, shape{rate: 1_000_000, delay: 20 * time.Millisecond})
		text := make([]byte, 1000)
		for i := range count {
			text[0], text[1] = byte(i), byte(i>>8)
			l.push(text, datagram{})
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Second)
		synctest.Wait()
		times, texts := out.all()
		if len(times) != count {
			t.Fatalf("%d of %d came; %+v", len(times), count, l.count())
		}
		for i, at := range times {
			if want := time.Duration(i)*time.Millisecond + 21*time.Millisecond; at != want {
				t.Fatalf("datagram %d came at %v, want %v", i, at, want)
			}
			if n := int(texts[i][0]) + int(texts[i][1])<<8; n != i {
				t.Fatalf("datagram %d came at place %d", n, i)
			}
		}
		if got := l.count(); got != (Stats{Passed: count, Bytes: 1000 * count}) {
			t.Errorf("counted %+v", got)
		}
		if l.waiting != 0 || cap(l.queue) > 64 {
			t.Errorf("%d bytes wait in room for %d datagrams", l.waiting, cap(l.queue))
		}
	})
}

// TestOverload offers a lane much more than it takes: it passes its rate, and
// keeps no more than its queue.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := startLane(t, shape{rate: 10_000_000, delay: time.Millisecond})
		for range 1000 { // 30 MB/s
			for range 30 {
				l.push(make([]byte, 1000), datagram{})
			}
			<-time.After(time.Millisecond)
		}
		synctest.Wait()
		most := 10_000 + 10*10 + 10 // a second, the queue, the delay
		times, _ := out.all()
		if n := len(times); n > most || n < 9_900 {
			t.Errorf("%d datagrams came in a second, want about 10000", n)
		}
		<-time.After(time.Second)
		synctest.Wait()
		s := l.count()
		if s.Passed+s.Dropped != 30_000 || s.Cut+s.Lost != 0 {
			t.Errorf("counted %+v of 30000", s)
		}
		if kept := len(l.buffers.small) + len(l.buffers.large); kept > 200 {
			t.Errorf("%d buffers are kept", kept)
		}
	})
}

// TestLaneCut cuts a lane: what is on the way is lost, and nothing comes until
// the cut is over.
func TestLaneCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := startLane(t, shape{delay: 100 * time.Millisecond})
		push := func(b byte, segment int) { l.push([]byte{b, b, b}, datagram{segment: segment}) }
		push(1, 0)
		<-time.After(150 * time.Millisecond)
		push(2, 0)
		<-time.After(50 * time.Millisecond)
		l.setCut(true)
		push(3, 2) // a batch of two
		<-time.After(time.Second)
		l.setCut(false)
		push(4, 0)
		<-time.After(time.Second)
		synctest.Wait()
		if _, texts := out.all(); len(texts) != 2 || texts[0][0] != 1 || texts[1][0] != 4 {
			t.Errorf("came: %v", texts)
		}
		if got := l.count(); got != (Stats{Passed: 2, Bytes: 6, Cut: 3}) {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestLaneFull fills the memory of a lane whose link has no bound.
func TestLaneFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := startLane(t, shape{delay: MaxDelay})
		const more = 10
		for range maxWaiting/maxDatagram + more {
			l.push(make([]byte, maxDatagram), datagram{})
		}
		<-time.After(time.Second)
		synctest.Wait()
		times, _ := out.all()
		if got := l.count(); got.Dropped != more || len(times) != maxWaiting/maxDatagram {
			t.Errorf("%d came, counted %+v", len(times), got)
		}
	})
}
