package qemu

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/internal/vmm"
)

// findMappings returns where the RAM files are mapped, ordered by region and
// offset. It fails unless each byte of each file is mapped exactly once,
// shared and writable: what is not registered would read as zeros.
func findMappings(all []vma, files []*ramFile) ([]vmm.Mapping, error) {
	var list []vmm.Mapping
	for region, f := range files {
		file := inode{f.device, f.inode}
		if slices.ContainsFunc(all, func(v vma) bool { return v.inode == file && !v.shared }) {
			return nil, fmt.Errorf("find the RAM of %s: QEMU has a private mapping of %s", f.id, f.path)
		}
		var next uint64
		for _, v := range mergeFile(all, file) {
			switch {
			case !v.writable:
				return nil, fmt.Errorf("find the RAM of %s: QEMU has a mapping of %s that is not writable", f.id, f.path)
			case v.offset != next:
				return nil, fmt.Errorf("find the RAM of %s: the mapping at offset %d follows one that ends at %d", f.id, v.offset, next)
			}
			next += v.length()
			list = append(list, vmm.Mapping{Region: region, Start: v.start, Offset: v.offset, Length: v.length(), Huge: f.huge})
		}
		if next != f.size {
			return nil, fmt.Errorf("find the RAM of %s: %d of %d bytes are mapped", f.id, next, f.size)
		}
	}
	return list, nil
}
