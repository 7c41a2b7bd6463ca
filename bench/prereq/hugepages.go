package prereq

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// overcommit is how many huge pages of 2 MiB the kernel makes on demand.
const overcommit = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"

// HugePages lets this machine make count huge pages of 2 MiB more than it does,
// until the test has ended. Without root, or where the kernel has none, the test is
// skipped.
func HugePages(t testing.TB, count int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: it needs huge pages, which takes root")
	}
	err := addHugePages(count)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: this kernel has no huge pages: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := addHugePages(-count); err != nil {
			t.Error(err)
		}
	})
}

// addHugePages changes the number. Tests of other packages may do so, too.
func addHugePages(count int) error {
	file, err := os.OpenFile(overcommit, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("provide huge pages: %w", err)
	}
	defer file.Close() // and gives the lock back
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", overcommit, err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", overcommit, err)
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("read %s: %w", overcommit, err)
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(max(0, now+count))), 0); err != nil {
		return fmt.Errorf("write %s: %w", overcommit, err)
	}
	return nil
}
