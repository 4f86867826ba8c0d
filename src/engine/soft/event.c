/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt and exception delivery: see event.h. Fast C.
 *
 * Everything is checked, and the frame written, before the first register
 * changes; so a fault on the way leaves the guest as it was at the event, and
 * the next try (the fault's own delivery, or #DF) starts from the same state.
 *
 * Not implemented, because nothing that boots here uses it: task gates for
 * anything but i386 Linux's #DF (they raise #GP like any gate of a wrong
 * type, so that kernel's double fault shuts the CPU down), virtual-8086 mode.
 */
#include "engine/soft/event.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"
#include "engine/soft/vcpu.h"

/* After the platform had its hands on the state, which had @cr3 before. */
static void cpu_state_changed(struct soft_cpu *c, uint64_t cr3)
{
	c->cpl = (c->s.seg[SEG_SS].attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
	cpu_set_rflags(c, c->s.rflags);
	cpu_update_mode(c);
	if (c->s.cr3 != cr3)
		mmu_flush_nonglobal(c);
}

/* One event on its way; what the IDT has to do with it. */
struct event {
	uint8_t vector;
	bool has_error;
	bool software;  /* INT n, INT3, INTO, INT1 */
	bool check_dpl; /* not for INT1 */
	unsigned ext;
	uint32_t error;
	uint64_t rip;    /* what gets pushed */
	uint64_t rflags; /* what gets pushed */
};

struct gate {
	uint16_t sel;
	uint16_t attr;
	unsigned ist;
	uint64_t offset;
};

/* Error code for a fault that the IDT entry itself is to blame for. */
static int gate_fault(struct soft_cpu *c, uint8_t vector, const struct event *ev)
{
	soft_raise(c, vector, true, ev->vector * 8u | 2 | ev->ext);
	return -1;
}

static int read_gate(struct soft_cpu *c, const struct event *ev, struct gate *g)
{
	bool lm = cpu_long_mode(c);
	unsigned size = lm ? 16 : 8;
	unsigned type;
	uint64_t raw[2] = { 0, 0 };
	uint64_t addr;

	if (ev->vector * size + size - 1 > c->s.idtr.limit)
		return gate_fault(c, VEC_GP, ev);
	addr = c->s.idtr.base + ev->vector * size;
	if (soft_read(c, lm ? addr : (uint32_t)addr, raw, size, MEM_READ | MEM_SYSTEM))
		return -1;

	g->sel = (uint16_t)(raw[0] >> 16);
	g->attr = (raw[0] >> 40) & 0xff;
	g->ist = lm ? (raw[0] >> 32) & 7 : 0;
	g->offset = (raw[0] & 0xffff) | ((raw[0] >> 32) & 0xffff0000);
	if (lm)
		g->offset |= raw[1] << 32;

	type = g->attr & (SEG_ATTR_S | SEG_ATTR_TYPE);
	if (type != SYS_INT && type != SYS_TRAP && (lm || (type != SYS_INT16 && type != SYS_TRAP16)))
		return gate_fault(c, VEC_GP, ev);
	if (!(type & 8))
		g->offset &= 0xffff;
	if (ev->check_dpl && attr_dpl(g->attr) < c->cpl)
		return gate_fault(c, VEC_GP, ev);
	if (!(g->attr & SEG_ATTR_P))
		return gate_fault(c, VEC_NP, ev);
	return 0;
}

/* The handler's code segment, and the privilege level that it will run at. */
static int load_handler_cs(struct soft_cpu *c, const struct event *ev, uint16_t sel, struct x86_seg *cs,
			   unsigned *cpl)
{
	struct desc d;
	uint16_t attr;

	if (sel_is_null(sel))
		return desc_fault(c, VEC_GP, 0, ev->ext);
	if (desc_read(c, sel, &d, VEC_GP, ev->ext))
		return -1;
	attr = desc_attr(&d);
	if (!attr_is_code(attr) || attr_dpl(attr) > c->cpl)
		return desc_fault(c, VEC_GP, sel, ev->ext);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, ev->ext);
	if (cpu_long_mode(c) && (attr & (SEG_ATTR_L | SEG_ATTR_DB)) != SEG_ATTR_L)
		return desc_fault(c, VEC_GP, sel, ev->ext);
	if (desc_set_accessed(c, &d))
		return -1;
	seg_from_desc(cs, sel, &d);
	*cpl = attr_is_conforming(attr) ? c->cpl : attr_dpl(attr);
	return 0;
}

/*
 * A push on an inner stack is made with the handler's rights, which are not
 * yet in the mode word.
 */
static inline unsigned frame_access(const struct soft_cpu *c, unsigned cpl)
{
	return cpl == c->cpl ? MEM_WRITE : MEM_WRITE | MEM_SYSTEM;
}

static int push_frame64(struct soft_cpu *c, const struct event *ev, const struct gate *g, unsigned cpl,
			struct x86_seg *ss)
{
	uint64_t frame[6];
	unsigned first = ev->has_error ? 0 : 1;
	unsigned len = (6 - first) * 8;
	uint64_t sp = c->s.regs[REG_RSP];

	if (g->ist) {
		if (tss64_stack(c, 0x24 + 8 * (g->ist - 1), ev->ext, &sp))
			return -1;
	} else if (cpl != c->cpl) {
		if (tss64_stack(c, 4 + 8 * cpl, ev->ext, &sp))
			return -1;
	}
	frame[0] = ev->error;
	frame[1] = ev->rip;
	frame[2] = c->s.seg[SEG_CS].sel;
	frame[3] = ev->rflags;
	frame[4] = c->s.regs[REG_RSP];
	frame[5] = c->s.seg[SEG_SS].sel;

	sp = (sp & ~15ull) - len;
	if (!soft_canonical(sp) || !soft_canonical(sp + len - 1))
		return desc_fault(c, VEC_SS, 0, ev->ext);
	if (soft_write(c, sp, &frame[first], len, frame_access(c, cpl)))
		return -1;
	if (cpl != c->cpl)
		seg_set_null_stack(ss, (uint16_t)cpl);
	c->s.regs[REG_RSP] = sp;
	return 0;
}

static int push_frame32(struct soft_cpu *c, const struct event *ev, const struct gate *g, unsigned cpl,
			struct x86_seg *ss)
{
	unsigned size = g->attr & 8 ? 4 : 2;
	unsigned n = 0;
	unsigned error = ev->ext;
	uint32_t items[6];
	uint32_t sp = (uint32_t)c->s.regs[REG_RSP];

	if (cpl != c->cpl) {
		if (tss_stack(c, cpl, ev->ext, ss, &sp))
			return -1;
		error |= ss->sel & ~3u;
		items[n++] = c->s.seg[SEG_SS].sel;
		items[n++] = (uint32_t)c->s.regs[REG_RSP];
	}
	items[n++] = (uint32_t)ev->rflags;
	items[n++] = c->s.seg[SEG_CS].sel;
	items[n++] = (uint32_t)ev->rip;
	if (ev->has_error)
		items[n++] = ev->error;
	if (stack_push_items(c, ss, &sp, items, n, size, frame_access(c, cpl), error))
		return -1;
	/* A 16-bit stack has no say in the upper half of ESP. */
	if (ss->attr & SEG_ATTR_DB)
		c->s.regs[REG_RSP] = sp;
	else
		c->s.regs[REG_RSP] = (c->s.regs[REG_RSP] & 0xffff0000ull) | (sp & 0xffff);
	return 0;
}

/* The platform's own way; it cannot fail, for the platform ends the guest instead. */
static void hand_over(struct soft_cpu *c, const struct event *ev)
{
	const struct vcpu_trap trap = { .vector = ev->vector,
					.software = ev->software && ev->check_dpl, /* INT1 asks nobody */
					.has_error = ev->has_error,
					.error = ev->error,
					.start = c->s.rip };
	uint64_t cr3 = c->s.cr3;

	c->s.rip = ev->rip;
	c->s.rflags = ev->rflags;
	c->bus.trap(c->bus.machine, c->index, &c->s, &trap);
	cpu_state_changed(c, cr3);
}

void event_park(struct vcpu *vcpu)
{
	fpu_park(&((struct soft_vcpu *)vcpu)->c);
}

void event_unpark(struct vcpu *vcpu)
{
	fpu_unpark(&((struct soft_vcpu *)vcpu)->c);
}

void event_enter(struct soft_cpu *c)
{
	uint64_t cr3 = c->s.cr3;

	c->s.rflags = cpu_get_rflags(c);
	fpu_park(c);
	c->bus.enter(c->bus.machine, c->index, &c->s);
	fpu_unpark(c);
	cpu_state_changed(c, cr3);
}

static int deliver(struct soft_cpu *c, const struct event *ev)
{
	struct gate g;
	struct x86_seg cs, ss = c->s.seg[SEG_SS];
	unsigned cpl = 0;

	if (c->bus.trap) {
		hand_over(c, ev);
		return 0;
	}
	if (read_gate(c, ev, &g) || load_handler_cs(c, ev, g.sel, &cs, &cpl) ||
	    code_check_rip(c, &cs, g.offset, ev->ext))
		return -1;
	if (cpu_long_mode(c) ? push_frame64(c, ev, &g, cpl, &ss) : push_frame32(c, ev, &g, cpl, &ss))
		return -1;

	c->s.seg[SEG_SS] = ss;
	cpu_enter_code(c, &cs, cpl, g.offset);
	c->sysflags &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (!(g.attr & 1))
		c->iflag = 0;
	c->s.int_shadow = false;
	c->s.halted = false;
	cpu_update_mode(c);
	return 0;
}

/* SDM vol. 3, table 6-4: which pairs of exceptions make a double fault. */
enum fault_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE };

