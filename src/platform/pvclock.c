/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "platform/pvclock.h"

#include <string.h>
#include <time.h>

#include "memory.h"
#include "scale.h"

#define NS_PER_SECOND 1000000000ull

#define SYSTEM_TIME_ENABLE 1ull

/* All vCPUs see one clock that never steps back: no cross-CPU compare in the guest. */
#define FLAG_TSC_STABLE 0x01

struct vcpu_time_info {
	uint32_t version; /* odd while an update is under way */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct vcpu_time_info) == 32, "ABI");

struct wall_clock {
	uint32_t version, sec, nsec;
};

/*
 * The multiplier is best when it uses all its 32 bits: halve or double the
 * frequency until it lies in (1 GHz, 2 GHz], and shift as much.
 */
struct pvclock_scale pvclock_make_scale(uint32_t tsc_khz)
{
	uint64_t hz = (tsc_khz ? tsc_khz : 1) * 1000ull;
	struct pvclock_scale s = { 0 };

	while (hz > 2 * NS_PER_SECOND) {
		hz >>= 1;
		s.shift--;
	}
	while (hz <= NS_PER_SECOND) {
		hz <<= 1;
		s.shift++;
	}
	s.mul = (uint32_t)((NS_PER_SECOND << 32) / hz);
	return s;
}

uint64_t pvclock_to_ns(struct pvclock_scale s, uint64_t tsc)
{
	tsc = s.shift < 0 ? tsc >> -s.shift : tsc << s.shift;
	return scale(tsc, s.mul, 1ull << 32);
}

/* Copies @len bytes of @info behind its version, with the version odd meanwhile. */
static void publish(uint32_t *to, const uint32_t *info, size_t len, uint32_t *version)
{
	/* An exchange, so that what follows cannot come before it. */
	__atomic_exchange_n(to, *version | 1, __ATOMIC_ACQ_REL);
	memcpy(to + 1, info + 1, len - sizeof(*to));
	*version += 2;
	__atomic_store_n(to, *version, __ATOMIC_RELEASE);
}

void pvclock_write_system_time(struct pvclock_cpu_state *cpu, const struct pvclock_state *clock,
			       struct pvclock_scale scale, const struct guest_memory *mem, uint64_t val,
			       uint64_t now)
{
	struct vcpu_time_info info = {
		.tsc_timestamp = now,
		.system_time = pvclock_to_ns(scale, now - clock->start_tsc),
		.tsc_to_system_mul = scale.mul,
		.tsc_shift = scale.shift,
		.flags = FLAG_TSC_STABLE,
	};
	void *to = guest_range(mem, val & ~SYSTEM_TIME_ENABLE, sizeof(info));

	cpu->system_time = val;
	if ((val & SYSTEM_TIME_ENABLE) && to && !(val & 2))
		publish(to, &info.version, sizeof(info), &cpu->version);
}

void pvclock_write_wall(struct pvclock_state *clock, struct pvclock_scale scale,
			const struct guest_memory *mem, uint64_t val, uint64_t now)
{
	struct wall_clock info;
	struct timespec ts;
	uint64_t real, uptime = pvclock_to_ns(scale, now - clock->start_tsc);
	void *to = guest_range(mem, val, sizeof(info));

	clock->wall = val;
	if (!to || (val & 3))
		return;
	/* The wall time at which the guest's system time was zero. */
	clock_gettime(CLOCK_REALTIME, &ts);
	real = (uint64_t)ts.tv_sec * NS_PER_SECOND + (uint64_t)ts.tv_nsec - uptime;
	info = (struct wall_clock){ .sec = (uint32_t)(real / NS_PER_SECOND),
				    .nsec = (uint32_t)(real % NS_PER_SECOND) };
	publish(to, &info.version, sizeof(info), &clock->wall_version);
}
