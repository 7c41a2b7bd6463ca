package qemu

import (
	"fmt"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm/process"
)

// endError is returned for a QEMU that did not come up or has ended.
type endError struct {
	err  error
	log  string // path
	said string // its end
}

func (i *Incoming) ended(err error) error {
	return &endError{err: err, log: i.LogPath(), said: process.LogTail(i.LogPath())}
}

// Error says what happened and what QEMU had to say about it.
func (e *endError) Error() string { return e.err.Error() + "; " + e.said }

func (e *endError) Unwrap() error { return e.err }

// Hint says where to look.
func (e *endError) Hint() string {
	last := e.said[strings.LastIndex(e.said, "\n")+1:]
	last = strings.TrimPrefix(last, "it said: ")
	return fmt.Sprintf("QEMU's log at the destination, %s, ends with: %s", e.log, last)
}
