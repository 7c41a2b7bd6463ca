// Package failover decides which host may run a guest while it moves: the
// switchover state machines of both sides, the journal that makes their
// decisions durable, and the rules for identities and epochs.
//
// Source and Destination are pure: an Event goes in, a list of Actions comes
// out. They know no clock, no goroutine and no I/O. A Driver owns one of them
// together with its journal and keeps the order that safety rests on: a record
// is in the journal before any action behind it is handed over.
//
// The commit point is the durable CEDED record at the source. Before it every
// failure ends with the guest as it was, at the source. After it the source
// never runs that epoch; it takes the guest back, as the next epoch, only when
// the destination has made RENOUNCED durable. An absent CEDED means abort:
// so nothing but CEDED and OWNER needs the disk while the guest stands still.
//
// The first call is OpenJournal, then NewSource or NewDestination (a keeper:
// RestoreSource or RestoreDestination), then NewDriver and Driver.Apply.
//
// A Driver and its machine belong to one goroutine. Journal may be used by
// several; Journal.mu is the only lock and nothing else is taken under it.
// docs/FAILURE_MODEL.md tells the whole story for operators and reviewers.
package failover
