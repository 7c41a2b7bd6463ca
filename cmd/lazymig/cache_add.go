package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/spf13/cobra"
)

// redraw is the time between two looks of a line of progress.
const redraw = 100 * time.Millisecond

// cacheAddFlags are the flags of cache add.
type cacheAddFlags struct {
	cacheFlags
	format string
	again  bool
}

func (a *app) cacheAdd() *cobra.Command {
	var f cacheAddFlags
	command := &cobra.Command{
		Use:   "add FILE…",
		Short: "Index disk images, kernels and snapshots where they are",
		Long: `Index disk images, kernels and snapshots of memory where they are: no copy is
made, the index takes less than one percent. Pages of a guest that are in one of
them then need not come from its source.

The blocks of a qcow2 image are found by its tables. Compressed clusters have no
pages and are skipped; a backing file is not followed: add it, too. Everything
else is read as it is, block devices included.

An image may be in use and may change: each page is checked when it is used, and
a block that has changed is not used. So an image that is written to ages; add
it again now and then. What has not changed is not read again.

It reads the whole image on all processors; nice and ionice keep guests from
noticing. Nothing is left behind if it is stopped.

Exit codes: 0 all are indexed; 1 some are not; 2 usage or configuration.`,
		Example: `  lazymig cache add /srv/images/debian-12.qcow2
  lazymig cache add --format raw /dev/vg0/golden
  nice ionice -c3 lazymig cache add /srv/images/*`,
		Args: cobra.MinimumNArgs(1),

		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(_ *cobra.Command, args []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return a.addImages(to, &f, args)
		},
	}
	f.register(command)
	command.Flags().StringVar(&f.format, "format", "auto", "the files are laid out as `auto|raw|qcow2`")
	command.Flags().BoolVar(&f.again, "again", false, "read files again that have not changed")
	return command
}

// addEvent is a line of JSON.
type addEvent struct {
	Event string `json:"event"`
	// Result is added, unchanged or failed.
	Result string           `json:"result"`
	Path   string           `json:"path,omitempty"` // as it was given, unless the image tells
	TookMS float64          `json:"took_ms"`
	Image  *pagecache.Image `json:"image,omitempty"`
	Error  string           `json:"error,omitempty"`
	Hint   string           `json:"hint,omitempty"`
}

// addImages adds one file after the other, whatever becomes of each.
func (a *app) addImages(to cacheTarget, f *cacheAddFlags, paths []string) error {
	format := pagecache.Format(f.format)
	switch f.format {
	case "auto":
		format = pagecache.AutoFormat
	case string(pagecache.RawFormat), string(pagecache.QCOW2Format):
	default:
		return usage("", "invalid --format %q: use auto, raw or qcow2", f.format)
	}
	ctx, stop := interruptible()
	defer stop(nil)
	count := map[string]int{}
	for _, path := range paths {
		e := a.addImage(ctx, to, f, pagecache.AddConfig{Path: path, Format: format})
		count[e.Result]++
		if ctx.Err() != nil {
			return failed(exitFailed, context.Cause(ctx), "")
		}
		if err := a.tellAdded(f.json, e); err != nil {
			return err
		}
	}
	if f.json {
		if err := a.encode(struct {
			Event     string `json:"event"`
			Added     int    `json:"added"`
			Unchanged int    `json:"unchanged"`
			Failed    int    `json:"failed"`
		}{"report", count["added"], count["unchanged"], count["failed"]}); err != nil {
			return err
		}
	}
	if count["failed"] > 0 {
		return &failure{code: exitFailed} // each has been told
	}
	return nil
}

// encode writes one line of JSON.
func (a *app) encode(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return failed(exitFailed, err, "")
	}
	return nil
}

func (a *app) addImage(ctx context.Context, to cacheTarget, f *cacheAddFlags, c pagecache.AddConfig) addEvent {
	begin := time.Now()
	if m, current := to.catalog.Current(c.Path); current && !f.again && (c.Format == "" || c.Format == m.Format) {
		return addEvent{Event: "image", Result: "unchanged", Image: &m, TookMS: inMilliseconds(time.Since(begin))}
	}
	var hide func()
	c.Progress, hide = a.bytesProgress(f.json, "reading "+pathText(c.Path))
	m, err := to.catalog.Add(ctx, c)
	hide()
	e := addEvent{Event: "image", Result: "added", TookMS: inMilliseconds(time.Since(begin))}
	if err != nil {
		err = cacheFailed(err)
		e.Result, e.Path, e.Error, e.Hint = "failed", c.Path, err.Error(), cacheHint(err)
		return e
	}
	e.Image = &m
	return e
}

// bytesProgress returns what shows progress in bytes on a terminal, and what
// takes it away.
func (a *app) bytesProgress(asJSON bool, what string) (progress func(done, total int64), hide func()) {
	d := newDisplay(a.err, a.terminal, asJSON)
	if !d.terminal {
		return nil, func() {}
	}
	if runes := []rune(what); len(runes) > lineWidth-40 {
		what = "…" + string(runes[len(runes)-(lineWidth-41):])
	}
	begin := time.Now()
	return func(done, total int64) {
		now := time.Now()
		if now.Sub(d.last) < redraw {
			return
		}
		d.last = now
		speed := float64(done) / max(now.Sub(begin).Seconds(), redraw.Seconds())
		d.draw(fmt.Sprintf("%s %d%% of %s, %sB/s", what, 100*done/max(total, 1), bytesText(uint64(total)), short(speed)))
	}, d.clear
}

// tellAdded says what became of one image.
func (a *app) tellAdded(asJSON bool, e addEvent) error {
	if asJSON {
		return a.encode(e)
	}
	m := e.Image
	switch e.Result {
	case "failed":
		a.complain(errors.New(e.Error), e.Hint)
		return nil
	case "unchanged":
		fmt.Fprintf(a.out, "%s: unchanged, %s are indexed\n", pathText(m.Path), bytesText(m.Blocks*lazymig.PageSize))
		return nil
	}
	fmt.Fprintf(a.out, "%s: %s indexed in %s\n", pathText(m.Path), bytesText(m.Blocks*lazymig.PageSize), took(e.TookMS))
	a.note(m.Compressed, m, "%d compressed clusters have no pages and were skipped")
	a.note(m.Unreadable, m, "%d blocks could not be read and were skipped")
	a.note(uint64(m.Snapshots), m, "%d internal snapshots were not read")
	if m.Backing != "" {
		fmt.Fprintf(a.err, "lazymig: %s: its backing file %s was not followed: add it, too\n", pathText(m.Path), pathText(m.Backing))
	}
	return nil
}

// note tells of something that an image has, if it has any.
func (a *app) note(n uint64, m *pagecache.Image, format string) {
	if n > 0 {
		fmt.Fprintf(a.err, "lazymig: %s: "+format+"\n", pathText(m.Path), n)
	}
}
