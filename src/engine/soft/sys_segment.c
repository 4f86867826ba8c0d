/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loads and stores of segment registers and descriptor table registers, and
 * the instructions that look at descriptors. Fast C.
 *
 * Where AMD and Intel differ the handlers do as AMD: PUSH of a segment
 * register writes the whole operand, LFS/LGS/LSS ignore REX.W, and loading a
 * null selector clears the hidden base (CPUID 8000_0021 EAX[6]).
 */
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

/*
 * Installs a loaded segment register. The instruction after a load of SS is
 * executed before any interrupt or debug trap: inside a block that takes care
 * of itself, but not when the block ends here.
 */
static enum soft_next commit_seg(struct soft_cpu *c, unsigned seg, const struct x86_seg *new)
{
	enum soft_next next = NEXT_CONTINUE;

	c->s.seg[seg] = *new;
	/* The mode word of 64-bit code has nothing of ES SS DS FS GS. */
	if (!(c->mode & MODE_CS64))
		next = sysop_mode_changed(c);
	if (seg == SEG_SS && (next == NEXT_DISPATCH || (c->mode & MODE_SINGLE)))
		c->s.int_shadow = true;
	return next;
}

enum soft_next sys_mov_to_sreg(struct soft_cpu *c, const struct sysop *op)
{
	struct x86_seg new;
	uint64_t sel;

	if (op->reg == SEG_CS || op->reg >= SEG_COUNT)
		return soft_ud(c);
	if (sysop_get_rm(c, op, 2, &sel) || seg_load(c, op->reg, (uint16_t)sel, &new))
		return NEXT_FAULT;
	return commit_seg(c, op->reg, &new);
}

enum soft_next sys_mov_from_sreg(struct soft_cpu *c, const struct sysop *op)
{
	unsigned size = op->rm == OPERAND_NONE ? 2 : op->opsize;

	if (op->reg >= SEG_COUNT)
		return soft_ud(c);
	return sysop_set_rm(c, op, size, c->s.seg[op->reg].sel) ? NEXT_FAULT : NEXT_CONTINUE;
}

enum soft_next sys_push_sreg(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP];

	if (soft_push(c, &sp, op->opsize, c->s.seg[op->reg].sel))
		return NEXT_FAULT;
	cpu_set_sp(c, sp);
	return NEXT_CONTINUE;
}

enum soft_next sys_pop_sreg(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t sp = c->s.regs[REG_RSP];
	struct x86_seg new;
	uint64_t sel;

	if (soft_pop(c, &sp, op->opsize, &sel) || seg_load(c, op->reg, (uint16_t)sel, &new))
		return NEXT_FAULT;
	/* SP moves with the width of the old stack segment. */
	cpu_set_sp(c, sp);
	return commit_seg(c, op->reg, &new);
}

enum soft_next sys_load_far(struct soft_cpu *c, const struct sysop *op)
{
	unsigned size = op->opsize == 2 ? 2 : 4;
	enum soft_next next;
	struct x86_seg new;
	uint64_t lin, ptr = 0;

	if (op->rm != OPERAND_NONE)
		return soft_ud(c);
	if (soft_linear(c, op->seg, sysop_ea(c, op), size + 2, false, &lin) ||
	    soft_read(c, lin, &ptr, size + 2, MEM_READ) ||
	    seg_load(c, op->aux, (uint16_t)(ptr >> (size * 8)), &new))
		return NEXT_FAULT;
	cpu_set_reg(c, op->reg, size, ptr);
	next = commit_seg(c, op->aux, &new);
	/* LSS loads the stack pointer as well, so it needs no shadow and has none. */
	c->s.int_shadow = false;
	return next;
}

static void set_zf(struct soft_cpu *c, bool zf)
{
	c->aflags = (c->aflags & ~(FLAG_ZF << 8)) | (zf ? FLAG_ZF << 8 : 0);
}

/* System descriptor types that LAR and LSL know, as bit masks. */
#define LAR_TYPES    0x1a3eu /* legacy: TSS, LDT, call and task gates */
#define LAR_TYPES_LM 0x1a04u
#define LSL_TYPES    0x0a0eu /* legacy: TSS and LDT */
#define LSL_TYPES_LM 0x0a04u

/*
 * Finds the descriptor that the r/m operand names and that the current level
 * may see. 1 when there is none, -1 with a fault.
 */
