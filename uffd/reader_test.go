package uffd

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReaderTimeout(t *testing.T) {
	checkDescriptors(t)
	r := newReader(t, openHandle(t, FeatureEventRemove))
	var b Batch
	begin := time.Now()
	check(t, r.Read(&b, 0))
	check(t, r.Read(&b, 30*time.Millisecond))
	if waited := time.Since(begin); waited < 30*time.Millisecond {
		t.Errorf("waited only %v", waited)
	}
	if !b.Empty() {
		t.Errorf("batch is %+v", b)
	}
}

// TestWakeupBefore: a wake-up that comes before the wait is not lost, and used
// up by one wait.
func TestWakeupBefore(t *testing.T) {
	r := newReader(t, openHandle(t, FeatureEventRemove))
	var b Batch
	for range 3 {
		r.Wakeup()
		r.Wakeup()
		check(t, r.Read(&b, -1))
	}
	begin := time.Now()
	check(t, r.Read(&b, 20*time.Millisecond))
	if waited := time.Since(begin); waited < 20*time.Millisecond {
		t.Errorf("waited only %v: a wake-up was left over", waited)
	}
}

// TestWakeupRaces has several goroutines add work and wake a reader that would
// otherwise wait for ever.
func TestWakeupRaces(t *testing.T) {
	const producers, each = 4, 2000
	r := newReader(t, openHandle(t, FeatureEventRemove))
	var work atomic.Int64
	var group sync.WaitGroup
	for range producers {
		group.Go(func() {
			for range each {
				work.Add(1)
				r.Wakeup()
			}
		})
	}
	var b Batch
	for work.Load() < producers*each {
		check(t, r.Read(&b, -1))
	}
	group.Wait()
}

// TestWakeupEach hands over one piece of work at a time, so that a lost
// wake-up stops both sides.
func TestWakeupEach(t *testing.T) {
	r := newReader(t, openHandle(t, FeatureEventRemove))
	var work, done atomic.Int64
	seen := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for range 2000 {
			work.Add(1)
			r.Wakeup()
			<-seen
		}
		close(seen)
	})
	var b Batch
	for done.Load() < 2000 {
		check(t, r.Read(&b, -1))
		for done.Load() < work.Load() {
			done.Add(1)
			seen <- struct{}{}
		}
	}
	group.Wait()
}

func TestReaderClose(t *testing.T) {
	checkDescriptors(t)
	h := openHandle(t, FeatureEventRemove)
	for range 50 {
		r, err := NewReader(h)
		check(t, err)
		var group sync.WaitGroup
		group.Go(func() {
			var b Batch
			for {
				if err := r.Read(&b, -1); err != nil {
					if !errors.Is(err, os.ErrClosed) {
						t.Errorf("error is %v, want %v", err, os.ErrClosed)
					}
					return
				}
			}
		})
		group.Go(r.Wakeup)
		group.Go(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		check(t, r.Close())
		r.Wakeup()
	}
}

// TestReaderOutlivesHandle: the Reader has a descriptor of its own.
func TestReaderOutlivesHandle(t *testing.T) {
	h := openHandle(t, FeatureEventRemove)
	r := newReader(t, h)
	check(t, h.Close())
	var b Batch
	check(t, r.Read(&b, time.Millisecond))
}

func TestReaderWithoutHandshake(t *testing.T) {
	r := newReader(t, openRaw(t))
	var b Batch
	wantErr(t, r.Read(&b, 0), unix.EINVAL)
}

// TestBlockingDescriptor: poll refuses a blocking userfaultfd, so that the
// Reader makes it non-blocking.
func TestBlockingDescriptor(t *testing.T) {
	h := openHandle(t, FeatureEventRemove)
	check(t, unix.SetNonblock(h.Fd(), false))
	r := newReader(t, h)
	var b Batch
	check(t, r.Read(&b, time.Millisecond))
}

func TestReadAllocations(t *testing.T) {
	r := newReader(t, openHandle(t, FeatureEventRemove))
	var b Batch
	var failed error
	if n := testing.AllocsPerRun(200, func() {
		if err := r.Read(&b, 0); err != nil {
			failed = err
		}
		if err := r.Read(&b, time.Microsecond); err != nil {
			failed = err
		}
		r.Wakeup()
		if err := r.Read(&b, -1); err != nil {
			failed = err
		}
	}); n != 0 {
		t.Errorf("three reads allocate %v times", n)
	}
	check(t, failed)
}

// message makes a struct uffd_msg.
func message(event byte, words ...uint64) []byte {
	m := make([]byte, messageSize)
	m[0] = event
	for i, w := range words {
		binary.LittleEndian.PutUint64(m[8+8*i:], w)
	}
	return m
}

func TestDecode(t *testing.T) {
	var data []byte
	data = append(data, message(eventPagefault, 1, 0x7001_2fff, 42)...)
	data = append(data, message(eventRemove, 0x1000, 0x3000)...)
	data = append(data, message(eventUnmap, 0x5000, 0x6000)...)
	data = append(data, message(eventRemap, 0x8000, 0x9000, 0x2000)...)
	data = append(data, message(eventPagefault, 0, 0x4000)...)
	var b Batch
	check(t, b.add(data))
	if b.Faults[0] != (Fault{0x7001_2000, true, 42}) || b.Faults[1] != (Fault{0x4000, false, 0}) {
		t.Errorf("faults %+v", b.Faults)
	}
	if b.Removed[0] != (Range{0x1000, 0x2000}) || b.Unmapped[0] != (Range{0x5000, 0x1000}) {
		t.Errorf("removed %+v, unmapped %+v", b.Removed, b.Unmapped)
	}
	if b.Remapped[0] != (Remap{0x8000, 0x9000, 0x2000}) {
		t.Errorf("remapped %+v", b.Remapped)
	}
	if err := b.add(message(0x77)); err == nil {
		t.Error("an unknown event was passed over")
	}
	b.reset()
	if !b.Empty() {
		t.Errorf("not empty after reset: %+v", b)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(message(eventPagefault, 1, 0x1000, 7))
	f.Add(append(message(eventRemove, 0x1000, 0x3000), message(0xff)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for i := 0; i+messageSize <= len(data); i += messageSize {
			if data[i] == eventFork { // would close a descriptor of the test
				data[i] = eventUnmap
			}
		}
		var b Batch
		err := b.add(data)
		n := len(b.Faults) + len(b.Removed) + len(b.Unmapped) + len(b.Remapped)
		if err == nil && n != len(data)/messageSize {
			t.Errorf("%d messages became %d", len(data)/messageSize, n)
		}
		for _, fault := range b.Faults {
			if fault.Address%page != 0 {
				t.Errorf("address %#x is not a page's", fault.Address)
			}
		}
	})
}
