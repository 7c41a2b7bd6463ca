package microvm

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lazymig/lazymig/internal/vmm"
)

func passed(name, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusOK, Detail: fmt.Sprintf(format, args...)}
}

func refused(name, fix, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusRefused, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

// ErrDescription is returned for a description that no microvm gave.
var ErrDescription = errors.New("invalid description of a microvm")

// compare checks that the guest of source can run as here.
func compare(source vmm.Description, here Config) ([]vmm.Check, error) {
	d, err := parseDetails(source)
	if err != nil {
		return nil, err
	}
	checks := []vmm.Check{passed("program", "both sides run version %d", d.Version)}
	if d.Version != stateVersion {
		checks[0] = refused("program", "use the same version of lazymig on both hosts", "the source runs version %d, the destination %d", d.Version, stateVersion)
	}
	size := passed("ram-size", "both sides have %d bytes", here.Size)
	if d.Size != here.Size {
		size = refused("ram-size", fmt.Sprintf("give the destination --size %d", d.Size), "the source has %d bytes, the destination %d", d.Size, here.Size)
	}
	return append(checks, size), nil
}

func parseDetails(source vmm.Description) (details, error) {
	var d details
	if err := json.Unmarshal(source.Details, &d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	if !layoutOf(d.Size).Equal(source.Layout) || d.Allocated > d.Size {
		return d, fmt.Errorf("%w: the layout is not that of %d bytes", ErrDescription, d.Size)
	}
	return d, nil
}
