// Package host is what the harness does on a host where guests run: files,
// programs, sockets, the costs of processes, the counters of a network card. A
// [Host] is a namespace of this machine ([Namespace]), this machine
// ([Machine]), or another one (package metal).
//
// The first call to make is [Namespace], or metal.Open.
package host
