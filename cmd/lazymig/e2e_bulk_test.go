package main

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/rawquic"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
)

// TestBulk measures the background beside one raw QUIC connection over the
// same link, in turn: with the guest stopped, and with it running. It compares
// nothing: `make e2e-full` runs it and its figures go into the documentation.
func TestBulk(t *testing.T) {
	if !isFull() {
		t.Skip("a measurement for `make e2e-full`")
	}
	m := newMover(t, bench.Config{VM: vm.Config{Guest: guest.Params{Pattern: guest.PatternRandom}}})
	m.binary = plainBinary(t)
	for i := range 6 {
		running := i%2 == 1
		raw, err := m.rawQUIC(400 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if !running {
			m.ask(m.pair.Source(), "stop", nil)
		}
		rate, cost := m.bulk()
		if !running {
			m.ask(m.pair.Source(), "cont", nil)
		}
		t.Logf("guest running %v: lazymig %.0f MB/s, %.1f CPU s/GiB; raw QUIC %.0f MB/s, %.1f CPU s/GiB; ratio %.2f",
			running, rate/1e6, cost, raw.BytesPerSecond/1e6, raw.CPUPerGiB(400<<20).Seconds(), rate/raw.BytesPerSecond)
		if _, err := m.pair.Source().Stream().Wait(m.ctx, 500); err != nil {
			t.Fatal(err)
		}
	}
	m.verify()
}

// rawQUIC sends bytes the way that pages go.
func (m *mover) rawQUIC(bytes int64) (rawquic.Result, error) {
	side := m.pair.Source().Side()
	on := func(side link.Side) func(context.Context, string, ...string) *exec.Cmd {
		return func(ctx context.Context, name string, args ...string) *exec.Cmd {
			return m.pair.Link.Command(ctx, side, name, args...)
		}
	}
	return rawquic.Run(m.ctx, rawquic.Config{
		Address: side.Address() + ":0", Bytes: bytes, RoundTrips: 10, Server: on(side), Client: on(side.Other()),
	})
}

// bulk moves the guest and returns the rate of page content from the switch to
// the last page, in bytes a second, and the CPU seconds of both engines for
// each GiB, whole moves counted.
func (m *mover) bulk() (rate, cpuPerGiB float64) {
	m.t.Helper()
	receive, send := m.receive(), m.send()
	sent := send.exits(0)
	received := receive.exits(0)
	m.moved()
	var began, ended time.Time
	for _, e := range receive.events {
		switch {
		case e.Event == migrate.EventState && e.State == "OWNER":
			began = e.Time
		case e.Event == migrate.EventState && e.State == "COMPLETE":
			ended = e.Time
		}
	}
	raw := float64(received.BytesRaw)
	return raw / ended.Sub(began).Seconds(), (sent.CPUSeconds + received.CPUSeconds) / (raw / (1 << 30))
}
