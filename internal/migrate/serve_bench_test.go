package migrate

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig"
)

// BenchmarkBulk brings a VMM all of its memory, of which it touches nothing, over
// loopback. Server and client are in this process: cpu-s/GiB is what both take.
func BenchmarkBulk(b *testing.B) {
	const pages = 64 << 10 // 256 MiB
	path := filepath.Join("/dev/shm", filepath.Base(b.TempDir())+".bulk")
	b.Cleanup(func() { _ = os.Remove(path) })
	content := make([]byte, pages*lazymig.PageSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	fatal(b, os.WriteFile(path, content, 0o600))
	_, address := serveMemory(b, path, "127.0.0.1:0")
	b.SetBytes(pages * lazymig.PageSize)
	before := cpuSeconds()
	for b.Loop() {
		s, socket := serveFaults(b, ServeFaultsConfig{From: address})
		v := startVMM(b, socket, "", testRegion{first: 0, pages: pages})
		if served := s.detached(v); served.Outcome != ServeComplete {
			b.Fatalf("served %+v", served)
		}
		fatal(b, s.stop())
	}
	b.ReportMetric((cpuSeconds()-before)/float64(b.N)/pages/lazymig.PageSize*(1<<30), "cpu-s/GiB")
}
