package migrate

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/relay"
)

// TestPackOverSlowLink serves memory over 25 Mbit/s that S2 brings to three
// quarters and zstd to three eighths: words, with digits between them.
func TestPackOverSlowLink(t *testing.T) {
	if underRace {
		t.Skip("the race detector makes zstd too slow to pay")
	}
	const pages = 4096
	random := rand.NewChaCha8([32]byte{1})
	var content []byte
	for bits := make([]byte, 24); len(content) < pages*lazymig.PageSize; {
		_, _ = random.Read(bits) // never fails
		content = hex.AppendEncode(append(content, "a page of a guest: "...), bits)
	}
	path := filepath.Join(t.TempDir(), "memory")
	fatal(t, os.WriteFile(path, content[:pages*lazymig.PageSize], 0o600))
	_, address := serveMemory(t, path, "127.0.0.1:0")
	link, err := relay.Start(relay.Config{Server: netip.MustParseAddrPort(address), Rate: 25e6 / 8})
	fatal(t, err)
	t.Cleanup(func() { fatal(t, link.Close()) })
	s, socket := serveFaults(t, ServeFaultsConfig{From: link.Addr().String()})
	served := s.detached(startVMM(t, socket, "", testRegion{first: 0, pages: pages}))
	t.Logf("%d bytes came as %d in %.0f ms", pages*lazymig.PageSize, served.BytesReceived, served.TotalMS)
	if served.Outcome != ServeComplete || served.BytesReceived > pages*lazymig.PageSize*66/100 {
		t.Errorf("served %+v", served)
	}
}
