package quictransport

import "time"

// MaxBulk is the most bulk connections of a link: beyond a few, one more helps
// only against loss, and each costs a socket and a window of memory.
const MaxBulk = 16

// How many bulk connections there are when Config does not say. On a round trip
// below nearRTT processors are the limit: one for each two, which at each end a
// connection keeps busy with reading and sending, at most nearBulk; at least
// middleBulk below farRTT, MaxBulk above it.
const (
	nearBulk   = 8
	middleBulk = 4
	nearRTT    = 2 * time.Millisecond
	farRTT     = 10 * time.Millisecond
)

// maxDials bounds the bulk connections that are made at the same time: each
// handshake takes milliseconds of a processor at both ends.
const maxDials = 8

// alpn names the protocol and its major version in the TLS handshake.
const alpn = "lazymig/1"

const (
	// keepAlive and idleTimeout find a dead peer: the time-out starts again at
	// the first packet after the last word of the peer, so keepAlive +
	// idleTimeout must stay below 2 s. On a path whose round trip is over
	// 150 ms QUIC itself waits longer (three probe time-outs).
	keepAlive   = 500 * time.Millisecond
	idleTimeout = 1300 * time.Millisecond
	// handshakeIdle ends a handshake in which nothing arrives: QUIC repeats
	// its first packet three times in it.
	handshakeIdle = 2 * time.Second
	// dialTimeout bounds DialLink, whatever its context says.
	dialTimeout = 6 * time.Second
	// helloTimeout bounds the time from the end of a handshake to the Hello.
	helloTimeout = 2 * time.Second
	// linkTimeout bounds the time from the first to the last part of a link.
	linkTimeout = 3 * time.Second
	// closeTimeout bounds the wait for a peer that was told to go, or that has
	// to confirm that it has read everything.
	closeTimeout = time.Second
	// refusalGrace is how long a dialler whose bulk connections failed waits
	// for the words that explain it on the control stream.
	refusalGrace = 500 * time.Millisecond
)

const (
	// redialMin and redialMax bound the pause between two attempts: short
	// enough that a stalled guest does not wait, long enough not to load a
	// host that comes up.
	redialMin = 50 * time.Millisecond
	redialMax = time.Second
)

const (
	// maxHandshakes bounds the handshakes in flight at a listener, of peers
	// that nobody has authenticated; from half of it on, a peer must show that
	// its address is its own.
	maxHandshakes = 128
	// maxPending bounds the authenticated connections that are not part of an
	// accepted link yet.
	maxPending = 256
	// maxPendingOfPeer is maxPending for one certificate: two attempts at the
	// largest link, so that one host cannot keep others out.
	maxPendingOfPeer = 2 * (1 + MaxBulk)
	// maxReady bounds the complete links that wait for Accept.
	maxReady = 16
	// reportPause is the shortest time between two calls of Config.Rejected,
	// so that a flood of bad peers is no flood of messages.
	reportPause = 100 * time.Millisecond
)

const (
	// streamWindow lets one stream fill a path of 10 Gbit/s and 13 ms.
	streamWindow = 16 << 20
	// connWindow is above it as QUIC wants, for control and demand together.
	connWindow = 24 << 20
	// firstWindow is what a peer may send before anybody reads: enough for the
	// first answers, little enough for a hostile peer.
	firstWindow = 1 << 20
)

// maxReason is the longest reason in a CONNECTION_CLOSE, in bytes: it must fit
// into one packet.
const maxReason = 512

// certificate validity.
const (
	caValidity = 10 * 365 * 24 * time.Hour
	// clockSkew is how far ahead of others the clock of the issuing host may
	// be.
	clockSkew = 5 * time.Minute
)
