package migrate

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// A faultLab has a VMM that waits for each of its pages: no background. Server
// and client are in this process, the VMM is not. The first half of its memory
// is data, the second a hole.
type faultLab struct {
	vmm     *testVMM
	service *service
}

// newFaultLab makes one whose halves have so many pages. This host's cache has
// those of the first half if it is cached.
func newFaultLab(t testing.TB, pages int, cached bool) *faultLab {
	t.Helper()
	path := filepath.Join(t.TempDir(), "memory")
	content := make([]byte, pages*lazymig.PageSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	fatal(t, os.WriteFile(path, content, 0o600))
	fatal(t, os.Truncate(path, 2*int64(len(content))))
	id := loopback(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: id})
	cfg := ServeFaultsConfig{From: address, OnDemand: true, Identity: id}
	if cached {
		cfg.Cache = fullCache(t, pagecache.Key(id.DomainKey), content)
	}
	s, socket := serveFaults(t, cfg)
	return &faultLab{vmm: startVMM(t, socket, "", testRegion{first: 0, pages: 2 * pages}), service: s}
}

// fullCache is a cache in memory that has the pages of content.
func fullCache(t testing.TB, key pagecache.Key, content []byte) *pagecache.Cache {
	t.Helper()
	cache, err := pagecache.OpenCache(pagecache.Config{Bytes: max(2*int64(len(content)), pagecache.MinBytes), Key: key})
	fatal(t, err)
	t.Cleanup(func() { fatal(t, cache.Close()) })
	hasher, err := pagecache.NewHasher(key)
	fatal(t, err)
	for p := range len(content) / lazymig.PageSize {
		var d pagecache.Digest
		hasher.Sum(page(content, p, 1), d[:])
		cache.Put(d, page(content, p, 1))
	}
	return cache
}

// touch makes the VMM touch pages one after the other.
func (l *faultLab) touch(first, count int) {
	l.vmm.t.Helper()
	l.vmm.send("write %d %d", first, count)
	l.vmm.expect("wrote")
}

// end ends the VMM and returns how it was served.
func (l *faultLab) end() Served {
	_ = l.vmm.cmd.Process.Kill() // it runs
	return l.service.detached(l.vmm)
}

// faultPaths are the ways of a page to a thread that waits for it.
var faultPaths = []struct {
	name           string
	isHole, cached bool
	count          func(Faults) uint64
}{
	{"remote", false, false, func(f Faults) uint64 { return f.Remote.Count }},
	{"zero", true, false, func(f Faults) uint64 { return f.Zero.Count }},
	{"cache", false, true, func(f Faults) uint64 { return f.Cache.Count }},
}

// allocated counts the allocations of this process since it began, with
// runtime.MemProfileRate at 1: those of this module, and those below quic-go.
// What a library allocates is its caller's.
func allocated() (own, quic int64, places map[string]int64) {
	for range 3 { // the profile is as old as two collections
		runtime.GC()
	}
	records := make([]runtime.MemProfileRecord, 1<<15)
	n, ok := runtime.MemProfile(records, true)
	for !ok {
		records = make([]runtime.MemProfileRecord, 2*n)
		n, ok = runtime.MemProfile(records, true)
	}
	places = map[string]int64{}
	for _, r := range records[:n] {
		switch place, isOwn := owner(r.Stack()); {
		case isOwn:
			own += r.AllocObjects
			places[place] += r.AllocObjects
		case place != "":
			quic += r.AllocObjects
		}
	}
	return own, quic, places
}

// owner returns the function of this module or of quic-go that allocated.
func owner(stack []uintptr) (name string, isOwn bool) {
	frames := runtime.CallersFrames(stack)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		isOwn = strings.HasPrefix(f.Function, "github.com/lazymig/lazymig/")
		if strings.HasSuffix(f.File, "fault_alloc_test.go") {
			return "", false // what measures
		}
		if isOwn || strings.HasPrefix(f.Function, "github.com/quic-go/") {
			return f.Function, isOwn
		}
	}
	return "", false
}

// profileAll makes the profile have every allocation until the test has ended.
func profileAll(t testing.TB) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	t.Cleanup(func() { runtime.MemProfileRate = rate })
}

// warmUp is how many faults come before the steady state.
const warmUp = 1500

// TestFaultsDoNotAllocate drives faults through both ends of a link. What happens
// now and then allocates a little; no place does so once in twenty faults.
func TestFaultsDoNotAllocate(t *testing.T) {
	const faults = 4000
	profileAll(t)
	for _, path := range faultPaths {
		t.Run(path.name, func(t *testing.T) {
			lab, first := newFaultLab(t, warmUp+faults, path.cached), 0
			if path.isHole {
				first = warmUp + faults
			}
			lab.touch(first, warmUp)
			own, quic, places := allocated()
			lab.touch(first+warmUp, faults)
			ownAfter, quicAfter, placesAfter := allocated()
			t.Logf("%d faults: %d allocations, and %d of QUIC", faults, ownAfter-own, quicAfter-quic)
			if n := path.count(lab.end().FaultUS); n < faults {
				t.Errorf("%d of %d faults went this way", n, faults)
			}
			for place, n := range placesAfter {
				if n -= places[place]; n > faults/20 && !underRace { // pools leak then
					t.Errorf("%d allocations in %s", n, place)
				}
			}
		})
	}
}

// BenchmarkFault measures a fault from the touch to the thread's next step, and
// what both ends allocate for it. The profile that tells whose that is makes it
// slower; `lazymig bench faults` measures times.
func BenchmarkFault(b *testing.B) {
	profileAll(b)
	for _, path := range faultPaths {
		b.Run(path.name, func(b *testing.B) {
			lab, first := newFaultLab(b, warmUp+b.N, path.cached), 0
			if path.isHole {
				first = warmUp + b.N
			}
			lab.touch(first, warmUp)
			own, quic, _ := allocated()
			b.ReportAllocs()
			b.ResetTimer()
			lab.touch(first+warmUp, b.N)
			b.StopTimer()
			ownAfter, quicAfter, _ := allocated()
			b.ReportMetric(float64(ownAfter-own)/float64(b.N), "own-allocs/op")
			b.ReportMetric(float64(quicAfter-quic)/float64(b.N), "quic-allocs/op")
			lab.end()
		})
	}
}
