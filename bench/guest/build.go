package guest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed init/*.c init/*.h
var sources embed.FS

// builderVersion is part of every image's key: raise it when the way that an
// image is put together changes.
const builderVersion = "2"

// Image is a bootable guest, in files that nobody changes any more.
type Image struct {
	// Kernel and Initramfs are what QEMU's -kernel and -initrd take.
	Kernel, Initramfs string
	// Release is the kernel's version.
	Release string
}

// CacheDir returns the folder that keeps kernels and images: the environment
// variable LAZYMIG_CACHE, or lazymig in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("LAZYMIG_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder (set LAZYMIG_CACHE): %w", err)
	}
	return filepath.Join(dir, "lazymig"), nil
}

// Build returns the guest image that belongs to the sources of this package,
// and makes it unless it is in the cache. The first build needs apt-get,
// dpkg-deb, gcc with a static libc, busybox-static and access to Debian's
// packages; errors name what is missing.
func Build(ctx context.Context) (Image, error) {
	cache, unlock, err := lockCache(ctx)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	return build(ctx, cache)
}

// lockCache creates the cache folder and keeps other builders out of it.
func lockCache(ctx context.Context) (cache string, unlock func(), err error) {
	if cache, err = CacheDir(); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", nil, fmt.Errorf("create the cache folder: %w", err)
	}
	if unlock, err = lock(ctx, filepath.Join(cache, "lock")); err != nil {
		return "", nil, fmt.Errorf("lock the cache folder %s: %w", cache, err)
	}
	return cache, unlock, nil
}

func build(ctx context.Context, cache string) (Image, error) {
	kernel, err := findKernel(ctx, cache)
	if err != nil {
		return Image{}, err
	}
	busybox, err := staticBusybox()
	if err != nil {
		return Image{}, err
	}
	key, err := imageKey(kernel, busybox)
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "guest-"+key)
	image := Image{Kernel: kernel.vmlinuz, Initramfs: filepath.Join(dir, "initramfs.gz"), Release: kernel.release}
	if _, err := os.Stat(image.Initramfs); err == nil {
		return image, nil
	}
	return image, publish(dir, func(dir string) error {
		return buildInitramfs(ctx, dir, kernel, busybox)
	})
}

// publish fills a temporary folder and renames it to dir, so that dir is
// complete whenever it exists.
func publish(dir string, fill func(dir string) error) error {
	temporary, err := os.MkdirTemp(filepath.Dir(dir), ".building-*")
	if err != nil {
		return fmt.Errorf("create a build folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	if err := os.Chmod(temporary, 0o755); err != nil {
		return fmt.Errorf("open the build folder to readers: %w", err)
	}
	if err := fill(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, dir); err != nil {
		return fmt.Errorf("publish %s: %w", dir, err)
	}
	return nil
}

// imageKey digests everything that an image is made from.
func imageKey(kernel kernelFiles, busybox string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, builderVersion, kernel.name)
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := sources.ReadFile(path)
		fmt.Fprintln(h, path, len(content))
		h.Write(content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("digest the guest's sources: %w", err)
	}
	f, err := os.Open(busybox)
	if err != nil {
		return "", fmt.Errorf("open busybox: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest busybox: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// lock takes an exclusive lock on path, waiting until ctx ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-tick.C:
		}
	}
}
