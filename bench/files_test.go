package bench_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/prereq"
)

// TestFiles has the guest keep files in its page cache and verify them, and
// changes one behind its back.
func TestFiles(t *testing.T) {
	prereq.Require(t, append(append(prereq.Guest(), prereq.Network()...), "mke2fs")...)
	root, page := t.TempDir(), make([]byte, 4096)
	_, _ = rand.Read(page) // never fails
	files := map[string][]byte{"empty": nil, "odd": []byte("seven b"), "page": page, "folder/long": bytes.Repeat([]byte("0123456"), 30000)}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	config := smallGuest("q35")
	config.Files = filepath.Join(t.TempDir(), "files.img")
	if text, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", root, config.Files, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	ctx, p := newPair(t, bench.Config{VM: config, DiskMiB: 16})
	answer, err := p.Source().Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Number("files") != 4 || answer.Number("file_pages") != 1+1+52 || answer.Number("cached") != 54 || answer.Number("disk") != 1 {
		t.Errorf("the guest's files: %s", answer)
	}
	plainMove(ctx, t, p)
	if answer := command(ctx, t, p.Source(), "verify"); answer.Status != "ok" || answer.Number("cached") != 54 {
		t.Errorf("after a move: %s", answer)
	}
	flip := flipper(t, p.Source().RAMFiles()[0], find(t, p.Source().RAMFiles()[0], page)+1000)
	flip()
	expect(ctx, t, p.Source(), "bad_files", 1)
	flip()
	expect(ctx, t, p.Source(), "bad_files", 0)
}

// find returns where a page is in a RAM file.
func find(t *testing.T, path string, page []byte) int64 {
	t.Helper()
	ram, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(ram, page)
	if at < 0 || at%4096 != 0 {
		t.Fatalf("the page is at %d of the guest's memory", at)
	}
	return int64(at)
}
