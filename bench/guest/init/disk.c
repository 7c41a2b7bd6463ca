/*
 * Checked records on /dev/vda, written with O_DIRECT and made durable one by
 * one. A record is one block of 4096 bytes: its sequence number, a checksum
 * and words that follow from the number. Record n is in the slot
 * (n - 1) mod slots, so that all that the disk must hold follows from the
 * number of records written. With lm.dma, records are read back at random into
 * a memory, all the time: by the device, behind the back of whoever watches what
 * the processor writes. That memory is verified too.
 */
#define _GNU_SOURCE
#include "lm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define WORDS (BLOCK / 8)
#define MAGIC 0x6c617a796d696701u
#define MAX_SLOTS 4096   /* bounds the time of a verification */
#define VERIFY_CHUNK 64  /* records that are read at once */

static int disk = -1;
static uint64_t slots;
static uint64_t records, errors;
static int running = 1;
static uint64_t *landing; /* blocks that are read into */
static uint64_t *landed;  /* the number of the record in each, 0 = none */
static uint64_t landings; /* how many blocks there are */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards the counters and the disk */

static void make_record(uint64_t *block, uint64_t n)
{
	uint64_t sum = 0;

	block[0] = MAGIC;
	block[1] = n;
	for (unsigned w = 3; w < WORDS; w++) {
		block[w] = mix(n * WORDS + w);
		sum = mix(sum ^ block[w]);
	}
	block[2] = sum ^ n;
}

static void *must_align(size_t bytes)
{
	void *m = NULL;

	if (posix_memalign(&m, BLOCK, bytes) != 0)
		fatal("allocate a disk buffer");
	memset(m, 0, bytes);
	return m;
}

static void write_record(uint64_t *block)
{
	uint64_t n = records + 1;

	make_record(block, n);
	if (pwrite(disk, block, BLOCK, (off_t)((n - 1) % slots * BLOCK)) != BLOCK ||
	    fsync(disk) != 0)
		errors++;
	else
		records = n;
}

static void *serve_disk(void *unused)
{
	uint64_t period = 1000000000u / params.records;
	struct timespec t = { (time_t)(period / 1000000000u), (long)(period % 1000000000u) };
	uint64_t *block = must_align(BLOCK);

	(void)unused;
	for (;;) {
		pthread_mutex_lock(&mu);
		if (running)
			write_record(block);
		pthread_mutex_unlock(&mu);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
	return NULL;
}

/* Reads record n into block i of the landing. */
static void read_record(uint64_t i, uint64_t n)
{
	if (pread(disk, landing + i * WORDS, BLOCK, (off_t)((n - 1) % slots * BLOCK)) != BLOCK)
		errors++;
	else
		landed[i] = n;
}

static void *serve_landing(void *unused)
{
	struct timespec t = { 0, 200000 };
	uint64_t random = 88172645463325252u, there;

	(void)unused;
	for (uint64_t i = 0;; i = (i + 1) % landings) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		pthread_mutex_lock(&mu);
		there = records < slots ? records : slots;
		if (running && there > 0)
			read_record(i, records - random % there);
		pthread_mutex_unlock(&mu);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
	return NULL;
}

static void start_landing(void)
{
	landings = params.dma << 8;
	landing = must_align(landings * BLOCK);
	landed = must_align(landings * 8);
	start_thread(serve_landing, 0);
}

void disk_start(void)
{
	uint64_t bytes = 0;

	if (strcmp(params.files, "/dev/vda") == 0)
		return;
	disk = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0 && (errno == ENOENT || errno == ENXIO))
		return;
	if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) != 0 || bytes < BLOCK)
		fatal("open /dev/vda");
	slots = bytes / BLOCK < MAX_SLOTS ? bytes / BLOCK : MAX_SLOTS;
	if (params.records > 0)
		start_thread(serve_disk, 0);
	if (params.dma > 0)
		start_landing();
}

void disk_run(int on)
{
	pthread_mutex_lock(&mu);
	running = on;
	pthread_mutex_unlock(&mu);
}

void disk_count(struct disk_report *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_lock(&mu);
	r->present = disk >= 0;
	r->records = records;
	r->errors = errors;
	pthread_mutex_unlock(&mu);
}

/* Checks the slots from slot to end; the caller holds mu. */
static void check_slots(struct disk_report *r, uint64_t *have, uint64_t *wanted,
			uint64_t slot, uint64_t end)
{
	if (pread(disk, have, (end - slot) * BLOCK, (off_t)(slot * BLOCK)) !=
	    (ssize_t)((end - slot) * BLOCK)) {
		r->errors++;
		return;
	}
	for (; slot < end; slot++, have += WORDS) {
		uint64_t n = slot + 1 + (records - 1 - slot) / slots * slots;

		make_record(wanted, n);
		if (memcmp(have, wanted, BLOCK) == 0)
			continue;
		if (r->bad_records++ == 0)
			r->first_bad = n;
	}
}

/* Checks the records of the landing from block i to end; the caller holds mu. */
static void check_landing(struct disk_report *r, uint64_t *wanted, uint64_t i, uint64_t end)
{
	for (; i < end; i++) {
		if (landed[i] == 0)
			continue;
		r->landed++;
		make_record(wanted, landed[i]);
		if (memcmp(landing + i * WORDS, wanted, BLOCK) == 0)
			continue;
		if (r->bad_records++ == 0)
			r->first_bad = landed[i];
	}
}

void disk_verify(struct disk_report *r)
{
	uint64_t *have = must_align(VERIFY_CHUNK * BLOCK), *wanted = must_align(BLOCK);
	uint64_t slot = 0, end, used;

	disk_count(r);
	used = r->records < slots ? r->records : slots;
	for (; slot < used; slot = end) {
		end = slot + VERIFY_CHUNK < used ? slot + VERIFY_CHUNK : used;
		pthread_mutex_lock(&mu);
		check_slots(r, have, wanted, slot, end);
		pthread_mutex_unlock(&mu);
	}
	for (slot = 0; slot < landings; slot = end) {
		end = slot + VERIFY_CHUNK < landings ? slot + VERIFY_CHUNK : landings;
		pthread_mutex_lock(&mu);
		check_landing(r, wanted, slot, end);
		pthread_mutex_unlock(&mu);
	}
	free(have);
	free(wanted);
}
