package relay

import "time"

// shape decides when a datagram leaves a link. It is pure: the caller brings
// the time, which never goes back.
type shape struct {
	rate  uint64 // bytes per second, 0 for no bound
	delay time.Duration
	free  time.Time // when the link has sent all that it took
}

// plan takes a datagram of n bytes that arrives now and returns when its last
// bit reaches the other end, or false if the queue is full.
func (s *shape) plan(now time.Time, n int) (due time.Time, ok bool) {
	if s.rate == 0 {
		return now.Add(s.delay), true
	}
	start := now
	if s.free.After(now) {
		start = s.free
	}
	if start.Sub(now) > queueTime {
		return time.Time{}, false
	}
	s.free = start.Add(time.Duration(uint64(n) * uint64(time.Second) / s.rate))
	return s.free.Add(s.delay), true
}
