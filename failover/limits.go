package failover

import (
	"time"

	"github.com/lazymig/lazymig"
)

const (
	// slotSize is the room of one record in bytes: one disk sector, which
	// disks write whole or not at all.
	slotSize = 512
	// journalSlots bounds a journal file (64 KiB). A migration writes fewer
	// than ten records, so a file does not run full within the blackout.
	journalSlots = 128
	// keptRecords is how many of the last records move to a new file.
	keptRecords = 32
	// maxPeer and maxReason bound the texts of a record in bytes, so that it
	// fits into its slot. Longer ones are cut.
	maxPeer   = 128
	maxReason = 320
	// lockPoll is how often AwaitJournal tries again. The holder is a dying
	// process as a rule: its descriptors are closed within milliseconds.
	lockPoll = 10 * time.Millisecond
	// maxPID bounds the text that is read from the lock file, in bytes.
	maxPID = 20
)

// MaxEpoch is the highest epoch that is accepted from a peer, so that no peer
// can use the numbers up. A guest that moves each second takes 8 million
// years to come there.
const MaxEpoch = lazymig.Epoch(1) << 48
