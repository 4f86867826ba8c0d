/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Construction and the end of a guest: see lguest.h.
 */
#include "platform/lguest/lguest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cpu/state.h"

void lguest_init(struct lguest *lg, const struct guest_memory *memory, uint32_t ram, uint32_t tsc_khz,
		 const struct lguest_host *host, void *opaque)
{
	memset(lg, 0, sizeof(*lg));
	lg->memory = memory;
	lg->ram = ram;
	lg->limit = ram + LG_DEVICE_PAGES * 4096u;
	lg->tsc_khz = tsc_khz;
	lg->host = host;
	lg->opaque = opaque;
}

void lguest_reset(struct lguest *lg)
{
	memset(&lg->s, 0, sizeof(lg->s));
	lg->data = NULL;
}

void lguest_kill(struct lguest *lg, const char *fmt, ...)
{
	char reason[LGUEST_REASON_MAX];
	va_list ap;

	/* The first reason is the true one. */
	if (lg->s.dead)
		return;
	lg->s.dead = true;
	lguest_park(lg);
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	lg->host->end(lg->opaque, LGUEST_DIED, reason);
	lguest_unpark(lg);
}

void lguest_bad_address(struct lguest *lg, uint64_t addr)
{
	lguest_kill(lg, "bad page table entry: it leads to %#llx, outside of memory",
		    (unsigned long long)addr);
}
