package manpages

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// TestRoff writes text that roff could take for something else, and reads it
// back.
func TestRoff(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip(err)
	}
	const hard = `.SH is no section, 'tis \fB no bold, "quoted" - it ~ says ^ and ` + "`that`" + ` --so\n`
	command := &cobra.Command{Use: "hard", Short: hard, Long: hard + "\n\n  ." + hard + "\n    deeper\n\nlast", Run: func(*cobra.Command, []string) {}}
	command.Flags().String("flag", "a-b", hard)
	set := Set{Version: "1", Date: time.Unix(0, 0).UTC(), Files: [][2]string{{"/a.b", hard}}}
	read := exec.CommandContext(t.Context(), "mandoc", "-T", "ascii", "-O", "width=400")
	read.Stdin = strings.NewReader(set.page(command))
	out, err := read.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := strings.ReplaceAll(string(out), "\x08", "")
	if n := strings.Count(text, hard); n != 4 { // pflag takes the quotes in the flag's for the value's name
		t.Errorf("%d of 4 hard texts came through:\n%s", n, text)
	}
	if !strings.Contains(text, "deeper") || !strings.Contains(text, strings.ReplaceAll(hard, "`", "")) || !strings.Contains(text, "(default a-b)") {
		t.Errorf("something is missing:\n%s", text)
	}
}
