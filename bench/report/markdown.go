package report

import (
	"fmt"
	"io"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/machine"
	"github.com/lazymig/lazymig/bench/migrations"
)

// How the tables of faults are to be read.
const faultsLegend = `Time from the touch of a missing page to its content, as the touching thread sees it, in µs.
**floor**: a handler that does nothing else copies a page that it has. **zero page**: the same with UFFDIO_ZEROPAGE.
**lazymig, cached**: its engine, all pages in its cache, each checked against its BLAKE3 digest. **lazymig**: pages over QUIC (TLS 1.3), each checked against its BLAKE3 digest, the background held to 64 KiB/s;
**busy link**: the background unlimited. **serial**: the handler of userfaultfd-go, one fault at a time, nothing ahead, no digest;
QUIC is a plain quic-go stream, TCP has no encryption. **round trip**: a page asked for without a fault.
**p50/limit**: the median over what cannot be undercut: the floor, and for pages over a network one round trip of the same
transport on top; many threads ask for several pages at once, and may undercut it.
**lazymig/it**: lazymig's time over that handler's; above 1 lazymig loses.
`

// Markdown writes all tables. picture returns the link to a figure, or "".
func (s Set) Markdown(to io.Writer, picture func(name string) string) error {
	for i, r := range s.Faults {
		if err := writeFaults(to, r, faultFigures(r, i), picture); err != nil {
			return err
		}
	}
	for _, r := range s.Paths {
		if err := writePaths(to, r); err != nil {
			return err
		}
	}
	if len(s.Migrations) > 0 {
		if err := writeMigrations(to, s.Migrations, picture); err != nil {
			return err
		}
	}
	for _, c := range s.Charts {
		f := c.figure()
		if _, err := fmt.Fprintf(to, "## %s\n\n", f.Title); err != nil {
			return err
		}
		if err := c.table().WriteMarkdown(to); err != nil {
			return err
		}
		if err := link(to, f, picture); err != nil {
			return err
		}
	}
	return nil
}

func writeFaults(to io.Writer, r faults.Report, figures []Figure, picture func(string) string) error {
	if _, err := fmt.Fprintf(to, "## Faults\n\n%s\n\n%s\n", Origin(r), faultsLegend); err != nil {
		return err
	}
	for _, t := range FaultTables(r, true) {
		if err := t.WriteMarkdown(to); err != nil {
			return err
		}
	}
	for _, f := range figures {
		if err := link(to, f, picture); err != nil {
			return err
		}
	}
	if text := background(r); text != "" {
		if _, err := fmt.Fprintf(to, "%s\n\n", text); err != nil {
			return err
		}
	}
	for _, skipped := range r.Skipped {
		if _, err := fmt.Fprintf(to, "Not measured: %s (%s).\n\n", skipped.What, skipped.Why); err != nil {
			return err
		}
	}
	return nil
}

const migrationsLegend = `The same guest over the same link, by each technique in turn: medians (smallest–largest) of the runs whose guest was
verified word by word; a run that failed is no data. Each title says the link's rate, what it adds to a round trip, and its loss.
**STOP→RESUME**: by QEMU's time stamps. **gap**: between the last heartbeat from the source and the first one from the destination; the
floor is what a stop in place costs; **present** switches to a QEMU over the same RAM file, where no page is missing. **network faults before the first beat**: how often the guest waited for a page of the source between
RESUME and that heartbeat, as lazymig counts them. **worst op, p99 op**: the guest's longest operation after the switch, and the 99th percentile of the
longest of each millisecond until the move ended. **back at 90 %**: of its former speed, over 100 ms, from the start of the move.
**lost work**: what it did not do until then, as time at full speed. **source free**: when the source is needed no more, from the start.
**MB sent, back**: counted by the interface. **CPU**: both hosts, without virtual CPUs, per GiB of allocated guest memory. **peak**: anonymous
memory beside the guest's. **lazymig/it**: lazymig's figure over the technique's; above 1 lazymig loses.
Behind lazymig's name stands what its destination had in its cache: **empty cache**, nothing; **warm**, what was pushed there while the guest ran, in the
same command, whose time, bytes and CPU count; **returning**, the guest as it had left that host seconds before; **fork**, another clone of one snapshot; **2nd boot, 10th boot**, one and nine guests before it of
the same kernel and disk; **image**, the image of its disk, indexed; **unrelated**, another guest of the same kernel. Caches are in files that the host still has in memory. The
guest's kernel has no address randomization, so that its own pages are alike from boot to boot more than those of others. What a cache itself takes is not in the peaks. **sent, % of memory**: what the interface
counted over the guest's pages that are not zero. **MB after the stop**: pages that the source sent as data then. **recipe here**: how long the guest ran before the whole
recipe was there; **faults then**: those from then on, and the part of them that waited for the source.
`

func writeMigrations(to io.Writer, all []migrations.Record, picture func(string) string) error {
	if _, err := fmt.Fprintf(to, "## Migrations\n\n%s\n\n%s\n", migrationOrigin(all), migrationsLegend); err != nil {
		return err
	}
	for _, t := range migrationTables(all) {
		if err := t.WriteMarkdown(to); err != nil {
			return err
		}
	}
	for _, f := range migrationFigures(all) {
		if err := link(to, f, picture); err != nil {
			return err
		}
	}
	return nil
}

// Origin says where the figures come from.
func Origin(r faults.Report) string { return origin(r.Quick, r.Repeats, r.Seconds, r.Machine) }

func origin(quick bool, repeats int, seconds float64, on machine.Info) string {
	length := "Full run"
	if quick {
		length = "Quick run"
	}
	rounds := "once"
	if repeats > 1 {
		rounds = fmt.Sprintf("%d rounds, interleaved", repeats)
	}
	return fmt.Sprintf("%s of %.0f s (%s) on %s.", length, seconds, rounds, on)
}

// background says what lazymig's background did while faults were measured.
func background(r faults.Report) string {
	var least, most float64
	for _, result := range r.Results {
		if result.Handler != faults.LazymigBulk {
			continue
		}
		if n := result.BulkBytesPerSecond; least == 0 || n < least {
			least = n
		}
		most = max(most, result.BulkBytesPerSecond)
	}
	if most == 0 {
		return ""
	}
	return fmt.Sprintf("On the busy link the background moved %s to %s MB/s meanwhile.", figure(least/1e6), figure(most/1e6))
}

func link(to io.Writer, f Figure, picture func(string) string) error {
	path := picture(f.Name)
	if path == "" {
		return nil
	}
	_, err := fmt.Fprintf(to, "![%s](%s)\n\n", f.Title, path)
	return err
}
