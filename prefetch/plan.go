package prefetch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lazymig/lazymig"
)

// Policy is one way to guess what a guest needs next.
type Policy string

const (
	// HotSet sends ahead what the guest touched first at earlier switches.
	HotSet Policy = "hotset"
	// Stride runs ahead of a thread that walks through memory in steps.
	StridePolicy Policy = "stride"
	// Bubble grows around the pages that were touched last.
	Bubble Policy = "bubble"
	// LinearPolicy walks from the first page to the last.
	LinearPolicy Policy = "linear"
)

// Policies lists all policies, in the order in which they are asked.
func Policies() []Policy { return []Policy{HotSet, StridePolicy, Bubble, LinearPolicy} }

// ParsePolicies reads a list such as "hotset,linear".
func ParsePolicies(text string) ([]Policy, error) {
	var list []Policy
	for name := range strings.SplitSeq(text, ",") {
		p := Policy(strings.TrimSpace(name))
		if !slices.Contains(Policies(), p) {
			return nil, fmt.Errorf("%q is no prefetch policy: use some of hotset, stride, bubble, linear", name)
		}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, nil
}

// maxThreads bounds the threads whose strides are followed, maxAhead the pages that
// are to be asked for ahead of them.
const (
	maxThreads = 1024
	maxAhead   = 4096
)

// Plan decides what the background asks for next: what lies ahead of the threads
// that walk, then what is next to the pages touched last, then everything.
type Plan struct {
	useStride, useBubble, useLinear bool

	strides map[uint32]*Stride
	most    int           // pages that a stride runs ahead
	ahead   []lazymig.Run // what strides want
	bubbles Bubbles
	linear  Linear
}

// NewPlan returns a plan of the given policies; HotSet is not its business.
// most bounds how many pages a stride runs ahead, reach the bubbles (0: no
// bound).
func NewPlan(policies []Policy, most int, reach uint64) *Plan {
	return &Plan{
		useStride: slices.Contains(policies, StridePolicy),
		useBubble: slices.Contains(policies, Bubble),
		useLinear: slices.Contains(policies, LinearPolicy),
		strides:   map[uint32]*Stride{}, most: most,
		bubbles: Bubbles{Reach: reach},
	}
}

// Fault learns that a thread of the guest waits for page p.
func (l *Plan) Fault(thread uint32, p lazymig.PageNumber) {
	if l.useBubble {
		l.bubbles.Fault(p)
	}
	if !l.useStride {
		return
	}
	s := l.strides[thread]
	if s == nil {
		if len(l.strides) == maxThreads {
			return
		}
		s = &Stride{Most: l.most}
		l.strides[thread] = s
	}
	step, ahead := s.Fault(p)
	for i := 1; i <= ahead; i++ {
		at := int64(p) + step*int64(i)
		if at < 0 {
			return
		}
		l.ahead = append(l.ahead, lazymig.Run{First: lazymig.PageNumber(at), Count: 1})
	}
	if old := len(l.ahead) - maxAhead; old > 0 { // the threads have walked past them
		l.ahead = append(l.ahead[:0], l.ahead[old:]...)
	}
}

// Urgent reports whether something is wanted ahead of a thread's walk.
func (l *Plan) Urgent() bool { return len(l.ahead) > 0 }

// Next returns the next run of at most limit pages to ask for, or false if
// nothing is missing that a policy cares for.
func (l *Plan) Next(limit uint64, t Table) (lazymig.Run, bool) {
	for len(l.ahead) > 0 {
		want := l.ahead[0]
		l.ahead = l.ahead[1:]
		if !t.IsMissing(want.First) {
			continue
		}
		run := lazymig.Run{First: want.First, Count: 1}
		for run.Count < limit && len(l.ahead) > 0 && l.ahead[0].First == run.End() && t.IsMissing(run.End()) {
			run.Count++
			l.ahead = l.ahead[1:]
		}
		return run, true
	}
	if l.useBubble {
		if run, ok := l.bubbles.Next(limit, t); ok {
			return run, true
		}
	}
	if l.useLinear {
		return l.linear.Next(limit, t.Missing)
	}
	return lazymig.Run{}, false
}
