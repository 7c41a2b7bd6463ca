package paths

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// ErrConfig is returned for a Config that cannot work.
var ErrConfig = errors.New("invalid measurement")

// NeedsRootError is returned to those who may not make network namespaces.
type NeedsRootError struct{}

func (NeedsRootError) Error() string {
	return "measuring over links makes network namespaces and taps, which needs root"
}

// Hint says what to do.
func (NeedsRootError) Hint() string { return "run it with sudo" }

// Config says what to measure.
type Config struct {
	// Quick measures fewer cases, once and for a shorter time.
	Quick bool
	// Rounds is how often everything is measured. 0: 1 if Quick, else 3.
	Rounds int
	// Cases are measured. Empty: those of Plan.
	Cases []Case
	// SerialHandler is the path of the program of bench/peers/serialhandler.
	// Empty: NoSerial says why there is none.
	SerialHandler, NoSerial string
	// Profiles is a folder for profiles of lazymig's processor time. Empty: none
	// are made.
	Profiles string
	// Commit is what is measured.
	Commit string
	// Command starts this program again so that it calls Child with the role.
	// Required.
	Command func(ctx context.Context, role string) *exec.Cmd
	// Report is called for each event. The last has the report.
	Report func(Event)
}

func (c Config) withDefaults() (Config, error) {
	if c.Command == nil || c.Report == nil {
		return c, fmt.Errorf("%w: Command and Report are required", ErrConfig)
	}
	if c.Rounds < 0 || c.Rounds > maxRounds {
		return c, fmt.Errorf("%w: %d rounds, want 1 to %d", ErrConfig, c.Rounds, maxRounds)
	}
	if len(c.Cases) == 0 {
		c.Cases = Plan(c.Quick)
	}
	if c.Rounds == 0 {
		c.Rounds = fullRounds
		if c.Quick {
			c.Rounds = quickRounds
		}
	}
	return c, nil
}
