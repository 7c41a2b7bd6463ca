package vm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Answer is one line of the guest's program: NAME [STATUS] KEY=VALUE...
type Answer struct {
	// Name is the command that it answers, or READY or FATAL.
	Name string
	// Status is the first word that is no KEY=VALUE: ok or FAIL of verify.
	Status string
	// Values has the rest.
	Values map[string]string

	text string
}

// Number returns a value that is a decimal number, and 0 for any other.
func (a Answer) Number(key string) uint64 {
	n, err := strconv.ParseUint(a.Values[key], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// String returns the line as it came.
func (a Answer) String() string { return a.text }

func parseAnswer(text string) Answer {
	a := Answer{Values: make(map[string]string), text: strings.TrimSpace(text)}
	for i, field := range strings.Fields(text) {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case i == 0:
			a.Name = field
		case ok:
			a.Values[key] = value
		case a.Status == "":
			a.Status = field
		}
	}
	return a
}

// Ready waits until a guest that was booted here has filled its memory and
// runs. The values boot_ms and start_ms say how long its kernel and its
// program took.
func (v *VM) Ready(ctx context.Context) (Answer, error) {
	a, err := v.console.next(ctx, v.console.ready, "READY")
	if err != nil {
		return a, fmt.Errorf("%w\n%s", err, v.Log())
	}
	return a, nil
}

// Command sends a line to the guest's program and returns its answer:
//
//	verify       checks every word and every disk record; Status is ok or FAIL
//	stats        counters: ops, bad_ops, worst_us, beats, records, free_kib, …
//	maxop        us: the longest page operation; "maxop reset" also forgets it
//	stop, go     stops and restarts the writers of memory and disk
//	sh COMMAND   runs busybox's shell; its output is in Log
//	poweroff     ends the guest (see PowerOff)
//
// Commands of several goroutines wait for each other.
func (v *VM) Command(ctx context.Context, line string) (Answer, error) {
	v.console.commands.Lock()
	defer v.console.commands.Unlock()
	if _, err := v.PID(ctx); err != nil {
		return Answer{}, err
	}
	v.console.forget()
	if err := v.control.write(line + "\n"); err != nil {
		return Answer{}, fmt.Errorf("send %q to the guest: %w", line, err)
	}
	name, _, _ := strings.Cut(line, " ")
	return v.console.next(ctx, v.console.answers, name)
}

// Verify has the guest check every word of its memory and every disk record,
// and returns an error with what is wrong.
func (v *VM) Verify(ctx context.Context) (Answer, error) {
	a, err := v.Command(ctx, "verify")
	if err == nil && a.Status != "ok" {
		err = fmt.Errorf("verify the guest: %s", a)
	}
	return a, err
}
