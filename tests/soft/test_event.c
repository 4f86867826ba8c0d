/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event delivery: frames, stack switches, gate checks, escalation to #DF and shutdown. */
#include "sys_fixture.h"

#define HANDLER 0x12345u
#define IGATE   0x8e
#define TGATE   0x8f
#define UGATE   0xee /* interrupt gate for INT n from CPL 3 */

static struct soft_cpu *const c = &fix.c;

static void fault(unsigned vector, int error)
{
	soft_raise(c, vector, error >= 0, error >= 0 ? (uint32_t)error : 0);
	event_fault(c);
}

static void check_frame64(uint64_t at, uint64_t rip, uint16_t cs, uint64_t flags, uint64_t rsp, uint16_t ss)
{
	assert_int_equal(get(at, 8), rip);
	assert_int_equal(get(at + 8, 8), cs);
	assert_int_equal(get(at + 16, 8), flags);
	assert_int_equal(get(at + 24, 8), rsp);
	assert_int_equal(get(at + 32, 8), ss);
}

static void long_fault_same_level(void **state)
{
	fix_init(LONG64, 0);
	fix_gate(VEC_GP, K_CODE, IGATE, 0, 0xffffffff81000000);
	c->s.regs[REG_RSP] = FIX_KSTACK - 0x108; /* misaligned: the frame is not */
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF | FLAG_TF | FLAG_NT | FLAG_CF | FLAG_OF | FLAG_AC);
	cpu_update_mode(c);
	fault(VEC_GP, 0x18);

	assert_false(c->shutdown);
	assert_int_equal(c->s.rip, 0xffffffff81000000);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0x110 - 48);
	assert_int_equal(get(c->s.regs[REG_RSP], 8), 0x18);
	check_frame64(c->s.regs[REG_RSP] + 8, FIX_DATA, K_CODE,
		      FLAG_ONE | FLAG_IF | FLAG_TF | FLAG_NT | FLAG_CF | FLAG_OF | FLAG_AC | FLAG_RF,
		      FIX_KSTACK - 0x108, K_DATA);
	/* TF, NT, RF and IF are gone; AC stays, and with it the right to touch user pages. */
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_CF | FLAG_OF | FLAG_AC);
	assert_int_equal(c->mode, MODE_CS64 | MODE_AC | MODE_CPL0 | MODE_SMAP);
	assert_int_equal(c->s.seg[SEG_SS].sel, K_DATA);
	assert_true(c->s.seg[SEG_SS].attr & SEG_ATTR_P);
	assert_int_equal(fix.writes, 1);
}

static void long_fault_from_user(void **state)
{
	fix_init(LONG64, 3);
	fix_gate(VEC_PF, K_CODE, IGATE, 0, HANDLER);
	c->fault = (struct soft_fault){ .vector = VEC_PF, .has_error = true, .error = 7, .cr2 = 0xdeadb000 };
	c->s.int_shadow = true;
	c->s.halted = true;
	event_fault(c);

	assert_int_equal(c->s.cr2, 0xdeadb000);
	assert_int_equal(c->s.rip, HANDLER);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 48);
	assert_int_equal(get(FIX_KSTACK - 48, 8), 7);
	check_frame64(FIX_KSTACK - 40, FIX_DATA, U_CODE, FLAG_ONE | FLAG_IF | FLAG_RF, FIX_USTACK, U_DATA);
	assert_int_equal(c->s.seg[SEG_CS].sel, K_CODE);
	/* a null SS with the new level as its RPL */
	assert_int_equal(c->s.seg[SEG_SS].sel, 0);
	assert_int_equal(c->s.seg[SEG_SS].attr & SEG_ATTR_P, 0);
	assert_int_equal(c->s.seg[SEG_DS].sel, U_DATA);
	assert_int_equal(c->mode, MODE_CS64 | MODE_CPL0 | MODE_SMAP);
	assert_false(c->s.int_shadow);
	assert_false(c->s.halted);
}

