package pagecache

import (
	"container/list"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lazymig/lazymig"
)

func newShard(slots uint32) *shard {
	s := &shard{}
	s.init(slots)
	return s
}

// put does what Store.Put does to a shard.
func (s *shard) put(tag uint64) reservation {
	local, result := s.reserve(tag, uint32(len(s.tags)), true)
	if result == reserved {
		s.publish(local, tag)
	}
	return result
}

// TestShardModel compares a shard with a map, and checks its queues and table.
func TestShardModel(t *testing.T) {
	for _, slots := range []uint32{1, 2, 3, 15, 64, 500} {
		s := newShard(slots)
		random := rand.New(rand.NewPCG(uint64(slots), 7))
		in := map[uint64]bool{}
		for range 20_000 {
			// Few bits at the top: long runs in the table.
			tag := random.Uint64N(uint64(slots)*3+1)<<60 | random.Uint64N(uint64(slots)*3+1)<<4
			switch random.IntN(10) {
			case 0:
				if at, ok := s.find(tag); ok && s.drop(s.slotAt(at), tag) {
					delete(in, tag)
				}
			case 1, 2, 3, 4:
				if _, ok := s.hit(tag); ok && !in[tag] {
					t.Fatal("found what was never put")
				}
			default:
				if result := s.put(tag); result != reserved && result != exists {
					t.Fatalf("put: %v", result)
				}
				in[tag] = true
				if !s.contains(tag) {
					t.Fatal("not there after put")
				}
			}
		}
		checkShard(t, s, in)
	}
}

func checkShard(t *testing.T, s *shard, in map[uint64]bool) {
	t.Helper()
	seen := make([]bool, len(s.tags))
	counted, dead := uint32(0), uint32(0)
	for _, q := range []*queue{&s.small, &s.main, &s.free} {
		n := uint32(0)
		for at := q.first; at != 0; at = s.next[at-1] {
			if seen[at-1] {
				t.Fatal("a slot is in two queues")
			}
			seen[at-1] = true
			n++
			switch s.state(at - 1) {
			case stateDead:
				dead++
			case stateSmall, stateMain:
				counted++
				if tag := s.tags[at-1]; !s.contains(tag) || !in[tag] {
					t.Errorf("tag %x is in a queue and not in the table", tag)
				}
			}
		}
		if n != q.count {
			t.Errorf("%d slots in a queue of %d", n, q.count)
		}
	}
	if slices.Contains(seen[:s.fresh], false) {
		t.Error("a slot is lost")
	}
	entries := uint32(0)
	for _, e := range s.table {
		if e != 0 {
			entries++
		}
	}
	if entries != s.live || counted != s.live || s.small.count+s.main.count != s.live+dead {
		t.Errorf("%d in the table, %d in queues, %d counted, %d dead", entries, counted, s.live, dead)
	}
}

// TestAllSlotsTaken has more writers than slots.
func TestAllSlotsTaken(t *testing.T) {
	s := newShard(1)
	local, result := s.reserve(16, 1, true)
	if result != reserved {
		t.Fatal(result)
	}
	if _, result := s.reserve(32, 1, true); result != noSlot {
		t.Errorf("a second writer gets %v", result)
	}
	s.cancel(local)
	if result := s.put(32); result != reserved || !s.contains(32) {
		t.Errorf("after the first gave up: %v", result)
	}
}

// TestSecondWriter has two writers of one page: one slot is given back.
func TestSecondWriter(t *testing.T) {
	s := newShard(4)
	a, _ := s.reserve(16, 4, true)
	b, _ := s.reserve(16, 4, true)
	s.publish(a, 16)
	s.publish(b, 16)
	if s.live != 1 || s.free.count != 1 || a == b {
		t.Errorf("%d pages, %d free", s.live, s.free.count)
	}
	if s.drop(b, 16) || !s.isAt(a, 16) || s.isAt(b, 16) {
		t.Error("the page is at the wrong slot")
	}
}

// TestEvictionIsBounded has a main queue of nothing but pages in use.
func TestEvictionIsBounded(t *testing.T) {
	const slots = 10_000
	s := newShard(slots)
	for i := range uint64(slots) {
		s.restore(i*0x9e3779b97f4a7c15, true)
	}
	for i := range uint64(slots) {
		for range maxFrequency {
			s.hit(i * 0x9e3779b97f4a7c15)
		}
	}
	first := s.main.first
	if s.put(1) != reserved {
		t.Fatal("no slot")
	}
	if moved := s.main.first - first; moved != maxEvictSteps+1 {
		t.Errorf("%d slots were looked at, the bound is %d", moved, maxEvictSteps+1)
	}
}

// lru is what a scan drives everything out of.
type lru struct {
	size  int
	order *list.List
	at    map[uint64]*list.Element
}

