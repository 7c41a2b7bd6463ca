// Package prereq says what a test needs from the machine: root, devices and
// programs. On a person's machine a test without them is skipped with the
// reason; in CI (environment CI=true) a missing program is a failure. The
// first call to make is [Require].
package prereq
