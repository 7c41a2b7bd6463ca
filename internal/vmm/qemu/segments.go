package qemu

import (
	"context"
	"fmt"

	"github.com/lazymig/lazymig"
)

// Physical memory of a PC: RAM from 0 on, then devices below above4G, then RAM
// again. Pieces of RAM begin and end at multiples of segmentUnit.
const (
	above4G     = 1 << 32
	segmentUnit = 1 << 20
	// maxSegments bounds the pieces that are looked for: two for each backend.
	maxSegments = 16
)

// segment is a piece of the guest's physical memory that is a piece of its RAM
// files: page first at the guest's address from, and so on until to.
type segment struct {
	from, to uint64
	first    lazymig.PageNumber
}

// segments finds out where the guest's RAM is, by some dozens of questions and
// not by one for each page. It is a hint: memory that is plugged in later, or
// that has gaps which it does not meet, is not in it or wrong.
func (q queries) segments(ctx context.Context, rams []ram) ([]segment, error) {
	var size uint64
	for _, r := range rams {
		size += r.Size
	}
	return findSegments(size, func(address uint64) (lazymig.PageNumber, bool, error) {
		text, err := q.human(ctx, fmt.Sprintf("gpa2hva %#x", address))
		if err != nil {
			return 0, false, fmt.Errorf("find the guest's address %#x in its RAM: %w", address, err)
		}
		p, ok := pageOf(rams, text)
		return p, ok, nil
	})
}

// pageAt tells which page is at a guest's address.
type pageAt func(address uint64) (lazymig.PageNumber, bool, error)

// findSegments looks for pieces one behind the other, first below 4 GiB and then
// above it, until it has size bytes.
func findSegments(size uint64, at pageAt) ([]segment, error) {
	var list []segment
	next, left := uint64(0), size/segmentUnit*segmentUnit
	for left > 0 && len(list) < maxSegments {
		first, ok, err := at(next)
		if err != nil {
			return nil, err
		}
		if !ok {
			if next >= above4G {
				break
			}
			next = above4G
			continue
		}
		most := left
		if next < above4G {
			most = min(left, above4G-next)
		}
		s, err := segmentFrom(segment{from: next, first: first}, most, at)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		next, left = s.to, left-(s.to-s.from)
	}
	return list, nil
}

// segmentFrom finds the end of s, at most so many bytes long, by halving.
func segmentFrom(s segment, most uint64, at pageAt) (segment, error) {
	low, high := uint64(0), most/segmentUnit // s has page low*segmentUnit, and not page high*segmentUnit
	for high-low > 1 {
		middle := low + (high-low)/2
		p, ok, err := at(s.from + middle*segmentUnit)
		if err != nil {
			return s, err
		}
		if ok && p == s.first+lazymig.PageNumber(middle*segmentUnit/lazymig.PageSize) {
			low = middle
		} else {
			high = middle
		}
	}
	s.to = s.from + (low+1)*segmentUnit
	return s, nil
}

// pageIn returns the page at frame number of the guest's physical memory.
func pageIn(list []segment, number uint64) (lazymig.PageNumber, bool) {
	address := number * lazymig.PageSize
	if number > lazymig.MaxBytes/lazymig.PageSize {
		return 0, false
	}
	for _, s := range list {
		if address >= s.from && address < s.to {
			return s.first + lazymig.PageNumber((address-s.from)/lazymig.PageSize), true
		}
	}
	return 0, false
}
