package prefetch

import (
	"testing"
	"time"
)

// path is a link of a rate with a queue, at the end of a delay: answers of the
// background leave one after the other, and so do those that somebody waits for,
// behind what is queued.
type path struct {
	pagesPerSecond float64
	rtt            time.Duration
	demands        time.Duration // somebody waits for a page this often; 0: never
}

// drive lets a window ask for pages over a path for some time. It returns the share
// of the rate that came in the second half, and the longest wait for the link there.
func (p path) drive(w *Window, length time.Duration) (share float64, longest time.Duration) {
	type flight struct {
		at    time.Time
		pages uint64
	}
	start := time.Unix(0, 0)
	half := start.Add(length / 2)
	var flying []flight
	free, came, nextDemand := start, uint64(0), start
	w.Reset(p.rtt)
	for now := start; now.Sub(start) < length; now = now.Add(50 * time.Microsecond) {
		for len(flying) > 0 && !flying[0].at.After(now) {
			w.Done(now, flying[0].pages)
			if now.After(half) {
				came += flying[0].pages
			}
			flying = flying[1:]
		}
		for n := w.Request(); w.Room() >= n; n = w.Request() {
			w.Add(n)
			free = later(free, now.Add(p.rtt/2)).Add(time.Duration(float64(n) / p.pagesPerSecond * float64(time.Second)))
			flying = append(flying, flight{free.Add(p.rtt / 2), n})
		}
		if p.demands > 0 && !now.Before(nextDemand) {
			nextDemand = now.Add(p.demands)
			queued := later(free, now.Add(p.rtt/2)).Sub(now.Add(p.rtt / 2))
			w.Demand(now, queued+p.rtt+100*time.Microsecond)
			if now.After(half) {
				longest = max(longest, queued)
			}
		} else if now.After(half) {
			longest = max(longest, free.Sub(now)-p.rtt/2)
		}
	}
	return float64(came) / p.pagesPerSecond / (length / 2).Seconds(), longest
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

const pagesOfGigabit = 1e9 / 8 / 4300

// TestWindowOnPaths: the background fills each link, and leaves no queue on it that
// is long beside its round trip, long before anybody waits for a page.
func TestWindowOnPaths(t *testing.T) {
	for name, c := range map[string]struct {
		path
		least  float64       // share of the rate
		queued time.Duration // at most
	}{
		"1 Gbit/s":                {path{pagesOfGigabit, 200 * time.Microsecond, 0}, 0.99, 6 * time.Millisecond},
		"1 Gbit/s, faults":        {path{pagesOfGigabit, 200 * time.Microsecond, time.Millisecond}, 0.95, 8 * time.Millisecond},
		"10 Gbit/s":               {path{10 * pagesOfGigabit, 100 * time.Microsecond, 0}, 0.99, 6 * time.Millisecond},
		"100 Mbit/s":              {path{pagesOfGigabit / 10, time.Millisecond, 0}, 0.99, 20 * time.Millisecond},
		"100 Mbit/s, 25 ms":       {path{pagesOfGigabit / 10, 25 * time.Millisecond, 0}, 0.99, 100 * time.Millisecond},
		"1 Gbit/s, 25 ms":         {path{pagesOfGigabit, 25 * time.Millisecond, 0}, 0.99, 100 * time.Millisecond},
		"1 Gbit/s, 25 ms, faults": {path{pagesOfGigabit, 25 * time.Millisecond, 5 * time.Millisecond}, 0.85, 30 * time.Millisecond},
		"1 Gbit/s, 100 ms":        {path{pagesOfGigabit, 100 * time.Millisecond, 0}, 0.99, 250 * time.Millisecond},
		"10 Mbit/s":               {path{pagesOfGigabit / 100, time.Millisecond, 0}, 0.99, 100 * time.Millisecond},
	} {
		w := Window{Chunk: 64, Most: 8192, Target: time.Millisecond, Slack: 3 * time.Millisecond}
		share, queued := c.drive(&w, 4*time.Second)
		t.Logf("%s: %.3f of the rate, queue of %v, limit %d", name, share, queued, w.Limit())
		if share < c.least || queued > c.queued {
			t.Errorf("%s: %.3f of the rate, want %.2f; %v in the queue, want at most %v", name, share, c.least, queued, c.queued)
		}
	}
}
