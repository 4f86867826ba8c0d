/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main thread's loop: waits for file descriptors and calls whoever
 * registered them. Registering and removing is for the loop's own thread;
 * eventloop_rearm() is not.
 *
 * To wake a thread takes long (20 us where this was written), and what comes
 * from a network wakes two: the loop's, and then the vCPU's that sleeps until it
 * gets an interrupt. So some sources are shared: a thread that would sleep
 * anyway waits for them by eventloop_help(), and the loop leaves them alone meanwhile.
 */
#ifndef LGUEST_HOST_EVENTLOOP_H
#define LGUEST_HOST_EVENTLOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_source {
	int fd;
	void (*ready)(void *opaque, uint32_t events);
	void *opaque;
	bool shared; /* by eventloop_add_shared() */
};

struct eventloop_shared;

struct eventloop {
	int epoll;                    /* owned */
	struct event_source **source; /* all that are registered; room for capacity */
	unsigned count, capacity;
	struct eventloop_shared *shared; /* NULL: no source is */
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

/*
 * The same for a source whose ready() may run on any thread that helps, too. It
 * must not remove it; eventloop_rearm() with 0 is what silences it, errors included.
 */
int eventloop_add_shared(struct eventloop *loop, struct event_source *src, uint32_t events);

/*
 * Any thread, in the place of a sleep: waits for shared sources and serves what
 * is ready, once. Comes back after @timeout_ns (UINT64_MAX: none), by
 * eventloop_wake_helper(), a signal, or for no reason. False, at once: nothing is
 * shared, or somebody helps already.
 */
bool eventloop_help(struct eventloop *loop, uint64_t timeout_ns);
/* Makes the present or else the next eventloop_help() return. Any thread, any signal handler. */
void eventloop_wake_helper(struct eventloop *loop);

/* Any thread: changes the events of a registered source. */
int eventloop_rearm(struct eventloop *loop, struct event_source *src, uint32_t events);

/* Waits at most @timeout_ms (-1: for ever) and dispatches what is ready. 0 or -errno. */
int eventloop_run_once(struct eventloop *loop, int timeout_ms);

#endif
