package migrate

import (
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/bench/prereq"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/uffd"
)

// mixed is a VMM that needs all of the memory: two huge pages of which one is a
// hole, half of the rest small, and one more huge page.
var mixed = []testRegion{
	{first: 0, pages: 2 * hugeParts, huge: true},
	{first: 2 * hugeParts, pages: hugeParts},
	{first: 3 * hugeParts, pages: hugeParts, huge: true},
}

// startHuge starts a VMM with mixed memory.
func startHuge(t testing.TB, socket string) *testVMM {
	t.Helper()
	prereq.HugePages(t, 3)
	return startVMM(t, socket, "", mixed...)
}

// wantServed fails the test unless all pages came and none came twice.
func wantServed(t *testing.T, served Served, reconnects bool) {
	t.Helper()
	known := served.PagesZero + served.PagesDemand + served.PagesBulk + served.PagesCache + served.PagesDiscarded
	if served.Outcome != ServeComplete || served.PagesTotal != snapshotPages || known != snapshotPages || served.Reconnects > 0 != reconnects {
		t.Errorf("served %+v, %d pages in all", served, known)
	}
}

// TestServeHuge serves memory in huge pages: by the background, and on demand
// while that is held back.
func TestServeHuge(t *testing.T) {
	for name, bandwidth := range map[string]uint64{"background": 0, "demand": slowly} {
		t.Run(name, func(t *testing.T) {
			path, content := writeSnapshot(t)
			_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: bandwidth})
			s, socket := serveFaults(t, ServeFaultsConfig{From: address})
			v := startHuge(t, socket)
			for _, p := range []int{snapshotPages - 1, holeFirst + 5, 700, 17, 0} {
				v.wantPages(p, page(content, p, 1))
			}
			wantAll(v, content, mixed)
			served := s.detached(v)
			wantServed(t, served, false)
			if served.PagesZero < holePages || served.FaultUS.Remote.Count == 0 {
				t.Errorf("served %+v", served)
			}
			fatal(t, s.stop()) // it needs nobody any more
			v.send("write 0 100")
			v.expect("wrote 0")
		})
	}
}

// TestServeHugeFromFile is TestServeHuge with a file of this host.
func TestServeHugeFromFile(t *testing.T) {
	path, content := writeSnapshot(t)
	s, socket := serveFaults(t, ServeFaultsConfig{Memory: path})
	v := startHuge(t, socket)
	wantAll(v, content, mixed)
	wantServed(t, s.detached(v), false)
}

// TestServeHugeRemoved: huge pages that the VMM gives back, one that is there and
// one that is not, read as zeros from then on.
func TestServeHugeRemoved(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startHuge(t, socket)
	v.wantPages(1, page(content, 1, 3))
	for _, first := range []int{0, 3 * hugeParts} {
		v.send("remove %d %d", first, hugeParts)
		v.expect("removed")
		clear(page(content, first, hugeParts))
	}
	wantAll(v, content, mixed)
	if served := s.detached(v); served.Outcome != ServeComplete || served.PagesDiscarded != 2*hugeParts {
		t.Errorf("served %+v", served)
	}
	wantAll(v, content, mixed)
}

// TestServeHugeCut cuts the link while parts of huge pages are missing: nothing
// reads as zeros, and what had arrived is kept.
func TestServeHugeCut(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly})
	relay := relayTo(t, address)
	s, socket := serveFaults(t, ServeFaultsConfig{From: relay.address()})
	v := startHuge(t, socket)
	v.wantPages(2*hugeParts, page(content, 2*hugeParts, 1)) // a small one: it is served
	relay.cut.Store(true)
	v.send("read %d 1", snapshotPages-3)
	s.wait("the loss of the link", func(e ServeEvent) bool { return strings.Contains(e.Message, "was lost") })
	v.silent()
	relay.cut.Store(false)
	v.wantRead(snapshotPages-3, page(content, snapshotPages-3, 1))
	wantAll(v, content, mixed)
	wantServed(t, s.detached(v), true)
}

// TestServeHugeBroken: one part that the server cannot read costs the huge page,
// and harms nobody who does not touch it.
func TestServeHugeBroken(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t),
		memory: func(m SourceMemory) SourceMemory { return brokenMemory{m, 100} },
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startHuge(t, socket)
	v.wantPages(hugeParts, page(content, hugeParts, hugeParts))
	wantAll(v, content, mixed[1:])
	if served := s.detached(v); served.Outcome != ServeComplete || served.PagesPoisoned != hugeParts {
		t.Errorf("served %+v", served)
	}
}

