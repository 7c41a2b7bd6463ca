package migrate

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// whole is a VMM that needs all of the memory, in two regions.
var whole = []testRegion{{first: 0, pages: snapshotPages / 2}, {first: snapshotPages / 2, pages: snapshotPages / 2}}

// slowly is a bandwidth at which the background takes half a minute: what a test
// does before that finds pages missing. Pages that are waited for come at once.
const slowly = 200 << 10

// distant is a page that the background does not come to within seconds then: it
// begins at the first page, and beside the last, which tests touch before.
const distant = snapshotPages - 400

// wantAll reads everything that the regions have.
func wantAll(v *testVMM, content []byte, regions []testRegion) {
	v.t.Helper()
	for _, r := range regions {
		v.wantPages(r.first, page(content, r.first, r.pages))
	}
}

// TestServeFromFile serves a VMM from a file of this host.
func TestServeFromFile(t *testing.T) {
	path, content := writeSnapshot(t)
	s, socket := serveFaults(t, ServeFaultsConfig{Memory: path})
	v := startVMM(t, socket, "", whole...)
	for _, p := range []int{3, snapshotPages - 1, holeFirst + 5, 17, 0} {
		v.wantPages(p, page(content, p, 1))
	}
	wantAll(v, content, whole)
	served := s.detached(v)
	if served.Outcome != ServeComplete || served.PagesTotal != snapshotPages || served.PagesDemand == 0 ||
		served.PagesZero+served.PagesDemand+served.PagesBulk != snapshotPages || served.FaultUS.Remote.Count == 0 {
		t.Errorf("served %+v", served)
	}
	// It needs nobody any more.
	fatal(t, s.stop())
	v.send("write 0 100")
	v.expect("wrote 0")
	v.send("remove 0 10")
	v.expect("removed 0")
	v.wantPages(0, make([]byte, 10*lazymig.PageSize))
}

// TestServeOverNetwork serves two VMMs at the same time and one later from a
// memory server, in regions that leave out parts of the file.
func TestServeOverNetwork(t *testing.T) {
	path, content := writeSnapshot(t)
	server, address := serveMemory(t, path, "127.0.0.1:0")
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	parts := []testRegion{{first: snapshotPages - 300, pages: 200}, {first: 10, pages: 700}}
	first := startVMM(t, socket, "", whole...)
	second := startVMM(t, socket, "", parts...)
	wantAll(second, content, parts)
	wantAll(first, content, whole)
	if served := s.detached(second); served.Outcome != ServeComplete || served.PagesTotal != 900 ||
		served.PagesZero+served.PagesDemand+served.PagesBulk != 900 || served.BytesRaw > 900*lazymig.PageSize {
		t.Errorf("the second was served %+v", served)
	}
	if served := s.detached(first); served.Outcome != ServeComplete || served.PagesZero < holePages ||
		served.BytesReceived < served.BytesRaw || served.DigestMismatches != 0 {
		t.Errorf("the first was served %+v", served)
	}
	third := startVMM(t, socket, "", parts...)
	wantAll(third, content, parts)
	s.detached(third)
	fatal(t, s.stop())
	fatal(t, server.stop())
	if r := server.waitKind(EventReport).Report; r.Served != 4 { // with the question before the first VMM
		t.Errorf("the server reports %+v", r)
	}
}

