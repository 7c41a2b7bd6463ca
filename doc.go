// Package lazymig holds the vocabulary that the parts of lazymig share: page
// numbers, memory layouts, epochs and identities. It has values only, does no
// I/O and imports nothing but the standard library.
//
// lazymig moves a running virtual machine to another host by post-copy
// migration. The first thing to read is docs/ARCHITECTURE.md.
package lazymig
