package relay

import (
	"net/netip"
	"sync"
	"time"
)

// datagram is what waits in a lane: one datagram, or several of the same size
// and a last one that may be shorter.
type datagram struct {
	due     time.Time
	buffer  []byte
	segment int // the size of each, or 0 for one alone
	// flow sends it up; where flow is nil, it goes down to client.
	flow   *flow
	client netip.AddrPort
}

// count is how many datagrams a batch of n bytes is.
func (d datagram) count(n int) uint64 {
	if d.segment == 0 {
		return 1
	}
	return uint64((n + d.segment - 1) / d.segment)
}

// lane is one direction of the link. Any goroutine may push, one serves.
type lane struct {
	send  func(datagram)
	sleep func(time.Duration)
	now   func() time.Time
	// direct says that the link neither bounds nor delays.
	direct bool

	mu      sync.Mutex // protects all below
	shape   shape
	queue   []datagram // in order of due; the first of them at head
	head    int
	waiting int // bytes of the buffers in queue
	cut     bool
	closed  bool
	stats   Stats
	more    sync.Cond // the queue is no longer empty, or closed
	buffers buffers
}

func newLane(s shape, send func(datagram), sleep func(time.Duration)) *lane {
	l := &lane{shape: s, direct: s == shape{}, send: send, sleep: sleep, now: time.Now}
	l.more.L = &l.mu
	return l
}

// push takes what has come: it sends it at once over a link that neither
// bounds nor delays, and else puts a copy of text into the queue, unless the
// lane is cut or has no room.
func (l *lane) push(text []byte, d datagram) {
	if d.buffer = text; l.direct {
		if l.pass(d) {
			l.send(d)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.cut {
		l.stats.Cut += d.count(len(text))
		return
	}
	buffer := l.buffers.get(len(text))
	due, ok := l.shape.plan(l.now(), len(text))
	if !ok || l.waiting+cap(buffer) > maxWaiting {
		l.buffers.put(buffer)
		l.stats.Dropped += d.count(len(text))
		return
	}
	d.due, d.buffer = due, append(buffer, text...)
	l.waiting += cap(d.buffer)
	l.queue = append(l.queue, d)
	if len(l.queue)-l.head == 1 {
		l.more.Signal()
	}
}

// serve sends what is due until the lane is closed.
func (l *lane) serve() {
	for {
		d, ok := l.next()
		if !ok {
			return
		}
		if wait := d.due.Sub(l.now()); wait > slack {
			l.sleep(wait)
		}
		if l.pass(d) {
			l.send(d)
		}
		l.done(d)
	}
}

// next waits for the next datagram and takes it out.
func (l *lane) next() (datagram, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head == len(l.queue) && !l.closed {
		l.queue, l.head = l.queue[:0], 0
		l.more.Wait()
	}
	if l.closed {
		return datagram{}, false
	}
	d := l.queue[l.head]
	l.queue[l.head] = datagram{}
	if l.head++; l.head > len(l.queue)/2 { // the front half is used up
		left := copy(l.queue, l.queue[l.head:])
		clear(l.queue[left:])
		l.queue, l.head = l.queue[:left], 0
	}
	return d, true
}

// pass counts a datagram at the end of the link. On a link that was cut
// meanwhile it is lost.
func (l *lane) pass(d datagram) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return false
	case l.cut:
		l.stats.Cut += d.count(len(d.buffer))
		return false
	}
	l.stats.Bytes += uint64(len(d.buffer))
	l.stats.Passed += d.count(len(d.buffer))
	return true
}

func (l *lane) done(d datagram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting -= cap(d.buffer)
	l.buffers.put(d.buffer[:0])
}

func (l *lane) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// lose counts a datagram that the link has lost.
func (l *lane) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Lost++
}

func (l *lane) count() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.more.Signal()
}

// buffers keeps what was used for reuse. maxWaiting bounds it: a buffer is
// made only when none waits here.
type buffers struct{ small, large [][]byte }

func (b *buffers) get(n int) []byte {
	list, size := &b.small, smallDatagram
	if n > smallDatagram {
		list, size = &b.large, maxDatagram
	}
	last := len(*list) - 1
	if last < 0 {
		return make([]byte, 0, size)
	}
	buffer := (*list)[last]
	*list = (*list)[:last]
	return buffer
}

func (b *buffers) put(buffer []byte) {
	if cap(buffer) == smallDatagram {
		b.small = append(b.small, buffer)
	} else {
		b.large = append(b.large, buffer)
	}
}
