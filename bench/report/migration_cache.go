package report

import (
	"slices"

	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/lazymig/lazymig/internal/migrate"
)

// pageBytes is the size of a guest's page.
const pageBytes = 4096

// cacheColumns are what a cache is worth.
func cacheColumns() []column {
	return []column{
		{"sent, % of memory", reported(func(m migrations.Record, r *migrate.Report) (float64, bool) {
			return 100 * float64(m.BytesOut) / (pageBytes * filled(r)), filled(r) > 0
		}), false},
		{"from cache, %", reported(func(_ migrations.Record, r *migrate.Report) (float64, bool) {
			return 100 * float64(r.PagesCache) / filled(r), filled(r) > 0
		}), false},
		{"MB after the stop", reported(func(_ migrations.Record, r *migrate.Report) (float64, bool) {
			return float64(r.PagesDemand+r.PagesBulk) * pageBytes / 1e6, true
		}), false},
		{"recipe here, s", reported(func(_ migrations.Record, r *migrate.Report) (float64, bool) {
			return r.RecipeMS / 1000, r.FaultsAfterRecipe != nil
		}), false},
		{"faults then", reported(func(_ migrations.Record, r *migrate.Report) (float64, bool) {
			return float64(later(r)), r.FaultsAfterRecipe != nil
		}), false},
		{"to the source, %", reported(func(_ migrations.Record, r *migrate.Report) (float64, bool) {
			if later(r) == 0 {
				return 0, r.FaultsAfterRecipe != nil
			}
			return 100 * float64(r.FaultsAfterRecipe.Remote) / float64(later(r)), true
		}), false},
	}
}

// reported is a figure that lazymig's destination tells.
func reported(f func(migrations.Record, *migrate.Report) (float64, bool)) quantity {
	return func(m migrations.Record) (float64, bool) {
		if m.Own == nil {
			return 0, false
		}
		return f(m, m.Own)
	}
}

// filled returns how many pages of the guest are not zero.
func filled(r *migrate.Report) float64 {
	return float64(r.PagesTotal - min(r.PagesTotal, r.PagesZero+r.PagesDiscarded))
}

// later returns how many faults there were behind the recipe.
func later(r *migrate.Report) uint64 {
	if f := r.FaultsAfterRecipe; f != nil {
		return f.Zero + f.Cache + f.Remote
	}
	return 0
}

// cacheTable sets the states of lazymig's cache side by side, or returns false if
// there was none.
func cacheTable(rows []group) (Table, bool) {
	hasCache := func(m migrations.Record) bool { return m.Cache != migrations.NoCache }
	var own []group
	some := false
	for _, g := range rows {
		if len(g.runs) > 0 && g.runs[0].Technique == migrations.Lazymig {
			own = append(own, g)
			some = some || slices.ContainsFunc(g.runs, hasCache)
		}
	}
	return migrationTable("", own, cacheColumns()), some
}
