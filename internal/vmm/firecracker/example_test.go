package firecracker_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// A VMM hands its memory over and a handler takes it. In earnest these are two
// processes: one that touches memory must not serve its own faults.
func Example() {
	if err := handOver(); err != nil {
		fmt.Println(err)
	}
	// Output: 1 region of 1048576 bytes, from this process: true
}

func handOver() error {
	folder, err := os.MkdirTemp("", "handoff")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	socket := filepath.Join(folder, "vmm.socket")
	listener, err := firecracker.Listen(socket)
	if err != nil {
		return err
	}
	defer listener.Close()

	// The VMM.
	memory, err := uffd.Open()
	if err != nil {
		return err
	}
	defer memory.Close() // only when no page is missing any more
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	regions := []firecracker.Region{{Address: 0x7f00_0000_0000, Size: 1 << 20, PageSize: 4096}}
	if err := firecracker.Send(conn.(*net.UnixConn), regions, memory.Fd()); err != nil {
		return err
	}

	// The handler.
	vmm, err := listener.Accept(context.Background())
	if err != nil {
		return err
	}
	defer vmm.Close()
	fmt.Printf("%d region of %d bytes, from this process: %v\n", len(vmm.Regions), vmm.Regions[0].Size, vmm.PID == os.Getpid())
	return nil
}
