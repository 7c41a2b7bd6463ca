package migrate

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// mapCache is a cache in a map, which can forget and boast.
type mapCache struct {
	mu    sync.Mutex // protects pages; a leaf
	pages map[pagecache.Digest][]byte
	// forgets says what is in the filter and cannot be read.
	forgets func(d pagecache.Digest) bool
}

func newMapCache() *mapCache {
	return &mapCache{pages: map[pagecache.Digest][]byte{}, forgets: func(pagecache.Digest) bool { return false }}
}

func (c *mapCache) Read(d pagecache.Digest, page []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	content, ok := c.pages[d]
	if !ok || c.forgets(d) {
		return false
	}
	copy(page, content)
	return true
}

func (c *mapCache) Put(d pagecache.Digest, page []byte) {
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
// the guest's memory from page first on.
func randomPages(t *testing.T, path string, first int64, count int) []byte {
	t.Helper()
	content := make([]byte, count*lazymig.PageSize)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(content, first*lazymig.PageSize); err != nil {
		t.Fatal(err)
	}
	return content
}

// TestMoveCached moves a guest there, back and there again. What left a host is
// there when it returns, whatever that host believes to have.
func TestMoveCached(t *testing.T) {
	requireVMM(t)
	const first, count = 4096, 4096 // pages that the firmware leaves alone
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
			content := randomPages(t, hosts[0].ram, first, count)
			sent, received := move(t, hosts[0], hosts[1], nil)
			if sent.PagesCache != 0 || received.BytesReceived < count*lazymig.PageSize {
				t.Errorf("cold: %d pages of the cache, %d bytes", sent.PagesCache, received.BytesReceived)
			}
			for i := range 2 {
				from, to := hosts[1-i], hosts[i]
				to.cache.(*mapCache).forgets = tt.forgets
				sent, received = move(t, from, to, nil)
				compare(t, to.file(t), content, first)
				if received.PagesCache < tt.from || received.PagesCache > tt.to || sent.PagesCache != received.PagesCache {
					t.Errorf("move %d: %d pages of the cache, want %d to %d", i, received.PagesCache, tt.from, tt.to)
				}
				t.Logf("move %d: %d of %d pages of the cache, %d KiB on the wire", i, received.PagesCache, received.PagesTotal, received.BytesReceived>>10)
			}
		})
	}
}
