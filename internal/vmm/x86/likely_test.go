package x86

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// made is a guest's memory that a test makes.
type made map[uint64]*[entries]uint64

func (m made) read(number uint64, frame *[PageSize]byte) bool {
	from, ok := m[number]
	if !ok {
		return false
	}
	for i, word := range from {
		binary.LittleEndian.PutUint64(frame[8*i:], word)
	}
	return true
}

func (m made) frame(number uint64) *[entries]uint64 {
	if m[number] == nil {
		m[number] = new([entries]uint64)
	}
	return m[number]
}

// mapPage makes an address lead to a frame, by tables from next on.
func (m made) mapPage(root uint64, levels int, address, frame uint64, next *uint64) {
	at := root
	for level := levels - 1; level > 0; level-- {
		entry := &m.frame(at)[address>>(frameShift+indexBits*level)&(entries-1)]
		if *entry == 0 {
			*entry = *next<<frameShift | present | accessed
			*next++
		}
		at = frameOf(*entry)
	}
	m.frame(at)[address>>frameShift&(entries-1)] = frame<<frameShift | present | accessed | noExecute
}

// Frames and addresses of the made guest.
const (
	rootFrame  = 1
	firstTable = 2
	taskFrame  = 100
	ownFrame   = 101
	stackFrame = 200
	codeFrame  = 0x400 // begins a large page
	otherFrame = 300
	userFrame  = 301

	taskAddress  = uint64(0xfffffe0000003000)
	stackAddress = uint64(0xffffc90000004000)
	codeAddress  = uint64(0xffffffff81000000)
	otherAddress = uint64(0xffff888000123000)
	userAddress  = uint64(0x7f0000001000)
)

// madeGuest has a kernel with one task state, what belongs to it, a stack and
// code, and a process.
func madeGuest(levels int) (made, CPU) {
	m, next := made{}, uint64(firstTable)
	for address, frame := range map[uint64]uint64{
		taskAddress: taskFrame, otherAddress: otherFrame, userAddress: userFrame,
		stackAddress: stackFrame, stackAddress - PageSize: stackFrame + 7,
	} {
		m.mapPage(rootFrame, levels, address, frame, &next)
	}
	m.mapPage(rootFrame, levels, codeAddress, codeFrame, &next)
	s := space{frames: &frames{memory: m.read, read: map[uint64]*[entries]uint64{}, finds: maxFinds}, root: rootFrame, levels: levels}
	table := s.root
	for level := levels - 1; level > 1; level-- {
		table = frameOf(m.frame(table)[codeAddress>>(frameShift+indexBits*level)&(entries-1)])
	}
	const twoMiB = frameShift + indexBits
	m.frame(table)[codeAddress>>twoMiB&(entries-1)] = codeFrame<<frameShift | present | accessed | large
	for i := range uint64(leastPointers) {
		m.frame(ownFrame)[i] = stackAddress + 8*i
	}
	m.frame(ownFrame)[100] = otherAddress
	m.frame(stackFrame)[7] = codeAddress + 3*PageSize + 5
	for _, f := range []uint64{taskFrame, otherFrame, userFrame, stackFrame + 7, codeFrame + 3} {
		m.frame(f)
	}
	c := CPU{CR0: paging, CR3: rootFrame << frameShift, CR4: extension, EFER: longMode, Task: taskAddress, Addresses: []uint64{userAddress, 0xbf58476d1ce4e5b9}}
	if levels == 5 {
		c.CR4 |= fiveLevels
	}
	return m, c
}

func TestLikely(t *testing.T) {
	for _, levels := range []int{4, 5} {
		m, c := madeGuest(levels)
		got := Likely(m.read, []CPU{c, c}, 1000)
		if got[0] != rootFrame {
			t.Errorf("%d levels: %d is first, want the root", levels, got[0])
		}
		want := []uint64{userFrame, ownFrame, stackFrame, stackFrame + 7, otherFrame, codeFrame + 3}
		at := -1
		for _, f := range want {
			i := slices.Index(got, f)
			if i <= at {
				t.Errorf("%d levels: frame %#x is at %d behind %d in %#x", levels, f, i, at, got)
			}
			at = i
		}
		if sorted := slices.Sorted(slices.Values(got)); len(slices.Compact(sorted)) != len(got) {
			t.Errorf("%d levels: a frame is there twice: %#x", levels, got)
		}
		if short := Likely(m.read, []CPU{c}, 3); !slices.Equal(short, got[:3]) {
			t.Errorf("%d levels: 3 at most: %#x, want %#x", levels, short, got[:3])
		}
	}
}

