package uffd

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readFaults reads until n different pages have faulted.
func readFaults(t testing.TB, r *Reader, n int) map[uint64]Fault {
	t.Helper()
	var b Batch
	faults := map[uint64]Fault{}
	for deadline := time.Now().Add(20 * time.Second); len(faults) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d faults arrived", len(faults), n)
		}
		check(t, r.Read(&b, time.Second))
		for _, fault := range b.Faults {
			faults[fault.Address] = fault
		}
	}
	return faults
}

// pendingFaults returns how many faults nobody has read yet.
func pendingFaults(t *testing.T, h *Handle) (pending int) {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", h.Fd()))
	check(t, err)
	_, rest, _ := strings.Cut(string(info), "pending:")
	_, err = fmt.Sscan(rest, &pending)
	check(t, err)
	return pending
}

func copyAll(t *testing.T, h *Handle, address uint64, data []byte) {
	t.Helper()
	n, err := h.Copy(address, data)
	wantResult(t, "copy", n, err, result{len(data), nil})
}

func TestServeFaults(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		checkDescriptors(t)
		c := startChild(t)
		h, r := c.serve(kind, 8, FeatureThreadID)

		c.send("read 3")
		fault := readFaults(t, r, 1)[c.address(3)]
		if fault.Write || fault.Thread == 0 {
			t.Errorf("fault of a read is %+v", fault)
		}
		c.silent("read")
		copyAll(t, h, c.address(3), pattern(3, 1))
		answer := c.expect("read 3")
		want := fmt.Sprintf("%08x thread %d", crc32.ChecksumIEEE(pattern(3, 1)), fault.Thread)
		if answer != want {
			t.Errorf("child read %q, want %q", answer, want)
		}

		c.send("write 4")
		if fault, ok := readFaults(t, r, 1)[c.address(4)]; !ok || !fault.Write {
			t.Errorf("fault of a write is %+v", fault)
		}
		copyAll(t, h, c.address(4), pattern(4, 1))
		c.expect("write 4")
		written := pattern(4, 1)
		written[5] = 0x5a
		c.send("read 4")
		c.wantPage(4, written)

		c.send("pipe 5") // a fault of the kernel, in write(2)
		readFaults(t, r, 1)
		if n, err := h.ZeroPage(c.address(5), page); n != page || err != nil {
			t.Fatalf("zero = %d, %v", n, err)
		}
		c.expect("pipe 5")
		c.send("read 5")
		c.wantPage(5, make([]byte, page))
	})
}

// TestManyFaultsPerRead has more threads wait than one read(2) can report.
func TestManyFaultsPerRead(t *testing.T) {
	const threads = readMessages + 36
	c := startChild(t)
	h, r := c.serve(shared, threads, 0)
	for i := range threads {
		c.send("read %d", i)
	}
	eventually(t, "all threads wait", func() bool { return pendingFaults(t, h) == threads })

	var b Batch
	check(t, r.Read(&b, 0))
	if len(b.Faults) != threads {
		t.Fatalf("one Read returned %d of %d faults", len(b.Faults), threads)
	}
	check(t, r.Read(&b, 0))
	if !b.Empty() {
		t.Fatalf("the next one returned %+v", b)
	}
	copyAll(t, h, c.base, pattern(0, threads)) // wakes all
	for i := range threads {
		c.wantPage(i, pattern(i, 1))
	}
}

func TestPoisonKills(t *testing.T) {
	needFeature(t, FeaturePoison)
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		c := startChild(t)
		h, r := c.serve(kind, 4, FeaturePoison)
		c.send("read 1")
		readFaults(t, r, 1)
		n, err := h.Poison(c.address(1), page)
		wantResult(t, "poison", n, err, result{page, nil})
		if got := c.expect("read 1"); got != "bus" {
			t.Fatalf("the thread that waited got %q, want SIGBUS", got)
		}
		c.send("write 1")
		if got := c.expect("write 1"); got != "bus" {
			t.Fatalf("a later one got %q, want SIGBUS", got)
		}
		copyAll(t, h, c.address(2), pattern(2, 1))
		c.send("read 2")
		c.wantPage(2, pattern(2, 1))
	})
}

