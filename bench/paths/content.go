package paths

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/faults"
)

// ordinaryNoise is the part of an ordinary page that is noise, in bytes.
const ordinaryNoise = pageBytes / 4

// writeMemory makes the file that the pages come from, on tmpfs: no disk is
// measured. The first word of a page is what the floor's page has there.
func writeMemory(path string, pages int, kind Memory) error {
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
			page := part[i*pageBytes:][:pageBytes]
			binary.LittleEndian.PutUint64(page, faults.Pattern(uint64(p+i)))
			if kind == Ordinary {
				clear(page[ordinaryNoise:])
			}
		}
		_, err = file.Write(part)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("make the memory: %w", err), os.Remove(path))
	}
	return nil
}

// openMemory maps that file to compare pages with it. All of it is mapped at
// once, so that comparing is no fault.
func openMemory(path string, pages int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the memory: %w", err)
	}
	defer file.Close()
	memory, err := unix.Mmap(int(file.Fd()), 0, pages*pageBytes, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map the memory %s: %w", path, err)
	}
	return memory, nil
}
