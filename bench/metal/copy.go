package metal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write makes a file on the other machine.
func (r *Remote) Write(path string, content []byte, mode os.FileMode) error {
	return r.copy(path, bytes.NewReader(content), mode)
}

// copy makes a file on the other machine. What is zero becomes a hole.
func (r *Remote) copy(path string, from io.Reader, mode os.FileMode) error {
	if err := r.call("write", fileArgs{Path: path, Mode: mode}, nil); err != nil {
		return err
	}
	part, zero := make([]byte, chunk), make([]byte, chunk)
	for hole, ended := int64(0), false; !ended; {
		n, err := io.ReadFull(from, part)
		if ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !ended {
			return fmt.Errorf("copy %s: %w", path, err)
		}
		data := part[:n]
		if bytes.Equal(data, zero[:n]) {
			hole += int64(n)
			if data = nil; !ended {
				continue
			}
		}
		if err := r.call("write", fileArgs{Path: path, Append: true, Hole: hole, Data: data}, nil); err != nil {
			return err
		}
		hole = 0
	}
	return nil
}

// CopyFiles brings an image of files for guests to both machines, unless they
// have it.
func (h *Hosts) CopyFiles(path string) error {
	for _, r := range h.remotes {
		there := filepath.Join(r.facts.Dir, "files")
		if r.files == there {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the files for the guest: %w", err)
		}
		if err := errors.Join(r.copy(there, f, 0o600), f.Close()); err != nil {
			return fmt.Errorf("copy the files for the guest: %w", err)
		}
		r.files = there
	}
	return nil
}
