package uffd

import (
	"encoding/binary"
	"fmt"

	"github.com/lazymig/lazymig"
	"golang.org/x/sys/unix"
)

// Range is Length bytes of the other process's address space from Start.
type Range struct{ Start, Length uint64 }

// Remap is the move of a mapping: Length bytes at From are now at To.
type Remap struct{ From, To, Length uint64 }

// Fault is one thread that waits for a page. The same page may be in many
// faults, also in faults of one thread: a signal makes it fault again.
type Fault struct {
	// Address is the first byte of the page.
	Address uint64
	// Write is set if the thread wanted to write.
	Write bool
	// Thread is the thread's number in its own PID namespace, or 0 without
	// FeatureThreadID.
	Thread uint32
}

// Batch is what one Reader.Read returned, sorted by kind. The changes of the
// address space have to be applied before faults are answered: the kernel
// hands out a fault before an earlier removal. The slices are reused by the
// next Read into the same Batch.
type Batch struct {
	// Removed ranges were discarded: from now on they hold zeros.
	Removed []Range
	// Unmapped ranges are gone.
	Unmapped []Range
	// Remapped ranges have moved, with what is in them and their registration.
	Remapped []Remap
	// Faults are in the order in which the kernel reported them.
	Faults []Fault
}

// Empty reports whether the batch has nothing in it.
func (b *Batch) Empty() bool {
	return len(b.Removed)+len(b.Unmapped)+len(b.Remapped)+len(b.Faults) == 0
}

func (b *Batch) reset() {
	b.Removed, b.Unmapped = b.Removed[:0], b.Unmapped[:0]
	b.Remapped, b.Faults = b.Remapped[:0], b.Faults[:0]
}

// add appends the messages in data, a multiple of messageSize bytes.
func (b *Batch) add(data []byte) error {
	for ; len(data) >= messageSize; data = data[messageSize:] {
		if err := b.addMessage(data[:messageSize]); err != nil {
			return err
		}
	}
	return nil
}

// addMessage decodes one struct uffd_msg: event byte, then at offset 8 up to
// three words. A fault has flags, address and, in half a word, the thread.
func (b *Batch) addMessage(m []byte) error {
	first := binary.LittleEndian.Uint64(m[8:])
	second := binary.LittleEndian.Uint64(m[16:])
	third := binary.LittleEndian.Uint64(m[24:])
	switch event := m[0]; event {
	case eventPagefault:
		b.Faults = append(b.Faults, Fault{
			Address: second &^ (lazymig.PageSize - 1),
			Write:   first&faultFlagWrite != 0,
			Thread:  uint32(third),
		})
	case eventRemove:
		b.Removed = append(b.Removed, Range{first, second - first})
	case eventUnmap:
		b.Unmapped = append(b.Unmapped, Range{first, second - first})
	case eventRemap:
		b.Remapped = append(b.Remapped, Remap{first, second, third})
	case eventFork:
		return closeForked(int(uint32(first)))
	default:
		return fmt.Errorf("decode userfaultfd message: unknown event %#x", event)
	}
	return nil
}

// closeForked closes the userfaultfd of a forked child, which the kernel put
// among the descriptors of the process that read the event. Nobody serves the
// child's copy of the memory: what is missing in it reads as zero.
func closeForked(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close the userfaultfd of a forked process: %w", err)
	}
	return nil
}
