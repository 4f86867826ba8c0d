/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File operations that do not wait: one is handed in, its result comes back
 * through a callback. Two ways to do it, which differ in nothing but speed:
 *
 *   aio_uring.c     io_uring: the host's kernel does them
 *   aio_threads.c   a pool of threads, for hosts where io_uring is forbidden
 *                   (seccomp filters of containers, kernel.io_uring_disabled)
 *
 * Serialised by the owner, but for client wake, as disk.h.
 */
#ifndef LGUEST_HOST_AIO_H
#define LGUEST_HOST_AIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct aio;
struct disk_client;

enum aio_kind {
	AIO_READ,
	AIO_WRITE,
	AIO_SYNC,     /* fdatasync() */
	AIO_ALLOCATE, /* fallocate() with @mode */
	AIO_DISCARD,  /* ioctl(BLKDISCARD) of a block device: by threads only */
};

/* The submitter's until done(), with all that it points to. */
struct aio_op {
	enum aio_kind kind;
	int fd, mode;
	uint64_t offset, length; /* length: not for AIO_READ and AIO_WRITE */
	const struct iovec *iov;
	unsigned count;
	/* Bytes (there may be fewer than asked for) or a negative errno. May submit again. */
	void (*done)(struct aio_op *op, int64_t result);
	/* Of the implementation. */
	struct aio_op *next;
	int64_t result;
};

struct aio_ops {
	/* Does not call done(). */
	void (*submit)(struct aio *aio, struct aio_op *op);
	void (*kick)(struct aio *aio);
	void (*reap)(struct aio *aio);
	/* Sleeps until at least one operation of those in flight is done, and reaps. */
	void (*wait)(struct aio *aio);
	void (*destroy)(struct aio *aio); /* nothing is in flight */
};

struct aio {
	const struct aio_ops *ops;
	unsigned in_flight; /* submitted and done() not called yet */
};

/* Each: NULL with a negative errno in *@error on failure. Main thread. */
struct aio *aio_uring_create(const struct disk_client *client, int *error);
struct aio *aio_threads_create(const struct disk_client *client, int *error);
/* The better one of what the host allows. */
struct aio *aio_create(const struct disk_client *client, bool no_uring, int *error);

/* One operation, here and now: bytes or a negative errno. */
int64_t aio_execute(const struct aio_op *op);

#endif
