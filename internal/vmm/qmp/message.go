package qmp

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one asynchronous message of the monitor.
type Event struct {
	// Name is QEMU's name of the event, such as "STOP".
	Name string
	// Data is the event's data, or nil.
	Data json.RawMessage
	// Timestamp is QEMU's own clock when the event was made, to the
	// microsecond. It has no monotonic reading.
	Timestamp time.Time
	// Received is when this process had read the event.
	Received time.Time
}

// command is what goes to the monitor, one line each.
type command struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// message is any line that the monitor says.
type message struct {
	Greeting  json.RawMessage `json:"QMP"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	Return json.RawMessage `json:"return"`
	Error  *CommandError   `json:"error"`
	ID     *uint64         `json:"id"`
}

func parseMessage(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("%w: read %q: %w", ErrProtocol, clip(line), err)
	}
	return m, nil
}

func (m message) asEvent(received time.Time) Event {
	return Event{
		Name:      m.Event,
		Data:      m.Data,
		Timestamp: time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*1000),
		Received:  received,
	}
}

// clip keeps what a peer said short enough for an error text.
func clip(line []byte) []byte {
	const most = 64
	if len(line) > most {
		return line[:most]
	}
	return line
}