// changing reports whether the address space waits for an event to be read. It
// looks at a page that is present, so that nothing is installed.
func changing(t *testing.T, h *Handle, present uint64) bool {
	t.Helper()
	n, err := h.ZeroPage(present, page)
	if n != 0 || err == nil {
		t.Fatalf("zeroing a present page = %d, %v", n, err)
	}
	return errors.Is(err, unix.EAGAIN)
}

// TestRemoveBeforeFault has a removal wait first and a fault behind it. The
// kernel hands out the fault first; a handler that answered it at once would
// be refused, and one that answered with the old page would be wrong.
func TestRemoveBeforeFault(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		c := startChild(t)
		h, r := c.serve(kind, 8, FeatureEventRemove)
		copyAll(t, h, c.base, pattern(0, 1))

		if kind == shared { // as a balloon does: the file first, without an event
			c.send("punch 2 3")
			c.expect("punch 2")
		}
		c.send("discard 2 3")
		eventually(t, "the removal waits", func() bool { return changing(t, h, c.base) })
		c.send("read 3")
		eventually(t, "the fault waits", func() bool { return pendingFaults(t, h) == 1 })
		n, err := h.Copy(c.address(3), pattern(3, 1))
		wantResult(t, "copy before the removal was read", n, err, result{0, unix.EAGAIN})

		var b Batch
		check(t, r.Read(&b, 0))
		if len(b.Removed) != 1 || b.Removed[0] != (Range{c.address(2), 3 * page}) {
			t.Fatalf("removed %+v", b.Removed)
		}
		if len(b.Faults) != 1 || b.Faults[0].Address != c.address(3) {
			t.Fatalf("faults %+v", b.Faults)
		}
		c.expect("discard 2")
		eventually(t, "the change is over", func() bool { return !changing(t, h, c.base) })
		n, err = h.ZeroPage(c.address(3), page)
		wantResult(t, "answer zero", n, err, result{page, nil})
		c.wantPage(3, make([]byte, page))
	})
}

func TestOtherEvents(t *testing.T) {
	checkDescriptors(t)
	c := startChild(t)
	_, r := c.serve(anonymous, 8, FeatureEventUnmap|FeatureEventRemap|FeatureEventFork)
	before := countDescriptors(t)
	var b Batch

	c.send("unmap 6 2")
	check(t, r.Read(&b, 20*time.Second))
	if len(b.Unmapped) != 1 || b.Unmapped[0] != (Range{c.address(6), 2 * page}) {
		t.Errorf("unmap reads as %+v", b)
	}
	c.expect("unmap 6")

	c.send("remap 4 2")
	check(t, r.Read(&b, 20*time.Second))
	if len(b.Remapped) != 1 || b.Remapped[0].From != c.address(4) || b.Remapped[0].Length != 2*page {
		t.Errorf("remap reads as %+v", b)
	}
	if got, want := c.expect("remap 4"), fmt.Sprint(b.Remapped[0].To); got != want {
		t.Errorf("remapped to %s, event says %s", got, want)
	}

	c.send("fork")
	check(t, r.Read(&b, 20*time.Second))
	if !b.Empty() {
		t.Errorf("fork reads as %+v", b)
	}
	c.expect("fork")
	if after := countDescriptors(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the fork left a descriptor: %v, before %v", after, before)
	}
}

// TestHandlerDies: faults that a dead handler had read are reported again to
// the next one, since the VMM kept the userfaultfd.
func TestHandlerDies(t *testing.T) {
	c := startChild(t)
	c.mapMemory(shared, 8)
	remote := c.open()
	first, err := AdoptFrom(c.pidfd, remote)
	check(t, err)
	_, err = first.Handshake(FeatureEventRemove)
	check(t, err)
	check(t, first.Register(c.base, c.size()))
	firstReader, err := NewReader(first)
	check(t, err)
	for i := range 4 {
		c.send("read %d", i)
	}
	readFaults(t, firstReader, 4)
	copyAll(t, first, c.address(0), pattern(0, 1))
	c.wantPage(0, pattern(0, 1))
	check(t, errors.Join(firstReader.Close(), first.Close()))
	c.send("read 4")
	c.silent("read") // they stall, and read no zeros

	second := c.adopt(remote)
	r := newReader(t, second)
	check(t, second.Wake(c.base, c.size()))
	for address := range readFaults(t, r, 4) {
		i := int((address - c.base) / page)
		copyAll(t, second, address, pattern(i, 1))
		c.wantPage(i, pattern(i, 1))
	}
}

