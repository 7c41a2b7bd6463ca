package qemu

import (
	"strings"
	"testing"
)

func TestParseMaps(t *testing.T) {
	t.Parallel()
	list, err := parseMaps(strings.NewReader(`55dfee4d3000-55dfee8da000 r--p 00000000 fe:00 10166722                   /usr/bin/qemu-system-x86_64
55df00000000-55df00001000 rw-p 00000000 00:00 0 
7faea7ffd000-7faeafffd000 rw-s 00000000 00:01 1028                       /memfd:memory-backend-memfd (deleted)
7faeb7fff000-7faebffff000 rw-s 00001000 00:1b 2                          /dev/shm/a b
7faebffff000-7faec0000000 r--s 08001000 00:1b 2                          /dev/shm/a b
`))
	if err != nil || len(list) != 5 {
		t.Fatalf("%d mappings, %v", len(list), err)
	}
	memfd, file := list[2], list[3]
	if !memfd.shared || !memfd.deleted || memfd.path != "/memfd:memory-backend-memfd" || memfd.length() != 128<<20 {
		t.Errorf("memfd %+v", memfd)
	}
	if file.deleted || !file.writable || file.path != "/dev/shm/a b" || file.offset != 4096 || file.inode.number != 2 || file.inode.device != 0x1b {
		t.Errorf("file %+v", file)
	}
	if list[0].shared || list[1].path != "" || list[4].writable {
		t.Errorf("mappings %+v", list)
	}
	for _, bad := range []string{"x", "1-2 rw-p 0", "2-1 rw-p 0 00:00 0", "g-2 rw-p 0 00:00 0", "1-2 rw-p 0 00 0", "1-2 rw 0 00:00 0 x"} {
		if v, err := parseVMA(bad); err == nil {
			t.Errorf("parsed %q: %+v", bad, v)
		}
	}
}

func TestMergeFile(t *testing.T) {
	t.Parallel()
	file := inode{1, 2}
	at := func(start, end, offset uint64) vma {
		return vma{start: start, end: end, offset: offset, inode: file, shared: true, writable: true}
	}
	private := at(0x9000, 0xa000, 0)
	private.shared = false
	readOnly := at(0x5000, 0x6000, 0x3000)
	readOnly.writable = false
	got := mergeFile([]vma{
		at(0x1000, 0x2000, 0x8000), // alone, at the end of the file
		at(0x3000, 0x4000, 0x1000),
		at(0x4000, 0x5000, 0x2000), // continues the one before
		readOnly,
		{start: 0x6000, end: 0x7000, inode: inode{1, 3}, shared: true},
		private,
		at(0xb000, 0xc000, 0x4000), // continues in the file, not in address
	}, file)
	want := []vma{at(0x3000, 0x5000, 0x1000), readOnly, at(0xb000, 0xc000, 0x4000), at(0x1000, 0x2000, 0x8000)}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("mapping %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestParseRAMBlocks(t *testing.T) {
	t.Parallel()
	list, err := parseRAMBlocks(`              Block Name    PSize              Offset               Used              Total                HVA  RO
                    ram0    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000 0x00007f0000000000  rw
                    huge    2 MiB  0x0000000008000000 0x0000000008000000 0x0000000008000000 0x00007f0010000000  rw
    /rom@etc/acpi/tables    4 KiB  0x0000000018080000 0x0000000000020000 0x0000000000200000 0x00007f0020000000  ro
                            4 KiB  0x0000000018100000 0x0000000000001000 0x0000000000001000 0x00007f0030000000  rw
`)
	want := []blockInfo{
		{"ram0", 4096, 128 << 20, 128 << 20},
		{"huge", 2 << 20, 128 << 20, 128 << 20},
		{"/rom@etc/acpi/tables", 4096, 0x20000, 0x200000},
		{"", 4096, 4096, 4096},
	}
	if err != nil || len(list) != len(want) {
		t.Fatalf("got %+v, %v", list, err)
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("block %d is %+v, want %+v", i, list[i], want[i])
		}
	}
	for _, bad := range []string{"", "heading only", "x 4 KiB 0x0 0x1", "x 4 TiB 0x0 0x1 0x1", "x y KiB 0x0 0x1 0x1", "x 4 KiB 0x0 0xg 0x1", "0x0 0x1 0x2", "x 4 KiB 0x0 0x1 y"} {
		if list, err := parseRAMBlocks(bad); err == nil {
			t.Errorf("parsed %q: %+v", bad, list)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("7faeb7fff000-7faebffff000 rw-s 00001000 00:1b 2                          /dev/shm/a b")
	f.Add("ram0    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000")
	f.Fuzz(func(_ *testing.T, text string) {
		list, err := parseMaps(strings.NewReader(text))
		if err == nil {
			for _, v := range list {
				mergeFile(list, v.inode)
			}
		}
		_, _ = parseRAMBlocks(text)
	})
}

func TestBlockNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ram0", "/objects/ram0", "0000:00:02.0/ram0"} {
		if !isBlockOf(name, "ram0") {
			t.Errorf("%q is not found as the block of ram0", name)
		}
	}
	for _, name := range []string{"", "ram00", "xram0", "ram0/x"} {
		if isBlockOf(name, "ram0") {
			t.Errorf("%q is taken for the block of ram0", name)
		}
	}
}
