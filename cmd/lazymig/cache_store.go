package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// storeStats shows how many pages were kept of what has passed.
func (a *app) storeStats(to cacheTarget, asJSON bool) error {
	u, err := pagecache.Inspect(to.dir, to.key)
	if err != nil {
		return cacheFailed(err)
	}
	if asJSON {
		return a.encode(struct {
			Event string `json:"event"`
			pagecache.Usage
		}{"store", u})
	}
	if u.Slots == 0 {
		fmt.Fprintf(a.out, "%-10s none\n", "seen")
		return nil
	}
	fmt.Fprintf(a.out, "%-10s %s of at most %s, %s on disk%s\n", "seen",
		bytesText(u.Pages*lazymig.PageSize), bytesText(u.Slots*lazymig.PageSize), bytesText(u.Bytes), holderText(u))
	return nil
}

// holderText says who uses the cache.
func holderText(u pagecache.Usage) string {
	switch {
	case u.Locked && u.PID > 0:
		return fmt.Sprintf(", in use by process %d", u.PID)
	case u.Locked:
		return ", in use"
	default:
		return ""
	}
}

// verifyStore verifies the pages that were seen, and reports whether all are as
// they were. Those that are not are never given out.
func (a *app) verifyStore(ctx context.Context, to cacheTarget, asJSON bool) (intact bool, err error) {
	u, err := pagecache.Inspect(to.dir, to.key)
	if err != nil {
		return false, cacheFailed(err)
	}
	if u.Slots == 0 {
		return true, nil
	}
	store, err := pagecache.Open(pagecache.Config{Dir: to.dir, Key: to.key})
	if err != nil {
		return false, cacheFailed(err)
	}
	checked, bad, err := store.Verify(ctx)
	if err := errors.Join(err, store.Close()); err != nil {
		return false, cacheFailed(err)
	}
	if asJSON {
		return bad == 0, a.encode(struct {
			Event   string `json:"event"`
			Checked uint64 `json:"checked"`
			Bad     uint64 `json:"bad"`
		}{"store", checked, bad})
	}
	fmt.Fprintf(a.out, "seen: %d of %d pages are as they were\n", checked-bad, checked)
	return bad == 0, nil
}
