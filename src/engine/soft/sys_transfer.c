/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far JMP and CALL, directly and through call gates (SDM vol. 3, 5.8; APM
 * vol. 2, 4.11). Fast C. The way back is in sys_return.c.
 *
 * Task gates and TSS selectors raise #GP(selector): no hardware task switch.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

struct far_pointer {
	uint16_t sel;
	uint64_t offset;
};

/*
 * JMP and CALL ptr16:16/32, opcodes EA and 9A: the pointer is the end of the
 * instruction. The other form, FF /5 and /3, names memory. 64-bit code has
 * only that one.
 */
static bool pointer_is_immediate(const struct soft_cpu *c, const struct sysop *op)
{
	if (c->mode & MODE_CS64)
		return false;
	for (unsigned i = 0; i < op->len && i < sizeof(op->bytes); i++) {
		switch (op->bytes[i]) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
		case 0x66:
		case 0x67:
		case 0xf0:
		case 0xf2:
		case 0xf3: continue;
		}
		return op->bytes[i] == 0xea || op->bytes[i] == 0x9a;
	}
	return false;
}

/* AMD knows no m16:64, so REX.W makes no difference. */
static int read_far_pointer(struct soft_cpu *c, const struct sysop *op, struct far_pointer *p)
{
	unsigned size = op->opsize == 2 ? 2 : 4;
	uint64_t lin, raw = 0;

	if (pointer_is_immediate(c, op)) {
		for (unsigned i = 0; i < size + 2; i++)
			raw |= (uint64_t)op->bytes[op->len - size - 2 + i] << (8 * i);
	} else if (op->rm != OPERAND_NONE) {
		soft_ud(c);
		return -1;
	} else if (soft_linear(c, op->seg, sysop_ea(c, op), size + 2, false, &lin) ||
		   soft_read(c, lin, &raw, size + 2, MEM_READ)) {
		return -1;
	}
	p->offset = size == 2 ? raw & 0xffff : raw & 0xffffffff;
	p->sel = (uint16_t)(raw >> (size * 8));
	return 0;
}

static enum soft_next enter(struct soft_cpu *c, const struct x86_seg *cs, unsigned cpl, uint64_t rip)
{
	cpu_enter_code(c, cs, cpl, rip);
	cpu_update_mode(c);
	return NEXT_DISPATCH;
}

/* CS:RIP as CALL pushes them, on the stack that is current before the call. */
static int push_return(struct soft_cpu *c, unsigned size, uint64_t *sp)
{
	*sp = c->s.regs[REG_RSP];
	return soft_push(c, sp, size, c->s.seg[SEG_CS].sel) || soft_push(c, sp, size, c->next_rip) ? -1 : 0;
}

/* A code segment named directly; the privilege level stays. */
static int check_direct(struct soft_cpu *c, uint16_t sel, struct desc *d, uint64_t offset, struct x86_seg *cs)
{
	uint16_t attr = desc_attr(d);
	unsigned dpl = attr_dpl(attr);

	if (attr_is_conforming(attr) ? dpl > c->cpl : dpl != c->cpl || (sel & 3u) > c->cpl)
		return desc_fault(c, VEC_GP, sel, 0);
	if (cpu_long_mode(c) && (attr & SEG_ATTR_L) && (attr & SEG_ATTR_DB))
		return desc_fault(c, VEC_GP, sel, 0);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, 0);
	seg_from_desc(cs, sel, d);
	if (code_check_rip(c, cs, offset, 0) || desc_set_accessed(c, d))
		return -1;
	cs->attr |= TYPE_ACCESSED;
	return 0;
}

struct gate_target {
	struct x86_seg cs;
	unsigned cpl;
	uint64_t offset;
	unsigned params;
	unsigned size; /* of a stack slot */
};

