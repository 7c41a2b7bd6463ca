package x86

import "encoding/binary"

// PageSize is the size of a frame in bytes.
const PageSize = 4096

// entries is how many numbers a frame has.
const entries = PageSize / 8

// Memory reads frame number of the guest's physical memory, and returns false
// for one that is no RAM or cannot be read.
type Memory func(number uint64, frame *[PageSize]byte) bool

// frames reads each frame once, and only so many. nil stands for one that is not
// there.
type frames struct {
	memory Memory
	read   map[uint64]*[entries]uint64
	finds  int // how many addresses may still be followed
}

func (f *frames) get(number uint64) *[entries]uint64 {
	if known, ok := f.read[number]; ok || len(f.read) >= maxReads {
		return known
	}
	var raw [PageSize]byte
	var frame *[entries]uint64
	if f.memory(number, &raw) {
		frame = new([entries]uint64)
		for i := range frame {
			frame[i] = binary.LittleEndian.Uint64(raw[8*i:])
		}
	}
	f.read[number] = frame
	return frame
}

// Bits of an entry of a page table (Intel SDM volume 3, 4.5).
const (
	present   = 1 << 0
	accessed  = 1 << 5
	large     = 1 << 7 // maps a large page, above the lowest level
	noExecute = 1 << 63

	frameShift = 12
	frameMask  = 1<<40 - 1 // behind frameShift
	indexBits  = 9
)

func frameOf(entry uint64) uint64 { return entry >> frameShift & frameMask }

// space is an address space of the guest: the tables that a CR3 leads to.
type space struct {
	frames *frames
	root   uint64
	levels int
}

// leaf is where an address leads: a frame, and the entry that maps it.
type leaf struct {
	frame uint64
	entry uint64
	small bool // by a page of 4 KiB
}

// isKernel tells addresses of the upper half, the kernel's.
func isKernel(address uint64) bool { return address>>63 != 0 }

// find follows an address through the tables.
func (s space) find(address uint64) (leaf, bool) {
	unused := 64 - frameShift - indexBits*s.levels // bits that only repeat the highest one
	if uint64(int64(address<<unused)>>unused) != address || s.frames.finds == 0 {
		return leaf{}, false
	}
	s.frames.finds--
	table := s.root
	for level := s.levels - 1; ; level-- {
		frame := s.frames.get(table)
		if frame == nil {
			return leaf{}, false
		}
		shift := frameShift + indexBits*level
		entry := frame[address>>shift&(entries-1)]
		switch {
		case entry&present == 0:
			return leaf{}, false
		case level == 0:
			return leaf{frameOf(entry), entry, true}, true
		case entry&large != 0 && level <= 2:
			within := address >> frameShift & (1<<(indexBits*level) - 1)
			return leaf{frameOf(entry)&^(1<<(indexBits*level)-1) | within, entry, false}, true
		}
		table = frameOf(entry)
	}
}

// table is a page table: what it maps begins at address.
type table struct {
	frame   uint64
	address uint64
}

// tables lists the tables of each level that the processor has gone through, the
// root first, at most most together. The lowest ones are not read.
func (s space) tables(most int) [][]table {
	seen := map[uint64]bool{s.root: true}
	lists := [][]table{{{frame: s.root}}}
	for level := s.levels - 1; level > 0; level-- {
		var below []table
		for _, t := range lists[len(lists)-1] {
			below = append(below, s.below(t, level, seen, most)...)
		}
		lists = append(lists, below)
	}
	return lists
}

// below lists the tables that the entries of t lead to.
func (s space) below(t table, level int, seen map[uint64]bool, most int) []table {
	frame := s.frames.get(t.frame)
	if frame == nil {
		return nil
	}
	var list []table
	for i, entry := range frame {
		if entry&present == 0 || entry&accessed == 0 || entry&large != 0 || seen[frameOf(entry)] || len(seen) >= most {
			continue
		}
		seen[frameOf(entry)] = true
		address := t.address | uint64(i)<<(frameShift+indexBits*level)
		if level == s.levels-1 && i >= entries/2 {
			address |= 1 << 63 // the upper half
		}
		list = append(list, table{frameOf(entry), address})
	}
	return list
}

// isUsed tells tables that a processor has gone through from those that Linux
// makes beforehand.
func (s space) isUsed(number uint64) bool {
	frame := s.frames.get(number)
	if frame == nil {
		return false
	}
	for _, entry := range frame {
		if entry&present != 0 && entry&accessed != 0 {
			return true
		}
	}
	return false
}
