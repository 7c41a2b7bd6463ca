// Package plots draws figures as SVG and PNG. It is apart from bench/report
// because the library that draws, with its fonts, would add 8 MB to lazymig's
// 24 MB: lazymig leaves it to the program of bench/peers/plotter.
//
// First call: Draw.
package plots
