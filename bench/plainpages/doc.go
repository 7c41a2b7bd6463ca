// Package plainpages serves the pages of a file as plainly as it can be done:
// one request, one answer, over one quic-go stream or one TCP connection. It is
// the yardstick for lazymig's own path in the same run, and what the serial
// handler of other projects reads its pages from.
//
// A request is the offset of a page, 8 bytes little-endian; the answer is the
// page. Nothing is hashed and nothing is checked. QUIC is encrypted, TCP is
// not.
//
// First call: Serve in the process that has the file, then Dial in the one that
// needs its pages.
package plainpages
