package paths

// figuresOf are the figures of one round.
type figuresOf map[Case]Figures

// expression is computed from the figures of one round. It is false if one is
// not there.
type expression func(figuresOf) (float64, bool)

// of is a figure of a case.
func of(c Case, f Figure) expression {
	return func(r figuresOf) (float64, bool) {
		n, ok := r[c][f]
		return n, ok
	}
}

func constant(n float64) expression { return func(figuresOf) (float64, bool) { return n, true } }

// plus is a + times × b.
func plus(a expression, times float64, b expression) expression {
	return both(a, b, func(a, b float64) (float64, bool) { return a + times*b, true })
}

// over is a / b.
func over(a, b expression) expression {
	return both(a, b, func(a, b float64) (float64, bool) { return a / b, b > 0 })
}

func both(a, b expression, do func(a, b float64) (float64, bool)) expression {
	return func(r figuresOf) (float64, bool) {
		x, okX := a(r)
		y, okY := b(r)
		if !okX || !okY {
			return 0, false
		}
		return do(x, y)
	}
}

// share is the part of a link's rate that a case's guest memory had, in %.
func share(c Case, f Figure) expression {
	return over(of(c, f), constant(float64(c.Link.RateBits)/8/100))
}

// goal is a figure and its limit; nil: it is only told. limitIs says how a
// limit comes about that is not the same always.
type goal struct {
	group, what  string
	value, limit expression
	atLeast      bool
	limitIs      string
}

// The groups of goals, in their order.
const (
	groupIdle   = "Remote fault, 1 thread, idle link"
	groupBusy   = "Remote fault, 1 thread, background on a full link"
	groupCores  = "Remote fault, 1 thread, busy cores"
	groupDrain  = "Drain, nobody touches memory"
	groupStarve = "Background beside 4 threads at full speed, 1 Gbit/s"
	groupSerial = "All memory read at random, 1 thread, 1 Gbit/s, 25 ms"
	groupMany   = "16 threads at once, 1 Gbit/s, no background"
)

// How limits come about.
const (
	floorAndTrip = "floor + 1.25 × plain QUIC round trip"
	idleAndMore  = "that of the idle link + 1.5 ms"
)

// goals returns everything that is set beside a limit.
func goals() []goal {
	all := faultGoals()
	all = append(all, drainGoals()...)
	return append(all, sharedGoals()...)
}

// told is a figure without a limit.
func told(group, what string, value expression) goal {
	return goal{group: group, what: what, value: value}
}

// most is a figure that should not be above n, and least one not below.
func most(group, what string, value expression, n float64) goal {
	return goal{group: group, what: what, value: value, limit: constant(n)}
}

func least(group, what string, value expression, n float64) goal {
	return goal{group: group, what: what, value: value, limit: constant(n), atLeast: true}
}

// faultGoals are about how long one thread waits.
func faultGoals() []goal {
	idle, trip, floor, beside := on(lan, OnDemand, 1), on(lan, RoundTrip, 1), on(lan, Floor, 1), on(lan, Beside, 1)
	distant, distantTrip := on(near, OnDemand, 1), on(near, RoundTrip, 1)
	cores := plus(of(floor.busy(), P50), 1.25, of(trip.busy(), P50))
	return []goal{
		{groupIdle, "1 Gbit/s: p50, µs", of(idle, P50), plus(of(floor, P50), 1.25, of(trip, P50)), false, floorAndTrip},
		most(groupIdle, "1 Gbit/s: p99 ÷ p50", over(of(idle, P99), of(idle, P50)), 3),
		told(groupIdle, "1 Gbit/s: p99.9, µs", of(idle, P999)),
		told(groupIdle, "1 Gbit/s: max, µs", of(idle, Max)),
		{groupIdle, "1 Gbit/s, 1 ms: p50, µs", of(distant, P50), plus(of(floor, P50), 1.25, of(distantTrip, P50)), false, floorAndTrip},
		most(groupIdle, "1 Gbit/s, 1 ms: p99 ÷ p50", over(of(distant, P99), of(distant, P50)), 3),
		{groupBusy, "p50, µs", of(beside, P50), plus(of(idle, P50), 1, constant(1500)), false, idleAndMore},
		most(groupBusy, "p99, µs", of(beside, P99), 5000),
		most(groupBusy, "p99.9, µs", of(beside, P999), 20000),
		told(groupBusy, "max, µs", of(beside, Max)),
		least(groupBusy, "guest memory ÷ link meanwhile, %", share(beside, Rate), 90),
		told(groupBusy, "with headers ÷ link meanwhile, %", share(beside, WireRate)),
		most(groupCores, "p50 ÷ floor's", over(of(idle.busy(), P50), of(floor.busy(), P50)), 2),
		most(groupCores, "p99 ÷ floor's", over(of(idle.busy(), P99), of(floor.busy(), P99)), 2),
		told(groupCores, "p50 ÷ (floor + 1.25 × round trip)", over(of(idle.busy(), P50), cores)),
	}
}

