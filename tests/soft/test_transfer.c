/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far transfers, IRET, SYSCALL and friends. */
#include "sys_fixture.h"

#define TARGET 0x12340u

static struct soft_cpu *const c = &fix.c;

static void put_far(uint32_t at, unsigned size, uint64_t offset, uint16_t sel)
{
	put(at, offset, size);
	put(at + size, sel, 2);
}

/* Values as IRET and far RET pop them. */
static void put_stack(unsigned size, const uint64_t *val, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(c->s.regs[REG_RSP] + i * size, val[i], size);
}

static struct sysop far_imm(uint8_t opcode, unsigned size, uint32_t offset, uint16_t sel)
{
	struct sysop op = op_none(size);
	unsigned n = 0;

	op.bytes[n++] = opcode;
	for (unsigned i = 0; i < size; i++)
		op.bytes[n++] = (uint8_t)(offset >> (8 * i));
	op.bytes[n++] = (uint8_t)sel;
	op.bytes[n++] = sel >> 8;
	op.len = n;
	return op;
}

static void jmp_direct(void **state)
{
	struct sysop op;

	/* what a boot stub does: 32-bit code jumps into long mode */
	fix_init(COMPAT32, 0);
	op = far_imm(0xea, 4, TARGET, K_CODE);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->s.seg[SEG_CS].sel, K_CODE);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32 | MODE_SS32), MODE_CS64);

	/* and back, through memory */
	op = op_mem(4, 0, FIX_DATA);
	put_far(FIX_DATA, 4, 0xfffffff0, K_CODE32);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xfffffff0);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32 | MODE_SS32), MODE_CS32 | MODE_SS32);

	fix_init(LEGACY32, 0);
	op = far_imm(0xea, 2, 0x1234, K_CODE16);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32), 0);

	/* a code segment with a limit */
	fix_init(LEGACY32, 0);
	fix_gdt(K_CODE16, fix_desc(0x100, 0x1fff, 0x409a));
	op = far_imm(0xea, 4, 0x2000, K_CODE16);
	run_faults(sys_jmp_far, &op, VEC_GP, 0);
	assert_int_equal(get(FIX_GDT + K_CODE16 + 5, 1), 0x9a);
	op = far_imm(0xea, 4, 0x1fff, K_CODE16);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(get(FIX_GDT + K_CODE16 + 5, 1), 0x9b);
	assert_int_equal(c->s.seg[SEG_CS].attr, 0x409b);
	assert_true(c->mode & MODE_CSBASE);

	/* prefixes before the opcode; and a memory operand that has its bytes in the displacement */
	fix_init(LEGACY32, 0);
	op = far_imm(0xea, 2, 0x1234, K_CODE32);
	memmove(op.bytes + 1, op.bytes, op.len++);
	op.bytes[0] = 0x66;
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x1234);
	put_far(FIX_DATA, 4, TARGET, K_CODE32);
	op = op_mem(4, 0, FIX_DATA);
	op.len = 7;
	memcpy(op.bytes, "\x2e\xff\x2d\xea\xea\xea\xea", 7);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
}

static void jmp_errors(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	op = far_imm(0xea, 4, TARGET, 3);
	run_faults(sys_jmp_far, &op, VEC_GP, 0);
	op = far_imm(0xea, 4, TARGET, K_CODE32);
	run_faults(sys_jmp_far, &op, VEC_GP, K_CODE32);
	op = far_imm(0xea, 4, TARGET, U_DATA);
	run_faults(sys_jmp_far, &op, VEC_GP, U_DATA & ~3);
	op = far_imm(0xea, 4, TARGET, TSS32);
	run_faults(sys_jmp_far, &op, VEC_GP, TSS32);
	op = far_imm(0xea, 4, TARGET, TASK_GATE);
	run_faults(sys_jmp_far, &op, VEC_GP, TASK_GATE);
	op = far_imm(0xea, 4, TARGET, GDT_END);
	run_faults(sys_jmp_far, &op, VEC_GP, GDT_END);
	/* conforming code keeps CPL 3 */
	op = far_imm(0xea, 4, TARGET, CONFORMING32);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.seg[SEG_CS].sel, CONFORMING32 | 3);
	assert_int_equal(c->cpl, 3);

	fix_init(LEGACY32, 0);
	op = far_imm(0xea, 4, TARGET, K_CODE32 | 1); /* RPL > CPL */
	run_faults(sys_jmp_far, &op, VEC_GP, K_CODE32);
	op = far_imm(0xea, 4, TARGET, K_CODE_NP);
	run_faults(sys_jmp_far, &op, VEC_NP, K_CODE_NP);
	op = far_imm(0x9a, 4, TARGET, GDT_END);
	run_faults(sys_call_far, &op, VEC_GP, GDT_END);
	op = far_imm(0xea, 4, TARGET, CONFORMING32); /* DPL = CPL will do */
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	fix_init(LEGACY32, 0);
	op = far_imm(0xea, 4, TARGET, U_CODE32); /* outwards */
	run_faults(sys_jmp_far, &op, VEC_GP, U_CODE32 & ~3);

	fix_init(COMPAT32, 0);
	op = far_imm(0xea, 4, TARGET, CODE_LD);
	run_faults(sys_jmp_far, &op, VEC_GP, CODE_LD);
}

