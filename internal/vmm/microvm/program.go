package microvm

import (
	"encoding/binary"
	"math/bits"

	"github.com/lazymig/lazymig"
)

// The program walks over the pages in the order of a linear congruential
// generator whose modulus is the power of two that is not below their number;
// numbers that are no page are left out. With these constants its period is the
// whole modulus (Hull and Dobell, 1962), so each pass meets each page once and
// begins where the one before began.
const (
	multiplier = 1664525
	increment  = 1013904223
	// stampKey makes the stamps of a pass differ from page to page.
	stampKey = 0x9E3779B1

	// firstPage is where the pages that the program uses begin. Page 0 is the
	// program itself.
	firstPage = 1

	// doorbell is the port that the program writes to behind each operation.
	doorbell = 0x10
)

// program is the guest of a memory of a given size.
type program struct {
	used    uint32 // pages that it walks over
	modulus uint32
}

func newProgram(size uint64) program {
	pages := size / lazymig.PageSize
	used := uint32((pages - firstPage) * usedQuarters / 4)
	return program{used: used, modulus: 1 << bits.Len32(used-1)}
}

// Registers are the state of the program between two page operations.
type Registers struct {
	Position uint32 `json:"position"` // of the generator: the last page, as a number from 0
	Pass     uint32 `json:"pass"`     // counts from 1; 0 before the first operation
	Left     uint32 `json:"left"`     // numbers that are left of the pass
	Errors   uint32 `json:"errors"`   // stamps that were not as expected
}

// next moves the registers to the next page.
func (p program) next(r *Registers) {
	for {
		if r.Left == 0 {
			r.Pass++
			r.Left = p.modulus
		}
		r.Left--
		r.Position = (r.Position*multiplier + increment) & (p.modulus - 1)
		if r.Position < p.used {
			return
		}
	}
}

// stamp returns what the program writes into a page, numbered from 0, in a
// pass.
func stamp(position, pass uint32) uint32 { return pass * (position*stampKey | 1) }

// operate is one page operation: what code does, for the native vCPU.
func (p program) operate(memory []byte, r *Registers) {
	p.next(r)
	word := memory[(uint64(r.Position)+firstPage)*lazymig.PageSize:][:4]
	if binary.LittleEndian.Uint32(word) != stamp(r.Position, r.Pass-1) {
		r.Errors++
	}
	binary.LittleEndian.PutUint32(word, stamp(r.Position, r.Pass))
}

// code is operate in a loop as 32-bit x86 instructions, to be run from address
// 0 on: ESI is Position, EDI Pass, ECX Left, EBX Errors.
func (p program) code() []byte {
	var c []byte
	op := func(b ...byte) { c = append(c, b...) }
	word := func(v uint32) { c = binary.LittleEndian.AppendUint32(c, v) }
	back := func(opcode byte) { op(opcode, byte(-(len(c) + 2))) } // to the start

	op(0x85, 0xC9) // test ecx, ecx
	op(0x75, 6)    // jnz +6
	op(0x47)       // inc edi
	op(0xB9)       // mov ecx, modulus
	word(p.modulus)
	op(0x49)       // dec ecx
	op(0x69, 0xF6) // imul esi, esi, multiplier
	word(multiplier)
	op(0x81, 0xC6) // add esi, increment
	word(increment)
	op(0x81, 0xE6) // and esi, modulus-1
	word(p.modulus - 1)
	op(0x81, 0xFE) // cmp esi, used
	word(p.used)
	back(0x73)     // jae start
	op(0x69, 0xC6) // imul eax, esi, stampKey
	word(stampKey)
	op(0x83, 0xC8, 1)    // or eax, 1
	op(0x89, 0xFA)       // mov edx, edi
	op(0x4A)             // dec edx
	op(0x0F, 0xAF, 0xD0) // imul edx, eax
	op(0x0F, 0xAF, 0xC7) // imul eax, edi
	op(0x89, 0xF5)       // mov ebp, esi
	op(0xC1, 0xE5, 12)   // shl ebp, 12
	op(0x39, 0x95)       // cmp [ebp+firstPage*4096], edx
	word(firstPage * lazymig.PageSize)
	op(0x74, 1)    // je +1
	op(0x43)       // inc ebx
	op(0x89, 0x85) // mov [ebp+firstPage*4096], eax
	word(firstPage * lazymig.PageSize)
	op(0xE6, doorbell) // out doorbell, al
	back(0xEB)         // jmp start
	return c
}
