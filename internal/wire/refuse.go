package wire

import "fmt"

// Code says why a link was refused or closed. The numbers below CodeEngine are
// the transport's; those from CodeEngine up belong to who uses the link.
type Code uint16

// The codes of the transport.
const (
	// CodeDone ends a link that both sides are done with.
	CodeDone Code = 0
	// CodeInternal is a failure of the side that sends it.
	CodeInternal Code = 1
	// CodeVersion refuses another protocol version.
	CodeVersion Code = 2
	// CodeKey refuses another domain key.
	CodeKey Code = 3
	// CodeInsecure refuses a peer of which only one side has identities.
	CodeInsecure Code = 4
	// CodeMalformed refuses frames that are none.
	CodeMalformed Code = 5
	// CodeTimeout refuses a peer that was too slow.
	CodeTimeout Code = 6
	// CodeBusy refuses for now; trying again later may help.
	CodeBusy Code = 7
	// CodeReplaced ends a link for which its source dialled a new one.
	CodeReplaced Code = 8
	// CodeBroken ends a link of which another part died.
	CodeBroken Code = 9
	// CodeClosing ends what a listener has when it closes.
	CodeClosing Code = 10

	// CodeEngine is the first code that the transport does not use.
	CodeEngine Code = 256
	// CodeMemoryGone ends the links of a memory that has changed or cannot be
	// read any more: nobody may go on with it.
	CodeMemoryGone Code = 257
	// CodeOtherMemory refuses a client that began with another memory.
	CodeOtherMemory Code = 258
)

// String returns the name of the code.
func (c Code) String() string {
	names := [...]string{
		"done", "internal", "version", "key", "insecure", "malformed",
		"timeout", "busy", "replaced", "broken", "closing",
	}
	switch {
	case int(c) < len(names):
		return names[c]
	case c == CodeEngine:
		return "engine"
	case c == CodeMemoryGone:
		return "memory gone"
	case c == CodeOtherMemory:
		return "other memory"
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Refuse says no, from either side; the stream ends behind it.
type Refuse struct {
	Code Code
	// Text says what is wrong, Hint what to do; at most MaxText bytes each.
	Text, Hint string
}

// Length returns the bytes that Append adds.
func (f Refuse) Length() int {
	return headerSize + refuseFixed + len(CleanText(f.Text, MaxText)) + len(CleanText(f.Hint, MaxText))
}

// Append appends the frame with its header to b.
func (f Refuse) Append(b []byte) []byte {
	text, hint := CleanText(f.Text, MaxText), CleanText(f.Hint, MaxText)
	b = appendHeader(b, TypeRefuse, refuseFixed+len(text)+len(hint))
	b = appendU16(b, uint16(f.Code))
	b = appendU16(b, uint16(len(text)))
	b = appendU16(b, uint16(len(hint)))
	b = append(b, text...)
	return append(b, hint...)
}

// ParseRefuse parses a payload; errors wrap ErrMalformed.
func ParseRefuse(payload []byte) (Refuse, error) {
	d := decoder{rest: payload}
	f := Refuse{Code: Code(d.u16())}
	text, hint := int(d.u16()), int(d.u16())
	f.Text = d.text(text, MaxText)
	f.Hint = d.text(hint, MaxText)
	return f, d.finish(TypeRefuse)
}
