// Package pagecache addresses pages by their content. So far it owns the
// digests: keyed BLAKE3-256 over the 4096 bytes of a page, which both sides of
// a migration compute to prove that an installed page is what the source held
// at the freeze.
//
// The key belongs to a trust domain. Without it nobody can plant a page whose
// digest collides with another's, or learn from a digest what a page holds.
//
// There are no locks: a Hasher belongs to one goroutine. Start with NewHasher.
package pagecache
