package pagecache

import (
	"bufio"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// The entries of an image are sorted in bounded memory: each worker fills a
// run, sorts it and writes it to the spool, a file without a name; at the end
// all runs are merged.

// run is the entries that one worker has in memory.
type run struct {
	entries    []entry
	duplicates uint64
	spool      *spool
}

func (r *run) add(block uint32, d *Digest) error {
	if r.entries == nil {
		r.entries = make([]entry, 0, runEntries)
	}
	r.entries = append(r.entries, entry{*d, block})
	if len(r.entries) < runEntries {
		return nil
	}
	r.sort()
	if err := r.spool.write(r.entries); err != nil {
		return err
	}
	r.entries = r.entries[:0]
	return nil
}

// sort leaves one entry of each digest, that with the first block.
func (r *run) sort() {
	slices.SortFunc(r.entries, entry.compare)
	all := len(r.entries)
	r.entries = slices.CompactFunc(r.entries, func(a, b entry) bool { return a.digest == b.digest })
	r.duplicates += uint64(all - len(r.entries))
}

// spool holds runs that are sorted. Its methods may be called by any worker.
type spool struct {
	dir string

	mu    sync.Mutex // protects what follows
	file  *os.File   // nil until it is needed
	end   int64
	parts []extent // not aligned to anything
}

func (s *spool) write(entries []entry) error {
	raw := make([]byte, 0, len(entries)*entrySize)
	for _, e := range entries {
		raw = e.append(raw)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		file, err := os.CreateTemp(s.dir, newPattern)
		if err != nil {
			return fmt.Errorf("create a spool: %w", err)
		}
		s.file = file
		if err := os.Remove(file.Name()); err != nil {
			return fmt.Errorf("unlink the spool: %w", err)
		}
	}
	if s.end += int64(len(raw)); s.end > 2*maxEntries*entrySize {
		// That many may be twice in it.
		return errTooMany
	}
	part := extent{s.end - int64(len(raw)), int64(len(raw))}
	if _, err := s.file.WriteAt(raw, part.offset); err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	s.parts = append(s.parts, part)
	return nil
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// source is a sorted run that is read from its beginning.
type source struct {
	head    entry
	entries []entry       // that follow, of a run in memory
	in      *bufio.Reader // or what follows, of one in the spool
}

// next moves to the next entry; false is the end.
func (s *source) next() (bool, error) {
	if s.in == nil {
		if len(s.entries) == 0 {
			return false, nil
		}
		s.head, s.entries = s.entries[0], s.entries[1:]
		return true, nil
	}
	raw, err := s.in.Peek(entrySize)
	if len(raw) == 0 && errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read the spool: %w", err)
	}
	s.head = parseEntry(raw)
	_, _ = s.in.Discard(entrySize) // they have been seen
	return true, nil
}

// sources are a heap: the one with the least head is first.
type sources []*source

func (s sources) Len() int           { return len(s) }
func (s sources) Less(i, j int) bool { return s[i].head.compare(s[j].head) < 0 }
func (s sources) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sources) Push(x any)        { *s = append(*s, x.(*source)) }
func (s *sources) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// merge calls each for every entry in order, once for each digest, and returns
// how many were left out.
func merge(runs []*run, spooled *spool, each func(entry) error) (duplicates uint64, err error) {
	var all sources
	for _, r := range runs {
		r.sort()
		duplicates += r.duplicates
		all = append(all, &source{entries: r.entries})
	}
	for _, part := range spooled.parts {
		section := io.NewSectionReader(spooled.file, part.offset, part.length)
		all = append(all, &source{in: bufio.NewReaderSize(section, mergeBuffer)})
	}
	begun := all[:0]
	for _, s := range all {
		if more, err := s.next(); err != nil {
			return 0, err
		} else if more {
			begun = append(begun, s)
		}
	}
	heap.Init(&begun)
	var last entry
	for n := 0; len(begun) > 0; n++ {
		first := begun[0]
		if n > 0 && first.head.digest == last.digest {
			duplicates++
		} else if err := each(first.head); err != nil {
			return 0, err
		}
		last = first.head
		if more, err := first.next(); err != nil {
			return 0, err
		} else if more {
			heap.Fix(&begun, 0)
		} else {
			heap.Pop(&begun)
		}
	}
	return duplicates, nil
}
