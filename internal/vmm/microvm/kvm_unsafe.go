package microvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of <linux/kvm.h>.
const (
	kvmGetAPIVersion       = 0xAE00
	kvmCreateVM            = 0xAE01
	kvmGetVCPUMmapSize     = 0xAE04
	kvmCreateVCPU          = 0xAE41
	kvmSetUserMemoryRegion = 0x4020AE46
	kvmRun                 = 0xAE80
	kvmGetRegs             = 0x8090AE81
	kvmSetRegs             = 0x4090AE82
	kvmGetSregs            = 0x8138AE83
	kvmSetSregs            = 0x4138AE84

	kvmAPIVersion = 12
	exitIO        = 2 // KVM_EXIT_IO
	exitReason    = 8 // offset of exit_reason in struct kvm_run
)

// memoryRegion is struct kvm_userspace_memory_region.
type memoryRegion struct {
	slot, flags        uint32
	guestAddress, size uint64
	userspaceAddress   uint64
}

// kvmRegs is struct kvm_regs.
type kvmRegs struct {
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags                            uint64
}

// kvmSegment is struct kvm_segment.
type kvmSegment struct {
	base                            uint64
	limit                           uint32
	selector                        uint16
	kind, present, dpl, db, s, l, g uint8
	avl, unusable, padding          uint8
}

// kvmSregs is struct kvm_sregs; descriptor tables and the rest are kept as
// they are.
type kvmSregs struct {
	cs, ds, es, fs, gs, ss, tr, ldt kvmSegment
	gdt, idt                        [2]uint64
	cr0, cr2, cr3, cr4, cr8         uint64
	efer, apicBase                  uint64
	interrupts                      [4]uint64
}

// kvm is a vCPU of /dev/kvm in flat 32-bit mode.
type kvm struct {
	device, vm, vcpu int
	run              []byte // struct kvm_run
}

func openKVM(memory []byte) (cpu, error) {
	c := &kvm{device: -1, vm: -1, vcpu: -1}
	if err := c.open(memory); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *kvm) open(memory []byte) (err error) {
	if c.device, err = unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: "/dev/kvm", Err: err}
	}
	if version, err := ioctl(c.device, kvmGetAPIVersion, nil); err != nil || version != kvmAPIVersion {
		return fmt.Errorf("use KVM: its interface is version %d, not %d: %w", version, kvmAPIVersion, err)
	}
	if c.vm, err = ioctl(c.device, kvmCreateVM, nil); err != nil {
		return fmt.Errorf("create a VM: %w", err)
	}
	region := memoryRegion{size: uint64(len(memory)), userspaceAddress: address(memory)}
	// SAFETY: the kernel copies the struct during the call.
	if _, err := ioctl(c.vm, kvmSetUserMemoryRegion, unsafe.Pointer(&region)); err != nil {
		return fmt.Errorf("give the VM its memory: %w", err)
	}
	if c.vcpu, err = ioctl(c.vm, kvmCreateVCPU, nil); err != nil {
		return fmt.Errorf("create a vCPU: %w", err)
	}
	size, err := ioctl(c.device, kvmGetVCPUMmapSize, nil)
	if err != nil {
		return fmt.Errorf("ask for the size of a vCPU: %w", err)
	}
	if c.run, err = unix.Mmap(c.vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the vCPU: %w", err)
	}
	return c.flatten()
}

// flatten puts the vCPU into protected mode without paging, with segments that
// cover everything.
func (c *kvm) flatten() error {
	var s kvmSregs
	// SAFETY: the kernel copies the struct during the call, here and below.
	if _, err := ioctl(c.vcpu, kvmGetSregs, unsafe.Pointer(&s)); err != nil {
		return fmt.Errorf("read the vCPU's segments: %w", err)
	}
	const code, data, protected = 11, 3, 1
	segment := kvmSegment{limit: 0xFFFFFFFF, selector: 16, kind: data, present: 1, db: 1, s: 1, g: 1}
	s.ds, s.es, s.fs, s.gs, s.ss = segment, segment, segment, segment, segment
	segment.kind, segment.selector = code, 8
	s.cs = segment
	s.cr0 |= protected
	if _, err := ioctl(c.vcpu, kvmSetSregs, unsafe.Pointer(&s)); err != nil {
		return fmt.Errorf("set the vCPU's segments: %w", err)
	}
	return nil
}

// set lets the program go on at its beginning, where each page operation
// begins.
func (c *kvm) set(r Registers) error {
	g := kvmRegs{
		rsi: uint64(r.Position), rdi: uint64(r.Pass), rcx: uint64(r.Left), rbx: uint64(r.Errors),
		rflags: 2, // the bit that is always set
	}
	if _, err := ioctl(c.vcpu, kvmSetRegs, unsafe.Pointer(&g)); err != nil {
		return fmt.Errorf("set the vCPU's registers: %w", err)
	}
	return nil
}

func (c *kvm) get() (Registers, error) {
	var g kvmRegs
	if _, err := ioctl(c.vcpu, kvmGetRegs, unsafe.Pointer(&g)); err != nil {
		return Registers{}, fmt.Errorf("read the vCPU's registers: %w", err)
	}
	return Registers{Position: uint32(g.rsi), Pass: uint32(g.rdi), Left: uint32(g.rcx), Errors: uint32(g.rbx)}, nil
}

// operate runs the vCPU up to the doorbell. Signals, such as those of the Go
// scheduler, only interrupt it.
func (c *kvm) operate() error {
	for {
		_, err := ioctl(c.vcpu, kvmRun, nil)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return fmt.Errorf("run the vCPU: %w", err)
		}
		if reason := binary.LittleEndian.Uint32(c.run[exitReason:]); reason != exitIO {
			return fmt.Errorf("run the vCPU: %w (exit reason %d of KVM)", errGuest, reason)
		}
		return nil
	}
}

func (c *kvm) close() error {
	var errs []error
	if c.run != nil {
		errs = append(errs, unix.Munmap(c.run))
	}
	for _, fd := range []int{c.vcpu, c.vm, c.device} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

func ioctl(fd, request int, argument unsafe.Pointer) (int, error) {
	// SAFETY: the pointer is converted in the call, so that what it points to
	// stays where it is until the call returns.
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// address returns where a mapping lies.
func address(memory []byte) uint64 {
	// SAFETY: memory is a mapping, which does not move.
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
}