static void long_fault_from_compat(void **state)
{
	fix_init(COMPAT32, 3);
	fix_gate(VEC_UD, K_CODE, TGATE, 0, HANDLER);
	fault(VEC_UD, -1);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 40);
	check_frame64(FIX_KSTACK - 40, FIX_DATA, U_CODE32, FLAG_ONE | FLAG_IF | FLAG_RF, FIX_USTACK, U_DATA);
	/* a trap gate leaves IF alone */
	assert_int_equal(c->iflag, 1);
	assert_int_equal(c->mode, MODE_CS64 | MODE_CPL0 | MODE_SMAP);
}

static void long_ist(void **state)
{
	fix_init(LONG64, 0);
	fix_gate(VEC_DF, K_CODE, IGATE, 1, HANDLER);
	fix_gate(VEC_DB, K_CODE, IGATE, 7, HANDLER + 1);
	fault(VEC_DF, 0);
	assert_int_equal(c->s.regs[REG_RSP], FIX_IST1 - 48);
	check_frame64(FIX_IST1 - 40, FIX_DATA, K_CODE, FLAG_ONE | FLAG_IF | FLAG_RF, FIX_KSTACK - 0x100,
		      K_DATA);
	/* the level is the same, so SS is too */
	assert_int_equal(c->s.seg[SEG_SS].sel, K_DATA);

	/* #DB pushes RF as it is, and drops GD */
	fix_init(LONG64, 3);
	fix_gate(VEC_DB, K_CODE, IGATE, 7, HANDLER + 1);
	c->s.dr[7] = 0x2400;
	fault(VEC_DB, -1);
	assert_int_equal(c->s.regs[REG_RSP], FIX_IST7 - 40);
	check_frame64(FIX_IST7 - 40, FIX_DATA, U_CODE, FLAG_ONE | FLAG_IF, FIX_USTACK, U_DATA);
	assert_int_equal(c->s.dr[7], 0x400);
	assert_int_equal(c->s.rip, HANDLER + 1);
}

static void long_conforming(void **state)
{
	/* a conforming handler runs at the level of what it interrupts, on its stack */
	fix_init(LONG64, 3);
	fix_gate(0x80, CONFORMING, UGATE, 0, HANDLER);
	assert_int_equal(event_software(c, 0x80, true), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.seg[SEG_CS].sel, CONFORMING | 3);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 40);
	assert_int_equal(fix.last_how & MEM_SYSTEM, 0);
}

static void interrupt_and_nmi(void **state)
{
	fix_init(LONG64, 0);
	fix_gate(0x30, K_CODE, IGATE, 0, HANDLER);
	fix_gate(VEC_NMI, K_CODE, IGATE, 1, HANDLER + 2);
	event_interrupt(c, 0x30);
	assert_int_equal(c->s.rip, HANDLER);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0x100 - 40);
	assert_int_equal(get(FIX_KSTACK - 0x100 - 24, 8), FLAG_ONE | FLAG_IF);
	assert_int_equal(c->iflag, 0);
	assert_false(c->s.nmi_blocked);
	fault(VEC_NMI, -1);
	assert_int_equal(c->s.rip, HANDLER + 2);
	assert_true(c->s.nmi_blocked);
	assert_int_equal(get(FIX_IST1 - 40, 8), HANDLER);
}

