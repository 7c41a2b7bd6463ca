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

// goal is a figure and its limit; nil: it is only told.
type goal struct {
	group, what, unit string
	value, limit      expression
	atLeast           bool
}

// The groups of goals, in their order.
const (
	groupIdle   = "remote fault, idle link"
	groupBusy   = "remote fault, background on a full link"
	groupCores  = "remote fault, busy cores"
	groupDrain  = "drain"
	groupStarve = "background beside threads at full speed"
	groupSerial = "whole memory at random, 25 ms"
	groupMany   = "16 threads at once"
)

// goals returns everything that is set beside a limit.
func goals() []goal {
	all := faultGoals()
	all = append(all, drainGoals()...)
	return append(all, sharedGoals()...)
}

// faultGoals are about how long one thread waits.
func faultGoals() []goal {
	idle, trip, floor := on(lan, OnDemand, 1), on(lan, RoundTrip, 1), on(lan, Floor, 1)
	beside := on(lan, Beside, 1)
	return []goal{
		{groupIdle, "p50; limit: floor + 1.25 × plain QUIC round trip", "µs", of(idle, P50), plus(of(floor, P50), 1.25, of(trip, P50)), false},
		{groupIdle, "p99 over p50", "×", over(of(idle, P99), of(idle, P50)), constant(3), false},
		{groupIdle, "p99.9", "µs", of(idle, P999), nil, false},
		{groupIdle, "max", "µs", of(idle, Max), nil, false},
		{groupIdle, "1 ms: p50; limit: floor + 1.25 × round trip", "µs", of(on(near, OnDemand, 1), P50), plus(of(floor, P50), 1.25, of(on(near, RoundTrip, 1), P50)), false},
		{groupBusy, "p50; limit: that of the idle link + 1.5 ms", "µs", of(beside, P50), plus(of(idle, P50), 1, constant(1500)), false},
		{groupBusy, "p99", "µs", of(beside, P99), constant(5000), false},
		{groupBusy, "p99.9", "µs", of(beside, P999), constant(20000), false},
		{groupBusy, "max", "µs", of(beside, Max), nil, false},
		{groupBusy, "guest memory, of the link meanwhile", "%", share(beside, Rate), constant(90), true},
		{groupBusy, "with headers, of the link meanwhile", "%", share(beside, WireRate), nil, false},
		{groupCores, "p50 over the floor's", "×", over(of(idle.busy(), P50), of(floor.busy(), P50)), constant(2), false},
		{groupCores, "p99 over the floor's", "×", over(of(idle.busy(), P99), of(floor.busy(), P99)), constant(2), false},
		{groupCores, "p50 over floor + 1.25 × round trip", "×", over(of(idle.busy(), P50), plus(of(floor.busy(), P50), 1.25, of(trip.busy(), P50))), nil, false},
	}
}

// drainGoals are about the background alone.
func drainGoals() []goal {
	drain, raw := on(lan, Drain, 1), on(lan, RawQUIC, 1)
	lost := on(lossy, Drain, 1)
	return []goal{
		{groupDrain, "1 Gbit/s: guest memory, of the link", "%", share(drain, Rate), constant(90), true},
		{groupDrain, "1 Gbit/s: the same from hand-off to last page", "%", share(drain, WholeRate), nil, true},
		{groupDrain, "1 Gbit/s: plain QUIC, of the link", "%", share(raw, Rate), nil, true},
		{groupDrain, "1 Gbit/s: CPU over plain QUIC's", "×", over(of(drain, CPU), of(raw, CPU)), constant(1.5), false},
		{groupDrain, "1 Gbit/s: ordinary memory, of the link", "%", share(drain.ordinary(), Rate), nil, true},
		{groupDrain, "100 Mbit/s, 25 ms: of the link", "%", share(on(slow25, Drain, 1), Rate), constant(85), true},
		{groupDrain, "100 Mbit/s, 100 ms: of the link", "%", share(on(slow99, Drain, 1), Rate), constant(75), true},
		{groupDrain, "25 ms, 1 % loss: over TCP Reno's", "×", over(of(lost, Rate), of(on(lossy, Reno, 1), Rate)), constant(0.8), true},
	}
}

// sharedGoals are about what happens at the same time.
func sharedGoals() []goal {
	one, many := on(near, OnDemand, 1), on(near, OnDemand, 16)
	here := on(lan, OnDemand, 16)
	return []goal{
		{groupStarve, "4 threads: background, of its rate alone", "%", over(of(on(lan, Beside, 4), BulkRate), over(of(on(lan, Drain, 1), Rate), constant(100))), constant(30), true},
		{groupStarve, "4 threads: guest memory, of the link", "%", share(on(lan, Beside, 4), Rate), nil, true},
		{groupSerial, "pages a second over userfaultfd-go's", "×", over(of(on(far, Sweep, 1), PagesPerSecond), of(on(far, Serial, 1), PagesPerSecond)), constant(20), true},
		{groupMany, "1 ms: faults a second over those of 1 thread", "×", over(of(many, PerSecond), of(one, PerSecond)), constant(4), true},
		{groupMany, "1 ms: longest mean wait over median", "×", of(many, Unfairness), constant(3), false},
		{groupMany, "0 ms: faults a second over those of 1 thread", "×", over(of(here, PerSecond), of(on(lan, OnDemand, 1), PerSecond)), nil, true},
		{groupMany, "0 ms: longest mean wait over median", "×", of(here, Unfairness), nil, false},
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
	out := Goal{Group: g.group, What: g.what, Unit: g.unit, Value: statOf(values), AtLeast: g.atLeast}
	if g.limit == nil {
		return out
	}
	limit := statOf(limits)
	out.Limit = &limit
	out.Met = len(values) > 0 && (out.Value.Median == limit.Median || out.Value.Median > limit.Median == g.atLeast)
	return out
}
