package migrate

import (
	"fmt"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
)

// RefusedError is returned when a check refuses the migration. Nothing was
// touched.
type RefusedError struct {
	// Side is "source" or "destination".
	Side string
	// Checks are those that refuse.
	Checks []vmm.Check
}

// Error names the first reasons.
func (e *RefusedError) Error() string {
	var reasons []string
	for _, c := range e.Checks {
		reasons = append(reasons, c.Name+": "+c.Detail)
	}
	return fmt.Sprintf("the %s refuses: %s", e.Side, strings.Join(reasons, "; "))
}

// Hint returns what to do about the first reason.
func (e *RefusedError) Hint() string { return e.Checks[0].Fix }

// reportChecks tells the checks of one side and returns a *RefusedError if one
// refuses.
func reportChecks(report func(Event), side string, checks []vmm.Check) error {
	var refused []vmm.Check
	for _, c := range checks {
		report(Event{Event: EventCheck, Side: side, Check: &c})
		if c.Status == vmm.StatusRefused {
			refused = append(refused, c)
		}
	}
	if len(refused) > 0 {
		return &RefusedError{Side: side, Checks: refused}
	}
	return nil
}