func (c *lru) use(tag uint64) (hit bool) {
	if e := c.at[tag]; e != nil {
		c.order.MoveToFront(e)
		return true
	}
	if c.order.Len() == c.size {
		delete(c.at, c.order.Remove(c.order.Back()).(uint64))
	}
	c.at[tag] = c.order.PushFront(tag)
	return false
}

// TestScanResistance lets a cache serve pages of which some are used more often
// than others, and beside them a scan of pages that are used once.
func TestScanResistance(t *testing.T) {
	const slots, working, rounds = 1000, 800, 200_000
	s := newShard(slots)
	baseline := lru{slots, list.New(), map[uint64]*list.Element{}}
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.05, 1, working-1)
	tag := func(i uint64) uint64 { return (i + 1) * 0x9e3779b97f4a7c15 &^ 15 }
	ours, theirs, asked := 0, 0, 0
	for i := range uint64(rounds) {
		for range 3 { // a scan brings three pages for each that is used again
			s.put(tag(1<<32 + 3*i))
			baseline.use(tag(1<<32 + 3*i))
		}
		page := tag(zipf.Uint64())
		asked++
		if baseline.use(page) {
			theirs++
		}
		if _, ok := s.hit(page); ok {
			ours++
		} else {
			s.put(page)
		}
	}
	us, them := float64(ours)/float64(asked), float64(theirs)/float64(asked)
	t.Logf("hits: %.1f %%, LRU %.1f %%", us*100, them*100)
	if us < them+0.02 || us < 0.85 {
		t.Errorf("a scan takes too much: %.1f %% hits, LRU has %.1f %%", us*100, them*100)
	}

	// One scan of ten times the cache: nearly all of the working set is left.
	left := 0
	for i := range uint64(10 * slots) {
		s.put(tag(1<<40 + i))
		baseline.use(tag(1<<40 + i))
	}
	for i := range uint64(working) {
		if s.contains(tag(i)) {
			left++
		}
		if baseline.at[tag(i)] != nil {
			t.Fatal("an LRU cannot have that page")
		}
	}
	if t.Logf("%d of %d pages outlive a scan", left, working); left < working/2 {
		t.Errorf("%d of %d pages outlive a scan", left, working)
	}
}

func TestGhost(t *testing.T) {
	g := newGhost(400)
	for i := range uint64(100) {
		g.add((i + 1) * 0x9e3779b97f4a7c15)
	}
	found := 0
	for i := range uint64(100) {
		tag := (i + 1) * 0x9e3779b97f4a7c15
		if g.take(tag) {
			found++
		}
		if g.take(tag) {
			t.Error("remembered after it was taken")
		}
	}
	if found < 95 {
		t.Errorf("%d of 100 remembered", found)
	}
	if tiny := newGhost(1); tiny.take(0) {
		t.Error("an empty queue knows a tag")
	}
}

func TestRecord(t *testing.T) {
	d := Digest{1, 2, 3}
	b := make([]byte, recordSize)
	putRecord(b, 77, &d)
	if got, ok := parseRecord(b, 77); !ok || got != d {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := parseRecord(b, 78); ok {
		t.Error("taken in another slot")
	}
	for i := range recordSize * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, ok := parseRecord(b, 77); ok {
			t.Errorf("bit %d flipped: still taken", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range recordSize {
		if _, ok := parseRecord(b[:n], 77); ok {
			t.Errorf("cut at %d: taken", n)
		}
	}
	if _, ok := parseRecord(make([]byte, recordSize), 0); ok {
		t.Error("an empty record is a page")
	}
}

// FuzzIndex opens a store with any bytes as its records. All it may do is miss.
func FuzzIndex(f *testing.F) {
	records := make([]byte, 40*recordSize)
	for slot := range uint64(40) {
		var d Digest
		binary.LittleEndian.PutUint64(d[:], slot%20<<8|slot%16) // some twice
		putRecord(records[slot*recordSize:], slot, &d)
	}
	f.Add([]byte{})
	f.Add(records)
	f.Add(records[:len(records)-7])
	f.Fuzz(func(t *testing.T, records []byte) {
		s := openStore(t, Config{Bytes: MinBytes})
		if _, err := s.index.WriteAt(records[:min(len(records), int(s.slots*recordSize))], headerSize); err != nil {
			t.Fatal(err)
		}
		for i := range s.shards {
			s.shards[i] = shard{}
			s.shards[i].init(uint32(s.slots / shardCount))
		}
		s.load()
		p := newPages(t, Key{})
		page := make([]byte, lazymig.PageSize)
		for d := range s.All() {
			if s.Read(d, page) && !p.hasher.Verify(page, d[:]) {
				t.Error("a wrong page")
			}
		}
		if p.put(t, s, 1); !p.read(t, s, 1) {
			t.Error("does not work any more")
		}
		for i := range s.shards {
			in := map[uint64]bool{}
			for _, tag := range s.shards[i].appendTags(nil, 0) {
				in[tag] = true
			}
			checkShard(t, &s.shards[i], in)
		}
		closeStore(t, s)
	})
}