// TestLastCopyCloses shows why the VMM keeps a copy: without one, missing pages
// silently read as zero.
func TestLastCopyCloses(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		c := startChild(t)
		c.mapMemory(kind, 4)
		remote := c.open()
		h := c.adopt(remote)
		_, err := h.Handshake(0)
		check(t, err)
		check(t, h.Register(c.base, c.size()))
		c.send("read 1")
		eventually(t, "the fault waits", func() bool { return pendingFaults(t, h) == 1 })
		c.send("close %d", remote)
		c.expect("closed")
		c.silent("read")
		check(t, h.Close())
		c.wantPage(1, make([]byte, page))
		c.send("read 2")
		c.wantPage(2, make([]byte, page))
	})
}

func TestUnregisterLetsGo(t *testing.T) {
	c := startChild(t)
	h, _ := c.serve(shared, 4, 0)
	copyAll(t, h, c.address(0), pattern(0, 1))
	c.send("read 1")
	eventually(t, "the fault waits", func() bool { return pendingFaults(t, h) == 1 })
	check(t, h.Unregister(c.base, c.size()))
	c.wantPage(1, make([]byte, page))
	c.send("read 0")
	c.wantPage(0, pattern(0, 1))
	n, err := h.Copy(c.address(2), pattern(2, 1))
	wantResult(t, "copy after unregister", n, err, result{0, unix.ENOENT})
}

func TestProcessGone(t *testing.T) {
	checkDescriptors(t)
	c := startChild(t)
	h, r := c.serve(anonymous, 4, FeatureEventRemove)
	check(t, c.cmd.Process.Kill())
	eventually(t, "the child has ended", func() bool { return hasEnded(c.pidfd) })
	n, err := h.Copy(c.base, pattern(0, 1))
	wantResult(t, "copy", n, err, result{0, unix.ESRCH})
	n, err = h.ZeroPage(c.base, page)
	wantResult(t, "zero", n, err, result{0, unix.ESRCH})
	var b Batch
	check(t, r.Read(&b, 0)) // no event tells of it
	if !b.Empty() {
		t.Errorf("events of a process that ended: %+v", b)
	}
	_, err = AdoptFrom(c.pidfd, 0)
	wantErr(t, err, unix.ESRCH)
}

func TestAdoptFromErrors(t *testing.T) {
	checkDescriptors(t)
	c := startChild(t)
	_, err := AdoptFrom(c.pidfd, 0)
	wantErr(t, err, unix.EINVAL)
	if !strings.Contains(err.Error(), "not a userfaultfd") {
		t.Errorf("error does not say what it is: %v", err)
	}
	_, err = AdoptFrom(c.pidfd, 999)
	wantErr(t, err, unix.EBADF)
	_, err = AdoptFrom(-1, 0)
	wantErr(t, err, unix.EBADF)
}

// TestSweepAllocations: faults of a busy guest make no garbage.
func TestSweepAllocations(t *testing.T) {
	const pages = 1200
	c := startChild(t)
	h, r := c.serve(shared, pages, FeatureEventRemove)
	data := bytes.Repeat([]byte{1}, page)
	var b Batch
	var failed error
	serveOne := func() {
		if err := r.Read(&b, 20*time.Second); err != nil {
			failed = err
		}
		for _, fault := range b.Faults {
			if _, err := h.Copy(fault.Address, data); err != nil {
				failed = err
			}
		}
	}
	c.send("sweep 0 %d", pages)
	serveOne() // makes the batch as large as it gets
	if n := testing.AllocsPerRun(pages/2, serveOne); n != 0 {
		t.Errorf("serving a fault allocates %v times", n)
	}
	check(t, failed)
	for range pages { // a fault may have taken two reads
		if pendingFaults(t, h) == 0 && len(c.lines) > 0 {
			break
		}
		check(t, r.Read(&b, 10*time.Millisecond))
		for _, fault := range b.Faults {
			copyAll(t, h, fault.Address, data)
		}
	}
	if got := c.expect("sweep 0"); got != fmt.Sprint(pages) {
		t.Errorf("the sweep read %s, want %d", got, pages)
	}
}
