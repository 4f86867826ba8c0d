/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operands of the instructions that are executed in C: effective addresses,
 * segmentation, register and memory operands, the stack. Fast C.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

static inline uint64_t size_mask(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

uint64_t sysop_ea(const struct soft_cpu *c, const struct sysop *op)
{
	uint64_t ea = (int64_t)op->disp;

	if (op->base == BASE_RIP)
		ea += c->next_rip;
	else if (op->base != OPERAND_NONE)
		ea += c->s.regs[op->base & 15];
	if (op->index != OPERAND_NONE)
		ea += c->s.regs[op->index & 15] * op->scale;
	return ea & size_mask(op->adsize);
}

int soft_linear(struct soft_cpu *c, unsigned seg, uint64_t ea, unsigned len, bool write, uint64_t *lin)
{
	const struct x86_seg *s = &c->s.seg[seg];

	if (c->mode & MODE_CS64) {
		uint64_t addr = seg >= SEG_FS ? s->base + ea : ea;

		if (!soft_canonical(addr) || !soft_canonical(addr + len - 1))
			goto fault;
		*lin = addr;
		return 0;
	}
	if (((c->mode & MODE_CHECK(seg)) || (seg == SEG_CS && write)) &&
	    !seg_allows(s, (uint32_t)ea, len, write))
		goto fault;
	if ((uint32_t)ea > 0u - len && len)
		goto fault; /* beyond 4 GiB, which no limit allows */
	*lin = (uint32_t)(s->base + ea);
	return 0;

fault:
	soft_raise(c, seg == SEG_SS ? VEC_SS : VEC_GP, true, 0);
	return -1;
}

int sysop_get_rm(struct soft_cpu *c, const struct sysop *op, unsigned size, uint64_t *val)
{
	uint64_t lin, v = 0;

	if (op->rm != OPERAND_NONE) {
		*val = c->s.regs[op->rm & 15] & size_mask(size);
		return 0;
	}
	if (soft_linear(c, op->seg, sysop_ea(c, op), size, false, &lin) ||
	    soft_read(c, lin, &v, size, MEM_READ))
		return -1;
	*val = v;
	return 0;
}

int sysop_set_rm(struct soft_cpu *c, const struct sysop *op, unsigned size, uint64_t val)
{
	uint64_t lin;

	if (op->rm != OPERAND_NONE) {
		cpu_set_reg(c, op->rm, size, val);
		return 0;
	}
	if (soft_linear(c, op->seg, sysop_ea(c, op), size, true, &lin))
		return -1;
	return soft_write(c, lin, &val, size, MEM_WRITE);
}

void cpu_set_reg(struct soft_cpu *c, unsigned reg, unsigned size, uint64_t val)
{
	uint64_t *r = &c->s.regs[reg & 15];

	if (size >= 4)
		*r = val & size_mask(size);
	else
		*r = (*r & ~size_mask(size)) | (val & size_mask(size));
}

/* The bits of RSP that address the stack. */
static inline uint64_t stack_mask(const struct soft_cpu *c)
{
	if (c->mode & MODE_CS64)
		return ~0ull;
	return c->mode & MODE_SS32 ? 0xffffffffull : 0xffffull;
}

int soft_push(struct soft_cpu *c, uint64_t *sp, unsigned size, uint64_t val)
{
	uint64_t to = (*sp - size) & stack_mask(c);
	uint64_t lin;

	if (soft_linear(c, SEG_SS, to, size, true, &lin) || soft_write(c, lin, &val, size, MEM_WRITE))
		return -1;
	*sp = to;
	return 0;
}

int soft_pop(struct soft_cpu *c, uint64_t *sp, unsigned size, uint64_t *val)
{
	uint64_t from = *sp & stack_mask(c);
	uint64_t lin, v = 0;

	if (soft_linear(c, SEG_SS, from, size, false, &lin) || soft_read(c, lin, &v, size, MEM_READ))
		return -1;
	*val = v;
	*sp = (from + size) & stack_mask(c);
	return 0;
}

void cpu_set_sp(struct soft_cpu *c, uint64_t sp)
{
	uint64_t mask = stack_mask(c);

	/* A 32-bit stack clears the upper half, a 16-bit one leaves ESP's alone. */
	if (mask == 0xffff)
		c->s.regs[REG_RSP] = (c->s.regs[REG_RSP] & 0xffff0000ull) | (sp & mask);
	else
		c->s.regs[REG_RSP] = sp & mask;
}
