// Package heartbeat records the heartbeat of a guest across its moves: one
// [Stream] for each VMM that runs it, in the order in which they do. The
// guest says in each line how often it beat, how many page operations it did,
// what its clock is and how long the longest operation took; the recorder adds
// when the line arrived by the clock of the harness. So a blackout is seen from
// outside, and beats, operations or time that were lost or happened twice are
// seen too.
//
// The first call to make is [Recorder.Stream], then Serve with the connection
// to the guest's second serial port.
package heartbeat
