package plots

import "gonum.org/v1/plot/vg"

const (
	// width and height fit a page of documentation without scaling.
	width  = 20 * vg.Centimeter
	height = 12 * vg.Centimeter

	// margin is left free on all sides.
	margin = 3 * vg.Millimeter

	// headroom is how much higher than its data a figure is, for the legend.
	headroom = 1.35

	// resolution of PNG, in dots per inch: sharp on the screens of today, and
	// below 100 KiB.
	resolution = 144

	// maxFigures bounds what one call draws.
	maxFigures = 100

	// barWidth is that of a bar, barsWidth of all of them together, at most.
	barWidth  = 1.6 * vg.Centimeter
	barsWidth = 13 * vg.Centimeter
	// uprightGroups is how many names fit below the bars side by side.
	uprightGroups = 7
)
