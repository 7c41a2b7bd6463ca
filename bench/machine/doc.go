// Package machine says on what a measurement was made, so that a figure is
// never seen without it.
package machine
