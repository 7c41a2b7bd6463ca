/*
 * A large memory of which every word can be verified at any time while it
 * keeps changing.
 *
 * A page has 512 words of 8 bytes. Its base contents follow from its number p
 * and the guest's seed alone: pseudo-random in even pages, runs of equal words in odd ones
 * (pattern mixed). Write g of page p (g = 1, 2, ...) sets
 *
 *   word 0                   to tag(p) + g
 *   word 1 + (g mod 511)     to stamp(p, g)
 *
 * and counts g in an array of its own. So the word w > 0 of a page that was
 * written g times is stamp(p, k) of the last k <= g with 1 + (k mod 511) = w,
 * or its base when there is none. The generations add up to the counter of
 * operations: a page, its generation and the counter are three places that
 * must have come along together.
 */
#define _GNU_SOURCE
#include "lm.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define WORDS 512
#define SLOTS (WORDS - 1)
#define VERIFY_CHUNK 16 /* pages that are verified without letting the writer in */

struct hot hot __attribute__((aligned(4096)));

static uint64_t *memory;     /* pages * WORDS */
static uint64_t *generation; /* one for each page */
static uint64_t pages;
static int running = 1;
static struct wrong first_wrong;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards all of the above */
static pthread_cond_t may_run = PTHREAD_COND_INITIALIZER;

/* The number of a page among those of all guests. */
static inline uint64_t id(uint64_t p)
{
	return p + (params.seed << 40);
}

static uint64_t tag(uint64_t p)
{
	return params.pattern == PATTERN_ZERO ? 0 : mix(~id(p));
}

static uint64_t stamp(uint64_t p, uint64_t g)
{
	return mix(mix(id(p)) ^ g) | 1;
}

static int compressible(uint64_t p)
{
	return params.pattern == PATTERN_MIXED && (p & 1);
}

static inline uint64_t base(uint64_t p, unsigned w, int runs)
{
	return runs ? mix(id(p)) + (w >> 6) : mix(id(p) * WORDS + w);
}

static uint64_t *must_map(uint64_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		fatal("map the memory");
	return m;
}

static void fill_page(uint64_t p)
{
	uint64_t *page = memory + p * WORDS;
	int runs = compressible(p);

	page[0] = tag(p);
	for (unsigned w = 1; w < WORDS; w++)
		page[w] = base(p, w, runs);
}

void memory_fill(void)
{
	pages = params.memory << 8;
	memory = must_map(pages * WORDS * 8);
	generation = must_map(pages * 8);
	memset(generation, 0, pages * 8);
	if (params.pattern == PATTERN_ZERO) {
		memset(memory, 0, pages * WORDS * 8);
		return;
	}
	for (uint64_t p = 0; p < pages; p++)
		fill_page(p);
}

/* The word r + 1 that a page of generation g must have, if it was stamped. */
static inline uint64_t want(uint64_t p, int64_t g, int64_t r, int runs)
{
	int64_t m = g % SLOTS, k = r <= m ? g - (m - r) : g - (m + SLOTS - r);

	if (k >= 1)
		return stamp(p, (uint64_t)k);
	return params.pattern == PATTERN_ZERO ? 0 : base(p, (unsigned)r + 1, runs);
}

static int note_wrong(uint64_t p, uint64_t w, uint64_t wanted, uint64_t got)
{
	if (first_wrong.want == first_wrong.got)
		first_wrong = (struct wrong){ p, w, wanted, got };
	return 0;
}

static int check_page(uint64_t p)
{
	const uint64_t *page = memory + p * WORDS;
	uint64_t g = generation[p];
	int runs = compressible(p);

	if (page[0] != tag(p) + g)
		return note_wrong(p, 0, tag(p) + g, page[0]);
	for (int64_t r = 0; r < SLOTS; r++) {
		uint64_t wanted = want(p, (int64_t)g, r, runs);

		if (page[r + 1] != wanted)
			return note_wrong(p, (uint64_t)r + 1, wanted, page[r + 1]);
	}
	return 1;
}

