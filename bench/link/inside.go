package link

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Inside calls f on a thread that is in the namespace of side. Sockets that f
// opens on that thread stay in the namespace. The thread ends afterwards, so
// that no other goroutine runs on it.
func (l *Link) Inside(side Side, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			// The first thread never ends, and its namespace is taken for that
			// of the process. While it waits here, another one does the work.
			defer runtime.UnlockOSThread()
			result <- l.Inside(side, f)
			return
		}
		if err := enter(l.namespaces[side]); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

func enter(namespace string) error {
	file, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return fmt.Errorf("open a namespace: %w", err)
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	return nil
}
