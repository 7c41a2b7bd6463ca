package wire

import "github.com/lazymig/lazymig"

// Version is the protocol version that this package speaks.
const Version uint16 = 1

// Limits of single fields. A parser refuses what is over them; Append cuts
// texts to them and leaves everything else to its caller.
const (
	// MaxName is the longest VM name in bytes: it is a directory name too.
	MaxName = 128
	// MaxText is the longest reason, text or hint in bytes: a few lines for a
	// person.
	MaxText = 1024
	// MaxDocument is the longest JSON document in bytes: a guest with
	// MaxRegions RAM blocks and hundreds of checks fits many times.
	MaxDocument = 1 << 20
	// MaxDeviceChunk is the most device state in one frame, in bytes, so that
	// no other control frame waits long behind one.
	MaxDeviceChunk = 64 << 10
	// MaxRequestRuns is the most runs in one Request.
	MaxRequestRuns = 64
	// MaxRequestPages is the most pages that one Request asks for: 4 MiB, the
	// answer that a requester must be ready to take.
	MaxRequestPages = 1024
	// MaxPages is the most pages in one Pages frame. A presence mask of one
	// 64-bit word depends on it.
	MaxPages = 64
	// MaxAnswer is the longest Pages frame on a wire, with its header, in bytes:
	// seven pages as they are, or more that are compressed. A page that somebody
	// waits for is behind no more than that of any stream.
	MaxAnswer = 32 << 10
	// MaxHotPages is the most pages in one HotSet and the most that one Ahead
	// asks for: 4 MiB, what a gigabit carries in 33 ms.
	MaxHotPages = 1024
	// MaxAbsentRuns is the most runs in one Absent frame, 64 KiB.
	MaxAbsentRuns = 4096
	// MaxFilter is the longest membership filter in bytes: 58 million pages,
	// 220 GiB.
	MaxFilter = 64 << 20
	// MaxFilterChunk is the most bytes of a filter in one frame.
	MaxFilterChunk = 64 << 10
	// MaxRecipeParts is the most runs in one Recipe, MaxRecipeDigests the most
	// digests, 64 KiB.
	MaxRecipeParts   = 2048
	MaxRecipeDigests = 2048
)

// maxPageNumber is one behind the last page that any guest can have.
const maxPageNumber = lazymig.PageNumber(lazymig.MaxBytes / lazymig.PageSize)

// Sizes of encoded parts, in bytes.
const (
	headerSize   = 8
	helloFixed   = 96
	welcomeSize  = 60
	refuseFixed  = 6
	runsFixed    = 8
	runSize      = 16
	pagesFixed   = 12
	progressSize = 64
	hotPageSize  = 24
	filterFixed  = 8
	recipeFixed  = 16
	warmFixed    = 8

	recipePartSize = 4
	digestSize     = 32
	attachSize     = 16
	memorySize     = 24
)

// maxHotAfter bounds the time of a HotPage, in microseconds: a minute.
const maxHotAfter = 60_000_000

// maxHello leaves room for the longer Hello of a later version, so that it is
// answered with words about versions rather than about lengths.
const maxHello = 1024

// frameTable has the name of each type and the most payload bytes it may have.
var frameTable = [...]struct {
	name  string
	limit uint32
}{
	TypeHello:       {"HELLO", maxHello},
	TypeWelcome:     {"WELCOME", maxHello},
	TypeRefuse:      {"REFUSE", refuseFixed + 2*MaxText},
	TypePing:        {"PING", 8},
	TypePong:        {"PONG", 8},
	TypeOffer:       {"OFFER", 1 + MaxDocument},
	TypeVerdict:     {"VERDICT", 1 + MaxDocument},
	TypeDeviceState: {"DEVICE-STATE", MaxDeviceChunk},
	TypeDeviceEnd:   {"DEVICE-END", 8 + digestSize},
	TypeReady:       {"READY", digestSize},
	TypeCommit:      {"COMMIT", 8},
	TypeResumed:     {"RESUMED", 13},
	TypeAbort:       {"ABORT", 8 + MaxText},
	TypeAbandoned:   {"ABANDONED", 8 + MaxText},
	TypeRenounced:   {"RENOUNCED", 8 + MaxText},
	TypeComplete:    {"COMPLETE", 8 + MaxDocument},
	TypeReleased:    {"RELEASED", 8},
	TypeProgress:    {"PROGRESS", progressSize},
	TypeHotSet:      {"HOT-SET", runsFixed + MaxHotPages*hotPageSize},
	TypeRequest:     {"REQUEST", runsFixed + MaxRequestRuns*runSize},
	TypePages:       {"PAGES", MaxAnswer - headerSize},
	TypeAbsent:      {"ABSENT", runsFixed + MaxAbsentRuns*runSize},
	TypeAhead:       {"AHEAD", runsFixed + MaxHotPages*runSize},
	TypeFilter:      {"FILTER", filterFixed + MaxFilterChunk},
	TypeRecipe:      {"RECIPE", recipeFixed + MaxRecipeParts*recipePartSize + MaxRecipeDigests*digestSize},
	TypeWarm:        {"WARM", warmFixed + MaxPages*(digestSize+lazymig.PageSize)},
	TypeAttach:      {"ATTACH", attachSize},
	TypeMemory:      {"MEMORY", memorySize},
}
