package rawquic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// childVariable tells a process which end it is.
const childVariable = "LAZYMIG_RAWQUIC"

// Config says what to measure.
type Config struct {
	// Address is where the server listens, HOST:PORT; port 0 picks one.
	// Default 127.0.0.1:0.
	Address string
	// Bytes are sent from the server to the client. Default 256 MiB.
	Bytes int64
	// RoundTrips is the number of 4 KiB round trips. Default 2000.
	RoundTrips int
	// Server and Client start a program on the two hosts, such as
	// link.Command bound to a side. Default: on this host.
	Server, Client func(ctx context.Context, name string, args ...string) *exec.Cmd `json:"-"`
}

// Result is what was measured.
type Result struct {
	// BytesPerSecond is the throughput of the bulk transfer.
	BytesPerSecond float64
	// P50 and P99 are percentiles of the round trips.
	P50, P99 time.Duration
	// ServerCPU and ClientCPU are the CPU times of the two ends during the
	// bulk transfer, user and kernel.
	ServerCPU, ClientCPU time.Duration
}

// CPUPerGiB returns the CPU time of both ends for one GiB.
func (r Result) CPUPerGiB(bytes int64) time.Duration {
	return time.Duration(float64(r.ServerCPU+r.ClientCPU) * (1 << 30) / float64(bytes))
}

// job is what a child reads on its standard input.
type job struct {
	Config Config
	// Certificate is the server's, in DER; only clients get it.
	Certificate []byte
}

// hello is the first line that a server writes.
type hello struct {
	Address     string
	Certificate []byte
}

// Run starts both ends and measures. It returns when both have ended.
func Run(ctx context.Context, config Config) (Result, error) {
	config = config.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := start(ctx, config.Server, "server", job{Config: config})
	if err != nil {
		return Result{}, err
	}
	result, err := run(ctx, server, config)
	if err != nil {
		cancel() // kills the server
		return Result{}, errors.Join(fmt.Errorf("measure plain QUIC: %w", err), server.wait())
	}
	if err := server.wait(); err != nil {
		return Result{}, fmt.Errorf("measure plain QUIC: %w", err)
	}
	return result, nil
}

func run(ctx context.Context, server *child, config Config) (Result, error) {
	var h hello
	if err := server.read(&h); err != nil {
		return Result{}, err
	}
	config.Address = h.Address
	client, err := start(ctx, config.Client, "client", job{Config: config, Certificate: h.Certificate})
	if err != nil {
		return Result{}, err
	}
	var result, own Result
	if err := errors.Join(client.read(&result), client.wait()); err != nil {
		return Result{}, err
	}
	if err := server.read(&own); err != nil {
		return Result{}, err
	}
	result.ServerCPU = own.ServerCPU
	return result, nil
}

func (c Config) withDefaults() Config {
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	if c.Bytes == 0 {
		c.Bytes = 256 << 20
	}
	if c.RoundTrips == 0 {
		c.RoundTrips = 2000
	}
	if c.Server == nil {
		c.Server = exec.CommandContext
	}
	if c.Client == nil {
		c.Client = exec.CommandContext
	}
	return c
}

// child is one end; it writes JSON lines on its standard output.
type child struct {
	role   string
	cmd    *exec.Cmd
	lines  *bufio.Reader
	stderr strings.Builder
}

func start(ctx context.Context, command func(context.Context, string, ...string) *exec.Cmd, role string, j job) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	input, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("describe the %s's job: %w", role, err)
	}
	c := &child{role: role, cmd: command(ctx, self)}
	if c.cmd.Env == nil {
		c.cmd.Env = os.Environ()
	}
	c.cmd.Env = append(c.cmd.Env, childVariable+"="+role)
	c.cmd.Stdin = strings.NewReader(string(input))
	c.cmd.Stderr = &c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the %s: %w", role, err)
	}
	c.lines = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", role, err)
	}
	return c, nil
}

func (c *child) read(to any) error {
	line, err := c.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, to)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read what the %s says: %w", c.role, err)
	}
	if err != nil {
		return fmt.Errorf("read what the %s says: it ended", c.role)
	}
	return nil
}

func (c *child) wait() error {
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("run the %s: %w: %s", c.role, err, strings.TrimSpace(c.stderr.String()))
	}
	return nil
}
