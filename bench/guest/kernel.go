package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// metaPackage depends on the newest cloud kernel of the Debian release.
const metaPackage = "linux-image-cloud-amd64"

// kernelFiles are the parts of an unpacked kernel package.
type kernelFiles struct {
	name    string // file name of the package, without .deb
	vmlinuz string
	modules string // folder lib/modules/RELEASE
	release string
}

// findKernel returns the newest kernel in the cache and fetches one only when
// there is none, so that a build needs the network once.
func findKernel(ctx context.Context, cache string) (kernelFiles, error) {
	dirs, err := filepath.Glob(filepath.Join(cache, "kernel-*"))
	if err != nil {
		return kernelFiles{}, fmt.Errorf("list kernels: %w", err)
	}
	if len(dirs) == 0 {
		dir, err := fetchKernel(ctx, cache)
		if err != nil {
			return kernelFiles{}, fmt.Errorf("fetch a guest kernel: %w", err)
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return openKernel(dirs[len(dirs)-1])
}

func openKernel(dir string) (kernelFiles, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernelFiles{}, fmt.Errorf("find the kernel in %s: %d images (remove the folder to fetch it again)", dir, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := kernelFiles{
		name:    strings.TrimPrefix(filepath.Base(dir), "kernel-"),
		vmlinuz: images[0],
		modules: filepath.Join(dir, "lib", "modules", release),
		release: release,
	}
	if _, err := os.Stat(k.modules); err != nil { // merged /usr
		k.modules = filepath.Join(dir, "usr", "lib", "modules", release)
	}
	if _, err := os.Stat(k.modules); err != nil {
		return kernelFiles{}, fmt.Errorf("find the modules of kernel %s (remove %s to fetch it again): %w", release, dir, err)
	}
	return k, nil
}

// fetchKernel downloads and unpacks the package that metaPackage depends on.
func fetchKernel(ctx context.Context, cache string) (dir string, err error) {
	name, err := kernelPackage(ctx)
	if err != nil {
		return "", err
	}
	download, err := os.MkdirTemp(cache, ".download-*")
	if err != nil {
		return "", fmt.Errorf("create a download folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(download) }()
	if _, err := output(ctx, download, "apt-get", "download", name); err != nil {
		return "", fmt.Errorf("%w (run apt-get update)", err)
	}
	debs, err := filepath.Glob(filepath.Join(download, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("find the package %s: %d files were downloaded", name, len(debs))
	}
	dir = filepath.Join(cache, "kernel-"+strings.TrimSuffix(filepath.Base(debs[0]), ".deb"))
	return dir, publish(dir, func(into string) error {
		_, err := output(ctx, download, "dpkg-deb", "-x", debs[0], into)
		return err
	})
}

// kernelPackage resolves metaPackage to a package that has a kernel.
func kernelPackage(ctx context.Context) (string, error) {
	text, err := output(ctx, "", "apt-cache", "show", "--no-all-versions", metaPackage)
	if err != nil {
		return "", fmt.Errorf("%w (run apt-get update; the guest needs Debian's kernel)", err)
	}
	for line := range strings.Lines(text) {
		depends, ok := strings.CutPrefix(line, "Depends:")
		if !ok {
			continue
		}
		for field := range strings.FieldsSeq(depends) {
			if strings.HasPrefix(field, "linux-image-") {
				return strings.TrimSuffix(field, ","), nil
			}
		}
	}
	return "", fmt.Errorf("find a kernel among the dependencies of %s", metaPackage)
}

// staticBusybox returns a busybox that runs without libraries.
func staticBusybox() (string, error) {
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		content, err := os.ReadFile(path)
		if err == nil && !bytes.Contains(content, []byte("/lib64/ld-linux")) {
			return path, nil
		}
	}
	return "", errors.New("find a static busybox (apt-get install busybox-static)")
}

// output runs a tool in dir and returns what it prints; the error has what it
// says on stderr.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}
