/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frequency of the host's time stamp counter: see tsc.c.
 */
#ifndef LGUEST_TSC_H
#define LGUEST_TSC_H

#include <stdint.h>

/* One moment as the TSC and CLOCK_MONOTONIC_RAW saw it; the truth is within @width ticks. */
struct tsc_moment {
	uint64_t tsc, ns, width;
};

struct tsc_moment tsc_moment_now(void);

/*
 * In kHz. Where nobody tells it, it is measured between @since, or now (NULL or zero), and about a
 * millisecond later; returns at once when that has passed.
 */
uint32_t tsc_frequency_khz(const struct tsc_moment *since);

#endif
