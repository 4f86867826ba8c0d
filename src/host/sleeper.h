/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a vCPU thread sleeps while its guest has nothing to do: until a point
 * in time or until somebody wakes it, with no lost wake-up.
 *
 *   uint32_t ticket = sleeper_ticket(s);
 *   if (nothing_to_do())
 *           sleeper_sleep(s, ticket, timeout_ns);
 *
 * What happens after the ticket was taken makes sleeper_sleep() return.
 */
#ifndef LGUEST_HOST_SLEEPER_H
#define LGUEST_HOST_SLEEPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SLEEP_FOREVER UINT64_MAX

struct eventloop;

struct sleeper {
	_Atomic uint32_t ticket; /* counts wake-ups: the futex */
	_Atomic bool asleep;
	struct eventloop *_Atomic helps; /* asleep as the helper of this loop, perhaps */
};

static inline uint32_t sleeper_ticket(struct sleeper *s)
{
	return atomic_load(&s->ticket);
}

/*
 * Its own thread only. May return early. With @loop it serves the loop's
 * shared sources instead of sleeping, if there are any (eventloop_help()).
 */
void sleeper_sleep(struct sleeper *s, uint32_t ticket, uint64_t timeout_ns, struct eventloop *loop);

/* Any thread, any signal handler. Cheap when nobody sleeps. */
void sleeper_wake(struct sleeper *s);

#endif
