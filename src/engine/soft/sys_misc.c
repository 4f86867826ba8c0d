/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions of 32- and 16-bit code that 64-bit mode does not have and so
 * cannot be copied (decimal adjust, PUSHA, POPA, SALC), ENTER, and those whose
 * outcome is an exception. Fast C.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

/* ---- decimal adjust (SDM vol. 2, AAA to DAS) ---- */

/* What the flags of a byte result are, apart from CF, AF and OF. */
static uint32_t byte_flags(uint8_t v)
{
	return (__builtin_popcount(v) & 1 ? 0 : FLAG_PF) | (v ? 0 : FLAG_ZF) | (v & 0x80 ? FLAG_SF : 0);
}

static void set_flags(struct soft_cpu *c, uint32_t flags)
{
	c->aflags = (uint16_t)((flags | FLAG_ONE) << 8);
}

static void set_ax(struct soft_cpu *c, uint8_t ah, uint8_t al)
{
	cpu_set_reg(c, REG_RAX, 2, (uint64_t)ah << 8 | al);
}

/* DAA (@sign 1) and DAS (@sign -1). OF is undefined: cleared. */
static void decimal_adjust(struct soft_cpu *c, uint8_t ah, uint8_t al, int sign)
{
	uint32_t old = c->aflags >> 8, f = 0;
	uint8_t val = al;

	if ((al & 15) > 9 || (old & FLAG_AF)) {
		/* The borrow of this step counts for DAS, the carry for DAA is in the second one. */
		if (sign < 0 && al < 6)
			f |= FLAG_CF;
		val = (uint8_t)(val + sign * 6);
		f |= FLAG_AF;
	}
	if (al > 0x99 || (old & FLAG_CF)) {
		val = (uint8_t)(val + sign * 0x60);
		f |= FLAG_CF;
	}
	set_ax(c, ah, val);
	set_flags(c, f | byte_flags(val));
}

/* AAA (@sign 1) and AAS (@sign -1): AX changes as a whole. */
static void ascii_adjust(struct soft_cpu *c, uint8_t ah, uint8_t al, int sign)
{
	uint32_t f = 0;

	if ((al & 15) > 9 || (c->aflags >> 8 & FLAG_AF)) {
		uint16_t ax = (uint16_t)((ah << 8 | al) + sign * 0x106);
		ah = (uint8_t)(ax >> 8);
		al = (uint8_t)ax;
		f = FLAG_AF | FLAG_CF;
	}
	al &= 15;
	set_ax(c, ah, al);
	set_flags(c, f | byte_flags(al));
}

enum soft_next sys_bcd(struct soft_cpu *c, const struct sysop *op)
{
	uint8_t al = (uint8_t)c->s.regs[REG_RAX], ah = (uint8_t)(c->s.regs[REG_RAX] >> 8);
	uint8_t base = (uint8_t)op->imm;

	if (c->mode & MODE_CS64)
		return soft_ud(c);
	switch ((enum bcd_op)op->imm2) {
	case BCD_AAA: ascii_adjust(c, ah, al, 1); break;
	case BCD_AAS: ascii_adjust(c, ah, al, -1); break;
	case BCD_DAA: decimal_adjust(c, ah, al, 1); break;
	case BCD_DAS: decimal_adjust(c, ah, al, -1); break;
	case BCD_AAM:
		if (!base)
			return soft_raise(c, VEC_DE, false, 0);
		set_ax(c, al / base, al % base);
		set_flags(c, byte_flags(al % base));
		break;
	case BCD_AAD:
		al = (uint8_t)(al + ah * base);
		set_ax(c, 0, al);
		set_flags(c, byte_flags(al));
		break;
	default: return soft_ud(c);
	}
	return NEXT_CONTINUE;
}

/* AL = CF ? 0xff : 0, undocumented but everywhere. */
enum soft_next sys_salc(struct soft_cpu *c, const struct sysop *op)
{
	if (c->mode & MODE_CS64)
		return soft_ud(c);
	cpu_set_reg(c, REG_RAX, 1, c->aflags >> 8 & FLAG_CF ? 0xff : 0);
	return NEXT_CONTINUE;
}

/* ---- the stack ---- */

enum soft_next sys_pusha(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP];

	if (c->mode & MODE_CS64)
		return soft_ud(c);
	/* RSP goes in the list with the value it had before. */
	for (unsigned reg = REG_RAX; reg <= REG_RDI; reg++)
		if (soft_push(c, &sp, op->opsize, c->s.regs[reg]))
			return NEXT_FAULT;
	cpu_set_sp(c, sp);
	return NEXT_CONTINUE;
}

enum soft_next sys_popa(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP], val[8];

	if (c->mode & MODE_CS64)
		return soft_ud(c);
	for (unsigned i = 8; i-- > 0;)
		if (soft_pop(c, &sp, op->opsize, &val[i]))
			return NEXT_FAULT;
	cpu_set_sp(c, sp);
	for (unsigned reg = REG_RAX; reg <= REG_RDI; reg++)
		if (reg != REG_RSP)
			cpu_set_reg(c, reg, op->opsize, val[reg]);
	return NEXT_CONTINUE;
}

/* ENTER imm, imm2: frame size and nesting level. */
enum soft_next sys_enter(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP], bp = c->s.regs[REG_RBP];
	uint64_t frame, link, lin;
	unsigned level = op->imm2 & 31;

	if (soft_push(c, &sp, op->opsize, bp))
		return NEXT_FAULT;
	frame = sp;
	if (level) {
		for (unsigned i = 1; i < level; i++) {
			/* Reading through the frame pointer wraps as the stack does. */
			uint64_t at = bp - (uint64_t)i * op->opsize;
			if (soft_pop(c, &at, op->opsize, &link) || soft_push(c, &sp, op->opsize, link))
				return NEXT_FAULT;
		}
		if (soft_push(c, &sp, op->opsize, frame))
			return NEXT_FAULT;
	}

	/* Faults now if the first push behind it would. */
	sp -= (uint16_t)op->imm;
	if (!(c->mode & MODE_CS64))
		sp = c->mode & MODE_SS32 ? (uint32_t)sp : (uint16_t)sp;
	if (soft_linear(c, SEG_SS, sp, op->opsize, true, &lin) || soft_probe(c, lin, op->opsize, MEM_WRITE))
		return NEXT_FAULT;
	cpu_set_reg(c, REG_RBP, op->opsize, frame);
	cpu_set_sp(c, sp);
	return NEXT_CONTINUE;
}

/* ---- exceptions ---- */

enum soft_next sys_ud(struct soft_cpu *c, const struct sysop *op)
{
	return soft_ud(c);
}

enum soft_next sys_nm(struct soft_cpu *c, const struct sysop *op)
{
	return soft_raise(c, VEC_NM, false, 0);
}

enum soft_next sys_gp0(struct soft_cpu *c, const struct sysop *op)
{
	return soft_gp(c, 0);
}
