// Package link makes a small network on one machine: two hosts A and B and a
// client, each a network namespace. The client's namespace is also the switch
// between them.
//
//	host A                    client C                    host B
//	tap0 ─ br0 ─ up0 ═══════ host-a ─ br0 ─ host-b ═══════ up0 ─ br0 ─ tap0
//	       10.77.0.1                  10.77.0.9                  10.77.0.2
//
// A guest is on tap0 of the host that runs it, at 10.77.0.5. Its frames and
// the migration's packets share the cables between the hosts, which can be cut
// and slowed down.
//
// The first call to make is [New]; Close removes everything and kills what
// still runs in the namespaces. Programs run in a namespace through [Link.Command]; sockets that the harness
// itself needs there are opened by a thread that enters the namespace.
package link
