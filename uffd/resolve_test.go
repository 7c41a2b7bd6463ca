package uffd

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func forEachKind(t *testing.T, f func(t *testing.T, kind memoryKind)) {
	t.Helper()
	for _, kind := range []memoryKind{anonymous, shared} {
		t.Run(string(kind), func(t *testing.T) { f(t, kind) })
	}
}

type result struct {
	n   int
	err error
}

func wantResult(t *testing.T, what string, n int, err error, want result) {
	t.Helper()
	if n != want.n || !errors.Is(err, want.err) {
		t.Fatalf("%s = %d, %v; want %d, %v", what, n, err, want.n, want.err)
	}
}

// TestCopyPartial has page 4 of 8 present, so that a run over it stops in the
// middle, and goes on behind it.
func TestCopyPartial(t *testing.T) {
	checkDescriptors(t)
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		h := openHandle(t, 0)
		address, release := registered(t, h, kind, 8)
		data := pattern(0, 8)
		old := pattern(100, 1)

		n, err := h.Copy(address+4*page, old)
		wantResult(t, "copy of page 4", n, err, result{page, nil})
		n, err = h.Copy(address, data)
		wantResult(t, "copy of the run", n, err, result{4 * page, unix.EAGAIN})
		n, err = h.Copy(address+4*page, data[4*page:])
		wantResult(t, "copy from the present page", n, err, result{0, unix.EEXIST})
		n, err = h.Copy(address+5*page, data[5*page:])
		wantResult(t, "copy of the rest", n, err, result{3 * page, nil})

		copy(data[4*page:], old)
		if !bytes.Equal(release(), data) {
			t.Error("the memory holds something else")
		}
	})
}

func TestZeroPagePartial(t *testing.T) {
	checkDescriptors(t)
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		h := openHandle(t, 0)
		address, release := registered(t, h, kind, 8)
		data := pattern(0, 1)

		n, err := h.Copy(address+2*page, data)
		wantResult(t, "copy", n, err, result{page, nil})
		n, err = h.ZeroPage(address, 8*page)
		wantResult(t, "zero the run", n, err, result{2 * page, unix.EAGAIN})
		n, err = h.ZeroPage(address+2*page, 6*page)
		wantResult(t, "zero a present page", n, err, result{0, unix.EEXIST})
		n, err = h.ZeroPage(address+3*page, 5*page)
		wantResult(t, "zero the rest", n, err, result{5 * page, nil})

		want := make([]byte, 8*page)
		copy(want[2*page:], data)
		if !bytes.Equal(release(), want) {
			t.Error("the memory holds something else")
		}
	})
}

func TestPoisonPartial(t *testing.T) {
	needFeature(t, FeaturePoison)
	forEachKind(t, func(t *testing.T, kind memoryKind) {
		h := openHandle(t, FeaturePoison)
		address, _ := registered(t, h, kind, 4)
		n, err := h.Copy(address+page, pattern(0, 1))
		wantResult(t, "copy", n, err, result{page, nil})
		n, err = h.Poison(address, 4*page)
		wantResult(t, "poison the run", n, err, result{page, unix.EAGAIN})
		n, err = h.Poison(address+page, 3*page)
		wantResult(t, "poison a present page", n, err, result{0, unix.EEXIST})
		n, err = h.Poison(address, page)
		wantResult(t, "poison poison", n, err, result{0, unix.EEXIST})
		// The mark does not count as a page.
		n, err = h.Copy(address, pattern(0, 1))
		wantResult(t, "copy over poison", n, err, result{page, nil})
	})
}

func TestResolveErrors(t *testing.T) {
	h := openHandle(t, 0)
	address, _ := registered(t, h, anonymous, 2)
	data := pattern(0, 2)
	for name, test := range map[string]struct {
		address uint64
		length  int
		want    error
	}{
		"nothing":               {address, 0, unix.EINVAL},
		"part of a page":        {address, page - 1, unix.EINVAL},
		"odd address":           {address + 1, page, unix.EINVAL},
		"not mapped":            {page, page, unix.ENOENT},
		"over the end of space": {^uint64(0) &^ (page - 1), page, unix.EINVAL},
	} {
		n, err := h.Copy(test.address, data[:test.length])
		wantResult(t, "copy: "+name, n, err, result{0, test.want})
		n, err = h.ZeroPage(test.address, uint64(test.length))
		wantResult(t, "zero: "+name, n, err, result{0, test.want})
	}
	n, err := h.Poison(address, 0)
	wantResult(t, "poison nothing", n, err, result{0, unix.EINVAL})
}