static enum fault_class fault_class(uint8_t vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP: return CLASS_CONTRIBUTORY;
	case VEC_PF: return CLASS_PAGE;
	default: return CLASS_BENIGN;
	}
}

static bool is_double_fault(uint8_t first, uint8_t second)
{
	switch (fault_class(first)) {
	case CLASS_CONTRIBUTORY: return fault_class(second) == CLASS_CONTRIBUTORY;
	case CLASS_PAGE: return fault_class(second) != CLASS_BENIGN;
	default: return false;
	}
}

/*
 * RF in the pushed image (SDM vol. 3, 17.3.1.1): set for faults, so that the
 * instruction can be resumed over its own breakpoint; #DB, traps and #NMI
 * push what there was.
 */
static bool pushes_rf(uint8_t vector)
{
	return vector != VEC_DB && vector != VEC_BP && vector != VEC_OF && vector != VEC_NMI;
}

void event_fault(struct soft_cpu *c)
{
	struct soft_fault first = c->fault;

	for (;;) {
		struct event ev = {
			.vector = c->fault.vector,
			.has_error = c->fault.has_error,
			.ext = 1,
			.error = c->fault.error,
			.rip = c->s.rip,
			.rflags = cpu_get_rflags(c),
		};

		if (ev.vector == VEC_PF)
			c->s.cr2 = c->fault.cr2;
		if (pushes_rf(ev.vector))
			ev.rflags |= FLAG_RF;

		if (!deliver(c, &ev)) {
			if (ev.vector == VEC_DB)
				c->s.dr[7] &= ~(1ull << 13); /* GD */
			else if (ev.vector == VEC_NMI)
				c->s.nmi_blocked = true;
			return;
		}
		if (ev.vector == VEC_DF) {
			/* The report wants to know how it began. */
			c->fault = first;
			c->shutdown = true;
			return;
		}
		if (is_double_fault(ev.vector, c->fault.vector)) {
			/* Linux tells a stack overflow from other double faults by CR2. */
			if (c->fault.vector == VEC_PF)
				c->s.cr2 = c->fault.cr2;
			soft_raise(c, VEC_DF, true, 0);
		}
	}
}

void event_interrupt(struct soft_cpu *c, uint8_t vector)
{
	struct event ev = {
		.vector = vector,
		.ext = 1,
		.rip = c->s.rip,
		.rflags = cpu_get_rflags(c),
	};

	if (deliver(c, &ev))
		event_fault(c);
}

enum soft_next event_software(struct soft_cpu *c, uint8_t vector, bool check_dpl)
{
	struct event ev = {
		.vector = vector,
		.software = true,
		.check_dpl = check_dpl,
		.ext = check_dpl ? 0 : 1,
		.rip = c->next_rip,
		.rflags = cpu_get_rflags(c),
	};

	return deliver(c, &ev) ? NEXT_FAULT : NEXT_DISPATCH;
}
