package quictransport

import "github.com/lazymig/lazymig/internal/wire"

// Hello is what a source says first. Of its fields State, Epoch, VM, Session
// and Name are the caller's: State is the number of a failover.State, Session is
// random and stays the same when a link is dialled again, Name is the VM's.
type Hello = wire.Hello

// Welcome is a destination's answer to a Hello. Of its fields State and Epoch
// are the caller's. DomainKey is set at a source without identities.
type Welcome = wire.Welcome

// Code says why a link was closed or refused.
type Code = wire.Code

// CodeDone closes a link that has served its purpose.
const CodeDone = wire.CodeDone
