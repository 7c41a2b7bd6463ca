package pagecache

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// places are where an arena can be.
func places(b *testing.B) map[string]string {
	b.Helper()
	all := map[string]string{"memory": "", "disk": b.TempDir()}
	dir := filepath.Join("/dev/shm", "lazymig-bench-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err == nil {
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		all["tmpfs"] = dir
	}
	return all
}

// BenchmarkRead reads pages of a store of 64 MiB, in no order.
func BenchmarkRead(b *testing.B) {
	const n = 16_000
	for name, dir := range places(b) {
		s := openStore(b, Config{Dir: dir, Bytes: 80 << 20})
		p := newPages(b, Key{})
		digests := make([]Digest, n)
		for i := range digests {
			digests[i] = p.put(b, s, uint64(i))
		}
		page := offHeap(b, lazymig.PageSize)
		b.Run("hit/"+name, func(b *testing.B) {
			b.SetBytes(lazymig.PageSize)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !s.Read(digests[i*7919%n], page) {
					b.Fatal("missed")
				}
			}
		})
		b.Run("hit-parallel/"+name, func(b *testing.B) {
			b.SetBytes(lazymig.PageSize)
			b.RunParallel(func(pb *testing.PB) {
				page := make([]byte, lazymig.PageSize)
				for i := 0; pb.Next(); i++ {
					if !s.Read(digests[i*7919%n], page) {
						b.Error("missed")
					}
				}
			})
		})
		if dir == "" {
			b.Run("miss", func(b *testing.B) {
				d := digests[0]
				for i := uint64(0); b.Loop(); i++ {
					binary.LittleEndian.PutUint64(d[:], i*0x9e3779b97f4a7c15)
					s.Read(d, page)
				}
			})
		}
	}
}

// BenchmarkReadBesidePuts reads while a writer puts pages as fast as it can, and
// says how long single hits take.
func BenchmarkReadBesidePuts(b *testing.B) {
	for name, dir := range places(b) {
		b.Run(name, func(b *testing.B) {
			s := openStore(b, Config{Dir: dir, Bytes: 64 << 20})
			p := newPages(b, Key{})
			digests := make([]Digest, 1000)
			for i := range digests {
				digests[i] = p.put(b, s, uint64(i))
			}
			stop := make(chan struct{})
			var writer sync.WaitGroup
			writer.Go(func() {
				page, d := newPages(b, Key{}).make(1)
				for i := uint64(1); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					binary.LittleEndian.PutUint64(d[:], i*0x9e3779b97f4a7c15)
					if err := s.Put(d, page); err != nil {
						b.Error(err)
						return
					}
				}
			})
			page, hits := make([]byte, lazymig.PageSize), make([]time.Duration, 0, 1<<20)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				if s.Read(digests[i*7919%len(digests)], page) && len(hits) < cap(hits) {
					hits = append(hits, time.Since(start))
				}
			}
			close(stop)
			writer.Wait()
			slices.Sort(hits)
			for _, percent := range []int{50, 99} {
				b.ReportMetric(float64(hits[len(hits)*percent/100].Nanoseconds()), "p"+strconv.Itoa(percent)+"-ns")
			}
			b.ReportMetric(100*float64(len(hits))/float64(min(b.N, cap(hits))), "%hits")
		})
	}
}

