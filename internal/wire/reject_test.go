package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lazymig/lazymig"
)

func TestReject(t *testing.T) {
	hello := Hello{Role: RoleControl, Session: [16]byte{1}, Name: "n"}
	change := func(f frame, at int, v byte) []byte {
		p := f.Append(nil)[headerSize:]
		p[at] = v
		return p
	}
	runs := func(n int, count uint64) []lazymig.Run {
		r := make([]lazymig.Run, n)
		for i := range r {
			r[i] = lazymig.Run{First: lazymig.PageNumber(i) * 10, Count: count}
		}
		return r
	}
	pages := testPages(KindData)
	tests := map[string]struct {
		typ     Type
		payload []byte
	}{
		"hello magic":                      {TypeHello, change(hello, 0, 'l')},
		"hello role 0":                     {TypeHello, change(hello, 10, 0)},
		"hello role 5":                     {TypeHello, change(hello, 10, 5)},
		"hello flags":                      {TypeHello, change(hello, 11, 2)},
		"hello purpose":                    {TypeHello, change(hello, 15, 2)},
		"memory without identity":          {TypeMemory, Memory{Bytes: lazymig.PageSize}.Append(nil)[headerSize:]},
		"memory of no pages":               {TypeMemory, Memory{Memory: [16]byte{1}}.Append(nil)[headerSize:]},
		"memory of half a page":            {TypeMemory, Memory{Memory: [16]byte{1}, Bytes: 6000}.Append(nil)[headerSize:]},
		"memory too large":                 {TypeMemory, Memory{Memory: [16]byte{1}, Bytes: lazymig.MaxBytes + lazymig.PageSize}.Append(nil)[headerSize:]},
		"hello without session":            {TypeHello, Hello{Role: RoleBulk}.Append(nil)[headerSize:]},
		"hello escape in name":             {TypeHello, change(hello, helloFixed, 27)},
		"hello name not UTF-8":             {TypeHello, change(hello, helloFixed, 0xff)},
		"hello name too long":              {TypeHello, append(hello.Append(nil)[headerSize:], strings.Repeat("x", MaxName)...)},
		"welcome reserved":                 {TypeWelcome, change(Welcome{}, 3, 1)},
		"refuse text too long":             {TypeRefuse, append([]byte{0, 0, 1, 4, 0, 0}, strings.Repeat("x", MaxText+1)...)},
		"refuse lengths":                   {TypeRefuse, []byte{0, 0, 2, 0, 0, 0, 'x'}},
		"offer without document":           {TypeOffer, []byte{0}},
		"offer flags":                      {TypeOffer, []byte{2, '{', '}'}},
		"offer over limit":                 {TypeOffer, make([]byte, 2+MaxDocument)},
		"verdict flags":                    {TypeVerdict, []byte{0x80, '{', '}'}},
		"device state empty":               {TypeDeviceState, nil},
		"device state over limit":          {TypeDeviceState, make([]byte, MaxDeviceChunk+1)},
		"resumed flags":                    {TypeResumed, change(Resumed{}, 8, 3)},
		"abort text":                       {TypeAbort, append(make([]byte, 8), 0x1b)},
		"abort over limit":                 {TypeAbort, append(make([]byte, 8), strings.Repeat("x", MaxText+1)...)},
		"complete without report":          {TypeComplete, make([]byte, 8)},
		"request no runs":                  {TypeRequest, Request{}.Append(nil)[headerSize:]},
		"request 65 runs":                  {TypeRequest, Request{Runs: runs(MaxRequestRuns+1, 1)}.Append(nil)[headerSize:]},
		"request 1025 pages":               {TypeRequest, Request{Runs: runs(1, MaxRequestPages+1)}.Append(nil)[headerSize:]},
		"request 1024+1 pages":             {TypeRequest, Request{Runs: append(runs(1, MaxRequestPages), runs(1, 1)...)}.Append(nil)[headerSize:]},
		"request 0 pages":                  {TypeRequest, Request{Runs: runs(1, 0)}.Append(nil)[headerSize:]},
		"request overflow":                 {TypeRequest, Request{Runs: []lazymig.Run{{First: 1<<64 - 1, Count: 2}}}.Append(nil)[headerSize:]},
		"request behind the end":           {TypeRequest, Request{Runs: []lazymig.Run{{First: maxPageNumber - 1, Count: 2}}}.Append(nil)[headerSize:]},
		"request flags":                    {TypeRequest, change(Request{Runs: runs(1, 1)}, 0, 2)},
		"request reserved":                 {TypeRequest, change(Request{Runs: runs(1, 1)}, 4, 2)},
		"ahead 1025 pages":                 {TypeAhead, Ahead{Runs: runs(1, MaxHotPages+1)}.Append(nil)[headerSize:]},
		"ahead all urgent":                 {TypeAhead, Ahead{Urgent: 1}.Append(nil)[headerSize:]},
		"ahead 1 byte":                     {TypeAhead, append(Ahead{}.Append(nil)[headerSize:], 0)},
		"hot set nothing":                  {TypeHotSet, nil},
		"hot set 1025 pages":               {TypeHotSet, HotSet{Pages: make([]lazymig.HotPage, MaxHotPages+1)}.Append(nil)[headerSize:]},
		"hot set behind the end":           {TypeHotSet, HotSet{Pages: []lazymig.HotPage{{Page: maxPageNumber}}}.Append(nil)[headerSize:]},
		"hot set too late":                 {TypeHotSet, HotSet{Pages: []lazymig.HotPage{{After: time.Hour}}}.Append(nil)[headerSize:]},
		"absent nothing":                   {TypeAbsent, Absent{}.Append(nil)[headerSize:]},
		"absent 0 pages":                   {TypeAbsent, Absent{Last: true, Runs: runs(1, 0)}.Append(nil)[headerSize:]},
		"absent 4097 runs":                 {TypeAbsent, Absent{Runs: runs(MaxAbsentRuns+1, 1)}.Append(nil)[headerSize:]},
		"absent overflow":                  {TypeAbsent, Absent{Runs: []lazymig.Run{{First: 1, Count: 1<<64 - 1}}}.Append(nil)[headerSize:]},
		"pages none":                       {TypePages, change(pages, 8, 0)},
		"pages 65":                         {TypePages, change(pages, 8, MaxPages+1)},
		"pages encoding":                   {TypePages, change(pages, 10, 3)},
		"pages packed as long as they are": {TypePages, change(pages, 10, 1)},
		"no pages packed":                  {TypePages, change(testPages(KindZero), 10, 1)},
		"zstd as long as the pages are":    {TypePages, change(pages, 10, 2)},
		"no pages as zstd":                 {TypePages, change(testPages(KindZero), 10, 2)},
		"pages reserved":                   {TypePages, change(pages, 11, 1)},
		"pages kind 5":                     {TypePages, change(pages, 12, 5)},
		"pages reference with data":        {TypePages, change(pages, 12, byte(KindRef))},
		"filter too large":                 {TypeFilter, Filter{Size: MaxFilter + 1, Data: []byte{1}}.Append(nil)[headerSize:]},
		"filter too long":                  {TypeFilter, Filter{Size: 1, Data: []byte{1, 2}}.Append(nil)[headerSize:]},
		"filter nothing of it":             {TypeFilter, Filter{Size: 1}.Append(nil)[headerSize:]},
		"filter reserved":                  {TypeFilter, change(Filter{}, 7, 1)},
		"recipe nothing":                   {TypeRecipe, Recipe{}.Append(nil)[headerSize:]},
		"recipe 0 pages":                   {TypeRecipe, Recipe{Last: true, Parts: []RecipePart{{}}}.Append(nil)[headerSize:]},
		"recipe kind 3":                    {TypeRecipe, Recipe{Parts: []RecipePart{{3, 1}}}.Append(nil)[headerSize:]},
		"recipe 2049 digests":              {TypeRecipe, Recipe{Parts: []RecipePart{{RecipeDigest, MaxRecipeDigests + 1}}}.Append(nil)[headerSize:]},
		"recipe behind the end":            {TypeRecipe, Recipe{First: maxPageNumber - 1, Parts: []RecipePart{{RecipeZero, 2}}}.Append(nil)[headerSize:]},
		"recipe too many parts":            {TypeRecipe, Recipe{Parts: make([]RecipePart, MaxRecipeParts+1)}.Append(nil)[headerSize:]},
		"warm nothing":                     {TypeWarm, Warm{}.Append(nil)[headerSize:]},
		"warm encoding":                    {TypeWarm, change(Warm{Digests: make([]byte, 32), Data: page(1)}, 2, 1)},
		"warm half a page":                 {TypeWarm, Warm{Digests: make([]byte, 32), Data: page(1)[1:]}.Append(nil)[headerSize:]},
		"pages zero with data":             {TypePages, change(pages, 12, byte(KindZero))},
		"pages behind the end":             {TypePages, change(pages, 7, 1)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := parse(tt.typ, tt.payload)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("got %+v, %v; want ErrMalformed", f, err)
			}
		})
	}
}

