/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every memory access of an instruction may fault, and the instruction must
 * then be as if it had never begun. Each scenario runs once undisturbed; then
 * again with its first access faulting, its second, and so on, each time
 * followed by a second try that must end as the undisturbed run did.
 */
#include "sys_fixture.h"

#define TARGET 0x12340u

static struct soft_cpu *const c = &fix.c;

struct scenario {
	const char *name;
	enum fix_mode mode;
	unsigned cpl;
	sysop_fn *fn;
	void (*setup)(struct sysop *op);
};

static void stack(unsigned size, uint64_t a, uint64_t b, uint64_t d, uint64_t e, uint64_t f)
{
	uint64_t v[5] = { a, b, d, e, f };

	for (unsigned i = 0; i < 5; i++)
		put(c->s.regs[REG_RSP] + i * size, v[i], size);
}

static void far_ptr(struct sysop *op, uint32_t at, uint32_t offset, uint16_t sel)
{
	op->rm = OPERAND_NONE;
	op->disp = (int32_t)at;
	put(at, offset, 4);
	put(at + 4, sel, 2);
}

static void gate32(struct sysop *op)
{
	fix_gdt(GATE, (TARGET & 0xffff) | (uint64_t)K_CODE32 << 16 | 3ull << 32 | 0xecull << 40 |
			      (uint64_t)(TARGET >> 16) << 48);
	stack(4, 1, 2, 3, 4, 5);
	far_ptr(op, FIX_UDATA, 0, GATE | 3);
}

static void gate32_to_stack16(struct sysop *op)
{
	gate32(op);
	put(FIX_TSS + 8, K_STACK16, 2);
	c->s.regs[REG_RSP] |= 0x100000;
	c->s.seg[SEG_SS].base = (uint32_t)-0x100000;
	cpu_update_mode(c);
}

static void gate64(struct sysop *op)
{
	fix_gdt(GATE,
		(TARGET & 0xffff) | (uint64_t)K_CODE << 16 | 0xecull << 40 | (uint64_t)(TARGET >> 16) << 48);
	fix_gdt(GATE + 8, 0);
	far_ptr(op, FIX_UDATA, 0, GATE | 3);
}

static void gate64_same(struct sysop *op)
{
	gate64(op);
	far_ptr(op, FIX_DATA, 0, GATE);
}

static void far64(struct sysop *op)
{
	far_ptr(op, FIX_DATA, TARGET, K_CODE);
}

static void return_user64(struct sysop *op)
{
	stack(8, TARGET, U_CODE, FLAG_ONE | FLAG_IF, FIX_USTACK, U_DATA);
}

static void retf_user64(struct sysop *op)
{
	stack(8, TARGET, U_CODE, FIX_USTACK, U_DATA, 0);
}

static void return_user32(struct sysop *op)
{
	op->opsize = 4;
	stack(4, TARGET, U_CODE32, FLAG_ONE | FLAG_IF, FIX_USTACK, U_DATA);
}

static void retf_user32(struct sysop *op)
{
	op->opsize = 4;
	op->imm = 4;
	stack(4, TARGET, U_CODE32, 0, FIX_USTACK, U_DATA);
}

static void int_user(struct sysop *op)
{
	op->imm = 0x80;
	fix_gate(0x80, cpu_long_mode(c) ? K_CODE : K_CODE32, 0xee, 0, TARGET);
}

static void selector(struct sysop *op)
{
	op->reg = SEG_GS;
	op->disp = FIX_UDATA;
	put(FIX_UDATA, U_DATA, 2);
}

static void stack_selector(struct sysop *op)
{
	selector(op);
	op->reg = SEG_SS;
}

static void pop_selector(struct sysop *op)
{
	op->reg = SEG_FS;
	stack(8, U_DATA, 0, 0, 0, 0);
}

static void pop_flags(struct sysop *op)
{
	stack(8, FLAG_TF | FLAG_CF, 0, 0, 0, 0);
}

static void load_pointer(struct sysop *op)
{
	op->aux = SEG_FS;
	op->reg = REG_RBX;
	far_ptr(op, FIX_UDATA, 0x12345678, U_DATA);
}

static void table(struct sysop *op)
{
	op->disp = FIX_DATA;
	put(FIX_DATA, 0x100, 2);
	put(FIX_DATA + 2, FIX_GDT, 8);
}

static void task_register(struct sysop *op)
{
	op->disp = FIX_DATA;
	fix_gdt(TSS64 + 8, 0);
	put(FIX_DATA, TSS64, 2);
}

static void local_table(struct sysop *op)
{
	op->disp = FIX_DATA;
	fix_gdt(LDT64 + 8, 0);
	put(FIX_DATA, LDT64, 2);
}

static void memory(struct sysop *op)
{
	op->disp = FIX_UDATA;
	op->reg = REG_RCX;
	put(FIX_UDATA, U_DATA & ~3, 2);
	c->s.regs[REG_RCX] = 3;
}