/* Where does the call gate @d lead, and may it? */
static int check_gate(struct soft_cpu *c, uint16_t sel, struct desc *d, bool call, struct gate_target *t)
{
	bool lm = cpu_long_mode(c);
	uint16_t attr = desc_attr(d);
	uint16_t cs_sel = (uint16_t)(d->lo >> 16);
	struct desc target;
	uint16_t cs_attr;
	unsigned dpl;

	if ((attr & SEG_ATTR_S) || (attr_type(attr) != SYS_CALL && (lm || attr_type(attr) != SYS_CALL16)))
		return desc_fault(c, VEC_GP, sel, 0);
	if (attr_dpl(attr) < c->cpl || attr_dpl(attr) < (sel & 3u))
		return desc_fault(c, VEC_GP, sel, 0);
	if (lm && desc_read_high(c, sel, d, VEC_GP, 0))
		return -1;
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, 0);

	t->size = lm ? 8 : attr_type(attr) == SYS_CALL ? 4 : 2;
	t->params = lm ? 0 : (d->lo >> 32) & 31;
	t->offset = d->lo & 0xffff;
	if (t->size > 2)
		t->offset |= (d->lo >> 32) & 0xffff0000;
	if (lm)
		t->offset |= d->hi << 32;

	if (sel_is_null(cs_sel))
		return desc_fault(c, VEC_GP, 0, 0);
	if (desc_read(c, cs_sel, &target, VEC_GP, 0))
		return -1;
	cs_attr = desc_attr(&target);
	dpl = attr_dpl(cs_attr);
	if (!attr_is_code(cs_attr) || dpl > c->cpl)
		return desc_fault(c, VEC_GP, cs_sel, 0);
	if (!call && !attr_is_conforming(cs_attr) && dpl != c->cpl)
		return desc_fault(c, VEC_GP, cs_sel, 0);
	if (lm && (cs_attr & (SEG_ATTR_L | SEG_ATTR_DB)) != SEG_ATTR_L)
		return desc_fault(c, VEC_GP, cs_sel, 0);
	if (!(cs_attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, cs_sel, 0);
	t->cpl = attr_is_conforming(cs_attr) ? c->cpl : dpl;
	seg_from_desc(&t->cs, cs_sel, &target);
	if (code_check_rip(c, &t->cs, t->offset, 0) || desc_set_accessed(c, &target))
		return -1;
	t->cs.attr |= TYPE_ACCESSED;
	return 0;
}

/* A call gate to the same level. The gate, not the operand size, says how wide the slots are. */
static enum soft_next call_gate_same(struct soft_cpu *c, const struct gate_target *t)
{
	uint64_t sp;

	if (push_return(c, t->size, &sp))
		return NEXT_FAULT;
	cpu_set_sp(c, sp);
	return enter(c, &t->cs, t->cpl, t->offset);
}

static enum soft_next call_gate_inner64(struct soft_cpu *c, const struct gate_target *t)
{
	uint64_t frame[4] = { c->next_rip, c->s.seg[SEG_CS].sel, c->s.regs[REG_RSP], c->s.seg[SEG_SS].sel };
	uint64_t sp;

	if (tss64_stack(c, 4 + 8 * t->cpl, 0, &sp))
		return NEXT_FAULT;
	sp -= sizeof(frame);
	if (!soft_canonical(sp) || !soft_canonical(sp + sizeof(frame) - 1))
		return soft_raise(c, VEC_SS, true, 0);
	if (soft_write(c, sp, frame, sizeof(frame), MEM_WRITE | MEM_SYSTEM))
		return NEXT_FAULT;
	seg_set_null_stack(&c->s.seg[SEG_SS], (uint16_t)t->cpl);
	c->s.regs[REG_RSP] = sp;
	return enter(c, &t->cs, t->cpl, t->offset);
}

static enum soft_next call_gate_inner32(struct soft_cpu *c, const struct gate_target *t)
{
	uint32_t items[2 + 31 + 2];
	unsigned n = 0;
	struct x86_seg ss;
	uint64_t old_sp = c->s.regs[REG_RSP];
	uint32_t params[31];
	uint32_t sp;

