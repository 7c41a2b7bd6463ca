package qemu

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lazymig/lazymig"
)

// backend is one memory-backend-file of a command line.
type backend struct {
	option     int // position of its -object among the options
	properties properties
	id         string
	path       string // mem-path as it was given, made absolute
	size       uint64 // bytes
	huge       bool   // mem-path is on a hugetlbfs; checkPlace finds out
}

// otherMemory are the kinds of memory backends that cannot be used, with the
// reason.
var otherMemory = map[string]string{
	"memory-backend-ram":   "its memory is private to QEMU and would travel in QEMU's own stream",
	"memory-backend-memfd": "QEMU since 8.1 sends memory without a file name in its own stream",
	"memory-backend-shm":   "QEMU sends memory without a file name in its own stream",
	"memory-backend-epc":   "SGX memory cannot be moved",
}

const useFile = "use memory-backend-file,mem-path=/dev/shm/NAME,share=on with the same id and size"

// readObject notes a memory backend, or refuses it. Other objects are of no
// concern.
func (c *commandLine) readObject(i int, o option) error {
	p, err := parseProperties(o.value, "qom-type")
	if err != nil {
		return &Refusal{o.String(), err.Error(), correctSyntax}
	}
	kind, _ := p.get("qom-type")
	if reason, ok := otherMemory[kind]; ok {
		return &Refusal{o.String(), reason, useFile}
	}
	if kind != "memory-backend-file" {
		return nil
	}
	b := backend{option: i, properties: p}
	if reason, fix := b.read(); reason != "" {
		return &Refusal{o.String(), reason, fix}
	}
	c.backends = append(c.backends, b)
	return nil
}

// read fills in the backend from its properties, or says why it cannot be
// used and how to change it.
func (b *backend) read() (reason, fix string) {
	p := b.properties
	if reason, fix := refuseProperties(p); reason != "" {
		return reason, fix
	}
	if b.id, _ = p.get("id"); b.id == "" {
		return "it has no id", "add id=NAME"
	}
	path, _ := p.get("mem-path")
	if path == "" {
		return "it has no mem-path", "add mem-path=/dev/shm/NAME"
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Sprintf("its mem-path has no absolute form: %v", err), "give an absolute mem-path"
	}
	b.path = absolute
	text, _ := p.get("size")
	if b.size, err = parseSize(text); err != nil {
		return err.Error(), "add size=SIZE, such as size=1G"
	}
	if b.size == 0 || b.size%lazymig.PageSize != 0 {
		return fmt.Sprintf("its size of %d bytes is not a multiple of %d", b.size, lazymig.PageSize), "correct the size"
	}
	return "", ""
}

// refuseProperties looks for what makes a file backend useless here.
func refuseProperties(p properties) (reason, fix string) {
	offset, hasOffset := p.get("offset")
	switch {
	case !p.is("share"):
		return "without share=on its memory is private to QEMU and would travel in QEMU's own stream", "add share=on"
	case p.is("prealloc"):
		return "prealloc=on fills the guest's RAM before the guest's memory has arrived", "leave prealloc out"
	case p.is("pmem"):
		return "persistent memory stays on its host", "leave pmem out"
	case p.is("readonly"):
		return "it is read-only", "leave readonly out"
	case hasOffset && offset != "0":
		return "an offset into the file is not supported", "leave offset out"
	}
	return "", ""
}

// checkBackends checks the memory backends together.
func (c *commandLine) checkBackends() error {
	if len(c.backends) == 0 {
		return &Refusal{
			"the command line", "it has no memory-backend-file with share=on that can be used",
			"add -object memory-backend-file,id=ram0,mem-path=/dev/shm/NAME,size=SIZE,share=on and -machine …,memory-backend=ram0",
		}
	}
	if len(c.backends) > lazymig.MaxRegions {
		return &Refusal{"the command line", fmt.Sprintf("it has more than %d memory backends", lazymig.MaxRegions), "use fewer"}
	}
	ids, paths := make(map[string]bool), make(map[string]bool)
	for _, b := range c.backends {
		if ids[b.id] || paths[b.path] {
			return &Refusal{b.id, "its id or mem-path is used by two memory backends", "give each its own"}
		}
		ids[b.id], paths[b.path] = true, true
	}
	return nil
}

// ownSuffix is what an earlier lazymig put behind a mem-path.
var ownSuffix = regexp.MustCompile(`\.lazymig-[0-9A-Za-z-]+$`)

// filePath returns the name of the destination's own RAM file. It lies beside
// the given mem-path, so on the same file system, and never equals it.
func (b *backend) filePath(tag string) string {
	return ownSuffix.ReplaceAllString(strings.TrimRight(b.path, "/"), "") + ".lazymig-" + tag
}