func TestOtherVersion(t *testing.T) {
	later := append(Hello{Version: 7, Session: [16]byte{1}}.Append(nil)[headerSize:], strings.Repeat("new field", 50)...)
	for name, try := range map[string]func() error{
		"hello":   func() error { _, err := ParseHello(later); return err },
		"welcome": func() error { _, err := ParseWelcome(Welcome{Version: 7}.Append(nil)[headerSize:]); return err },
	} {
		err := try()
		ve, ok := errors.AsType[*VersionError](err)
		if !ok || !errors.Is(err, ErrVersion) || *ve != (VersionError{Ours: Version, Theirs: 7}) {
			t.Errorf("%s: got %v", name, err)
		}
		if s := err.Error(); !strings.Contains(s, "version 1") || !strings.Contains(s, "version 7") {
			t.Errorf("%s: %q does not name both versions", name, s)
		}
	}
}

func TestReadFrameRejects(t *testing.T) {
	head := func(t Type, flags byte, size uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte{byte(t), flags, 0, 0}, size)
	}
	for name, tt := range map[string]struct {
		bytes []byte
		want  error
	}{
		"nothing":      {nil, io.EOF},
		"half header":  {head(TypePing, 0, 8)[:4], io.ErrUnexpectedEOF},
		"no payload":   {head(TypePing, 0, 8), io.ErrUnexpectedEOF},
		"half payload": {append(head(TypePing, 0, 8), 1, 2), io.ErrUnexpectedEOF},
		"type 0":       {head(0, 0, 0), ErrUnknownType},
		"type 99":      {head(99, 0, 0), ErrUnknownType},
		"gap in types": {head(6, 0, 0), ErrUnknownType},
		"flags":        {head(TypePing, 1, 8), ErrMalformed},
		"reserved":     {[]byte{byte(TypePing), 0, 0, 1, 8, 0, 0, 0}, ErrMalformed},
		"over limit":   {head(TypePing, 0, 9), ErrMalformed},
		"4 GiB":        {head(TypePages, 0, 1<<32-1), ErrMalformed},
	} {
		_, payload, err := ReadFrame(bytes.NewReader(tt.bytes), nil)
		if !errors.Is(err, tt.want) || payload != nil {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	broken := errors.New("line cut")
	if _, _, err := ReadFrame(iotest.ErrReader(broken), nil); !errors.Is(err, broken) {
		t.Errorf("error of the reader: got %v", err)
	}
}

func TestReadFrameOf(t *testing.T) {
	b := Offer{Document: make([]byte, 1<<20)}.Append(nil)
	r := bytes.NewReader(b)
	typ, payload, err := ReadFrameOf(r, nil, TypeHello, TypeRefuse)
	if !errors.Is(err, ErrUnexpected) || typ != TypeOffer || payload != nil {
		t.Errorf("got %s, %d bytes, %v", typ, len(payload), err)
	}
	if r.Len() != len(b)-headerSize {
		t.Errorf("%d payload bytes were read", len(b)-headerSize-r.Len())
	}
	if _, p, err := ReadFrameOf(bytes.NewReader(b), nil, TypeOffer); err != nil || len(p) != 1+1<<20 {
		t.Errorf("allowed frame: %d bytes, %v", len(p), err)
	}
}

func TestReadFrameBuffer(t *testing.T) {
	frames := append(Ping{Token: 1}.Append(nil), DeviceState{Data: make([]byte, 9000)}.Append(nil)...)
	frames = append(frames, Ping{Token: 2}.Append(nil)...)
	r := iotest.OneByteReader(bytes.NewReader(frames))
	var payload []byte
	var err error
	for i, want := range []Type{TypePing, TypeDeviceState, TypePing} {
		before := payload
		var typ Type
		if typ, payload, err = ReadFrame(r, payload[:0]); err != nil || typ != want {
			t.Fatalf("frame %d: %s, %v", i, typ, err)
		}
		if i == 2 && &before[0] != &payload[0] {
			t.Error("the grown buffer was not used again")
		}
	}
}

func TestCleanText(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"},
		{"cut here", 3, "cut"},
		{"ééé", 3, "é"},
		{"ééé", 4, "éé"},
		{"€", 2, ""},
		{"a\x1b[31mb\tc\nd\x00\u0085", 64, "a [31mb c\nd  "},
		{"bad\xff\xfe", 64, "bad "},
	} {
		if got := CleanText(tt.in, tt.limit); got != tt.want {
			t.Errorf("CleanText(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
	long := Abort{Reason: strings.Repeat("é\x07", MaxText)}
	b := long.Append(nil)
	if len(b) != long.Length() {
		t.Errorf("Length is %d, Append adds %d", long.Length(), len(b))
	}
	if _, err := ParseAbort(b[headerSize:]); err != nil {
		t.Error(err)
	}
}
