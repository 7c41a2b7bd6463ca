package uffd

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkCopy fills missing memory of the test process itself, which never
// touches it. One operation is one run of pages.
func BenchmarkCopy(b *testing.B) {
	const total = 16384 // pages
	for _, kind := range []memoryKind{anonymous, shared} {
		for _, run := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%dpages", kind, run), func(b *testing.B) {
				h := openHandle(b, 0)
				memory, file, err := mapMemory(kind, total)
				check(b, err)
				defer func() { check(b, unix.Munmap(memory)) }()
				if file >= 0 {
					defer func() { check(b, unix.Close(file)) }()
				}
				base := addressOf(memory)
				check(b, h.Register(base, uint64(len(memory))))
				data := pattern(0, run)
				at := 0
				next := func() {
					if at+run > total {
						b.StopTimer()
						check(b, empty(memory, file))
						at = 0
						b.StartTimer()
					}
					n, err := h.Copy(base+uint64(at)*page, data)
					if n != len(data) || err != nil {
						b.Fatal(n, err)
					}
					at += run
				}
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					next()
				}
			})
		}
	}
}

// empty makes all pages missing again.
func empty(memory []byte, file int) error {
	if file < 0 {
		return unix.Madvise(memory, unix.MADV_DONTNEED)
	}
	return unix.Fallocate(file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(memory)))
}
