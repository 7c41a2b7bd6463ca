package microvm

import (
	"bytes"
	"encoding/binary"

	"github.com/lazymig/lazymig"
)

// Verdict is what a verification found. Pages counts the pages that were
// looked at, Wrong those with a byte that is not as the program left it.
type Verdict struct {
	Pages uint64 `json:"pages"`
	Wrong uint64 `json:"wrong"`
	// First is the first wrong page, if there is one.
	First uint64 `json:"first"`
	// Errors is what the program itself has counted.
	Errors uint32 `json:"errors"`
}

// noise fills a page with bytes that depend on its number: xorshift64* of
// Vigna (2016). They do not compress, and no two pages are the same.
func noise(page uint64, p []byte) {
	x := page*0x9E3779B97F4A7C15 + 1
	for i := 0; i+8 <= len(p); i += 8 {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		binary.LittleEndian.PutUint64(p[i:], x*0x2545F4914F6CDD1D)
	}
}

// fill writes the memory of a guest that has not run: the program and the
// noise. Stamps are 0, and pages that are not used are left alone.
func (p program) fill(memory []byte) {
	copy(memory, p.code())
	for i := range uint64(p.used) {
		page := pageOf(memory, i+firstPage)
		noise(i, page)
		clear(page[:4])
	}
}

func pageOf(memory []byte, number uint64) []byte {
	return memory[number*lazymig.PageSize:][:lazymig.PageSize]
}

// verify compares the whole memory with what the program must have left in it.
func (p program) verify(memory []byte, r Registers) Verdict {
	seen := p.seen(r)
	v := Verdict{Errors: r.Errors}
	want := make([]byte, lazymig.PageSize)
	for number := range uint64(len(memory)) / lazymig.PageSize {
		clear(want)
		switch i := number - firstPage; {
		case number < firstPage:
			copy(want, p.code())
		case i < uint64(p.used):
			pass := r.Pass
			if pass > 0 && !seen[i] {
				pass--
			}
			noise(i, want)
			binary.LittleEndian.PutUint32(want, stamp(uint32(i), pass))
		}
		v.Pages++
		if !bytes.Equal(pageOf(memory, number), want) {
			if v.Wrong == 0 {
				v.First = number
			}
			v.Wrong++
		}
	}
	return v
}

// seen tells which pages the program has met in this pass.
func (p program) seen(r Registers) []bool {
	seen := make([]bool, p.used)
	at := Registers{Left: p.modulus}
	for at.Left > r.Left && r.Pass > 0 {
		at.Left--
		at.Position = (at.Position*multiplier + increment) & (p.modulus - 1)
		if at.Position < p.used {
			seen[at.Position] = true
		}
	}
	return seen
}