// TestServeWithIdentities is TestServeOverNetwork with mutual TLS: a client of
// another CA, and one of another name, learn nothing.
func TestServeWithIdentities(t *testing.T) {
	path, content := writeSnapshot(t)
	ids := identities(t, "store", "host7", "host8")
	_, address := serveMemoryAs(t, ServeMemoryConfig{Listen: "127.0.0.1:0", Memory: path, Identity: ids["store"], Peer: "host7"})
	for name, bad := range map[string]ServeFaultsConfig{
		"other name": {From: address, Identity: ids["host8"]},
		"other CA":   {From: address, Identity: identities(t, "host7")["host7"]},
		"other peer": {From: address, Identity: ids["host7"], Peer: "host8"},
		"none":       {From: address, Identity: loopback(t)},
	} {
		bad.Socket = filepath.Join(t.TempDir(), "s")
		if err := ServeFaults(t.Context(), bad); err == nil || errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, socket := serveFaults(t, ServeFaultsConfig{From: address, Identity: ids["host7"], Peer: "store"})
	v := startVMM(t, socket, "", whole...)
	wantAll(v, content, whole)
	if served := s.detached(v); served.Outcome != ServeComplete {
		t.Errorf("served %+v", served)
	}
}

func identities(t testing.TB, names ...string) map[string]*quictransport.Identity {
	t.Helper()
	dir := t.TempDir()
	fatal(t, quictransport.CreateCA(dir))
	out := map[string]*quictransport.Identity{}
	for _, name := range names {
		own := t.TempDir()
		fatal(t, quictransport.Issue(dir, name, time.Hour))
		for _, file := range []string{"ca.crt", "domain.key", name + ".crt", name + ".key"} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			fatal(t, err)
			fatal(t, os.WriteFile(filepath.Join(own, file), text, 0o600))
		}
		id, err := quictransport.LoadIdentity(own)
		fatal(t, err)
		out[name] = id
	}
	return out
}

// TestServeRemoved: what the VMM gives back reads as zeros from then on, while
// the rest of the memory is still coming.
func TestServeRemoved(t *testing.T) {
	path, content := writeSnapshot(t)
	server, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startVMM(t, socket, "", whole...)
	v.wantPages(1, page(content, 1, 3)) // installed
	v.send("remove 2 40")               // installed ones and missing ones
	v.expect("removed 2")
	copy(content[2*lazymig.PageSize:], make([]byte, 40*lazymig.PageSize))
	v.wantPages(1, page(content, 1, 50))
	v.send("remove %d 8", snapshotPages-8)
	v.expect("removed")
	copy(page(content, snapshotPages-8, 8), make([]byte, 8*lazymig.PageSize))
	wantAll(v, content, whole)
	served := s.detached(v)
	if served.Outcome != ServeComplete || served.PagesDiscarded != 48 {
		t.Errorf("served %+v", served)
	}
	wantAll(v, content, whole)
	fatal(t, server.stop())
}

// TestServeCut cuts the link while pages are missing: the VMM stalls, reads no
// zeros, and goes on by itself.
func TestServeCut(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	relay := relayTo(t, address)
	s, socket := serveFaults(t, ServeFaultsConfig{From: relay.address()})
	v := startVMM(t, socket, "", whole...)
	v.wantPages(snapshotPages-1, page(content, snapshotPages-1, 1))
	relay.cut.Store(true)
	v.send("read %d 1", distant)
	s.wait("the loss of the link", func(e ServeEvent) bool { return strings.Contains(e.Message, "was lost") })
	v.silent()
	relay.cut.Store(false)
	v.wantRead(distant, page(content, distant, 1))
	wantAll(v, content, whole)
	if served := s.detached(v); served.Outcome != ServeComplete || served.Reconnects == 0 {
		t.Errorf("served %+v", served)
	}
}

// TestServeServerAgain ends the memory server while pages are missing, and
// starts it again: with another memory the VMM goes on waiting, with the same
// it goes on.
func TestServeServerAgain(t *testing.T) {
	path, content := writeSnapshot(t)
	other, _ := writeSnapshot(t)
	server, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startVMM(t, socket, "", whole...)
	v.wantPages(snapshotPages-1, page(content, snapshotPages-1, 1))
	fatal(t, server.stop())
	v.send("read %d 1", distant)
	wrong, _ := serveMemory(t, other, address)
	s.wait("the other memory", func(e ServeEvent) bool { return strings.Contains(e.Message, "another memory") })
	v.silent()
	fatal(t, wrong.stop())
	serveMemory(t, path, address)
	v.wantRead(distant, page(content, distant, 1))
	wantAll(v, content, whole)
	if served := s.detached(v); served.Outcome != ServeComplete {
		t.Errorf("served %+v", served)
	}
}

