package demo

import "errors"

// ErrConfig is what errors unwrap to when the configuration cannot work.
// Nothing was made then.
var ErrConfig = errors.New("invalid configuration")

// Error is a failure with something to do about it.
type Error struct {
	err  error
	text string
	hint string
}

// Error returns the text and, if there is one, the cause.
func (e *Error) Error() string {
	if e.err == nil || e.err == ErrConfig {
		return e.text
	}
	if e.text == "" {
		return e.err.Error()
	}
	return e.text + ": " + e.err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Hint says what to do.
func (e *Error) Hint() string { return e.hint }