static void call_direct(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	op = far_imm(0x9a, 4, TARGET, U_CODE32);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 8);
	assert_int_equal(get(FIX_USTACK - 8, 4), FIX_DATA + 2);
	assert_int_equal(get(FIX_USTACK - 4, 4), U_CODE32);

	/* REX.W far call from 64-bit code: 8-byte slots, and an m16:32 all the same */
	fix_init(LONG64, 0);
	put_far(FIX_DATA, 4, TARGET, K_CODE);
	op = op_mem(8, 0, FIX_DATA);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0x110);
	assert_int_equal(get(FIX_KSTACK - 0x110, 8), FIX_DATA + 2);
	assert_int_equal(get(FIX_KSTACK - 0x108, 8), K_CODE);

	/* a bad stack leaves RIP alone */
	fix_init(LONG64, 0);
	put_far(FIX_DATA, 4, TARGET, K_CODE);
	c->s.regs[REG_RSP] = FIX_SIZE + 4;
	run_faults(sys_call_far, &op, VEC_PF, PFERR_W);
}

static void call_gate32(void **state)
{
	struct sysop op;

	/* two parameters of 4 bytes, from CPL 3 to CPL 0 */
	fix_init(LEGACY32, 3);
	fix_gdt(GATE, (TARGET & 0xffff) | (uint64_t)K_CODE32 << 16 | 2ull << 32 | 0xecull << 40 |
			      (uint64_t)(TARGET >> 16) << 48);
	put(FIX_USTACK, 0x11111111, 4);
	put(FIX_USTACK + 4, 0x22222222, 4);
	op = far_imm(0x9a, 4, 0xbad, GATE | 3);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 24);
	assert_int_equal(get(FIX_KSTACK - 4, 4), U_DATA);
	assert_int_equal(get(FIX_KSTACK - 8, 4), FIX_USTACK);
	assert_int_equal(get(FIX_KSTACK - 12, 4), 0x22222222);
	assert_int_equal(get(FIX_KSTACK - 16, 4), 0x11111111);
	assert_int_equal(get(FIX_KSTACK - 20, 4), U_CODE32);
	assert_int_equal(get(FIX_KSTACK - 24, 4), FIX_DATA + 2);

	/* and back, with RET 8 */
	op = op_none(4);
	op.imm = 8;
	assert_int_equal(run(sys_ret_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.rip, FIX_DATA + 2);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK + 8);
	assert_int_equal(c->s.seg[SEG_SS].sel, U_DATA);

	/* no room on the inner stack: #SS names it */
	fix_init(LEGACY32, 3);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE32 << 16 | 2ull << 32 | 0xecull << 40);
	fix_gdt(K_SMALL, fix_desc(0, FIX_KSTACK - 13, 0x4093));
	put(FIX_TSS + 8, K_SMALL, 2);
	op = far_imm(0x9a, 4, 0xbad, GATE | 3);
	run_faults(sys_call_far, &op, VEC_SS, K_SMALL);

	/* JMP does not change the level */
	fix_init(LEGACY32, 3);
	fix_gdt(GATE, (TARGET & 0xffff) | (uint64_t)K_CODE32 << 16 | 0xecull << 40 |
			      (uint64_t)(TARGET >> 16) << 48);
	op = far_imm(0xea, 4, 0xbad, GATE | 3);
	run_faults(sys_jmp_far, &op, VEC_GP, K_CODE32);
	fix_gdt(GATE, (TARGET & 0xffff) | (uint64_t)CONFORMING32 << 16 | 0xecull << 40 |
			      (uint64_t)(TARGET >> 16) << 48);
	assert_int_equal(run(sys_jmp_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.rip, TARGET);
	/* a 16-bit gate to the same level */
	fix_init(LEGACY32, 0);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE32 << 16 | 0x84ull << 40 | 0xffffull << 48);
	op = far_imm(0x9a, 4, 0xbad, GATE);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x4321);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0x104);
	/* not to be reached */
	fix_init(LEGACY32, 3);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE32 << 16 | 0xccull << 40);
	op = far_imm(0x9a, 4, 0xbad, GATE | 3);
	run_faults(sys_call_far, &op, VEC_GP, GATE);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE32 << 16 | 0x6cull << 40);
	run_faults(sys_call_far, &op, VEC_NP, GATE);
	/* a gate is asked with the weaker of CPL and RPL */
	fix_init(LEGACY32, 0);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE32 << 16 | 0x8cull << 40);
	op = far_imm(0x9a, 4, 0xbad, GATE | 1);
	run_faults(sys_call_far, &op, VEC_GP, GATE);
	/* and must lead to code of an inner or the same level */
	op = far_imm(0x9a, 4, 0xbad, GATE);
	fix_gdt(GATE, 0x4321 | 0x8cull << 40);
	run_faults(sys_call_far, &op, VEC_GP, 0);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_DATA << 16 | 0x8cull << 40);
	run_faults(sys_call_far, &op, VEC_GP, K_DATA);
	fix_gdt(GATE, 0x4321 | (uint64_t)U_CODE32 << 16 | 0x8cull << 40);
	run_faults(sys_call_far, &op, VEC_GP, U_CODE32 & ~3);
	fix_gdt(GATE, 0x4321 | (uint64_t)K_CODE_NP << 16 | 0x8cull << 40);
	run_faults(sys_call_far, &op, VEC_NP, K_CODE_NP);
}

