/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer (SDM vol. 3, 10.5.4): one-shot, periodic and
 * TSC-deadline modes, all reckoned in the guest's TSC. Nothing counts down:
 * the current count is computed when the guest asks, and the expiry is a
 * point in time that the machine waits for.
 */
#include "platform/lapic_timer.h"
#include "platform/lapic.h"
#include "scale.h"

/*
 * A periodic timer fires at most this often, whatever the guest asks for:
 * otherwise a period of a few nanoseconds would keep the vCPU thread arming
 * timers and nothing else.
 */
#define MIN_PERIOD_NS 10000u

static uint32_t mode(const struct lapic *l)
{
	return l->s.lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* Figure 10-10: bits 3, 1, 0 are 000 for 2, 001 for 4 ... 110 for 128, 111 for 1. */
static unsigned divider(const struct lapic *l)
{
	unsigned code = (l->s.tdcr & 3) | (l->s.tdcr >> 1 & 4);

	return 1u << ((code + 1) & 7);
}

static uint64_t count_to_tsc(const struct lapic *l, uint64_t count)
{
	return scale(count * divider(l), l->tsc_khz, LAPIC_BUS_KHZ);
}

static uint64_t period(const struct lapic *l)
{
	uint64_t tsc = count_to_tsc(l, l->s.tmict);
	uint64_t least = (uint64_t)MIN_PERIOD_NS * l->tsc_khz / 1000000;

	return tsc > least ? tsc : least + 1;
}

static void start(struct lapic *l, uint64_t now)
{
	uint64_t span = mode(l) == LVT_PERIODIC ? period(l) : count_to_tsc(l, l->s.tmict);

	/* 0 means stopped, and no TSC ever comes near its end. */
	l->s.timer_expires = l->s.tmict ? now + span + (now + span == 0) : 0;
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t val, uint64_t now)
{
	uint32_t old = mode(l);

	/* What is over by now ends under the old rules: a masked expiry is lost. */
	lapic_run_timer(l, now);
	/* The fourth mode is reserved; take it for TSC-deadline's sibling, one-shot. */
	if ((val & LVT_TIMER_MODE) == LVT_TIMER_MODE)
		val &= ~LVT_TIMER_MODE;
	l->s.lvt[LVT_TIMER] = val;
	/* 10.5.4.1: changing to or from TSC-deadline mode disarms the timer. */
	if (old != mode(l) && (old == LVT_TSC_DEADLINE || mode(l) == LVT_TSC_DEADLINE)) {
		l->s.tsc_deadline = 0;
		l->s.timer_expires = 0;
		l->s.tmict = 0;
	}
}

void lapic_timer_set_count(struct lapic *l, uint32_t count, uint64_t now)
{
	if (mode(l) == LVT_TSC_DEADLINE)
		return;
	l->s.tmict = count;
	start(l, now);
}

uint32_t lapic_timer_count(const struct lapic *l, uint64_t now)
{
	uint64_t left, count;

	if (l->s.timer_expires == 0 || mode(l) == LVT_TSC_DEADLINE)
		return 0;
	if (now >= l->s.timer_expires) {
		/* Due, but lapic_run_timer() has not been here yet. */
		if (mode(l) != LVT_PERIODIC)
			return 0;
		left = period(l) - (now - l->s.timer_expires) % period(l);
	} else {
		left = l->s.timer_expires - now;
	}
	count = scale(left, LAPIC_BUS_KHZ, l->tsc_khz) / divider(l);
	return count < l->s.tmict ? (uint32_t)count : l->s.tmict;
}

void lapic_timer_set_divider(struct lapic *l, uint32_t tdcr, uint64_t now)
{
	uint32_t left = lapic_timer_count(l, now);

	l->s.tdcr = tdcr;
	/* The rest of the current count goes on at the new speed. */
	if (l->s.timer_expires)
		l->s.timer_expires = now + count_to_tsc(l, left);
}

void lapic_timer_set_tsc(struct lapic *l, uint64_t deadline)
{
	if (mode(l) == LVT_TSC_DEADLINE)
		l->s.tsc_deadline = deadline;
}

uint64_t lapic_timer_get_tsc(const struct lapic *l, uint64_t now)
{
	/* Reads zero once it has fired, even if the interrupt is still on its way. */
	return l->s.tsc_deadline > now ? l->s.tsc_deadline : 0;
}

uint64_t lapic_deadline(const struct lapic *l)
{
	/*
	 * A masked one-shot or periodic timer has nothing to say; what it would
	 * count can be computed. A masked deadline just runs out: see above.
	 */
	if (l->s.lvt[LVT_TIMER] & LVT_MASKED)
		return LAPIC_NO_DEADLINE;
	if (mode(l) == LVT_TSC_DEADLINE)
		return l->s.tsc_deadline ? l->s.tsc_deadline : LAPIC_NO_DEADLINE;
	return l->s.timer_expires ? l->s.timer_expires : LAPIC_NO_DEADLINE;
}

static void fire(struct lapic *l)
{
	uint32_t lvt = l->s.lvt[LVT_TIMER];

	if (!(lvt & LVT_MASKED))
		lapic_post(l, lvt & 0xff, false);
}

void lapic_run_timer(struct lapic *l, uint64_t now)
{
	if (mode(l) == LVT_TSC_DEADLINE) {
		if (l->s.tsc_deadline == 0 || now < l->s.tsc_deadline)
			return;
		l->s.tsc_deadline = 0;
		fire(l);
		return;
	}
	if (l->s.timer_expires == 0 || now < l->s.timer_expires)
		return;
	if (mode(l) == LVT_PERIODIC && l->s.tmict) {
		/* Ticks that were missed are lost, as on hardware whose IRR bit is still set. */
		uint64_t late = now - l->s.timer_expires;

		l->s.timer_expires += (late / period(l) + 1) * period(l);
	} else {
		l->s.timer_expires = 0;
	}
	fire(l);
}
