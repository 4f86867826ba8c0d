/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual interrupts. The guest's interrupt flag is a word in lguest_data,
 * which it sets and clears without telling anybody; the CPU's own flag is
 * always on. So interrupts wait for one of two things: a guest that finds irq_pending
 * set when it enables them, and calls; or, for those ways of enabling that do not
 * look (IRET, a plain enable), the next time that we look ourselves.
 */
#include <time.h>

#include "cpu/state.h"
#include "platform/lguest/lguest.h"

/* How soon to look again at interrupts that the guest does not take: a compromise between latency and cost. */
#define LOOK_AGAIN_US 50
/* The same for blocked ones: a guest does not say when it unblocks them, but some stay blocked for long. */
#define BLOCKED_US 1000

void lguest_write_time(struct lguest *lg)
{
	struct timespec now;

	lguest_park(lg);
	clock_gettime(CLOCK_REALTIME, &now);
	lguest_unpark(lg);
	lguest_data_set(lg, LG_DATA_TIME_SEC, (uint32_t)now.tv_sec);
	lguest_data_set(lg, LG_DATA_TIME_NSEC, (uint32_t)now.tv_nsec);
}

void lguest_raise_irq(struct lguest *lg, unsigned irq)
{
	atomic_fetch_or(&lg->s.pending, 1u << irq);
	lg->host->kick(lg->opaque);
}

static uint32_t deliverable(struct lguest *lg)
{
	return atomic_load(&lg->s.pending) & ~lguest_data_get(lg, LG_DATA_BLOCKED);
}

bool lguest_wakes(struct lguest *lg)
{
	return lg->s.dead || (lg->s.initialised && deliverable(lg));
}

uint64_t lguest_deadline(const struct lguest *lg)
{
	uint64_t deadline = UINT64_MAX;

	if (lg->s.clockevent)
		deadline = lg->s.clockevent;
	if (lg->s.look_again && lg->s.look_again < deadline)
		deadline = lg->s.look_again;
	return deadline;
}

static void look_again_soon(struct lguest *lg)
{
	lg->s.look_again = __builtin_ia32_rdtsc() + (uint64_t)lg->tsc_khz * LOOK_AGAIN_US / 1000;
}

/* @before: when it was to be, until now; it stays unless that is later, so that a guest with many traps sets few timers. */
static void look_at_blocked(struct lguest *lg, uint64_t before)
{
	uint64_t now = __builtin_ia32_rdtsc(), then = now + (uint64_t)lg->tsc_khz * BLOCKED_US / 1000;

	lg->s.look_again = before > now && before < then ? before : then;
}

static bool in_noirq_range(const struct lguest *lg, uint64_t eip)
{
	return eip >= lg->s.noirq_start && eip < lg->s.noirq_end;
}

void lguest_enter(struct lguest *lg, struct x86_state *s)
{
	uint64_t look_again = lg->s.look_again;
	uint32_t ready;
	unsigned irq;

	if (lg->s.clockevent && __builtin_ia32_rdtsc() >= lg->s.clockevent) {
		lg->s.clockevent = 0;
		atomic_fetch_or(&lg->s.pending, 1u);
	}
	lg->s.look_again = 0;
	if (lg->s.dead || !lg->s.initialised)
		return;
	ready = deliverable(lg);
	if (!ready) {
		/* What it was to call for is blocked by now. */
		if (lguest_data_get(lg, LG_DATA_IRQ_PENDING))
			lguest_data_set(lg, LG_DATA_IRQ_PENDING, 0);
		if (atomic_load(&lg->s.pending) && !s->halted)
			look_at_blocked(lg, look_again);
		return;
	}
	irq = (unsigned)__builtin_ctz(ready);
	if (s->halted) {
		lguest_data_set(lg, LG_DATA_IRQ_ENABLED, LG_IRQ_ON);
		s->halted = false;
	} else if (in_noirq_range(lg, s->rip)) {
		look_again_soon(lg);
		return;
	} else if (!(lguest_data_get(lg, LG_DATA_IRQ_ENABLED) & LG_IRQ_ON)) {
		lguest_data_set(lg, LG_DATA_IRQ_PENDING, LG_IRQ_ON);
		look_again_soon(lg);
		return;
	}
	if (lg->s.idt[LG_IRQ_VECTOR + irq].present) {
		atomic_fetch_and(&lg->s.pending, ~(1u << irq));
		lg->stats.interrupts++;
		if (!lguest_reflect(lg, s, LG_IRQ_VECTOR + irq, false, 0))
			return;
	}
	lguest_write_time(lg);
	/* Interrupts are off now, so whatever else waits is found when the guest enables them. */
	if (!deliverable(lg)) {
		lguest_data_set(lg, LG_DATA_IRQ_PENDING, 0);
	} else {
		lguest_data_set(lg, LG_DATA_IRQ_PENDING, LG_IRQ_ON);
		look_again_soon(lg);
	}
}
