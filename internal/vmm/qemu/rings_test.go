package qemu

import (
	"testing"

	"github.com/lazymig/lazymig"
)

func TestPageOf(t *testing.T) {
	rams := []ram{
		{memdev: memdev{Size: 8 << 12}, place: vma{start: 0x7f0000000000, end: 0x7f0000008000}},
		{memdev: memdev{Size: 4 << 12}, place: vma{start: 0x7f1000000000, end: 0x7f1000004000}},
	}
	for text, want := range map[string]int64{
		"Host virtual address for 0x1000 (ram0) is 0x7f0000001000\r\n": 1,
		"Host virtual address for 0x9000 (ram1) is 0x7f1000001010\r\n": 9,
		"Host virtual address for 0x9000 (vga) is 0x7f2000000000\r\n":  -1,
		"No memory is mapped at address 0x9000\r\n":                    -1,
		"x is 0xzz": -1,
	} {
		p, ok := pageOf(rams, text)
		if ok != (want >= 0) || ok && p != lazymig.PageNumber(want) {
			t.Errorf("%q: %d, %v", text, p, ok)
		}
	}
}

func TestQueueParts(t *testing.T) {
	if got := (queueStatus{Num: 256, Desc: 4096, Avail: 8192, Used: 12288}).parts(); len(got) != 3 || got[2].length != 2054 {
		t.Errorf("%v", got)
	}
	for _, s := range []queueStatus{{}, {Num: 256}, {Num: 1 << 20, Desc: 1}} {
		if got := s.parts(); got != nil {
			t.Errorf("%+v: %v", s, got)
		}
	}
}
