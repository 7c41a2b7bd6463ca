package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/internal/relay"
)

// guestName is the guest's name on both hosts.
const guestName = "demo"

// run is one demonstration. One goroutine uses it.
type run struct {
	cfg     Config
	place   *workplace
	beats   *heartbeat.Recorder
	guest   guest
	path    *relay.Relay
	stopped chan struct{}  // closed when nobody listens to commands any more
	wait    sync.WaitGroup // their readers

	receive, send *command
	drain         drain
	report        Report
}

// Run shows a migration. When it returns, nothing of it is left. The report
// tells how it went and has been the last event; the error is nil if the
// guest's memory was verified. It unwraps to ErrConfig if nothing was begun.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg, err := cfg.validated()
	if err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, beats: heartbeat.NewRecorder(), stopped: make(chan struct{})}
	err = r.prepare(ctx)
	if err == nil {
		err = r.tell(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever it broke
	}
	if err != nil && cfg.LogDir != "" {
		err = errors.Join(err, r.saveLogs())
	}
	closing := r.close()
	r.report.Removed = closing == nil
	err = errors.Join(err, closing)
	r.conclude(err)
	return r.report, err
}

// prepare makes everything that is needed before a guest can start.
func (r *run) prepare(ctx context.Context) (err error) {
	if err := checkMachine(r.cfg); err != nil {
		return err
	}
	if err := sweep(r.cfg.shm); err != nil {
		return fmt.Errorf("remove what an earlier demonstration has left: %w", err)
	}
	if r.place, err = newWorkplace(r.cfg.shm); err != nil {
		return err
	}
	if err := r.place.identify(); err != nil {
		return err
	}
	r.guest, err = newGuest(ctx, r.cfg, r.place, r.beats)
	return err
}

// tell is the story.
func (r *run) tell(ctx context.Context) error {
	r.event(Event{Event: EventBegin, About: r.about()})
	for _, chapter := range []func(context.Context) error{r.startGuest, r.moveGuest, r.verifyGuest} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) about() *About {
	vmm, guest := r.guest.about()
	return &About{
		Name: r.place.name, VMM: string(vmm), Guest: guest, MemoryBytes: r.cfg.Memory,
		LinkRate: r.cfg.Rate, LinkRTTMS: milliseconds(r.cfg.RTT), BreakMS: milliseconds(r.cfg.BreakLink),
	}
}

// event tells what happened.
func (r *run) event(e Event) {
	e.Time = time.Now()
	r.cfg.Report(e)
}

// startGuest boots the guest and measures its speed.
func (r *run) startGuest(ctx context.Context) error {
	booting, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("the guest did not come up in %v", bootTimeout))
	defer cancel()
	if err := r.guest.start(booting); err != nil {
		return fmt.Errorf("start the guest: %w", err)
	}
	from, _ := r.guest.streams()
	_, err := from.Wait(booting, bootBeats)
	if err != nil {
		return err
	}
	if r.report.Before, err = measure(ctx, from, r.cfg.Measure); err != nil {
		return fmt.Errorf("measure the guest's speed: %w", err)
	}
	vcpu, err := r.guest.vcpu(ctx, source)
	r.event(Event{Event: EventRunning, Speed: r.report.Before, VCPU: vcpu})
	return err
}

// openPath makes the network between the hosts, with a free port at its end.
func (r *run) openPath() (listen netip.AddrPort, err error) {
	if listen, err = freePort(); err != nil {
		return listen, fmt.Errorf("find a free port: %w", err)
	}
	r.path, err = relay.Start(relay.Config{Server: listen, Rate: r.cfg.Rate, Delay: r.cfg.RTT / 2})
	return listen, err
}

// verifyGuest has the guest check its memory, and checks its heartbeat.
func (r *run) verifyGuest(ctx context.Context) error {
	_, to := r.guest.streams()
	var err error
	if r.report.After, err = measure(ctx, to, r.cfg.Measure); err != nil {
		return fmt.Errorf("measure the guest's speed: %w", err)
	}
	vcpu, err := r.guest.vcpu(ctx, destination)
	if err != nil {
		return err
	}
	r.event(Event{Event: EventVerifying, Speed: r.report.After, VCPU: vcpu})
	verifying, cancel := context.WithTimeoutCause(ctx, verifyTimeout, fmt.Errorf("it took more than %v", verifyTimeout))
	defer cancel()
	v := &Verified{}
	if v.Pages, v.Wrong, err = r.guest.verify(verifying); err != nil {
		return fmt.Errorf("verify the guest: %w", err)
	}
	r.report.Verified = v
	if v.Wrong > 0 || v.Pages == 0 {
		return fmt.Errorf("verify the guest: %d of %d pages are wrong", v.Wrong, v.Pages)
	}
	if err := r.beats.CheckGuest(); err != nil {
		return err
	}
	if err := r.seen(v); err != nil {
		return err
	}
	r.event(Event{Event: EventVerified, Verified: v})
	return nil
}

// seen takes from the heartbeat what the report needs.
func (r *run) seen(v *Verified) error {
	_, to := r.guest.streams()
	beats, err := r.beats.Beats()
	if err != nil {
		return err
	}
	s, err := r.beats.Switch(to)
	if err != nil {
		return err
	}
	v.Beats = uint64(len(beats))
	r.report.GapMS, r.report.WorstMS = milliseconds(s.Gap), milliseconds(s.Worst)
	return nil
}

// conclude tells the report.
func (r *run) conclude(err error) {
	r.report.Outcome = OutcomeVerified
	if err != nil {
		r.report.Outcome, r.report.Error = OutcomeFailed, err.Error()
		if hinter, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			r.report.Hint = hinter.Hint()
		}
	}
	r.event(Event{Event: EventReport, Report: &r.report})
}

// saveLogs keeps what both sides have logged.
func (r *run) saveLogs() error {
	if r.place == nil {
		return nil
	}
	logs, err := filepath.Glob(r.place.path("*", "vm", "*", "*.log"))
	errs := []error{err, os.MkdirAll(r.cfg.LogDir, 0o755)}
	for _, path := range logs {
		host := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(path))))
		text, err := os.ReadFile(path)
		errs = append(errs, err, os.WriteFile(filepath.Join(r.cfg.LogDir, host+"-"+filepath.Base(path)), text, 0o644))
	}
	return errors.Join(errs...)
}

// close ends and removes everything.
func (r *run) close() error {
	close(r.stopped)
	var errs []error
	if r.guest != nil {
		errs = append(errs, r.guest.close())
	}
	if r.place != nil {
		errs = append(errs, r.place.remove()) // ends the commands, too
	}
	if r.path != nil {
		errs = append(errs, r.path.Close())
	}
	r.wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
