package plots

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/bench/report"
)

// TestDraw draws every figure of the test data of package report, and looks at
// the files as programs do that show them.
func TestDraw(t *testing.T) {
	var s report.Set
	for _, name := range []string{"faults", "charts", "migrations"} {
		text, err := os.ReadFile("../testdata/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Read(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	figures := s.Figures()
	if err := Draw(dir, figures); err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		words := svgText(t, filepath.Join(dir, f.Name+".svg"))
		wanted := []string{f.Title, f.Y.Label, f.X.Label}
		for _, l := range f.Lines {
			wanted = append(wanted, l.Name)
		}
		for _, m := range f.Marks {
			wanted = append(wanted, m.Label)
		}
		if f.Bars != nil {
			wanted = append(wanted, f.Bars.Groups...)
		}
		for _, want := range wanted {
			if !strings.Contains(words, want) {
				t.Errorf("%s.svg lacks %q", f.Name, want)
			}
		}
		checkPNG(t, filepath.Join(dir, f.Name+".png"))
	}
}

// svgText returns the text of a picture.
func svgText(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	words := ""
	for d := xml.NewDecoder(file); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if text, ok := token.(xml.CharData); ok {
			words += string(text) + "\n"
		}
	}
}

// checkPNG wants a picture of the right size that is not of one colour.
func checkPNG(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	size := picture.Bounds().Size()
	if want := int(width.Points() / 72 * resolution); size.X < want-1 || size.X > want+1 {
		t.Errorf("%s is %v", path, size)
	}
	seen := map[any]bool{}
	for x := range size.X {
		seen[picture.At(x, size.Y/2)] = true
	}
	if len(seen) < 3 {
		t.Errorf("%s has %d colours in its middle", path, len(seen))
	}
}

func TestDrawRefuses(t *testing.T) {
	for name, f := range map[string]report.Figure{
		"a path":            {Name: "../a"},
		"no name":           {},
		"an empty line":     {Name: "a", Lines: []report.Line{{Name: "l"}}},
		"bars without ends": {Name: "a", Bars: &report.Bars{Groups: []string{"g"}, Parts: []report.Part{{Name: "p"}}}},
	} {
		if err := Draw(t.TempDir(), []report.Figure{f}); !errors.Is(err, ErrFigure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Draw(t.TempDir(), make([]report.Figure, maxFigures+1)); !errors.Is(err, ErrFigure) {
		t.Errorf("too many: %v", err)
	}
}

func TestDecade(t *testing.T) {
	for _, c := range [][4]float64{{5.9, 48000, 5, 50000}, {1, 100, 1, 100}, {3, 4, 2, 20}, {0.04, 210, 0.02, 500}} {
		if from, to := decade(c[0], c[1]); !near(from, c[2]) || !near(to, c[3]) {
			t.Errorf("%g to %g: %g to %g, want %g to %g", c[0], c[1], from, to, c[2], c[3])
		}
	}
}

func near(a, b float64) bool { return a > b*0.999 && a < b*1.001 }

func TestNumber(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.02: "0.02", 1000: "1000", 10000: "10 k", 1.5e6: "1.5 M", 2e9: "2 G", -25000: "-25 k"} {
		if got := number(n); got != want {
			t.Errorf("%g: %q, want %q", n, got, want)
		}
	}
}
