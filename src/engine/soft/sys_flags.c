/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CLI, STI, PUSHF, POPF, CLAC, STAC, CLD, STD: what touches flags other than
 * the arithmetic ones. Fast C.
 *
 * CR4.VME and PVI are not offered, so IOPL alone decides.
 */
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

static inline unsigned cpu_iopl(const struct soft_cpu *c)
{
	return (c->sysflags & FLAG_IOPL) >> 12;
}

enum soft_next sys_cli(struct soft_cpu *c, const struct sysop *op)
{
	if (c->cpl > cpu_iopl(c))
		return soft_gp(c, 0);
	c->iflag = 0;
	return NEXT_CONTINUE;
}

/* The one-instruction shadow: the translator does not end a block here, unless it is to be a short one. */
enum soft_next sys_sti(struct soft_cpu *c, const struct sysop *op)
{
	if (c->cpl > cpu_iopl(c))
		return soft_gp(c, 0);
	if (!c->iflag && (c->mode & MODE_SINGLE))
		c->s.int_shadow = true;
	c->iflag = 1;
	if (c->irq_waiting)
		c->exit_request = 1;
	return NEXT_CONTINUE;
}

enum soft_next sys_pushf(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP];

	if (soft_push(c, &sp, op->opsize, cpu_get_rflags(c) & ~(uint64_t)(FLAG_RF | FLAG_VM)))
		return NEXT_FAULT;
	cpu_set_sp(c, sp);
	return NEXT_CONTINUE;
}

/* SDM vol. 2, POPF, table 4-18. RF always ends up clear. */
enum soft_next sys_popf(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP];
	uint64_t old = cpu_get_rflags(c);
	uint64_t change = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
	uint64_t val;

	if (soft_pop(c, &sp, op->opsize, &val))
		return NEXT_FAULT;
	if (c->cpl <= cpu_iopl(c))
		change |= FLAG_IF;
	if (c->cpl == 0)
		change |= FLAG_IOPL;
	if (op->opsize > 2) {
		change |= FLAG_AC | FLAG_ID;
		if (c->cpl == 0)
			old &= ~(uint64_t)(FLAG_VIF | FLAG_VIP);
	}
	old &= ~(uint64_t)FLAG_RF;
	cpu_set_sp(c, sp);
	cpu_set_rflags(c, (old & ~change) | (val & change));
	return sysop_mode_changed(c);
}

static enum soft_next set_ac(struct soft_cpu *c, uint32_t ac)
{
	if (c->cpl)
		return soft_ud(c);
	c->sysflags = (c->sysflags & ~FLAG_AC) | ac;
	return sysop_mode_changed(c);
}

enum soft_next sys_clac(struct soft_cpu *c, const struct sysop *op)
{
	return set_ac(c, 0);
}

enum soft_next sys_stac(struct soft_cpu *c, const struct sysop *op)
{
	return set_ac(c, FLAG_AC);
}

enum soft_next sys_std(struct soft_cpu *c, const struct sysop *op)
{
	c->sysflags |= FLAG_DF;
	return sysop_mode_changed(c);
}

enum soft_next sys_cld(struct soft_cpu *c, const struct sysop *op)
{
	c->sysflags &= ~FLAG_DF;
	return sysop_mode_changed(c);
}
