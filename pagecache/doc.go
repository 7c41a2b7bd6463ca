// Package pagecache addresses pages by their content: it owns their digests, a
// store of pages that have been seen, and filters that tell another host what
// is in it.
//
// A digest is the keyed BLAKE3-256 of the 4096 bytes of a page. Both sides of a
// migration compute it to prove that an installed page is what the source held
// at the freeze. The key belongs to a trust domain. Without it nobody can plant
// a page whose digest collides with another's, or learn from a digest what a
// page holds.
//
// A Store keeps pages in a file, in a directory or in memory, and gives up those
// that are not used. Nothing in its files is believed: whatever a crash or a
// disk did to them, a page that does not have its digest is a miss.
//
// A Hasher belongs to one goroutine; a Store and a Filter to any number. In a
// Store the lock of a shard is a leaf: nothing is locked, read or written under
// it. Store.closing comes before Store.growing.
//
// Start with NewHasher, and Open.
package pagecache
