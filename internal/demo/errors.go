package demo

import "errors"

// ErrConfig is what errors unwrap to when the configuration cannot work.
// Nothing was made then.
var ErrConfig = errors.New("invalid configuration")

// Error is a failure with something to do about it.
type Error struct {
	text  string
	hint  string
	cause error // told behind the text; nil if there is none
	kind  error // a sentinel that is not told, or nil
}

// Error returns the text and, if there is one, the cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.text
	}
	return e.text + ": " + e.cause.Error()
}

// Unwrap returns cause and kind.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.cause, e.kind} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Hint says what to do.
func (e *Error) Hint() string { return e.hint }
