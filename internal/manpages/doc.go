// Package manpages writes the manual pages of a command tree: one in section 1
// for each command that is for people, made from what its --help says.
//
// It writes roff itself. The generator that comes with cobra goes by way of
// Markdown, which costs four libraries and 0.9 MB in the program, and its pages
// have tabs in filled text, of which mandoc warns.
//
// Set is the only type, Set.Write the only call.
package manpages
