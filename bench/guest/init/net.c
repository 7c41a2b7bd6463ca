/* The address of eth0 and a TCP echo server on port 7. */
#define _GNU_SOURCE
#include "lm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ECHO_PORT 7

static void set_up(int s, const char *name)
{
	struct ifreq r = { 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &r) != 0)
		fatal("set an interface up");
}

static void set_address(int s, unsigned long request, const char *address)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct ifreq r = { 0 };

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
		fatal("parse lm.ip");
	snprintf(r.ifr_name, sizeof(r.ifr_name), "eth0");
	memcpy(&r.ifr_addr, &a, sizeof(a));
	if (ioctl(s, request, &r) != 0)
		fatal("set the address of eth0");
}

static void *serve_connection(void *argument)
{
	int c = (int)(intptr_t)argument;
	char buffer[2048];
	ssize_t n, done, m;

	while ((n = read(c, buffer, sizeof(buffer))) > 0)
		for (done = 0; done < n; done += m)
			if ((m = write(c, buffer + done, (size_t)(n - done))) < 0)
				goto out;
out:
	close(c);
	return NULL;
}

static void start_connection(int c)
{
	pthread_attr_t attr;
	pthread_t thread;
	int one = 1;

	setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, serve_connection, (void *)(intptr_t)c) != 0)
		close(c);
	pthread_attr_destroy(&attr);
}

static void *serve_echo(void *unused)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(ECHO_PORT) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c;

	(void)unused;
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(s, 16) != 0)
		fatal("listen for echo connections");
	for (;;) {
		c = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		if (c >= 0)
			start_connection(c);
	}
	return NULL;
}

void net_start(void)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		fatal("open a socket");
	set_up(s, "lo");
	if (params.address[0] != 0) {
		set_address(s, SIOCSIFADDR, params.address);
		set_address(s, SIOCSIFNETMASK, "255.255.255.0");
		set_up(s, "eth0");
		start_thread(serve_echo, 0);
	}
	close(s);
}
