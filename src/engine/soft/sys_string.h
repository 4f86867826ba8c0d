/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the string instructions share: counters and pointers as wide as the
 * address size, the direction, and the limit on how long one may run before
 * interrupts get their turn. Used by sys_string.c and sys_io.c. Fast C.
 */
#ifndef LGUEST_SOFT_SYS_STRING_H
#define LGUEST_SOFT_SYS_STRING_H

#include "engine/soft/sysop.h"

/* One element of MOVS to CMPS, without the counter. 0, or -1 with the fault set and nothing changed. */
int sys_string_one(struct soft_cpu *c, const struct sysop *op);

/*
 * Elements that one call may process. A longer REP leaves with NEXT_DISPATCH
 * and RIP unchanged: it is restarted with what is left. Single step and
 * watchpoints trap after each element (SDM vol. 3, 17.3.1.4).
 */
static inline unsigned string_burst(const struct soft_cpu *c)
{
	return c->mode & (MODE_TF | MODE_HWBP) ? 1 : 1024;
}

static inline uint64_t string_reg(const struct soft_cpu *c, const struct sysop *op, unsigned reg)
{
	uint64_t v = c->s.regs[reg];

	return op->adsize == 8 ? v : op->adsize == 4 ? (uint32_t)v : (uint16_t)v;
}

static inline void string_advance(struct soft_cpu *c, const struct sysop *op, unsigned reg, int64_t by)
{
	cpu_set_reg(c, reg, op->adsize, c->s.regs[reg] + (uint64_t)by);
}

/* Bytes from one element to the next. */
static inline int64_t string_step(const struct soft_cpu *c, const struct sysop *op)
{
	return c->sysflags & FLAG_DF ? -(int64_t)op->opsize : (int64_t)op->opsize;
}

#endif
