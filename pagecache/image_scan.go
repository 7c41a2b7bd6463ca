package pagecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/lazymig/lazymig"
)

// extent is a part of a file in which blocks of a guest are. It is aligned to
// pages.
type extent struct{ offset, length int64 }

// layout calls emit for each extent of a file, none of which overlap, and
// stops at its first error.
type layout func(emit func(extent) error) error

// visitor gets each block of an extent that is not zero, and its digest. It
// belongs to one worker.
type visitor func(block uint32, d *Digest) error

// scan digests the blocks of a file on all processors.
type scan struct {
	file *os.File
	key  Key
	// visitor returns one for each worker.
	visitor func(worker int) visitor
	// progress is called now and then by the goroutine that runs the scan.
	progress func(done, total int64)
	total    int64

	mu     sync.Mutex // protects what follows
	counts scanCounts
}

// scanCounts are what a scan has seen, in blocks.
type scanCounts struct{ zero, unreadable uint64 }

func scanners() int { return min(runtime.GOMAXPROCS(0), maxScanners) }

// run returns when all workers have ended.
func (s *scan) run(ctx context.Context, l layout) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	extents := make(chan extent, scanners())
	var workers sync.WaitGroup
	for n := range scanners() {
		workers.Go(func() {
			if err := s.work(n, extents); err != nil {
				cancel(err)
			}
		})
	}
	err := s.feed(ctx, l, extents)
	close(extents)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// feed cuts extents into what a worker reads at once.
func (s *scan) feed(ctx context.Context, l layout, extents chan<- extent) error {
	done := int64(0)
	s.tell(done)
	err := l(func(e extent) error {
		for e.length > 0 {
			part := extent{e.offset, min(e.length, scanBytes-e.offset%scanBytes)}
			select {
			case extents <- part:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			e.offset += part.length
			e.length -= part.length
			done += part.length
			s.tell(done)
		}
		return ctx.Err()
	})
	if err == nil {
		s.tell(s.total)
	}
	return err
}

func (s *scan) tell(done int64) {
	if s.progress != nil {
		s.progress(min(done, s.total), s.total)
	}
}

// work reads and digests extents until there are no more. After an error it
// takes the rest without doing anything, for the one who feeds it.
func (s *scan) work(worker int, extents <-chan extent) error {
	hasher, err := NewHasher(s.key)
	visit, buffer, counts := s.visitor(worker), make([]byte, scanBytes), scanCounts{}
	for e := range extents {
		if err == nil {
			err = s.digest(e, buffer, hasher, visit, &counts)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.zero += counts.zero
	s.counts.unreadable += counts.unreadable
	return err
}

// digest visits the blocks of an extent.
func (s *scan) digest(e extent, buffer []byte, hasher *Hasher, visit visitor, counts *scanCounts) error {
	var d Digest
	n, err := s.file.ReadAt(buffer[:e.length], e.offset)
	for at := 0; at < int(e.length); at += lazymig.PageSize {
		page := buffer[at:][:lazymig.PageSize]
		if at+lazymig.PageSize > n {
			if errors.Is(err, io.EOF) {
				return nil // the file has become shorter
			}
			if _, err := s.file.ReadAt(page, e.offset+int64(at)); err != nil {
				counts.unreadable++
				continue
			}
		}
		if IsZero(page) {
			counts.zero++
			continue
		}
		hasher.Sum(page, d[:])
		if err := visit(uint32((e.offset+int64(at))/lazymig.PageSize), &d); err != nil {
			return fmt.Errorf("note a block: %w", err)
		}
	}
	return nil
}
