package main

import (
	"fmt"
	"strings"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/spf13/cobra"
)

func (a *app) cacheStats() *cobra.Command {
	var f cacheFlags
	command := &cobra.Command{
		Use:                   "stats",
		Short:                 "Show what the cache holds, and what it takes",
		Long:                  "Show what the cache holds for this trust domain, and what it takes.",
		Example:               "  lazymig cache stats",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return a.showCache(to, f.json)
		},
	}
	f.register(command)
	return command
}

func (a *app) showCache(to cacheTarget, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.out, "%-10s %s\n", "directory", pathText(to.dir))
		fmt.Fprintf(a.out, "%-10s %s\n", "domain", to.key.Fingerprint())
	}
	// One function for each thing that a cache has.
	for _, show := range []func(cacheTarget, bool) error{a.storeStats, a.imageStats} {
		if err := show(to, asJSON); err != nil {
			return err
		}
	}
	if !asJSON {
		return nil
	}
	return a.encode(struct {
		Event  string `json:"event"`
		Dir    string `json:"cache_dir"`
		Domain string `json:"domain"`
	}{"report", to.dir, to.key.Fingerprint()})
}

// imageStats shows what all images hold together.
func (a *app) imageStats(to cacheTarget, asJSON bool) error {
	images, wrong, err := to.catalog.List()
	if err != nil {
		return cacheFailed(err)
	}
	s := struct {
		Event       string `json:"event"`
		Images      int    `json:"images"`
		Changed     int    `json:"images_changed"`
		Gone        int    `json:"images_gone"`
		Damaged     int    `json:"indexes_damaged"`
		Blocks      uint64 `json:"blocks"`
		IndexBytes  int64  `json:"index_bytes"`
		MemoryBytes int64  `json:"memory_bytes"`
	}{Event: "images", Images: len(images), Damaged: len(wrong)}
	for _, m := range images {
		s.Blocks += m.Blocks
		s.IndexBytes += m.IndexBytes
		s.MemoryBytes += m.MemoryBytes()
		switch m.State() {
		case pagecache.ImageChanged:
			s.Changed++
		case pagecache.ImageGone:
			s.Gone++
		case pagecache.ImageUnchanged, pagecache.ImageUnknown:
		}
	}
	if asJSON {
		return a.encode(s)
	}
	var states []string
	for _, state := range []struct {
		n    int
		word string
	}{{s.Changed, "changed"}, {s.Gone, "gone"}, {s.Damaged, "with a damaged index"}} {
		if state.n > 0 {
			states = append(states, fmt.Sprintf(", %d %s", state.n, state.word))
		}
	}
	fmt.Fprintf(a.out, "%-10s %d%s\n", "images", s.Images, strings.Join(states, ""))
	fmt.Fprintf(a.out, "%-10s %s\n", "  pages", bytesText(s.Blocks*lazymig.PageSize))
	fmt.Fprintf(a.out, "%-10s %s on disk, %s in memory while it is used\n", "  index", bytesText(uint64(s.IndexBytes)), bytesText(uint64(s.MemoryBytes)))
	return nil
}
