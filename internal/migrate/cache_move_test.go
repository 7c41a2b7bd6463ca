package migrate

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// mapCache is a cache in a map, which can forget and boast.
type mapCache struct {
	mu    sync.Mutex // protects pages; a leaf
	pages map[pagecache.Digest][]byte
	// forgets says what is in the filter and cannot be read.
	forgets func(d pagecache.Digest) bool
	// slow, if it is set, is received from before each Read, stuck before each Put.
	slow, stuck <-chan struct{}
	// hangs says for which pages Read waits for hang.
	hangs func(d pagecache.Digest) bool
	hang  <-chan struct{}
}

func newMapCache() *mapCache {
	return &mapCache{pages: map[pagecache.Digest][]byte{}, forgets: func(pagecache.Digest) bool { return false }}
}

func (c *mapCache) Read(d pagecache.Digest, page []byte) bool {
	if c.slow != nil {
		<-c.slow
	}
	if c.hang != nil && c.hangs(d) {
		<-c.hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, ok := c.pages[d]
	if !ok || c.forgets(d) {
		return false
	}
	copy(page, content)
	return true
}

func (c *mapCache) Peek(d pagecache.Digest, page []byte) (ok, wait bool) {
	if c.slow != nil || c.hang != nil {
		return false, true
	}
	return c.Read(d, page), false
}

func (c *mapCache) Put(d pagecache.Digest, page []byte) {
	if c.stuck != nil {
		<-c.stuck
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[d] = append([]byte(nil), page...)
}

func (c *mapCache) Filter() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	filter, err := pagecache.NewFilter(func(yield func(pagecache.Digest) bool) {
		for d := range c.pages {
			if !yield(d) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return filter.MarshalBinary()
}

// randomPages returns pages of which none is like another, and writes them to
// the guest's memory from page firstFilled on.
func randomPages(t *testing.T, path string) []byte {
	t.Helper()
	content := make([]byte, filled*lazymig.PageSize)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(content, firstFilled*lazymig.PageSize); err != nil {
		t.Fatal(err)
	}
	return content
}

// TestMoveCached moves a guest there, back and there again. What left a host is
// there when it returns, whatever that host believes to have.
func TestMoveCached(t *testing.T) {
	requireVMM(t)
	const count = filled
	for name, tt := range map[string]struct {
		forgets  func(d pagecache.Digest) bool
		from, to uint64 // how many pages come out of the cache
	}{
		"all there":  {func(pagecache.Digest) bool { return false }, count, hostRAM / lazymig.PageSize},
		"half there": {func(d pagecache.Digest) bool { return d[9]&1 == 0 }, count / 3, count * 2 / 3},
		"forgotten":  {func(pagecache.Digest) bool { return true }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := []host{newHost(t), newHost(t)}
			hosts[1].identity = newIdentity(t)
			hosts[0].identity = hosts[1].identity
			for i := range hosts {
				hosts[i].cache = newMapCache()
			}
			hosts[0].start(t)
			t.Cleanup(func() { quit(hosts[0]); quit(hosts[1]) })
			content := randomPages(t, hosts[0].ram)
			sent, received := move(t, hosts[0], hosts[1], nil)
			if sent.PagesCache != 0 || received.BytesReceived < count*lazymig.PageSize {
				t.Errorf("cold: %d pages of the cache, %d bytes", sent.PagesCache, received.BytesReceived)
			}
			for i := range 2 {
				from, to := hosts[1-i], hosts[i]
				to.cache.(*mapCache).forgets = tt.forgets
				sent, received = move(t, from, to, nil)
				compare(t, to.file(t), content)
				if received.PagesCache < tt.from || received.PagesCache > tt.to || sent.PagesCache != received.PagesCache {
					t.Errorf("move %d: %d pages of the cache, want %d to %d", i, received.PagesCache, tt.from, tt.to)
				}
				t.Logf("move %d: %d of %d pages of the cache, %d KiB on the wire", i, received.PagesCache, received.PagesTotal, received.BytesReceived>>10)
			}
		})
	}
}

// restless is the memory of a guest into which a device writes: in the third
// walk, every fourth page changes as soon as it was looked at.
type restless struct {
	SourceMemory
	t     *testing.T
	path  string
	pages []byte // what they are, from firstFilled on

	mu   sync.Mutex // protects walk
	walk int
}

func (m *restless) ReadAt(p []byte, region int, offset uint64) (int, error) {
	n, err := m.SourceMemory.ReadAt(p, region, offset)
	m.mu.Lock()
	defer m.mu.Unlock()
	if offset == 0 {
		m.walk++
	}
	if m.walk != 3 {
		return n, err
	}
	file, openErr := os.OpenFile(m.path, os.O_RDWR, 0)
	if openErr != nil {
		m.t.Error(openErr)
		return n, err
	}
	defer file.Close()
	for at := int64(offset); at < int64(offset)+int64(n); at += 4 * lazymig.PageSize {
		if i := at - firstFilled*lazymig.PageSize; i >= 0 && i < int64(len(m.pages)) {
			m.pages[i+100] ^= 1
			if _, err := file.WriteAt(m.pages[i+100:i+101], at+100); err != nil {
				m.t.Error(err)
			}
		}
	}
	return n, err
}

// TestMoveWarm warms the destination's cache with pages that change behind the
// last look at them: what arrives is what the memory was at the freeze.
func TestMoveWarm(t *testing.T) {
	requireVMM(t)
	const count = filled
	from, to := newHost(t), newHost(t)
	to.cache, from.warm = newMapCache(), WarmConfig{For: time.Minute, CPU: 0.9}
	from.start(t)
	t.Cleanup(func() { quit(to) })
	m := &restless{t: t, path: from.ram, pages: randomPages(t, from.ram)}
	sent, received := move(t, from, to, func(inner SourceMemory) SourceMemory {
		m.SourceMemory = inner
		return m
	})
	compare(t, to.file(t), m.pages)
	if m.walk < 3 || sent.PagesWarmed < count {
		t.Errorf("%d walks, %d pages were warmed", m.walk, sent.PagesWarmed)
	}
	if received.PagesCache < count/2 || received.PagesCache > count*3/4+1000 {
		t.Errorf("%d pages came out of the cache, want three of four", received.PagesCache)
	}
	t.Logf("%d pages warmed in %.0f ms, %d used; stopped for %.1f ms", sent.PagesWarmed, sent.WarmMS, received.PagesCache, sent.StoppedMS)
}

// TestMoveWarmWithoutCache moves to a host that has no cache: there is nothing to
// warm.
func TestMoveWarmWithoutCache(t *testing.T) {
	requireVMM(t)
	from, to := newHost(t), newHost(t)
	from.warm = WarmConfig{For: time.Minute}
	from.start(t)
	t.Cleanup(func() { quit(to) })
	if sent, _ := move(t, from, to, nil); sent.PagesWarmed != 0 {
		t.Errorf("%d pages were warmed", sent.PagesWarmed)
	}
}

// TestMoveDuplicates moves a guest half of whose pages are like the other half:
// they cross once.
func TestMoveDuplicates(t *testing.T) {
	requireVMM(t)
	const count = filled
	from, to := newHost(t), newHost(t)
	to.cache = newMapCache()
	from.start(t)
	t.Cleanup(func() { quit(to) })
	content := randomPages(t, from.ram)
	copy(content[len(content)/2:], content)
	file, err := os.OpenFile(from.ram, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(content, firstFilled*lazymig.PageSize); err != nil {
		t.Fatal(err)
	}
	_, received := move(t, from, to, nil)
	compare(t, to.file(t), content)
	if received.PagesCache < count/2-count/20 {
		t.Errorf("%d pages came out of the cache, want about %d", received.PagesCache, count/2)
	}
	t.Logf("%d pages of the cache, %d KiB on the wire", received.PagesCache, received.BytesReceived>>10)
}

// TestMoveHungCache returns to a host whose cache is on storage that hangs: the
// source is asked for everything.
func TestMoveHungCache(t *testing.T) {
	requireVMM(t)
	from, to := newHost(t), newHost(t)
	to.identity = newIdentity(t)
	from.identity = to.identity
	cache := newMapCache()
	from.cache = cache
	from.start(t)
	t.Cleanup(func() { quit(from); quit(to) })
	content := randomPages(t, from.ram)
	move(t, from, to, nil)
	hang := make(chan struct{})
	defer close(hang)
	cache.slow = hang
	begun := time.Now()
	_, received := move(t, to, from, nil)
	compare(t, from.file(t), content)
	if received.PagesCache != 0 {
		t.Errorf("%d pages came out of a cache that hangs", received.PagesCache)
	}
	t.Logf("it took %v", time.Since(begun).Round(time.Millisecond))
}

// TestMoveHungPage returns to a host of whose cache one page cannot be read: the
// storage of one image hangs.
func TestMoveHungPage(t *testing.T) {
	requireVMM(t)
	from, to := newHost(t), newHost(t)
	to.identity = newIdentity(t)
	from.identity = to.identity
	cache := newMapCache()
	from.cache = cache
	from.start(t)
	t.Cleanup(func() { quit(from); quit(to) })
	content := randomPages(t, from.ram)
	move(t, from, to, nil)
	hang := make(chan struct{})
	defer close(hang)
	cache.hangs, cache.hang = func(d pagecache.Digest) bool { return d[0] == 7 && d[1] < 64 }, hang // one in a thousand
	_, received := move(t, to, from, nil)
	compare(t, from.file(t), content)
	t.Logf("%d of %d pages of the cache", received.PagesCache, filled)
}

// TestMoveSlowCache returns to a host whose cache is on slow storage: pages come
// from there, and the link brings the others meanwhile.
func TestMoveSlowCache(t *testing.T) {
	requireVMM(t)
	from, to := newHost(t), newHost(t)
	to.identity = newIdentity(t)
	from.identity = to.identity
	cache := newMapCache()
	from.cache = cache
	from.start(t)
	t.Cleanup(func() { quit(from); quit(to) })
	content := randomPages(t, from.ram)
	move(t, from, to, nil)
	ticks := make(chan struct{})
	stop := make(chan struct{})
	defer close(stop)
	pace := time.NewTicker(100 * time.Microsecond)
	defer pace.Stop()
	go func() {
		for {
			for _, next := range []chan<- struct{}{nil, ticks} {
				var tick <-chan time.Time
				if next == nil {
					tick = pace.C
				}
				select {
				case <-tick:
				case next <- struct{}{}:
				case <-stop:
					return
				}
			}
		}
	}()
	cache.slow = ticks
	_, received := move(t, to, from, nil)
	compare(t, from.file(t), content)
	if received.PagesCache == 0 {
		t.Errorf("%d pages came out of the cache", received.PagesCache)
	}
	t.Logf("%d of %d pages of the cache", received.PagesCache, filled)
}

// TestMoveStuckCaches moves between hosts whose caches take nothing: their disks
// hang. The guest moves all the same.
func TestMoveStuckCaches(t *testing.T) {
	requireVMM(t)
	from, to := newHost(t), newHost(t)
	stuck := make(chan struct{})
	defer close(stuck)
	for _, h := range []*host{&from, &to} {
		cache := newMapCache()
		cache.stuck = stuck
		h.cache = cache
	}
	from.warm = WarmConfig{For: time.Minute}
	from.start(t)
	t.Cleanup(func() { quit(to) })
	content := randomPages(t, from.ram)
	begun := time.Now()
	move(t, from, to, nil)
	compare(t, to.file(t), content)
	if took, limit := time.Since(begun), keepTimeout/4; took > limit {
		t.Errorf("it took %v, want at most %v", took, limit)
	}
}
