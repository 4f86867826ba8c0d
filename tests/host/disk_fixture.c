/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	abort();
}

static const char *const names[KINDS] = {
	[KIND_URING] = "io_uring",
	[KIND_THREADS] = "threads",
	[KIND_DIRECT] = "direct",
	[KIND_DIRECT_THREADS] = "direct, threads",
	[KIND_COW] = "cow",
	[KIND_NBD] = "nbd",
	[KIND_NBD_COW] = "cow on nbd",
};

const char *kind_name(enum kind kind)
{
	return names[kind];
}

uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 9) * 13 + 1);
}

static void on_wake(void *opaque)
{
	struct fixture *f = opaque;

	f->wakes++;
	f->disk->ops->reap(f->disk);
}

static void on_warn(void *opaque, const char *line)
{
	struct fixture *f = opaque;

	f->warnings++;
	snprintf(f->warning, sizeof(f->warning), "%s", line);
}

void fixture_init(struct fixture *f, uint64_t size)
{
	uint8_t *data = malloc(size);
	int fd;

	memset(f, 0, sizeof(*f));
	/* Not /tmp, which is in memory in some places: direct I/O wants a disk. */
	strcpy(f->dir, "/var/tmp/lguest-test-XXXXXX");
	if (!mkdtemp(f->dir) || !data)
		die("directory");
	snprintf(f->path, sizeof(f->path), "%s/image", f->dir);
	for (uint64_t i = 0; i < size; i++)
		data[i] = pattern(i);
	fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		die(f->path);
	close(fd);
	free(data);
	if (eventloop_create(&f->loop) < 0)
		die("event loop");
	f->client = (struct disk_client){ .loop = &f->loop, .wake = on_wake, .opaque = f };
	f->options = (struct disk_options){ .warn = on_warn, .warn_opaque = f };
}

void fixture_destroy(struct fixture *f)
{
	char socket[128];

	fixture_close(f);
	eventloop_destroy(&f->loop);
	unlink(f->path);
	snprintf(socket, sizeof(socket), "%s/socket", f->dir);
	unlink(socket);
	rmdir(f->dir);
}

bool fixture_open(struct fixture *f)
{
	f->disk = disk_open(f->path, &f->options, &f->client, f->err, sizeof(f->err));
	return f->disk;
}

/* nbdkit, on a socket in our directory. False: there is none. */
static bool start_server(struct fixture *f)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	char socket[128];

	snprintf(socket, sizeof(socket), "%s/socket", f->dir);
	snprintf(f->uri, sizeof(f->uri), "nbd+unix:///?socket=%s", socket);
	f->server = fork();
	if (f->server < 0)
		die("fork");
	if (f->server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("nbdkit", "nbdkit", "-f", "-U", socket, "file", f->path, (char *)NULL);
		_exit(127);
	}
	while (access(socket, F_OK) < 0) {
		if (waitpid(f->server, NULL, WNOHANG) == f->server) {
			f->server = 0;
			return false;
		}
		nanosleep(&moment, NULL);
	}
	return true;
}

bool fixture_open_kind(struct fixture *f, enum kind kind)
{
	const char *path = f->path;

	f->options.no_uring = kind == KIND_THREADS || kind == KIND_DIRECT_THREADS;
	f->options.direct = kind == KIND_DIRECT || kind == KIND_DIRECT_THREADS;
	f->options.cow = kind == KIND_COW || kind == KIND_NBD_COW;
	if (kind == KIND_NBD || kind == KIND_NBD_COW) {
		if (!start_server(f))
			return false;
		path = f->uri;
	}
	/* The socket is there before its server listens. */
	for (unsigned tries = 0; tries < 100; tries++) {
		f->disk = disk_open(path, &f->options, &f->client, f->err, sizeof(f->err));
		if (f->disk || !strstr(f->err, "refused"))
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	if (!f->disk && !strstr(f->err, "direct I/O")) {
		fprintf(stderr, "%s: %s\n", kind_name(kind), f->err);
		abort();
	}
	return f->disk;
}

void fixture_close(struct fixture *f)
{
	if (f->disk) {
		f->disk->ops->drain(f->disk);
		f->disk->ops->destroy(f->disk);
	}
	f->disk = NULL;
	if (f->server > 0) {
		kill(f->server, SIGKILL);
		waitpid(f->server, NULL, 0);
	}
	f->server = 0;
}

void wait_for(struct fixture *f, const unsigned *pending)
{
	time_t end = time(NULL) + 30;

	while (*pending) {
		eventloop_run_once(&f->loop, 1000);
		if (time(NULL) > end) {
			fprintf(stderr, "%u requests are never done\n", *pending);
			abort();
		}
	}
}

struct single {
	struct disk_request req;
	unsigned pending;
	int error;
};

static void single_done(struct disk_request *req, int error)
{
	struct single *s = (struct single *)req;

	s->error = error;
	s->pending = 0;
}

int disk_do(struct fixture *f, enum disk_op op, uint64_t offset, uint64_t length, void *data)
{
	struct iovec iov = { data, length };
	struct single s = { .req = { .op = op,
				     .unmap = true,
				     .offset = offset,
				     .length = length,
				     .iov = &iov,
				     .count = data != NULL,
				     .done = single_done },
			    .pending = 1 };

	f->disk->ops->submit(f->disk, &s.req);
	f->disk->ops->kick(f->disk);
	wait_for(f, &s.pending);
	return s.error;
}
