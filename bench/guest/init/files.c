/*
 * Files in the page cache. At the start every file of a file system is read
 * once, and a digest of each is kept; a verification reads what the page cache
 * still has (RWF_NOWAIT: nothing comes from the disk) and compares. A file of
 * which a page has been evicted is not compared; the report says how many
 * pages were.
 */
#define _GNU_SOURCE
#include "lm.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOT "/files"
#define MAX_FILES 65536
#define CHUNK (64 << 10)
#define MAX_OPEN 16 /* folders that a walk has open at once */

static uint64_t digests[MAX_FILES]; /* in the order of the walk */
static uint64_t walked;
static struct files_report report;
static uint64_t buffer[CHUNK / 8];

/* Adds the n bytes of the buffer to a digest, in words: a read ends at the end
 * of a page or of the file, behind which there must be zeros. */
static uint64_t digest(uint64_t sum, size_t n)
{
	for (size_t w = 0; w < (n + 7) / 8; w++)
		sum = mix(sum ^ buffer[w]);
	return sum;
}

/* Reads a file whole. Returns the number of its pages, or -1 with errno. */
static int64_t read_file(const char *path, int flags, uint64_t *sum)
{
	struct iovec to = { buffer, CHUNK };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = 0;
	ssize_t n;

	*sum = 0;
	if (fd < 0)
		return -1;
	for (;;) {
		n = preadv2(fd, &to, 1, at, flags);
		if (n <= 0)
			break;
		memset((char *)buffer + n, 0, n < CHUNK ? 8 - (size_t)n % 8 : 0);
		*sum = digest(*sum, (size_t)n);
		at += n;
	}
	close(fd);
	return n < 0 ? -1 : (int64_t)(at + 4095) / 4096;
}

static int first_look(const char *path, const struct stat *s, int type, struct FTW *w)
{
	int64_t pages;

	(void)s, (void)w;
	if (type != FTW_F)
		return 0;
	if (walked == MAX_FILES)
		return 1;
	pages = read_file(path, 0, &digests[walked++]);
	if (pages < 0)
		fatal(path);
	report.pages += (uint64_t)pages;
	return 0;
}

static int second_look(const char *path, const struct stat *s, int type, struct FTW *w)
{
	uint64_t sum, wanted;
	int64_t pages;

	(void)s, (void)w;
	if (type != FTW_F)
		return 0;
	if (walked == report.files)
		return 1;
	wanted = digests[walked++];
	errno = 0;
	pages = read_file(path, RWF_NOWAIT, &sum);
	if (pages < 0 && errno == EAGAIN)
		return 0;
	if (pages < 0 || sum != wanted) {
		report.bad_files++;
		return 0;
	}
	report.cached += (uint64_t)pages;
	return 0;
}

void files_read(void)
{
	if (params.files[0] == 0)
		return;
	load_modules("/files.list");
	if (mount(params.files, ROOT, "ext4", MS_RDONLY | MS_NOATIME, "") != 0)
		fatal("mount " ROOT);
	if (nftw(ROOT, first_look, MAX_OPEN, FTW_PHYS) != 0)
		fatal("read " ROOT);
	report.files = walked;
}

void files_verify(struct files_report *r)
{
	report.cached = report.bad_files = walked = 0;
	if (params.files[0] != 0)
		report.bad_files += nftw(ROOT, second_look, MAX_OPEN, FTW_PHYS) != 0;
	*r = report;
}
