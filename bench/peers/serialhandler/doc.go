// Command serialhandler serves page faults with the handler of
// github.com/loopholelabs/userfaultfd-go: one fault at a time, each a round
// trip, nothing fetched ahead. It is the baseline of `lazymig bench faults`,
// which starts it and gives it its job on standard input.
//
// It is a program of its own because that library needs cgo, which lazymig does
// not have.
package main
