// Package metal runs guests on two machines that are reached by ssh.
//
// [Open] copies this lazymig to each of them and starts it there as a helper
// ([Serve]), which does on that machine what the harness asks for: programs,
// files, sockets, costs. Both talk by lines of JSON over ssh's standard input
// and output, so that one connection carries everything, and its end is the end
// of everything: a helper that hears nothing any more ends all processes that it
// has started, and theirs, and removes its folders.
//
// The goroutines of a [Remote] end with its Close; those of a helper with the
// helper.
package metal
