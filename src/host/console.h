/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's end of the guest's two consoles, the serial port (ttyS0) and the
 * virtio console (hvc0): standard input and output (or any two descriptors)
 * with a buffer each.
 *
 * Output gathers in a ring and leaves in large pieces: when half of it is
 * full, when the guest goes idle, or 2 ms after the first byte, whichever is
 * first. Nothing is ever dropped, except when the reader is gone: then all
 * further output is. Input is read only as far as there is room for it.
 *
 * Both consoles write to the terminal. Input goes to the preferred one. From a
 * terminal, where somebody sees what answers, it goes to the other one while the
 * preferred one does not listen and the other one does. From a pipe or a file it
 * waits: it must not go astray because the guest opens its consoles one by one.
 *
 * Threads: the main thread runs the event loop side and makes all callbacks,
 * without a lock held. Other functions may be called on any thread unless they
 * say "main thread", also with locks held: the console's own is the innermost.
 */
#ifndef LGUEST_HOST_CONSOLE_H
#define LGUEST_HOST_CONSOLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/eventloop.h"
#include "host/tty.h"

#define CONSOLE_OUT (64u * 1024)
#define CONSOLE_IN  4096u

enum console_port { CONSOLE_UART, CONSOLE_HVC, CONSOLE_PORTS };

/* What a port of the guest's gets told. */
struct console_port_ops {
	/* There is input for this port: console_read(). */
	void (*input)(void *opaque);
	/* console_write() has taken less than it was given; now there is room. May be NULL. */
	void (*room)(void *opaque);
	/* The window has another size: console_size(). May be NULL. */
	void (*resized)(void *opaque);
};

struct console_ops {
	/* The user typed an escape. */
	void (*escape)(void *opaque);
	/* A line, without newline, that the user must see. */
	void (*warn)(void *opaque, const char *line);
};

struct console {
	pthread_mutex_t lock;
	pthread_cond_t room;
	uint8_t out[CONSOLE_OUT];
	unsigned out_first, out_count;
	bool writing;   /* some thread is in write(), with the lock dropped */
	bool scheduled; /* the timer, or readiness of the output, will flush */
	bool reader_gone;
	int lost; /* errno of the write that failed; 0: none did */
	bool loss_reported;
	bool stopping;            /* nobody waits for room any more */
	_Atomic bool room_wanted; /* by a port: the next free byte calls room() */
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

	struct {
		const struct console_port_ops *ops; /* NULL: nobody is there */
		void *opaque;
		_Atomic bool listens;
	} port[CONSOLE_PORTS];
	enum console_port preferred;

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

/* Main thread, before the guest runs: who gets the input. At the start the UART does. */
void console_prefer(struct console *c, enum console_port port);
/* Main thread, no vCPU runs: whom to call for @port; NULL: nobody any more. */
void console_attach(struct console *c, enum console_port port, const struct console_port_ops *ops,
		    void *opaque);
/* The guest has opened @port for reading, or closed it. At the start it has not. */
void console_listen(struct console *c, enum console_port port, bool listens);

/* Takes as many of @len bytes of output as there is room for: how many? */
size_t console_write(struct console *c, const uint8_t *data, size_t len);
/* One byte of output; false: no room (and room() will not be called). */
bool console_put(struct console *c, uint8_t byte);
/* vCPU threads, without any lock: waits for room; false when the machine stops instead. */
bool console_wait(struct console *c);

/* Up to @len bytes of the input that is @port's; how many? */
size_t console_read(struct console *c, enum console_port port, uint8_t *data, size_t len);
/* The next byte of it, or -1. */
int console_get(struct console *c, enum console_port port);
static inline enum console_port console_listener(struct console *c)
{
	enum console_port other = c->preferred == CONSOLE_UART ? CONSOLE_HVC : CONSOLE_UART;

	if (!c->tty || !c->tty->present || c->port[c->preferred].listens || !c->port[other].listens)
		return c->preferred;
	return other;
}
/* Is there any? */
static inline bool console_ready(struct console *c, enum console_port port)
{
	return atomic_load_explicit(&c->in_count, memory_order_relaxed) != 0 && console_listener(c) == port;
}

/* Columns and rows of the terminal; false when there is none. */
bool console_size(struct console *c, unsigned *columns, unsigned *rows);
/* Main thread: it may have changed (SIGWINCH). */
void console_resized(struct console *c);

/* Writes out what the reader takes without waiting. */
void console_flush(struct console *c);

/* Lets go whoever sits in console_wait(); or lets them wait again. */
void console_stop(struct console *c, bool stop);

/* Main thread: reads again after a stop in the background. */
void console_resume(struct console *c);

/* Main thread: did output get lost because nobody took it? */
static inline bool console_lost(const struct console *c)
{
	return c->lost != 0;
}

/*
 * Main thread, vCPUs stopped: writes until nothing is left, the reader is
 * gone, or @abort() says so; it is asked every 100 ms.
 */
void console_finish(struct console *c, bool (*abort)(void *opaque), void *opaque);

#endif