static void call_gate64(void **state)
{
	uint64_t lo = (TARGET & 0xffff) | (uint64_t)K_CODE << 16 | 0xecull << 40 |
		      (uint64_t)(TARGET >> 16) << 48;
	struct sysop op;

	fix_init(LONG64, 3);
	fix_gdt(GATE, lo);
	fix_gdt(GATE + 8, 0);
	put_far(FIX_UDATA, 4, 0xbad, GATE | 3);
	op = op_mem(4, 0, FIX_UDATA);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 32);
	assert_int_equal(get(FIX_KSTACK - 32, 8), FIX_DATA + 2);
	assert_int_equal(get(FIX_KSTACK - 24, 8), U_CODE);
	assert_int_equal(get(FIX_KSTACK - 16, 8), FIX_USTACK);
	assert_int_equal(get(FIX_KSTACK - 8, 8), U_DATA);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0);
	op = op_none(8);
	assert_int_equal(run(sys_ret_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);

	op = op_mem(4, 0, FIX_UDATA);
	fix_gdt(GATE + 8, 1ull << 40); /* type of the upper half */
	run_faults(sys_call_far, &op, VEC_GP, GATE);
	fix_gdt(GATE + 8, 0x8000); /* offset not canonical */
	run_faults(sys_call_far, &op, VEC_GP, 0);
	fix_gdt(GATE + 8, 0);
	fix_gdt(GATE, (lo & ~0xffff0000ull) | (uint64_t)K_CODE32 << 16);
	run_faults(sys_call_far, &op, VEC_GP, K_CODE32);
	fix_gdt(GATE, lo & ~(8ull << 40)); /* 16-bit gate */
	run_faults(sys_call_far, &op, VEC_GP, GATE);
	fix_gdt(GATE, lo | 0xfff8ull << 16); /* beyond the GDT */
	run_faults(sys_call_far, &op, VEC_GP, 0xfff8);

	/* to level 1, and the stacks that it may have */
	fix_gdt(GATE, lo);
	fix_gdt(K_CODE, fix_desc(0, 0xfffff, 0xa0bb));
	put(FIX_TSS + 0xc, 1ull << 50, 8);
	run_faults(sys_call_far, &op, VEC_SS, 0);
	put(FIX_TSS + 0xc, 0xffff800000000010, 8);
	run_faults(sys_call_far, &op, VEC_SS, 0);
	put(FIX_TSS + 0xc, FIX_STACK1, 8);
	assert_int_equal(run(sys_call_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 1);
	assert_int_equal(c->s.regs[REG_RSP], FIX_STACK1 - 32);
	assert_int_equal(c->s.seg[SEG_SS].sel, 1);
}

static void ret_far(void **state)
{
	struct sysop op;

	/* lretq, as Linux loads CS with it */
	fix_init(LONG64, 0);
	op = op_none(8);
	put_stack(8, (uint64_t[]){ 0xffffffff81000000, K_CODE }, 2);
	assert_int_equal(run(sys_ret_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xffffffff81000000);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0xf0);

	/* lret from 32-bit code into 64-bit code */
	fix_init(COMPAT32, 0);
	op = op_none(4);
	put_stack(4, (uint64_t[]){ TARGET, K_CODE }, 2);
	assert_int_equal(run(sys_ret_far, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32), MODE_CS64);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0xf8);

	fix_init(LONG64, 3);
	op = op_none(8);
	put_stack(8, (uint64_t[]){ TARGET, K_CODE }, 2); /* inwards */
	run_faults(sys_ret_far, &op, VEC_GP, K_CODE);
	put_stack(8, (uint64_t[]){ TARGET, 3 }, 2);
	run_faults(sys_ret_far, &op, VEC_GP, 0);
	put_stack(8, (uint64_t[]){ 1ull << 47, U_CODE }, 2);
	run_faults(sys_ret_far, &op, VEC_GP, 0);
}