static int visible_desc(struct soft_cpu *c, const struct sysop *op, uint32_t system_types, struct desc *d)
{
	uint64_t val;
	uint16_t sel, attr;
	int err;

	if (sysop_get_rm(c, op, 2, &val))
		return -1;
	sel = (uint16_t)val;
	if (sel_is_null(sel))
		return 1;
	err = desc_try_read(c, sel, d);
	if (err)
		return err;
	attr = desc_attr(d);
	if (!(attr & SEG_ATTR_S) && !(system_types >> attr_type(attr) & 1))
		return 1;
	if (!attr_is_conforming(attr) && (c->cpl > attr_dpl(attr) || (sel & 3u) > attr_dpl(attr)))
		return 1;
	return 0;
}

enum soft_next sys_lar(struct soft_cpu *c, const struct sysop *op)
{
	struct desc d;
	int err = visible_desc(c, op, cpu_long_mode(c) ? LAR_TYPES_LM : LAR_TYPES, &d);

	if (err < 0)
		return NEXT_FAULT;
	if (!err)
		cpu_set_reg(c, op->reg, op->opsize, (d.lo >> 32) & 0x00ffff00);
	set_zf(c, !err);
	return NEXT_CONTINUE;
}

enum soft_next sys_lsl(struct soft_cpu *c, const struct sysop *op)
{
	struct desc d;
	int err = visible_desc(c, op, cpu_long_mode(c) ? LSL_TYPES_LM : LSL_TYPES, &d);

	if (err < 0)
		return NEXT_FAULT;
	if (!err)
		cpu_set_reg(c, op->reg, op->opsize, desc_limit(&d));
	set_zf(c, !err);
	return NEXT_CONTINUE;
}

enum soft_next sys_verr(struct soft_cpu *c, const struct sysop *op)
{
	struct desc d;
	int err = visible_desc(c, op, 0, &d);

	if (err < 0)
		return NEXT_FAULT;
	set_zf(c, !err && attr_is_readable(desc_attr(&d)));
	return NEXT_CONTINUE;
}

enum soft_next sys_verw(struct soft_cpu *c, const struct sysop *op)
{
	struct desc d;
	int err = visible_desc(c, op, 0, &d);

	if (err < 0)
		return NEXT_FAULT;
	set_zf(c, !err && attr_is_writable(desc_attr(&d)));
	return NEXT_CONTINUE;
}

enum soft_next sys_arpl(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t dst;
	unsigned rpl = c->s.regs[op->reg & 15] & 3;
	bool raise;

	if (sysop_get_rm(c, op, 2, &dst))
		return NEXT_FAULT;
	raise = (dst & 3) < rpl;
	if (raise && sysop_set_rm(c, op, 2, (dst & ~3ull) | rpl))
		return NEXT_FAULT;
	set_zf(c, raise);
	return NEXT_CONTINUE;
}

static enum soft_next load_dtr(struct soft_cpu *c, const struct sysop *op, struct x86_dtr *dtr)
{
	bool lm = c->mode & MODE_CS64;
	unsigned len = lm ? 10 : 6;
	uint8_t raw[16];
	uint64_t lin, base = 0;

	if (c->cpl)
		return soft_gp(c, 0);
	if (op->rm != OPERAND_NONE)
		return soft_ud(c);
	if (soft_linear(c, op->seg, sysop_ea(c, op), len, false, &lin) ||
	    soft_read(c, lin, raw, len, MEM_READ))
		return NEXT_FAULT;
	for (unsigned i = len; i-- > 2;)
		base = base << 8 | raw[i];
	if (lm && !soft_canonical(base))
		return soft_gp(c, 0);
	if (!lm && op->opsize == 2)
		base &= 0xffffff;
	dtr->limit = (uint16_t)(raw[0] | raw[1] << 8);
	dtr->base = base;
	return NEXT_CONTINUE;
}

static enum soft_next store_dtr(struct soft_cpu *c, const struct sysop *op, const struct x86_dtr *dtr)
{
	unsigned len = c->mode & MODE_CS64 ? 10 : 6;
	uint8_t raw[16];
	uint64_t lin;

