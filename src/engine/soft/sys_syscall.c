/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast system calls, the INT family and BOUND (APM vol. 3, chapters 3 and
 * 4). Fast C.
 *
 * The CPU model is AMD's: SYSENTER and SYSEXIT are #UD in long mode; SYSCALL
 * works in every mode; SYSRET does not look at the return address, so a
 * non-canonical one faults at the first fetch, with user privileges. Unlike
 * AMD, SYSRET loads the hidden part of SS: software that copes with AMD
 * (Linux's X86_BUG_SYSRET_SS_ATTRS) cannot tell.
 */
#include "engine/soft/event.h"
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

#define ATTR_DATA 0x0093u /* P S writable, accessed */
#define ATTR_CODE 0x009bu /* P S readable, accessed */
#define ATTR_USER SEG_ATTR_DPL
#define ATTR_32   (SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_64   (SEG_ATTR_L | SEG_ATTR_G)

static struct x86_seg flat_seg(uint16_t sel, uint16_t attr)
{
	return (struct x86_seg){ .sel = sel, .attr = attr, .limit = 0xffffffff };
}

/* Flat code and stack with consecutive selectors, as all of these load them. */
static enum soft_next enter_flat(struct soft_cpu *c, uint16_t cs_sel, uint16_t cs_attr, uint16_t ss_sel,
				 unsigned cpl, uint64_t rip)
{
	uint16_t user = cpl == 3 ? ATTR_USER : 0;
	struct x86_seg cs = flat_seg(cs_sel, cs_attr | user);

	c->s.seg[SEG_SS] = flat_seg(ss_sel, ATTR_DATA | ATTR_32 | user);
	cpu_enter_code(c, &cs, cpl, rip);
	cpu_update_mode(c);
	return NEXT_DISPATCH;
}

enum soft_next sys_syscall(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t sel = (uint16_t)(c->s.star >> 32) & ~3u;
	uint64_t flags;

	if (!(c->s.efer & EFER_SCE))
		return soft_ud(c);
	flags = cpu_get_rflags(c) & ~(uint64_t)FLAG_RF;
	if (cpu_long_mode(c)) {
		uint64_t target = c->mode & MODE_CS64 ? c->s.lstar : c->s.cstar;

		c->s.regs[REG_RCX] = c->next_rip;
		c->s.regs[REG_R11] = flags;
		cpu_set_rflags(c, flags & ~c->s.fmask);
		return enter_flat(c, sel, ATTR_CODE | ATTR_64, sel + 8, 0, target);
	}
	c->s.regs[REG_RCX] = (uint32_t)c->next_rip;
	cpu_set_rflags(c, flags & ~(uint64_t)(FLAG_IF | FLAG_VM));
	return enter_flat(c, sel, ATTR_CODE | ATTR_32, sel + 8, 0, (uint32_t)c->s.star);
}

enum soft_next sys_sysret(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t sel = (uint16_t)(c->s.star >> 48) | 3;
	uint64_t rcx = c->s.regs[REG_RCX];

	if (!(c->s.efer & EFER_SCE))
		return soft_ud(c);
	if (c->cpl)
		return soft_gp(c, 0);
	if (!(c->mode & MODE_CS64)) {
		cpu_set_rflags(c, cpu_get_rflags(c) | FLAG_IF);
		return enter_flat(c, sel, ATTR_CODE | ATTR_32, sel + 8, 3, (uint32_t)rcx);
	}
	cpu_set_rflags(c, c->s.regs[REG_R11] & ~(uint64_t)(FLAG_RF | FLAG_VM));
	if (op->opsize == 8)
		return enter_flat(c, sel + 16, ATTR_CODE | ATTR_64, sel + 8, 3, rcx);
	return enter_flat(c, sel, ATTR_CODE | ATTR_32, sel + 8, 3, (uint32_t)rcx);
}

enum soft_next sys_sysenter(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t sel = (uint16_t)c->s.sysenter_cs & ~3u;

	if (cpu_long_mode(c))
		return soft_ud(c);
	if (!sel)
		return soft_gp(c, 0);
	cpu_set_rflags(c, cpu_get_rflags(c) & ~(uint64_t)(FLAG_IF | FLAG_VM | FLAG_RF));
	c->s.regs[REG_RSP] = (uint32_t)c->s.sysenter_esp;
	return enter_flat(c, sel, ATTR_CODE | ATTR_32, sel + 8, 0, (uint32_t)c->s.sysenter_eip);
}

enum soft_next sys_sysexit(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t sel = (uint16_t)c->s.sysenter_cs & ~3u;

	if (cpu_long_mode(c))
		return soft_ud(c);
	if (!sel || c->cpl)
		return soft_gp(c, 0);
	sel |= 3;
	c->s.regs[REG_RSP] = (uint32_t)c->s.regs[REG_RCX];
	return enter_flat(c, sel + 16, ATTR_CODE | ATTR_32, sel + 24, 3, (uint32_t)c->s.regs[REG_RDX]);
}

enum soft_next sys_int(struct soft_cpu *c, const struct sysop *op)
{
	return event_software(c, (uint8_t)op->imm, true);
}

enum soft_next sys_int3(struct soft_cpu *c, const struct sysop *op)
{
	return event_software(c, VEC_BP, true);
}

/* ICEBP raises #DB as a trap, without the gate's DPL being asked and with nothing in DR6. */
enum soft_next sys_int1(struct soft_cpu *c, const struct sysop *op)
{
	return event_software(c, VEC_DB, false);
}

enum soft_next sys_into(struct soft_cpu *c, const struct sysop *op)
{
	if (!(c->aflags & 1))
		return NEXT_CONTINUE;
	return event_software(c, VEC_OF, true);
}

enum soft_next sys_bound(struct soft_cpu *c, const struct sysop *op)
{
	unsigned size = op->opsize == 2 ? 2 : 4;
	uint64_t lin, raw = 0;
	int64_t index, low, high;

	if (op->rm != OPERAND_NONE)
		return soft_ud(c);
	if (soft_linear(c, op->seg, sysop_ea(c, op), 2 * size, false, &lin) ||
	    soft_read(c, lin, &raw, 2 * size, MEM_READ))
		return NEXT_FAULT;
	if (size == 2) {
		index = (int16_t)c->s.regs[op->reg & 7];
		low = (int16_t)raw;
		high = (int16_t)(raw >> 16);
	} else {
		index = (int32_t)c->s.regs[op->reg & 7];
		low = (int32_t)raw;
		high = (int32_t)(raw >> 32);
	}
	if (index < low || index > high)
		return soft_raise(c, VEC_BR, false, 0);
	return NEXT_CONTINUE;
}