// BenchmarkArena is why hits are not read through a mapping: what a verified
// page costs in one, and by pread into memory of the caller's. Both leave the
// page where UFFDIO_COPY can take it from.
func BenchmarkArena(b *testing.B) {
	const n = 16_000
	h, _ := NewHasher(Key{})
	for name, dir := range places(b) {
		var f storage
		var err error
		if dir == "" {
			f, err = openMemory("bench")
		} else {
			f, err = openFile(filepath.Join(dir, "bench"))
		}
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, n*lazymig.PageSize), 0); err != nil {
			b.Fatal(err)
		}
		p := newPages(b, Key{})
		page, d := p.make(1)
		for i := range int64(n) {
			if _, err := f.WriteAt(page, i*lazymig.PageSize); err != nil {
				b.Fatal(err)
			}
		}
		mapped, err := unix.Mmap(int(f.(file).Fd()), 0, n*lazymig.PageSize, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			b.Fatal(err)
		}
		own := offHeap(b, lazymig.PageSize)
		b.Run("mapped/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				at := i * 7919 % n * lazymig.PageSize
				if !h.Verify(mapped[at:at+lazymig.PageSize], d[:]) {
					b.Fatal("wrong page")
				}
			}
		})
		b.Run("pread/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := f.ReadAt(own, int64(i*7919%n*lazymig.PageSize)); err != nil || !h.Verify(own, d[:]) {
					b.Fatal("wrong page", err)
				}
			}
		})
		if err := unix.Munmap(mapped); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func offHeap(b *testing.B, size int) []byte {
	b.Helper()
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// BenchmarkPut writes new pages: first there is room, soon one is given up for
// each.
func BenchmarkPut(b *testing.B) {
	for name, dir := range places(b) {
		b.Run(name, func(b *testing.B) {
			s := openStore(b, Config{Dir: dir, Bytes: 64 << 20})
			page, d := newPages(b, Key{}).make(1)
			b.SetBytes(lazymig.PageSize)
			for i := uint64(0); b.Loop(); i++ {
				binary.LittleEndian.PutUint64(d[:], i*0x9e3779b97f4a7c15)
				if err := s.Put(d, page); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// largeStore is the budget of the benchmarks with two million pages.
const largeStore = 2_000_000 * SlotBytes

// largeTag is as random as a digest, but for the bits that choose the shard.
func largeTag(slot uint64) uint64 {
	x := (slot + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return (x^x>>31)&^(shardCount-1) | slot%shardCount
}

// writeLargeIndex makes the files of a full store, of which the arena is a hole.
func writeLargeIndex(tb testing.TB, dir string) (pages uint64) {
	tb.Helper()
	cfg := Config{Dir: dir, Bytes: largeStore}
	s := openStore(tb, cfg)
	block := make([]byte, s.slots*recordSize)
	for slot := range s.slots {
		var d Digest
		binary.LittleEndian.PutUint64(d[:], largeTag(slot))
		putRecord(block[slot*recordSize:], slot, &d)
	}
	if _, err := s.index.WriteAt(block, headerSize); err != nil {
		tb.Fatal(err)
	}
	if err := s.arena.Truncate(int64(s.slots * lazymig.PageSize)); err != nil {
		tb.Fatal(err)
	}
	closeStore(tb, s)
	return s.slots
}

// BenchmarkOpen2M opens a store of two million pages, 8 GiB, and reports what of
// it is in memory.
func BenchmarkOpen2M(b *testing.B) {
	dir := b.TempDir()
	want := writeLargeIndex(b, dir)
	var memory float64
	for b.Loop() {
		before := heapInUse()
		s := openStore(b, Config{Dir: dir, Bytes: largeStore})
		if st := s.Stats(); st.Pages != want {
			b.Fatalf("%+v", st)
		}
		memory = float64(heapInUse()-before) / float64(want)
		closeStore(b, s)
	}
	b.ReportMetric(memory, "B/page")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLookup2M asks a store of two million pages for tags, in no order.
func BenchmarkLookup2M(b *testing.B) {
	dir := b.TempDir()
	n := writeLargeIndex(b, dir)
	s := openStore(b, Config{Dir: dir, Bytes: largeStore})
	for name, off := range map[string]uint64{"hit": 0, "miss": shardCount} {
		b.Run(name, func(b *testing.B) {
			var d Digest
			for i := uint64(0); b.Loop(); i++ {
				slot := i * 15_485_863 % n
				binary.LittleEndian.PutUint64(d[:], largeTag(slot)+off)
				if s.Contains(d) != (off == 0) {
					b.Fatal("wrong answer")
				}
			}
		})
	}
	b.Run("filter", func(b *testing.B) {
		for b.Loop() {
			f, err := s.Filter()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(f.fuse.Fingerprints)*8)/float64(n), "bit/page")
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			count := uint64(0)
			for range s.All() {
				count++
			}
			if count != n {
				b.Fatal(count)
			}
		}
	})
}

// TestOpenLarge is the same as a test: with a second for each 8 GiB, and memory
// within what the budget counts.
func TestOpenLarge(t *testing.T) {
	dir := t.TempDir()
	want := writeLargeIndex(t, dir)
	before, start := heapInUse(), time.Now()
	s := openStore(t, Config{Dir: dir, Bytes: largeStore})
	took := time.Since(start)
	memory := heapInUse() - before
	if st := s.Stats(); st.Pages != want {
		t.Fatalf("%+v", st)
	}
	t.Logf("%d pages: open %v, %.1f bytes of memory a page", want, took, float64(memory)/float64(want))
	if memory > want*slotMemory {
		t.Errorf("%d bytes of memory a page, the budget counts %d", memory/want, slotMemory)
	}
	// The race detector and a busy machine take several times as long.
	if took > 10*time.Second {
		t.Errorf("it took %v to open 8 GiB", took)
	}
}

// BenchmarkSumParallel has a Hasher on each processor: run it with -cpu 1,2,4.
func BenchmarkSumParallel(b *testing.B) {
	page := bytes.Repeat([]byte{7}, lazymig.PageSize)
	b.SetBytes(lazymig.PageSize)
	b.RunParallel(func(pb *testing.PB) {
		h, _ := NewHasher(Key{})
		out := make([]byte, DigestSize)
		for pb.Next() {
			h.Sum(page, out)
		}
	})
}