// TestServeChanged changes the memory file while pages are missing: whoever
// depends on it is killed, and nobody is served any more.
func TestServeChanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"time": func(path string) error { return os.Chtimes(path, time.Now(), time.Now().Add(time.Second)) },
		"size": func(path string) error { return os.Truncate(path, (snapshotPages+1)*lazymig.PageSize) },
		"cut":  func(path string) error { return os.Truncate(path, lazymig.PageSize) },
	} {
		t.Run(name, func(t *testing.T) {
			path, content := writeSnapshot(t)
			server, address := serveMemoryAs(t, ServeMemoryConfig{
				Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
			})
			s, socket := serveFaults(t, ServeFaultsConfig{From: address})
			v := startVMM(t, socket, "", whole...)
			v.wantPages(snapshotPages-1, page(content, snapshotPages-1, 1))
			fatal(t, change(path))
			v.wantKilled()
			if served := s.detached(v); served.Outcome != ServeKilled || !strings.Contains(served.Reason, ErrMemoryGone.Error()) {
				t.Errorf("served %+v", served)
			}
			again := ServeFaultsConfig{Socket: filepath.Join(t.TempDir(), "s"), From: address, Identity: loopback(t)}
			if err := ServeFaults(t.Context(), again); !errors.Is(err, quictransport.ErrRefused) {
				t.Errorf("a new client: %v", err)
			}
			if err := server.stop(); !errors.Is(err, ErrMemoryGone) {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

// TestServeFileChanged: as TestServeChanged, from a file of this host. The
// change comes before the VMM, or it would be quicker.
func TestServeFileChanged(t *testing.T) {
	path, _ := writeSnapshot(t)
	s, socket := serveFaults(t, ServeFaultsConfig{Memory: path, Once: true})
	fatal(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Second)))
	v := startVMM(t, socket, "doomed", whole...)
	v.wantKilled()
	if served := s.detached(v); served.Outcome != ServeKilled {
		t.Errorf("served %+v", served)
	}
	<-s.done
	if s.err == nil || !strings.Contains(s.err.Error(), ErrMemoryGone.Error()) {
		t.Errorf("it ended with %v", s.err)
	}
}

// TestServeRefusedRegions: a VMM that cannot be served is killed, since it has
// handed its memory over.
func TestServeRefusedRegions(t *testing.T) {
	path, content := writeSnapshot(t)
	s, socket := serveFaults(t, ServeFaultsConfig{Memory: path})
	behind := startVMM(t, socket, "doomed", testRegion{first: snapshotPages - 1, pages: 2})
	behind.wantKilled()
	if served := s.detached(behind); !strings.Contains(served.Reason, "another snapshot") {
		t.Errorf("served %+v", served)
	}
	huge := startVMM(t, socket, "gigantic", testRegion{first: 0, pages: 1})
	huge.wantKilled()
	if served := s.detached(huge); !strings.Contains(served.Reason, "1 GiB") {
		t.Errorf("served %+v", served)
	}
	nowhere := startVMM(t, socket, "unregistered", whole...)
	nowhere.wantKilled()
	if served := s.detached(nowhere); served.Outcome != ServeKilled {
		t.Errorf("served %+v", served)
	}
	v := startVMM(t, socket, "", whole...)
	wantAll(v, content, whole)
}

// TestServeBrokenPage: a page that the server cannot read harms nobody who does
// not touch it.
func TestServeBrokenPage(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t),
		memory: func(m SourceMemory) SourceMemory { return brokenMemory{m, 100} },
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startVMM(t, socket, "", whole...)
	v.wantPages(0, page(content, 0, 100))
	v.wantPages(101, page(content, 101, whole[0].pages-101))
	if served := s.detached(v); served.Outcome != ServeComplete || served.PagesPoisoned != 1 {
		t.Errorf("served %+v", served)
	}
}

// TestServeDamaged: pages that keep failing their digests are not installed,
// and in the end the VMM is killed.
func TestServeDamaged(t *testing.T) {
	path, _ := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), key: &pagecache.Key{1},
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	v := startVMM(t, socket, "", whole...)
	v.send("read 1 1")
	v.wantKilled()
	served := s.detached(v)
	if served.Outcome != ServeKilled || served.PagesDemand+served.PagesBulk != 0 || served.DigestMismatches == 0 ||
		!strings.Contains(served.Reason, errMismatch.Error()) {
		t.Errorf("served %+v", served)
	}
	for _, line := range v.held {
		if strings.HasPrefix(line, "read") {
			t.Errorf("the VMM said %q", line)
		}
	}
}

