/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io rows: a disk and networks, driven from inside the guest, with as
 * little work in the guest as possible.
 *
 *   io disk DEVICE read|write|sync COUNT SIZE DEPTH [random]
 *	COUNT requests of SIZE bytes, DEPTH of them under way at a time, past
 *	the page cache; sync: a flush after each write. Prints a sum over the
 *	first bytes of what was read, which must be the same everywhere.
 *   io net ADDRESS PORT down|up|ping COUNT
 *	COUNT bytes from or to the server over one TCP connection, or so many
 *	round trips of one byte
 *   io serve PORT
 *	the server, on the host
 */
#define _GNU_SOURCE /* O_DIRECT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_DEPTH 64
#define CHUNK     (256 << 10)

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "io: %s: %s\n", what, strerror(errno));
	exit(1);
}

struct disk_job {
	int fd;
	bool write, random;
	uint64_t count, size, blocks;
	uint64_t issued, state, sum;
};

/* xorshift64: the same places on each engine */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void prepare(struct disk_job *job, struct iocb *cb, char *buffer)
{
	uint64_t block = job->random ? next_random(&job->state) % job->blocks : job->issued % job->blocks;

	memset(cb, 0, sizeof(*cb));
	cb->aio_fildes = (uint32_t)job->fd;
	cb->aio_lio_opcode = job->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	cb->aio_buf = (uint64_t)(uintptr_t)buffer;
	cb->aio_nbytes = job->size;
	cb->aio_offset = (int64_t)(block * job->size);
	cb->aio_data = (uint64_t)(uintptr_t)buffer;
	job->issued++;
}

static void run_disk(struct disk_job *job, unsigned depth, bool sync)
{
	static struct iocb cbs[MAX_DEPTH];
	struct iocb *list[MAX_DEPTH];
	struct io_event events[MAX_DEPTH];
	aio_context_t context = 0;
	uint64_t done = 0;
	char *memory;

	check(!posix_memalign((void **)&memory, 4096, depth * job->size), "memory");
	memset(memory, 0x5a, depth * job->size);
	check(syscall(SYS_io_setup, MAX_DEPTH, &context) == 0, "io_setup");
	for (unsigned i = 0; i < depth; i++) {
		prepare(job, &cbs[i], memory + i * job->size);
		list[i] = &cbs[i];
	}
	check(syscall(SYS_io_submit, context, depth, list) == (long)depth, "io_submit");
	while (done < job->count) {
		long got = syscall(SYS_io_getevents, context, 1, MAX_DEPTH, events, NULL);
		unsigned again = 0;

		check(got > 0, "io_getevents");
		for (long i = 0; i < got; i++) {
			struct iocb *cb = (struct iocb *)(uintptr_t)events[i].obj;

			errno = (int)-events[i].res;
			check(events[i].res == (int64_t)job->size, "a request");
			if (!job->write)
				job->sum += *(uint64_t *)(uintptr_t)cb->aio_buf;
			done++;
			if (sync)
				check(fdatasync(job->fd) == 0, "fdatasync");
			if (job->issued < job->count) {
				prepare(job, cb, (char *)(uintptr_t)cb->aio_buf);
				list[again++] = cb;
			}
		}
		if (again)
			check(syscall(SYS_io_submit, context, again, list) == (long)again, "io_submit");
	}
	if (job->write)
		check(fdatasync(job->fd) == 0, "fdatasync");
}

static int disk(char **argv, bool random)
{
	struct disk_job job = { .state = 88172645463325252ull, .random = random };
	bool sync = strcmp(argv[1], "sync") == 0;

	job.write = sync || strcmp(argv[1], "write") == 0;
	job.fd = open(argv[0], (job.write ? O_RDWR : O_RDONLY) | O_DIRECT);
	check(job.fd >= 0, argv[0]);
	job.count = strtoull(argv[2], NULL, 0);
	job.size = strtoull(argv[3], NULL, 0);
	job.blocks = (uint64_t)lseek(job.fd, 0, SEEK_END) / job.size;
	run_disk(&job, (unsigned)strtoul(argv[4], NULL, 0), sync);
	printf("%llu requests, sum %llx\n", (unsigned long long)job.count, (unsigned long long)job.sum);
	return 0;
}

/* The client's first words */
struct order {
	char kind; /* d, u or p, for the client's down, up and ping */
	uint64_t count;
} __attribute__((packed));

static void receive(int fd, char *buffer, uint64_t count)
{
	while (count) {
		ssize_t got = recv(fd, buffer, count < CHUNK ? count : CHUNK, 0);

		check(got > 0, "recv");
		count -= (uint64_t)got;
	}
}

static void transmit(int fd, const char *buffer, uint64_t count)
{
	while (count) {
		ssize_t put = send(fd, buffer, count < CHUNK ? count : CHUNK, MSG_NOSIGNAL);

		check(put > 0, "send");
		count -= (uint64_t)put;
	}
}

static void no_delay(int fd)
{
	int one = 1;

	check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0, "TCP_NODELAY");
}

static int net(char **argv)
{
	static char buffer[CHUNK];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
	struct order order = { .kind = argv[2][0], .count = strtoull(argv[3], NULL, 0) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd >= 0 && inet_pton(AF_INET, argv[0], &to.sin_addr) == 1, "address");
	check(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connect");
	no_delay(fd);
	transmit(fd, (char *)&order, sizeof(order));
	if (order.kind == 'd') {
		receive(fd, buffer, order.count);
	} else if (order.kind == 'u') {
		transmit(fd, buffer, order.count);
		receive(fd, buffer, 1); /* all of it has arrived */
	} else {
		for (uint64_t i = 0; i < order.count; i++) {
			transmit(fd, buffer, 1);
			receive(fd, buffer, 1);
		}
	}
	printf("%s %llu\n", argv[2], (unsigned long long)order.count);
	return 0;
}

static void serve_one(int fd)
{
	static char buffer[CHUNK];
	struct order order;

	no_delay(fd);
	receive(fd, (char *)&order, sizeof(order));
	if (order.kind == 'd') {
		transmit(fd, buffer, order.count);
		receive(fd, buffer, 1); /* never comes: the client has the last word */
	} else if (order.kind == 'u') {
		receive(fd, buffer, order.count);
		transmit(fd, buffer, 1);
	} else {
		for (uint64_t i = 0; i < order.count; i++) {
			receive(fd, buffer, 1);
			transmit(fd, buffer, 1);
		}
	}
}

static int serve(const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	check(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0, "socket");
	check(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 8) == 0, "bind");
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client >= 0 && fork() == 0) {
			close(2);
			serve_one(client);
			_exit(0);
		}
		close(client);
	}
}

int main(int argc, char **argv)
{
	if (argc >= 7 && strcmp(argv[1], "disk") == 0 && strtoul(argv[6], NULL, 0) <= MAX_DEPTH)
		return disk(argv + 2, argc > 7);
	if (argc == 6 && strcmp(argv[1], "net") == 0)
		return net(argv + 2);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	fprintf(stderr, "usage: io disk|net|serve ... (see the source)\n");
	return 2;
}
