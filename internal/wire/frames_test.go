package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

// frame is what all frames have in common.
type frame interface {
	Append(b []byte) []byte
	Length() int
}

func filled[T ~[16]byte | [32]byte](b byte) (a T) {
	for i := range len(a) {
		a[i] = b + byte(i)
	}
	return a
}

func testPages(kinds ...Kind) *Pages {
	b := NewPagesBuilder()
	b.Reset(1 << 20)
	for i, k := range kinds {
		digest := filled[[32]byte](byte(i))
		switch k {
		case KindZero:
			b.AddZero()
		case KindPoison:
			b.AddPoison()
		case KindRef:
			b.AddRef(&digest)
		case KindElsewhere:
			b.AddElsewhere()
		case KindData:
			page := b.Room()[:lazymig.PageSize]
			for j := range page {
				page[j] = byte(i + j/256)
			}
			b.AddData(page, &digest)
		}
	}
	f, err := ParsePages(b.Frame()[headerSize:])
	if err != nil {
		panic(err)
	}
	return &f
}

// packedPages are two pages, packed by nobody.
func packedPages(e Encoding) *Pages {
	b := NewPagesBuilder()
	b.Reset(7)
	for range 2 {
		b.AddData(b.Room()[:lazymig.PageSize], &[32]byte{1})
	}
	b.Pack(e, []byte("packed"))
	f, err := ParsePages(b.Frame()[headerSize:])
	if err != nil {
		panic(err)
	}
	return &f
}

func isPacked(f frame) bool {
	p, ok := f.(*Pages)
	return ok && p.Encoding() != EncodingRaw
}