// TestLikelyOtherModes finds nothing in modes without 64-bit tables.
func TestLikelyOtherModes(t *testing.T) {
	m, c := madeGuest(4)
	c.EFER = 0
	if got := Likely(m.read, []CPU{c}, 1000); len(got) != 0 {
		t.Errorf("%#x", got)
	}
}

// TestUntouchedTables does not go down where no processor has gone.
func TestUntouchedTables(t *testing.T) {
	m, c := madeGuest(4)
	for i := range m.frame(rootFrame) {
		m.frame(rootFrame)[i] &^= accessed
	}
	c.Task, c.Addresses = 0, nil
	if got := Likely(m.read, []CPU{c}, 1000); len(got) != 0 {
		t.Errorf("%#x, want nothing", got)
	}
}

// TestHostileTables gives tables that lead to themselves, out of the memory, and
// everywhere: the answer ends, and keeps to its bound.
func TestHostileTables(t *testing.T) {
	_, c := madeGuest(4)
	c.CR4 |= fiveLevels
	fill := func(word func(i int) uint64) *[entries]uint64 {
		f := new([entries]uint64)
		for i := range f {
			f[i] = word(i)
		}
		return f
	}
	const bits = present | accessed
	for name, frame := range map[string]*[entries]uint64{
		"a cycle":           fill(func(int) uint64 { return rootFrame<<frameShift | bits }),
		"outside":           fill(func(i int) uint64 { return (frameMask-uint64(i))<<frameShift | bits }),
		"all are addresses": fill(func(i int) uint64 { return 1<<63 | 0x7ffff<<44 | uint64(i)<<frameShift | bits | noExecute }),
		"large ones":        fill(func(int) uint64 { return frameMask<<frameShift | bits | large }),
	} {
		for _, everywhere := range []bool{false, true} {
			reads := 0
			memory := func(number uint64, raw *[PageSize]byte) bool {
				reads++
				if number != rootFrame && !everywhere {
					return false
				}
				return made{number: frame}.read(number, raw)
			}
			got := Likely(memory, slices.Repeat([]CPU{c}, 2*maxCPUs), 384)
			if len(got) > 384 || reads > maxReads {
				t.Errorf("%s, everywhere %v: %d frames by %d reads", name, everywhere, len(got), reads)
			}
		}
	}
}

// FuzzLikely lets the guest choose everything: its registers, and memory whose
// words the data repeats.
func FuzzLikely(f *testing.F) {
	f.Add(uint64(rootFrame<<frameShift), taskAddress, uint64(extension), []byte{0x27, 0x10, 0, 0, 0, 0, 0, 0})
	f.Add(uint64(0), uint64(1)<<63, uint64(extension|fiveLevels), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add(^uint64(0), ^uint64(0), ^uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, cr3, task, cr4 uint64, words []byte) {
		memory := func(number uint64, raw *[PageSize]byte) bool {
			if number&1 != 0 && len(words) > 0 {
				for i := range raw {
					raw[i] = words[(i+int(number&0xff))%len(words)]
				}
				return true
			}
			random := rand.New(rand.NewPCG(number, cr3))
			for i := 0; i < len(raw); i += 8 {
				binary.LittleEndian.PutUint64(raw[i:], random.Uint64()&^(frameMask&^0xff<<frameShift)|present|accessed)
			}
			return number < 1<<20
		}
		c := CPU{CR0: paging, CR3: cr3, CR4: cr4, EFER: longMode, Task: task, Addresses: []uint64{task, cr3}}
		got := Likely(memory, []CPU{c, c}, 384)
		sorted := slices.Sorted(slices.Values(got))
		if len(got) > 384 || len(slices.Compact(sorted)) != len(got) {
			t.Errorf("%d frames, or one is there twice", len(got))
		}
	})
}
