package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/spf13/cobra"
)

// defaultCacheDir is where the file hierarchy standard puts what programs can
// make again.
const defaultCacheDir = "/var/cache/lazymig"

// cacheFlags are the flags of the commands below cache.
type cacheFlags struct {
	dir, tlsDir, keyFile string
	json                 bool
}

func (f *cacheFlags) register(command *cobra.Command) {
	set := command.Flags()
	set.StringVar(&f.dir, "cache-dir", defaultCacheDir, "the cache is in `DIR`")
	registerTLSDir(set, &f.tlsDir)
	set.StringVar(&f.keyFile, "cache-key", "", "the trust domain's key is in `FILE` (default: domain.key of --tls-dir)")
	registerJSON(set, &f.json)
	command.MarkFlagsMutuallyExclusive("tls-dir", "cache-key")
}

// cacheTarget is the part of a cache that belongs to one trust domain.
type cacheTarget struct {
	dir     string
	key     pagecache.Key
	catalog *pagecache.Catalog
}

// target finds the cache and its key.
func (f *cacheFlags) target() (cacheTarget, error) {
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return cacheTarget{}, failed(exitUsage, err, "")
	}
	path, hint := f.keyFile, ""
	if path == "" {
		path = filepath.Join(f.tlsDir, "domain.key")
	} else if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		hint = "make a key with: (umask 077; openssl rand -hex 32 > FILE)"
	}
	key, err := quictransport.LoadDomainKey(path)
	if err != nil {
		if hint == "" && errors.Is(err, quictransport.ErrNoIdentity) {
			hint = "make a key with `lazymig cert ca`, and copy domain.key to " + f.tlsDir + "; or name one with --cache-key"
		}
		return cacheTarget{}, failed(exitUsage, err, hint)
	}
	return cacheTarget{dir: dir, key: key, catalog: pagecache.NewCatalog(dir, key)}, nil
}

func (a *app) cache() *cobra.Command {
	command := &cobra.Command{
		Use:   "cache",
		Short: "Let guests have pages that this host has already",
		Long: `Let guests have pages that this host has already: those of disk images, kernels
and snapshots, which are indexed where they are, without a copy, and those that
have come or gone with guests before. send, receive and serve-uffd use it, given
the same --cache-dir.

A cache belongs to one trust domain, by the key of its hosts' digests; with
another key it is another cache. The default place is ` + defaultCacheDir + `, for
what can be made again.`,
		Example: `  lazymig cache add /srv/images/*.qcow2
  lazymig cache list
  lazymig cache stats`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(a.cacheAdd(), a.cacheList(), a.cacheStats(), a.cacheVerify(), a.cacheRemove())
	return command
}

// cacheFailed gives an error its exit code.
func cacheFailed(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return failed(exitFailed, err, hintOr(err, "run as root, or choose another --cache-dir"))
	}
	return failed(exitFailed, err, "")
}

// cacheHint returns the hint of what cacheFailed returned.
func cacheHint(err error) string {
	if f, ok := errors.AsType[*failure](err); ok && f.hint != "" {
		return f.hint
	}
	return hintOf(err)
}

// pathText returns a path for people: as it is, unless it would do something
// to a terminal. Names inside images are by whoever made these.
func pathText(path string) string {
	if strings.Trim(strconv.Quote(path), `"`) == path {
		return path
	}
	return strconv.Quote(path)
}

// completeImage completes the paths of images that are indexed.
func completeImage(command *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	f := cacheFlags{
		dir: command.Flag("cache-dir").Value.String(), tlsDir: command.Flag("tls-dir").Value.String(),
		keyFile: command.Flag("cache-key").Value.String(),
	}
	to, err := f.target()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	images, _, _ := to.catalog.List() // without a catalog, no names
	var names []string
	for _, m := range images {
		if strings.HasPrefix(m.Path, begin) {
			names = append(names, m.Path)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
