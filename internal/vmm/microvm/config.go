package microvm

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/lazymig/lazymig"
)

// Command is the command of lazymig that runs this VMM.
const Command = "microvm"

// ErrUsage is returned for a command line that cannot be used.
var ErrUsage = errors.New("invalid command line of a microvm")

// Config says what guest to run.
type Config struct {
	// Name of the guest.
	Name string
	// RAM is the path of the RAM file, on a tmpfs. It is created, except
	// with Incoming.
	RAM string
	// Size of the RAM in bytes: whole pages, 1 MiB to 2 GiB.
	Size uint64
	// Control is the path of the control socket, which is created.
	Control string
	// Serial is the path of a UNIX stream socket that gets the heartbeat.
	// Empty: nobody does.
	Serial string
	// Accel says what runs the vCPU. Empty: AccelAuto.
	Accel Accel
	// Incoming is the path of a socket at which a handler takes the
	// userfaultfd of a guest that is to arrive. Empty: a new guest.
	Incoming string
}

// IsCommandLine reports whether args, the program first, run this VMM.
func IsCommandLine(args []string) bool { return len(args) > 1 && args[1] == Command }

// ParseArgs reads the arguments behind the command. Errors wrap ErrUsage, but
// for flag.ErrHelp.
func ParseArgs(args []string) (Config, error) {
	c := Config{}
	set := flag.NewFlagSet(Command, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&c.Name, "name", "", "")
	set.StringVar(&c.RAM, "ram", "", "")
	set.Uint64Var(&c.Size, "size", 0, "")
	set.StringVar(&c.Control, "control", "", "")
	set.StringVar(&c.Serial, "serial", "", "")
	set.StringVar((*string)(&c.Accel), "accel", string(AccelAuto), "")
	set.StringVar(&c.Incoming, "incoming", "", "")
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w: %w", ErrUsage, err)
	case set.NArg() > 0:
		return c, fmt.Errorf("%w: unexpected %q", ErrUsage, set.Arg(0))
	}
	return c, c.validate()
}

// Usage describes the arguments.
const Usage = `--name NAME      the guest's name
--ram FILE       its RAM, a file on a tmpfs that is created
--size BYTES     of its RAM: 1 MiB to 2 GiB, whole pages
--control SOCKET created; answers one JSON object a line
--serial SOCKET  gets the heartbeat (optional)
--accel auto|kvm|native
--incoming SOCKET wait for a guest; hand the userfaultfd over there`

func (c Config) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
	}
	for name, value := range map[string]string{"name": c.Name, "ram": c.RAM, "control": c.Control} {
		if value == "" {
			return bad("--%s is required", name)
		}
	}
	if c.Size < minSize || c.Size > maxSize || c.Size%lazymig.PageSize != 0 {
		return bad("--size %d: use %d to %d bytes, a multiple of %d", c.Size, minSize, maxSize, lazymig.PageSize)
	}
	switch c.Accel {
	case AccelAuto, AccelKVM, AccelNative:
	default:
		return bad("--accel %q: use auto, kvm or native", c.Accel)
	}
	if !filepath.IsAbs(c.RAM) || !filepath.IsAbs(c.Control) {
		return bad("--ram and --control have to be absolute paths")
	}
	return nil
}

// args returns the command line that runs c, for the program that is running.
func (c Config) args(program string) []string {
	return []string{
		program, Command, "--name", c.Name, "--ram", c.RAM, "--size", strconv.FormatUint(c.Size, 10),
		"--control", c.Control, "--serial", c.Serial, "--accel", string(c.Accel), "--incoming", c.Incoming,
	}
}