func TestRegisterErrors(t *testing.T) {
	h := openHandle(t, 0)
	memory, _, err := mapMemory(anonymous, 2)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Munmap(memory)) })
	address := addressOf(memory)

	wantErr(t, h.Register(address+1, page), unix.EINVAL)
	wantErr(t, h.Register(address, 0), unix.EINVAL)
	check(t, h.Register(address, page))

	other := openHandle(t, 0)
	err = other.Register(address, page)
	wantErr(t, err, unix.EBUSY)
	if !strings.Contains(err.Error(), "another userfaultfd") {
		t.Errorf("error does not say what is wrong: %v", err)
	}
	wantErr(t, h.Wake(address+1, page), unix.EINVAL)
	wantErr(t, h.Unregister(address, 1), unix.EINVAL)
	check(t, h.Wake(address, page))
	check(t, h.Unregister(address, page))
	check(t, other.Register(address, page))
}

func TestHandshake(t *testing.T) {
	h := openRaw(t)
	_, err := h.Handshake(1<<62 | FeatureEventRemove)
	wantErr(t, err, unix.EINVAL)
	if !strings.Contains(err.Error(), "lacks 0x4000000000000000") {
		t.Errorf("error does not name what is missing: %v", err)
	}
	got, err := h.Handshake(FeatureEventRemove)
	check(t, err)
	if has, err := Features(); err != nil || got != has {
		t.Errorf("Handshake = %v, but Features = %v, %v", got, has, err)
	}
	_, err = h.Handshake(0)
	wantErr(t, err, unix.EINVAL)
	if !strings.Contains(err.Error(), "already") {
		t.Errorf("error does not say that it was done: %v", err)
	}
}

func TestClosedHandle(t *testing.T) {
	checkDescriptors(t)
	h := openHandle(t, 0)
	check(t, h.Close())
	check(t, h.Close())
	if h.Fd() != -1 {
		t.Errorf("Fd() = %d after Close", h.Fd())
	}
	_, err := h.Handshake(0)
	wantErr(t, err, os.ErrClosed)
	_, err = h.Copy(page, make([]byte, page))
	wantErr(t, err, os.ErrClosed)
	_, err = h.ZeroPage(page, page)
	wantErr(t, err, os.ErrClosed)
	_, err = h.Poison(page, page)
	wantErr(t, err, os.ErrClosed)
	wantErr(t, h.Register(page, page), os.ErrClosed)
	wantErr(t, h.Unregister(page, page), os.ErrClosed)
	wantErr(t, h.Wake(page, page), os.ErrClosed)
	_, err = NewReader(h)
	wantErr(t, err, os.ErrClosed)
}

// TestResolveAllocations: the fault path must not make garbage.
func TestResolveAllocations(t *testing.T) {
	h := openHandle(t, 0)
	const runs = 200
	address, _ := registered(t, h, anonymous, 3*(runs+1))
	data := pattern(0, 1)
	_, err := h.Copy(address, data)
	check(t, err)
	at := address + page
	for name, f := range map[string]func() error{
		"copy":         func() error { _, err := h.Copy(at, data); at += page; return err },
		"zero":         func() error { _, err := h.ZeroPage(at, page); at += page; return err },
		"present page": func() error { _, err := h.Copy(at-page, data); return ignore(err, unix.EEXIST) },
	} {
		if n := testing.AllocsPerRun(runs, func() { failure = errors.Join(failure, f()) }); n != 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
		check(t, failure)
	}
}

var failure error

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return errors.Join(errors.New("expected: "+expected.Error()), err)
}

func TestOpen(t *testing.T) {
	checkDescriptors(t)
	h, err := Open()
	if os.Geteuid() != 0 && err != nil {
		wantErr(t, err, unix.EPERM)
		if !strings.Contains(err.Error(), devicePath) {
			t.Errorf("error does not say what to do: %v", err)
		}
		return
	}
	check(t, err)
	check(t, CheckKind(h.Fd()))
	check(t, h.Close())
}

func TestOpenDevice(t *testing.T) {
	checkDescriptors(t)
	f, err := OpenDevice()
	if err != nil {
		need(t, false, "no access to the device: %v", err)
	}
	defer func() { check(t, f.Close()) }()
	fd, err := createFrom(int(f.Fd()), openFlags)
	check(t, err)
	h := Adopt(fd)
	_, err = h.Handshake(0)
	check(t, err)
	check(t, h.Close())
}
