/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A futex rather than a condition variable: it can be woken from a signal
 * handler, and costs no system call when the thread is awake.
 */
#include "host/sleeper.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/eventloop.h"

/* False: there is nothing to help with. */
static bool help(struct sleeper *s, uint32_t ticket, uint64_t timeout_ns, struct eventloop *loop)
{
	bool helped;

	if (!loop || !loop->shared)
		return false;
	/* Either the waker sees helps, or we see the new ticket. */
	atomic_store(&s->helps, loop);
	helped = atomic_load(&s->ticket) != ticket || eventloop_help(loop, timeout_ns);
	atomic_store(&s->helps, NULL);
	return helped;
}

void sleeper_sleep(struct sleeper *s, uint32_t ticket, uint64_t timeout_ns, struct eventloop *loop)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / 1000000000),
			       .tv_nsec = (long)(timeout_ns % 1000000000) };

	if (help(s, ticket, timeout_ns, loop))
		return;
	/* Either the waker sees asleep, or FUTEX_WAIT sees the new ticket. */
	atomic_store(&s->asleep, true);
	syscall(SYS_futex, &s->ticket, FUTEX_WAIT_PRIVATE, ticket, timeout_ns == SLEEP_FOREVER ? NULL : &ts,
		NULL, 0);
	atomic_store(&s->asleep, false);
}

void sleeper_wake(struct sleeper *s)
{
	struct eventloop *loop;
	int saved = errno;

	atomic_fetch_add(&s->ticket, 1);
	if (atomic_load(&s->asleep))
		syscall(SYS_futex, &s->ticket, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	loop = atomic_load(&s->helps);
	if (loop)
		eventloop_wake_helper(loop);
	errno = saved;
}
