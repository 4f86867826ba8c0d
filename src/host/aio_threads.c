/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File operations in threads that wait for them: for hosts where io_uring is
 * forbidden, and for the few things that it cannot do.
 *
 * Threads come when they are needed, one for each operation that finds no idle
 * one, up to MAX_THREADS, and stay. An operation walks
 *
 *   submit(): fresh -> kick(): todo -> a thread -> finished -> reap(): done()
 *
 * `fresh` belongs to the submitter, so that a batch costs one lock.
 */
#include "host/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/eventloop.h"

#define MAX_THREADS 16

struct list {
	struct aio_op *first, *last;
};

struct aio_threads {
	struct aio aio;
	struct disk_client client;
	struct event_source source; /* an eventfd: something came to an empty list of finished ones */
	struct list fresh;

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t work, progress;
	struct list todo, finished;
	unsigned waiting; /* how many are in todo */
	unsigned idle, threads;
	bool quit;
	pthread_t thread[MAX_THREADS];
};

static void append(struct list *list, struct aio_op *op)
{
	op->next = NULL;
	if (list->first)
		list->last->next = op;
	else
		list->first = op;
	list->last = op;
}

static struct aio_op *take_first(struct list *list)
{
	struct aio_op *op = list->first;

	if (op)
		list->first = op->next;
	return op;
}

int64_t aio_execute(const struct aio_op *op)
{
	int64_t n = -1;

	do {
		switch (op->kind) {
		case AIO_READ: n = preadv(op->fd, op->iov, (int)op->count, (off_t)op->offset); break;
		case AIO_WRITE: n = pwritev(op->fd, op->iov, (int)op->count, (off_t)op->offset); break;
		case AIO_SYNC: n = fdatasync(op->fd); break;
		case AIO_ALLOCATE:
			n = fallocate(op->fd, op->mode, (off_t)op->offset, (off_t)op->length);
			break;
		case AIO_DISCARD: {
			uint64_t range[2] = { op->offset, op->length };

			n = ioctl(op->fd, BLKDISCARD, range);
			break;
		}
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void *worker(void *opaque)
{
	struct aio_threads *t = opaque;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct aio_op *op = take_first(&t->todo);

		if (!op) {
			if (t->quit)
				break;
			t->idle++;
			pthread_cond_wait(&t->work, &t->lock);
			t->idle--;
			continue;
		}
		t->waiting--;
		pthread_mutex_unlock(&t->lock);
		op->result = aio_execute(op);
		pthread_mutex_lock(&t->lock);
		if (!t->finished.first)
			eventfd_write(t->source.fd, 1);
		append(&t->finished, op);
		pthread_cond_signal(&t->progress);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* With t->lock. Signals are for the main thread. */
static int add_thread(struct aio_threads *t)
{
	sigset_t all, old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&t->thread[t->threads], NULL, worker, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!error) {
		pthread_setname_np(t->thread[t->threads], "disk");
		t->threads++;
	}
	return -error;
}

static void threads_submit(struct aio *aio, struct aio_op *op)
{
	struct aio_threads *t = (struct aio_threads *)aio;

	aio->in_flight++;
	append(&t->fresh, op);
}

static void threads_kick(struct aio *aio)
{
	struct aio_threads *t = (struct aio_threads *)aio;
	struct aio_op *op;

	if (!t->fresh.first)
		return;
	pthread_mutex_lock(&t->lock);
	while ((op = take_first(&t->fresh))) {
		append(&t->todo, op);
		t->waiting++;
		/* Without a new thread there are still the old ones: the first was made at the start. */
		if (t->waiting > t->idle && t->threads < MAX_THREADS)
			add_thread(t);
		pthread_cond_signal(&t->work);
	}
	pthread_mutex_unlock(&t->lock);
}

static void threads_reap(struct aio *aio)
{
	struct aio_threads *t = (struct aio_threads *)aio;
	struct list finished;
	struct aio_op *op;

	pthread_mutex_lock(&t->lock);
	finished = t->finished;
	t->finished.first = NULL;
	pthread_mutex_unlock(&t->lock);
	while ((op = take_first(&finished))) {
		aio->in_flight--;
		op->done(op, op->result);
	}
}

static void threads_wait(struct aio *aio)
{
	struct aio_threads *t = (struct aio_threads *)aio;

	threads_kick(aio);
	if (!aio->in_flight)
		return;
	pthread_mutex_lock(&t->lock);
	while (!t->finished.first)
		pthread_cond_wait(&t->progress, &t->lock);
	pthread_mutex_unlock(&t->lock);
	threads_reap(aio);
}

static void threads_destroy(struct aio *aio)
{
	struct aio_threads *t = (struct aio_threads *)aio;

	pthread_mutex_lock(&t->lock);
	t->quit = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < t->threads; i++)
		pthread_join(t->thread[i], NULL);
	if (t->source.fd >= 0) {
		eventloop_remove(t->client.loop, &t->source);
		close(t->source.fd);
	}
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->progress);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct aio_ops threads_ops = {
	.submit = threads_submit,
	.kick = threads_kick,
	.reap = threads_reap,
	.wait = threads_wait,
	.destroy = threads_destroy,
};

static void on_finished(void *opaque, uint32_t events)
{
	struct aio_threads *t = opaque;
	eventfd_t count;

	eventfd_read(t->source.fd, &count);
	t->client.wake(t->client.opaque);
}

struct aio *aio_threads_create(const struct disk_client *client, int *error)
{
	struct aio_threads *t = calloc(1, sizeof(*t));

	*error = -ENOMEM;
	if (!t)
		return NULL;
	t->aio.ops = &threads_ops;
	t->client = *client;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->progress, NULL);
	t->source = (struct event_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					   .ready = on_finished,
					   .opaque = t };
	if (t->source.fd < 0) {
		*error = -errno;
		goto fail;
	}
	*error = eventloop_add(client->loop, &t->source, EPOLLIN);
	if (*error) {
		close(t->source.fd);
		t->source.fd = -1;
		goto fail;
	}
	pthread_mutex_lock(&t->lock);
	*error = add_thread(t);
	pthread_mutex_unlock(&t->lock);
	if (!*error)
		return &t->aio;
fail:
	threads_destroy(&t->aio);
	return NULL;
}
