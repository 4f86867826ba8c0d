/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far RET and IRET (SDM vol. 2; vol. 3, 5.8.6 and 6.14). Fast C.
 *
 * Not implemented: returns to virtual-8086 mode (VM set in the image at CPL 0
 * of legacy mode) and to a nested task (NT set) raise #GP(0).
 */
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

/* What a return takes from the stack. */
struct return_frame {
	uint64_t rip;
	uint16_t cs;
	uint64_t rflags; /* IRET */
	uint64_t rsp;
	uint16_t ss;
	uint64_t sp; /* stack pointer after the pops */
};

static int pop_selector(struct soft_cpu *c, uint64_t *sp, unsigned size, uint16_t *sel)
{
	uint64_t val;

	if (soft_pop(c, sp, size, &val))
		return -1;
	*sel = (uint16_t)val;
	return 0;
}

/* The code segment that a return goes to; its RPL is the new privilege level. */
static int load_return_cs(struct soft_cpu *c, uint16_t sel, uint64_t rip, struct x86_seg *cs)
{
	unsigned rpl = sel & 3u;
	struct desc d;
	uint16_t attr;

	if (sel_is_null(sel))
		return desc_fault(c, VEC_GP, 0, 0);
	if (desc_read(c, sel, &d, VEC_GP, 0))
		return -1;
	attr = desc_attr(&d);
	if (!attr_is_code(attr) || rpl < c->cpl)
		return desc_fault(c, VEC_GP, sel, 0);
	if (attr_is_conforming(attr) ? attr_dpl(attr) > rpl : attr_dpl(attr) != rpl)
		return desc_fault(c, VEC_GP, sel, 0);
	if (cpu_long_mode(c) && (attr & SEG_ATTR_L) && (attr & SEG_ATTR_DB))
		return desc_fault(c, VEC_GP, sel, 0);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, 0);
	seg_from_desc(cs, sel, &d);
	if (code_check_rip(c, cs, rip, 0) || desc_set_accessed(c, &d))
		return -1;
	cs->attr |= TYPE_ACCESSED;
	return 0;
}

static int load_return_ss(struct soft_cpu *c, uint16_t sel, const struct x86_seg *cs, struct x86_seg *ss)
{
	unsigned cpl = cs->sel & 3u;

	if (sel_is_null(sel)) {
		if (!attr_is_code64(c, cs->attr) || cpl == 3 || (sel & 3u) != cpl)
			return desc_fault(c, VEC_GP, 0, 0);
		seg_set_null_stack(ss, sel);
		return 0;
	}
	return seg_load_stack(c, sel, cpl, VEC_GP, 0, ss);
}

/*
 * The new stack pointer. Only code that returns to a 16-bit stack sees the
 * kernel's bits 16..31 in it: the leak that Linux's espfix is there for.
 */
static void set_outer_sp(struct soft_cpu *c, const struct x86_seg *cs, const struct x86_seg *ss, uint64_t sp)
{
	uint64_t *rsp = &c->s.regs[REG_RSP];

	if (attr_is_code64(c, cs->attr))
		*rsp = sp;
	else if (ss->attr & SEG_ATTR_DB)
		*rsp = (uint32_t)sp;
	else
		*rsp = (*rsp & 0xffff0000) | (sp & 0xffff);
}

enum soft_next sys_ret_far(struct soft_cpu *c, const struct sysop *op)
{
	unsigned size = op->opsize;
	uint64_t release = (uint16_t)op->imm;
	struct return_frame f = { .sp = c->s.regs[REG_RSP] };
	struct x86_seg cs, ss;
	unsigned cpl;

	if (soft_pop(c, &f.sp, size, &f.rip) || pop_selector(c, &f.sp, size, &f.cs) ||
	    load_return_cs(c, f.cs, f.rip, &cs))
		return NEXT_FAULT;
	cpl = f.cs & 3u;
	f.sp += release;

