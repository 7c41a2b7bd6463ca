/*
 * Commands and answers on the first serial port. An answer is one line that
 * begins with '@', so that it can be told from the kernel's messages:
 *
 *   verify      @verify ok|FAIL KEY=VALUE...
 *   stats       @stats KEY=VALUE...
 *   maxop       @maxop us=N             longest page operation since the last reset
 *   maxop reset @maxop us=N             the same, and forgets it
 *   stop, go    @stop, @go              memory and disk writers
 *   sh COMMAND  lines, then @sh status=N
 *   poweroff    @poweroff
 */
#define _GNU_SOURCE
#include "lm.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

typedef unsigned long long ull;

static int port = -1;

void control_open(void)
{
	struct termios t;

	port = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0 || tcgetattr(port, &t) != 0)
		fatal("open /dev/ttyS0");
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	tcsetattr(port, TCSANOW, &t);
}

void control_say(const char *format, ...)
{
	char line[1024] = "\n@";
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(line + 2, sizeof(line) - 3, format, list);
	va_end(list);
	if (n > (int)sizeof(line) - 4)
		n = (int)sizeof(line) - 4;
	line[n + 2] = '\n';
	if (write(port, line, (size_t)n + 3) < 0 || tcdrain(port) < 0)
		return;
}

static void say_verify(void)
{
	uint64_t start = now_ns();
	struct memory_report m;
	struct files_report f;
	struct disk_report d;
	int ok;

	memory_verify(&m);
	files_verify(&f);
	disk_verify(&d);
	ok = m.bad_pages == 0 && !m.lost_ops && d.bad_records == 0 && d.errors == 0 &&
	     f.bad_files == 0 && hot.bad_ops == 0 && hot.backwards == 0;
	control_say("verify %s pages=%llu bad_pages=%llu bad_ops=%llu lost_ops=%d ops=%llu "
		    "page=%llu word=%llu want=%#llx got=%#llx "
		    "disk=%d records=%llu landed=%llu bad_records=%llu bad_record=%llu disk_errors=%llu "
		    "files=%llu bad_files=%llu file_pages=%llu cached=%llu "
		    "backwards=%llu ms=%llu",
		    ok ? "ok" : "FAIL", (ull)m.pages, (ull)m.bad_pages, (ull)hot.bad_ops,
		    m.lost_ops, (ull)m.ops, (ull)m.first.page, (ull)m.first.word,
		    (ull)m.first.want, (ull)m.first.got, d.present, (ull)d.records, (ull)d.landed,
		    (ull)d.bad_records, (ull)d.first_bad, (ull)d.errors,
		    (ull)f.files, (ull)f.bad_files, (ull)f.pages, (ull)f.cached, (ull)hot.backwards,
		    (ull)(now_ns() - start) / 1000000);
}

static void say_stats(void)
{
	struct disk_report d;
	struct sysinfo s;

	disk_count(&d);
	sysinfo(&s);
	control_say("stats ops=%llu bad_ops=%llu worst_us=%llu beats=%llu beats_skipped=%llu "
		    "beat_gap_us=%llu backwards=%llu records=%llu disk_errors=%llu "
		    "clock_us=%llu total_kib=%llu free_kib=%llu",
		    (ull)hot.ops, (ull)hot.bad_ops, (ull)hot.worst / 1000, (ull)hot.beats,
		    (ull)hot.beats_skipped, (ull)hot.beat_gap / 1000, (ull)hot.backwards,
		    (ull)d.records, (ull)d.errors, (ull)now_ns() / 1000,
		    (ull)s.totalram * s.mem_unit >> 10, (ull)s.freeram * s.mem_unit >> 10);
}

static void run(int on)
{
	memory_run(on);
	disk_run(on);
	control_say(on ? "go" : "stop");
}

static void say_maxop(int reset)
{
	uint64_t worst = hot.worst;

	if (reset)
		hot.worst = hot.beat_gap = 0;
	control_say("maxop us=%llu", (ull)worst / 1000);
}

/* Runs a command of busybox's shell: for a person who looks for a fault. */
static void shell(const char *command)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		dup2(port, 1);
		dup2(port, 2);
		execl("/bin/busybox", "busybox", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	control_say("sh status=%d", WEXITSTATUS(status));
}

static void obey(const char *command)
{
	if (strcmp(command, "verify") == 0)
		say_verify();
	else if (strcmp(command, "stats") == 0)
		say_stats();
	else if (strcmp(command, "maxop") == 0 || strcmp(command, "maxop reset") == 0)
		say_maxop(strlen(command) > 5);
	else if (strcmp(command, "stop") == 0 || strcmp(command, "go") == 0)
		run(command[0] == 'g');
	else if (strncmp(command, "sh ", 3) == 0)
		shell(command + 3);
	else if (strcmp(command, "poweroff") == 0) {
		control_say("poweroff");
		sync();
		reboot(RB_POWER_OFF);
	} else if (command[0] != 0)
		control_say("unknown %s", command);
}

void control_serve(void)
{
	char line[256];
	size_t n = 0;
	char c;

	while (read(port, &c, 1) == 1) {
		if (c != '\n' && c != '\r') {
			if (n < sizeof(line) - 1)
				line[n++] = c;
			continue;
		}
		line[n] = 0;
		n = 0;
		obey(line);
	}
	fatal("read /dev/ttyS0");
}
