package x86

import (
	"slices"
	"testing"
)

// printed is what QEMU 7.2 prints for a guest with one processor, shortened.
const printed = `
CPU#0
RAX=00000006f0f7ea87 RBX=0000000000000001 RCX=0000000000000001 RDX=0000000600000000
RSI=00007f5a0baec1d0 RDI=0000000000000001 RBP=00007f5a0baec1b0 RSP=00007f5a0baec190
R8 =bf58476d1ce4e5b9 R9 =00007f5a11f402a0 R10=00007ffd7e8f0080 R11=000000000000144a
RIP=00007ffd7e8f46b8 RFL=00000286 [--S--P-] CPL=3 II=0 A20=1 SMM=0 HLT=0
ES =0000 0000000000000000 00000000 00000000
CS =0033 0000000000000000 ffffffff 00affb00 DPL=3 CS64 [-RA]
FS =0000 00007f5a0baec6c0 00000000 00000000
GS =0000 0000000000000000 00000000 00000000
LDT=0000 0000000000000000 00000000 00008200 DPL=0 LDT
TR =0040 fffffe0000003000 00004087 00008900 DPL=0 TSS64-avl
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00007f5a04001000 CR3=00000000054e6000 CR4=000006b0
DR6=00000000ffff0ff0 DR7=0000000000000400
EFER=0000000000000d01
FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80
XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000
`

func TestParseRegisters(t *testing.T) {
	cpus := ParseRegisters(printed + printed)
	if len(cpus) != 2 {
		t.Fatalf("%d processors, want 2", len(cpus))
	}
	c := cpus[1]
	if c.CR0 != 0x80050033 || c.CR3 != 0x54e6000 || c.CR4 != 0x6b0 || c.EFER != 0xd01 || c.Task != 0xfffffe0000003000 {
		t.Errorf("%+x", c)
	}
	if c.levels() != 4 {
		t.Errorf("%d levels, want 4", c.levels())
	}
	for _, want := range []uint64{0x7ffd7e8f46b8, 0x7f5a0baec190, 0xbf58476d1ce4e5b9, 0x7f5a0baec6c0, 0xfffffe0000001000, 0xfffffe0000000000} {
		if !slices.Contains(c.Addresses, want) {
			t.Errorf("%#x is not among the addresses %#x", want, c.Addresses)
		}
	}
	if slices.Contains(c.Addresses, 0x286) || slices.Contains(c.Addresses, 0x400) {
		t.Errorf("flags are among the addresses %#x", c.Addresses)
	}
}

func TestOtherRegisters(t *testing.T) {
	for _, text := range []string{"", "CPU#0\n", "CPU#0\nPC=0000 X00=1\n", "CPU#0\nCR3=", "CPU#0\nCR3=zz\n", "EAX=0 EIP=0 CR3=0"} {
		if cpus := ParseRegisters(text); len(cpus) != 0 {
			t.Errorf("%q: %+v", text, cpus)
		}
	}
	for _, c := range []CPU{
		{CR0: paging, CR4: extension}, {CR0: paging, EFER: longMode}, {CR4: extension, EFER: longMode},
	} {
		if c.levels() != 0 {
			t.Errorf("%+x: %d levels, want none", c, c.levels())
		}
	}
	if c := (CPU{CR0: paging, CR4: extension | fiveLevels, EFER: longMode}); c.levels() != 5 {
		t.Errorf("%+x: %d levels, want 5", c, c.levels())
	}
}
