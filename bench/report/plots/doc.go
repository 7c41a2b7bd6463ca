// Package plots draws figures as SVG and PNG. It is apart from bench/report
// because the library that draws, with its fonts, adds about a third to the
// size of a program: lazymig leaves it to the program of bench/peers/plotter.
//
// First call: Draw.
package plots
