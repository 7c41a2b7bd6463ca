package pagecache

import (
	"time"

	"github.com/lazymig/lazymig"
)

// What an index of images may be.
const (
	// maxImages bounds the images that are used at once. Each costs a
	// descriptor, and a look at its table for every page that no image has.
	maxImages = 256
	// maxEntries bounds the blocks of all images together: 256 GiB of them
	// that differ, whose tables take some 600 MB of memory.
	maxEntries = 1 << 26
	// maxImageBytes keeps the number of a block within 32 bits: 16 TiB.
	maxImageBytes = lazymig.PageSize << 32
	// maxPath is Linux's PATH_MAX.
	maxPath = 4096
)

// What indexing may take.
const (
	// scanBytes is what one worker reads at once: long enough for a disk's
	// full speed.
	scanBytes = 1 << 20
	// maxScanners bounds the workers, each of which has a buffer and a run:
	// beyond 16 a disk is slower than they are.
	maxScanners = 16
	// runEntries is how many entries a worker sorts in memory before it writes
	// them to the spool: 9 MiB, one run for each GiB that it has read.
	runEntries = 1 << 18
	// mergeBuffer is what is read ahead of each run while runs are merged. At
	// maxReopens bounds how often an image's file is opened again.
	maxReopens = 8
	// maxEntries there are some 260 of them.
	mergeBuffer = 64 << 10
)

// reopenPause is how long an image that could not be opened counts as gone, so
// that the pages of a guest do not each look for it.
const reopenPause = time.Second

// What a qcow2 image may have.
const (
	// minClusterBits and maxClusterBits are the format's own.
	minClusterBits, maxClusterBits = 9, 21
	// pageBits is the smallest cluster whose content is aligned to pages in
	// the file.
	pageBits = 12
	// maxL1Entries is QEMU's own bound, a table of 32 MiB.
	maxL1Entries = 32 << 20 / 8
	// maxBacking is the format's own, too.
	maxBacking = 1023
)
