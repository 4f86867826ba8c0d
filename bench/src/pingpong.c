/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long one byte takes there and back, over TCP.
 *
 *	pingpong serve ADDRESS PORT              answers for ever
 *	pingpong rtt ADDRESS PORT SECONDS        one connection, many bytes
 *	pingpong connect ADDRESS PORT SECONDS    a new connection for each
 *
 * The last two print microseconds per round.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 64

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int dial(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		die("connect");
	no_delay(fd);
	return fd;
}

static void there_and_back(int fd)
{
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		die("round trip");
}

static void serve(const struct sockaddr_in *at)
{
	struct pollfd p[1 + CONNECTIONS];
	int on = 1;
	char byte;

	p[0].fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(p[0].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(p[0].fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(p[0].fd, 128) < 0)
		die("listen");
	for (int i = 1; i <= CONNECTIONS; i++)
		p[i].fd = -1;
	for (int i = 0; i <= CONNECTIONS; i++)
		p[i].events = POLLIN;
	for (;;) {
		if (poll(p, 1 + CONNECTIONS, -1) < 0)
			die("poll");
		for (int i = 1; i <= CONNECTIONS; i++) {
			if (p[i].fd < 0 || !p[i].revents)
				continue;
			if (read(p[i].fd, &byte, 1) == 1 && write(p[i].fd, &byte, 1) == 1)
				continue;
			close(p[i].fd);
			p[i].fd = -1;
		}
		for (int i = 1; i <= CONNECTIONS && p[0].revents; i++) {
			if (p[i].fd >= 0)
				continue;
			p[i].fd = accept(p[0].fd, NULL, NULL);
			no_delay(p[i].fd);
			break;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	double start, end;
	long rounds = 0;
	int fd = -1, each;

	if (argc < 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((unsigned short)atoi(argv[3]));
	if (strcmp(argv[1], "serve") == 0)
		serve(&to);
	each = strcmp(argv[1], "connect") == 0;
	if (!each)
		fd = dial(&to);
	start = end = now();
	for (double stop = start + (argc > 4 ? atof(argv[4]) : 1); end < stop; rounds++) {
		if (each)
			fd = dial(&to);
		there_and_back(fd);
		if (each)
			close(fd);
		end = now();
	}
	printf("%.2f\n", (end - start) * 1e6 / (double)rounds);
	return 0;
}
