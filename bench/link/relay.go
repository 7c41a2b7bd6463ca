package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// relay passes Ethernet frames between two taps, one goroutine that reads and
// one that writes for each direction.
type relay struct {
	taps  [2]*os.File
	lanes [2]*lane
	wait  sync.WaitGroup
}

// newRelay makes the two ends of host B's cable and starts to pass frames.
func (l *Link) newRelay(path Path) (*relay, error) {
	r := &relay{}
	for i, end := range []struct {
		side Side
		name string
	}{{HostB, Uplink}, {Client, port(HostB)}} {
		err := l.Inside(end.side, func() (err error) {
			r.taps[i], err = openTap(end.name)
			return err
		})
		if err != nil {
			if i == 1 {
				err = errors.Join(err, r.taps[0].Close())
			}
			return nil, err
		}
	}
	for i := range r.lanes {
		lane, err := newLane(path, uint64(i), r.taps[1-i])
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.lanes[i] = lane
		r.wait.Go(func() { lane.serveReads(r.taps[i]) })
		r.wait.Go(lane.serveWrites)
	}
	return r, nil
}

// openTap makes a tap without offloads in the namespace of this thread: the
// kernel cuts large segments into packets before it hands them over. The tap
// goes when the file is closed.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the tun device: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the tap %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// begin begins to lose and to count: it is known now that the cable works.
func (r *relay) begin() {
	for _, l := range r.lanes {
		l.loses.Store(l.path.Loss > 0)
		l.count(func() { l.seen, l.late = PathStats{}, 0 })
	}
}

func (r *relay) stats() PathStats {
	var s PathStats
	var late time.Duration
	for _, l := range r.lanes {
		l.mu.Lock()
		s.Passed += l.seen.Passed
		s.Lost += l.seen.Lost
		s.Dropped += l.seen.Dropped
		s.Late = max(s.Late, l.seen.Late)
		late += l.late
		l.mu.Unlock()
	}
	if s.Passed > 0 {
		s.LateMean = late / time.Duration(s.Passed)
	}
	return s
}

// close ends the goroutines and removes the taps.
func (r *relay) close() error {
	err := errors.Join(r.taps[0].Close(), r.taps[1].Close())
	for _, l := range r.lanes {
		if l != nil {
			err = errors.Join(err, l.timer.Close())
		}
	}
	r.wait.Wait()
	return err
}

// lane is one direction.
type lane struct {
	path   Path
	random *rand.Rand // serveReads's
	to     *os.File
	timer  *os.File // serveWrites's
	loses  atomic.Bool
	queue  chan frame
	last   time.Time // serveReads's: when the frame before is due

	mu   sync.Mutex // protects all below
	seen PathStats
	late time.Duration // sum
}

// frame is an Ethernet frame on its way.
type frame struct {
	due  time.Time
	text *[maxTapFrame]byte
	n    int
}

// frames keeps buffers for reuse.
var frames = sync.Pool{New: func() any { return new([maxTapFrame]byte) }}

func newLane(path Path, number uint64, to *os.File) (*lane, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &lane{
		path: path, random: rand.New(rand.NewPCG(path.Seed, number)), to: to,
		timer: os.NewFile(uintptr(fd), "timer"), queue: make(chan frame, maxFrames),
	}, nil
}

// serveReads takes frames from a tap until it is closed.
func (l *lane) serveReads(from *os.File) {
	defer close(l.queue)
	for {
		text := frames.Get().(*[maxTapFrame]byte)
		n, err := from.Read(text[:])
		if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADFD) { // closed, or its namespace is gone
			return
		}
		if err != nil || n < 14 {
			continue // the tap is down, and the read waits until it is up
		}
		if due, ok := l.plan(time.Now(), binary.BigEndian.Uint16(text[12:])); ok {
			l.push(frame{due: due, text: text, n: n})
		} else {
			frames.Put(text)
		}
	}
}

// plan decides when a frame that comes now leaves the path, or that it is lost.
func (l *lane) plan(now time.Time, kind uint16) (due time.Time, ok bool) {
	if l.loses.Load() && kind != unix.ETH_P_ARP && l.random.Float64() < l.path.Loss {
		l.count(func() { l.seen.Lost++ })
		return time.Time{}, false
	}
	due = now.Add(l.path.RTT / 2)
	if l.path.Jitter > 0 {
		due = due.Add(time.Duration(l.random.Int64N(int64(l.path.Jitter) + 1)))
	}
	if due.Before(l.last) {
		due = l.last
	}
	l.last = due
	return due, true
}

func (l *lane) push(f frame) {
	select {
	case l.queue <- f:
	default:
		l.count(func() { l.seen.Dropped++ })
		frames.Put(f.text)
	}
}

// serveWrites passes on what is due, until there will be no more.
func (l *lane) serveWrites() {
	for f := range l.queue {
		if wait := time.Until(f.due); wait > 0 && l.path.RTT+l.path.Jitter > 0 {
			l.sleep(wait)
		}
		late := time.Since(f.due)
		_, err := l.to.Write(f.text[:f.n])
		frames.Put(f.text)
		l.count(func() {
			if err != nil { // the cable is cut, or nobody has room
				l.seen.Dropped++
				return
			}
			l.seen.Passed++
			l.seen.Late = max(l.seen.Late, late)
			l.late += max(0, late)
		})
	}
}

// sleep returns after d, or when the timer is closed. Go's own sleep may take
// a millisecond longer, as much as the delay of many paths.
func (l *lane) sleep(d time.Duration) {
	raw, err := l.timer.SyscallConn()
	if err != nil {
		return
	}
	setting := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if raw.Control(func(fd uintptr) { err = unix.TimerfdSettime(int(fd), 0, &setting, nil) }) != nil || err != nil {
		return
	}
	var expirations [8]byte
	_, _ = l.timer.Read(expirations[:]) // it ends when the path does
}

func (l *lane) count(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}
