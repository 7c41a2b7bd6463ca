package guest

import (
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// buildInitramfs compiles the guest's program and packs initramfs.gz in dir.
func buildInitramfs(ctx context.Context, dir string, kernel kernelFiles, busybox string) error {
	program, err := compile(ctx)
	if err != nil {
		return err
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	devices, err := loadOrder(ctx, kernel, wantedModules)
	if err != nil {
		return err
	}
	files, err := loadOrder(ctx, kernel, filesModules)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "initramfs.gz"))
	if err != nil {
		return fmt.Errorf("create the initramfs: %w", err)
	}
	defer f.Close()
	compressed := gzip.NewWriter(f)
	if err := pack(&cpioWriter{w: compressed}, program, shell, devices, files); err != nil {
		return fmt.Errorf("pack the initramfs: %w", err)
	}
	if err := compressed.Close(); err != nil {
		return fmt.Errorf("compress the initramfs: %w", err)
	}
	return f.Close()
}

// compile returns the static program of the guest.
func compile(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "lazymig-guest-*")
	if err != nil {
		return nil, fmt.Errorf("create a compiler folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, sources); err != nil {
		return nil, fmt.Errorf("copy the guest's sources: %w", err)
	}
	files, err := fs.Glob(sources, "init/*.c")
	if err != nil {
		return nil, fmt.Errorf("list the guest's sources: %w", err)
	}
	args := []string{"-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-s", "-o", "program"}
	if _, err := output(ctx, dir, "gcc", append(args, files...)...); err != nil {
		return nil, fmt.Errorf("compile the guest's program (apt-get install gcc libc6-dev): %w", err)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
}

func pack(c *cpioWriter, program, busybox []byte, devices, files []module) error {
	for _, dir := range []string{"dev", "bin", "modules", "files"} {
		c.add(dir, modeDirectory, 0, 0, nil)
	}
	c.add("dev/console", modeCharacter, 5, 1, nil)
	c.add("init", modeProgram, 0, 0, program)
	c.add("bin/busybox", modeProgram, 0, 0, busybox)
	packModules(c, "devices.list", devices)
	packModules(c, "files.list", files)
	return c.close()
}

// packModules adds modules, and a list of them in the order in which they are
// to be loaded.
func packModules(c *cpioWriter, name string, modules []module) {
	var list strings.Builder
	for _, m := range modules {
		path := "modules/" + m.name + ".ko"
		fmt.Fprintf(&list, "/%s\n", path)
		c.add(path, modeFile, 0, 0, m.content)
	}
	c.add(name, modeFile, 0, 0, []byte(list.String()))
}
