package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const variable = "LAZYMIG_TEST_WORKER"

type job struct{ Role string }

func TestMain(m *testing.M) {
	if os.Getenv(variable) == "" {
		os.Exit(m.Run())
	}
	var j job
	if err := Run(os.Stdin, &j, func(ctx context.Context) error { return work(ctx, j) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func work(ctx context.Context, j job) error {
	if j.Role == "bad" {
		return errors.New("this work cannot be done")
	}
	if err := Say(os.Stdout, j); err != nil {
		return err
	}
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrDismissed) {
		return context.Cause(ctx)
	}
	return nil
}

func start(t *testing.T, role string) *Worker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), variable+"=1")
	w, err := Start(cmd, "test worker", job{role})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWorker(t *testing.T) {
	w := start(t, "good")
	var j job
	if err := w.Read(&j); err != nil || j.Role != "good" {
		t.Errorf("%+v, %v", j, err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	w = start(t, "good")
	w.Kill()
	w.Kill()
}

func TestWorkerFails(t *testing.T) {
	w := start(t, "bad")
	err := w.Read(&job{})
	if err == nil || !strings.Contains(err.Error(), "wait for the test worker") || !strings.Contains(err.Error(), "this work cannot be done") {
		t.Error(err)
	}
	if _, err := Start(exec.CommandContext(t.Context(), "/nonexistent"), "nobody", job{}); err == nil {
		t.Error("a program that does not exist was started")
	}
	if _, err := Start(exec.CommandContext(t.Context(), "/nonexistent"), "nobody", func() {}); err == nil {
		t.Error("a job that cannot be written was given")
	}
	if err := Run(strings.NewReader("nonsense\n"), &job{}, nil); err == nil {
		t.Error("a job that cannot be read was done")
	}
}
