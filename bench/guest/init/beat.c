/*
 * The heartbeat: one line on the second serial port for each period,
 *
 *   SEQUENCE OPERATIONS MICROSECONDS WORST\n      (hexadecimal)
 *
 * with the guest's monotonic clock and the longest page operation since the
 * line before, in microseconds. The thread drives the UART itself: the way
 * through the kernel's tty layer touches many more pages, and each of them is
 * a fault after a switch.
 */
#define _GNU_SOURCE
#include "lm.h"

#include <sys/io.h>
#include <time.h>

#define PORT 0x2f8
#define UART_FIFO 16
#define STATUS_EMPTY 0x20

static int port_empty(void)
{
	return inb(PORT + 5) & STATUS_EMPTY;
}

static void open_port(void)
{
	if (ioperm(PORT, 8, 1) != 0)
		fatal("ioperm");
	outb(0, PORT + 1);    /* no interrupts */
	outb(3, PORT + 3);    /* 8n1, data registers */
	outb(7, PORT + 2);    /* enable and clear the FIFOs */
}

/* A line that was begun is finished, however long the port is full. */
static void send_line(const char *line, int n)
{
	const struct timespec pause = { .tv_nsec = 200000 };

	for (int i = 0; i < n; i++) {
		if (i % UART_FIFO == 0)
			while (!port_empty())
				clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		outb((unsigned char)line[i], PORT);
	}
}

static char *put_hex(char *to, uint64_t value, char end)
{
	int shift = 0;

	while (shift < 60 && value >> (shift + 4))
		shift += 4;
	for (; shift >= 0; shift -= 4)
		*to++ = "0123456789abcdef"[(value >> shift) & 15];
	*to++ = end;
	return to;
}

static void beat(uint64_t now)
{
	char line[80], *end = line;
	uint64_t worst;

	if (!port_empty()) {
		hot.beats_skipped++;
		return;
	}
	worst = __atomic_exchange_n(&hot.worst_beat, 0, __ATOMIC_RELAXED);
	end = put_hex(end, ++hot.beats, ' ');
	end = put_hex(end, hot.ops, ' ');
	end = put_hex(end, now / 1000, ' ');
	end = put_hex(end, worst / 1000, '\n');
	send_line(line, (int)(end - line));
}

static void *serve_beats(void *unused)
{
	uint64_t period = 1000000000u / params.beats, due = now_ns(), last = due, now;
	struct timespec t;

	(void)unused;
	open_port();
	for (;;) {
		due += period;
		t.tv_sec = (time_t)(due / 1000000000u);
		t.tv_nsec = (long)(due % 1000000000u);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		now = now_ns();
		if (now < due)
			hot.backwards++;
		else if (now - last > hot.beat_gap)
			hot.beat_gap = now - last;
		last = now;
		beat(now);
		if (now > due + 2 * period)
			due = now;
	}
	return NULL;
}

void beat_start(void)
{
	start_thread(serve_beats, 50);
}
