/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast does the host's TSC tick? Asked in order of price and precision:
 *
 *   - the hypervisor below us, leaf 0x40000010 (if there is one that says)
 *   - the CPU: leaf 0x15, crystal frequency times ratio (Intel)
 *   - the host kernel: the mmap page of any perf event carries the scale that
 *     it uses itself to turn TSC ticks into nanoseconds
 *   - a clock: 3 ms beside CLOCK_MONOTONIC_RAW
 *
 * The guest takes the answer for exact, so NTP inside it has to correct what
 * is wrong here; some ten parts per million, which the last resort reaches,
 * are what real crystals are off, too.
 */
#include "cpu/cpuid.h"
#include "scale.h"

#include <cpuid.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CALIBRATION_NS 3000000

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

/* One moment seen by both clocks; the tightest of a few tries. */
struct moment {
	uint64_t tsc, ns;
};

static struct moment moment_now(void)
{
	struct moment best = { 0, 0 };
	uint64_t width = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		struct timespec ts;
		uint64_t before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		uint64_t after = __rdtsc();
		if (after - before < width) {
			width = after - before;
			best.tsc = before + width / 2;
			best.ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
		}
	}
	return best;
}

static uint64_t khz_from_clock(void)
{
	struct moment a = moment_now(), b;

	/* Spins: on a busy host a sleep of 3 ms takes 10 and more, and start-up waits for it. */
	do
		b = moment_now();
	while (b.ns - a.ns < CALIBRATION_NS);
	return scale(b.tsc - a.tsc, 1000000, b.ns - a.ns);
}

uint32_t tsc_frequency_khz(void)
{
	uint64_t (*const sources[])(void) = {
		khz_from_hypervisor,
		khz_from_cpu,
		khz_from_perf,
		khz_from_clock,
	};

	for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		uint64_t khz = sources[i]();
		if (plausible(khz))
			return (uint32_t)khz;
	}
	return 1000000;
}
