package doctor

import "fmt"

// Status is what a check found.
type Status string

// The results of a check. Unknown is worth a look, as Limited is.
const (
	OK      Status = "ok"
	Limited Status = "limited"
	Unknown Status = "unknown"
	NotAble Status = "not able"
)

// Role is a side of a migration.
type Role string

// The sides that a result can be about.
const (
	Source      Role = "source"
	Destination Role = "destination"
	Both        Role = "both"
)

// Covers reports whether something about r concerns the given side.
func (r Role) Covers(side Role) bool { return r == side || r == Both || side == Both }

// Result is what was found out about one thing.
type Result struct {
	// Name is short and stable, such as "kvm".
	Name string `json:"name"`
	// Group is the heading that it belongs under.
	Group string `json:"group"`
	// Role is the side that it matters to.
	Role Role `json:"applies_to"`
	// Status is the verdict.
	Status Status `json:"status"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// Fix is what to do about it, a command where there is one; empty with OK.
	Fix string `json:"fix,omitempty"`
}

// finding is the part of a Result that a check makes.
type finding struct {
	status      Status
	detail, fix string
}

func ok(format string, args ...any) finding {
	return finding{OK, fmt.Sprintf(format, args...), ""}
}

func limited(fix, format string, args ...any) finding {
	return finding{Limited, fmt.Sprintf(format, args...), fix}
}

func unknown(fix, format string, args ...any) finding {
	return finding{Unknown, fmt.Sprintf(format, args...), fix}
}

func notAble(fix, format string, args ...any) finding {
	return finding{NotAble, fmt.Sprintf(format, args...), fix}
}
