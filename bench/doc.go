// Package bench puts the parts of the harness together for whoever wants to
// see a guest move: a network of two hosts (package link), the test guest
// (guest, vm), its heartbeat (heartbeat), and the shared disk. Package rawquic
// is the yardstick for transfers, process tells what a process costs, leftover
// finds what was not cleaned up, prereq what the machine lacks.
//
// A test calls [Main] in TestMain, and then [New]:
//
//	pair, err := bench.New(ctx, bench.Config{VM: vm.Config{Machine: "pc"}})
//	defer pair.Close()
//	destination, err := pair.Destination()
//	// start `lazymig receive … -- destination.Args()…` with
//	// pair.Link.Command(ctx, destination.Side(), …), then `lazymig send --qmp
//	// pair.Source().QMPPath() …` with pair.Source().Side()
//	err = pair.Moved()
//	seen, err := pair.Beats.Switch(pair.Source().Stream())
//	_, err = pair.Source().Verify(ctx)
package bench
