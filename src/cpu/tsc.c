/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast does the host's TSC tick? Asked in order of price and precision:
 *
 *   - the hypervisor below us, leaf 0x40000010 (if there is one that says)
 *   - the CPU: leaf 0x15, crystal frequency times ratio (Intel)
 *   - the host kernel: the mmap page of any perf event carries the scale that
 *     it uses itself to turn TSC ticks into nanoseconds
 *   - a clock: a millisecond beside CLOCK_MONOTONIC_RAW, most of which has passed already when somebody
 *     asks: main() notes where it begins
 *
 * The guest takes the answer for exact, so NTP inside it has to correct what
 * is wrong here; some ten parts per million are what real crystals are off, too. Two moments a millisecond
 * apart, the tightest of 20 tries each, were within 1 ppm of a measurement of one second (100 of 100).
 */
#include "cpu/tsc.h"
#include "scale.h"

#include <cpuid.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define TRIES      20
#define BOUND_PPM  40u      /* what the widths of both moments may be of the time between them */
#define LEAST_NS   500000u  /* a clock that ticks seldom may stand still between two moments */
#define LONGEST_NS 3000000u /* ... unless the clock is so slow to read */

/* A TSC outside of this range is an answer that nobody meant. */
static bool plausible(uint64_t khz)
{
	return khz >= 100000 && khz <= 20000000;
}

static uint64_t khz_from_hypervisor(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c >> 31 & 1))
		return 0;
	__cpuid(0x40000000, a, b, c, d);
	if (a < 0x40000010 || a > 0x400000ff)
		return 0;
	__cpuid(0x40000010, a, b, c, d);
	return a;
}

static uint64_t khz_from_cpu(void)
{
	uint32_t a, b, c, d;

	if (__get_cpuid_max(0, NULL) < 0x15)
		return 0;
	__cpuid(0x15, a, b, c, d);
	if (!a || !b || !c)
		return 0;
	return (uint64_t)c * b / a / 1000;
}

static uint64_t khz_from_perf(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	uint64_t khz = 0;
	long page = sysconf(_SC_PAGESIZE);
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return 0;
	struct perf_event_mmap_page *p = mmap(NULL, (size_t)page, PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) {
		/* ns = ticks * mult >> shift */
		if (p->cap_user_time && p->time_mult)
			khz = scale(1000000, 1ull << p->time_shift, p->time_mult);
		munmap(p, (size_t)page);
	}
	close(fd);
	return khz;
}

struct tsc_moment tsc_moment_now(void)
{
	struct tsc_moment best = { .width = UINT64_MAX };

	for (int i = 0; i < TRIES; i++) {
		struct timespec ts;
		uint64_t before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		uint64_t width = __rdtsc() - before;
		if (width < best.width)
			best = (struct tsc_moment){
				.tsc = before + width / 2,
				.ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec,
				.width = width,
			};
	}
	return best;
}

static uint64_t khz_from_clock(const struct tsc_moment *a)
{
	struct tsc_moment b;
	uint64_t bound;

	/* Spins: on a busy host a sleep of a millisecond takes ten and more, and start-up waits for it. */
	do {
		b = tsc_moment_now();
		bound = (a->width + b.width) / 2;
	} while (b.ns - a->ns < LEAST_NS ||
		 (b.ns - a->ns < LONGEST_NS && (b.tsc - a->tsc) / (1000000 / BOUND_PPM) < bound));
	return scale(b.tsc - a->tsc, 1000000, b.ns - a->ns);
}

uint32_t tsc_frequency_khz(const struct tsc_moment *since)
{
	uint64_t (*const sources[])(void) = { khz_from_hypervisor, khz_from_cpu, khz_from_perf };
	struct tsc_moment a;
	uint64_t khz;

	for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		khz = sources[i]();
		if (plausible(khz))
			return (uint32_t)khz;
	}
	a = since && since->tsc ? *since : tsc_moment_now();
	khz = khz_from_clock(&a);
	return plausible(khz) ? (uint32_t)khz : 1000000;
}
