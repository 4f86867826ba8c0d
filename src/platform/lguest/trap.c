/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every exception and software interrupt of the guest comes here. A few are
 * for the host: hypercalls, the instructions of a privileged kernel that runs
 * at level 1 nevertheless. All others are reflected: handled by the guest's
 * own gates, as the CPU would have done.
 */
#include <string.h>

#include "cpu/state.h"
#include "cpu/x86.h"
#include "engine/engine.h"
#include "memory.h"
#include "platform/lguest/lguest.h"

#define CPL(s) ((s)->seg[SEG_CS].sel & 3u)

/* A segment register from a descriptor of ours, with its hidden part (SDM vol. 3, 3.4.5). */
static struct x86_seg segment(const struct lguest *lg, uint16_t sel)
{
	uint64_t d = lg->s.gdt[sel >> 3];
	uint32_t limit = (uint32_t)(d & 0xffff) | (uint32_t)(d >> 32 & 0xf0000);
	struct x86_seg seg = {
		.sel = sel,
		.attr = (uint16_t)(d >> 40 & 0xf0ff),
		.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
	};

	seg.limit = seg.attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
	return seg;
}

void lguest_start(struct lguest *lg, uint32_t entry, uint32_t pgdir, struct x86_state *state)
{
	/* Flat, level 1, accessed: code, then data. */
	lg->s.gdt[LG_KERNEL_CS >> 3] = 0x00cfbb000000ffffull;
	lg->s.gdt[LG_KERNEL_DS >> 3] = 0x00cfb3000000ffffull;
	lg->s.initial_pgdir = pgdir;

	memset(state, 0, sizeof(*state));
	state->rip = entry;
	state->rflags = FLAG_IF | FLAG_ONE;
	state->seg[SEG_CS] = segment(lg, LG_KERNEL_CS);
	state->seg[SEG_SS] = state->seg[SEG_DS] = state->seg[SEG_ES] = segment(lg, LG_KERNEL_DS);
	state->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE | CR0_MP;
	state->cr3 = pgdir;
	state->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
	state->xcr0 = XCR0_X87;
	state->dr[6] = 0xffff0ff0;
	state->dr[7] = 0x400;
	/* x87 and MXCSR after reset, as FXSAVE shows them. */
	state->xsave[0] = 0x7f;
	state->xsave[1] = 0x03;
	state->xsave[24] = 0x80;
	state->xsave[25] = 0x1f;
}

/* ---- reflection ---- */

/* Present, of level 1, and writable data for a stack; the engine takes the CPU's level from the stack segment. */
static bool is_kernel_stack(const struct x86_seg *seg)
{
	return (seg->attr & 0xfa) == 0xb2;
}

/* The same for code that is not conforming. */
static bool is_kernel_code(const struct x86_seg *seg)
{
	return (seg->attr & 0xfc) == 0xb8;
}

static bool push(struct lguest *lg, const struct x86_state *s, uint32_t *sp, uint32_t base, uint32_t val)
{
	uint32_t lin = base + *sp - 4, phys;
	void *host;

	/* A word that straddles two pages has no one place; kernels keep their stacks aligned. */
	if ((lin & 4095) > 4092 || !lguest_translate(lg, s, lin, true, &phys)) {
		lguest_kill(lg, "cannot push a trap frame: the stack at %#x is not mapped", lin);
		return false;
	}
	host = lguest_range(lg, phys, 4);
	if (!host) {
		lguest_kill(lg, "cannot push a trap frame: the stack at %#x lies outside of memory", lin);
		return false;
	}
	lguest_store(lg, host, val);
	*sp -= 4;
	return true;
}

