/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOVS, STOS, LODS, SCAS and CMPS one element at a time: what the native
 * instruction in translated code does not do, which is going down (DF),
 * checked segments, 16-bit addresses, and elements that cross a page or are
 * not in RAM. Fast C.
 *
 * Each element commits its registers, so a fault in the middle of a REP
 * leaves the state from which the instruction restarts (SDM vol. 1, 7.3.9.3).
 */
#include "engine/soft/cpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sys_string.h"
#include "engine/soft/sysop.h"

/* Flags of @a - @b, as CMP sets them. */
static void compare(struct soft_cpu *c, uint64_t a, uint64_t b, unsigned size)
{
	unsigned bits = size * 8;
	uint64_t mask = size == 8 ? ~0ull : (1ull << bits) - 1;
	uint64_t sign = 1ull << (bits - 1);
	uint64_t d = (a - b) & mask;
	uint32_t f = FLAG_ONE;

	if (a < b)
		f |= FLAG_CF;
	if (!(__builtin_popcount((uint8_t)d) & 1))
		f |= FLAG_PF;
	if ((a ^ b ^ d) & 0x10)
		f |= FLAG_AF;
	if (!d)
		f |= FLAG_ZF;
	if (d & sign)
		f |= FLAG_SF;
	c->aflags = (uint16_t)(f << 8 | ((a ^ b) & (a ^ d) & sign ? 1 : 0));
}

static int load(struct soft_cpu *c, const struct sysop *op, unsigned seg, unsigned reg, uint64_t *val)
{
	uint64_t lin;

	*val = 0;
	if (soft_linear(c, seg, string_reg(c, op, reg), op->opsize, false, &lin))
		return -1;
	return soft_read(c, lin, val, op->opsize, MEM_READ);
}

static int store(struct soft_cpu *c, const struct sysop *op, uint64_t val)
{
	uint64_t lin;

	if (soft_linear(c, SEG_ES, string_reg(c, op, REG_RDI), op->opsize, true, &lin))
		return -1;
	return soft_write(c, lin, &val, op->opsize, MEM_WRITE);
}

static uint64_t accumulator(const struct soft_cpu *c, const struct sysop *op)
{
	uint64_t v = c->s.regs[REG_RAX];

	return op->opsize == 8 ? v : v & ((1ull << (op->opsize * 8)) - 1);
}

int sys_string_one(struct soft_cpu *c, const struct sysop *op)
{
	int64_t step = string_step(c, op);
	uint64_t a, b;

	switch ((enum string_op)op->imm) {
	case STRING_MOVS:
		if (load(c, op, op->seg, REG_RSI, &a) || store(c, op, a))
			return -1;
		string_advance(c, op, REG_RSI, step);
		string_advance(c, op, REG_RDI, step);
		return 0;
	case STRING_STOS:
		if (store(c, op, c->s.regs[REG_RAX]))
			return -1;
		string_advance(c, op, REG_RDI, step);
		return 0;
	case STRING_LODS:
		if (load(c, op, op->seg, REG_RSI, &a))
			return -1;
		cpu_set_reg(c, REG_RAX, op->opsize, a);
		string_advance(c, op, REG_RSI, step);
		return 0;
	case STRING_SCAS:
		if (load(c, op, SEG_ES, REG_RDI, &b))
			return -1;
		compare(c, accumulator(c, op), b, op->opsize);
		string_advance(c, op, REG_RDI, step);
		return 0;
	case STRING_CMPS:
		if (load(c, op, op->seg, REG_RSI, &a) || load(c, op, SEG_ES, REG_RDI, &b))
			return -1;
		compare(c, a, b, op->opsize);
		string_advance(c, op, REG_RSI, step);
		string_advance(c, op, REG_RDI, step);
		return 0;
	}
	soft_ud(c);
	return -1;
}

enum soft_next sys_string(struct soft_cpu *c, const struct sysop *op)
{
	bool compares = op->imm == STRING_SCAS || op->imm == STRING_CMPS;

	if (!op->rep)
		return sys_string_one(c, op) ? NEXT_FAULT : NEXT_CONTINUE;

	for (unsigned i = 0;; i++) {
		if (!string_reg(c, op, REG_RCX))
			return NEXT_CONTINUE;
		if (i == string_burst(c))
			return NEXT_DISPATCH;
		if (sys_string_one(c, op))
			return NEXT_FAULT;
		string_advance(c, op, REG_RCX, -1);
		/* REPE ends at the first difference, REPNE at the first match. */
		if (compares && !(c->aflags >> 8 & FLAG_ZF) == (op->rep == 0xf3))
			return NEXT_CONTINUE;
	}
}