static const struct scenario scenarios[] = {
	{ "call gate, 32-bit", LEGACY32, 3, sys_call_far, gate32 },
	{ "call gate to a 16-bit stack", LEGACY32, 3, sys_call_far, gate32_to_stack16 },
	{ "call gate, 64-bit", LONG64, 3, sys_call_far, gate64 },
	{ "call gate, same level", LONG64, 0, sys_call_far, gate64_same },
	{ "far call", LONG64, 0, sys_call_far, far64 },
	{ "far jump", LONG64, 0, sys_jmp_far, far64 },
	{ "iretq to user", LONG64, 0, sys_iret, return_user64 },
	{ "iretd to user, 64-bit", LONG64, 0, sys_iret, return_user32 },
	{ "iret to user, 32-bit", LEGACY32, 0, sys_iret, return_user32 },
	{ "lretq to user", LONG64, 0, sys_ret_far, retf_user64 },
	{ "lret to user, 32-bit", LEGACY32, 0, sys_ret_far, retf_user32 },
	{ "int, 64-bit", LONG64, 3, sys_int, int_user },
	{ "int, 32-bit", LEGACY32, 3, sys_int, int_user },
	{ "mov to gs", LONG64, 3, sys_mov_to_sreg, selector },
	{ "mov to ss", LEGACY32, 3, sys_mov_to_sreg, stack_selector },
	{ "mov from gs", LONG64, 3, sys_mov_from_sreg, selector },
	{ "pop fs", LONG64, 3, sys_pop_sreg, pop_selector },
	{ "push fs", LONG64, 3, sys_push_sreg, pop_selector },
	{ "pushf", LONG64, 3, sys_pushf, pop_flags },
	{ "popf", LONG64, 3, sys_popf, pop_flags },
	{ "lfs", LONG64, 3, sys_load_far, load_pointer },
	{ "lgdt", LONG64, 0, sys_lgdt, table },
	{ "sgdt", LONG64, 0, sys_sgdt, table },
	{ "ltr", LONG64, 0, sys_ltr, task_register },
	{ "lldt", LONG64, 0, sys_lldt, local_table },
	{ "str", LONG64, 3, sys_str, memory },
	{ "lar", LONG64, 3, sys_lar, memory },
	{ "lsl", LONG64, 3, sys_lsl, memory },
	{ "verr", LONG64, 3, sys_verr, memory },
	{ "verw", LONG64, 3, sys_verw, memory },
	{ "arpl", LEGACY32, 3, sys_arpl, memory },
};

static void prepare(const struct scenario *s, struct sysop *op)
{
	fix_init(s->mode, s->cpl);
	/* Descriptors that nobody has used: loading them writes to memory. */
	for (unsigned sel = 8; sel < TSS64; sel += 8)
		fix_gdt(sel, get(FIX_GDT + sel, 8) & ~(1ull << 40));
	fix_gdt(K_STACK16, get(FIX_GDT + K_STACK16, 8) & ~(1ull << 40));
	*op = op_none(s->mode == LONG64 ? 8 : 4);
	s->setup(op);
	fix.accesses = 0;
}

static void restart(void **state)
{
	static uint8_t memory_after[FIX_SIZE];

	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		const struct scenario *s = &scenarios[i];
		struct soft_cpu after;
		struct sysop op;
		unsigned n;

		prepare(s, &op);
		if (run(s->fn, &op) == NEXT_FAULT)
			fail_msg("%s: fault %u(%#x)", s->name, c->fault.vector, c->fault.error);
		after = *c;
		memcpy(memory_after, fix.mem, FIX_SIZE);
		n = fix.accesses;
		assert_true(n > 0);

		for (unsigned k = 1; k <= n; k++) {
			prepare(s, &op);
			fix.fail_access = k;
			if (run(s->fn, &op) != NEXT_FAULT || c->fault.vector != VEC_PF)
				fail_msg("%s: access %u of %u: the fault got lost", s->name, k, n);
			fix.fail_access = 0;
			if (run(s->fn, &op) == NEXT_FAULT)
				fail_msg("%s: access %u of %u: no second try", s->name, k, n);
			assert_memory_equal(&after.s, &c->s, sizeof(after.s));
			assert_int_equal(cpu_get_rflags(&after), cpu_get_rflags(c));
			assert_int_equal(after.mode, c->mode);
			assert_memory_equal(memory_after, fix.mem, FIX_SIZE);
		}
	}
}

/* The same for faults while an event is delivered: they end as #PF's handler, or #DF's. */
static void delivery(void **state)
{
	for (unsigned mode = LONG64; mode <= LEGACY32; mode++) {
		bool lm = mode != LEGACY32;
		uint16_t code = lm ? K_CODE : K_CODE32;

		for (unsigned first = 0; first < 2; first++) {
			for (unsigned k = 1; k < 32; k++) {
				struct soft_cpu before;

				fix_init((enum fix_mode)mode, 3);
				fix_gdt(code, get(FIX_GDT + code, 8) & ~(1ull << 40));
				fix_gate(VEC_DF, code, 0x8e, 0, 0x8000);
				fix_gate(VEC_UD, code, 0x8e, 0, 0x6000);
				fix_gate(VEC_PF, code, 0x8e, 0, 0xe000);
				before = *c;
				fix.fail_access = k;
				soft_raise(c, first ? VEC_PF : VEC_UD, first, 4);
				event_fault(c);
				assert_false(c->shutdown);
				if (fix.accesses < k) {
					/* all accesses have been tried */
					assert_true(k > 4);
					assert_int_equal(c->s.rip, first ? 0xe000 : 0x6000);
					break;
				}
				assert_int_equal(c->s.rip, first ? 0x8000 : 0xe000);
				/* what got pushed is the state at the first event */
				if (lm) {
					assert_int_equal(get(c->s.regs[REG_RSP] + 8, 8), before.s.rip);
					assert_int_equal(get(c->s.regs[REG_RSP] + 32, 8), FIX_USTACK);
				} else {
					assert_int_equal(get(c->s.regs[REG_RSP] + 4, 4), before.s.rip);
					assert_int_equal(get(c->s.regs[REG_RSP] + 16, 4), FIX_USTACK);
				}
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(restart),
		cmocka_unit_test(delivery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
