/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment register loads, descriptor tables, LAR and its kin, limits. */
#include "sys_fixture.h"

static struct soft_cpu *const c = &fix.c;

static struct sysop mov_sreg(unsigned seg, uint16_t sel)
{
	c->s.regs[REG_RAX] = 0xffff0000u | sel; /* the upper half does not count */
	return op_reg(4, seg, REG_RAX);
}

static void mov_ok(unsigned seg, uint16_t sel, enum soft_next next)
{
	struct sysop op = mov_sreg(seg, sel);

	assert_int_equal(run(sys_mov_to_sreg, &op), next);
	assert_int_equal(c->s.seg[seg].sel, sel);
}

static void mov_bad(unsigned seg, uint16_t sel, unsigned vector, int error)
{
	struct sysop op = mov_sreg(seg, sel);

	run_faults(sys_mov_to_sreg, &op, vector, error);
}

static void loads_long(void **state)
{
	fix_init(LONG64, 3);
	c->s.seg[SEG_GS].base = 0x7fff00001000;
	mov_ok(SEG_DS, U_DATA, NEXT_CONTINUE);
	mov_ok(SEG_DS, U_RODATA, NEXT_CONTINUE);
	mov_ok(SEG_DS, U_CODE32, NEXT_CONTINUE); /* readable code */
	mov_ok(SEG_ES, CONFORMING32 | 3, NEXT_CONTINUE);
	mov_ok(SEG_FS, U_BASED, NEXT_CONTINUE);
	assert_int_equal(c->s.seg[SEG_FS].base, FIX_USER);
	assert_int_equal(c->s.seg[SEG_FS].limit, 0xffff);
	mov_ok(SEG_GS, 0, NEXT_CONTINUE);
	assert_int_equal(c->s.seg[SEG_GS].base, 0); /* NullSelectorClearsBase */
	assert_int_equal(c->s.seg[SEG_GS].attr, 0);
	mov_ok(SEG_GS, 3, NEXT_CONTINUE);

	mov_bad(SEG_CS, U_CODE, VEC_UD, -1);
	mov_bad(6, U_CODE, VEC_UD, -1);
	mov_bad(SEG_DS, K_DATA, VEC_GP, K_DATA);
	mov_bad(SEG_DS, K_DATA | 3, VEC_GP, K_DATA);
	mov_bad(SEG_DS, U_XONLY, VEC_GP, U_XONLY & ~3);
	mov_bad(SEG_DS, TSS64, VEC_GP, TSS64);
	mov_bad(SEG_DS, U_DATA_NP, VEC_NP, U_DATA_NP & ~3);
	mov_bad(SEG_DS, GDT_END | 3, VEC_GP, GDT_END);
	mov_bad(SEG_DS, U_DATA | 4, VEC_GP, (U_DATA | 4) & ~3); /* no LDT */
	mov_bad(SEG_SS, 0, VEC_GP, 0);
	mov_bad(SEG_SS, 3, VEC_GP, 0);
	mov_bad(SEG_SS, U_DATA & ~3, VEC_GP, U_DATA & ~3);
	mov_bad(SEG_SS, U_RODATA, VEC_GP, U_RODATA & ~3);
	mov_bad(SEG_SS, U_CODE32, VEC_GP, U_CODE32 & ~3);
	mov_bad(SEG_SS, U_STACK_NP, VEC_SS, U_STACK_NP & ~3);
	mov_ok(SEG_SS, U_DATA, NEXT_CONTINUE);

	fix_init(LONG64, 0);
	mov_ok(SEG_SS, 0, NEXT_CONTINUE);
	mov_bad(SEG_SS, 1, VEC_GP, 0);
	mov_ok(SEG_SS, K_DATA, NEXT_CONTINUE);
	mov_ok(SEG_DS, U_DATA, NEXT_CONTINUE);
	mov_bad(SEG_DS, K_DATA | 1, VEC_GP, K_DATA); /* RPL > DPL */
	/* a GDT that ends inside a descriptor */
	c->s.gdtr.limit = K_DATA + 6;
	mov_bad(SEG_DS, K_DATA, VEC_GP, K_DATA);
	c->s.gdtr.limit = K_DATA + 7;
	mov_ok(SEG_DS, K_DATA, NEXT_CONTINUE);
	c->s.gdtr.base = FIX_SIZE;
	mov_bad(SEG_DS, K_DATA, VEC_PF, 0);
	/* tables lie anywhere in the address space, but in legacy mode in its first 4 GiB */
	c->s.gdtr.base = FIX_HIGH + FIX_GDT;
	mov_ok(SEG_DS, K_DATA, NEXT_CONTINUE);
	fix_init(LEGACY32, 0);
	c->s.gdtr.base = (1ull << 32) + FIX_GDT;
	mov_ok(SEG_DS, U_DATA, NEXT_CONTINUE);
}

