// Package wire defines the frames that a source and a destination exchange:
// one type per frame with Append, Length and a Parse function. The format is
// specified in docs/PROTOCOL.md.
//
// The package owns no connection, goroutine or lock. Parsing is strict: what a
// parser accepts, Append writes back byte for byte. It checks structure and
// limits only; whether a page exists or a frame was asked for is the caller's
// to decide.
//
// The first call to make is ReadFrame on a stream, then the Parse function of
// the type that it returned.
package wire
