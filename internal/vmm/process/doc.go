// Package process starts, finds, watches and stops the processes of VMMs. It
// knows nothing of what they do.
//
// The first call to make is [Start] for a process of our own, [Watch] for one
// that runs already. A process is named by its pidfd, so that its number may
// be used again.
package process