bool lguest_reflect(struct lguest *lg, struct x86_state *s, unsigned vector, bool has_error, uint32_t error)
{
	const struct lguest_gate *gate = &lg->s.idt[vector];
	struct x86_seg ss = s->seg[SEG_SS], cs = segment(lg, LG_KERNEL_CS);
	uint32_t sp = (uint32_t)s->regs[REG_RSP], flags = (uint32_t)s->rflags, base;
	bool ok = true;

	if (CPL(s) != 1) {
		ss = segment(lg, lg->s.stack_selector);
		sp = lg->s.stack_top;
		/* An entry that was never loaded is all zero: of level 0, which is not the guest's. */
		if (!is_kernel_stack(&ss)) {
			lguest_kill(lg, "stack segment %#x is no data segment of level 1", ss.sel);
			return false;
		}
	}
	if (!is_kernel_code(&cs)) {
		lguest_kill(lg, "segment %#x is no code segment of level 1", cs.sel);
		return false;
	}
	base = (uint32_t)ss.base;
	if (CPL(s) != 1)
		ok = push(lg, s, &sp, base, s->seg[SEG_SS].sel) &&
		     push(lg, s, &sp, base, (uint32_t)s->regs[REG_RSP]);
	if (!(lguest_data_get(lg, LG_DATA_IRQ_ENABLED) & LG_IRQ_ON))
		flags &= ~(uint32_t)FLAG_IF;
	ok = ok && push(lg, s, &sp, base, flags) && push(lg, s, &sp, base, s->seg[SEG_CS].sel) &&
	     push(lg, s, &sp, base, (uint32_t)s->rip);
	if (ok && has_error)
		ok = push(lg, s, &sp, base, error);
	if (!ok)
		return false;

	s->seg[SEG_SS] = ss;
	s->regs[REG_RSP] = sp;
	s->seg[SEG_CS] = cs;
	s->rip = gate->offset;
	s->rflags &= ~(uint64_t)(FLAG_TF | FLAG_VM | FLAG_RF | FLAG_NT);
	if (gate->interrupt)
		lguest_data_set(lg, LG_DATA_IRQ_ENABLED, 0);
	return true;
}

/* ---- what the host does itself ---- */

/* Bytes of the instruction at EIP, as many as there are up to @max. */
static unsigned fetch(const struct lguest *lg, const struct x86_state *s, uint8_t *insn, unsigned max)
{
	uint32_t lin = (uint32_t)(s->seg[SEG_CS].base + s->rip), phys;
	unsigned n;

	for (n = 0; n < max; n++) {
		const uint8_t *p;

		if (!lguest_translate(lg, s, lin + n, false, &phys))
			break;
		p = lguest_range(lg, phys, 1);
		if (!p)
			break;
		insn[n] = *p;
	}
	return n;
}

/*
 * The few instructions that a paravirtualized kernel still executes although
 * level 1 may not: CLI, IN, OUT. Reads of ports answer all ones.
 */
static bool emulate(struct lguest *lg, struct x86_state *s)
{
	uint8_t insn[3] = { 0 };
	unsigned n = fetch(lg, s, insn, sizeof(insn)), i = insn[0] == 0x66;
	unsigned len = i + 1;

	if (n < len)
		return false;
	switch (insn[i]) {
	case 0xfa: /* CLI */ break;
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7: len++; break;
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef: break;
	default: return false;
	}
	if (n < len)
		return false;
	if (insn[i] != 0xfa && !(insn[i] & 2)) {
		uint32_t ones = !(insn[i] & 1) ? 0xff : i ? 0xffff : 0xffffffff;

		s->regs[REG_RAX] = (uint32_t)s->regs[REG_RAX] | ones;
	}
	s->rip = (uint32_t)(s->rip + len);
	s->rflags &= ~(uint64_t)FLAG_RF;
	lg->stats.emulated++;
	return true;
}

/*
 * Guests of 2.6.3x make hypercalls by VMCALL (0F 01 C1), which is undefined
 * here: turned into INT $0x1F; NOP in place, for good.
 */
