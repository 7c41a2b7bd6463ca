package migrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/prefetch"
)

// WarmConfig says how pages are brought to the destination's cache while the
// guest still runs.
type WarmConfig struct {
	// For bounds the time. 0: no warming.
	For time.Duration `json:"for,omitempty"`
	// Bandwidth bounds the bytes per second. 0: no bound.
	Bandwidth uint64 `json:"bandwidth,omitempty"`
	// CPU bounds the share of one processor, 0 to 1. 0: all of it.
	CPU float64 `json:"cpu,omitempty"`
}

// warmth is what the source remembers of the pages that it has brought to the
// destination's cache. Digests of a running guest prove nothing, and what a
// device writes into memory leaves no trace, so all it says is what is worth a
// look behind the freeze: two bytes of a digest for each page, and whether the
// page was pushed. A nil *warmth has nothing.
type warmth struct {
	tags   []uint16
	pushed bitmap
}

func newWarmth(pages uint64) *warmth {
	return &warmth{tags: make([]uint16, pages), pushed: newBitmap(pages)}
}

// tag is what is kept of a digest.
func tag(d *pagecache.Digest) uint16 { return binary.LittleEndian.Uint16(d[pagecache.DigestSize-2:]) }

// has reports whether page p was pushed, very likely with this digest.
func (w *warmth) has(p lazymig.PageNumber, d *pagecache.Digest) bool {
	return w != nil && w.pushed.has(p) && w.tags[p] == tag(d)
}

// warmer walks the memory of the running guest, again and again. A page that is
// as it was in the walk before is pushed.
type warmer struct {
	config WarmConfig
	server *pageServer
	filter *pagecache.Filter // what the destination has already
	write  func([]byte) error
	memory *warmth
	hasher *pagecache.Hasher
	pacer  prefetch.Pacer

	pages  []byte // a chunk of the guest
	frame  wire.Warm
	bytes  []byte
	pushed uint64 // pages, in all walks
	idle   time.Duration
}

// errNotWarm ends warming without harm: the destination has no cache.
var errNotWarm = errors.New("the destination has no cache (start its `lazymig receive` with --cache-dir)")

// run walks until a walk finds next to nothing new, or the time is over. It
// returns the number of pages that were pushed.
func (w *warmer) run(ctx context.Context, told func(walk int, pushed uint64)) (uint64, error) {
	stepBack()
	ctx, cancel := context.WithTimeout(ctx, w.config.For)
	defer cancel()
	for walk := 1; ctx.Err() == nil; walk++ {
		began, before := time.Now(), w.pushed
		if err := w.walk(ctx, walk > 1); err != nil {
			return w.pushed, err
		}
		told(walk, w.pushed)
		if walk > 1 && w.pushed-before < uint64(len(w.memory.tags))/warmEnough {
			break
		}
		// What is written often shows it until the next walk.
		select {
		case <-time.After(max(0, warmRest-time.Since(began))):
		case <-ctx.Done():
		}
	}
	return w.pushed, nil
}

// walk looks at all pages once. In the first walk nothing is pushed.
func (w *warmer) walk(ctx context.Context, push bool) error {
	for run := range w.server.chunks() {
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		if err := w.look(ctx, run, push); err != nil {
			return err
		}
		if w.config.CPU > 0 {
			w.rest(ctx, time.Since(began))
		}
	}
	return w.flush(ctx)
}

// rest keeps to the share of a processor, in pauses that a timer can make.
func (w *warmer) rest(ctx context.Context, worked time.Duration) {
	w.idle += time.Duration(float64(worked) * (1/w.config.CPU - 1))
	if w.idle < warmPause {
		return
	}
	select {
	case <-time.After(w.idle):
	case <-ctx.Done():
	}
	w.idle = 0
}

