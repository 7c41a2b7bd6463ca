package qemu

import (
	"slices"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm"
)

func TestFindMappings(t *testing.T) {
	const page = 4096
	files := []*ramFile{{id: "a", path: "/a", size: 4 * page, device: 1, inode: 10}, {id: "b", path: "/b", size: page, device: 1, inode: 11}}
	at := func(start, pages, offset uint64, number uint64) vma {
		return vma{start: start * page, end: (start + pages) * page, offset: offset * page, inode: inode{1, number}, shared: true, writable: true}
	}
	ram := func(region int, start, offset, length uint64) vmm.Mapping {
		return vmm.Mapping{Region: region, Start: start, Offset: offset, Length: length}
	}
	readOnly, private := at(10, 4, 0, 10), at(50, 1, 0, 10)
	readOnly.writable, private.shared = false, false
	second := at(30, 1, 0, 11)
	whole := []vmm.Mapping{ram(0, 10*page, 0, 4*page), ram(1, 30*page, 0, page)}
	for name, c := range map[string]struct {
		maps []vma
		want []vmm.Mapping
		err  string
	}{
		"whole":                   {maps: []vma{at(10, 4, 0, 10), second, at(70, 1, 0, 12)}, want: whole},
		"split by the kernel":     {maps: []vma{at(10, 1, 0, 10), at(11, 3, 1, 10), second}, want: whole},
		"in two places":           {maps: []vma{at(10, 2, 2, 10), second, at(40, 2, 0, 10)}, want: []vmm.Mapping{ram(0, 40*page, 0, 2*page), ram(0, 10*page, 2*page, 2*page), ram(1, 30*page, 0, page)}},
		"another file system":     {maps: []vma{{start: 0, end: 4 * page, inode: inode{2, 10}, shared: true, writable: true}, second}, err: "0 of 16384 bytes"},
		"the end is missing":      {maps: []vma{at(10, 3, 0, 10), second}, err: "12288 of 16384 bytes"},
		"a hole":                  {maps: []vma{at(10, 1, 0, 10), at(20, 2, 2, 10), second}, err: "follows one that ends"},
		"mapped twice":            {maps: []vma{at(10, 4, 0, 10), second, at(40, 4, 0, 10)}, err: "follows one that ends"},
		"more than the file":      {maps: []vma{at(10, 5, 0, 10), second}, err: "20480 of 16384 bytes"},
		"read-only":               {maps: []vma{readOnly, second}, err: "not writable"},
		"a private mapping, too":  {maps: []vma{at(10, 4, 0, 10), second, private}, err: "private mapping"},
		"the second file nowhere": {maps: []vma{at(10, 4, 0, 10)}, err: "0 of 4096 bytes"},
	} {
		got, err := findMappings(c.maps, files)
		if c.err == "" && (err != nil || !slices.Equal(got, c.want)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
	}
}