// samples has at least one frame of each type.
func samples() map[Type][]frame {
	last := lazymig.Run{First: maxPageNumber - 1, Count: 1}
	return map[Type][]frame{
		TypeHello: {
			Hello{
				Version: Version, Role: RoleControl, Insecure: true, State: 3, Index: 2, Attempt: 1 << 60, Epoch: 7,
				VM: filled[lazymig.VMID](1), Session: filled[[16]byte](2), KeyCheck: filled[[32]byte](3), Name: "web-1",
			},
			Hello{Version: Version, Role: RoleBulk, Session: [16]byte{1}, Name: strings.Repeat("n", MaxName)},
			Hello{Version: Version, Role: RoleDemand, Session: [16]byte{15: 1}},
			Hello{Version: Version, Role: RoleDemand, Purpose: PurposeMemory, Session: [16]byte{15: 1}},
		},
		TypeWelcome:     {Welcome{Version: Version, State: 9, Epoch: 7, Session: filled[[16]byte](2), DomainKey: filled[[32]byte](5)}},
		TypeRefuse:      {Refuse{Code: CodeKey, Text: "no", Hint: "try\nagain"}, Refuse{Code: CodeEngine + 4}},
		TypePing:        {Ping{Token: 1<<64 - 1}},
		TypePong:        {Pong{Token: 42}},
		TypeOffer:       {Offer{DryRun: true, Document: []byte(`{"a":1}`)}, Offer{Document: []byte("{}")}},
		TypeVerdict:     {Verdict{OK: true, Document: []byte(`[]`)}},
		TypeDeviceState: {DeviceState{Data: []byte("QEVM")}, DeviceState{Data: make([]byte, 2000)}},
		TypeDeviceEnd:   {DeviceEnd{Bytes: 200_000, Digest: filled[[32]byte](9)}},
		TypeReady:       {Ready{Digest: filled[[32]byte](9)}},
		TypeCommit:      {Commit{Epoch: 7}},
		TypeResumed:     {Resumed{Epoch: 7, Ran: true, Pause: 4321}, Resumed{}},
		TypeAbort:       {Abort{Epoch: 7, Reason: "cancelled"}, Abort{}},
		TypeAbandoned:   {Abandoned{Epoch: 7, Reason: "no space – 3 pages short"}},
		TypeRenounced:   {Renounced{Epoch: 7, Reason: "the VMM died"}},
		TypeComplete:    {Complete{Epoch: 7, Document: []byte(`{}`)}},
		TypeReleased:    {Released{Epoch: 7}},
		TypeProgress:    {Progress{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		TypeHotSet: {HotSet{Pages: []lazymig.HotPage{
			{Page: 193, Epoch: 3, After: -20 * time.Millisecond}, {Page: maxPageNumber - 1, Epoch: 4, After: time.Minute},
		}}},
		TypeRequest: {
			Request{DataOnly: true, Runs: []lazymig.Run{{First: 5, Count: 1}, last}},
			Request{Runs: []lazymig.Run{{First: 0, Count: MaxRequestPages}}},
		},
		TypePages: {
			testPages(KindZero, KindData, KindPoison, KindData), testPages(KindData),
			testPages(KindRef, KindZero, KindData, KindElsewhere, KindRef), packedPages(EncodingS2), packedPages(EncodingZstd),
			testPages(bytesToKinds(strings.Repeat("\x00", MaxPages))...),
		},
		TypeAhead:  {Ahead{}, Ahead{Runs: []lazymig.Run{{First: 0, Count: MaxHotPages - 1}, last}, Urgent: 1}},
		TypeFilter: {Filter{}, Filter{Size: MaxFilter, Data: []byte{1, 2, 3}}},
		TypeRecipe: {
			Recipe{Last: true, Parts: []RecipePart{}, Digests: []byte{}},
			Recipe{First: 7, Parts: []RecipePart{{RecipeZero, 65535}, {RecipeDigest, 2}, {RecipeData, 1}}, Digests: bytes.Repeat([]byte{5}, 64)},
		},
		TypeWarm:   {Warm{Digests: bytes.Repeat([]byte{5}, 32), Data: page(3)}},
		TypeAttach: {Attach{}, Attach{Memory: filled[[16]byte](4)}},
		TypeMemory: {Memory{Memory: filled[[16]byte](4), Bytes: lazymig.MaxBytes}, Memory{Memory: [16]byte{1}, Bytes: lazymig.PageSize}},
		TypeAbsent: {
			Absent{Last: true},
			Absent{Runs: []lazymig.Run{{First: 0, Count: uint64(maxPageNumber)}, last}},
		},
	}
}

func bytesToKinds(s string) (k []Kind) {
	for _, c := range []byte(s) {
		k = append(k, Kind(c))
	}
	return k
}

// parse parses a payload of type t as the user of a stream would.
func parse(t Type, payload []byte) (frame, error) {
	switch t {
	case TypeHello:
		return ParseHello(payload)
	case TypeWelcome:
		return ParseWelcome(payload)
	case TypeRefuse:
		return ParseRefuse(payload)
	case TypePing:
		return ParsePing(payload)
	case TypePong:
		return ParsePong(payload)
	case TypeOffer:
		return ParseOffer(payload)
	case TypeVerdict:
		return ParseVerdict(payload)
	case TypeDeviceState:
		return ParseDeviceState(payload)
	case TypeDeviceEnd:
		return ParseDeviceEnd(payload)
	case TypeReady:
		return ParseReady(payload)
	case TypeCommit:
		return ParseCommit(payload)
	case TypeResumed:
		return ParseResumed(payload)
	case TypeAbort:
		return ParseAbort(payload)
	case TypeAbandoned:
		return ParseAbandoned(payload)
	case TypeAttach:
		return ParseAttach(payload)
	case TypeMemory:
		return ParseMemory(payload)
	case TypeRenounced:
		return ParseRenounced(payload)
	case TypeComplete:
		return ParseComplete(payload)
	case TypeReleased:
		return ParseReleased(payload)
	case TypeProgress:
		return ParseProgress(payload)
	case TypeRequest:
		return ParseRequest(payload)
	case TypePages:
		f, err := ParsePages(payload)
		return &f, err
	case TypeHotSet:
		return ParseHotSet(payload)
	case TypeAhead:
		return ParseAhead(payload)
	case TypeFilter:
		return ParseFilter(payload)
	case TypeRecipe:
		return ParseRecipeInto([]RecipePart{}, payload)
	case TypeWarm:
		return ParseWarm(payload)
	case TypeAbsent:
		return ParseAbsent(payload)
	}
	return nil, fmt.Errorf("parse type %d: %w", t, ErrUnknownType)
}

func eachSample(t *testing.T, check func(t *testing.T, typ Type, f frame)) {
	for typ, frames := range samples() {
		for i, f := range frames {
			t.Run(fmt.Sprintf("%s/%d", typ, i), func(t *testing.T) { check(t, typ, f) })
		}
	}
}

func TestSamplesCoverEveryType(t *testing.T) {
	all := samples()
	for i := range frameTable {
		typ := Type(i)
		if _, ok := typ.limit(); ok != (len(all[typ]) > 0) {
			t.Errorf("%s: known %v, samples %d", typ, ok, len(all[typ]))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	eachSample(t, func(t *testing.T, typ Type, f frame) {
		b := f.Append([]byte("before"))[len("before"):]
		if len(b) != f.Length() {
			t.Errorf("Length is %d, Append adds %d", f.Length(), len(b))
		}
		got, payload, err := ReadFrame(bytes.NewReader(b), nil)
		if err != nil || got != typ {
			t.Fatalf("ReadFrame: %s, %v", got, err)
		}
		back, err := parse(typ, payload)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, f) {
			t.Errorf("parsed %+v\nwant   %+v", back, f)
		}
		if again := back.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("appended again: %x\nwant            %x", again, b)
		}
	})
}

// TestCut cuts each payload at every length: nothing shorter than a frame is
// one, except where the end is free text or a document.
func TestCut(t *testing.T) {
	fixed := map[Type]int{
		TypeHello: helloFixed, TypeAbort: 8, TypeAbandoned: 8, TypeRenounced: 8,
		TypeOffer: 2, TypeVerdict: 2, TypeComplete: 9, TypeDeviceState: 1, TypeFilter: 9,
	}
	eachSample(t, func(t *testing.T, typ Type, f frame) {
		if isPacked(f) {
			return // shorter data is data, too
		}
		b := f.Append(nil)
		for n := range len(b) {
			if _, _, err := ReadFrame(bytes.NewReader(b[:n]), nil); err == nil {
				t.Fatalf("ReadFrame accepts %d of %d bytes", n, len(b))
			}
		}
		payload := b[headerSize:]
		free, hasFree := fixed[typ]
		for n := range len(payload) {
			back, err := parse(typ, payload[:n])
			switch {
			case err != nil && !errors.Is(err, ErrMalformed):
				t.Fatalf("cut at %d: %v does not wrap ErrMalformed", n, err)
			case err == nil && (!hasFree || n < free):
				t.Fatalf("cut at %d of %d: parsed %+v", n, len(payload), back)
			}
		}
	})
}

func TestTrailingByte(t *testing.T) {
	free := map[Type]bool{TypeHello: true, TypeAbort: true, TypeAbandoned: true, TypeRenounced: true, TypeOffer: true, TypeVerdict: true, TypeComplete: true, TypeDeviceState: true, TypeFilter: true}
	eachSample(t, func(t *testing.T, typ Type, f frame) {
		if isPacked(f) {
			return
		}
		_, err := parse(typ, append(f.Append(nil)[headerSize:], 0))
		if free[typ] && typ != TypeHello && err == nil {
			return // one more byte of the document, or of device state
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("with a byte behind its end: %v", err)
		}
	})
}

// TestFlip flips every bit of the first 200 bytes: a parser refuses the result
// or reads exactly what is there.
func TestFlip(t *testing.T) {
	eachSample(t, func(t *testing.T, _ Type, f frame) {
		b := f.Append(nil)
		for i := range 8 * min(len(b), 200) {
			b[i/8] ^= 1 << (i % 8)
			checkCanonical(t, b)
			b[i/8] ^= 1 << (i % 8)
		}
	})
}

// checkCanonical reads and parses one frame off b; if that works, the frame
// must append to the same bytes.
func checkCanonical(t *testing.T, b []byte) {
	t.Helper()
	typ, payload, err := ReadFrame(bytes.NewReader(b), nil)
	if err != nil {
		return
	}
	f, err := parse(typ, payload)
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v is neither malformed nor of another version", typ, err)
		}
		return
	}
	if again := f.Append(nil); !bytes.Equal(again, b[:headerSize+len(payload)]) {
		t.Errorf("%s: %x was parsed, %x is its own form", typ, b[:headerSize+len(payload)], again)
	}
}
