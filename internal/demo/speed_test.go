package demo

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// beat gives a stream one line each millisecond: the operations that the guest
// has done by then.
func beat(t *testing.T, s *heartbeat.Stream, ops func(i int) int, from, to int) {
	t.Helper()
	reader, writer := io.Pipe()
	go s.Serve(reader)
	for i := from; i < to; i++ {
		fmt.Fprintf(writer, "%x %x %x 0\n", i, ops(i), 1000*i)
		<-time.After(time.Millisecond)
	}
	writer.Close()
	synctest.Wait()
}

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := heartbeat.NewRecorder().Stream()
		go beat(t, s, func(i int) int { return 50 * i }, 1, 3000)
		speed, err := measure(t.Context(), s, time.Second)
		if err != nil || speed < 49_900 || speed > 50_100 {
			t.Errorf("%v operations per second, %v, want 50000", speed, err)
		}
		<-time.After(5 * time.Second)
		if _, err := measure(t.Context(), s, time.Second); !errors.Is(err, errSilent) {
			t.Errorf("a guest that stands still: %v", err)
		}
	})
}

func TestSpeedometer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := heartbeat.NewRecorder().Stream()
		var m speedometer
		if speed := m.look(s, time.Now()); speed != 0 {
			t.Errorf("%v before the first beat", speed)
		}
		beat(t, s, func(i int) int { return 20 * i }, 1, 100)
		if speed := m.look(s, time.Now()); speed != 0 {
			t.Errorf("%v at the first look", speed)
		}
		beat(t, s, func(i int) int { return 20 * i }, 100, 200)
		if speed := m.look(s, time.Now()); speed < 19_900 || speed > 20_100 {
			t.Errorf("%v operations per second, want 20000", speed)
		}
		<-time.After(time.Second)
		if speed := m.look(s, time.Now()); speed != 0 {
			t.Errorf("%v of a guest that stands still", speed)
		}
	})
}

func TestStandstill(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var beats []heartbeat.Beat
	for ms := range 1000 { // stands still from 300 to 700, but goes on beating
		ops := uint64(min(ms, 300) + max(0, ms-700))
		beats = append(beats, heartbeat.Beat{Ops: ops, Received: at(ms)})
	}
	for _, c := range []struct {
		cut, whole     int
		longest, after time.Duration
	}{
		{250, 650, 401 * time.Millisecond, 51 * time.Millisecond},
		{400, 650, 301 * time.Millisecond, 51 * time.Millisecond},
		{100, 200, 401 * time.Millisecond, 0},
		{100, 350, 401 * time.Millisecond, 0}, // for 50 ms only: it may be slow
		{800, 900, time.Millisecond, 0},
	} {
		longest, after := standstill(beats, at(c.cut), at(c.whole))
		if longest != c.longest || after != c.after {
			t.Errorf("cut from %d to %d: %v and %v, want %v and %v", c.cut, c.whole, longest, after, c.longest, c.after)
		}
	}
}