static void software(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	fix_gate(0x80, K_CODE, UGATE, 0, HANDLER);
	fix_gate(0x81, K_CODE, IGATE, 0, HANDLER);
	fix_gate(VEC_BP, K_CODE, UGATE, 0, HANDLER + 3);
	fix_gate(VEC_DB, K_CODE, IGATE, 0, HANDLER + 1);
	fix_gate(VEC_OF, K_CODE, UGATE, 0, HANDLER + 4);
	op = op_none(8);
	op.imm = 0x81;
	run_faults(sys_int, &op, VEC_GP, 0x81 * 8 + 2);
	op.imm = 0x80;
	assert_int_equal(run(sys_int, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, HANDLER);
	assert_int_equal(get(FIX_KSTACK - 40, 8), FIX_DATA + 2); /* behind the INT */

	fix_init(LONG64, 3);
	fix_gate(VEC_DB, K_CODE, IGATE, 0, HANDLER + 1);
	assert_int_equal(run(sys_int1, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, HANDLER + 1);

	fix_init(LEGACY32, 3);
	fix_gate(VEC_BP, K_CODE32, 0x8e, 0, HANDLER);
	run_faults(sys_int3, &op, VEC_GP, VEC_BP * 8 + 2);
	fix_gate(VEC_BP, K_CODE32, 0xee, 0, HANDLER);
	fix_gate(VEC_OF, K_CODE32, 0xee, 0, HANDLER);
	assert_int_equal(run(sys_into, &op), NEXT_CONTINUE);
	cpu_set_rflags(c, FLAG_ONE | FLAG_OF);
	assert_int_equal(run(sys_into, &op), NEXT_DISPATCH);
	assert_int_equal(get(FIX_KSTACK - 20, 4), FIX_DATA + 2);
	assert_int_equal(get(FIX_KSTACK - 12, 4), FLAG_ONE | FLAG_OF);
}

static void legacy_same_level(void **state)
{
	uint32_t sp = FIX_KSTACK - 0x102; /* no alignment in legacy mode */

	fix_init(LEGACY32, 0);
	fix_gate(VEC_GP, K_CODE32, IGATE, 0, 0xc0123456);
	c->s.regs[REG_RSP] = sp;
	fault(VEC_GP, 0x18);
	assert_int_equal(c->s.rip, 0xc0123456);
	assert_int_equal(c->s.regs[REG_RSP], sp - 16);
	assert_int_equal(get(sp - 16, 4), 0x18);
	assert_int_equal(get(sp - 12, 4), FIX_DATA);
	assert_int_equal(get(sp - 8, 4), K_CODE32);
	assert_int_equal(get(sp - 4, 4), FLAG_ONE | FLAG_IF | FLAG_RF);
	assert_int_equal(c->s.seg[SEG_SS].sel, K_DATA);
}

static void legacy_from_user(void **state)
{
	fix_init(LEGACY32, 3);
	fix_gate(VEC_PF, K_CODE32, IGATE, 0, HANDLER);
	fault(VEC_PF, 6);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 24);
	assert_int_equal(get(FIX_KSTACK - 24, 4), 6);
	assert_int_equal(get(FIX_KSTACK - 20, 4), FIX_DATA);
	assert_int_equal(get(FIX_KSTACK - 16, 4), U_CODE32);
	assert_int_equal(get(FIX_KSTACK - 12, 4), FLAG_ONE | FLAG_IF | FLAG_RF);
	assert_int_equal(get(FIX_KSTACK - 8, 4), FIX_USTACK);
	assert_int_equal(get(FIX_KSTACK - 4, 4), U_DATA);
	assert_int_equal(c->s.seg[SEG_SS].sel, K_DATA);
	assert_int_equal(c->s.seg[SEG_CS].sel, K_CODE32);
	assert_int_equal(c->mode & (MODE_USER | MODE_CS32 | MODE_SS32), MODE_CS32 | MODE_SS32);
	assert_int_equal(fix.last_how, MEM_WRITE | MEM_SYSTEM);
}

static void legacy_16bit_gate(void **state)
{
	fix_init(LEGACY32, 3);
	fix_gate(0x20, K_CODE16, 0xe6, 0, 0xffff1234); /* upper half of the offset does not count */
	assert_int_equal(event_software(c, 0x20, true), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 10);
	assert_int_equal(get(FIX_KSTACK - 10, 2), (FIX_DATA + 2) & 0xffff);
	assert_int_equal(get(FIX_KSTACK - 8, 2), U_CODE32);
	assert_int_equal(get(FIX_KSTACK - 4, 2), FIX_USTACK & 0xffff);
	assert_int_equal(get(FIX_KSTACK - 2, 2), U_DATA);
	assert_int_equal(c->mode & (MODE_CS32 | MODE_CS64), 0);

	/* a 16-bit trap gate leaves IF alone */
	fix_init(LEGACY32, 3);
	fix_gate(0x20, K_CODE16, 0xe7, 0, 0x1234);
	assert_int_equal(event_software(c, 0x20, true), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->iflag, 1);

	/* a 16-bit TSS */
	fix_init(LEGACY32, 3);
	c->s.tr.attr = 0x83;
	c->s.tr.limit = 0x2b;
	put(FIX_TSS + 2, FIX_KSTACK - 0x200, 2);
	put(FIX_TSS + 4, K_STACK16, 2);
	fix_gate(0x20, K_CODE32, 0xee, 0, HANDLER);
	c->s.regs[REG_RSP] = 0x12000000 | FIX_USTACK;
	assert_int_equal(event_software(c, 0x20, true), NEXT_DISPATCH);
	/* the 16-bit stack pointer changes alone */
	assert_int_equal(c->s.regs[REG_RSP], 0x12020000 | (FIX_KSTACK - 0x200 - 20));
	assert_int_equal(get(FIX_KSTACK - 0x200 - 8, 4), 0x12000000 | FIX_USTACK);
}

static void legacy_intermediate_level(void **state)
{
	fix_init(LEGACY32, 3);
	fix_gate(0x20, CODE1, 0xee, 0, HANDLER);
	assert_int_equal(event_software(c, 0x20, true), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 1);
	assert_int_equal(c->s.seg[SEG_CS].sel, CODE1);
	assert_int_equal(c->s.seg[SEG_SS].sel, DATA1);
	assert_int_equal(c->s.regs[REG_RSP], FIX_STACK1 - 20);
	assert_int_equal(c->mode & MODE_USER, 0);
}

static void long_intermediate_level(void **state)
{
	fix_init(LONG64, 3);
	fix_gdt(K_CODE, fix_desc(0, 0xfffff, 0xa0bb)); /* DPL 1 */
	fix_gate(0x20, K_CODE, UGATE, 0, HANDLER);
	assert_int_equal(event_software(c, 0x20, true), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 1);
	assert_int_equal(c->s.regs[REG_RSP], FIX_STACK1 - 40);
	assert_int_equal(c->s.seg[SEG_SS].sel, 1);
}

/* Each way in which a gate may be wrong, and the error code that names it. */
static void gate_errors(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	op = op_none(8);
	op.imm = 0x80;
	run_faults(sys_int, &op, VEC_GP, 0x402); /* type 0 */
	fix_gate(0x80, K_CODE, 0xe5, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, 0x402); /* task gate */
	fix_gate(0x80, K_CODE, 0xe6, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, 0x402); /* 16-bit gate in long mode */
	fix_gate(0x80, K_CODE, 0x6e, 0, HANDLER);
	run_faults(sys_int, &op, VEC_NP, 0x402);
	fix_gate(0x80, 2, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, 0);
	fix_gate(0x80, GDT_END, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, GDT_END);
	fix_gate(0x80, K_DATA, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, K_DATA);
	fix_gate(0x80, K_CODE32, UGATE, 0, HANDLER); /* not 64-bit */
	run_faults(sys_int, &op, VEC_GP, K_CODE32);
	fix_gate(0x80, CODE_LD, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, CODE_LD);
	fix_gate(0x80, K_CODE_NP, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_NP, K_CODE_NP);
	fix_gate(0x80, K_CODE | 4, UGATE, 0, HANDLER); /* no LDT */
	run_faults(sys_int, &op, VEC_GP, K_CODE | 4);
	fix_gate(0x80, K_CODE, UGATE, 0, 1ull << 47); /* not canonical */
	run_faults(sys_int, &op, VEC_GP, 0);
	fix_gate(0x80, K_CODE, UGATE, 0, HANDLER);
	c->s.idtr.limit = 0x80e;
	run_faults(sys_int, &op, VEC_GP, 0x402);
	c->s.idtr.limit = 0x80f;
	put(FIX_TSS + 4, 1ull << 63, 8);
	run_faults(sys_int, &op, VEC_SS, 0);
	put(FIX_TSS + 4, FIX_SIZE + 0x1000, 8);
	run_faults(sys_int, &op, VEC_PF, PFERR_W);
	assert_int_equal(c->fault.cr2, FIX_SIZE + 0x1000 - 40);
	c->s.tr.limit = 10;
	run_faults(sys_int, &op, VEC_TS, TSS64);
	c->s.tr.limit = 11;
	put(FIX_TSS + 4, FIX_KSTACK, 8);
	assert_int_equal(run(sys_int, &op), NEXT_DISPATCH);

	/* code of an outer level cannot handle */
	fix_init(LONG64, 0);
	fix_gate(0x80, U_CODE, UGATE, 0, HANDLER);
	run_faults(sys_int, &op, VEC_GP, U_CODE & ~3);

	/* no #GP for an external interrupt from CPL 3 through a gate of DPL 0 */
	fix_init(LONG64, 3);
	fix_gate(0x80, K_CODE, IGATE, 0, HANDLER);
	event_interrupt(c, 0x80);
	assert_int_equal(c->s.rip, HANDLER);
}

static void legacy_stack_errors(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	op = op_none(4);
	op.imm = 0x80;
	fix_gate(0x80, K_CODE32, UGATE, 0, HANDLER);
	put(FIX_TSS + 8, 0, 2);
	run_faults(sys_int, &op, VEC_TS, 0);
	put(FIX_TSS + 8, U_DATA, 2); /* RPL */
	run_faults(sys_int, &op, VEC_TS, U_DATA & ~3);
	put(FIX_TSS + 8, U_DATA & ~3, 2); /* DPL */
	run_faults(sys_int, &op, VEC_TS, U_DATA & ~3);
	put(FIX_TSS + 8, K_CODE32, 2);
	run_faults(sys_int, &op, VEC_TS, K_CODE32);
	put(FIX_TSS + 8, GDT_END, 2);
	run_faults(sys_int, &op, VEC_TS, GDT_END);
	fix_gdt(K_SMALL, fix_desc(0, 0x1ffff, 0x4013));
	put(FIX_TSS + 8, K_SMALL, 2);
	run_faults(sys_int, &op, VEC_SS, K_SMALL);
	fix_gdt(K_SMALL, fix_desc(0, FIX_KSTACK - 5, 0x4093)); /* one byte short */
	run_faults(sys_int, &op, VEC_SS, K_SMALL);
	fix_gdt(K_SMALL, fix_desc(0, FIX_KSTACK - 1, 0x4092));
	assert_int_equal(run(sys_int, &op), NEXT_DISPATCH);
	/* loading it sets its accessed bit */
	assert_int_equal(get(FIX_GDT + K_SMALL + 5, 1), 0x93);
}

/* Second faults during the delivery of a first one: SDM vol. 3, tables 6-4 and 6-5. */
static void serial(void **state)
{
	/* benign first: the second is delivered in its place, at the same RIP, with EXT set */
	fix_init(LONG64, 0);
	fix_gate(VEC_GP, K_CODE, IGATE, 0, HANDLER);
	fault(VEC_UD, -1);
	assert_int_equal(c->s.rip, HANDLER);
	assert_int_equal(get(c->s.regs[REG_RSP], 8), VEC_UD * 8 + 3);
	assert_int_equal(get(c->s.regs[REG_RSP] + 8, 8), FIX_DATA);

	/* an external interrupt likewise */
	fix_init(LONG64, 0);
	fix_gate(VEC_NP, K_CODE, IGATE, 0, HANDLER);
	fix_gate(0x40, K_CODE, 0x0e, 0, HANDLER);
	event_interrupt(c, 0x40);
	assert_int_equal(c->s.rip, HANDLER);
	assert_int_equal(get(c->s.regs[REG_RSP], 8), 0x40 * 8 + 3);

	/* contributory, then #PF: the page fault is delivered */
	fix_init(LONG64, 0);
	fix_gate(VEC_GP, K_CODE, IGATE, 0, HANDLER);
	fix_gate(VEC_PF, K_CODE, IGATE, 1, HANDLER + 14);
	c->s.regs[REG_RSP] = FIX_SIZE + 0x800;
	fault(VEC_GP, 0);
	assert_int_equal(c->s.rip, HANDLER + 14);
	assert_int_equal(c->s.cr2, FIX_SIZE + 0x800 - 48);
	assert_int_equal(get(FIX_IST1 - 48, 8), PFERR_W);
}

static void double_faults(void **state)
{
	/* contributory twice */
	fix_init(LONG64, 0);
	fix_gate(VEC_DF, K_CODE, IGATE, 1, HANDLER + 8);
	fault(VEC_GP, 0x10);
	assert_false(c->shutdown);
	assert_int_equal(c->s.rip, HANDLER + 8);
	assert_int_equal(get(FIX_IST1 - 48, 8), 0);
	assert_int_equal(get(FIX_IST1 - 40, 8), FIX_DATA);

	/* #PF, then #PF: the kernel stack is gone */
	fix_init(LONG64, 0);
	fix_gate(VEC_DF, K_CODE, IGATE, 1, HANDLER + 8);
	fix_gate(VEC_PF, K_CODE, IGATE, 0, HANDLER + 14);
	c->s.regs[REG_RSP] = FIX_SIZE + 0x1000;
	c->fault = (struct soft_fault){ .vector = VEC_PF, .has_error = true, .cr2 = 0x123 };
	event_fault(c);
	assert_false(c->shutdown);
	assert_int_equal(c->s.rip, HANDLER + 8);
	assert_int_equal(c->s.cr2, FIX_SIZE + 0x1000 - 48);

	/* #PF, then contributory */
	fix_init(LONG64, 0);
	fix_gate(VEC_DF, K_CODE, IGATE, 1, HANDLER + 8);
	fault(VEC_PF, 0);
	assert_false(c->shutdown);
	assert_int_equal(c->s.rip, HANDLER + 8);

	/* #UD, then #NP, then #GP */
	fix_init(LONG64, 0);
	fix_gate(VEC_DF, K_CODE, IGATE, 1, HANDLER + 8);
	fix_gate(VEC_UD, K_CODE, 0x0e, 0, HANDLER);
	fault(VEC_UD, -1);
	assert_false(c->shutdown);
	assert_int_equal(c->s.rip, HANDLER + 8);
}

static void triple_faults(void **state)
{
	struct x86_state before;

	/* lidt of nothing and INT3, as Linux reboots */
	fix_init(LONG64, 0);
	c->s.idtr.limit = 0;
	assert_int_equal(event_software(c, VEC_BP, true), NEXT_FAULT);
	assert_int_equal(c->fault.error, VEC_BP * 8 + 2);
	before = c->s;
	event_fault(c);
	assert_true(c->shutdown);
	assert_memory_equal(&before, &c->s, sizeof(before));
	assert_int_equal(c->fault.vector, VEC_GP); /* how it began */

	/* #DF whose stack is not mapped */
	fix_init(LONG64, 3);
	fix_gate(VEC_PF, K_CODE, IGATE, 0, HANDLER);
	fix_gate(VEC_DF, K_CODE, IGATE, 0, HANDLER);
	put(FIX_TSS + 4, FIX_SIZE + 0x1000, 8);
	c->fault = (struct soft_fault){ .vector = VEC_PF, .has_error = true, .error = 4, .cr2 = 0x123 };
	event_fault(c);
	assert_true(c->shutdown);
	assert_int_equal(c->s.rip, FIX_DATA);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(c->fault.cr2, 0x123);
}

/* Tables and stacks in the upper half, as Linux has them. */
static void high_addresses(void **state)
{
	fix_init(LONG64, 3);
	fix_gate(VEC_UD, K_CODE, IGATE, 0, HANDLER);
	c->s.gdtr.base += FIX_HIGH;
	c->s.idtr.base += FIX_HIGH;
	c->s.tr.base += FIX_HIGH;
	put(FIX_TSS + 4, FIX_HIGH + FIX_KSTACK, 8);
	fault(VEC_UD, -1);
	assert_int_equal(c->s.rip, HANDLER);
	assert_true(c->s.regs[REG_RSP] == FIX_HIGH + FIX_KSTACK - 40);
	assert_int_equal(get(FIX_KSTACK - 40, 8), FIX_DATA);

	/* a stack that ends where the canonical half does */
	fix_init(LONG64, 0);
	fix_gate(VEC_UD, K_CODE, IGATE, 0, HANDLER);
	fix_gate(VEC_SS, K_CODE, IGATE, 1, HANDLER + 12);
	c->s.regs[REG_RSP] = 0xffff800000000010;
	fault(VEC_UD, -1);
	assert_int_equal(c->s.rip, HANDLER + 12);
	assert_int_equal(get(FIX_IST1 - 48, 8), 1); /* EXT */
}

/* The accessed bit of the handler's descriptor. */
static void accessed(void **state)
{
	fix_init(LONG64, 3);
	fix_gdt(K_CODE, fix_desc(0, 0xfffff, 0xa09a));
	fix_gate(VEC_UD, K_CODE, IGATE, 0, HANDLER);
	fault(VEC_UD, -1);
	assert_int_equal(get(FIX_GDT + K_CODE + 5, 1), 0x9b);
	assert_int_equal(c->s.seg[SEG_CS].attr, 0xa09b);
	assert_int_equal(fix.writes, 2);
}

/* ---- a platform that takes events itself ---- */

static struct vcpu_trap trapped;
static unsigned traps;

static void on_trap(void *machine, unsigned cpu, struct x86_state *s, const struct vcpu_trap *trap)
{
	assert_ptr_equal(machine, &trapped);
	assert_int_equal(fix.parked, 0); /* whoever needs ordinary C parks by himself */
	trapped = *trap;
	traps++;
	s->rip = 0x1234;
	s->rflags |= FLAG_CF;
	s->seg[SEG_SS].attr = 0xc0b3; /* level 1 */
	s->cr3 = 0x5000;
}

static void platform_takes_events(void **state)
{
	static const uint64_t gdt[4] = { 0, 0, 0x00cfbb000000ffff, 0x00cfb3000000ffff };
	struct x86_seg seg;

	fix_init(LEGACY32, 3);
	c->bus.machine = &trapped;
	c->bus.trap = on_trap;
	c->bus.gdt = gdt;
	c->bus.gdt_entries = 4;
	traps = 0;

	fault(VEC_GP, 0x18);
	assert_int_equal(traps, 1);
	assert_int_equal(trapped.vector, VEC_GP);
	assert_false(trapped.software);
	assert_true(trapped.has_error);
	assert_int_equal(trapped.error, 0x18);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->cpl, 1);
	assert_true(cpu_get_rflags(c) & FLAG_CF);
	assert_false(c->mode & MODE_USER);
	assert_int_equal(fix.flushes, 1); /* CR3 has changed */
	assert_int_equal(fix.parked, 0);
	assert_int_equal(fix.accesses, 0); /* neither IDT nor stack */

	/* INT n: RIP behind the instruction, and where that begins. The same CR3: no flush. */
	c->s.rip = 0x2000;
	c->next_rip = 0x2002;
	assert_int_equal(event_software(c, 0x80, true), NEXT_DISPATCH);
	assert_true(trapped.software);
	assert_int_equal(trapped.vector, 0x80);
	assert_int_equal(trapped.start, 0x2000);
	assert_int_equal(fix.flushes, 1);

	/* Descriptors come from the platform's table, which ends where it ends. */
	assert_int_equal(seg_load(c, SEG_DS, 0x19, &seg), 0);
	assert_int_equal(seg.limit, 0xffffffff);
	assert_int_equal(fix.accesses, 0);
	assert_int_equal(seg_load(c, SEG_DS, 0x21, &seg), -1);
	assert_int_equal(c->fault.vector, VEC_GP);
	assert_int_equal(c->fault.error, 0x20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_fault_same_level),
		cmocka_unit_test(long_fault_from_user),
		cmocka_unit_test(long_fault_from_compat),
		cmocka_unit_test(long_ist),
		cmocka_unit_test(long_conforming),
		cmocka_unit_test(interrupt_and_nmi),
		cmocka_unit_test(software),
		cmocka_unit_test(legacy_same_level),
		cmocka_unit_test(legacy_from_user),
		cmocka_unit_test(legacy_16bit_gate),
		cmocka_unit_test(legacy_intermediate_level),
		cmocka_unit_test(long_intermediate_level),
		cmocka_unit_test(gate_errors),
		cmocka_unit_test(legacy_stack_errors),
		cmocka_unit_test(serial),
		cmocka_unit_test(double_faults),
		cmocka_unit_test(triple_faults),
		cmocka_unit_test(high_addresses),
		cmocka_unit_test(accessed),
		cmocka_unit_test(platform_takes_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
