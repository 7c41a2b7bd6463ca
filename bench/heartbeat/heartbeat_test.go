package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// beats returns lines first to last of a guest that beats at 1 kHz.
func beats(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "%x %x %x %x\n", i, 10*i, 1000*i, i%7)
	}
	return b.String()
}

// feed gives a stream one line each millisecond.
func feed(t *testing.T, s *Stream, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		<-time.After(time.Millisecond)
		if !s.add([]byte(line), time.Now()) {
			t.Logf("stopped at %q: %v", line, s.err)
		}
	}
}

// TestSwitch cuts the text of a guest at every byte and lets a second VMM
// bring the rest after 50 ms.
func TestSwitch(t *testing.T) {
	whole := beats(1, 9)
	for cut := 1; cut < len(whole); cut++ {
		synctest.Test(t, func(t *testing.T) {
			r := NewRecorder()
			a, aborted, b := r.Stream(), r.Stream(), r.Stream()
			feed(t, a, whole[:cut])
			<-time.After(50 * time.Millisecond)
			feed(t, b, whole[cut:])
			all, err := r.Beats()
			if err != nil || len(all) != 9 {
				t.Fatalf("cut at %d: %d beats, %v", cut, len(all), err)
			}
			if err := r.Check(); err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			if _, err := r.Switch(aborted); err == nil {
				t.Errorf("cut at %d: a switch to a VMM that never ran", cut)
			}
			if all[0].Stream != a.Number() {
				return // the first line was cut: no beat at the source
			}
			s, err := r.Switch(b)
			if err != nil || s.Gap < 51*time.Millisecond || s.Gap > 53*time.Millisecond || s.GuestGap != time.Millisecond {
				t.Errorf("cut at %d: %+v, %v", cut, s, err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	line := func(n ...int) string { return fmt.Sprintf("%x %x %x 0\n", n[0], n[1], n[2]) }
	for _, c := range []struct{ name, text, want string }{
		{"right", beats(1, 200), ""},
		{"lost beat", beats(1, 100) + beats(102, 200), "between 100 and 102 are missing"},
		{"repeated beat", beats(1, 100) + beats(100, 200), "beat 100 came again"},
		{"old state", beats(1, 100) + beats(50, 200), "beat 50 came again after beat 100"},
		{"undone operations", beats(1, 100) + line(101, 999, 101_000), "operations went back from 1000 to 999"},
		{"clock back", beats(1, 100) + line(101, 1010, 99_999), "clock went back"},
		{"clock ahead", beats(1, 100) + line(101, 1010, 201_000), "clock jumped ahead"},
		{"no line", beats(1, 5) + "1 2 3\n", "3 fields"},
		{"no number", beats(1, 5) + "6 x 3 4\n", "invalid syntax"},
		{"no end", beats(1, 5) + strings.Repeat("a", maxLine+1), "too long"},
		{"too few", beats(1, 1), "there are 1 beats"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRecorder()
				feed(t, r.Stream(), c.text)
				if err := r.CheckGuest(); (err == nil) != (c.want == "" || strings.Contains(c.want, "ahead")) {
					t.Errorf("without the host's clock: error %v, want %q", err, c.want)
				}
				err := r.Check()
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestServeAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewRecorder().Stream()
		if last, ok := s.Last(); ok {
			t.Errorf("a last beat before the first: %+v", last)
		}
		reader, writer := io.Pipe()
		go s.Serve(reader)
		got := make(chan Beat)
		go func() {
			b, err := s.Wait(t.Context(), 3)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		synctest.Wait()
		for line := range strings.Lines(beats(1, 4)) {
			if _, err := io.WriteString(writer, line); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Millisecond)
		}
		if b := <-got; b.Sequence != 4 {
			t.Errorf("waited until beat %d, want 4", b.Sequence)
		}
		if last, ok := s.Last(); !ok || last.Sequence != 4 {
			t.Errorf("the last beat is %+v, %v, want 4", last, ok)
		}
		if rate := s.Rate(); rate < 999 || rate > 1001 {
			t.Errorf("rate %v, want 1000", rate)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait for a silent guest: %v", err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(beats(1, 3)), 5)
	f.Add([]byte("1 2\n\n 3"), 2)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		cut = max(0, min(cut, len(text)))
		whole, parts := NewRecorder(), NewRecorder()
		now := time.Unix(0, 0)
		a, b, c := whole.Stream(), parts.Stream(), parts.Stream()
		a.add(text, now)
		b.add(text[:cut], now)
		c.add(text[cut:], now)
		want, err1 := whole.Beats()
		got, err2 := parts.Beats()
		if err1 != nil || err2 != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%d beats in one stream, %d in two", len(want), len(got))
		}
		for i := range got {
			got[i].Stream = 0
			if got[i] != want[i] {
				t.Fatalf("beat %d: %+v in one stream, %+v in two", i, want[i], got[i])
			}
		}
	})
}
