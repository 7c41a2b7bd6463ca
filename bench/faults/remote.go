package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/worker"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// account is what lazymig's engine says of its service at its end.
type account struct {
	BulkBytesPerSecond float64
	// Remote counts the faults that were answered over the network.
	Remote uint64
}

// domainKey is that of both sides: pages that one knows the other does too.
var domainKey = [32]byte{7}

// serveEngine serves one process with lazymig's engine.
func serveEngine(ctx context.Context, job Job, out io.Writer) error {
	identity, err := quictransport.InsecureLoopback()
	if err != nil {
		return err
	}
	identity.DomainKey = domainKey
	cache, err := fillCache(job.Cached)
	if err != nil {
		return err
	}
	abandon := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { close(abandon) })
	defer stop()
	var said error
	var served migrate.Served
	report := func(e migrate.ServeEvent) {
		switch e.Event {
		case migrate.EventListening:
			said = errors.Join(said, worker.Say(out, Ready{}))
		case migrate.EventDetached:
			served = *e.Served
		}
	}
	err = migrate.ServeFaults(ctx, migrate.ServeFaultsConfig{
		Socket: job.Socket, From: job.From, Identity: identity, Once: true, Abandon: abandon, Report: report,
		Cache: cache, OnDemand: cache != nil,
	})
	if err := errors.Join(err, said); err != nil {
		return err
	}
	a := account{Remote: served.FaultUS.Remote.Count}
	if served.TotalMS > 0 {
		a.BulkBytesPerSecond = float64(served.PagesBulk) * pageBytes / (served.TotalMS / 1000)
	}
	return worker.Say(out, a)
}

// fillCache makes a cache in memory that has all pages of a file; none without
// one.
func fillCache(path string) (migrate.PageCache, error) {
	if path == "" {
		return nil, nil
	}
	memory, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// With room to spare: what the cache gives up is the network's.
	cache, err := pagecache.OpenCache(pagecache.Config{Bytes: max(2*int64(len(memory)), pagecache.MinBytes), Key: domainKey})
	if err != nil {
		return nil, err
	}
	hasher, err := pagecache.NewHasher(domainKey)
	if err != nil {
		return nil, err
	}
	var d pagecache.Digest
	for ; len(memory) >= pageBytes; memory = memory[pageBytes:] {
		hasher.Sum(memory[:pageBytes], d[:])
		cache.Put(d, memory[:pageBytes])
	}
	return cache, nil // it ends with the process
}

// serveMemory is the source: lazymig's memory server.
func serveMemory(ctx context.Context, job Job, out io.Writer) error {
	identity, err := quictransport.InsecureLoopback()
	if err != nil {
		return err
	}
	identity.DomainKey = domainKey
	var said error
	err = migrate.ServeMemory(ctx, migrate.ServeMemoryConfig{
		Listen: "127.0.0.1:0", Memory: job.Path, Identity: identity, Bandwidth: job.Bandwidth,
		Report: func(e migrate.ServeEvent) {
			if e.Event == migrate.EventListening {
				said = worker.Say(out, Ready{Address: e.Address})
			}
		},
	})
	return errors.Join(err, said)
}

// servePages is the source of the others: the plain page server.
func servePages(ctx context.Context, job Job, out io.Writer) error {
	file, err := os.Open(job.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	server, err := plainpages.Serve(file, plainpages.Loopback)
	if err != nil {
		return err
	}
	address := server.Address()
	if err := worker.Say(out, Ready{Plain: &address}); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// roundTrips asks for pages in random order, one after the other.
func roundTrips(ctx context.Context, job Job, out io.Writer) error {
	client, err := plainpages.Dial(ctx, *job.Plain, job.Transport)
	if err != nil {
		return err
	}
	defer client.Close()
	order := rand.New(rand.NewPCG(job.Touch.Seed, 0)).Perm(job.Touch.Pages)
	page := make([]byte, pageBytes)
	result := touched{Samples: make([]time.Duration, 0, len(order))}
	start := time.Now()
	for _, p := range order {
		begin := time.Now()
		if begin.Sub(start) >= job.Touch.Budget {
			break
		}
		if _, err := client.ReadAt(page, int64(p)*pageBytes); err != nil {
			return fmt.Errorf("fetch page %d: %w", p, err)
		}
		result.Samples = append(result.Samples, time.Since(begin))
		result.check(page, uint64(p), false)
	}
	result.Took = time.Since(start)
	return worker.Say(out, result)
}
