/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File operations through io_uring: a batch goes in with one system call, and
 * the host's kernel works on all of it at once.
 *
 * Whatever ends raises the eventfd, which wakes the main thread, which reaps.
 * IORING_REGISTER_EVENTFD_ASYNC, which leaves out what was done inside the
 * submitting call, would also leave out direct I/O and reads that waited for the
 * page cache: these end in the context of the thread that submitted them, and
 * only what the kernel's workers have done counts as asynchronous there
 * (io_eventfd_trigger() of Linux 6.18). What could be done at once has been
 * done without us, so there is little to leave out (disk_file.c).
 */
#include "host/aio.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/eventloop.h"

/* In the kernel's hands at most: results never find their ring full then. */
#define ENTRIES 256

struct aio_uring {
	struct aio aio;
	struct disk_client client;
	struct io_uring ring;
	bool ring_ready;
	struct event_source source;
	unsigned in_kernel;
	struct aio_op *first, *last; /* not yet in the kernel's hands */
};

static void uring_submit(struct aio *aio, struct aio_op *op)
{
	struct aio_uring *u = (struct aio_uring *)aio;

	op->next = NULL;
	if (u->first)
		u->last->next = op;
	else
		u->first = op;
	u->last = op;
	aio->in_flight++;
}

static void prepare(struct io_uring_sqe *sqe, struct aio_op *op)
{
	switch (op->kind) {
	case AIO_READ: io_uring_prep_readv(sqe, op->fd, op->iov, op->count, op->offset); break;
	case AIO_WRITE: io_uring_prep_writev(sqe, op->fd, op->iov, op->count, op->offset); break;
	case AIO_SYNC: io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC); break;
	case AIO_ALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->offset, (off_t)op->length);
		break;
	case AIO_DISCARD: io_uring_prep_nop(sqe); break; /* not for us: aio.h */
	}
	io_uring_sqe_set_data(sqe, op);
}

static void uring_kick(struct aio *aio)
{
	struct aio_uring *u = (struct aio_uring *)aio;

	while (u->first && u->in_kernel < ENTRIES) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

		if (!sqe)
			break;
		prepare(sqe, u->first);
		u->first = u->first->next;
		u->in_kernel++;
	}
	while (io_uring_sq_ready(&u->ring)) {
		int n = io_uring_submit(&u->ring);

		/* Out of memory: there is nothing else to do but to try again. */
		if (n < 0 && n != -EINTR)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

static void uring_reap(struct aio *aio)
{
	struct aio_uring *u = (struct aio_uring *)aio;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct aio_op *op = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->in_kernel--;
		/* Interrupted or cancelled, since the thread that submitted it has ended: once more, from here. */
		if (result == -EINTR || result == -ECANCELED) {
			aio->in_flight--;
			uring_submit(aio, op);
			continue;
		}
		aio->in_flight--;
		op->done(op, result);
	}
	uring_kick(aio);
}

static void uring_wait(struct aio *aio)
{
	struct aio_uring *u = (struct aio_uring *)aio;
	struct io_uring_cqe *cqe;

	uring_kick(aio);
	if (!aio->in_flight)
		return;
	io_uring_wait_cqe(&u->ring, &cqe);
	uring_reap(aio);
}

static void uring_destroy(struct aio *aio)
{
	struct aio_uring *u = (struct aio_uring *)aio;

	if (u->source.fd >= 0) {
		eventloop_remove(u->client.loop, &u->source);
		close(u->source.fd);
	}
	if (u->ring_ready)
		io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct aio_ops uring_ops = {
	.submit = uring_submit,
	.kick = uring_kick,
	.reap = uring_reap,
	.wait = uring_wait,
	.destroy = uring_destroy,
};

static void on_event(void *opaque, uint32_t events)
{
	struct aio_uring *u = opaque;
	eventfd_t count;

	eventfd_read(u->source.fd, &count);
	u->client.wake(u->client.opaque);
}

struct aio *aio_uring_create(const struct disk_client *client, int *error)
{
	struct aio_uring *u = calloc(1, sizeof(*u));

	*error = -ENOMEM;
	if (!u)
		return NULL;
	u->aio.ops = &uring_ops;
	u->client = *client;
	u->source = (struct event_source){ .fd = -1, .ready = on_event, .opaque = u };
	*error = io_uring_queue_init(ENTRIES, &u->ring, 0);
	if (*error)
		goto fail;
	u->ring_ready = true;
	/* Without it the kernel might read our lists of buffers later than at submission. Linux 5.5. */
	if (!(u->ring.features & IORING_FEAT_SUBMIT_STABLE)) {
		*error = -ENOSYS;
		goto fail;
	}
	u->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->source.fd < 0) {
		*error = -errno;
		goto fail;
	}
	*error = eventloop_add(client->loop, &u->source, EPOLLIN);
	if (!*error)
		*error = io_uring_register_eventfd(&u->ring, u->source.fd);
	if (!*error)
		return &u->aio;
fail:
	uring_destroy(&u->aio);
	return NULL;
}

struct aio *aio_create(const struct disk_client *client, bool no_uring, int *error)
{
	struct aio *aio = no_uring ? NULL : aio_uring_create(client, error);

	return aio ? aio : aio_threads_create(client, error);
}
