package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/demo"
	"github.com/lazymig/lazymig/internal/migrate"
)

// story tells a demonstration for people. One goroutine uses it.
type story struct {
	paper  *paper
	about  demo.About
	before float64 // the guest's speed
	vcpu   string
	speeds []float64
	told   time.Duration // of the last plain line of progress
	shown  *demo.Progress
	mapped bool // the plain story has shown a map
}

const (
	// plainProgress is how often a story without a terminal tells the progress.
	plainProgress = time.Second
	// reportName is the width of the names in the report.
	reportName = 21
)

// tell writes what an event has to say. It returns the first error of the
// paper.
func (s *story) tell(e demo.Event) error {
	switch e.Event {
	case demo.EventBegin:
		s.begin(*e.About)
	case demo.EventRunning:
		s.before = e.Speed
		s.vcpu = e.VCPU
		s.say("It does %s page operations in a second. Its vCPU is %s.", amount(e.Speed), e.VCPU)
	case demo.EventSwitch:
		s.chapter("2. The switch. Registers and devices go over, the memory stays.")
	case demo.EventSwitched:
		s.say("The guest runs at the destination. Its heartbeat, one each millisecond, paused for %s ms.", figure(e.GapMS))
		s.chapter("3. The memory follows the running guest. One sign stands for %s.", wholeText(s.about.MemoryBytes/demo.MapCells))
		s.paper.say(margin + "A page that it touches too early comes ahead of all others, on demand.")
	case demo.EventProgress:
		s.progress(e.Progress)
	case demo.EventCut:
		s.say("The link is cut now, for %s. Nobody tells the two sides.", duration(s.about.BreakMS))
		s.showMap()
	case demo.EventWhole:
		s.say("The link is whole again.")
	case demo.EventArrived:
		s.arrived(e.Progress)
	case demo.EventStall:
		s.stall(*e.Stall)
	case demo.EventVerifying:
		s.chapter("4. The verification. Pages are compared with what they must hold, every byte.")
		if e.VCPU != s.vcpu {
			s.say("(At the destination its vCPU is %s: speeds do not compare.)", e.VCPU)
		}
	case demo.EventVerified:
		s.say("%s pages compared, %d wrong. %s heartbeats came, none is missing, none came twice.",
			count(e.Verified.Pages), e.Verified.Wrong, count(e.Verified.Beats))
	case demo.EventReport:
		s.report(*e.Report)
	}
	return s.paper.err
}

// say tells something within a chapter.
func (s *story) say(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), lineWidth-len(margin)) {
		s.paper.say(margin + line)
	}
}

// chapter begins a new part.
func (s *story) chapter(format string, args ...any) {
	s.paper.say("", s.paper.paint(bold, fmt.Sprintf(format, args...)))
}

func (s *story) begin(about demo.About) {
	*s = story{paper: s.paper, about: about}
	delay := "no delay"
	if about.LinkRTTMS > 0 {
		delay = duration(about.LinkRTTMS) + " for a round trip"
	}
	text := fmt.Sprintf("A running virtual machine moves to another host. Both hosts are this machine; the link between them is simulated: %s, %s. QUIC, mutual TLS 1.3, keys made for this run.",
		rateText(about.LinkRate), delay)
	s.paper.say(wrap(text, lineWidth)...)
	s.chapter("1. A guest runs at the source.")
	s.say("%s of memory, %s. It changes page after page, and counts.", wholeText(about.MemoryBytes), about.Guest)
}

// progress draws the block, or tells a line now and then.
func (s *story) progress(p *demo.Progress) {
	s.speeds = append(s.speeds, p.Speed)
	if s.paper.live() {
		s.paper.draw(append([]string{""}, s.block(p)...))
		return
	}
	if since := time.Duration(p.SinceMS * float64(time.Millisecond)); since-s.told >= plainProgress {
		s.told = since
		s.say("%s", s.counts(p))
	}
	if s.shown = p; 2*p.Known() >= p.Total && !s.mapped {
		s.showMap()
	}
}