static void loads_ldt(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	put(FIX_LDT + 8, fix_desc(FIX_USER, 0xfff, 0x40f2), 8);
	op = op_reg(2, 0, REG_RAX);
	c->s.regs[REG_RAX] = LDT64;
	assert_int_equal(run(sys_lldt, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.ldtr.base, FIX_LDT);
	mov_ok(SEG_ES, 8 | 4 | 3, NEXT_CONTINUE);
	assert_int_equal(c->s.seg[SEG_ES].base, FIX_USER);
	assert_int_equal(get(FIX_LDT + 8 + 5, 1), 0xf3);
	/* entry 0 of the LDT is one like any other: here not even a segment */
	mov_bad(SEG_ES, 4, VEC_GP, 4);
	mov_bad(SEG_ES, 0x100 | 4, VEC_GP, 0x100 | 4);
	put(FIX_LDT, fix_desc(0, 0xfff, 0x4093), 8);
	c->s.ldtr.limit = 6;
	mov_bad(SEG_ES, 4, VEC_GP, 4);
	c->s.ldtr.limit = 7;
	mov_ok(SEG_ES, 4, NEXT_CONTINUE);
	assert_true(c->s.seg[SEG_ES].attr & SEG_ATTR_P);
}

/* The mode word follows the segments in 32-bit code. */
static void mode_word(void **state)
{
	fix_init(LEGACY32, 0);
	assert_int_equal(c->mode, MODE_CS32 | MODE_SS32 | MODE_CPL0 | MODE_SMAP);
	mov_ok(SEG_DS, U_DATA, NEXT_CONTINUE); /* flat again: nothing changes */
	mov_ok(SEG_DS, 0, NEXT_DISPATCH);
	assert_true(c->mode & MODE_CHECK(SEG_DS));
	mov_ok(SEG_DS, U_BASED, NEXT_DISPATCH);
	assert_true(c->mode & MODE_BASE_DS);
	assert_true(c->mode & MODE_CHECK(SEG_DS));
	assert_false(c->s.int_shadow);
	c->s.rip = FIX_DATA;
	mov_ok(SEG_DS, U_RODATA, NEXT_DISPATCH);
	assert_int_equal(c->mode & (MODE_BASE_DS | MODE_CHECK(SEG_DS)), MODE_CHECK(SEG_DS));
	c->s.rip = FIX_DATA;
	mov_ok(SEG_ES, K_DOWN, NEXT_DISPATCH);
	assert_true(c->mode & MODE_CHECK(SEG_ES));
	/* a new SS that changes the mode word carries the shadow along */
	mov_ok(SEG_SS, K_SMALL, NEXT_DISPATCH);
	assert_int_equal(c->s.rip, FIX_DATA + 2);
	assert_true(c->s.int_shadow);
	assert_true(c->mode & MODE_CHECK(SEG_SS));
	assert_true(c->mode & MODE_SS32);
	mov_ok(SEG_SS, K_STACK16, NEXT_DISPATCH);
	assert_false(c->mode & MODE_SS32);
	/* 64-bit code has none of this */
	fix_init(LONG64, 0);
	mov_ok(SEG_SS, K_STACK16, NEXT_CONTINUE);
	assert_int_equal(c->mode, MODE_CS64 | MODE_CPL0 | MODE_SMAP);
	assert_false(c->s.int_shadow);
	/* but when each instruction is a block, the shadow must outlive the block */
	c->s.dr[7] = 1;
	cpu_update_mode(c);
	mov_ok(SEG_DS, K_DATA, NEXT_CONTINUE);
	assert_false(c->s.int_shadow);
	mov_ok(SEG_SS, K_DATA, NEXT_CONTINUE);
	assert_true(c->s.int_shadow);
	fix_init(LEGACY32, 0);
	mov_bad(SEG_SS, 0, VEC_GP, 0);
}

static void stack_forms(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	op = op_reg(8, SEG_FS, OPERAND_NONE);
	assert_int_equal(run(sys_push_sreg, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 8);
	assert_int_equal(get(FIX_USTACK - 8, 8), U_DATA);
	put(FIX_USTACK - 8, 0xffffffff0000 | U_BASED, 8);
	assert_int_equal(run(sys_pop_sreg, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.seg[SEG_FS].sel, U_BASED);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	put(FIX_USTACK, K_DATA, 8);
	run_faults(sys_pop_sreg, &op, VEC_GP, K_DATA);

	/* 66 push fs */
	op.opsize = 2;
	assert_int_equal(run(sys_push_sreg, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 2);

	/* POP SS: SP moves by the rules of the old segment */
	fix_init(LEGACY32, 0);
	op = op_reg(4, SEG_SS, OPERAND_NONE);
	put(c->s.regs[REG_RSP], K_STACK16, 4);
	assert_int_equal(run(sys_pop_sreg, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0x100 + 4);
	assert_true(c->s.int_shadow);

	/* a 16-bit stack wraps, and the rest of ESP stays */
	c->s.regs[REG_RSP] = 0xabcd0002;
	op = op_reg(4, SEG_DS, OPERAND_NONE);
	run_faults(sys_push_sreg, &op, VEC_SS, 0); /* at 0xfffe, across the limit */
	c->s.regs[REG_RSP] = 0xabcd0000;
	assert_int_equal(run(sys_push_sreg, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], 0xabcdfffc);
	assert_int_equal(get(0xfffc, 4), K_DATA);
}

static void load_far(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	put(FIX_UDATA, 0x89abcdef, 4);
	put(FIX_UDATA + 4, U_BASED, 2);
	op = op_mem(8, REG_RBX, FIX_UDATA);
	op.aux = SEG_GS;
	c->s.regs[REG_RBX] = ~0ull;
	assert_int_equal(run(sys_load_far, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RBX], 0x89abcdef);
	assert_int_equal(c->s.seg[SEG_GS].sel, U_BASED);
	op.opsize = 2;
	c->s.regs[REG_RBX] = ~0ull;
	put(FIX_UDATA + 2, U_DATA, 2);
	assert_int_equal(run(sys_load_far, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RBX], 0xffffffffffffcdef);
	put(FIX_UDATA + 2, K_DATA, 2);
	run_faults(sys_load_far, &op, VEC_GP, K_DATA);
	fix.fault_at = FIX_UDATA + 3;
	run_faults(sys_load_far, &op, VEC_PF, PFERR_U);
	op = op_reg(4, REG_RBX, REG_RCX);
	run_faults(sys_load_far, &op, VEC_UD, -1);
}

static void mov_from(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	c->s.regs[REG_RDX] = ~0ull;
	op = op_reg(2, SEG_CS, REG_RDX);
	assert_int_equal(run(sys_mov_from_sreg, &op), NEXT_CONTINUE);
	assert_true(c->s.regs[REG_RDX] == (0xffffffffffff0000 | U_CODE));
	op.opsize = 4;
	assert_int_equal(run(sys_mov_from_sreg, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RDX], U_CODE);
	op = op_mem(8, SEG_SS, FIX_UDATA);
	put(FIX_UDATA, ~0ull, 8);
	assert_int_equal(run(sys_mov_from_sreg, &op), NEXT_CONTINUE);
	assert_true(get(FIX_UDATA, 8) == (0xffffffffffff0000 | U_DATA));
	op = op_mem(8, 7, FIX_UDATA);
	run_faults(sys_mov_from_sreg, &op, VEC_UD, -1);
}

static bool zf(void)
{
	return cpu_get_rflags(c) & FLAG_ZF;
}

/* Looks at @sel with all four; -1: not accessible. */
static void look(uint16_t sel, int64_t lar, int64_t lsl, bool verr, bool verw)
{
	struct sysop op = op_reg(4, REG_RDX, REG_RAX);
	uint64_t others;

	cpu_set_rflags(c, FLAG_ONE | FLAG_CF | FLAG_OF | FLAG_PF | FLAG_IF);
	others = cpu_get_rflags(c);
	c->s.regs[REG_RAX] = sel;
	c->s.regs[REG_RDX] = 0x5555;
	assert_int_equal(run(sys_lar, &op), NEXT_CONTINUE);
	assert_int_equal(zf(), lar >= 0);
	assert_int_equal(c->s.regs[REG_RDX], lar >= 0 ? lar : 0x5555);
	c->s.regs[REG_RDX] = 0x5555;
	assert_int_equal(run(sys_lsl, &op), NEXT_CONTINUE);
	assert_int_equal(zf(), lsl >= 0);
	assert_int_equal(c->s.regs[REG_RDX], lsl >= 0 ? lsl : 0x5555);
	assert_int_equal(run(sys_verr, &op), NEXT_CONTINUE);
	assert_int_equal(zf(), verr);
	assert_int_equal(run(sys_verw, &op), NEXT_CONTINUE);
	assert_int_equal(zf(), verw);
	assert_int_equal(cpu_get_rflags(c) & ~FLAG_ZF, others);
}

static void lar_family(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	look(0, -1, -1, false, false);
	look(3, -1, -1, false, false);
	look(U_DATA, 0xcff300, 0xffffffff, true, true);
	look(U_RODATA, 0xcff100, 0xffffffff, true, false);
	look(U_XONLY, 0xcff900, 0xffffffff, false, false);
	look(U_CODE, 0xaffb00, 0xffffffff, true, false);
	look(K_DATA, -1, -1, false, false);
	look(CONFORMING32, 0xcf9f00, 0xffffffff, true, false);
	look(U_DATA_NP, 0xcf7300, 0xffffffff, true, true); /* P does not matter */
	look(U_BASED, 0x40f300, 0xffff, true, true);
	look(GDT_END, -1, -1, false, false);
	look(TSS64, -1, -1, false, false);
	look(U_DATA | 4, -1, -1, false, false);
	fix_init(LONG64, 0);
	look(TSS64, 0x8900, 0x67, false, false);
	look(LDT64, 0x8200, 0xff, false, false);
	look(K_DATA, 0xcf9300, 0xffffffff, true, true);
	look(K_DATA | 3, -1, -1, false, false);
	look(TSS16, -1, -1, false, false); /* no such type in long mode */
	look(TASK_GATE, -1, -1, false, false);
	fix_init(LEGACY32, 0);
	look(TSS16, 0x8100, 0x2b, false, false);
	look(TASK_GATE, 0xe500, -1, false, false);

	op = op_reg(2, REG_RDX, REG_RAX);
	c->s.regs[REG_RAX] = K_DATA;
	c->s.regs[REG_RDX] = 0x55555555;
	assert_int_equal(run(sys_lar, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RDX], 0x55559300);
	op = op_mem(4, REG_RDX, FIX_SIZE);
	run_faults(sys_verr, &op, VEC_PF, 0);
}

static void arpl(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	op = op_reg(2, REG_RDX, REG_RAX);
	c->s.regs[REG_RAX] = 0xffff0018;
	c->s.regs[REG_RDX] = 3;
	assert_int_equal(run(sys_arpl, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RAX], 0xffff001b);
	assert_true(zf());
	assert_int_equal(run(sys_arpl, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RAX], 0xffff001b);
	assert_false(zf());
}

static void dtr(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	op = op_mem(8, 0, FIX_DATA);
	put(FIX_DATA, 0x1234, 2);
	put(FIX_DATA + 2, 0xffff888000001000, 8);
	assert_int_equal(run(sys_lidt, &op), NEXT_CONTINUE);
	assert_true(c->s.idtr.base == 0xffff888000001000);
	assert_int_equal(c->s.idtr.limit, 0x1234);
	put(FIX_DATA, 0, 8);
	put(FIX_DATA + 8, 0xffffffff00000000, 8);
	assert_int_equal(run(sys_sidt, &op), NEXT_CONTINUE);
	assert_int_equal(get(FIX_DATA, 2), 0x1234);
	assert_true(get(FIX_DATA + 2, 8) == 0xffff888000001000);
	assert_int_equal(get(FIX_DATA + 10, 2), 0); /* and no byte further */
	put(FIX_DATA + 2, 1ull << 47, 8);
	run_faults(sys_lgdt, &op, VEC_GP, 0);

	fix_init(LEGACY32, 0);
	op = op_mem(4, 0, FIX_DATA);
	put(FIX_DATA, 0xff, 2);
	put(FIX_DATA + 2, 0xc1234567, 8);
	assert_int_equal(run(sys_lgdt, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.gdtr.base, 0xc1234567);
	assert_int_equal(run(sys_sgdt, &op), NEXT_CONTINUE);
	assert_int_equal(get(FIX_DATA + 2, 4), 0xc1234567);
	op.opsize = 2;
	assert_int_equal(run(sys_lgdt, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.gdtr.base, 0x234567);

	/* user mode: stores only, and with UMIP not even those */
	fix_init(LONG64, 3);
	op = op_mem(8, 0, FIX_UDATA);
	run_faults(sys_lgdt, &op, VEC_GP, 0);
	run_faults(sys_lidt, &op, VEC_GP, 0);
	assert_int_equal(run(sys_sgdt, &op), NEXT_CONTINUE);
	c->s.cr4 |= CR4_UMIP;
	run_faults(sys_sgdt, &op, VEC_GP, 0);
	run_faults(sys_sidt, &op, VEC_GP, 0);
	run_faults(sys_sldt, &op, VEC_GP, 0);
	run_faults(sys_str, &op, VEC_GP, 0);
}

static void system_segments(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	op = op_reg(2, 0, REG_RAX);
	fix_gdt(TSS64, fix_desc(0x12345000, 0x206f, 0x0089));
	fix_gdt(TSS64 + 8, 0xffff8880);
	c->s.regs[REG_RAX] = TSS64;
	assert_int_equal(run(sys_ltr, &op), NEXT_CONTINUE);
	assert_true(c->s.tr.base == 0xffff888012345000);
	assert_int_equal(c->s.tr.limit, 0x206f);
	assert_int_equal(c->s.tr.attr, 0x8b);
	assert_int_equal(get(FIX_GDT + TSS64 + 5, 1), 0x8b);
	run_faults(sys_ltr, &op, VEC_GP, TSS64); /* busy */
	fix_gdt(TSS64, fix_desc(0, 0x67, 0x0009));
	run_faults(sys_ltr, &op, VEC_NP, TSS64);
	fix_gdt(TSS64, fix_desc(0, 0x67, 0x0089));
	fix_gdt(TSS64 + 8, 0x8000);
	run_faults(sys_ltr, &op, VEC_GP, TSS64);
	c->s.regs[REG_RAX] = TSS16;
	run_faults(sys_ltr, &op, VEC_GP, TSS16);
	c->s.regs[REG_RAX] = K_DATA;
	run_faults(sys_ltr, &op, VEC_GP, K_DATA);
	c->s.regs[REG_RAX] = 0;
	run_faults(sys_ltr, &op, VEC_GP, 0);
	c->s.regs[REG_RAX] = GDT_END;
	run_faults(sys_ltr, &op, VEC_GP, GDT_END);
	c->s.regs[REG_RAX] = GDT_END - 8; /* half of a 16-byte descriptor */
	fix_gdt(GDT_END - 8, fix_desc(0, 0x67, 0x0089));
	run_faults(sys_ltr, &op, VEC_GP, GDT_END - 8);
	c->s.regs[REG_RAX] = TSS64 | 4;
	run_faults(sys_ltr, &op, VEC_GP, TSS64 | 4);
	c->s.regs[REG_RAX] = TSS64;
	run_faults(sys_lldt, &op, VEC_GP, TSS64);
	c->s.regs[REG_RAX] = 0;
	assert_int_equal(run(sys_lldt, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.ldtr.attr, 0);

	c->s.regs[REG_RAX] = ~0ull;
	op.opsize = 4;
	assert_int_equal(run(sys_str, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RAX], TSS64);
	op = op_mem(8, 0, FIX_DATA);
	put(FIX_DATA, ~0ull, 8);
	assert_int_equal(run(sys_sldt, &op), NEXT_CONTINUE);
	assert_true(get(FIX_DATA, 8) == 0xffffffffffff0000);

	fix_init(LEGACY32, 0);
	op = op_reg(2, 0, REG_RAX);
	c->s.regs[REG_RAX] = TSS16;
	assert_int_equal(run(sys_ltr, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.tr.attr, 0x83);
	c->s.regs[REG_RAX] = LDT32;
	assert_int_equal(run(sys_lldt, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.ldtr.base, FIX_LDT);

	fix_init(LONG64, 3);
	run_faults(sys_ltr, &op, VEC_GP, 0);
	run_faults(sys_lldt, &op, VEC_GP, 0);
}

/* soft_linear(): limits, types, wrap, canonical form. */
static bool allowed(unsigned seg, uint64_t ea, unsigned len, bool write)
{
	uint64_t lin = 0;

	if (soft_linear(c, seg, ea, len, write, &lin)) {
		assert_int_equal(c->fault.vector, seg == SEG_SS ? VEC_SS : VEC_GP);
		assert_int_equal(c->fault.error, 0);
		return false;
	}
	if (c->mode & MODE_CS64)
		assert_true(lin == ea + (seg >= SEG_FS ? c->s.seg[seg].base : 0));
	else
		assert_true(lin == (uint32_t)(ea + c->s.seg[seg].base));
	return true;
}

static void limits(void **state)
{
	fix_init(LEGACY32, 0);
	mov_ok(SEG_ES, U_BASED, NEXT_DISPATCH);
	assert_true(allowed(SEG_ES, 0xfffc, 4, true));
	assert_false(allowed(SEG_ES, 0xfffd, 4, true));
	assert_false(allowed(SEG_ES, 0x10000, 1, false));
	assert_false(allowed(SEG_ES, 0xffffffff, 2, false));
	mov_ok(SEG_ES, K_DOWN, NEXT_DISPATCH); /* limit 0xfff, expand-down */
	assert_false(allowed(SEG_ES, 0xfff, 1, false));
	assert_true(allowed(SEG_ES, 0x1000, 4, true));
	assert_true(allowed(SEG_ES, 0xfffffffc, 4, true));
	assert_false(allowed(SEG_ES, 0xfffffffd, 4, true));
	fix_gdt(K_DOWN, fix_desc(0, 0xfff, 0x0097)); /* 16-bit: ends at 64 KiB */
	mov_ok(SEG_FS, K_DOWN, NEXT_DISPATCH);
	assert_true(allowed(SEG_FS, 0xfffc, 4, true));
	assert_false(allowed(SEG_FS, 0xfffd, 4, true));
	mov_ok(SEG_ES, U_RODATA, NEXT_CONTINUE); /* checked before, checked now */
	assert_true(allowed(SEG_ES, 0, 4, false));
	assert_false(allowed(SEG_ES, 0, 4, true));
	assert_true(allowed(SEG_CS, 0, 4, false));
	assert_false(allowed(SEG_CS, 0, 4, true));
	c->s.seg[SEG_CS].attr = 0xc099; /* execute-only */
	cpu_update_mode(c);
	assert_false(allowed(SEG_CS, 0, 4, false));
	mov_ok(SEG_ES, 0, NEXT_CONTINUE);
	assert_false(allowed(SEG_ES, 0, 1, false));
	/* flat segments end at 4 GiB, too */
	assert_true(allowed(SEG_DS, 0xfffffffc, 4, true));
	assert_false(allowed(SEG_DS, 0xfffffffd, 4, true));
	mov_ok(SEG_SS, K_SMALL, NEXT_DISPATCH);
	assert_true(allowed(SEG_SS, 0x1fffc, 4, true));
	assert_false(allowed(SEG_SS, 0x1fffd, 4, true));

	fix_init(LONG64, 3);
	c->s.seg[SEG_FS].base = 0xffff880000000000;
	assert_true(allowed(SEG_DS, 0x7ffffffffff8, 8, true));
	assert_false(allowed(SEG_DS, 0x7ffffffffff9, 8, true));
	assert_true(allowed(SEG_DS, 0xffff800000000000, 8, true));
	assert_false(allowed(SEG_SS, 0xffff7fffffffffff, 1, true));
	assert_true(allowed(SEG_FS, 0x1000, 8, true));
	assert_true(allowed(SEG_FS, 0x0000780000000000, 8, true)); /* wraps to 0 */
	mov_ok(SEG_ES, 0, NEXT_CONTINUE);
	assert_true(allowed(SEG_ES, 0, 8, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_long),      cmocka_unit_test(loads_ldt), cmocka_unit_test(mode_word),
		cmocka_unit_test(stack_forms),     cmocka_unit_test(load_far),  cmocka_unit_test(mov_from),
		cmocka_unit_test(lar_family),      cmocka_unit_test(arpl),      cmocka_unit_test(dtr),
		cmocka_unit_test(system_segments), cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
