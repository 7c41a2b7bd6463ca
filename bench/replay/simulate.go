package replay

import (
	"container/heap"
	"slices"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/prefetch"
)

// Link is the path to the source.
type Link struct {
	// BytesPerSecond is its rate, RTT the round trip of an answer without it.
	BytesPerSecond float64
	RTT            time.Duration
	// Window is how many pages of the background may be under way, Chunk how many
	// it asks for at a time.
	Window, Chunk uint64
}

// Result is what a policy made of a trace.
type Result struct {
	Policies []prefetch.Policy `json:"policies"`
	// Touches are those of pages that are not zero; Faults of them found their
	// page missing, and Network of these one that nobody had asked for.
	Touches int `json:"touches"`
	Faults  int `json:"faults"`
	Network int `json:"network"`
	// Fetched is how many pages the policies brought until the last touch, Used
	// how many of them were touched behind their arrival or while they were
	// under way. HotSet pages count in both.
	Fetched int `json:"fetched"`
	Used    int `json:"used"`
	// LostMS is how long threads waited, in all; FirstMS until the first 300
	// touches were done.
	LostMS  float64 `json:"lost_ms"`
	FirstMS float64 `json:"first_ms"`
}

// Precision is the share of what was fetched that was touched; Recall the share
// of the touches that found their page there.
func (r Result) Precision() float64 { return share(r.Used, r.Fetched) }

// Recall is the share of the touches whose page was there in time.
func (r Result) Recall() float64 { return share(r.Touches-r.Faults, r.Touches) }

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// firstTouches is how many touches come before a guest is heard of again.
const firstTouches = 300

// pageBytes is what a page takes on the link, with digest and headers.
const pageBytes = lazymig.PageSize + 32 + 160

// simulation is one replay.
type simulation struct {
	trace   Trace
	link    Link
	plan    *prefetch.Plan
	state   []pageState
	arrive  []time.Duration // when a page that is under way is there
	ahead   []bool          // who brought it was the background
	busy    time.Duration   // until when the link is
	clock   time.Duration   // how far the background is
	flights flights
	flying  uint64
	result  Result
}

type pageState uint8

const (
	missing pageState = iota
	flying
	there
)

// flight is one chunk of the background under way.
type flight struct {
	at    time.Duration
	pages uint64
}

type flights []flight

