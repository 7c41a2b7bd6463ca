package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules are the drivers that the guest's devices need, filesModules
// those for the image of Files; what they depend on is found in the modules
// themselves, but for what ext4 asks the kernel for by name.
var (
	wantedModules = []string{"virtio_pci", "virtio_net", "virtio_blk", "virtio_balloon"}
	filesModules  = []string{"crc32c_generic", "ext4"}
)

// module is a kernel module, uncompressed.
type module struct {
	name    string
	content []byte
}

// loadOrder returns the wanted modules and their dependencies, each behind
// what it depends on. Drivers that are built into the kernel are left out.
func loadOrder(ctx context.Context, kernel kernelFiles, wanted []string) ([]module, error) {
	files, err := moduleFiles(kernel.modules)
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(kernel.modules, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the built-in modules: %w", err)
	}
	var order []module
	seen := make(map[string]bool)
	var add func(name string) error
	add = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		path, ok := files[name]
		if !ok {
			if strings.Contains(strings.ReplaceAll(string(builtin), "-", "_"), "/"+name+".ko") {
				return nil
			}
			return fmt.Errorf("find module %s in kernel %s", name, kernel.release)
		}
		content, err := readModule(ctx, path)
		if err != nil {
			return err
		}
		depends, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("read module %s: %w", path, err)
		}
		for _, d := range depends {
			if err := add(d); err != nil {
				return err
			}
		}
		order = append(order, module{name, content})
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleFiles maps the names of modules to their files.
func moduleFiles(root string) (map[string]string, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list kernel modules: %w", err)
	}
	return files, nil
}

// readModule returns the contents of a module, uncompressed: the program of
// the guest hands it to the kernel as it is.
func readModule(ctx context.Context, path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err == nil && strings.HasSuffix(path, ".xz") {
		cmd := exec.CommandContext(ctx, "busybox", "unxz", "-c")
		cmd.Stdin = bytes.NewReader(content)
		content, err = cmd.Output()
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	if len(content) > maxModule {
		return nil, fmt.Errorf("read module %s: it has %d bytes", path, len(content))
	}
	return content, nil
}

// dependencies returns the names in the field depends of a module.
func dependencies(content []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := bytes.CutPrefix(entry, []byte("depends="))
		if ok && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ","), nil
		}
	}
	return nil, nil
}