	if (tss_stack(c, t->cpl, 0, &ss, &sp))
		return NEXT_FAULT;
	for (unsigned i = 0; i < t->params; i++) {
		uint64_t val;

		if (soft_pop(c, &old_sp, t->size, &val))
			return NEXT_FAULT;
		params[i] = (uint32_t)val;
	}
	items[n++] = c->s.seg[SEG_SS].sel;
	items[n++] = (uint32_t)c->s.regs[REG_RSP];
	for (unsigned i = t->params; i-- > 0;)
		items[n++] = params[i];
	items[n++] = c->s.seg[SEG_CS].sel;
	items[n++] = (uint32_t)c->next_rip;
	if (stack_push_items(c, &ss, &sp, items, n, t->size, MEM_WRITE | MEM_SYSTEM, ss.sel & ~3u))
		return NEXT_FAULT;
	c->s.seg[SEG_SS] = ss;
	if (ss.attr & SEG_ATTR_DB)
		c->s.regs[REG_RSP] = sp;
	else
		c->s.regs[REG_RSP] = (c->s.regs[REG_RSP] & 0xffff0000ull) | (sp & 0xffff);
	return enter(c, &t->cs, t->cpl, t->offset);
}

/*
 * Real-address mode (SDM vol. 3, 21.1): the selector is the base, shifted;
 * limit and type stay. Linux gets there when it reboots by way of the BIOS.
 */
static enum soft_next jmp_far_real(struct soft_cpu *c, const struct far_pointer *p)
{
	struct x86_seg cs = c->s.seg[SEG_CS];

	cs.sel = p->sel;
	cs.base = (uint64_t)p->sel << 4;
	if (code_check_rip(c, &cs, p->offset, 0))
		return NEXT_FAULT;
	return enter(c, &cs, 0, p->offset);
}

enum soft_next sys_jmp_far(struct soft_cpu *c, const struct sysop *op)
{
	struct far_pointer p;
	struct gate_target t;
	struct x86_seg cs;
	struct desc d;

	if (read_far_pointer(c, op, &p))
		return NEXT_FAULT;
	if (!(c->s.cr0 & CR0_PE))
		return jmp_far_real(c, &p);
	if (sel_is_null(p.sel))
		return soft_gp(c, 0);
	if (desc_read(c, p.sel, &d, VEC_GP, 0))
		return NEXT_FAULT;
	if (attr_is_code(desc_attr(&d))) {
		if (check_direct(c, p.sel, &d, p.offset, &cs))
			return NEXT_FAULT;
		return enter(c, &cs, c->cpl, p.offset);
	}
	if (check_gate(c, p.sel, &d, false, &t))
		return NEXT_FAULT;
	return enter(c, &t.cs, t.cpl, t.offset);
}

enum soft_next sys_call_far(struct soft_cpu *c, const struct sysop *op)
{
	struct far_pointer p;
	struct gate_target t;
	struct x86_seg cs;
	struct desc d;
	uint64_t sp;

	if (read_far_pointer(c, op, &p))
		return NEXT_FAULT;
	if (sel_is_null(p.sel))
		return soft_gp(c, 0);
	if (desc_read(c, p.sel, &d, VEC_GP, 0))
		return NEXT_FAULT;
	if (attr_is_code(desc_attr(&d))) {
		if (check_direct(c, p.sel, &d, p.offset, &cs) || push_return(c, op->opsize, &sp))
			return NEXT_FAULT;
		cpu_set_sp(c, sp);
		return enter(c, &cs, c->cpl, p.offset);
	}
	if (check_gate(c, p.sel, &d, true, &t))
		return NEXT_FAULT;
	if (t.cpl == c->cpl)
		return call_gate_same(c, &t);
	return cpu_long_mode(c) ? call_gate_inner64(c, &t) : call_gate_inner32(c, &t);
}
