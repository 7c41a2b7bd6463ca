package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestSpecification checks that docs/PROTOCOL.md has every type and code by
// number and name.
func TestSpecification(t *testing.T) {
	text, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for i := range frameTable {
		typ := Type(i)
		if _, ok := typ.limit(); !ok {
			continue
		}
		if row := fmt.Sprintf("| %d | %s |", i, typ); !strings.Contains(string(text), row) {
			t.Errorf("no row %q", row)
		}
	}
	codes := []Code{CodeEngine, CodeMemoryGone, CodeOtherMemory}
	for c := CodeDone; c <= CodeClosing; c++ {
		codes = append(codes, c)
	}
	for _, c := range codes {
		if row := fmt.Sprintf("| %d | %s |", c, c); !strings.Contains(string(text), row) {
			t.Errorf("no row %q", row)
		}
	}
}
