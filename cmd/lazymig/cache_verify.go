package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lazymig/lazymig/pagecache"
	"github.com/spf13/cobra"
)

func (a *app) cacheVerify() *cobra.Command {
	var f cacheFlags
	command := &cobra.Command{
		Use:   "verify [IMAGE…]",
		Short: "Read everything again, and tell what has changed",
		Long: `Read all blocks of the named images again, or of all images and all pages that
this host has seen, and tell how many are as they were indexed. Pages that were
seen and are damaged are given up, nothing else is changed. A cache gives no
wrong pages without it: each is checked when it is used.

Exit codes: 0 everything is as it was; 1 something has changed, is gone or
damaged, or failed; 2 usage or configuration.`,
		Example: `  lazymig cache verify
  lazymig cache verify /srv/images/debian-12.qcow2`,

		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return a.verifyCache(to, args, f.json)
		},
	}
	f.register(command)
	return command
}

func (a *app) verifyCache(to cacheTarget, names []string, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop(nil)
	// One function for each thing that a cache has; names are of images.
	intact, err := a.verifyImages(ctx, to, names, asJSON)
	if err == nil && len(names) == 0 {
		var seen bool
		seen, err = a.verifyStore(ctx, to, asJSON)
		intact = intact && seen
	}
	if err != nil {
		return err
	}
	if asJSON {
		if err := a.encode(struct {
			Event  string `json:"event"`
			Intact bool   `json:"intact"`
		}{"report", intact}); err != nil {
			return err
		}
	}
	if !intact {
		return &failure{code: exitFailed} // what is not has been told
	}
	return nil
}

// verifyImages verifies the named images, or all, and reports whether all are
// as they were.
func (a *app) verifyImages(ctx context.Context, to cacheTarget, names []string, asJSON bool) (intact bool, err error) {
	intact = true
	if len(names) == 0 {
		images, wrong, err := to.catalog.List()
		if err != nil {
			return false, cacheFailed(err)
		}
		for _, err := range wrong {
			intact = false
			a.complain(err, hintOf(err))
		}
		for _, m := range images {
			names = append(names, m.Path)
		}
		if len(names) == 0 && !asJSON {
			fmt.Fprintf(a.out, "No image is indexed in %s for this domain.\n", to.dir)
		}
	}
	for _, name := range names {
		progress, hide := a.bytesProgress(asJSON, "verifying "+pathText(name))
		check, err := to.catalog.Verify(ctx, name, progress)
		hide()
		switch {
		case ctx.Err() != nil:
			return false, failed(exitFailed, context.Cause(ctx), "")
		case errors.Is(err, pagecache.ErrNoImage), errors.Is(err, pagecache.ErrImageIndex):
			intact = false
			a.complain(err, hintOf(err))
			continue
		case err != nil:
			return false, cacheFailed(err)
		}
		intact = intact && check.Intact == check.Blocks
		if err := a.tellVerified(check, asJSON); err != nil {
			return false, err
		}
	}
	return intact, nil
}

func (a *app) tellVerified(check pagecache.ImageCheck, asJSON bool) error {
	name := pathText(check.Path)
	switch {
	case asJSON:
		return a.encode(struct {
			Event string `json:"event"`
			pagecache.ImageCheck
		}{"image", check})
	case check.Gone != "":
		fmt.Fprintf(a.out, "%s: gone: %s\n", name, check.Gone)
	case check.Blocks == 0:
		fmt.Fprintf(a.out, "%s: it has no blocks that are indexed\n", name)
	case check.Intact == check.Blocks:
		fmt.Fprintf(a.out, "%s: all %d blocks are as they were\n", name, check.Blocks)
	default:
		fmt.Fprintf(a.out, "%s: %d of %d blocks are as they were", name, check.Intact, check.Blocks)
		if check.Lost > 0 {
			fmt.Fprintf(a.out, ", %d cannot be read", check.Lost)
		}
		fmt.Fprintln(a.out)
	}
	return nil
}