static bool patch_vmcall(struct lguest *lg, struct x86_state *s)
{
	static const uint8_t interrupt[] = { 0xcd, LG_TRAP_HYPERCALL, 0x90 };
	uint32_t lin = (uint32_t)(s->seg[SEG_CS].base + s->rip), phys;
	uint8_t insn[3];

	if (fetch(lg, s, insn, sizeof(insn)) != sizeof(insn) || insn[0] != 0x0f || insn[1] != 0x01 ||
	    insn[2] != 0xc1)
		return false;
	for (unsigned i = 0; i < sizeof(interrupt); i++) {
		uint8_t *p;

		if (!lguest_translate(lg, s, lin + i, false, &phys))
			return false;
		p = lguest_range(lg, phys, 1);
		if (!p)
			return false;
		*p = interrupt[i];
		lguest_wrote(lg, p, 1);
	}
	s->rflags &= ~(uint64_t)FLAG_RF;
	return true;
}

static void reflect_or_kill(struct lguest *lg, struct x86_state *s, unsigned vector, bool has_error,
			    uint32_t error)
{
	if (!lg->s.initialised || !lg->s.idt[vector].present) {
		lguest_kill(lg, "unhandled trap %u at %#x (%#x)", vector, (uint32_t)s->rip,
			    vector == VEC_PF ? (uint32_t)s->cr2 : error);
		return;
	}
	lguest_reflect(lg, s, vector, has_error, error);
}

/* INT n, INT3 and INTO are subject to the gate's DPL (SDM vol. 3, 6.12.1.2). */
static void software_interrupt(struct lguest *lg, struct x86_state *s, const struct vcpu_trap *trap)
{
	if (trap->vector == LG_TRAP_HYPERCALL && CPL(s) == 1) {
		lguest_hypercall(lg, s);
		return;
	}
	if (trap->vector == LG_TRAP_HYPERCALL || lg->s.idt[trap->vector].dpl < CPL(s)) {
		s->rip = trap->start;
		reflect_or_kill(lg, s, VEC_GP, true, trap->vector * 8u + 2);
		return;
	}
	reflect_or_kill(lg, s, trap->vector, false, 0);
}

/*
 * A fault because of a page table entry that the guest may not have: its end. An engine reads code
 * beyond memory as undefined. (Not so the rest of an instruction on the next page: without decoding
 * it nobody can tell whether there is one, and the guest may have what it does not use.)
 */
static bool bad_entry(struct lguest *lg, const struct x86_state *s, const struct vcpu_trap *trap)
{
	uint32_t lin, entry;
	const char *what;

	if (trap->software || (trap->vector != VEC_PF && trap->vector != VEC_UD))
		return false;
	lin = (uint32_t)(trap->vector == VEC_PF ? s->cr2 : s->seg[SEG_CS].base + s->rip);
	what = lguest_bad_entry(lg, s, lin, &entry);
	if (what)
		lguest_kill(lg, "bad %s entry %#x for %#x", what, entry, lin);
	return what;
}

void lguest_trap(struct lguest *lg, struct x86_state *s, const struct vcpu_trap *trap)
{
	if (lg->s.dead)
		return;
	lg->stats.traps++;
	if (bad_entry(lg, s, trap)) {
		/* dead */
	} else if (trap->software) {
		software_interrupt(lg, s, trap);
	} else if (trap->vector == VEC_PF) {
		lg->stats.page_faults++;
		if (lg->s.initialised)
			lguest_data_set(lg, LG_DATA_CR2, (uint32_t)s->cr2);
		reflect_or_kill(lg, s, VEC_PF, true, trap->error);
	} else if (trap->vector == VEC_GP && trap->error == 0 && CPL(s) == 1 && emulate(lg, s)) {
		/* done */
	} else if ((trap->vector == VEC_UD || trap->vector == VEC_GP) && CPL(s) == 1 && patch_vmcall(lg, s)) {
		/* again, as a hypercall */
	} else {
		reflect_or_kill(lg, s, trap->vector, trap->has_error, trap->error);
	}
	/* As before every entry of the guest: is there an interrupt? */
	if (atomic_load_explicit(&lg->s.pending, memory_order_relaxed) && !s->halted)
		lguest_enter(lg, s);
}
