// Package relay is a network path on one machine: it passes UDP datagrams
// between clients and one server on loopback, at a bounded rate, after a fixed
// delay, with loss if wanted, and it can be cut. It needs no privileges, so that
// a demonstration or a test can have a slow or broken link as an ordinary user.
//
//	client ──▶ front socket ──▶ lane up   ──▶ back socket of that client ──▶ server
//	       ◀──              ◀── lane down ◀──                            ◀──
//
// A [Relay] owns one front socket, two lanes, and a flow with a back socket for
// each client, found by the client's address. Each lane is one direction of a
// link that all clients share: a token bucket without a burst, written as a
// virtual clock, in front of it a queue that drops what would wait too long
// (tail drop), behind it the delay. Datagrams of one direction never overtake
// each other.
//
// # What it costs
//
// Measured by bench_test.go on two processors that everything shares. A round
// trip of 100 bytes takes 10 µs without the relay, 20 µs over a relay that
// neither bounds nor delays, 50 µs with a rate, and 1.08 ms with a delay of
// 2 × 0.5 ms: the two lanes wake up about 40 µs late. One QUIC connection, both
// ends on the same processors, brings 611 MB/s without and 574 MB/s over the
// relay, and 122.7 of 125 MB/s at 1 Gbit/s. Without a rate the relay adds 0.3
// to the 2.8 processor seconds for a GiB. What makes it cheap is that the kernel
// hands over batches of datagrams (UDP_GRO, UDP_SEGMENT): one by one, 302 MB/s
// and 4 processor seconds for a GiB are left, so a slow link, where batches
// would be bursts, costs more for each byte.
//
// # Locks
//
// Relay.mu protects the set of flows, lane.mu the queue of one lane. Both are
// leaves: they are never held together, nor while a datagram is sent.
//
// The first call to make is [Start].
package relay
