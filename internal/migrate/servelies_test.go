package migrate

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// liar is a memory server that lies about what pages are made of, but never
// about a page that it sends as data: those who serve memory are believed as far
// as that.
type liar struct {
	t       *testing.T
	id      *quictransport.Identity // of the client, too: one cache key
	content []byte
	// recipe writes what goes for the recipe of the n-th link.
	recipe func(n int32, write func(wire.Recipe) bool)
	// refers says whether pages are only referred to, by digests of nothing.
	refers func(n int32, dataOnly bool) bool

	links atomic.Int32
	refs  atomic.Int64
}

// serve serves links until the test ends, and returns the address.
func (s *liar) serve() string {
	l, err := quictransport.Listen("127.0.0.1:0", s.id, quictransport.Config{Purpose: wire.PurposeMemory})
	fatal(s.t, err)
	var wait sync.WaitGroup
	s.t.Cleanup(func() {
		_ = l.Close() // ends all links
		wait.Wait()
	})
	wait.Go(func() {
		for {
			link, _, err := l.Accept(context.Background(), func(wire.Hello, string) (wire.Welcome, error) { return wire.Welcome{}, nil })
			if err != nil {
				return
			}
			n := s.links.Add(1) - 1 // the first one only asks
			wait.Go(func() { s.serveLink(link, n) })
		}
	})
	return l.Addr().String()
}

func (s *liar) serveLink(link *quictransport.Link, n int32) {
	if _, _, err := wire.ReadFrameOf(link.Control(), nil, wire.TypeAttach); err != nil {
		return
	}
	memory := wire.Memory{Memory: [16]byte{1}, Bytes: uint64(len(s.content))}
	_, _ = link.Control().Write(memory.Append(nil)) // the link ends then, as below
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { s.serveRecipe(link, n) })
	wait.Go(func() { s.answer(link.Demand(), n) })
	for i, stream := range link.Bulk() {
		wait.Go(func() {
			if i == 0 {
				if _, _, err := wire.ReadFrameOf(stream, nil, wire.TypeAhead); err != nil {
					return
				}
				_, _ = stream.Write(wire.Absent{Last: true}.Append(nil))
			}
			s.answer(stream, n)
		})
	}
	<-link.Done()
}

func (s *liar) serveRecipe(link *quictransport.Link, n int32) {
	if _, _, err := wire.ReadFrameOf(link.Recipe(), nil, wire.TypeFilter); err != nil {
		return
	}
	s.recipe(n, func(f wire.Recipe) bool {
		_, err := link.Recipe().Write(f.Append(nil))
		return err == nil
	})
}

// answer answers the requests of one stream.
func (s *liar) answer(stream quictransport.Stream, n int32) {
	hasher, err := pagecache.NewHasher(pagecache.Key(s.id.DomainKey))
	if err != nil {
		s.t.Error(err)
		return
	}
	builder := wire.NewPagesBuilder()
	for {
		_, payload, err := wire.ReadFrameOf(stream, nil, wire.TypeRequest)
		if err != nil {
			return
		}
		request, err := wire.ParseRequest(payload)
		if err != nil {
			s.t.Error(err)
			return
		}
		for _, run := range request.Runs {
			for p := run.First; p < run.End(); p++ {
				if p == run.First || builder.Count() == answerPages {
					if p > run.First {
						_, _ = stream.Write(builder.Frame())
					}
					builder.Reset(p)
				}
				var d pagecache.Digest
				if s.refers(n, request.DataOnly) {
					_, _ = rand.Read(d[:]) // never fails
					builder.AddRef((*[32]byte)(&d))
					s.refs.Add(1)
					continue
				}
				data := builder.Room()[:lazymig.PageSize]
				copy(data, page(s.content, int(p), 1))
				hasher.Sum(data, d[:])
				builder.AddData(data, (*[32]byte)(&d))
			}
			_, _ = stream.Write(builder.Frame())
		}
	}
}

// madeUp writes a recipe of digests that no page has, so many times.
func madeUp(times int, write func(wire.Recipe) bool) {
	digests := make([]byte, chunkPages*pagecache.DigestSize)
	for round := range times {
		for first := 0; first < snapshotPages; first += chunkPages {
			_, _ = rand.Read(digests) // never fails
			f := wire.Recipe{
				First: lazymig.PageNumber(first), Parts: []wire.RecipePart{{Kind: wire.RecipeDigest, Count: chunkPages}}, Digests: digests,
				Last: round == times-1 && first+chunkPages == snapshotPages,
			}
			if !write(f) {
				return
			}
		}
	}
}

// TestServeLies is served by liars: nothing wrong is installed, nothing hangs,
// and a lie costs a bounded number of requests.
func TestServeLies(t *testing.T) {
	nothing := func(_ int32, write func(wire.Recipe) bool) { write(wire.Recipe{Last: true}) }
	never := func(int32, bool) bool { return false }
	for name, tt := range map[string]struct {
		recipe func(int32, func(wire.Recipe) bool)
		refers func(int32, bool) bool
		says   string // by the client; empty: the link goes on
	}{
		"digests of nothing": {
			recipe: func(_ int32, write func(wire.Recipe) bool) { madeUp(1, write) }, refers: never,
		},
		"ten times too long": {
			recipe: func(n int32, write func(wire.Recipe) bool) {
				if n == 1 {
					madeUp(10, write)
				}
				nothing(n, write)
			},
			refers: never, says: "more pages than the guest",
		},
		"references to nothing": {
			recipe: nothing, refers: func(_ int32, dataOnly bool) bool { return !dataOnly },
		},
		"references for ever": {
			recipe: nothing, refers: func(n int32, _ bool) bool { return n < 3 }, says: "must be data",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, content := writeSnapshot(t)
			server := &liar{t: t, id: loopback(t), content: content, recipe: tt.recipe, refers: tt.refers}
			s, socket := serveFaults(t, ServeFaultsConfig{From: server.serve(), Identity: server.id, Cache: newMapCache()})
			v := startVMM(t, socket, "", whole...)
			wantAll(v, content, whole)
			if tt.says != "" {
				s.wait("what the lie is called", func(e ServeEvent) bool { return strings.Contains(e.Message, tt.says) })
			}
			served := s.detached(v)
			if served.Outcome != ServeComplete || served.PagesCache > 0 || (served.Reconnects > 0) != (tt.says != "") {
				t.Errorf("served %+v", served)
			}
			if refs, links := server.refs.Load(), int64(server.links.Load()); refs > snapshotPages*(refLimit+1)*links {
				t.Errorf("%d references by %d links", refs, links)
			}
		})
	}
}
