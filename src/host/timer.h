/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The alarm clock of a vCPU thread: interrupts guest code when a timer of the
 * guest is due. A POSIX timer sends a real-time signal to that very thread,
 * whose handler calls ring() and does nothing else.
 *
 * Guest code runs with the guest's stack pointer: the handler runs on the
 * alternate stack, which the engine provides, and all other signals must be
 * blocked on vCPU threads (host_timer_unblock() lets only ours through).
 */
#ifndef LGUEST_HOST_TIMER_H
#define LGUEST_HOST_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct host_timer {
	timer_t id;
	bool created;
	uint32_t tsc_khz;
	volatile uint64_t armed_for; /* TSC of the next signal; UINT64_MAX: none */
	void (*ring)(void *opaque);  /* async-signal-safe */
	void *opaque;
};

/* Installs the signal's handler for the whole process. 0 or -errno. */
int host_timer_install(void);

/*
 * Creates the timer of the calling thread and unblocks its signal there. @t
 * must stay where it is. 0 or -errno.
 */
int host_timer_create(struct host_timer *t, uint32_t tsc_khz, void (*ring)(void *opaque), void *opaque);
void host_timer_destroy(struct host_timer *t);

/*
 * Makes sure that ring() gets called at TSC @deadline or somewhat before; it
 * may ring early, and more often. UINT64_MAX asks for nothing. Own thread only.
 */
void host_timer_set(struct host_timer *t, uint64_t deadline);

/* Nanoseconds from TSC @now to @deadline, rounded up; 0 when it is over. */
uint64_t host_tsc_to_ns(uint32_t tsc_khz, uint64_t now, uint64_t deadline);

#endif
