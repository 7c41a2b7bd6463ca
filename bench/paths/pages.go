package paths

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/worker"
)

// servePages is the source of what is not lazymig: the plain page server.
func servePages(ctx context.Context, j job, out io.Writer) error {
	file, err := os.Open(j.Path)
	if err != nil {
		return fmt.Errorf("open the memory: %w", err)
	}
	defer file.Close()
	server, err := plainpages.Serve(file, j.Host)
	if err != nil {
		return err
	}
	address := server.Address()
	if err := worker.Say(out, ready{Plain: &address}); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// roundTrips asks for pages in random order, one after the other.
func roundTrips(ctx context.Context, j job, out io.Writer) error {
	want, err := openMemory(j.Path, j.Pages)
	if err != nil {
		return err
	}
	client, err := plainpages.Dial(ctx, *j.Plain, plainpages.QUIC)
	if err != nil {
		return err
	}
	defer client.Close()
	order := rand.New(rand.NewPCG(j.Seed, 0)).Perm(j.Pages)
	page := make([]byte, pageBytes)
	result := touched{Samples: make([]time.Duration, 0, len(order)), From: time.Now()}
	for _, p := range order {
		begin := time.Now()
		if begin.Sub(result.From) >= j.Budget {
			break
		}
		if _, err := client.ReadAt(page, int64(p)*pageBytes); err != nil {
			return fmt.Errorf("fetch page %d: %w", p, err)
		}
		result.Samples = append(result.Samples, time.Since(begin))
		if !bytes.Equal(page, want[p*pageBytes:][:pageBytes]) {
			result.Wrong++
		}
	}
	result.To = time.Now()
	return worker.Say(out, result)
}
