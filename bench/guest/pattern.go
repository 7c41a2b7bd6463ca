package guest

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// wordsPerPage is the number of 8-byte words in a page.
const wordsPerPage = lazymig.PageSize / 8

// mix is the same function as in the guest's program.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// baseWord returns word w (1 to 511) that page p has from the start, for
// patterns other than PatternZero.
func baseWord(pattern Pattern, p uint64, w int) uint64 {
	if pattern != PatternRandom && p%2 == 1 {
		return mix(p) + uint64(w)>>6
	}
	return mix(p*wordsPerPage + uint64(w))
}

// FindPage returns the offset in bytes at which the RAM file of a guest holds
// page p of the memory that the guest's program keeps changing. It recognizes
// the page by its base contents, so at least half of them must still be there,
// and the pattern must not be PatternZero. io.ErrUnexpectedEOF is returned when
// no page matches.
func FindPage(path string, pattern Pattern, p uint64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open the RAM file: %w", err)
	}
	defer f.Close()
	buffer := make([]byte, scanChunk)
	for offset := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
		if err != nil {
			return 0, fmt.Errorf("find page %d in %s: %w", p, path, io.ErrUnexpectedEOF)
		}
		n, err := f.ReadAt(buffer, data)
		if err != nil && n == 0 {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		for at := 0; at+lazymig.PageSize <= n; at += lazymig.PageSize {
			if matches(buffer[at:at+lazymig.PageSize], pattern, p) {
				return data + int64(at), nil
			}
		}
		offset = data + int64(n)
	}
}

func matches(page []byte, pattern Pattern, p uint64) bool {
	same := 0
	for w := 1; w < wordsPerPage; w++ {
		if binary.LittleEndian.Uint64(page[8*w:]) == baseWord(pattern, p, w) {
			same++
		} else if w-same > wordsPerPage/2 {
			return false
		}
	}
	return same >= wordsPerPage/2
}
