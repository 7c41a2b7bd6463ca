package main

import (
	"fmt"
	"path/filepath"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/spf13/cobra"
)

func (a *app) cacheList() *cobra.Command {
	var f cacheFlags
	command := &cobra.Command{
		Use:   "list",
		Short: "List the images that are indexed",
		Long: `List the images that are indexed, and what has become of their files since, as
far as size, time and inode tell: unchanged, changed, gone, or unknown for a
block device. What has changed is still used, block by block: verify tells how
much of it is left.`,
		Example:               "  lazymig cache list",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return a.listImages(to, f.json)
		},
	}
	f.register(command)
	return command
}

func (a *app) listImages(to cacheTarget, asJSON bool) error {
	images, wrong, err := to.catalog.List()
	if err != nil {
		return cacheFailed(err)
	}
	for _, err := range wrong {
		a.complain(err, hintOf(err))
	}
	if asJSON {
		for _, m := range images {
			if err := a.encode(struct {
				Event string               `json:"event"`
				State pagecache.ImageState `json:"state"`
				pagecache.Image
			}{"image", m.State(), m}); err != nil {
				return err
			}
		}
		return a.encode(struct {
			Event   string `json:"event"`
			Images  int    `json:"images"`
			Damaged int    `json:"damaged"`
		}{"report", len(images), len(wrong)})
	}
	if len(images) == 0 {
		fmt.Fprintf(a.out, "No image is indexed in %s for this domain.\n", to.dir)
		return nil
	}
	fmt.Fprintf(a.out, "%-10s %-9s %-16s %s\n", "PAGES", "STATE", "ADDED", "IMAGE")
	for _, m := range images {
		fmt.Fprintf(a.out, "%-10s %-9s %-16s %s\n", bytesText(m.Blocks*lazymig.PageSize), m.State(),
			m.Added.Local().Format("2006-01-02 15:04"), pathText(m.Path))
	}
	return nil
}

func (a *app) cacheRemove() *cobra.Command {
	var f cacheFlags
	command := &cobra.Command{
		Use:     "rm IMAGE…",
		Short:   "Forget images; their files stay",
		Long:    "Forget images, by their paths. Their files stay as they are, and may be gone.",
		Example: "  lazymig cache rm /srv/images/debian-11.qcow2",
		Args:    cobra.MinimumNArgs(1),

		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return a.removeImages(to, args, f.json)
		},
	}
	f.register(command)
	return command
}

func (a *app) removeImages(to cacheTarget, paths []string, asJSON bool) error {
	code := exitDone
	for _, path := range paths {
		full, err := filepath.Abs(path)
		if err == nil {
			err = to.catalog.Remove(full)
		}
		if err != nil {
			code = exitFailed
			a.complain(err, cacheHint(cacheFailed(err)))
			continue
		}
		if asJSON {
			if err := a.encode(struct {
				Event string `json:"event"`
				Path  string `json:"path"`
			}{"removed", full}); err != nil {
				return err
			}
		} else {
			fmt.Fprintln(a.out, "forgotten:", pathText(full))
		}
	}
	if code != exitDone {
		return &failure{code: code}
	}
	return nil
}
