package qemu

import (
	"fmt"

	"github.com/lazymig/lazymig/internal/vmm"
)

func passed(name, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusOK, Detail: fmt.Sprintf(format, args...)}
}

func warned(name, fix, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusWarning, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

func refused(name, fix, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusRefused, Detail: fmt.Sprintf(format, args...), Fix: fix}
}
