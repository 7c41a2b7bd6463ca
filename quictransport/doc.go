// Package quictransport links a source and a destination over QUIC with mutual
// TLS 1.3. A Link is one demand connection, which carries the control stream
// and the demand page stream, and one or more bulk connections with a page
// stream each, so that bulk never fills the window, the send queue or (at the
// dialling side) the socket of the demand path. When any part of a link dies,
// the whole link ends with a cause.
//
// The package owns the sockets, the QUIC connections and the identities of
// hosts. It reads and writes only the first frame of each stream and its
// answer; what follows is the caller's.
//
// The destination listens: Listen, then Accept in a loop. The source dials:
// DialLink, and Redialer.Dial after a link was lost. LoadIdentity is the first
// call to make; CreateCA and Issue make what it loads. Errors wrap the sentinels
// of this package, and most have a method Hint that says what to do.
//
// Locks: Listener.mu is the only one, and nothing that blocks is called while
// it is held.
package quictransport
