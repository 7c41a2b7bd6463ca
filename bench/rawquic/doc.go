// Package rawquic measures what one plain quic-go connection does between the
// hosts of a link, or on loopback: bulk throughput, the round trip of 4 KiB,
// and the CPU time of both ends. It is the yardstick for lazymig's own
// transfer in the same run, so it does as little as possible with the bytes.
//
// Both ends are processes of their own, this program started again. So a
// program that calls [Run] must call [Child] first thing in main or TestMain.
package rawquic