	if (op->rm != OPERAND_NONE)
		return soft_ud(c);
	if (sysop_umip(c))
		return soft_gp(c, 0);
	raw[0] = (uint8_t)dtr->limit;
	raw[1] = dtr->limit >> 8;
	for (unsigned i = 0; i < 8; i++)
		raw[2 + i] = (uint8_t)(dtr->base >> (8 * i));
	if (soft_linear(c, op->seg, sysop_ea(c, op), len, true, &lin) ||
	    soft_write(c, lin, raw, len, MEM_WRITE))
		return NEXT_FAULT;
	return NEXT_CONTINUE;
}

enum soft_next sys_lgdt(struct soft_cpu *c, const struct sysop *op)
{
	return load_dtr(c, op, &c->s.gdtr);
}

enum soft_next sys_lidt(struct soft_cpu *c, const struct sysop *op)
{
	return load_dtr(c, op, &c->s.idtr);
}

enum soft_next sys_sgdt(struct soft_cpu *c, const struct sysop *op)
{
	return store_dtr(c, op, &c->s.gdtr);
}

enum soft_next sys_sidt(struct soft_cpu *c, const struct sysop *op)
{
	return store_dtr(c, op, &c->s.idtr);
}

/* What LLDT and LTR share: an LDT or TSS descriptor from the GDT, 16 bytes in long mode. */
static int load_system_desc(struct soft_cpu *c, uint16_t sel, uint32_t types, struct desc *d,
			    struct x86_seg *out)
{
	uint16_t attr;

	if (sel & 4)
		return desc_fault(c, VEC_GP, sel, 0);
	if (desc_read(c, sel, d, VEC_GP, 0))
		return -1;
	attr = desc_attr(d);
	if ((attr & SEG_ATTR_S) || !(types >> attr_type(attr) & 1))
		return desc_fault(c, VEC_GP, sel, 0);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, 0);
	seg_from_desc(out, sel, d);
	if (cpu_long_mode(c)) {
		if (desc_read_high(c, sel, d, VEC_GP, 0))
			return -1;
		out->base |= d->hi << 32;
		if (!soft_canonical(out->base))
			return desc_fault(c, VEC_GP, sel, 0);
	}
	return 0;
}

enum soft_next sys_lldt(struct soft_cpu *c, const struct sysop *op)
{
	struct x86_seg new;
	struct desc d;
	uint64_t sel;

	if (c->cpl)
		return soft_gp(c, 0);
	if (sysop_get_rm(c, op, 2, &sel))
		return NEXT_FAULT;
	if (sel_is_null((uint16_t)sel))
		seg_set_null(&new, (uint16_t)sel);
	else if (load_system_desc(c, (uint16_t)sel, 1u << SYS_LDT, &d, &new))
		return NEXT_FAULT;
	c->s.ldtr = new;
	return NEXT_CONTINUE;
}

enum soft_next sys_ltr(struct soft_cpu *c, const struct sysop *op)
{
	uint32_t types = 1u << SYS_TSS_AVAIL | (cpu_long_mode(c) ? 0 : 1u << SYS_TSS16_AVAIL);
	struct x86_seg new;
	struct desc d;
	uint64_t sel;
	uint8_t busy;

	if (c->cpl)
		return soft_gp(c, 0);
	if (sysop_get_rm(c, op, 2, &sel))
		return NEXT_FAULT;
	if (sel_is_null((uint16_t)sel))
		return soft_gp(c, 0);
	if (load_system_desc(c, (uint16_t)sel, types, &d, &new))
		return NEXT_FAULT;
	new.attr |= SYS_TSS_BUSY & ~SYS_TSS_AVAIL;
	busy = (uint8_t) new.attr;
	if (soft_write(c, d.addr + 5, &busy, 1, MEM_WRITE | MEM_SYSTEM))
		return NEXT_FAULT;
	c->s.tr = new;
	return NEXT_CONTINUE;
}

static enum soft_next store_selector(struct soft_cpu *c, const struct sysop *op, uint16_t sel)
{
	if (sysop_umip(c))
		return soft_gp(c, 0);
	return sysop_set_rm(c, op, op->rm == OPERAND_NONE ? 2 : op->opsize, sel) ? NEXT_FAULT : NEXT_CONTINUE;
}

enum soft_next sys_sldt(struct soft_cpu *c, const struct sysop *op)
{
	return store_selector(c, op, c->s.ldtr.sel);
}

enum soft_next sys_str(struct soft_cpu *c, const struct sysop *op)
{
	return store_selector(c, op, c->s.tr.sel);
}
