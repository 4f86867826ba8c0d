/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's end of the guest's serial line: standard input and output (or
 * any two descriptors) with a buffer each.
 *
 * Output gathers in a ring and leaves in large pieces: when half of it is
 * full, when the guest goes idle, or 2 ms after the first byte, whichever is
 * first. Nothing is ever dropped, except when the reader is gone: then all
 * further output is. Input is read only as far as there is room for it.
 *
 * Threads: the main thread runs the event loop side; vCPU threads call the
 * functions that say so.
 */
#ifndef LGUEST_HOST_CONSOLE_H
#define LGUEST_HOST_CONSOLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/eventloop.h"
#include "host/tty.h"

#define CONSOLE_OUT (64u * 1024)
#define CONSOLE_IN  4096u

struct console_ops {
	/* Input has come; main thread, no lock held. */
	void (*input)(void *opaque);
	/* The user typed an escape. Main thread. */
	void (*escape)(void *opaque);
};

struct console {
	pthread_mutex_t lock;
	pthread_cond_t room;
	uint8_t out[CONSOLE_OUT];
	unsigned out_first, out_count;
	bool writing;   /* some thread is in write(), with the lock dropped */
	bool scheduled; /* the timer, or readiness of the output, will flush */
	bool reader_gone;
	bool stopping; /* nobody waits for room any more */
	bool can_wait_out;
	int out_fd; /* owned */
	bool out_nonblock, out_socket;

	uint8_t in[CONSOLE_IN];
	unsigned in_first;
	_Atomic unsigned in_count;
	bool in_paused; /* full: console_get() wakes the reader at half */
	bool in_eof;
	bool in_pollable;
	int in_fd; /* borrowed */

	struct tty *tty;
	struct eventloop *loop;
	struct event_source in_source, out_source, timer_source, wake_source;
	const struct console_ops *ops;
	void *opaque;
};

/*
 * Connects @in_fd and @out_fd with @loop. @tty (may be NULL) filters the input
 * when it is a terminal. 0 or -errno.
 */
int console_create(struct console *c, struct eventloop *loop, int in_fd, int out_fd, struct tty *tty,
		   const struct console_ops *ops, void *opaque);
void console_destroy(struct console *c);

/* vCPU threads: one byte of output; false: no room. */
bool console_put(struct console *c, uint8_t byte);
/* vCPU threads: waits for room; false when the machine stops instead. */
bool console_wait(struct console *c);
/* vCPU threads: the next byte of input, or -1. */
int console_get(struct console *c);
static inline bool console_ready(struct console *c)
{
	return atomic_load_explicit(&c->in_count, memory_order_relaxed) != 0;
}

/* Any thread: writes out what the reader takes without waiting. */
void console_flush(struct console *c);

/* Any thread: lets go whoever sits in console_wait(); or lets them wait again. */
void console_stop(struct console *c, bool stop);

/* Main thread: reads again after a stop in the background. */
void console_resume(struct console *c);

/*
 * Main thread, vCPUs stopped: writes until nothing is left, the reader is
 * gone, or @abort() says so; it is asked every 100 ms.
 */
void console_finish(struct console *c, bool (*abort)(void *opaque), void *opaque);

#endif
