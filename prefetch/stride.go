package prefetch

import "github.com/lazymig/lazymig"

// strideHistory is how many steps between faults a Stride looks back at, and
// strideFirst how many of the newest it begins with: those of Leap.
const (
	strideHistory = 32
	strideFirst   = strideHistory / 4
)

// Stride finds the step with which one thread walks through memory, and says
// how far to run ahead of it: the majority trend of Leap (Al Maruf & Chowdhury,
// ATC 2020). Other than there, touches of pages that are present are not seen: a
// fault on the trend, behind the window or on a page of it that has not arrived
// yet, says that the window is used, and doubles it.
type Stride struct {
	// Most bounds the window, in pages.
	Most int

	seen   bool
	last   lazymig.PageNumber
	steps  [strideHistory]int64 // the newest at count-1, as a ring
	count  int
	trend  int64
	window int
}

// Fault learns that the thread has touched p, which was missing, and returns
// the step of its walk and for how many steps to run ahead; 0 if there is no
// trend.
func (s *Stride) Fault(p lazymig.PageNumber) (step int64, ahead int) {
	if !s.seen {
		s.seen, s.last = true, p
		return 0, 0
	}
	gone := int64(p) - int64(s.last)
	followed := false
	if s.trend != 0 && gone%s.trend == 0 {
		if n := gone / s.trend; n > 0 && n <= int64(s.window)+1 {
			followed, gone = true, s.trend // it has walked over what had been fetched
		}
	}
	s.last = p
	if gone == 0 {
		return s.trend, 0
	}
	s.steps[s.count%strideHistory] = gone
	s.count++
	trend := s.majority()
	s.resize(trend, followed)
	s.trend = trend
	if trend == 0 {
		return 0, 0
	}
	return trend, s.window
}

// resize opens the window while it is followed and closes it by half when it is
// not.
func (s *Stride) resize(trend int64, followed bool) {
	if followed {
		s.window *= 2
	} else {
		s.window /= 2
	}
	if trend != 0 {
		s.window = max(s.window, 1)
	}
	s.window = min(s.window, max(s.Most, 1))
}

// majority returns the step that more than half of the newest ones are, for the
// smallest number of newest ones that has one; or 0.
func (s *Stride) majority() int64 {
	have := min(s.count, strideHistory)
	for n := strideFirst; ; n *= 2 {
		n = min(n, have)
		candidate, votes := s.vote(n)
		if votes*2 > n {
			return candidate
		}
		if n == have {
			return 0
		}
	}
}

// vote is Boyer and Moore's majority vote among the newest n steps, counted.
func (s *Stride) vote(n int) (candidate int64, votes int) {
	step := func(i int) int64 { return s.steps[(s.count-1-i)%strideHistory] }
	lead := 0
	for i := range n {
		switch x := step(i); {
		case lead == 0:
			candidate, lead = x, 1
		case x == candidate:
			lead++
		default:
			lead--
		}
	}
	for i := range n {
		if step(i) == candidate {
			votes++
		}
	}
	return candidate, votes
}
