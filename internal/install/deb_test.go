package install

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeDeb returns a new package.
func makeDeb(t *testing.T) string {
	t.Helper()
	need(t, "dpkg")
	out := t.TempDir()
	runMake(t, out, "deb")
	return filepath.Join(out, "dist/lazymig_1.2.3_amd64.deb")
}

// TestDeb installs the package below a folder, runs what is in it, and takes
// it away again.
func TestDeb(t *testing.T) {
	deb, root := makeDeb(t), t.TempDir()
	for field, want := range map[string]string{"Package": "lazymig", "Version": "1.2.3", "Architecture": "amd64"} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "--field", deb, field)); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	control := t.TempDir()
	run(t, "dpkg-deb", "--control", deb, control)
	if got := files(t, control); !slices.Equal(got, []string{"/control", "/md5sums"}) {
		t.Errorf("%v: a script of the package could stop a guest", got)
	}
	database := filepath.Join(root, "var/lib/dpkg")
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(database, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(database, "status"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) {
		run(t, "dpkg", append([]string{"--root=" + root, "--force-not-root", "--force-bad-path", "--log=" + filepath.Join(root, "log")}, args...)...)
	}
	dpkg("--install", deb)
	checkInstalled(t, root)

	key := filepath.Join(root, "etc/lazymig/tls/host7.key") // somebody's own
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dpkg("--install", deb) // once more, as an upgrade
	dpkg("--remove", "lazymig")
	dpkg("--purge", "lazymig")
	if _, err := os.Stat(key); err != nil {
		t.Errorf("the identity of the host has gone: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(root, "var")); err != nil {
		t.Fatal(err)
	}
	if left := files(t, root); !slices.Equal(left, []string{"/etc/lazymig/tls/host7.key", "/log"}) {
		t.Errorf("left after a purge: %v", left)
	}
}

// checkInstalled looks at a package that is installed below root.
func checkInstalled(t *testing.T, root string) {
	t.Helper()
	for _, name := range parts("vendor-completions") {
		if _, err := os.Stat(filepath.Join(root, "usr", name)); err != nil {
			t.Error(err)
		}
	}
	for dir, mode := range map[string]fs.FileMode{"tls": 0o700, "receive": 0o700, ".": 0o755} {
		info, err := os.Stat(filepath.Join(root, "etc/lazymig", dir))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("/etc/lazymig/%s: %v, %v; want %v", dir, info.Mode(), err, mode)
		}
	}
	for _, name := range []string{"copyright", "changelog.gz", "examples/web1.conf"} {
		if _, err := os.Stat(filepath.Join(root, "usr/share/doc/lazymig", name)); err != nil {
			t.Error(err)
		}
	}
	if said := run(t, filepath.Join(root, "usr/bin/lazymig"), "version"); !strings.HasPrefix(said, "lazymig 1.2.3 (") {
		t.Errorf("version says %q", said)
	}
	page := filepath.Join(root, "usr/share/man/man1/lazymig-receive.1.gz")
	if _, err := os.Stat(page); err != nil {
		t.Error(err)
	} else if _, err := exec.LookPath("man"); err == nil && !strings.Contains(run(t, "man", "-l", page), "lazymig receive --listen") {
		t.Error("man does not show the page")
	}
}

// TestDebOnThisHost really installs the package, and purges it: where nobody
// minds.
func TestDebOnThisHost(t *testing.T) {
	if os.Getenv("CI") != "true" || os.Geteuid() != 0 {
		t.Skip("installs a package on this host: only with CI=true, as root")
	}
	for _, name := range []string{"/usr/bin/lazymig", "/etc/lazymig"} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Skipf("%s is there already (%v)", name, err)
		}
	}
	deb := makeDeb(t)
	t.Cleanup(func() { // also after a failure in between
		if out, err := exec.Command("dpkg", "--purge", "lazymig").CombinedOutput(); err != nil {
			t.Errorf("purge: %v: %s", err, out)
		}
		for _, name := range []string{"/usr/bin/lazymig", "/etc/lazymig", "/usr/share/doc/lazymig", "/usr/share/man/man1/lazymig.1.gz"} {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left after a purge: %s (%v)", name, err)
			}
		}
	})
	run(t, "dpkg", "--install", deb)
	checkInstalled(t, "/")
	if said := run(t, "lazymig", "version"); !strings.HasPrefix(said, "lazymig 1.2.3 (") {
		t.Errorf("version says %q", said)
	}
	if status := run(t, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "lazymig"); !strings.HasPrefix(status, "ii") {
		t.Errorf("status %q", status)
	}
}