// look hashes a chunk, and keeps for flush what has not changed.
func (w *warmer) look(ctx context.Context, run lazymig.Run, push bool) error {
	region, offset, _ := w.server.layout.Locate(run.First)
	pages := w.pages[:run.Count*lazymig.PageSize]
	if _, err := w.server.memory.ReadAt(pages, region, offset); err != nil {
		return nil // the answers deal with pages that cannot be read
	}
	var d pagecache.Digest
	for i := range run.Count {
		page := pages[i*lazymig.PageSize:][:lazymig.PageSize]
		if pagecache.IsZero(page) {
			continue
		}
		p := run.First + lazymig.PageNumber(i)
		w.hasher.Sum(page, d[:])
		same := w.memory.tags[p] == tag(&d)
		w.memory.tags[p] = tag(&d)
		if !same {
			w.memory.pushed.clear(p)
		}
		if !push || !same || w.memory.pushed.has(p) || w.filter.Contains(d) {
			continue
		}
		w.memory.pushed.set(p)
		w.frame.Digests = append(w.frame.Digests, d[:]...)
		w.frame.Data = append(w.frame.Data, page...)
		if w.frame.Count() == wire.MaxPages {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush sends the pages that were kept.
func (w *warmer) flush(ctx context.Context) error {
	n := w.frame.Count()
	if n == 0 {
		return nil
	}
	w.bytes = w.frame.Append(w.bytes[:0])
	w.frame.Digests, w.frame.Data = w.frame.Digests[:0], w.frame.Data[:0]
	if pause := w.pacer.Wait(time.Now(), len(w.bytes)); pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	w.pushed += uint64(n)
	if err := w.write(w.bytes); err != nil {
		return fmt.Errorf("warm the destination's cache: %w", err)
	}
	return nil
}

// warmed is the end of warming.
type warmed struct {
	pages uint64
	took  time.Duration
	err   error
}

// startWarming warms the destination's cache in a goroutine that reports to the
// session loop. A link that takes no page is closed: half a frame may be on it.
func (s *sender) startWarming() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cool = cancel
	link, stream := s.link, s.link.Bulk()[0]
	go func() {
		began := time.Now()
		_ = stream.SetWriteDeadline(began.Add(connectTimeout + s.cfg.Warm.For + warmGrace)) // fails on a dead link, as the write does
		stop := context.AfterFunc(ctx, func() { _ = stream.SetWriteDeadline(began) })
		pages, err := s.warm(ctx, func(b []byte) error {
			_, err := stream.Write(b)
			if err != nil {
				closeLink(link, err)
			}
			return err
		})
		stop()
		_ = stream.SetWriteDeadline(time.Time{})
		s.warmed <- warmed{pages: pages, took: time.Since(began), err: err}
	}()
}

// warm brings pages of the running guest to the destination's cache.
func (s *sender) warm(ctx context.Context, write func([]byte) error) (uint64, error) {
	peer := s.server.peer.Load()
	select {
	case <-peer.told:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(connectTimeout):
	}
	if peer.known() == nil {
		return 0, errNotWarm
	}
	hasher, err := pagecache.NewHasher(s.key)
	if err != nil {
		return 0, err
	}
	w := &warmer{
		config: s.cfg.Warm, server: s.server, filter: peer.known(), write: write, hasher: hasher,
		memory: newWarmth(s.layout.Pages()), pacer: prefetch.Pacer{Rate: s.cfg.Warm.Bandwidth},
		pages: make([]byte, chunkPages*lazymig.PageSize),
	}
	n, err := w.run(ctx, func(walk int, pushed uint64) {
		s.message(fmt.Sprintf("warming, walk %d: %d pages are in the destination's cache", walk, pushed))
	})
	if err == nil && ctx.Err() == nil {
		s.server.warmth = w.memory // nobody answers before the freeze
	}
	return n, err
}

// finishedWarming lets the guest be frozen. Warming is a help, no condition.
func (s *sender) finishedWarming(r warmed) error {
	s.cool()
	s.cool = nil
	if r.err != nil {
		s.message(fmt.Sprintf("not warmed: %v", r.err))
	}
	s.report.PagesWarmed, s.report.WarmMS = r.pages, milliseconds(r.took)
	return s.armed()
}
