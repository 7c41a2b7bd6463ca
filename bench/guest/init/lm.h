/*
 * The program of the test guest: PID 1 of a small Linux system.
 *
 *   init.c     mounts, modules, parameters, start of the threads
 *   memory.c   a large memory that keeps changing and can be verified
 *   beat.c     the heartbeat on the second serial port
 *   disk.c     checked records on /dev/vda
 *   files.c    files in the page cache
 *   net.c      the address of eth0 and a TCP echo server
 *   control.c  commands and answers on the first serial port
 *
 * Everything that a beat or a page operation touches is kept together: after
 * a post-copy switch each further page is a fault.
 */
#ifndef LM_H
#define LM_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

enum pattern { PATTERN_MIXED, PATTERN_ZERO, PATTERN_RANDOM };

/* What the kernel command line says, as lm.NAME=VALUE. */
struct params {
	uint64_t memory;       /* lm.mem: size of the changing memory, MiB */
	enum pattern pattern;  /* lm.pattern: mixed, zero or random */
	uint64_t hot;          /* lm.hot: MiB of it that are written, 0 = all */
	int read;              /* lm.read: whether each operation reads a page of all memory, too */
	uint64_t seed;         /* lm.seed: guests with another one have no page in common */
	uint64_t dma;          /* lm.dma: MiB that disk records are read into all the time */
	int sequential;        /* lm.order: random or sequential */
	uint64_t rate;         /* lm.rate: page operations a second, 0 = as many as possible */
	uint64_t beats;        /* lm.beats: heartbeats a second */
	uint64_t records;      /* lm.records: disk records a second */
	char files[32];        /* lm.files: disk whose files are read, as /dev/vda */
	char address[32];      /* lm.ip: IPv4 address of eth0, prefix length 24 */
};
extern struct params params;

/* Counters of the hot path, on one page. */
struct hot {
	uint64_t ops;             /* page operations since the start */
	uint64_t worst_beat;      /* longest operation since the last beat, ns */
	uint64_t worst;           /* longest operation since the last reset, ns */
	uint64_t bad_ops;         /* operations that met a wrong page */
	uint64_t backwards;       /* times that a clock went backwards */
	uint64_t beats;           /* lines sent */
	uint64_t beats_skipped;   /* beats given up because the port was full */
	uint64_t beat_gap;        /* longest guest time between two beats, ns */
};
extern struct hot hot;

/* The first wrong word that was met. */
struct wrong {
	uint64_t page, word, want, got;
};

struct memory_report {
	uint64_t pages, bad_pages, ops;
	int lost_ops; /* operation counter and generations disagree */
	struct wrong first;
};

struct disk_report {
	int present;
	uint64_t records, bad_records, errors, first_bad;
	uint64_t landed; /* records in the memory that is read into */
};

struct files_report {
	uint64_t files, pages; /* at the start */
	uint64_t cached, bad_files;
};

static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t now_ns(void);
void fatal(const char *what);
void start_thread(void *(*run)(void *), int fifo_priority);

void memory_fill(void);
void memory_start(void);
void memory_run(int on);
void memory_verify(struct memory_report *r);

void beat_start(void);

void disk_start(void);
void disk_run(int on);
void disk_count(struct disk_report *r);
void disk_verify(struct disk_report *r);

void files_read(void);
void files_verify(struct files_report *r);

void load_modules(const char *path);
void net_start(void);

void control_open(void);
void control_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void control_serve(void);

#endif
