package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// Pattern is the first word of a page, never 0; the rest is noise.
func Pattern(page uint64) uint64 { return (page+1)*0x9e3779b97f4a7c15 | 1 }

// writeMemory makes the file that the pages come from, on tmpfs: no disk is
// measured. Noise does not compress and has no zero pages.
func writeMemory(path string, pages int) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the memory: %w", err)
	}
	const chunk = 256 // pages
	noise := rand.NewChaCha8([32]byte{1})
	buffer := make([]byte, chunk*pageBytes)
	for p := 0; p < pages && err == nil; p += chunk {
		part := buffer[:min(chunk, pages-p)*pageBytes]
		_, _ = noise.Read(part) // never fails
		for i := range len(part) / pageBytes {
			binary.LittleEndian.PutUint64(part[i*pageBytes:], Pattern(uint64(p+i)))
		}
		_, err = file.Write(part)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("make the memory: %w", err), os.Remove(path))
	}
	return nil
}
