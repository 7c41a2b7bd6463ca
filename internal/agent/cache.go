package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// OpenCache opens the cache that the job asks for. A cache that cannot be had is
// no reason to leave a guest where it is: then there is none, and say tells why.
// The error is that of a configuration that cannot be meant.
func OpenCache(job Job, identity *quictransport.Identity, say func(string)) (cache migrate.PageCache, done func() error, err error) {
	none := func() error { return nil }
	if job.CacheDir == "" && job.CacheBytes == 0 {
		return nil, none, nil
	}
	c, err := openCache(pagecache.Config{Dir: job.CacheDir, Bytes: job.CacheBytes, Key: pagecache.Key(identity.DomainKey)})
	if errors.Is(err, pagecache.ErrConfig) {
		return nil, none, fmt.Errorf("open the cache: %w", err)
	}
	if err != nil {
		say(fmt.Sprintf("goes without a cache: %v", err))
		return nil, none, nil
	}
	if images := c.Images(); images != nil {
		for _, warning := range images.Warnings() {
			say(fmt.Sprintf("goes without an image of the cache: %v", warning))
		}
	}
	return c, func() error { return closeCache(c) }, nil
}

// openCache opens a cache, unless its storage hangs.
func openCache(config pagecache.Config) (*pagecache.Cache, error) {
	type opened struct {
		cache *pagecache.Cache
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		c, err := pagecache.OpenCache(config)
		done <- opened{c, err}
	}()
	select {
	case o := <-done:
		return o.cache, o.err
	case <-time.After(openTimeout):
		return nil, errors.New("its storage does not answer")
	}
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
