package microvm

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// testMemory maps the memory of a guest that has not run.
func testMemory(t *testing.T, pages int) (program, []byte) {
	t.Helper()
	memory, err := unix.Mmap(-1, 0, pages*lazymig.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	p := newProgram(uint64(len(memory)))
	p.fill(memory)
	return p, memory
}

// TestEachPassMeetsEachPage walks three passes over memories of many sizes.
func TestEachPassMeetsEachPage(t *testing.T) {
	for _, pages := range []int{256, 257, 300, 511, 512, 513, 1000, 1366, 1367} {
		p := newProgram(uint64(pages) * lazymig.PageSize)
		var r Registers
		for pass := uint32(1); pass <= 3; pass++ {
			met := make([]int, p.used)
			for range p.used {
				p.next(&r)
				met[r.Position]++
				if r.Pass != pass {
					t.Fatalf("%d pages: pass %d in pass %d", pages, r.Pass, pass)
				}
			}
			for i, n := range met {
				if n != 1 {
					t.Fatalf("%d pages: page %d met %d times in pass %d", pages, i, n, pass)
				}
			}
		}
	}
}

// TestVerify finds memory right at any moment, and each kind of damage.
func TestVerify(t *testing.T) {
	p, memory := testMemory(t, 300)
	var r Registers
	for i := range 1000 {
		if i%31 == 0 {
			if v := p.verify(memory, r); v.Wrong != 0 || v.Errors != 0 || v.Pages != 300 {
				t.Fatalf("behind %d operations: %+v", i, v)
			}
		}
		p.operate(memory, &r)
	}
	for name, at := range map[string]int{
		"the program":     10,
		"behind it":       4095,
		"a stamp":         5 * lazymig.PageSize,
		"noise":           7*lazymig.PageSize + 4000,
		"an unused page":  299*lazymig.PageSize + 1,
		"the last stamps": (int(p.used)+firstPage-1)*lazymig.PageSize + 1,
	} {
		memory[at] ^= 0x40
		if v := p.verify(memory, r); v.Wrong != 1 || v.First != uint64(at)/lazymig.PageSize {
			t.Errorf("%s: %+v", name, v)
		}
		memory[at] ^= 0x40
	}
	// A page of the pass before, or one that is zero, is as wrong as any.
	page := pageOf(memory, firstPage+uint64(r.Position))
	old := bytes.Clone(page)
	for name, content := range map[string][]byte{"zero": make([]byte, len(page)), "old": append([]byte{0, 0, 0, 0}, old[4:]...)} {
		copy(page, content)
		if v := p.verify(memory, r); v.Wrong != 1 {
			t.Errorf("a page that is %s: %+v", name, v)
		}
		copy(page, old)
	}
	page[0] ^= 1
	for range p.used {
		p.operate(memory, &r)
	}
	if r.Errors != 1 {
		t.Errorf("the program has noticed %d errors, want 1", r.Errors)
	}
}

// TestCodeIsTheAlgorithm runs the machine code under KVM beside the native
// algorithm: memory and registers are the same at every moment.
func TestCodeIsTheAlgorithm(t *testing.T) {
	p, memory := testMemory(t, 300)
	_, want := testMemory(t, 300)
	c, err := openKVM(memory)
	if err != nil {
		t.Skipf("skipped: KVM cannot be used here: %v", err)
	}
	defer c.close()
	if err := c.set(Registers{}); err != nil {
		t.Fatal(err)
	}
	var r Registers
	for i := range 1500 {
		p.operate(want, &r)
		if err := c.operate(); err != nil {
			t.Fatal(err)
		}
		got, err := c.get()
		if err != nil || got != r {
			t.Fatalf("behind %d operations: %+v, want %+v, %v", i+1, got, r, err)
		}
		if i%100 == 50 { // as if it had come from another host
			if err := c.set(got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(memory, want) {
		t.Error("the memories differ")
	}
}

// TestKVMNeedsItsDevice names what is missing.
func TestKVMNeedsItsDevice(t *testing.T) {
	p, memory := testMemory(t, 256)
	_, err := os.Stat("/dev/kvm")
	c, accel, openErr := openCPU(AccelAuto, p, memory)
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer c.close()
	if err != nil && accel != AccelNative {
		t.Errorf("accelerator %s without /dev/kvm", accel)
	}
}

func BenchmarkOperate(b *testing.B) {
	for _, accel := range []Accel{AccelNative, AccelKVM} {
		b.Run(string(accel), func(b *testing.B) {
			memory := make([]byte, 1024*lazymig.PageSize)
			p := newProgram(uint64(len(memory)))
			p.fill(memory)
			c, _, err := openCPU(accel, p, memory)
			if err != nil {
				b.Skip(err)
			}
			defer c.close()
			if err := c.set(Registers{}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := c.operate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleVerdict() {
	memory := make([]byte, 256*lazymig.PageSize)
	p := newProgram(uint64(len(memory)))
	p.fill(memory)
	memory[5000] = 1
	v := p.verify(memory, Registers{})
	fmt.Printf("%d of %d pages are wrong, the first is page %d\n", v.Wrong, v.Pages, v.First)
	// Output: 1 of 256 pages are wrong, the first is page 1
}
