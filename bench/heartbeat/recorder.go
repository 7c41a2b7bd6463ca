package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// maxBeats bounds what a recorder keeps: 40 minutes at 1 kHz, about 150 MB.
const maxBeats = 2_400_000

// errFull ends a recording that would need too much memory.
var errFull = errors.New("the run is too long for one recorder")

// Recorder keeps the beats of one guest.
type Recorder struct {
	mu      sync.Mutex // guards everything, also the streams
	changed sync.Cond
	streams []*Stream
	beats   int
}

// Stream is the part of the heartbeat that came from one VMM. A guest may be
// stopped in the middle of a line; the next VMM then sends the rest. So the
// first line of a stream is kept as it came and is only read together with
// the end of the streams before it.
type Stream struct {
	recorder *Recorder
	number   int

	began bool   // the first line is complete
	first []byte // the first line, without its newline
	at    time.Time
	beats []Beat // the lines behind the first one
	tail  []byte // a line that has no end yet
	err   error
}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder {
	r := &Recorder{}
	r.changed.L = &r.mu
	return r
}

// Fork returns a recorder for a guest that goes on as another one from here,
// beside the one of r, which stands still.
func (r *Recorder) Fork() *Recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := NewRecorder()
	var open []byte
	for _, s := range r.streams {
		if s.began {
			open = nil
		}
		open = append(open, s.tail...)
	}
	f.streams = []*Stream{{recorder: f, tail: open}}
	return f
}

// Stream adds a stream behind all others. It may stay empty.
func (r *Recorder) Stream() *Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Stream{recorder: r, number: len(r.streams)}
	r.streams = append(r.streams, s)
	return s
}

// Number returns the position of the stream in its recorder, from 0.
func (s *Stream) Number() int { return s.number }

// Serve reads the guest's lines until the connection ends.
func (s *Stream) Serve(conn io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if n > 0 && !s.add(buffer[:n], time.Now()) || err != nil {
			return
		}
	}
}

func (s *Stream) add(text []byte, at time.Time) (more bool) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	defer s.recorder.changed.Broadcast()
	for len(text) > 0 {
		part, rest, whole := bytes.Cut(text, []byte("\n"))
		s.tail = append(s.tail, part...)
		text = rest
		if whole {
			s.finishLocked(at)
		} else if len(s.tail) > maxLine {
			s.err = fmt.Errorf("read beat %q: the line is too long", s.tail)
		}
		if s.err != nil {
			return false
		}
	}
	return true
}

// finishLocked takes the line in tail.
func (s *Stream) finishLocked(at time.Time) {
	line := s.tail
	s.tail = s.tail[:0]
	if !s.began {
		s.began, s.first, s.at = true, slices.Clone(line), at
		return
	}
	b, err := parse(line)
	if s.recorder.beats++; err == nil && s.recorder.beats > maxBeats {
		err = errFull
	}
	b.Stream, b.Received = s.number, at
	s.beats, s.err = append(s.beats, b), err
}

// Beats returns all beats in order, and an error if a line made no sense.
func (r *Recorder) Beats() ([]Beat, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Beat
	var open []byte
	var problems []error
	for _, s := range r.streams {
		problems = append(problems, s.err)
		if s.began {
			b, err := parse(append(open, s.first...))
			problems = append(problems, err)
			b.Stream, b.Received = s.number, s.at
			all = append(append(all, b), s.beats...)
			open = nil
		}
		open = append(open, s.tail...)
	}
	return all, errors.Join(problems...)
}

// Last returns the newest line of this stream, its first excepted, or false if
// there is none.
func (s *Stream) Last() (Beat, bool) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	if len(s.beats) == 0 {
		return Beat{}, false
	}
	return s.beats[len(s.beats)-1], true
}

// Wait returns when n more lines have come whole from this stream, which says
// that the guest runs there, and returns the last of them.
func (s *Stream) Wait(ctx context.Context, n int) (Beat, error) {
	r := s.recorder
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changed.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for start := len(s.beats); len(s.beats) < start+n; r.changed.Wait() {
		switch {
		case ctx.Err() != nil:
			return Beat{}, fmt.Errorf("wait for %d beats of stream %d: %w", n, s.number, context.Cause(ctx))
		case s.err != nil:
			return Beat{}, s.err
		}
	}
	return s.beats[len(s.beats)-1], nil
}
