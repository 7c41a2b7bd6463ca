/* PID 1: mounts, modules, parameters, threads; then it serves commands. */
#define _GNU_SOURCE
#include "lm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct params params = {
	.memory = 64, .pattern = PATTERN_MIXED, .beats = 1000, .records = 50,
};

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fatal(const char *what)
{
	control_say("FATAL %s errno=%d", what, errno);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* Starts a detached thread; fifo_priority 0 is an ordinary one. */
void start_thread(void *(*run)(void *), int fifo_priority)
{
	struct sched_param priority = { .sched_priority = fifo_priority };
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (fifo_priority > 0) {
		pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
		pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
		pthread_attr_setschedparam(&attr, &priority);
	}
	errno = pthread_create(&thread, &attr, run, NULL);
	if (errno != 0)
		fatal("start a thread");
	pthread_attr_destroy(&attr);
}

static void mount_all(void)
{
	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
	if (mount("proc", "/proc", "proc", 0, "") != 0)
		fatal("mount /proc");
	mount("sysfs", "/sys", "sysfs", 0, "");
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
		if (errno != EEXIST)
			fatal(path);
	}
	close(fd);
}

/* Loads the modules that a file names, in its order. */
void load_modules(const char *path)
{
	FILE *list = fopen(path, "re");
	char line[256];

	if (list == NULL)
		fatal(path);
	while (fgets(line, sizeof(line), list) != NULL) {
		line[strcspn(line, "\n")] = 0;
		if (line[0] != 0)
			load_module(line);
	}
	fclose(list);
}

static void set_param(const char *name, const char *value)
{
	if (strcmp(name, "mem") == 0)
		params.memory = strtoull(value, NULL, 10);
	else if (strcmp(name, "hot") == 0)
		params.hot = strtoull(value, NULL, 10);
	else if (strcmp(name, "read") == 0)
		params.read = strcmp(value, "0") != 0;
	else if (strcmp(name, "seed") == 0)
		params.seed = strtoull(value, NULL, 10);
	else if (strcmp(name, "dma") == 0)
		params.dma = strtoull(value, NULL, 10);
	else if (strcmp(name, "order") == 0 && strcmp(value, "sequential") == 0)
		params.sequential = 1;
	else if (strcmp(name, "rate") == 0)
		params.rate = strtoull(value, NULL, 10);
	else if (strcmp(name, "beats") == 0)
		params.beats = strtoull(value, NULL, 10);
	else if (strcmp(name, "records") == 0)
		params.records = strtoull(value, NULL, 10);
	else if (strcmp(name, "files") == 0)
		snprintf(params.files, sizeof(params.files), "/dev/%s", value);
	else if (strcmp(name, "ip") == 0)
		snprintf(params.address, sizeof(params.address), "%s", value);
	else if (strcmp(name, "pattern") == 0 && strcmp(value, "zero") == 0)
		params.pattern = PATTERN_ZERO;
	else if (strcmp(name, "pattern") == 0 && strcmp(value, "random") == 0)
		params.pattern = PATTERN_RANDOM;
	else if (strcmp(name, "pattern") != 0 || strcmp(value, "mixed") != 0) {
		errno = EINVAL;
		fatal(name);
	}
}

static void read_params(void)
{
	FILE *f = fopen("/proc/cmdline", "re");
	char line[4096], *word, *save = NULL, *value;

	if (f == NULL || fgets(line, sizeof(line), f) == NULL)
		fatal("read /proc/cmdline");
	fclose(f);
	for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		value = strchr(word, '=');
		if (strncmp(word, "lm.", 3) != 0 || value == NULL)
			continue;
		*value = 0;
		set_param(word + 3, value + 1);
	}
}

int main(void)
{
	uint64_t booted, filled;

	mount_all();
	control_open();
	read_params();
	booted = now_ns();
	load_modules("/devices.list");
	net_start();
	memory_fill();
	files_read();
	filled = now_ns();
	disk_start();
	memory_start();
	beat_start();
	control_say("READY boot_ms=%llu start_ms=%llu memory_mib=%llu",
		    (unsigned long long)booted / 1000000,
		    (unsigned long long)(filled - booted) / 1000000,
		    (unsigned long long)params.memory);
	control_serve();
	return 0;
}
