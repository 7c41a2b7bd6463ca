package plots

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/lazymig/lazymig/bench/report"
)

// ErrFigure is returned for a figure that cannot be drawn.
var ErrFigure = errors.New("invalid figure")

// sans is the typeface of all text.
const sans = "Sans"

// palette is that of Okabe and Ito: it can be told apart by people who do not
// see all colours.
var palette = []color.RGBA{
	{0, 0, 0, 255},
	{153, 153, 153, 255},
	{0, 114, 178, 255},
	{86, 180, 233, 255},
	{213, 94, 0, 255},
	{230, 159, 0, 255},
	{0, 158, 115, 255},
	{204, 121, 167, 255},
}

// Draw writes each figure into dir, as NAME.svg and NAME.png.
func Draw(dir string, figures []report.Figure) error {
	if len(figures) > maxFigures {
		return fmt.Errorf("%w: %d figures, at most %d", ErrFigure, len(figures), maxFigures)
	}
	for _, f := range figures {
		if filepath.Base(f.Name) != f.Name || f.Name == "." {
			return fmt.Errorf("%w: name %q", ErrFigure, f.Name)
		}
		if err := drawOne(dir, f); err != nil {
			return fmt.Errorf("draw %s: %w", f.Name, err)
		}
	}
	return nil
}

func drawOne(dir string, f report.Figure) error {
	p, err := build(f)
	if err != nil {
		return err
	}
	vector := vgsvg.New(width, height)
	p.Draw(inset(draw.New(vector)))
	pixels := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(resolution))
	p.Draw(inset(draw.New(pixels)))
	return errors.Join(
		write(filepath.Join(dir, f.Name+".svg"), vector),
		write(filepath.Join(dir, f.Name+".png"), vgimg.PngCanvas{Canvas: pixels}),
	)
}

// inset leaves a margin.
func inset(c draw.Canvas) draw.Canvas { return draw.Crop(c, margin, -margin, margin, -margin) }

func write(path string, picture io.WriterTo) error {
	var b bytes.Buffer
	if _, err := picture.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func build(f report.Figure) (*plot.Plot, error) {
	p := plot.New()
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Variant = sans
	}
	p.Title.Text = f.Title
	p.Title.Padding = vg.Points(6)
	p.X.Label.Text, p.Y.Label.Text = f.X.Label, f.Y.Label
	p.Legend.ThumbnailWidth = vg.Points(22)
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	if f.Bars != nil {
		grid.Vertical.Width = 0
	}
	p.Add(grid)
	if err := addBars(p, f.Bars); err != nil {
		return nil, err
	}
	for _, l := range f.Lines {
		if err := addLine(p, l); err != nil {
			return nil, err
		}
	}
	if f.Bars == nil {
		scale(&p.X, f.X)
	}
	scale(&p.Y, f.Y)
	placeLegend(p, f)
	return p, addMarks(p, f.Marks)
}

// scale sets the axis up. A logarithmic one ends at whole decades' halves, so
// that it has at least two labels.
func scale(axis *plot.Axis, a report.Axis) {
	if a.Max > 0 {
		axis.Min, axis.Max = a.Min, a.Max
	} else if !a.Log {
		axis.Min = min(axis.Min, 0)
	}
	if a.Log {
		axis.Scale = plot.LogScale{}
		axis.Min, axis.Max = decade(axis.Min, axis.Max)
		axis.Tick.Marker = logTicks{}
	} else {
		axis.Tick.Marker = plainTicks{quarters: a.Max == 100}
	}
}

func addLine(p *plot.Plot, l report.Line) error {
	if len(l.Points) == 0 {
		return fmt.Errorf("%w: line %q has no points", ErrFigure, l.Name)
	}
	points := make(plotter.XYs, len(l.Points))
	for i, at := range l.Points {
		points[i] = plotter.XY{X: at[0], Y: at[1]}
	}
	drawn, err := plotter.NewLine(points)
	if err != nil {
		return fmt.Errorf("%w: line %q: %w", ErrFigure, l.Name, err)
	}
	drawn.Color = palette[l.Colour%len(palette)]
	drawn.Width = vg.Points(1.8)
	if l.Reference {
		drawn.Width = vg.Points(1.2)
		drawn.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Add(drawn)
	if !l.Dots {
		p.Legend.Add(l.Name, drawn)
		return nil
	}
	dots, err := plotter.NewScatter(points)
	if err != nil {
		return fmt.Errorf("%w: line %q: %w", ErrFigure, l.Name, err)
	}
	dots.Color, dots.Shape, dots.Radius = drawn.Color, draw.CircleGlyph{}, vg.Points(3)
	p.Add(dots)
	p.Legend.Add(l.Name, drawn, dots)
	return nil
}

// addMarks draws over the height that the lines have.
func addMarks(p *plot.Plot, marks []report.Mark) error {
	for _, m := range marks {
		line, err := plotter.NewLine(plotter.XYs{{X: m.At, Y: p.Y.Min}, {X: m.At, Y: p.Y.Max}})
		if err != nil {
			return fmt.Errorf("%w: mark %q: %w", ErrFigure, m.Label, err)
		}
		line.Color, line.Dashes = color.Gray{90}, []vg.Length{vg.Points(2), vg.Points(2)}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: m.At, Y: p.Y.Max}}, Labels: []string{m.Label}})
		if err != nil {
			return fmt.Errorf("%w: mark %q: %w", ErrFigure, m.Label, err)
		}
		label.TextStyle[0].Font.Variant = sans
		label.Offset = vg.Point{X: vg.Points(4), Y: -vg.Points(11)}
		p.Add(line, label)
	}
	return nil
}

// addBars stacks the parts.
func addBars(p *plot.Plot, b *report.Bars) error {
	if b == nil {
		return nil
	}
	var below *plotter.BarChart
	for i, part := range b.Parts {
		if len(part.Values) != len(b.Groups) {
			return fmt.Errorf("%w: part %q has %d values for %d bars", ErrFigure, part.Name, len(part.Values), len(b.Groups))
		}
		bars, err := plotter.NewBarChart(plotter.Values(part.Values), min(barWidth, barsWidth/vg.Length(len(b.Groups))))
		if err != nil {
			return fmt.Errorf("%w: part %q: %w", ErrFigure, part.Name, err)
		}
		bars.Color, bars.LineStyle.Width = palette[(i+1)%len(palette)], 0
		if below != nil {
			bars.StackOn(below)
		}
		below = bars
		p.Add(bars)
		p.Legend.Add(part.Name, bars)
	}
	p.NominalX(b.Groups...)
	if len(b.Groups) > uprightGroups {
		p.X.Tick.Label.Rotation = math.Pi / 6
		p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = text.XRight, text.YCenter
	}
	p.X.Min, p.X.Max = -0.6, float64(len(b.Groups))-0.4 // room beside the outer ones
	return nil
}

// placeLegend puts the legend where nothing is: beneath distributions, which
// rise to the right, and above all else, with room made for it.
func placeLegend(p *plot.Plot, f report.Figure) {
	p.Legend.XOffs = -vg.Points(10)
	switch {
	case f.Y.Max > 0:
		p.Legend.YOffs = vg.Points(8)
	case f.Y.Log:
		p.Legend.Top = true
		p.Y.Max = step(1.5*p.Y.Max, true)
	default:
		p.Legend.Top = true
		p.Y.Max *= headroom
	}
}
