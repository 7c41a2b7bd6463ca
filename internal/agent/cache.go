package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// OpenCache opens the cache that the job asks for. One that another process has
// is no reason to leave a guest where it is: then there is none, and say tells
// why.
func OpenCache(job Job, identity *quictransport.Identity, say func(string)) (cache migrate.PageCache, done func() error, err error) {
	none := func() error { return nil }
	if job.CacheDir == "" && job.CacheBytes == 0 {
		return nil, none, nil
	}
	c, err := pagecache.OpenCache(pagecache.Config{Dir: job.CacheDir, Bytes: job.CacheBytes, Key: pagecache.Key(identity.DomainKey)})
	if locked, ok := errors.AsType[*pagecache.LockedError](err); ok {
		say(fmt.Sprintf("goes without a cache: %v", locked))
		return nil, none, nil
	}
	if err != nil {
		return nil, none, fmt.Errorf("open the cache: %w", err)
	}
	if images := c.Images(); images != nil {
		for _, warning := range images.Warnings() {
			say(fmt.Sprintf("goes without an image of the cache: %v", warning))
		}
	}
	return c, func() error { return closeCache(c) }, nil
}

// closeCache closes a cache, unless its storage hangs.
func closeCache(c *pagecache.Cache) error {
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(cacheTimeout):
		return errors.New("close the cache: its storage does not answer")
	}
}

// loadIdentity returns the identity of this host, with the domain key that the
// job names, if it does.
func loadIdentity(job Job) (identity *quictransport.Identity, err error) {
	if job.Insecure {
		identity, err = quictransport.InsecureLoopback()
	} else {
		identity, err = quictransport.LoadIdentity(job.TLSDir)
	}
	if err != nil || job.CacheKey == "" {
		return identity, err
	}
	identity.DomainKey, err = quictransport.LoadDomainKey(job.CacheKey)
	return identity, err
}
