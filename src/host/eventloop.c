/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/eventloop.h"

#include <errno.h>
#include <linux/time_types.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Events taken in at a time; the rest waits in the kernel. */
#define ROUND 32

/*
 * Shared sources stand in two sets: one that is a source of the loop itself, so
 * that all of them are turned off and on at once, and one for the helper.
 */
struct eventloop_shared {
	struct event_source source; /* the loop's set */
	int helper;                 /* the helper's, with wake in it */
	int wake;                   /* eventfd, edge-triggered: never read */
	atomic_flag taken;          /* there is a helper */
};

int eventloop_create(struct eventloop *loop)
{
	*loop = (struct eventloop){ .epoll = epoll_create1(EPOLL_CLOEXEC) };
	return loop->epoll < 0 ? -errno : 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void eventloop_destroy(struct eventloop *loop)
{
	if (loop->shared) {
		close_if_open(loop->shared->source.fd);
		close_if_open(loop->shared->helper);
		close_if_open(loop->shared->wake);
		free(loop->shared);
	}
	if (loop->epoll >= 0)
		close(loop->epoll);
	free(loop->source);
	*loop = (struct eventloop){ .epoll = -1 };
}

static int list(struct eventloop *loop, struct event_source *src)
{
	if (loop->count == loop->capacity) {
		unsigned capacity = loop->capacity ? 2 * loop->capacity : 16;
		struct event_source **more = reallocarray(loop->source, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		loop->source = more;
		loop->capacity = capacity;
	}
	loop->source[loop->count++] = src;
	return 0;
}

int eventloop_add(struct eventloop *loop, struct event_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };
	int error = list(loop, src);

	if (error)
		return error;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, src->fd, &ev) == 0)
		return 0;
	error = -errno;
	loop->count--;
	return error;
}

/* ---- shared sources ---- */

static int dispatch(struct eventloop *loop, int set, int timeout_ms);

static int change(int set, struct event_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	/* Out of it, for errors are reported even to who waits for nothing. */
	if (!events)
		return epoll_ctl(set, EPOLL_CTL_DEL, src->fd, NULL) < 0 && errno != ENOENT ? -errno : 0;
	if (epoll_ctl(set, EPOLL_CTL_MOD, src->fd, &ev) == 0)
		return 0;
	return errno == ENOENT && epoll_ctl(set, EPOLL_CTL_ADD, src->fd, &ev) == 0 ? 0 : -errno;
}

static int rearm_shared(struct eventloop_shared *shared, struct event_source *src, uint32_t events)
{
	int error = change(shared->helper, src, events);

	return error ? error : change(shared->source.fd, src, events);
}

static void on_shared(void *opaque, uint32_t events)
{
	struct eventloop *loop = opaque;

	dispatch(loop, loop->shared->source.fd, 0);
}

static int make_shared(struct eventloop *loop)
{
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET };
	struct eventloop_shared *shared = calloc(1, sizeof(*shared));
	int error;

	if (!shared)
		return -ENOMEM;
	loop->shared = shared;
	shared->source = (struct event_source){ .fd = epoll_create1(EPOLL_CLOEXEC),
						.ready = on_shared,
						.opaque = loop };
	shared->helper = epoll_create1(EPOLL_CLOEXEC);
	shared->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_flag_clear(&shared->taken);
	if (shared->source.fd < 0 || shared->helper < 0 || shared->wake < 0 ||
	    epoll_ctl(shared->helper, EPOLL_CTL_ADD, shared->wake, &wake) < 0)
		error = -errno;
	else
		error = eventloop_add(loop, &shared->source, EPOLLIN);
	if (!error)
		return 0;
	close_if_open(shared->source.fd);
	close_if_open(shared->helper);
	close_if_open(shared->wake);
	free(shared);
	loop->shared = NULL;
	return error;
}

int eventloop_add_shared(struct eventloop *loop, struct event_source *src, uint32_t events)
{
	int error = loop->shared ? 0 : make_shared(loop);

	if (!error)
		error = list(loop, src);
	if (error)
		return error;
	src->shared = true;
	error = rearm_shared(loop->shared, src, events);
	if (error)
		loop->count--;
	return error;
}

static int wait_ns(int set, struct epoll_event *ev, int max, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = { .tv_sec = (long long)(timeout_ns / 1000000000),
					.tv_nsec = (long long)(timeout_ns % 1000000000) };
	const bool forever = timeout_ns == UINT64_MAX;
	/* By number, for C libraries that have no epoll_pwait2() yet. */
	int n = (int)syscall(SYS_epoll_pwait2, set, ev, max, forever ? NULL : &ts, NULL, 0);

	/* Before Linux 5.11. Nobody minds to come back a little early, and then again. */
	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(set, ev, max,
			       forever || timeout_ns > 60000000000 ? -1 : (int)(timeout_ns / 1000000) + 1);
	return n;
}

bool eventloop_help(struct eventloop *loop, uint64_t timeout_ns)
{
	struct eventloop_shared *shared = loop->shared;
	struct epoll_event ev[ROUND];
	int n;

	if (!shared || atomic_flag_test_and_set(&shared->taken))
		return false;
	eventloop_rearm(loop, &shared->source, 0);
	n = wait_ns(shared->helper, ev, ROUND, timeout_ns);
	eventloop_rearm(loop, &shared->source, EPOLLIN);
	for (int i = 0; i < n; i++) {
		struct event_source *src = ev[i].data.ptr;

		if (src)
			src->ready(src->opaque, ev[i].events);
	}
	atomic_flag_clear(&shared->taken);
	return true;
}

void eventloop_wake_helper(struct eventloop *loop)
{
	eventfd_write(loop->shared->wake, 1);
}

/* ---- the loop ---- */

void eventloop_remove(struct eventloop *loop, struct event_source *src)
{
	for (unsigned i = 0; i < loop->count; i++) {
		if (loop->source[i] != src)
			continue;
		if (src->shared)
			rearm_shared(loop->shared, src, 0);
		else
			epoll_ctl(loop->epoll, EPOLL_CTL_DEL, src->fd, NULL);
		loop->source[i] = loop->source[--loop->count];
		return;
	}
}

int eventloop_rearm(struct eventloop *loop, struct event_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	if (src->shared)
		return rearm_shared(loop->shared, src, events);
	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, src->fd, &ev) < 0 ? -errno : 0;
}

static bool registered(const struct eventloop *loop, const struct event_source *src)
{
	for (unsigned i = 0; i < loop->count; i++)
		if (loop->source[i] == src)
			return true;
	return false;
}

static int dispatch(struct eventloop *loop, int set, int timeout_ms)
{
	struct epoll_event ev[ROUND];
	int n = epoll_wait(set, ev, ROUND, timeout_ms);

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

int eventloop_run_once(struct eventloop *loop, int timeout_ms)
{
	return dispatch(loop, loop->epoll, timeout_ms);
}