func (f flights) Len() int           { return len(f) }
func (f flights) Less(i, j int) bool { return f[i].at < f[j].at }
func (f flights) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)        { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// IsMissing is that of prefetch.Table.
func (s *simulation) IsMissing(p lazymig.PageNumber) bool {
	return int(p) < len(s.state) && s.state[p] == missing
}

// Missing is that of prefetch.Table.
func (s *simulation) Missing(from lazymig.PageNumber) (lazymig.Run, bool) {
	for p := uint64(from); p < s.trace.Pages; p++ {
		if s.state[p] != missing {
			continue
		}
		run := lazymig.Run{First: lazymig.PageNumber(p)}
		for ; p < s.trace.Pages && s.state[p] == missing && run.Count < 64; p++ {
			run.Count++
		}
		return run, true
	}
	return lazymig.Run{}, false
}

// MissingBefore is that of prefetch.Table.
func (s *simulation) MissingBefore(to lazymig.PageNumber) (lazymig.Run, bool) {
	for p := int64(min(uint64(to), s.trace.Pages)) - 1; p >= 0; p-- {
		if s.state[p] != missing {
			continue
		}
		run := lazymig.Run{}
		for ; p >= 0 && s.state[p] == missing && run.Count < 64; p-- {
			run.First, run.Count = lazymig.PageNumber(p), run.Count+1
		}
		return run, true
	}
	return lazymig.Run{}, false
}

// Simulate replays a trace with some policies. hot are the pages that go ahead,
// if HotSet is among them: they are there at the resume.
func Simulate(trace Trace, policies []prefetch.Policy, link Link, hot []lazymig.PageNumber, most int, reach uint64) Result {
	s := &simulation{
		trace: trace, link: link, plan: prefetch.NewPlan(policies, most, reach),
		state: make([]pageState, trace.Pages), arrive: make([]time.Duration, trace.Pages), ahead: make([]bool, trace.Pages),
		result: Result{Policies: policies},
	}
	for _, t := range trace.Touches {
		if t.Zero {
			s.state[t.Page] = there
		}
	}
	if slices.Contains(policies, prefetch.HotSet) {
		for _, p := range hot {
			if uint64(p) < trace.Pages && s.state[p] == missing {
				s.state[p], s.ahead[p] = there, true
				s.result.Fetched++
			}
		}
	}
	s.run()
	return s.result
}

// walker is one thread of the guest on its way through its touches.
type walker struct {
	touches []Touch
	at      time.Duration // when it makes the next one
}

// run lets all threads make their touches, each in its own order.
func (s *simulation) run() {
	var threads []*walker
	by := map[uint32]*walker{}
	for _, t := range s.trace.Touches {
		w := by[t.Thread]
		if w == nil {
			w = &walker{at: t.Think}
			by[t.Thread] = w
			threads = append(threads, w)
		}
		w.touches = append(w.touches, t)
	}
	done := 0
	for len(threads) > 0 {
		next := slices.MinFunc(threads, func(a, b *walker) int { return int(a.at - b.at) })
		s.fetch(next.at)
		t := next.touches[0]
		if !t.Zero {
			s.result.Touches++
			waited := s.touch(t, next.at)
			s.result.LostMS += waited.Seconds() * 1e3
			next.at += waited
		}
		if done++; done == firstTouches {
			s.result.FirstMS = next.at.Seconds() * 1e3
		}
		if next.touches = next.touches[1:]; len(next.touches) == 0 {
			threads = slices.DeleteFunc(threads, func(w *walker) bool { return w == next })
			continue
		}
		next.at += next.touches[0].Think
	}
}

// touch returns how long a thread waits for its page.
func (s *simulation) touch(t Touch, now time.Duration) time.Duration {
	p := t.Page
	if s.ahead[p] && s.state[p] != missing {
		s.result.Used++
		s.ahead[p] = false
	}
	switch {
	case s.state[p] == there, s.state[p] == flying && s.arrive[p] <= now:
		s.state[p] = there
		return 0
	case s.state[p] == flying:
		s.result.Faults++
		s.plan.Fault(t.Thread, p)
		return min(s.arrive[p]-now, s.link.RTT+s.takes(1)) // it is asked for again, and goes before
	}
	s.result.Faults++
	s.result.Network++
	s.state[p] = there
	s.plan.Fault(t.Thread, p)
	return s.link.RTT + s.takes(1)
}

// takes is how long the link takes for some pages.
func (s *simulation) takes(pages uint64) time.Duration {
	return time.Duration(float64(pages*pageBytes) / s.link.BytesPerSecond * float64(time.Second))
}

// fetch lets the background ask for as much as it may until now: whenever a
// chunk lands there is room for another.
func (s *simulation) fetch(now time.Duration) {
	for {
		if s.flying+s.link.Chunk > s.link.Window {
			if len(s.flights) == 0 || s.flights[0].at > now {
				return
			}
			f := heap.Pop(&s.flights).(flight)
			s.flying -= f.pages
			s.clock = max(s.clock, f.at)
			continue
		}
		run, ok := s.plan.Next(s.link.Chunk, s)
		if !ok {
			s.clock = max(s.clock, now)
			return
		}
		s.send(run)
	}
}

// send puts the answer to a request of the background on the link.
func (s *simulation) send(run lazymig.Run) {
	s.busy = max(s.busy, s.clock) + s.takes(run.Count)
	f := flight{at: s.busy + s.link.RTT, pages: run.Count}
	heap.Push(&s.flights, f)
	s.flying += run.Count
	for p := run.First; p < run.End(); p++ {
		s.state[p], s.arrive[p], s.ahead[p] = flying, f.at, true
	}
	s.result.Fetched += int(run.Count)
}
