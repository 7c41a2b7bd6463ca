package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Type says what a frame is. Numbers are part of the protocol.
type Type uint8

// The frame types. 1 to 15 are for every stream, 16 to 31 for the control
// stream, 32 to 47 for page streams and the recipe stream, 48 to 63 for the control stream of a link
// that reads a memory.
const (
	TypeHello   Type = 1
	TypeWelcome Type = 2
	TypeRefuse  Type = 3
	TypePing    Type = 4
	TypePong    Type = 5

	TypeOffer       Type = 16
	TypeVerdict     Type = 17
	TypeDeviceState Type = 18
	TypeDeviceEnd   Type = 19
	TypeReady       Type = 20
	TypeCommit      Type = 21
	TypeResumed     Type = 22
	TypeAbort       Type = 23
	TypeAbandoned   Type = 24
	TypeRenounced   Type = 25
	TypeComplete    Type = 26
	TypeReleased    Type = 27
	TypeProgress    Type = 28
	TypeHotSet      Type = 29

	TypeRequest Type = 32
	TypePages   Type = 33
	TypeAbsent  Type = 34
	TypeAhead   Type = 35
	TypeFilter  Type = 36
	TypeRecipe  Type = 37
	TypeWarm    Type = 38

	TypeAttach Type = 48
	TypeMemory Type = 49
)

// firstBuffer is what ReadFrame allocates when it is given no buffer: enough
// for every frame but those with documents, device state or pages.
const firstBuffer = 2304

// String returns the name of the type as docs/PROTOCOL.md has it.
func (t Type) String() string {
	if _, ok := t.limit(); ok {
		return frameTable[t].name
	}
	return fmt.Sprintf("TYPE-%d", uint8(t))
}

// limit returns the most payload bytes of the type; ok is false for a type
// that does not exist.
func (t Type) limit() (n uint32, ok bool) {
	if int(t) >= len(frameTable) || frameTable[t].name == "" {
		return 0, false
	}
	return frameTable[t].limit, true
}

// ReadFrame reads one frame of any type from r. The payload lies in buf if its
// capacity suffices, else in a new buffer of at most the type's limit; so a
// caller that passes payload[:0] of the frame before reads without allocation
// in the end.
//
// The error is io.EOF only when r ended between two frames and
// io.ErrUnexpectedEOF when it ended inside one. ErrMalformed and ErrUnknownType
// come before any payload is read. Errors of r are wrapped.
func ReadFrame(r io.Reader, buf []byte) (t Type, payload []byte, err error) {
	return readFrame(r, buf, nil)
}

// ReadFrameOf is ReadFrame for a caller that knows what may come: a frame of
// another type is ErrUnexpected, and nothing of its payload is read or kept.
func ReadFrameOf(r io.Reader, buf []byte, allowed ...Type) (t Type, payload []byte, err error) {
	return readFrame(r, buf, allowed)
}

func readFrame(r io.Reader, buf []byte, allowed []Type) (Type, []byte, error) {
	if cap(buf) < headerSize {
		buf = make([]byte, firstBuffer)
	}
	head := buf[:headerSize]
	if _, err := io.ReadFull(r, head); err != nil {
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("read frame header: %w", err)
	}
	t, size, err := parseHeader(head)
	if err != nil {
		return t, nil, err
	}
	if allowed != nil && !slices.Contains(allowed, t) {
		return t, nil, fmt.Errorf("read frame: %w: %s", ErrUnexpected, t)
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	payload := buf[:size]
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return t, nil, fmt.Errorf("read %s frame of %d bytes: %w", t, size, err)
	}
	return t, payload, nil
}

// parseHeader checks the 8 bytes before each payload: type, flags (none is
// defined), a reserved word and the payload length.
func parseHeader(h []byte) (Type, int, error) {
	t := Type(h[0])
	limit, ok := t.limit()
	size := binary.LittleEndian.Uint32(h[4:])
	switch {
	case !ok:
		return t, 0, fmt.Errorf("read frame header: %w: %d", ErrUnknownType, uint8(t))
	case h[1] != 0 || h[2] != 0 || h[3] != 0:
		return t, 0, fmt.Errorf("read %s frame header: %w: unknown flags", t, ErrMalformed)
	case size > limit:
		return t, 0, fmt.Errorf("read %s frame header: %w: %d bytes, at most %d", t, ErrMalformed, size, limit)
	}
	return t, int(size), nil
}

// appendHeader appends the header of a frame with size payload bytes.
func appendHeader(b []byte, t Type, size int) []byte {
	b = append(b, byte(t), 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}
