package machine

import (
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	i := Describe("abc")
	if i.Cores < 1 || i.MemoryBytes == 0 || i.Kernel == "" || i.Go == "" || i.Commit != "abc" {
		t.Errorf("described %+v", i)
	}
	if line := i.String(); !strings.Contains(line, i.Kernel) || !strings.Contains(line, "commit abc") {
		t.Error(line)
	}
	if line := (Info{}).String(); !strings.Contains(line, "unknown CPU") || !strings.Contains(line, "commit unknown") {
		t.Error(line)
	}
}
