package quictransport

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCreateIssueLoad(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "new", "ca")
	if err := CreateCA(ca); err != nil {
		t.Fatal(err)
	}
	if err := Issue(ca, "host-1", 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(ca)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "ca.crt ca.key domain.key host-1.crt host-1.key" {
		t.Errorf("files: %s", got)
	}
	id, err := LoadIdentity(ca)
	if err != nil {
		t.Fatal(err)
	}
	if id.Name != "host-1" || id.Insecure || id.DomainKey == [32]byte{} {
		t.Errorf("loaded %q, insecure %t", id.Name, id.Insecure)
	}
	if left := time.Until(id.Expires()); left <= 23*time.Hour || left > 24*time.Hour {
		t.Errorf("expires in %v, want a day", left)
	}
}

func TestLoadDomainKeyAlone(t *testing.T) {
	dir := newCA(t, time.Now())
	if err := Issue(dir, "a", time.Hour); err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, domainKeyFile)
	if key, err := LoadDomainKey(path); err != nil || key != id.DomainKey {
		t.Errorf("%x, %v; want %x", key, err, id.DomainKey)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDomainKey(path); !errors.Is(err, ErrPermissions) {
		t.Errorf("open to others: %v", err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("00ff\n"), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDomainKey(path); !errors.Is(err, ErrIdentity) {
		t.Errorf("too short: %v", err)
	}
	if _, err := LoadDomainKey(filepath.Join(dir, "none")); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("missing: %v", err)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	ca := newCA(t, time.Now())
	if err := Issue(ca, "a", time.Hour); err != nil {
		t.Fatal(err)
	}
	before := readAll(t, ca)
	for name, again := range map[string]func() error{
		"CreateCA": func() error { return CreateCA(ca) },
		"Issue":    func() error { return Issue(ca, "a", time.Hour) },
	} {
		if err := again(); !errors.Is(err, ErrExists) || hintOf(err) == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A CA of which only the last file is there, and one of which it is lost.
	if err := os.Remove(filepath.Join(ca, domainKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := CreateCA(ca); !errors.Is(err, ErrExists) {
		t.Errorf("CreateCA over half a CA: got %v", err)
	}
	after := readAll(t, ca)
	delete(before, domainKeyFile)
	if len(after) != len(before) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for name, b := range before {
		if after[name] != b {
			t.Errorf("%s has changed", name)
		}
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestIssueRejectsNames(t *testing.T) {
	ca := newCA(t, time.Now())
	for _, name := range []string{"", "ca", "domain", "../x", "a/b", ".hidden", "-x", "a b", "ü", strings.Repeat("x", 64)} {
		if err := Issue(ca, name, time.Hour); !errors.Is(err, ErrName) {
			t.Errorf("name %q: got %v", name, err)
		}
	}
	if err := Issue(ca, "ok", 0); !errors.Is(err, ErrConfig) {
		t.Errorf("no validity: got %v", err)
	}
	if err := Issue(t.TempDir(), "ok", time.Hour); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("no CA: got %v", err)
	}
}

func TestLoadIdentityRefuses(t *testing.T) {
	now := time.Now()
	other := newCA(t, now)
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, dir string)
		at    time.Time
		want  error
		says  string
	}{
		"empty folder":    {func(t *testing.T, dir string) { os.RemoveAll(dir); os.Mkdir(dir, 0o700) }, now, ErrNoIdentity, "ca.crt is missing"},
		"no folder":       {func(t *testing.T, dir string) { os.RemoveAll(dir) }, now, ErrNoIdentity, "ca.crt is missing"},
		"no domain key":   {remove(domainKeyFile), now, ErrNoIdentity, "domain.key is missing"},
		"no pair":         {remove("h.crt"), now, ErrNoIdentity, "NAME.crt"},
		"no key":          {remove("h.key"), now, ErrNoIdentity, "h.key is missing"},
		"open key":        {chmod("h.key"), now, ErrPermissions, "0644"},
		"open domain key": {chmod(domainKeyFile), now, ErrPermissions, "domain.key"},
		"garbage CA":      {write(caCertFile, "hello"), now, ErrIdentity, "ca.crt is damaged"},
		"garbage key":     {write("h.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), now, ErrIdentity, "h.key is damaged"},
		"short domain":    {write(domainKeyFile, "abcd\n"), now, ErrIdentity, "2 bytes"},
		"domain no hex":   {write(domainKeyFile, strings.Repeat("x", 64)), now, ErrIdentity, "domain.key is damaged"},
		"expired":         {nil, now.Add(2 * time.Hour), ErrExpired, "h.crt has expired"},
		"too early":       {nil, now.Add(-time.Hour), ErrNotYetValid, "valid only from"},
		"key of another": {func(t *testing.T, dir string) {
			if err := Issue(other, "h", time.Hour); err != nil {
				t.Fatal(err)
			}
			copyFiles(t, other, dir, "h.key")
		}, now, ErrIdentity, "is not the key of"},
		"other CA": {func(t *testing.T, dir string) { copyFiles(t, other, dir, caCertFile) }, now, ErrIdentity, "no certificate of the CA"},
		"several":  {func(t *testing.T, dir string) { write("z.crt", "")(t, dir) }, now, ErrIdentity, "h, z"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := newCA(t, now)
			files, err := issue(ca, "h", now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "tls")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := createFiles(dir, files); err != nil {
				t.Fatal(err)
			}
			copyFiles(t, ca, dir, caCertFile, domainKeyFile)
			if tt.spoil != nil {
				tt.spoil(t, dir)
			}
			_, err = loadIdentity(dir, tt.at)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || hintOf(err) == "" {
				t.Errorf("got %v (hint %q), want %q", err, hintOf(err), tt.says)
			}
		})
	}
}

func TestLoadIdentityPrefersHost(t *testing.T) {
	ca := newCA(t, time.Now())
	for _, name := range []string{"a", "host", "z"} {
		if err := Issue(ca, name, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	id, err := LoadIdentity(ca)
	if err != nil || id.Name != "host" {
		t.Errorf("got %v, %v", id, err)
	}
}

func TestIssueEndsWithTheCA(t *testing.T) {
	ca := newCA(t, time.Now())
	if err := Issue(ca, "a", 2*caValidity); err != nil {
		t.Fatal(err)
	}
	cert, err := readCertificate(filepath.Join(ca, "a.crt"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := readCertificate(filepath.Join(ca, caCertFile))
	if err != nil {
		t.Fatal(err)
	}
	if cert.NotAfter.After(root.NotAfter) {
		t.Errorf("valid until %s, its CA until %s", cert.NotAfter, root.NotAfter)
	}
}

func TestKeyCheck(t *testing.T) {
	a := &Identity{DomainKey: [32]byte{1}}
	b := &Identity{DomainKey: [32]byte{2}}
	s1, s2 := [16]byte{1}, [16]byte{2}
	sameKey := &Identity{DomainKey: [32]byte{1}, Name: "other"}
	if a.keyCheck(s1) == b.keyCheck(s1) || a.keyCheck(s1) == a.keyCheck(s2) || a.keyCheck(s1) != sameKey.keyCheck(s1) {
		t.Error("the check does not depend on exactly the key and the session")
	}
	if insecure(t).keyCheck(s1) != [32]byte{} {
		t.Error("a side without identities has a key to compare")
	}
}
