package migrate

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/lazymig/lazymig"
)

// finish hands the memory over to the guest: with nothing missing, the ranges
// are unregistered and holes read as zeros by themselves. Pages that could not
// be poisoned stay registered, so that a touch of one stalls.
func (in *installer) finish() error {
	for _, s := range in.spans {
		from := s.first
		for _, p := range in.stalling(s) {
			if err := in.unregister(s, from, p); err != nil {
				return err
			}
			whole, _ := in.whole(p)
			from = whole.End()
		}
		if err := in.unregister(s, from, s.end()); err != nil {
			return err
		}
	}
	return in.drain()
}

// stalling returns the pages of s that can be neither filled nor poisoned, in
// order: of huge pages, the first parts.
func (in *installer) stalling(s span) []lazymig.PageNumber {
	if in.canPoison {
		return nil
	}
	var pages []lazymig.PageNumber
	for w, mask := range in.table.poisoned {
		for ; mask != 0; mask &= mask - 1 {
			p := lazymig.PageNumber(w*64 + uint64(bits.TrailingZeros64(mask)))
			if whole, _ := in.whole(p); p == whole.First && p >= s.first && p < s.end() {
				pages = append(pages, p)
			}
		}
	}
	slices.Sort(pages)
	return pages
}

// unregister takes pages from to to-1 out of the kernel's care. A thread that
// touches a hole just then may wait for ever (seen on Linux 6.18). What explains
// it: the kernel wakes those that wait before it takes the range out, and since
// there are locks for each mapping (6.4) a fault can come in between. Such a
// thread has queued when the call returns, so it is woken by hand and finds the
// range free.
func (in *installer) unregister(s span, from, to lazymig.PageNumber) error {
	if from >= to {
		return nil
	}
	address, length := s.start+uint64(from-s.first)*lazymig.PageSize, uint64(to-from)*lazymig.PageSize
	err := in.handle.Unregister(address, length)
	if err == nil {
		err = in.handle.Wake(address, length)
	}
	if err != nil {
		return fmt.Errorf("unregister pages %d to %d: %w", from, to-1, err)
	}
	return nil
}

// drain reads the events that were under way while the ranges were
// unregistered: a thread that discards memory waits until its event was read.
func (in *installer) drain() error {
	deadline := time.Now().Add(lastEvents)
	for left := lastEvents; left > 0; left = time.Until(deadline) {
		if err := in.reader.Read(&in.batch, left); err != nil {
			return fmt.Errorf("read the last events: %w", err)
		}
	}
	return nil
}