// TestServeVMMKilled: the end of a VMM ends its session and no other.
func TestServeVMMKilled(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	first, second := startVMM(t, socket, "", whole...), startVMM(t, socket, "", whole...)
	first.wantPages(1, page(content, 1, 1))
	fatal(t, first.cmd.Process.Kill())
	if served := s.detached(first); served.Outcome != ServeEnded {
		t.Errorf("served %+v", served)
	}
	wantAll(second, content, whole)
	if served := s.detached(second); served.Outcome != ServeComplete {
		t.Errorf("served %+v", served)
	}
}

// TestServeStopped: an end by signal waits for the VMMs; the second kills
// those that have pages missing.
func TestServeStopped(t *testing.T) {
	path, content := writeSnapshot(t)
	server, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	abandon := make(chan struct{})
	s, socket := serveFaults(t, ServeFaultsConfig{From: address, Abandon: abandon})
	v := startVMM(t, socket, "", whole...)
	v.wantPages(1, page(content, 1, 1))
	s.cancel()
	if _, err := os.Lstat(socket); err == nil {
		waitGone(t, socket)
	}
	v.wantPages(snapshotPages-1, page(content, snapshotPages-1, 1))
	fatal(t, server.stop())
	close(abandon)
	v.wantKilled()
	if served := s.detached(v); served.Outcome != ServeKilled {
		t.Errorf("served %+v", served)
	}
	fatal(t, s.stop())
}

func waitGone(t testing.TB, path string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-limit:
			t.Fatalf("%s is still there", path)
		}
	}
}

// handlerEnv makes TestHandlerProcess serve the socket in its value from the
// file in its second part.
const handlerEnv = "LAZYMIG_TEST_HANDLER"

// TestHandlerProcess is no test: it is a ServeFaults that can be killed.
func TestHandlerProcess(t *testing.T) {
	socket, address, ok := strings.Cut(os.Getenv(handlerEnv), " ")
	if !ok {
		t.Skip("it is the process of another test")
	}
	fatal(t, ServeFaults(t.Context(), ServeFaultsConfig{Socket: socket, From: address, Identity: loopback(t), Report: func(e ServeEvent) {
		if e.Event == EventListening {
			os.Stdout.WriteString("listening\n")
		}
	}}))
}

// TestServeHandlerKilled kills the process that serves the faults: the VMM
// stalls on missing pages, goes on with those that are there, and never reads
// zeros. A new handler cannot take it over: the descriptor has gone with the
// old one, and the VMM does not send it again.
func TestServeHandlerKilled(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemoryAs(t, ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: path, Identity: loopback(t), Bandwidth: slowly,
	})
	socket := filepath.Join(t.TempDir(), "vmm.socket")
	handler := exec.Command(os.Args[0], "-test.run=^TestHandlerProcess$")
	handler.Env = append(os.Environ(), handlerEnv+"="+socket+" "+address)
	handler.Stderr = os.Stderr
	stdout, err := handler.StdoutPipe()
	fatal(t, err)
	fatal(t, handler.Start())
	if line, err := readLine(stdout); err != nil || line != "listening" {
		t.Fatalf("the handler said %q, %v", line, err)
	}
	v := startVMM(t, socket, "", whole...)
	v.wantPages(1, page(content, 1, 1))
	fatal(t, handler.Process.Kill())
	_ = handler.Wait() // by the signal
	v.send("read %d 1", distant)
	v.wantPages(1, page(content, 1, 1))

	s := runService(t, func(ctx context.Context, report func(ServeEvent)) error {
		return ServeFaults(ctx, ServeFaultsConfig{Socket: socket, Memory: path, Report: report})
	})
	s.waitKind(EventListening)
	other := startVMM(t, socket, "", whole...)
	wantAll(other, content, whole)
	v.silent()
}