static void iret64(void **state)
{
	struct sysop op;
	uint64_t user = FLAG_ONE | FLAG_IF | FLAG_ZF | FLAG_AC | FLAG_ID;

	/* to user mode */
	fix_init(LONG64, 0);
	op = op_none(8);
	c->s.nmi_blocked = true;
	c->irq_waiting = 1;
	cpu_set_rflags(c, FLAG_ONE);
	cpu_update_mode(c);
	put_stack(8, (uint64_t[]){ TARGET, U_CODE, user | FLAG_VM | FLAG_RF, FIX_USTACK, U_DATA }, 5);
	/* DS of DPL 0 must not survive; FS with a base but a null selector must */
	seg_set_null(&c->s.seg[SEG_FS], 3);
	c->s.seg[SEG_FS].base = 0x7f0000001000;
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(c->s.seg[SEG_SS].sel, U_DATA);
	assert_int_equal(cpu_get_rflags(c), user); /* VM does not exist here; no breakpoint, no RF */
	assert_int_equal(c->exit_request, 1);
	assert_false(c->s.nmi_blocked);
	assert_int_equal(c->s.seg[SEG_DS].sel, 0);
	assert_int_equal(c->s.seg[SEG_DS].attr, 0);
	assert_int_equal(c->s.seg[SEG_FS].sel, 0);
	assert_true(c->s.seg[SEG_FS].base == 0x7f0000001000);
	assert_int_equal(c->mode, MODE_CS64 | MODE_USER);

	/* same level: RSP and SS are popped too; TF takes effect */
	fix_init(LONG64, 0);
	put_stack(8, (uint64_t[]){ TARGET, K_CODE, FLAG_ONE | FLAG_TF, FIX_IST1, 0 }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], FIX_IST1);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0);
	assert_true(c->mode & MODE_TF);
	assert_int_equal(c->iflag, 0);

	/* RF while a breakpoint is armed */
	fix_init(LONG64, 0);
	c->s.dr[7] = 0x401;
	cpu_update_mode(c);
	put_stack(8, (uint64_t[]){ TARGET, K_CODE, FLAG_ONE | FLAG_RF, FIX_IST1, 0 }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_true(c->sysflags & FLAG_RF);

	/* CPL 3 may not touch IF and IOPL */
	fix_init(LONG64, 3);
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF);
	put_stack(8, (uint64_t[]){ TARGET, U_CODE, FLAG_ONE | FLAG_IOPL | FLAG_CF, FIX_USTACK - 8, U_DATA },
		  5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_IF | FLAG_CF);

	/* to compatibility mode */
	fix_init(LONG64, 0);
	put_stack(8, (uint64_t[]){ TARGET, U_CODE32, user, 0xabcdef12345678, U_DATA }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], 0xef12345678 & 0xffffffff);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32 | MODE_USER), MODE_CS32 | MODE_USER);

	/* to a 16-bit stack: ESP's upper half stays the kernel's */
	fix_init(LONG64, 0);
	put_stack(8, (uint64_t[]){ TARGET, U_CODE32, user, 0x9999, U_STACK16 }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], (FIX_KSTACK & 0xffff0000) | 0x9999);

	/* iretd in 64-bit code pops five doublewords */
	fix_init(LONG64, 0);
	op = op_none(4);
	put_stack(4, (uint64_t[]){ TARGET, U_CODE, user, FIX_USTACK, U_DATA }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(cpu_get_rflags(c), user);
	fix_init(LONG64, 0);
	op = op_none(2);
	put_stack(2, (uint64_t[]){ 0x1234, K_CODE, FLAG_ONE | FLAG_CF, 0x8800, K_DATA }, 5);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.regs[REG_RSP], 0x8800);
}

