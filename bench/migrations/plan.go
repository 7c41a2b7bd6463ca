package migrations

import (
	"fmt"
	"slices"
)

// Factor is what is varied around the base.
type Factor string

// The factors. All other values stay those of the base.
const (
	FactorBase  Factor = "base"
	FactorLink  Factor = "link"
	FactorRTT   Factor = "rtt"
	FactorLoss  Factor = "loss"
	FactorGuest Factor = "guest"
	// FactorTLS encrypts what QEMU sends.
	FactorTLS Factor = "tls"
	// FactorCache is what lazymig's destination has already.
	FactorCache Factor = "cache"
)

// Factors lists what can be varied.
func Factors() []Factor {
	return []Factor{FactorLink, FactorRTT, FactorLoss, FactorGuest, FactorTLS, FactorCache}
}

// ParseFactor returns the factor with the name.
func ParseFactor(name string) (Factor, error) {
	if f := Factor(name); f == FactorBase || slices.Contains(Factors(), f) {
		return f, nil
	}
	return "", fmt.Errorf("%q is no factor: use %s, or %s alone", name, list(Factors()), FactorBase)
}

// Base is the setting around which factors are varied: 1 Gbit/s, no delay, no
// loss, a random writer of 600 MiB in 1 GiB, nothing in any cache.
func Base() Setting {
	return Setting{RateBits: 1e9, Guest: RandomWriter, MemoryMiB: 1024, ChangingMiB: 600, RAM: RAMShared}
}

// variants returns base and the settings that a factor makes of it.
func variants(base Setting, factor Factor) []Setting {
	var settings []Setting
	add := func(change func(*Setting)) {
		s := base
		if change(&s); s != base {
			settings = append(settings, s)
		}
	}
	switch factor {
	case FactorLink:
		for _, bits := range []uint64{100e6, 1e9, 0} {
			add(func(s *Setting) { s.RateBits = bits })
		}
	case FactorRTT:
		for _, ms := range []float64{0, 1, 6, 25, 50, 100, 150} {
			add(func(s *Setting) { s.RTTMS = ms })
		}
	case FactorLoss:
		for _, share := range []float64{0, 0.001, 0.01, 0.02} {
			add(func(s *Setting) { s.Loss = share })
		}
	case FactorGuest:
		for _, g := range Guests() {
			if g != Tenth && g != Reader { // they are for caches
				add(func(s *Setting) { s.Guest = g })
			}
		}
	case FactorCache:
		settings = cacheVariants(base)
	case FactorTLS:
		add(func(s *Setting) { s.TLS = true })
	case FactorBase:
		add(func(*Setting) {})
	}
	return settings
}

// Plan lists the runs for a base and what is varied around it, each repeated
// some times by each technique. The techniques take turns, and the repeats come
// after everything else, so that what disturbs the machine for a while disturbs
// all of them.
func Plan(base Setting, factors []Factor, techniques []Technique, repeat int) []Run {
	type variant struct {
		Setting
		factor Factor
	}
	settings := []variant{{base, FactorBase}}
	for _, f := range factors {
		for _, s := range variants(base, f) {
			if !slices.ContainsFunc(settings, func(v variant) bool { return v.Setting == s }) {
				settings = append(settings, variant{s, f})
			}
		}
	}
	var runs []Run
	for n := 1; n <= repeat; n++ {
		for _, v := range settings {
			for _, t := range techniques {
				if (t == Lazymig || t == Present) && v.factor == FactorTLS {
					continue // it always does, or has nothing to encrypt: the base has it
				}
				if t != Lazymig && v.Cache != NoCache {
					continue // it has none
				}
				s := v.Setting
				s.Technique = t
				if t == Lazymig || t == Present {
					s.RAM, s.TLS = RAMShared, false
				}
				runs = append(runs, Run{Setting: s, Repeat: n, Factor: string(v.factor)})
			}
		}
	}
	return runs
}
