package vmm

import "slices"

// Status is the result of one Check.
type Status string

// The results of a check, from good to bad.
const (
	StatusOK      Status = "ok"
	StatusWarning Status = "warning"
	StatusRefused Status = "refused"
)

// Check is one thing that was looked at before a migration.
type Check struct {
	// Name is short and stable, such as "ram-shared".
	Name string `json:"name"`
	// Status says whether the migration can go on.
	Status Status `json:"status"`
	// Detail says what was found, for people.
	Detail string `json:"detail"`
	// Fix says what to do about a warning or refusal; empty with StatusOK.
	Fix string `json:"fix,omitempty"`
}

// Refused reports whether any of the checks forbids the migration.
func Refused(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Status == StatusRefused })
}