// drainGoals are about the background alone.
func drainGoals() []goal {
	drain, raw := on(lan, Drain, 1), on(lan, RawQUIC, 1)
	slow, lost := on(slow25, Drain, 1), on(lossy, Drain, 1)
	return []goal{
		least(groupDrain, "1 Gbit/s: ÷ link, %", share(drain, Rate), 90),
		told(groupDrain, "1 Gbit/s: whole ÷ link, %", share(drain, WholeRate)),
		told(groupDrain, "1 Gbit/s: plain QUIC ÷ link, %", share(raw, Rate)),
		most(groupDrain, "1 Gbit/s: CPU ÷ plain QUIC's", over(of(drain, CPU), of(raw, CPU)), 1.5),
		told(groupDrain, "1 Gbit/s: ordinary memory ÷ link, %", share(drain.ordinary(), Rate)),
		least(groupDrain, "100 Mbit/s, 25 ms: ÷ link, %", share(slow, Rate), 85),
		told(groupDrain, "100 Mbit/s, 25 ms: CPU ÷ plain QUIC", over(of(slow, CPU), of(on(slow25, RawQUIC, 1), CPU))),
		least(groupDrain, "100 Mbit/s, 100 ms: ÷ link, %", share(on(slow99, Drain, 1), Rate), 75),
		least(groupDrain, "25 ms, 1 % loss: ÷ TCP Reno", over(of(lost, Rate), of(on(lossy, Reno, 1), Rate)), 0.8),
	}
}

// sharedGoals are about what happens at the same time.
func sharedGoals() []goal {
	four, alone := on(lan, Beside, 4), over(of(on(lan, Drain, 1), Rate), constant(100))
	one, many := on(near, OnDemand, 1), on(near, OnDemand, 16)
	oneHere, manyHere := on(lan, OnDemand, 1), on(lan, OnDemand, 16)
	return []goal{
		least(groupStarve, "background ÷ its rate alone, %", over(of(four, BulkRate), alone), 30),
		told(groupStarve, "guest memory ÷ link, %", share(four, Rate)),
		least(groupSerial, "pages/s ÷ userfaultfd-go's", over(of(on(far, Sweep, 1), PagesPerSecond), of(on(far, Serial, 1), PagesPerSecond)), 20),
		least(groupMany, "1 ms: faults/s ÷ those of 1 thread", over(of(many, PerSecond), of(one, PerSecond)), 4),
		most(groupMany, "1 ms: longest mean wait ÷ median", of(many, Unfairness), 3),
		told(groupMany, "0 ms: faults/s ÷ those of 1 thread", over(of(manyHere, PerSecond), of(oneHere, PerSecond))),
		told(groupMany, "0 ms: longest mean wait ÷ median", of(manyHere, Unfairness)),
	}
}

// judge computes a goal over all rounds. A round in which something that it
// needs was not measured is left out.
func (g goal) judge(rounds []figuresOf) Goal {
	var values, limits []float64
	for _, r := range rounds {
		value, ok := g.value(r)
		limit := 0.0
		if ok && g.limit != nil {
			limit, ok = g.limit(r)
		}
		if ok {
			values, limits = append(values, value), append(limits, limit)
		}
	}
	out := Goal{Group: g.group, What: g.what, Value: statOf(values), AtLeast: g.atLeast, LimitIs: g.limitIs}
	if g.limit == nil {
		return out
	}
	limit := statOf(limits)
	out.Limit = &limit
	out.Met = len(values) > 0 && (out.Value.Median == limit.Median || out.Value.Median > limit.Median == g.atLeast)
	return out
}
