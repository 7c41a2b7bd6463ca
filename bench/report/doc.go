// Package report turns the JSON lines of measurements into tables and figures.
//
// Read takes the lines of any number of files; those that it does not know are
// passed over. It knows
//
//	{"event":"report","report":{"kind":"faults",…}}   of bench/faults
//	{"event":"report","report":{"kind":"paths",…}}    of bench/paths
//	{"kind":"migration",…}                            of bench migrate, see migrations.Record
//	{"event":"chart","chart":{…}}                     see Chart
//
// A Figure is what a picture shows, without how it is drawn: that is
// bench/report/plots', which needs a large library. Whoever only wants tables
// does without.
//
// First call: Read, then Set.Markdown, and Set.Figures.
package report