	if (cpl == c->cpl) {
		cpu_set_sp(c, f.sp);
	} else {
		if (soft_pop(c, &f.sp, size, &f.rsp) || pop_selector(c, &f.sp, size, &f.ss) ||
		    load_return_ss(c, f.ss, &cs, &ss))
			return NEXT_FAULT;
		set_outer_sp(c, &cs, &ss, f.rsp + release);
		c->s.seg[SEG_SS] = ss;
		seg_drop_inner(c, cpl);
	}
	cpu_enter_code(c, &cs, cpl, f.rip);
	cpu_update_mode(c);
	return NEXT_DISPATCH;
}

/* Which flags IRET may change: SDM vol. 2, IRET. */
static uint64_t iret_flags(struct soft_cpu *c, unsigned size)
{
	uint64_t change = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (size > 2)
		change |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (c->cpl <= (c->sysflags & FLAG_IOPL) >> 12)
		change |= FLAG_IF;
	if (c->cpl == 0) {
		change |= FLAG_IOPL;
		if (size > 2)
			change |= FLAG_VIF | FLAG_VIP;
	}
	return change;
}

/* 64-bit code pops all five values whatever the privilege levels: mostly in one read. */
static int pop_frame64(struct soft_cpu *c, unsigned size, struct return_frame *f)
{
	uint64_t raw[5];
	uint64_t lin;

	f->sp = c->s.regs[REG_RSP];
	if (size == 8) {
		if (soft_linear(c, SEG_SS, f->sp, sizeof(raw), false, &lin) ||
		    soft_read(c, lin, raw, sizeof(raw), MEM_READ))
			return -1;
		f->rip = raw[0];
		f->cs = (uint16_t)raw[1];
		f->rflags = raw[2];
		f->rsp = raw[3];
		f->ss = (uint16_t)raw[4];
		return 0;
	}
	if (soft_pop(c, &f->sp, size, &f->rip) || pop_selector(c, &f->sp, size, &f->cs) ||
	    soft_pop(c, &f->sp, size, &f->rflags) || soft_pop(c, &f->sp, size, &f->rsp) ||
	    pop_selector(c, &f->sp, size, &f->ss))
		return -1;
	return 0;
}

enum soft_next sys_iret(struct soft_cpu *c, const struct sysop *op)
{
	bool code64 = c->mode & MODE_CS64;
	unsigned size = op->opsize;
	struct return_frame f = { .sp = c->s.regs[REG_RSP] };
	struct x86_seg cs, ss;
	uint64_t change, flags;
	unsigned cpl;

	if (c->sysflags & FLAG_NT)
		return soft_gp(c, 0);
	if (code64) {
		if (pop_frame64(c, size, &f))
			return NEXT_FAULT;
	} else {
		if (soft_pop(c, &f.sp, size, &f.rip) || pop_selector(c, &f.sp, size, &f.cs) ||
		    soft_pop(c, &f.sp, size, &f.rflags))
			return NEXT_FAULT;
		if (!cpu_long_mode(c) && c->cpl == 0 && size > 2 && (f.rflags & FLAG_VM))
			return soft_gp(c, 0);
	}
	if (load_return_cs(c, f.cs, f.rip, &cs))
		return NEXT_FAULT;
	cpl = f.cs & 3u;

	if (code64 || cpl != c->cpl) {
		if (!code64 && (soft_pop(c, &f.sp, size, &f.rsp) || pop_selector(c, &f.sp, size, &f.ss)))
			return NEXT_FAULT;
		if (load_return_ss(c, f.ss, &cs, &ss))
			return NEXT_FAULT;
		set_outer_sp(c, &cs, &ss, f.rsp);
		c->s.seg[SEG_SS] = ss;
	} else {
		cpu_set_sp(c, f.sp);
	}

	change = iret_flags(c, size);
	flags = (cpu_get_rflags(c) & ~change) | (f.rflags & change);
	/* RF matters to breakpoints alone; keep it from lingering when there are none. */
	if (!(c->mode & MODE_HWBP))
		flags &= ~(uint64_t)FLAG_RF;
	if (cpl != c->cpl)
		seg_drop_inner(c, cpl);
	cpu_enter_code(c, &cs, cpl, f.rip);
	cpu_set_rflags(c, flags);
	c->s.nmi_blocked = false;
	cpu_update_mode(c);
	return NEXT_DISPATCH;
}
