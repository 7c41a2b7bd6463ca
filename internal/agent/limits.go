package agent

import "time"

const (
	// maxLine bounds one JSON line in bytes. The longest is a job with a long
	// command line, which the kernel bounds by 2 MiB.
	maxLine = 4 << 20

	// maxClients bounds who can follow one engine: the front end, some
	// terminals and a monitoring system.
	maxClients = 32

	// clientBuffer is how many lines a client may fall behind before it is
	// dropped: about a minute of progress at five lines a second.
	clientBuffer = 256

	// logBuffer is how many events the log may fall behind before it misses
	// some. They happen once: a migration has some tens.
	logBuffer = 256

	// writeTimeout ends a client that takes nothing for so long.
	writeTimeout = 10 * time.Second

	// flushTimeout bounds how long an engine that is done waits for its
	// clients to take the last lines.
	flushTimeout = 2 * time.Second

	// openTimeout bounds the opening of the cache: of 256 GiB it takes ten seconds.
	openTimeout = 30 * time.Second

	// cacheTimeout bounds the wait for the cache's last words: it has nothing that
	// must not be lost.
	cacheTimeout = 5 * time.Second

	// jobTimeout bounds the wait of an engine for its job.
	jobTimeout = 10 * time.Second

	// dialTimeout bounds connecting to an engine of this host.
	dialTimeout = 2 * time.Second

	// keeperTimeout bounds the start of a keeper, and each line to it.
	keeperTimeout = 10 * time.Second

	// maxLog is the size in bytes at which a log file is put aside when the
	// next process starts to write to it.
	maxLog = 4 << 20

	// oomScore protects engine and keeper from the kernel's out-of-memory
	// killer: a guest can be restarted, a half moved one cannot.
	oomScore = -900

	// procsPerCore and minProcs size GOMAXPROCS of the engine. A thread that
	// comes back from a blocking system call needs a free P: with as many as
	// cores, a busy installer delays the answer to a fault by a millisecond.
	procsPerCore = 4
	minProcs     = 8
)
