/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port I/O: IN, OUT, INS, OUTS (SDM vol. 1, chapter 19). Fast C.
 *
 * Privilege is IOPL, and below that the permission bitmap of the TSS. The
 * ports themselves are the machine's.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sys_string.h"
#include "engine/soft/sysop.h"

#define TSS32_TYPE      9    /* also that of a 64-bit TSS; bit 1 says busy */
#define TSS_BITMAP_BASE 0x66 /* where the TSS says where its bitmap begins */
#define TSS_MIN_LIMIT   0x67

/* 0, or -1 with the fault set. */
static int check_port(struct soft_cpu *c, uint16_t port, unsigned size)
{
	const struct x86_seg *tr = &c->s.tr;
	uint16_t base, bits;
	uint32_t at;

	if (!(c->s.cr0 & CR0_PE))
		return 0;
	if (c->cpl <= (c->sysflags & FLAG_IOPL) >> 12 && !(c->sysflags & FLAG_VM))
		return 0;

	if (!(tr->attr & SEG_ATTR_P) || (tr->attr & SEG_ATTR_TYPE & ~2) != TSS32_TYPE ||
	    tr->limit < TSS_MIN_LIMIT)
		goto denied;
	if (soft_read(c, tr->base + TSS_BITMAP_BASE, &base, sizeof(base), MEM_READ | MEM_SYSTEM))
		return -1;
	/* Two bytes are always read, as the ports of one access may lie in two. */
	at = (uint32_t)base + port / 8;
	if (at + 1 > tr->limit)
		goto denied;
	if (soft_read(c, tr->base + at, &bits, sizeof(bits), MEM_READ | MEM_SYSTEM))
		return -1;
	if (bits >> (port % 8) & ((1u << size) - 1))
		goto denied;
	return 0;

denied:
	soft_gp(c, 0);
	return -1;
}

static uint32_t port_in(struct soft_cpu *c, uint16_t port, unsigned size)
{
	fpu_park(c);
	uint32_t val = c->bus.pio_read(c->bus.machine, c->index, port, size);
	fpu_unpark(c);
	return val;
}

static void port_out(struct soft_cpu *c, uint16_t port, unsigned size, uint32_t val)
{
	fpu_park(c);
	c->bus.pio_write(c->bus.machine, c->index, port, size, val);
	fpu_unpark(c);
}

static uint16_t port_of(const struct soft_cpu *c, const struct sysop *op)
{
	return op->aux ? (uint16_t)c->s.regs[REG_RDX] : (uint16_t)(uint8_t)op->imm;
}

/* There are no 64-bit ports: REX.W changes nothing. */
static unsigned port_size(const struct sysop *op)
{
	return op->opsize > 4 ? 4 : op->opsize;
}

enum soft_next sys_in(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t port = port_of(c, op);
	unsigned size = port_size(op);

	if (check_port(c, port, size))
		return NEXT_FAULT;
	cpu_set_reg(c, REG_RAX, size, port_in(c, port, size));
	return NEXT_CONTINUE;
}

enum soft_next sys_out(struct soft_cpu *c, const struct sysop *op)
{
	uint16_t port = port_of(c, op);
	unsigned size = port_size(op);
	uint32_t val = (uint32_t)c->s.regs[REG_RAX];

	if (check_port(c, port, size))
		return NEXT_FAULT;
	if (size < 4)
		val &= (1u << (8 * size)) - 1;
	port_out(c, port, size, val);
	return NEXT_CONTINUE;
}

/* One element of INS. The store is checked first: reading a port has effects. */
static int ins_one(struct soft_cpu *c, const struct sysop *op, uint16_t port)
{
	uint64_t lin;
	uint32_t val;

	if (soft_linear(c, SEG_ES, string_reg(c, op, REG_RDI), op->opsize, true, &lin) ||
	    soft_probe(c, lin, op->opsize, MEM_WRITE))
		return -1;
	val = port_in(c, port, op->opsize);
	if (soft_write(c, lin, &val, op->opsize, MEM_WRITE))
		return -1;
	string_advance(c, op, REG_RDI, string_step(c, op));
	return 0;
}

static int outs_one(struct soft_cpu *c, const struct sysop *op, uint16_t port)
{
	uint64_t lin;
	uint32_t val = 0;

	if (soft_linear(c, op->seg, string_reg(c, op, REG_RSI), op->opsize, false, &lin) ||
	    soft_read(c, lin, &val, op->opsize, MEM_READ))
		return -1;
	port_out(c, port, op->opsize, val);
	string_advance(c, op, REG_RSI, string_step(c, op));
	return 0;
}

static enum soft_next string_io(struct soft_cpu *c, const struct sysop *op,
				int (*one)(struct soft_cpu *, const struct sysop *, uint16_t))
{
	uint16_t port = (uint16_t)c->s.regs[REG_RDX];
	struct sysop narrow = *op;

	/* REX.W changes nothing. */
	narrow.opsize = (uint8_t)port_size(op);
	if (check_port(c, port, narrow.opsize))
		return NEXT_FAULT;
	if (!op->rep)
		return one(c, &narrow, port) ? NEXT_FAULT : NEXT_CONTINUE;

	for (unsigned i = 0;; i++) {
		if (!string_reg(c, op, REG_RCX))
			return NEXT_CONTINUE;
		if (i == string_burst(c))
			return NEXT_DISPATCH;
		if (one(c, &narrow, port))
			return NEXT_FAULT;
		string_advance(c, op, REG_RCX, -1);
	}
}

enum soft_next sys_ins(struct soft_cpu *c, const struct sysop *op)
{
	return string_io(c, op, ins_one);
}

enum soft_next sys_outs(struct soft_cpu *c, const struct sysop *op)
{
	return string_io(c, op, outs_one);
}
