package qemu

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig"
)

// maxQueues bounds the queues that are asked for of one virtio device.
const maxQueues = 64

// queueStatus is what is used of x-query-virtio-queue-status. The addresses are
// the guest's.
type queueStatus struct {
	Num   uint64 `json:"vring-num"`
	Desc  uint64 `json:"vring-desc"`
	Avail uint64 `json:"vring-avail"`
	Used  uint64 `json:"vring-used"`
}

// Rings returns the pages of the guest's virtio rings: a VMM that loads the
// state of its devices reads them, one after the other, before the guest runs.
// A QEMU before 7.2 cannot tell: there are none then.
func (g *Guest) Rings(ctx context.Context) ([]lazymig.PageNumber, error) {
	ctx, cancel := context.WithTimeout(ctx, likelyTimeout)
	defer cancel()
	q := queries{g.monitor}
	devices, err := ask[[]struct {
		Path string `json:"path"`
	}](ctx, q, "x-query-virtio", nil)
	if isUnknown(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the guest's virtio rings: %w", g.explain(err))
	}
	i, err := inspect(ctx, g.monitor, g.PID())
	if err != nil {
		return nil, err
	}
	var pages []lazymig.PageNumber
	for _, d := range devices[:min(len(devices), maxDevices)] {
		for queue := range maxQueues {
			if len(pages) >= maxRings {
				break
			}
			status, err := ask[queueStatus](ctx, q, "x-query-virtio-queue-status", map[string]any{"path": d.Path, "queue": queue})
			if isCommandError(err) {
				break // there are no more
			}
			if err != nil {
				return nil, fmt.Errorf("find the rings of %s: %w", d.Path, g.explain(err))
			}
			for _, part := range status.parts() {
				pages = append(pages, q.pagesAt(ctx, i.rams, part.at, part.length)...)
			}
		}
	}
	rom, err := g.vapicROM(i.rams)
	pages = append(pages, rom...)
	slices.Sort(pages)
	return slices.Compact(pages), err
}

// The option ROMs of a PC lie in its memory from optionROMs on. That of
// kvmvapic, which has a magic word, is read when the state of the APIC is loaded
// (QEMU 7.2, hw/i386/kvmvapic.c, also without KVM).
const (
	optionROMs     = 0xC0000
	optionROMsEnd  = 0xE0000
	romAlignment   = 2048
	romBlock       = 512
	romSizeAt      = 2
	vapicMagic     = "kvm aPiC"
	maxROMDistance = 1024 // from its begin to the magic word
)

// vapicROM returns the pages of kvmvapic's option ROM, if it is in the first RAM
// file, where it is on a PC.
func (g *Guest) vapicROM(rams []ram) ([]lazymig.PageNumber, error) {
	memory, err := newFileMemory(g.PID(), rams)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	area := make([]byte, optionROMsEnd-optionROMs)
	if len(rams) == 0 || rams[0].Size < optionROMsEnd {
		return nil, nil
	}
	if _, err := memory.ReadAt(area, 0, optionROMs); err != nil {
		return nil, nil // the hardware has lost some of it: that is for those who send it
	}
	return findVAPIC(area), nil
}

// findVAPIC returns the pages of the ROM in the area of option ROMs.
func findVAPIC(area []byte) []lazymig.PageNumber {
	var pages []lazymig.PageNumber
	for at := 0; at+maxROMDistance <= len(area); at += romAlignment {
		rom := area[at:]
		if rom[0] != 0x55 || rom[1] != 0xAA || !bytes.Contains(rom[:maxROMDistance], []byte(vapicMagic)) {
			continue
		}
		end := min(at+int(rom[romSizeAt])*romBlock, len(area))
		for p := at / lazymig.PageSize; p*lazymig.PageSize < end; p++ {
			pages = append(pages, lazymig.PageNumber(optionROMs/lazymig.PageSize+p))
		}
	}
	return pages
}

// span is a part of the guest's memory.
type span struct{ at, length uint64 }

// parts returns where a queue's ring is: the sizes are those of the virtio
// specification (2.7, split virtqueues).
func (s queueStatus) parts() []span {
	if s.Num == 0 || s.Num > 1<<15 || s.Desc == 0 {
		return nil
	}
	return []span{{s.Desc, 16 * s.Num}, {s.Avail, 6 + 2*s.Num}, {s.Used, 6 + 8*s.Num}}
}

// pagesAt returns the numbers of the pages at a guest's address, none for what
// is not in its RAM files.
func (q queries) pagesAt(ctx context.Context, rams []ram, at, length uint64) []lazymig.PageNumber {
	var pages []lazymig.PageNumber
	end := at + length
	for at -= at % lazymig.PageSize; at < end; at += lazymig.PageSize {
		text, err := q.human(ctx, fmt.Sprintf("gpa2hva %#x", at))
		if err != nil {
			return pages
		}
		if p, ok := pageOf(rams, text); ok {
			pages = append(pages, p)
		}
	}
	return pages
}

// pageOf finds the page of what gpa2hva has answered: "Host virtual address for
// 0x1000 (ram0) is 0x7f0000001000".
func pageOf(rams []ram, answer string) (lazymig.PageNumber, bool) {
	_, text, ok := strings.Cut(strings.TrimSpace(answer), " is 0x")
	if !ok {
		return 0, false
	}
	host, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, false
	}
	var first uint64
	for _, r := range rams {
		if host >= r.place.start && host < r.place.end {
			return lazymig.PageNumber(first + (host-r.place.start)/lazymig.PageSize), true
		}
		first += r.Size / lazymig.PageSize
	}
	return 0, false
}
