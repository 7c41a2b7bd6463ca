package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/bench/replay"
	"github.com/lazymig/lazymig/bench/report"
	"github.com/lazymig/lazymig/prefetch"
)

// benchPrefetchFlags are the flags of bench prefetch.
type benchPrefetchFlags struct {
	rtt       time.Duration
	bandwidth rate
	hot       string
	most      int
	reach     uint64
	window    uint64
	json      bool
}

func (a *app) benchPrefetch() *cobra.Command {
	f := benchPrefetchFlags{bandwidth: rate(125e6)}
	command := &cobra.Command{
		Use:   "prefetch TRACE…",
		Short: "Compare prefetch policies on traces of faults",
		Long: `Compare prefetch policies on recorded traces of faults.

A trace is what "lazymig receive --trace FILE" records: the order in which a
guest touches its pages while nothing is fetched ahead. Each is replayed with
each policy alone and with their combinations, over a link of the given rate and
round trip, by a simulation that has a clock of its own: the result does not
depend on this machine. With --hot another trace of the same guest tells the
pages that go ahead.`,
		Example:               "  lazymig bench prefetch web1.trace --rtt 1ms --bandwidth 1Gbit\n  lazymig bench prefetch second.trace --hot first.trace",
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		RunE:                  func(_ *cobra.Command, args []string) error { return a.runBenchPrefetch(&f, args) },
	}
	set := command.Flags()
	set.DurationVar(&f.rtt, "rtt", 200*time.Microsecond, "round trip of an answer, a `DURATION`")
	set.Var(&f.bandwidth, "bandwidth", "of the link, a `RATE` such as 1Gbit")
	set.StringVar(&f.hot, "hot", "", "let go ahead what the `TRACE` of an earlier switch begins with")
	set.IntVar(&f.most, "stride-most", 64, "`PAGES` that a stride runs ahead, at most")
	set.Uint64Var(&f.reach, "bubble-reach", 2048, "`PAGES` that a bubble grows to each side, at most; 0 for no bound")
	set.Uint64Var(&f.window, "window", 1024, "`PAGES` of the background that are under way, at most")
	registerJSON(set, &f.json)
	return command
}

// policySets are what is compared.
func policySets() [][]prefetch.Policy {
	hot, stride, bubble, linear := prefetch.HotSet, prefetch.StridePolicy, prefetch.Bubble, prefetch.LinearPolicy
	return [][]prefetch.Policy{
		nil,
		{linear},
		{stride, linear},
		{bubble, linear},
		{stride, bubble, linear},
		{hot},
		{hot, linear},
		{hot, stride, linear},
		{hot, bubble, linear},
		{hot, stride, bubble, linear},
	}
}

func readTrace(path string) (replay.Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return replay.Trace{}, failed(exitUsage, err, "record one with: lazymig receive --trace FILE")
	}
	defer file.Close()
	trace, err := replay.Read(file)
	if err != nil {
		return trace, failed(exitUsage, fmt.Errorf("%s: %w", path, err), "record one with: lazymig receive --trace FILE")
	}
	return trace, nil
}

func (a *app) runBenchPrefetch(f *benchPrefetchFlags, paths []string) error {
	var hot []lazymig.PageNumber
	if f.hot != "" {
		trace, err := readTrace(f.hot)
		if err != nil {
			return err
		}
		for _, t := range trace.Touches[:min(len(trace.Touches), hotPages)] {
			if !t.Zero {
				hot = append(hot, t.Page)
			}
		}
	}
	link := replay.Link{BytesPerSecond: float64(f.bandwidth), RTT: f.rtt, Window: f.window, Chunk: 64}
	for _, path := range paths {
		trace, err := readTrace(path)
		if err != nil {
			return err
		}
		if err := a.comparePolicies(f, path, trace, link, hot); err != nil {
			return err
		}
	}
	return nil
}

// hotPages is how many pages go ahead, as many as lazymig remembers.
const hotPages = 512

func (a *app) comparePolicies(f *benchPrefetchFlags, path string, trace replay.Trace, link replay.Link, hot []lazymig.PageNumber) error {
	table := report.Table{
		Title: fmt.Sprintf("%s: %d touches of %d pages, %v round trip", path, len(trace.Touches), trace.Pages, f.rtt),
		Head:  []string{"policies", "faults", "network", "of touches", "fetched", "precision", "lost, ms", "first 300, ms"},
	}
	for _, policies := range policySets() {
		if hot == nil && len(policies) > 0 && policies[0] == prefetch.HotSet {
			continue
		}
		r := replay.Simulate(trace, policies, link, hot, f.most, f.reach)
		if f.json {
			if err := json.NewEncoder(a.out).Encode(struct {
				Trace string `json:"trace"`
				replay.Result
			}{path, r}); err != nil {
				return err
			}
			continue
		}
		table.Rows = append(table.Rows, []string{
			policyNames(policies), fmt.Sprint(r.Faults), fmt.Sprint(r.Network), fmt.Sprintf("%.1f %%", 100*float64(r.Network)/float64(max(r.Touches, 1))),
			fmt.Sprint(r.Fetched), fmt.Sprintf("%.0f %%", 100*r.Precision()), fmt.Sprintf("%.0f", r.LostMS), fmt.Sprintf("%.1f", r.FirstMS),
		})
	}
	if f.json {
		return nil
	}
	return table.WriteText(a.out)
}

func policyNames(policies []prefetch.Policy) string {
	if len(policies) == 0 {
		return "none"
	}
	var list []string
	for _, p := range policies {
		list = append(list, string(p))
	}
	return strings.Join(list, " + ")
}
