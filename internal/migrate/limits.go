package migrate

import (
	"time"

	"github.com/lazymig/lazymig/internal/wire"
)

const (
	// copyRunPages is how many pages one UFFDIO_COPY of the background
	// installs: enough to spread the cost of the system call, little enough
	// that a page somebody waits for is delayed by tens of microseconds.
	copyRunPages = 16
	// absentPages is how many pages of holes are noted before the installer looks for
	// faults again: 1 GiB, some 0.2 ms.
	absentPages = 1 << 18
	// chunkPages is how many pages the background asks for at a time, the
	// most that a Pages frame has.
	chunkPages = 64
	// strideMost bounds how many pages go ahead of a thread that walks: as many
	// as go with one request.
	strideMost = chunkPages
	// bubbleReach bounds how far from a fault its neighbours are guessed to be
	// needed, in pages: 8 MiB to each side.
	bubbleReach = 2048
	// maxRingPages bounds the pages of virtio rings that go ahead.
	maxRingPages = 128
	// maxGathered bounds the huge pages whose parts the background has asked for:
	// 32 MiB of memory. Those that threads wait for come on top.
	maxGathered = windowPages / hugeParts
	// maxSeenPages bounds the pages that are kept of one switch, because the guest
	// waited for them: 2 MiB.
	maxSeenPages = 512
	// maxLikelyPages bounds the pages that go ahead because of the guest's
	// registers: 1.25 MiB, 10 ms at 1 Gbit/s.
	maxLikelyPages = 320
	// answerPages is how many pages of data an answer has at most. With all else
	// that a frame can have it is no longer than wire.MaxAnswer.
	answerPages = 7
	// batchBytes is from how many bytes on answers are written to a stream:
	// what a busy link takes in a quarter of a millisecond at 1 Gbit/s.
	batchBytes = 32 << 10
	// windowPages bounds what the background has asked for: 32 MiB, the
	// product of 1 Gbit/s and 250 ms.
	windowPages = 128 * chunkPages
	// maxRequests bounds the requests of the background that wait to be sent on one
	// stream: none is for fewer than eight pages, but where there is no more.
	maxRequests = windowPages / 8
	// demandTarget is how much longer than at best a demand answer may take
	// before the background gives way.
	demandTarget = time.Millisecond
	// linkSlack is how long the link may be busy with what the background has asked
	// for beyond a round trip, before anybody's waiting says more. The hosts need some
	// of it to react.
	linkSlack = 3 * time.Millisecond
	// stormTime is how long the background waits behind the resume, and
	// stormRecheck how often the installer looks whether it is over.
	stormTime    = 200 * time.Millisecond
	stormRecheck = 2 * time.Millisecond
	// hotTime is how long behind the resume a fault counts as one of those
	// that the guest's clients wait for: 512 round trips of 25 ms. On a short path
	// maxSeenPages ends it sooner.
	hotTime = 15 * time.Second
	// maxFirstFaults bounds the faults of which it is kept when they were: a guest
	// that moves for the first time has some 340 before its first heartbeat.
	maxFirstFaults = 1024
	// resumeTime is how long behind COMMIT the hot pages follow that are not
	// urgent: about what a VMM takes to run a guest, which should not share its
	// processors with their arrival.
	resumeTime = 5 * time.Millisecond
	// requestRuns bounds the runs of one request frame.
	requestRuns = 64
	// answerBuffers bounds the answers that a page stream holds unprocessed: 1
	// MiB, or 9 of a source that packs as many pages as a frame can have. When all are in use, the stream is not read and QUIC's flow control
	// slows the source down. localAnswers is the same for a reader of a file, and
	// for a recipe.
	answerBuffers = 32
	localAnswers  = 8
	// maxDeposits bounds the chunks of pages that wait to be put into the cache:
	// 16 MiB, which a gigabit brings in an eighth of a second. depositLimit is how
	// long a disk may take no page before it counts as one that hangs.
	maxDeposits  = 64
	depositLimit = 2 * time.Second
	// filterTimeout bounds the making of a cache's filter: 64 million pages take
	// ten seconds.
	filterTimeout = 30 * time.Second
	// remoteAnswers is over about how many pages the time of the source's answers
	// is averaged.
	remoteAnswers = 16
	// recipeRounds bounds a recipe, in times the guest's pages: once for the hot
	// pages, and once for all.
	recipeRounds = 2
	// refLimit is how many references to a page that this host does not have are
	// borne: each request that was under way can bring one.
	refLimit = 4
	// recipePages is about how many pages a recipe frame is about: what is hashed
	// in a millisecond or two.
	recipePages = wire.MaxRecipeDigests - 2*chunkPages
	// maxCooks bounds the goroutines that hash a frozen guest.
	maxCooks = 16
	// cookNice is the niceness of their threads: a third of the weight of others.
	cookNice = 5
	// farRTT is from which round trip on the recipe comes at once.
	farRTT = 500 * time.Microsecond
	// warmEnough is the part of the guest, 1/n, that a walk must find to be worth
	// another one. warmRest is the least time from one walk to the next, and
	// warmPause the least pause that keeps to a share of a processor.
	warmEnough = 200
	warmRest   = time.Second
	warmPause  = 5 * time.Millisecond
	// warmGrace is how long behind the end of warming a destination may take the
	// last page.
	warmGrace = 5 * time.Second
	// maxDuplicates is how many pages a source remembers to have sent: 8 MiB.
	maxDuplicates = 1 << 20
	// packMemory is over about how many frames averages are taken of what
	// compressing costs and saves, and packLeast the part, 1/n, that it has to
	// save of a frame. An encoder is tried packTries times at first, since the
	// first time takes longest; then packProbe frames pass before it is tried
	// again if it pays for data that lets itself be compressed, and packSeldom if
	// it cannot pay as quick as the link is: a frame of zstd takes as long as
	// three on a fast link.
	packMemory = 16
	packLeast  = 16
	packTries  = 3
	packProbe  = 32
	packSeldom = 1024
	// slowLimit is how long a lookup of the background may take before the source
	// is asked for its pages, and how long none may come before it is asked for
	// others, too.
	slowLimit = 250 * time.Millisecond
	// maxShelfReaders bounds the goroutines that read the cache for the
	// background.
	maxShelfReaders = 8
	// lookupLimit is how long a lookup of the background may take before the
	// source is asked: a disk that repeats a read takes a second. urgentLimit is
	// that for pages that somebody waits for, of which urgentReaders look for
	// maxUrgent at most: a disk takes ten milliseconds. It is less, down to
	// urgentLeast, while the source answers sooner.
	lookupLimit   = 2 * time.Second
	urgentLimit   = 50 * time.Millisecond
	urgentLeast   = 2 * time.Millisecond
	urgentReaders = 4
	maxUrgent     = 16
	// eventQueue bounds the events that wait for a session loop. Producers
	// block on a full queue; all of them are frames of one ordered stream or
	// happen once.
	eventQueue = 64
	// installRetry is the pause before a page is tried again that the kernel
	// could not install, because the address space was changing or memory
	// was short.
	installRetry = time.Millisecond
	// lastEvents is how long events are read after the memory was
	// unregistered, so that no thread of the VMM waits for a reader for ever.
	lastEvents = 50 * time.Millisecond
	// mismatchLimit is how many pages of one link may fail their digest
	// before the link is given up. One is a broken host already.
	mismatchLimit = 64

	// defaultReadyTimeout bounds the blackout of an attempt that fails: from
	// the stop of the guest to the destination's READY.
	defaultReadyTimeout = 2 * time.Second
	// connectTimeout bounds the first connection of a migration.
	connectTimeout = 10 * time.Second
	// offerTimeout bounds what the destination does between an offer and its
	// verdict: creating RAM files, starting and arming a VMM.
	offerTimeout = 60 * time.Second
	// captureTimeout bounds the capture of the device state, from the verdict
	// to the frozen guest. ROMs and video memory go before the stop.
	captureTimeout = 30 * time.Second
	// abandonTimeout bounds the wait of a source that aborted for the
	// destination's word that it knows. Then the keeper goes on trying.
	abandonTimeout = 3 * time.Second
	// rollbackTimeout bounds the return of a guest to the source.
	rollbackTimeout = 30 * time.Second
	// killTimeout bounds the wait for a VMM to die after SIGKILL. A process
	// with much memory takes a while to be torn down.
	killTimeout = 30 * time.Second
	// exitGrace is how long an error of the installer waits for the end of the
	// VMM, its usual cause.
	exitGrace = time.Second
	// releaseTimeout bounds the wait for the source's word that it has noted
	// the completion. Without it the destination is done all the same.
	releaseTimeout = 5 * time.Second
	// notifyTimeout bounds how long a keeper at the source tries to tell the
	// destination that the migration was aborted.
	notifyTimeout = 2 * time.Minute
	// keepTimeout bounds how long a source stays, when all is moved, to put the
	// guest's pages into its cache.
	keepTimeout = 2 * time.Minute
	// progressInterval is how often progress is reported.
	progressInterval = 200 * time.Millisecond
	// maxCells bounds the cells of a page map: more than a terminal shows, and
	// little enough that a map is a line of at most 200 KiB.
	maxCells = 4096
	// maxDeviceState bounds the device state. Stock machines have about
	// 200 KiB; large emulated video memory can reach tens of MiB.
	maxDeviceState = 256 << 20
	// deviceChunk is how much device state one frame carries.
	deviceChunk = 32 << 10
	// memoryLook is how often a server looks whether its memory file has
	// changed, beside each read.
	memoryLook = time.Second
	// attachTimeout bounds the first words between a client and a memory
	// server, at either side.
	attachTimeout = 2 * time.Second
	// maxClients bounds the clients of a memory server, and the VMMs that are
	// served at once: each has a few MiB of buffers, 8 MiB to know what was sent
	// (maxDuplicates), and the filter of its cache, at most wire.MaxFilter.
	maxClients = 256
	// handoffAccepts is how many VMMs may hand their memory over at the same
	// time, so that one that is slow holds up nobody.
	handoffAccepts = 8
	// acceptPause is the pause after a hand-off that this host could not take,
	// for lack of descriptors.
	acceptPause = 100 * time.Millisecond
	// sourcePause is the pause before a memory server is asked again that has
	// refused, and before a file is read again that could not be.
	sourcePause = time.Second
	// maxExtents bounds the list of a snapshot's data: 16 MiB.
	maxExtents = 1 << 20
	// damageLimit is how many links in a row may end because pages did not
	// have their digests. Then the memory counts as gone.
	damageLimit = 3
	// maxRemarks bounds what the service of one VMM may say about pages: a
	// hostile VMM can make it say a lot.
	maxRemarks = 20
	// maxPoisoned bounds the list of pages that hardware has lost.
	maxPoisoned = 1 << 20
)
