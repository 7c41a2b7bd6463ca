package migrations

import (
	"fmt"
	"slices"
	"strings"
)

// Technique is a way to move a guest.
type Technique string

// The techniques. All but lazymig's are QEMU's own.
const (
	Lazymig Technique = "lazymig"
	// PreCopy sends the memory while the guest runs at the source, over several
	// connections (multifd).
	PreCopy Technique = "precopy"
	// PreCopyThrottled is PreCopy with auto-converge: QEMU slows the guest down
	// until its memory can be sent.
	PreCopyThrottled Technique = "precopy-throttled"
	// PostCopy switches at once; the pages follow over one connection.
	PostCopy Technique = "postcopy"
	// PostCopyPreempt has a second connection for the pages that the guest
	// waits for.
	PostCopyPreempt Technique = "postcopy-preempt"
	// PreThenPost is one pass of pre-copy, and then PostCopyPreempt.
	PreThenPost Technique = "precopy-postcopy"
	// Present switches to a QEMU that maps the same RAM file, on one machine:
	// nothing is ever missing. It is no way to move a guest but the floor of all
	// that switch before the memory has moved.
	Present Technique = "present"
)

// Techniques lists all techniques in the order in which they take turns.
func Techniques() []Technique {
	return []Technique{Lazymig, PostCopyPreempt, PostCopy, PreThenPost, PreCopy, PreCopyThrottled, Present}
}

// DefaultTechniques lists those that are measured unless others are wanted.
// Throttling the guest is a choice that most users do not make, and Present moves
// nothing.
func DefaultTechniques() []Technique {
	return slices.DeleteFunc(Techniques(), func(t Technique) bool { return t == PreCopyThrottled || t == Present })
}

// ParseTechnique returns the technique with the name.
func ParseTechnique(name string) (Technique, error) {
	if t := Technique(name); slices.Contains(Techniques(), t) {
		return t, nil
	}
	return "", fmt.Errorf("%q is no technique: use %s", name, list(Techniques()))
}

// capabilities returns what QEMU is told on both sides.
func (t Technique) capabilities() []string {
	switch t {
	case PreCopy:
		return []string{"events", "multifd"}
	case PreCopyThrottled:
		return []string{"events", "multifd", "auto-converge"}
	case PostCopy:
		return []string{"events", "postcopy-ram"}
	case PostCopyPreempt, PreThenPost:
		return []string{"events", "postcopy-ram", "postcopy-preempt"}
	case Present:
		return []string{"events", "x-ignore-shared"}
	default:
		return nil
	}
}

// parameters returns QEMU's other settings: as fast as the link is. QEMU's own
// default would be 1 Gbit/s for pre-copy.
func (t Technique) parameters() map[string]any {
	p := map[string]any{"max-bandwidth": uint64(unlimited)}
	if slices.Contains(t.capabilities(), "multifd") {
		p["multifd-channels"] = multifdChannels
	}
	return p
}

// postCopy says whether the guest runs at the destination before its memory is
// there.
func (t Technique) postCopy() bool { return slices.Contains(t.capabilities(), "postcopy-ram") }

// list joins names for a message.
func list[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}