static void iret_errors(void **state)
{
	struct sysop op;
	uint64_t good[5] = { TARGET, U_CODE, FLAG_ONE, FIX_USTACK, U_DATA };

	fix_init(LONG64, 0);
	op = op_none(8);
	put_stack(8, good, 5);
	put(c->s.regs[REG_RSP], 1ull << 47, 8);
	run_faults(sys_iret, &op, VEC_GP, 0);
	put_stack(8, good, 5);
	put(c->s.regs[REG_RSP] + 8, 0, 8);
	run_faults(sys_iret, &op, VEC_GP, 0);
	put(c->s.regs[REG_RSP] + 8, U_CODE & ~3, 8); /* DPL 3, RPL 0 */
	run_faults(sys_iret, &op, VEC_GP, U_CODE & ~3);
	put(c->s.regs[REG_RSP] + 8, U_DATA, 8);
	run_faults(sys_iret, &op, VEC_GP, U_DATA & ~3);
	put(c->s.regs[REG_RSP] + 8, GDT_END, 8);
	run_faults(sys_iret, &op, VEC_GP, GDT_END);
	put(c->s.regs[REG_RSP] + 8, K_CODE_NP, 8);
	run_faults(sys_iret, &op, VEC_NP, K_CODE_NP);
	put(c->s.regs[REG_RSP] + 8, CODE_LD, 8);
	run_faults(sys_iret, &op, VEC_GP, CODE_LD);
	put_stack(8, good, 5);
	put(c->s.regs[REG_RSP] + 32, 3, 8); /* null SS at CPL 3 */
	run_faults(sys_iret, &op, VEC_GP, 0);
	put(c->s.regs[REG_RSP] + 32, K_DATA, 8);
	run_faults(sys_iret, &op, VEC_GP, K_DATA);
	put(c->s.regs[REG_RSP] + 32, U_RODATA, 8);
	run_faults(sys_iret, &op, VEC_GP, U_RODATA & ~3);
	put(c->s.regs[REG_RSP] + 32, U_DATA_NP, 8); /* DPL 3, P clear: the attr is 0x73 */
	run_faults(sys_iret, &op, VEC_SS, U_DATA_NP & ~3);
	put_stack(8, good, 5);
	put(c->s.regs[REG_RSP] + 8, K_CODE, 8); /* same level, null SS with a wrong RPL */
	put(c->s.regs[REG_RSP] + 32, 1, 8);
	run_faults(sys_iret, &op, VEC_GP, 0);
	put(c->s.regs[REG_RSP] + 8, K_CODE32, 8); /* null SS, but not to 64-bit code */
	put(c->s.regs[REG_RSP] + 32, 0, 8);
	run_faults(sys_iret, &op, VEC_GP, 0);
	c->s.regs[REG_RSP] = 0x7ffffffffff0; /* frame across the end of the canonical half */
	run_faults(sys_iret, &op, VEC_SS, 0);
	cpu_set_rflags(c, FLAG_ONE | FLAG_NT);
	run_faults(sys_iret, &op, VEC_GP, 0);

	/* virtual-8086 mode */
	fix_init(LEGACY32, 0);
	op = op_none(4);
	put_stack(4, (uint64_t[]){ TARGET, K_CODE32, FLAG_ONE | FLAG_VM }, 3);
	run_faults(sys_iret, &op, VEC_GP, 0);
}