func readLine(from interface{ Read([]byte) (int, error) }) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := from.Read(one)
		if err != nil {
			return string(line), err
		}
		if n == 1 && one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[:n]...)
	}
}

// TestServeLeavesNothing serves again and again: goroutines, descriptors and
// memory must not add up.
func TestServeLeavesNothing(t *testing.T) {
	path, content := writeSnapshot(t)
	_, address := serveMemory(t, path, "127.0.0.1:0")
	s, socket := serveFaults(t, ServeFaultsConfig{From: address})
	var goroutines, descriptors, memory int
	for i := range 6 {
		v := startVMM(t, socket, "", whole...)
		wantAll(v, content, whole)
		s.detached(v)
		fatal(t, v.cmd.Process.Kill())
		<-v.ended
		fatal(t, v.stdin.Close())
		if i == 1 {
			settle(t, "goroutines", runtime.NumGoroutine(), runtime.NumGoroutine)
			goroutines, descriptors, memory = runtime.NumGoroutine(), openDescriptors(t), heap()
		}
	}
	settle(t, "goroutines", goroutines, runtime.NumGoroutine)
	settle(t, "descriptors", descriptors, func() int { return openDescriptors(t) })
	settle(t, "bytes of memory", memory+4<<20, heap)
}

// TestServeConfig: what cannot work is refused before anything is touched.
func TestServeConfig(t *testing.T) {
	id := loopback(t)
	for name, cfg := range map[string]ServeFaultsConfig{
		"nothing":     {},
		"no socket":   {Memory: "m"},
		"no source":   {Socket: "s"},
		"two sources": {Socket: "s", Memory: "m", From: "127.0.0.1:1", Identity: id},
		"no identity": {Socket: "s", From: "127.0.0.1:1"},
	} {
		if err := ServeFaults(t.Context(), cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ServeMemory(t.Context(), ServeMemoryConfig{}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

// TestSnapshotRefused: files that cannot be a memory are refused with words.
func TestSnapshotRefused(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, size int) string {
		path := filepath.Join(dir, name)
		fatal(t, os.WriteFile(path, bytes.Repeat([]byte{1}, size), 0o600))
		return path
	}
	written := make("written", 8192)
	writer, err := os.OpenFile(written, os.O_WRONLY, 0)
	fatal(t, err)
	defer writer.Close()
	for path, word := range map[string]string{
		make("empty", 0):             "multiple of 4096",
		make("odd", 4097):            "multiple of 4096",
		dir:                          "no regular file",
		written:                      "open for writing",
		filepath.Join(dir, "absent"): "no such file",
	} {
		_, err := openSnapshot(path, nil)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, word)
		}
	}
}

// TestServeTouchedAtTheEnd has threads touch holes just while the memory is
// unregistered: none of them is left waiting.
func TestServeTouchedAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory")
	fatal(t, os.WriteFile(path, nil, 0o600))
	fatal(t, os.Truncate(path, snapshotPages*lazymig.PageSize))
	s, socket := serveFaults(t, ServeFaultsConfig{Memory: path})
	const parts = 16
	for range 8 {
		v := startVMM(t, socket, "quick", whole...)
		zeros := make([]byte, snapshotPages/parts*lazymig.PageSize)
		for i := range parts {
			v.send("read %d %d", i*snapshotPages/parts, snapshotPages/parts)
		}
		for i := range parts {
			v.wantRead(i*snapshotPages/parts, zeros)
		}
		if served := s.detached(v); served.Outcome != ServeComplete {
			t.Errorf("served %+v", served)
		}
	}
}
