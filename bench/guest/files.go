package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// userland are Debian's packages whose files are on the image of [Files]: what
// a server has, about 450 MiB.
var userland = []string{
	"apt", "bash", "binutils-x86-64-linux-gnu", "coreutils", "cpp-12", "dpkg", "gawk", "gcc-12", "git",
	"libc-bin", "libc6", "libicu72", "libperl5.36", "libpython3.11-minimal", "libpython3.11-stdlib", "libssl3",
	"locales", "openssh-client", "openssl", "perl-base", "perl-modules-5.36", "postgresql-15",
	"python3.11-minimal", "systemd", "tar", "util-linux", "vim-runtime",
}

// Files returns a disk image with an ext4 file system that holds a Debian
// userland, and makes it unless it is in the cache. The first time needs
// apt-get, dpkg-deb, mke2fs and access to Debian's packages.
func Files(ctx context.Context) (path string, err error) {
	cache, unlock, err := lockCache(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	key := sha256.Sum256([]byte(builderVersion + strings.Join(userland, " ")))
	dir := filepath.Join(cache, "files-"+hex.EncodeToString(key[:8]))
	path = filepath.Join(dir, "files.img")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, publish(dir, func(into string) error { return buildFiles(ctx, into) })
}

// buildFiles makes files.img in dir.
func buildFiles(ctx context.Context, dir string) error {
	debs, err := os.MkdirTemp(dir, "debs-*")
	if err != nil {
		return fmt.Errorf("create a download folder: %w", err)
	}
	if _, err := output(ctx, debs, "apt-get", append([]string{"download"}, userland...)...); err != nil {
		return fmt.Errorf("fetch a userland: %w (run apt-get update; it must be Debian 12)", err)
	}
	packages, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(packages) != len(userland) {
		return fmt.Errorf("fetch a userland: %d files for %d packages", len(packages), len(userland))
	}
	root := filepath.Join(dir, "root")
	for _, deb := range packages {
		if _, err := output(ctx, "", "dpkg-deb", "-x", deb, root); err != nil {
			return fmt.Errorf("unpack a userland: %w", err)
		}
	}
	size := fmt.Sprintf("%dM", filesImageMiB)
	if _, err := output(ctx, dir, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, "files.img", size); err != nil {
		return fmt.Errorf("make a file system (apt-get install e2fsprogs): %w", err)
	}
	for _, used := range []string{debs, root} {
		if err := os.RemoveAll(used); err != nil {
			return fmt.Errorf("remove %s: %w", used, err)
		}
	}
	return nil
}