/* One page operation: check what it is about to replace, then write. */
static void write_page(uint64_t p)
{
	uint64_t *page = memory + p * WORDS;
	uint64_t g = generation[p];

	if (page[0] != tag(p) + g) {
		note_wrong(p, 0, tag(p) + g, page[0]);
		hot.bad_ops++;
	}
	if (g > 0 && page[1 + g % SLOTS] != stamp(p, g)) {
		note_wrong(p, 1 + g % SLOTS, stamp(p, g), page[1 + g % SLOTS]);
		hot.bad_ops++;
	}
	generation[p] = ++g;
	page[0] = tag(p) + g;
	page[1 + g % SLOTS] = stamp(p, g);
	hot.ops++;
}

/* Checks what a page of the guest has in its first word. */
static void read_page(uint64_t p)
{
	uint64_t wanted = tag(p) + generation[p], got = memory[p * WORDS];

	if (got != wanted) {
		note_wrong(p, 0, wanted, got);
		hot.bad_ops++;
	}
}

static void note_duration(uint64_t ns)
{
	if ((int64_t)ns < 0) {
		hot.backwards++;
		return;
	}
	if (ns > hot.worst)
		hot.worst = ns;
	if (ns > __atomic_load_n(&hot.worst_beat, __ATOMIC_RELAXED))
		__atomic_store_n(&hot.worst_beat, ns, __ATOMIC_RELAXED);
}

/* Sleeps until the operation after which the rate is kept; returns the time. */
static uint64_t pace(uint64_t *due)
{
	uint64_t period = 1000000000u / params.rate, now = now_ns();
	struct timespec t;

	*due += period;
	if (*due + 100000000u < now)
		*due = now;
	if (*due > now + 1000000u) {
		t.tv_sec = (time_t)(*due / 1000000000u);
		t.tv_nsec = (long)(*due % 1000000000u);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
	return now_ns();
}

/*
 * The writer. An operation's duration is the time since the one before, so
 * that a stall anywhere in the guest is seen.
 */
static void *serve_writes(void *unused)
{
	uint64_t random = 88172645463325252u, last = now_ns(), due = last, now;
	uint64_t written = params.hot ? params.hot << 8 : pages, next = 0;

	(void)unused;
	if (written > pages)
		written = pages;
	for (;;) {
		if (params.sequential) {
			next = next + 1 < written ? next + 1 : 0;
		} else {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			next = (random >> 11) % written;
		}
		pthread_mutex_lock(&mu);
		if (!running) {
			while (!running)
				pthread_cond_wait(&may_run, &mu);
			last = due = now_ns();
		}
		if (params.read)
			read_page((random >> 11) % pages);
		write_page(next);
		now = now_ns();
		note_duration(now - last);
		pthread_mutex_unlock(&mu);
		last = params.rate ? pace(&due) : now;
	}
	return NULL;
}

void memory_start(void)
{
	start_thread(serve_writes, 0);
}

void memory_run(int on)
{
	pthread_mutex_lock(&mu);
	running = on;
	pthread_cond_signal(&may_run);
	pthread_mutex_unlock(&mu);
}

void memory_verify(struct memory_report *r)
{
	uint64_t p = 0, end, sum = 0;

	memset(r, 0, sizeof(*r));
	r->pages = pages;
	while (p < pages) {
		end = p + VERIFY_CHUNK < pages ? p + VERIFY_CHUNK : pages;
		pthread_mutex_lock(&mu);
		for (; p < end; p++)
			r->bad_pages += !check_page(p);
		pthread_mutex_unlock(&mu);
	}
	pthread_mutex_lock(&mu);
	for (p = 0; p < pages; p++)
		sum += generation[p];
	r->ops = hot.ops;
	r->lost_ops = sum != hot.ops;
	r->first = first_wrong;
	pthread_mutex_unlock(&mu);
}
