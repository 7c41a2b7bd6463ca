// Package worker runs a part of a measurement in a process of its own. The
// parent writes one line of JSON, the job, and reads lines of JSON back. A
// worker ends when its standard input does, so none outlives its parent.
//
// First call: Start in the parent, Run in the worker.
package worker
