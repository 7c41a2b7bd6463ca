// Command lazymig moves a running virtual machine to another host by post-copy
// migration. This package has the flags and the output; the work is done in an
// engine process of its own, see package internal/agent.
//
// Begin with root.go: it lists the commands. frontend.go is what send and
// receive have in common: it starts the engine, shows what it tells, and turns
// Ctrl-C into a request.
package main
