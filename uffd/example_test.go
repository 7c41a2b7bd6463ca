package uffd_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/uffd"
	"golang.org/x/sys/unix"
)

// serve answers the faults of a region at base with the bytes of content, until
// reader is closed.
func serve(h *uffd.Handle, reader *uffd.Reader, base uint64, content io.ReaderAt) error {
	page := make([]byte, lazymig.PageSize)
	var batch uffd.Batch
	for {
		if err := reader.Read(&batch, -1); err != nil {
			return err
		}
		for _, fault := range batch.Faults {
			if _, err := content.ReadAt(page, int64(fault.Address-base)); err != nil {
				return err
			}
			// A page that is there was in two faults: its threads go on already.
			if _, err := h.Copy(fault.Address, page); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
}

// The bytes of a region come from an io.ReaderAt, page by page, when they are
// touched.
func Example() {
	var pages strings.Builder
	for _, letter := range "lazy" {
		pages.WriteString(strings.Repeat(string(letter), lazymig.PageSize))
	}
	content := strings.NewReader(pages.String())
	memory, err := unix.Mmap(-1, 0, pages.Len(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(err)
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))

	h, err := uffd.Open()
	check(err)
	_, err = h.Handshake(0)
	check(err)
	reader, err := uffd.NewReader(h)
	check(err)
	check(h.Register(base, uint64(len(memory))))
	served := make(chan error)
	go func() { served <- serve(h, reader, base, content) }()

	// Go code must not touch the memory in the process that serves it: in
	// earnest, another process does. Here the kernel does, to write the memory
	// into a pipe: while it waits for a page, the runtime knows this thread to
	// be in a system call and waits for it in nothing.
	read, write, err := os.Pipe()
	check(err)
	_, err = unix.Write(int(write.Fd()), memory)
	check(err)
	for range len("lazy") {
		page := make([]byte, lazymig.PageSize)
		_, err = io.ReadFull(read, page)
		check(err)
		fmt.Printf("%s… ", page[:8])
	}

	check(reader.Close())
	fmt.Println(errors.Is(<-served, os.ErrClosed))
	// Last of all: from here on, what is missing reads as zeros.
	check(errors.Join(h.Close(), unix.Munmap(memory), read.Close(), write.Close()))
	// Output: llllllll… aaaaaaaa… zzzzzzzz… yyyyyyyy… true
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
