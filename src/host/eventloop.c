/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/eventloop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Events taken in at a time; the rest waits in the kernel. */
#define ROUND 32

int eventloop_create(struct eventloop *loop)
{
	*loop = (struct eventloop){ .epoll = epoll_create1(EPOLL_CLOEXEC) };
	return loop->epoll < 0 ? -errno : 0;
}

void eventloop_destroy(struct eventloop *loop)
{
	if (loop->epoll >= 0)
		close(loop->epoll);
	free(loop->source);
	*loop = (struct eventloop){ .epoll = -1 };
}

int eventloop_add(struct eventloop *loop, struct event_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	if (loop->count == loop->capacity) {
		unsigned capacity = loop->capacity ? 2 * loop->capacity : 16;
		struct event_source **more = reallocarray(loop->source, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		loop->source = more;
		loop->capacity = capacity;
	}
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, src->fd, &ev) < 0)
		return -errno;
	loop->source[loop->count++] = src;
	return 0;
}

void eventloop_remove(struct eventloop *loop, struct event_source *src)
{
	for (unsigned i = 0; i < loop->count; i++) {
		if (loop->source[i] != src)
			continue;
		epoll_ctl(loop->epoll, EPOLL_CTL_DEL, src->fd, NULL);
		loop->source[i] = loop->source[--loop->count];
		return;
	}
}

int eventloop_rearm(struct eventloop *loop, struct event_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, src->fd, &ev) < 0 ? -errno : 0;
}

static bool registered(const struct eventloop *loop, const struct event_source *src)
{
	for (unsigned i = 0; i < loop->count; i++)
		if (loop->source[i] == src)
			return true;
	return false;
}

int eventloop_run_once(struct eventloop *loop, int timeout_ms)
{
	struct epoll_event ev[ROUND];
	int n = epoll_wait(loop->epoll, ev, ROUND, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct event_source *src = ev[i].data.ptr;

		/* An earlier callback of this round may have removed it. */
		if (registered(loop, src))
			src->ready(src->opaque, ev[i].events);
	}
	return 0;
}
