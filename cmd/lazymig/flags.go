package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/spf13/pflag"
)

const (
	defaultStateDir = "/var/lib/lazymig"
	defaultTLSDir   = "/etc/lazymig/tls"
)

// sideFlags are the flags that send and receive share.
type sideFlags struct {
	vm        string
	stateDir  string
	tlsDir    string
	insecure  bool
	peer      string
	json      bool
	logFormat string
	metrics   string
	pprof     string
	cacheDir  string
	cacheSize size
	cacheKey  string
}

func (f *sideFlags) register(set *pflag.FlagSet) {
	set.StringVar(&f.vm, "vm", "", "the VM's `NAME`, the same on both sides (default: QEMU's -name)")
	registerStateDir(set, &f.stateDir)
	registerTLSDir(set, &f.tlsDir)
	set.BoolVar(&f.insecure, "insecure-loopback", false, "no identities; only between addresses of this machine")
	set.StringVar(&f.peer, "peer", "", "accept only the peer whose certificate has this `NAME`")
	registerJSON(set, &f.json)
	set.StringVar(&f.logFormat, "log-format", "text", "write messages and the engine's log as `text|json`")
	f.registerCache(set)
	set.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics at `HOST:PORT` for as long as the migration lasts")
	set.StringVar(&f.pprof, "pprof", "", "serve profiles of lazymig at `HOST:PORT`, on a loopback address, for as long (go tool pprof)")
}

// registerCache registers the flags of a cache.
func (f *sideFlags) registerCache(set *pflag.FlagSet) {
	set.StringVar(&f.cacheDir, "cache-dir", "", "ask the cache in `DIR` before the network, and keep there what passes (see lazymig cache)")
	set.Var(&f.cacheSize, "cache-size", "limit of the cache, such as 8GiB (default 1GiB); without --cache-dir it is in memory and ends with the migration")
	set.StringVar(&f.cacheKey, "cache-key", "", "take the key of all digests from `FILE`, the same on both sides (default: domain.key of --tls-dir)")
}

func registerStateDir(set *pflag.FlagSet, dir *string) {
	set.StringVar(dir, "state-dir", defaultStateDir, "remember in `DIR` what must be known of each VM")
}

func registerTLSDir(set *pflag.FlagSet, dir *string) {
	set.StringVar(dir, "tls-dir", defaultTLSDir, "the identity of this host is in `DIR`")
}

func registerJSON(set *pflag.FlagSet, json *bool) {
	set.BoolVar(json, "json", false, "print one JSON object per line on standard output")
}

// job checks the shared flags and begins a job with them. address is the one
// that the command has: to listen at, or to send to.
func (f *sideFlags) job(kind agent.Kind, flag, address string) (agent.Job, error) {
	if err := f.checkLogFormat(); err != nil {
		return agent.Job{}, err
	}
	if err := f.checkAddress(flag, address); err != nil {
		return agent.Job{}, err
	}
	if err := checkMetrics(f.metrics); err != nil {
		return agent.Job{}, err
	}
	if err := checkProfiles(f.pprof); err != nil {
		return agent.Job{}, err
	}
	if err := f.checkIdentity(); err != nil {
		return agent.Job{}, err
	}
	stateDir, err := filepath.Abs(f.stateDir)
	if err != nil {
		return agent.Job{}, failed(exitUsage, err, "")
	}
	job := agent.Job{
		Kind: kind, VM: f.vm, StateDir: stateDir, TLSDir: f.tlsDir,
		Insecure: f.insecure, Peer: f.peer, LogFormat: f.logFormat, Metrics: f.metrics, PProf: f.pprof,
	}
	if f.insecure {
		job.TLSDir = ""
	}
	return job, f.cacheJob(&job)
}

// cacheJob checks the flags of the cache and puts them into the job.
func (f *sideFlags) cacheJob(job *agent.Job) error {
	job.CacheDir, job.CacheBytes, job.CacheKey = f.cacheDir, int64(f.cacheSize), f.cacheKey
	if f.insecure && f.cacheDir != "" && f.cacheKey == "" {
		return usage("give both sides the same --cache-key FILE; make one by: (umask 077; openssl rand -hex 32 > FILE)",
			"a cache in a directory needs a key that stays: --insecure-loopback has a new one each time")
	}
	if f.cacheSize != 0 && int64(f.cacheSize) < pagecache.MinBytes {
		return usage("", "invalid --cache-size %s: use %s or more", &f.cacheSize, bytesText(uint64(pagecache.MinBytes)))
	}
	for _, path := range []*string{&job.CacheDir, &job.CacheKey} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return failed(exitUsage, err, "")
		}
	}
	if f.cacheKey != "" {
		if _, err := quictransport.LoadDomainKey(f.cacheKey); err != nil {
			return failed(exitUsage, err, "make a key with: (umask 077; openssl rand -hex 32 > FILE)")
		}
	}
	return nil
}

func (f *sideFlags) checkLogFormat() error {
	if f.logFormat != "text" && f.logFormat != "json" {
		return usage("", "invalid --log-format %q: use text or json", f.logFormat)
	}
	return nil
}

func (f *sideFlags) checkAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("", "invalid --%s %q: use HOST:PORT", flag, address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return usage("", "invalid --%s %q: the port is a number from 1 to 65535", flag, address)
	}
	if ip := net.ParseIP(host); f.insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage("make identities with `lazymig cert`, or use 127.0.0.1 on both sides",
			"--insecure-loopback with --%s %s: that is not an address of this machine alone", flag, address)
	}
	return nil
}

// checkMetrics wants a host: what is served there says which guests this host
// has, so all addresses are a choice and no default.
func checkMetrics(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("", "invalid --metrics %q: use HOST:PORT", address)
	}
	if host == "" {
		return usage("use 127.0.0.1:"+port+" for this host alone, or 0.0.0.0:"+port+" for everybody", "invalid --metrics %q: it has no host", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usage("", "invalid --metrics %q: the port is a number from 0, a free one, to 65535", address)
	}
	return nil
}

// checkProfiles wants a loopback address: profiles show pieces of memory.
func checkProfiles(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usage("", "invalid --pprof %q: use HOST:PORT", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage("use 127.0.0.1", "invalid --pprof %q: it is not a loopback address", address)
	}
	return nil
}

// checkIdentity fails early for what the engine would stumble over.
func (f *sideFlags) checkIdentity() error {
	if f.insecure && f.peer != "" {
		return usage("", "--peer needs identities: leave out --insecure-loopback")
	}
	if f.insecure {
		return nil
	}
	if _, err := quictransport.LoadIdentity(f.tlsDir); err != nil {
		hint := hintOf(err)
		if _, missing := os.Stat(f.tlsDir); missing != nil {
			hint = "make identities with `lazymig cert ca` and `lazymig cert issue NAME`; to try lazymig on one machine, use --insecure-loopback"
		}
		return failed(exitUsage, err, hint)
	}
	return nil
}