static void iret32(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 0);
	op = op_none(4);
	put_stack(4, (uint64_t[]){ TARGET, K_CODE32, FLAG_ONE | FLAG_IOPL | FLAG_DF }, 3);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0xf4);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_IOPL | FLAG_DF);
	assert_true(c->mode & MODE_DF);

	fix_init(LEGACY32, 0);
	put_stack(4, (uint64_t[]){ TARGET, U_CODE32, FLAG_ONE | FLAG_IF, FIX_USTACK, U_DATA }, 5);
	c->s.seg[SEG_ES].attr = 0xc09f; /* conforming code may stay */
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(c->s.seg[SEG_DS].sel, 0);
	assert_int_equal(c->s.seg[SEG_ES].sel, K_DATA);
	assert_true(c->mode & MODE_CHECK(SEG_DS));

	/* VIF and VIP: in a 32-bit image, at CPL 0 */
	fix_init(LEGACY32, 0);
	put_stack(4, (uint64_t[]){ TARGET, K_CODE32, FLAG_ONE | FLAG_VIF | FLAG_VIP }, 3);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_VIF | FLAG_VIP);
	op = op_none(2);
	put_stack(2, (uint64_t[]){ 0x1234, K_CODE32, FLAG_ONE }, 3);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_VIF | FLAG_VIP);
	fix_init(LEGACY32, 3);
	op = op_none(4);
	put_stack(4, (uint64_t[]){ TARGET, U_CODE32, FLAG_ONE | FLAG_VIF | FLAG_VIP }, 3);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_IF);

	/* 16-bit image: the upper half of the flags stays */
	fix_init(LEGACY32, 0);
	cpu_set_rflags(c, FLAG_ONE | FLAG_AC | FLAG_ID);
	cpu_update_mode(c);
	op = op_none(2);
	put_stack(2, (uint64_t[]){ 0x1234, K_CODE32, FLAG_ONE | FLAG_CF }, 3);
	assert_int_equal(run(sys_iret, &op), NEXT_DISPATCH);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_AC | FLAG_ID | FLAG_CF);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK - 0xfa);
}

static void syscall64(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	op = op_none(8);
	c->s.star = 0x23ull << 48 | 0x10ull << 32;
	c->s.lstar = 0xffffffff81800000;
	c->s.cstar = 0xffffffff81900000;
	c->s.fmask = FLAG_TF | FLAG_IF | FLAG_DF | FLAG_AC | FLAG_NT | FLAG_IOPL;
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF | FLAG_DF | FLAG_AC | FLAG_CF | FLAG_RF);
	cpu_update_mode(c);
	assert_int_equal(run(sys_syscall, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xffffffff81800000);
	assert_int_equal(c->s.regs[REG_RCX], FIX_DATA + 2);
	assert_int_equal(c->s.regs[REG_R11], FLAG_ONE | FLAG_IF | FLAG_DF | FLAG_AC | FLAG_CF);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_CF);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x10);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x18);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->mode, MODE_CS64 | MODE_CPL0 | MODE_SMAP);

	/* back; RF and VM in R11 do not count */
	c->irq_waiting = 1;
	c->s.regs[REG_R11] |= FLAG_RF | FLAG_VM;
	assert_int_equal(run(sys_sysret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, FIX_DATA + 2);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_IF | FLAG_DF | FLAG_AC | FLAG_CF);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x33);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x2b);
	assert_int_equal(c->mode, MODE_CS64 | MODE_USER | MODE_DF);
	assert_int_equal(c->exit_request, 1);
	run_faults(sys_sysret, &op, VEC_GP, 0);

	/* AMD does not look at RCX */
	fix_init(LONG64, 0);
	c->s.star = 0x23ull << 48 | 0x10ull << 32;
	c->s.regs[REG_RCX] = 1ull << 63;
	assert_int_equal(run(sys_sysret, &op), NEXT_DISPATCH);
	assert_true(c->s.rip == 1ull << 63);
	assert_int_equal(c->cpl, 3);

	/* the 32-bit form, from 64-bit code, and SYSCALL from there */
	fix_init(LONG64, 0);
	c->s.star = 0x23ull << 48 | 0x10ull << 32;
	c->s.cstar = 0xffffffff81900000;
	c->s.regs[REG_RCX] = 0xfffffff012345678;
	c->s.regs[REG_R11] = FLAG_IF;
	op = op_none(4);
	assert_int_equal(run(sys_sysret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0x12345678);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x23);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x2b);
	assert_int_equal(c->mode & (MODE_CS64 | MODE_CS32 | MODE_SS32), MODE_CS32 | MODE_SS32);
	assert_int_equal(run(sys_syscall, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xffffffff81900000);
	assert_int_equal(c->mode & MODE_CS64, MODE_CS64);

	fix_init(LONG64, 0);
	c->s.efer &= ~EFER_SCE;
	run_faults(sys_syscall, &op, VEC_UD, -1);
	run_faults(sys_sysret, &op, VEC_UD, -1);
}

