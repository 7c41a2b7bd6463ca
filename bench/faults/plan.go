package faults

// Handler is what answers the faults; RoundTrip… have none.
type Handler string

// The handlers, in the order of the tables.
const (
	Floor         Handler = "floor"
	Zero          Handler = "zero"
	LazymigCached Handler = "lazymig-cached"
	Lazymig       Handler = "lazymig"
	LazymigBulk   Handler = "lazymig-bulk"
	SerialQUIC    Handler = "serial-quic"
	SerialTCP     Handler = "serial-tcp"
	RoundTripQUIC Handler = "round-trip-quic"
	RoundTripTCP  Handler = "round-trip-tcp"
)

// Handlers returns all handlers in the order of the tables.
func Handlers() []Handler {
	return []Handler{Floor, Zero, LazymigCached, Lazymig, LazymigBulk, SerialQUIC, SerialTCP, RoundTripQUIC, RoundTripTCP}
}

// RoundTrip reports whether h only asks for pages, without faults.
func (h Handler) RoundTrip() bool { return h == RoundTripQUIC || h == RoundTripTCP }

// Serial reports whether h is the handler that needs cgo.
func (h Handler) Serial() bool { return h == SerialQUIC || h == SerialTCP }

// own reports whether h is lazymig's engine.
func (h Handler) own() bool { return h == Lazymig || h == LazymigBulk || h == LazymigCached }

// Memory is the kind of memory that is touched.
type Memory string

// Kinds of memory.
const (
	Anonymous Memory = "anonymous"
	Shared    Memory = "shared"
	None      Memory = "none" // of a round trip
)

// Load is what else the cores do.
type Load string

// Loads.
const (
	Idle Load = "idle" // nothing
	Busy Load = "busy" // one thread a core computes all the time
)

// Setting is where a handler is measured.
type Setting struct {
	Memory  Memory `json:"memory"`
	Threads int    `json:"threads"`
	Load    Load   `json:"load"`
}

// Case is one thing to measure.
type Case struct {
	Handler Handler `json:"handler"`
	Setting
}

// Quick returns the settings of a run of half a minute.
func Quick() []Setting {
	return []Setting{
		{Anonymous, 1, Idle}, {Anonymous, 4, Idle}, {Anonymous, 16, Idle}, {Shared, 1, Idle}, {Anonymous, 4, Busy},
	}
}

// Full returns all settings.
func Full() []Setting {
	var all []Setting
	for _, load := range []Load{Idle, Busy} {
		for _, memory := range []Memory{Anonymous, Shared} {
			for _, threads := range []int{1, 4, 16} {
				all = append(all, Setting{memory, threads, load})
			}
		}
	}
	return all
}

// plan lists the cases: each handler in each setting, and the round trips once
// for each load. Handlers of one setting follow each other, so that they have
// the machine in the same state.
func plan(settings []Setting) []Case {
	var cases []Case
	done := map[Load]bool{}
	for _, s := range settings {
		for _, h := range Handlers() {
			switch {
			case !h.RoundTrip():
				cases = append(cases, Case{h, s})
			case !done[s.Load]:
				cases = append(cases, Case{h, Setting{None, 1, s.Load}})
			}
		}
		done[s.Load] = true
	}
	return cases
}
