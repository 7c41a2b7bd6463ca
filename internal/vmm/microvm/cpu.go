package microvm

import (
	"errors"
	"fmt"
)

// Accel says what runs the program.
type Accel string

// The accelerators. Auto is KVM where it can be used.
const (
	AccelAuto   Accel = "auto"
	AccelKVM    Accel = "kvm"
	AccelNative Accel = "native"
)

// cpu runs the program. One goroutine uses it.
type cpu interface {
	// set gives it the registers, before the first operation and whenever
	// they came from elsewhere.
	set(r Registers) error
	// operate runs it up to the end of one page operation.
	operate() error
	// get returns the registers.
	get() (Registers, error)
	close() error
}

// openCPU returns the vCPU for a memory, and what it is.
func openCPU(a Accel, p program, memory []byte) (cpu, Accel, error) {
	if a == AccelNative {
		return &native{program: p, memory: memory}, a, nil
	}
	c, err := openKVM(memory)
	switch {
	case err == nil:
		return c, AccelKVM, nil
	case a == AccelAuto:
		return &native{program: p, memory: memory}, AccelNative, nil
	}
	return nil, a, fmt.Errorf("open a vCPU: %w (use --accel native)", err)
}

// native runs the program as code of this process.
type native struct {
	program   program
	memory    []byte
	registers Registers
}

func (n *native) set(r Registers) error   { n.registers = r; return nil }
func (n *native) get() (Registers, error) { return n.registers, nil }
func (n *native) operate() error          { n.program.operate(n.memory, &n.registers); return nil }
func (n *native) close() error            { return nil }

// errGuest is returned when the guest did what the program never does.
var errGuest = errors.New("the guest has crashed")