static void syscall_legacy(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	op = op_none(4);
	c->s.efer = EFER_SCE;
	c->s.star = 0x23ull << 48 | 0x08ull << 32 | 0xc0100000;
	assert_int_equal(run(sys_syscall, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xc0100000);
	assert_int_equal(c->s.regs[REG_RCX], FIX_DATA + 2);
	assert_int_equal(c->iflag, 0);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x08);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x10);
	assert_int_equal(c->mode & (MODE_USER | MODE_CS32 | MODE_SS32), MODE_CS32 | MODE_SS32);
	assert_int_equal(run(sys_sysret, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, FIX_DATA + 2);
	assert_int_equal(c->iflag, 1);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x23);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x2b);
}

static void sysenter(void **state)
{
	struct sysop op;

	fix_init(COMPAT32, 3);
	op = op_none(4);
	c->s.sysenter_cs = 0x10;
	run_faults(sys_sysenter, &op, VEC_UD, -1);
	fix_init(LONG64, 0);
	run_faults(sys_sysexit, &op, VEC_UD, -1);

	fix_init(LEGACY32, 3);
	run_faults(sys_sysenter, &op, VEC_GP, 0);
	c->s.sysenter_cs = 0x08;
	c->s.sysenter_esp = FIX_KSTACK;
	c->s.sysenter_eip = 0xc0200000;
	run_faults(sys_sysexit, &op, VEC_GP, 0);
	assert_int_equal(run(sys_sysenter, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, 0xc0200000);
	assert_int_equal(c->s.regs[REG_RSP], FIX_KSTACK);
	assert_int_equal(c->iflag, 0);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x10);
	c->s.regs[REG_RCX] = FIX_USTACK;
	c->s.regs[REG_RDX] = TARGET;
	assert_int_equal(run(sys_sysexit, &op), NEXT_DISPATCH);
	assert_int_equal(c->s.rip, TARGET);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x1b);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x23);
	assert_int_equal(c->cpl, 3);
}

static void bound(void **state)
{
	struct sysop op;

	fix_init(LEGACY32, 3);
	put(FIX_UDATA, (uint32_t)-5, 4);
	put(FIX_UDATA + 4, 7, 4);
	op = op_mem(4, REG_RBX, FIX_UDATA);
	c->s.regs[REG_RBX] = (uint32_t)-5;
	assert_int_equal(run(sys_bound, &op), NEXT_CONTINUE);
	c->s.regs[REG_RBX] = 7;
	assert_int_equal(run(sys_bound, &op), NEXT_CONTINUE);
	c->s.regs[REG_RBX] = 8;
	run_faults(sys_bound, &op, VEC_BR, -1);
	c->s.regs[REG_RBX] = (uint32_t)-6;
	run_faults(sys_bound, &op, VEC_BR, -1);
	put(FIX_UDATA, 0x0003fffe, 4);
	op.opsize = 2;
	c->s.regs[REG_RBX] = 0xffff;
	assert_int_equal(run(sys_bound, &op), NEXT_CONTINUE);
	c->s.regs[REG_RBX] = 0x10004;
	run_faults(sys_bound, &op, VEC_BR, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jmp_direct),     cmocka_unit_test(jmp_errors),
		cmocka_unit_test(call_direct),    cmocka_unit_test(call_gate32),
		cmocka_unit_test(call_gate64),    cmocka_unit_test(ret_far),
		cmocka_unit_test(iret64),         cmocka_unit_test(iret_errors),
		cmocka_unit_test(iret32),         cmocka_unit_test(syscall64),
		cmocka_unit_test(syscall_legacy), cmocka_unit_test(sysenter),
		cmocka_unit_test(bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
