// Command plotter draws the figures that it reads as JSON from standard input
// into a folder: `plotter DIR`. `lazymig bench report` starts it. It is a
// program of its own because the library that draws is large.
package main
