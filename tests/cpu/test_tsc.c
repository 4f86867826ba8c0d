/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Measuring the TSC with clocks worse than ours: hosts whose clock is that of a hypervisor tick
 * seldom, and two moments then have the same time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
/* cmocka wants those first */
#include <cmocka.h>

static uint64_t tick_ns;

static int coarse_clock(clockid_t clock, struct timespec *ts)
{
	uint64_t ns;

	clock_gettime(clock, ts);
	ns = (uint64_t)ts->tv_sec * 1000000000 + (uint64_t)ts->tv_nsec;
	ns -= ns % tick_ns;
	*ts = (struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	return 0;
}

/* With this clock. Its khz_from_clock() is asked, whatever better source the host has. */
#define clock_gettime coarse_clock
#include "cpu/tsc.c"
#undef clock_gettime

static void coarse_clocks(void **state)
{
	struct tsc_moment a, b;
	uint64_t exact;

	tick_ns = 1;
	a = tsc_moment_now();
	do
		b = tsc_moment_now();
	while (b.ns - a.ns < 20000000);
	exact = scale(b.tsc - a.tsc, 1000000, b.ns - a.ns);
	assert_true(plausible(exact));
	for (tick_ns = 100; tick_ns <= 10000000; tick_ns *= 10) {
		/* Begins with a tick; then the first tick behind LEAST_NS is exact to one tick in five or better. */
		uint64_t start = tsc_moment_now().ns, khz;

		do
			a = tsc_moment_now();
		while (a.ns == start);
		khz = khz_from_clock(&a);
		assert_in_range(khz, exact / 2, exact * 3 / 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(coarse_clocks) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
