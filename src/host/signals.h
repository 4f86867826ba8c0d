/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals to the process, as events of the main thread's loop. All signals are
 * blocked for the time of the run, here and in every thread started meanwhile;
 * not those that a thread's own instructions raise, which the engine needs.
 *
 * Does not include <signal.h>, which has other ideas about names like REG_RAX
 * than cpu/state.h.
 */
#ifndef LGUEST_HOST_SIGNALS_H
#define LGUEST_HOST_SIGNALS_H

#include <stdbool.h>
#include <sys/select.h> /* sigset_t */

#include "host/eventloop.h"

struct host_signals_ops {
	/* Somebody wants us to end: SIGTERM, SIGINT, SIGHUP or SIGQUIT. */
	void (*terminate)(void *opaque, int signal);
	/* We were stopped and go on: SIGCONT. */
	void (*resume)(void *opaque);
	/* The terminal's window has another size: SIGWINCH. */
	void (*window)(void *opaque);
};

struct host_signals {
	struct eventloop *loop;
	struct event_source source;
	sigset_t old_mask;
	void (*old_sigpipe)(int);
	bool blocked;
	const struct host_signals_ops *ops;
	void *opaque;
};

/*
 * Blocks the signals, ignores SIGPIPE and watches for the others with @loop. 0
 * or -errno; host_signals_restore() afterwards in both cases.
 */
int host_signals_block(struct host_signals *s, struct eventloop *loop, const struct host_signals_ops *ops,
		       void *opaque);

/* As it was before. Also for a zeroed @s. */
void host_signals_restore(struct host_signals *s);

#endif
