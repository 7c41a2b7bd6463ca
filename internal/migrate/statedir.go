package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Names of the files in a VM's state directory, beside the journal.
const (
	deviceStateFile = "device-state"
	poisonedFile    = "poisoned"
	hotSetFile      = "hot-set"
)

// maxNameBytes bounds the name of a VM: it becomes a directory and part of the
// path of a UNIX socket, which ends at 107 bytes.
const maxNameBytes = 64

// ErrName is returned for a VM name that cannot be a directory.
var ErrName = errors.New("invalid VM name")

// nameForm keeps names to what is one word in a shell and no option.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// VMDir returns the directory of a VM below stateDir.
func VMDir(stateDir, vm string) (string, error) {
	if len(vm) > maxNameBytes || !nameForm.MatchString(vm) {
		return "", fmt.Errorf("%w: %q must have 1 to %d letters, digits, '.', '-' and '_', the first a letter or digit", ErrName, vm, maxNameBytes)
	}
	return filepath.Join(stateDir, "vm", vm), nil
}

// makeVMDir creates the directory of a VM.
func makeVMDir(stateDir, vm string) (string, error) {
	dir, err := VMDir(stateDir, vm)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	return dir, nil
}