// TestServeHugeCached takes the parts that this host has out of its cache, whatever
// that makes of it.
func TestServeHugeCached(t *testing.T) {
	released := make(chan struct{})
	close(released)
	third := func(d pagecache.Digest) bool { return d[0]%3 == 0 }
	for name, change := range map[string]func(*mapCache){
		"all":       func(*mapCache) {},
		"forgotten": func(c *mapCache) { c.forgets = third },
		"on disk":   func(c *mapCache) { c.slow = released },
		"hanging":   func(c *mapCache) { c.hangs, c.hang = third, make(chan struct{}) },
	} {
		t.Run(name, func(t *testing.T) {
			path, content := writeSnapshot(t)
			cache, id := newMapCache(), loopback(t)
			hasher, err := pagecache.NewHasher(id.DomainKey)
			fatal(t, err)
			for p := range snapshotPages {
				if d := (pagecache.Digest{}); p%5 != 0 {
					hasher.Sum(page(content, p, 1), d[:])
					cache.Put(d, page(content, p, 1))
				}
			}
			change(cache)
			_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: id, Bandwidth: 20 * slowly})
			s, socket := serveFaults(t, ServeFaultsConfig{From: address, Identity: id, Cache: cache})
			v := startHuge(t, socket)
			if cache.slow == nil && cache.hang == nil { // else the background alone asks for what is on a disk
				v.wantPages(5, page(content, 5, 1))
				wantAll(v, content, mixed)
			}
			served := s.detached(v)
			wantServed(t, served, false)
			wantAll(v, content, mixed)
			if cache.hang != nil { // all readers hang before long
				return
			}
			if served.PagesCache < snapshotPages/8 || served.PagesDemand+served.PagesBulk < snapshotPages/8 {
				t.Errorf("served %+v", served)
			}
		})
	}
}

// TestHugePagesAreBounded: the background gathers a few at a time.
func TestHugePagesAreBounded(t *testing.T) {
	const pages = 64 * hugeParts
	kept := &pageMap{installed: newBitmap(pages), discarded: newBitmap(pages)}
	in := newInstaller(nil, nil, spans{{pages: pages, start: 1 << 30, huge: true}}, newTable(pages, kept), newCounters(), nil)
	for {
		run, ok := in.next(chunkPages)
		if !ok {
			break
		}
		if whole, _ := in.whole(run.First); run.Count > chunkPages || run.End() > whole.End() {
			t.Fatalf("asked for %+v", run)
		}
		in.request(run)
	}
	if n := len(in.huge.open); n != maxGathered {
		t.Errorf("%d huge pages are gathered, want %d", n, maxGathered)
	}
	if want := (lazymig.Run{First: maxGathered * hugeParts, Count: 64}); func() lazymig.Run { r, _ := in.Missing(0); return r }() != want {
		t.Errorf("missing is not %+v", want)
	}
}

// TestHugePageGivenBack: a huge page that the guest gives back while some of its
// parts have come is known then, each part counted once.
func TestHugePageGivenBack(t *testing.T) {
	const pages = 4 * hugeParts
	const start = 1 << 30
	kept := &pageMap{installed: newBitmap(pages), discarded: newBitmap(pages)}
	in := newInstaller(nil, nil, spans{{pages: pages, start: start, huge: true}}, newTable(pages, kept), newCounters(), nil)
	in.table.markZero(hugeParts + 1)
	for _, p := range []lazymig.PageNumber{hugeParts, hugeParts + 7, 2*hugeParts - 1} {
		in.addPart(p, make([]byte, lazymig.PageSize), fromBulk)
	}
	in.batch.Removed = []uffd.Range{{Start: start + lazymig.HugePageSize, Length: lazymig.HugePageSize}}
	in.applyRemoved()
	if want := uint64(pages - hugeParts); in.table.unknown != want || len(in.huge.open) != 0 {
		t.Errorf("%d pages are unknown, want %d; %d huge pages are gathered", in.table.unknown, want, len(in.huge.open))
	}
	if run, ok := in.Missing(hugeParts); !ok || run.First != 2*hugeParts {
		t.Errorf("missing behind it: %+v, %v", run, ok)
	}
}

// TestHugePageLookedForAgain: a part that was not in the cache, and is in the recipe
// again, is looked for again.
func TestHugePageLookedForAgain(t *testing.T) {
	const pages = 2 * hugeParts
	kept := &pageMap{installed: newBitmap(pages), discarded: newBitmap(pages)}
	in := newInstaller(nil, nil, spans{{pages: pages, start: 1 << 30, huge: true}}, newTable(pages, kept), newCounters(), nil)
	in.recipe = newRecipe(pages)
	g := in.gather(lazymig.Run{First: hugeParts, Count: hugeParts})
	g.looked[3] = true
	in.lack(hugeParts + 3)
	if g.looked[3] {
		t.Error("it is never looked for again")
	}
}