// showMap shows the page map, once, in a story of plain lines.
func (s *story) showMap() {
	if s.paper.live() || s.mapped || s.shown == nil || s.shown.Map == nil {
		return
	}
	s.mapped = true
	s.paper.say(append(append([]string{""}, s.block(s.shown)...), "")...)
}

// arrived tells how the drain went.
func (s *story) arrived(p *demo.Progress) {
	if s.paper.live() {
		s.paper.draw(append([]string{""}, s.block(p)...))
		s.paper.keep()
		s.paper.say("")
	}
	s.say("All memory is there, %.1f s after the switch. The source is needed no more.", p.SinceMS/1000)
}

func (s *story) stall(stall demo.Stall) {
	switch {
	case stall.AfterMS == 0:
		s.say("The link was cut for %s. The guest did not wait for it in the end; its longest pause was %s.",
			duration(stall.CutMS), duration(stall.StalledMS))
	default:
		s.say("The link was cut for %s. At the longest the guest did nothing for %s. It went on by itself, %s after the link was whole.",
			duration(stall.CutMS), duration(stall.StalledMS), duration(stall.AfterMS))
	}
}

// report sums up.
func (s *story) report(r demo.Report) {
	if r.Outcome != demo.OutcomeVerified {
		s.broken(r)
		return
	}
	s.chapter("Report")
	for _, row := range s.rows(r) {
		name := row[0]
		for _, line := range wrap(row[1], lineWidth-len(margin)-reportName) {
			s.paper.say(fmt.Sprintf("%s%-*s%s", margin, reportName, name, line))
			name = ""
		}
	}
	s.paper.say("", "Everything that the demonstration made is removed again.")
}

// broken ends a story that did not come to its end. Why, an error says.
func (s *story) broken(r demo.Report) {
	s.paper.keep()
	if s.about.Name != "" && r.Removed {
		s.paper.say("", "The demonstration was not finished. Everything that it made is removed.")
	}
}

// rows are the lines of the report.
func (s *story) rows(r demo.Report) [][2]string {
	to := r.Destination
	rows := [][2]string{
		{"stood still", fmt.Sprintf("%s ms, from stop to resume by the VMMs' clocks", figure(r.BlackoutMS))},
		{"heartbeat paused", fmt.Sprintf("%s ms, seen from outside", figure(r.GapMS))},
		{"memory moved in", fmt.Sprintf("%s, %s on the wire", duration(r.DrainMS), bytesText(to.BytesReceived))},
		{"pages", fmt.Sprintf("%s: %s zero, %s on demand, %s in the background",
			count(to.PagesTotal), count(to.PagesZero), count(to.PagesDemand), count(to.PagesBulk))},
		{"waits for a page", waits(to.FaultUS.Remote)},
		{"longest operation", duration(r.WorstMS)},
		{"operations/s", fmt.Sprintf("%s before, %s while the memory came, %s after", amount(r.Before), amount(r.During), amount(r.After))},
		{"verified", fmt.Sprintf("%s pages, %d wrong", count(r.Verified.Pages), r.Verified.Wrong)},
	}
	if to.Reconnects > 0 {
		rows = append(rows, [2]string{"link lost and found", times(to.Reconnects)})
	}
	return rows
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func waits(f migrate.Latencies) string {
	if f.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%s: %s ms median, %s ms p99, %s longest",
		count(f.Count), milliseconds(f.P50), milliseconds(f.P99), duration(float64(f.Max)/1000))
}

// wholeText returns a size that is whole KiB, MiB or GiB most often.
func wholeText(bytes uint64) string { return strings.Replace(bytesText(bytes), ".0 ", " ", 1) }

// figure returns milliseconds with as many digits as mean something.
func figure(ms float64) string {
	if ms < 100 {
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

// duration returns milliseconds as a duration for people.
func duration(ms float64) string {
	if ms < 1000 {
		return figure(ms) + " ms"
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}
