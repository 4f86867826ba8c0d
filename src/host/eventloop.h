/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main thread's loop: waits for file descriptors and calls whoever
 * registered them. Registering and removing is for the loop's own thread;
 * eventloop_rearm() is not.
 */
#ifndef LGUEST_HOST_EVENTLOOP_H
#define LGUEST_HOST_EVENTLOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_source {
	int fd;
	void (*ready)(void *opaque, uint32_t events);
	void *opaque;
};

struct eventloop {
	int epoll;                    /* owned */
	struct event_source **source; /* all that are registered; room for capacity */
	unsigned count, capacity;
};

/* 0 or -errno. */
int eventloop_create(struct eventloop *loop);
void eventloop_destroy(struct eventloop *loop);

/*
 * Watches @src->fd for @events (EPOLLIN, EPOLLOUT, EPOLLONESHOT...). @src stays
 * the caller's until eventloop_remove(). 0 or -errno: -EPERM means that the
 * file is always ready and cannot be waited for (a regular file).
 */
int eventloop_add(struct eventloop *loop, struct event_source *src, uint32_t events);
void eventloop_remove(struct eventloop *loop, struct event_source *src);

/* Any thread: changes the events of a registered source. */
int eventloop_rearm(struct eventloop *loop, struct event_source *src, uint32_t events);

/* Waits at most @timeout_ms (-1: for ever) and dispatches what is ready. 0 or -errno. */
int eventloop_run_once(struct eventloop *loop, int timeout_ms);

#endif
