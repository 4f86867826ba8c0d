/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The generic string instructions against the host CPU, on the same memory
 * and registers, with and without REP, up and down, and with page faults in
 * the middle from which they must restart.
 */
#include "fake_mmu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct cpuid_table table;
static struct soft_cpu cpu;

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 3;
}

/* ---- the native side ---- */

struct regs {
	uint64_t rax, rcx, rsi, rdi, rflags;
};

/* Each as a function of its own; the prefix is a byte so that any one goes with any instruction. */
#define NATIVE(name, text)                                                                                 \
	static void name(struct regs *r)                                                                   \
	{                                                                                                  \
		__asm__ volatile("lea -256(%%rsp), %%rsp; pushq %4; popfq; " text                          \
				 "; pushfq; popq %4; cld; lea 256(%%rsp), %%rsp"                           \
				 : "+a"(r->rax), "+c"(r->rcx), "+S"(r->rsi), "+D"(r->rdi), "+r"(r->rflags) \
				 :                                                                         \
				 : "memory", "cc");                                                        \
	}
#define NATIVE_SIZE(s, pre, prefix)            \
	NATIVE(pre##movs##s, prefix "movs" #s) \
	NATIVE(pre##stos##s, prefix "stos" #s) \
	NATIVE(pre##lods##s, prefix "lods" #s) \
	NATIVE(pre##scas##s, prefix "scas" #s) \
	NATIVE(pre##cmps##s, prefix "cmps" #s)
#define NATIVE_ALL(pre, prefix)     \
	NATIVE_SIZE(b, pre, prefix) \
	NATIVE_SIZE(w, pre, prefix) NATIVE_SIZE(l, pre, prefix) NATIVE_SIZE(q, pre, prefix)
NATIVE_ALL(one_, "")
NATIVE_ALL(rep_, ".byte 0xf3; ")
NATIVE_ALL(repne_, ".byte 0xf2; ")
/* with 32-bit addresses: 67 */
NATIVE_ALL(short_, ".byte 0x67, 0xf3; ")

#define TABLE_SIZE(s, pre) { pre##movs##s, pre##stos##s, pre##lods##s, pre##scas##s, pre##cmps##s },
#define TABLE_ALL(pre)                                                                      \
	{                                                                                   \
		TABLE_SIZE(b, pre) TABLE_SIZE(w, pre) TABLE_SIZE(l, pre) TABLE_SIZE(q, pre) \
	}

enum { ONE, REP, REPNE, SHORT };
static void (*const natives[4][4][5])(struct regs *) = {
	TABLE_ALL(one_),
	TABLE_ALL(rep_),
	TABLE_ALL(repne_),
	TABLE_ALL(short_),
};

/* ---- one case ---- */

struct kase {
	unsigned form, size_log, op;
	bool down;
};

static struct kase random_case(void)
{
	return (struct kase){ .form = rnd() % 4, .size_log = rnd() % 4, .op = rnd() % 5, .down = rnd() & 1 };
}

static struct sysop case_op(const struct kase *k)
{
	return (struct sysop){
		.opsize = (uint8_t)(1u << k->size_log),
		.adsize = k->form == SHORT ? 4 : 8,
		.rep = k->form == ONE     ? 0
		       : k->form == REPNE ? 0xf2
					  : 0xf3,
		.seg = SEG_DS,
		.imm = k->op,
	};
}

static void set_regs(const struct regs *r)
{
	cpu.s.regs[REG_RAX] = r->rax;
	cpu.s.regs[REG_RCX] = r->rcx;
	cpu.s.regs[REG_RSI] = r->rsi;
	cpu.s.regs[REG_RDI] = r->rdi;
	cpu_set_rflags(&cpu, r->rflags);
	cpu_update_mode(&cpu);
}

static void check_regs(const struct regs *r)
{
	const uint64_t flags = FLAG_ARITH | FLAG_DF;

	assert_int_equal(cpu.s.regs[REG_RAX], r->rax);
	assert_int_equal(cpu.s.regs[REG_RCX], r->rcx);
	assert_int_equal(cpu.s.regs[REG_RSI], r->rsi);
	assert_int_equal(cpu.s.regs[REG_RDI], r->rdi);
	assert_int_equal(cpu_get_rflags(&cpu) & flags, r->rflags & flags);
}

/* Few different values, so that comparisons go on for a while. */
static void fill(void)
{
	unsigned values = rnd() % 3 + 1;

	for (unsigned i = 0; i < FAKE_SIZE; i++)
		at(FAKE_BASE)[i] = (uint8_t)(rnd() % 50 ? 0x41 : 0x41 + rnd() % values * 0x3f);
}

static struct regs random_regs(const struct kase *k, unsigned max_count)
{
	static const uint64_t values[] = { 0x4141414141414141, 0x80, 0, 0x7f80414141c00041, 0x41 };
	const uint64_t page = FAKE_BASE + 4 * PAGE_SIZE;

	return (struct regs){
		.rax = values[rnd() % 5],
		.rcx = rnd() % 4 ? rnd() % max_count : rnd() % 3,
		/* around page boundaries, sometimes overlapping */
		.rsi = page + rnd() % 3 * PAGE_SIZE - 64 + rnd() % 128,
		.rdi = page + rnd() % 3 * PAGE_SIZE - 64 + rnd() % 128,
		.rflags = FLAG_ONE | FLAG_IF | (rnd() & FLAG_ARITH) | (k->down ? FLAG_DF : 0),
	};
}

static void test_like_native(void **state)
{
	static uint8_t before[FAKE_SIZE], after[FAKE_SIZE];

	fake_init(&cpu, &table, CPU_64, 3);
	for (unsigned i = 0; i < 6000; i++) {
		struct kase k = random_case();
		struct sysop op = case_op(&k);
		struct regs r = random_regs(&k, 400);

		if (i % 16 == 0)
			fill();
		memcpy(before, at(FAKE_BASE), FAKE_SIZE);
		set_regs(&r);
		natives[k.form][k.size_log][k.op](&r);
		memcpy(after, at(FAKE_BASE), FAKE_SIZE);
		memcpy(at(FAKE_BASE), before, FAKE_SIZE);
		assert_int_equal(sys_string(&cpu, &op), NEXT_CONTINUE);
		assert_memory_equal(at(FAKE_BASE), after, FAKE_SIZE);
		check_regs(&r);
	}
}

/* Faults in the middle: what is done is done, and the rest follows once the page is there. */
static void test_restart(void **state)
{
	static uint8_t before[FAKE_SIZE], after[FAKE_SIZE];
	unsigned faults = 0;

	fake_init(&cpu, &table, CPU_64, 3);
	for (unsigned i = 0; i < 2000; i++) {
		struct kase k = random_case();
		struct sysop op = case_op(&k);
		struct regs r = random_regs(&k, 1000);
		enum soft_next next;

		if (i % 16 == 0)
			fill();
		memcpy(before, at(FAKE_BASE), FAKE_SIZE);
		set_regs(&r);
		natives[k.form][k.size_log][k.op](&r);
		memcpy(after, at(FAKE_BASE), FAKE_SIZE);
		memcpy(at(FAKE_BASE), before, FAKE_SIZE);

		memset(fake.page, PAGE_NONE, FAKE_PAGES);
		while ((next = sys_string(&cpu, &op)) == NEXT_FAULT) {
			bool write = cpu.fault.error & PFERR_W;
			uint8_t *page = &fake.page[(cpu.fault.cr2 - FAKE_BASE) / PAGE_SIZE];
			assert_int_equal(cpu.fault.vector, VEC_PF);
			assert_true(*page < (write ? PAGE_RW : PAGE_RO));
			*page = write ? PAGE_RW : PAGE_RO;
			faults++;
		}
		assert_int_equal(next, NEXT_CONTINUE);
		assert_memory_equal(at(FAKE_BASE), after, FAKE_SIZE);
		check_regs(&r);
	}
	assert_true(faults > 1000);
}

/* A long one lets go now and then, with RIP still at it. */
static void test_burst(void **state)
{
	struct kase k = { .form = REP, .size_log = 0, .op = STRING_STOS };
	struct sysop op = case_op(&k);
	struct regs r = { .rcx = 20000, .rdi = FAKE_BASE, .rax = 0x5a, .rflags = FLAG_ONE };
	unsigned calls = 1;

	fake_init(&cpu, &table, CPU_64, 3);
	set_regs(&r);
	while (sys_string(&cpu, &op) == NEXT_DISPATCH) {
		assert_int_equal(cpu.s.rip, 0x1000);
		calls++;
	}
	assert_true(calls > 4);
	assert_int_equal(cpu.s.regs[REG_RCX], 0);
	assert_int_equal(cpu.s.regs[REG_RDI], FAKE_BASE + 20000);
	for (unsigned i = 0; i < 20000; i++)
		assert_int_equal(at(FAKE_BASE)[i], 0x5a);
	assert_int_equal(at(FAKE_BASE)[20000], 0);
}

/* Single step and watchpoints: a trap after each element, RIP moves on with the last one. */
static void test_single_step(void **state)
{
	struct kase k = { .form = REP, .size_log = 3, .op = STRING_MOVS };
	struct sysop op = case_op(&k);
	struct regs r = { .rcx = 3, .rsi = FAKE_BASE, .rdi = FAKE_BASE + 64, .rflags = FLAG_ONE | FLAG_TF };

	fake_init(&cpu, &table, CPU_64, 3);
	set_regs(&r);
	for (unsigned left = 2; left; left--) {
		if (left == 1) {
			cpu_set_rflags(&cpu, FLAG_ONE);
			cpu.s.dr[7] = 1;
			cpu_update_mode(&cpu);
		}
		assert_int_equal(sys_string(&cpu, &op), NEXT_DISPATCH);
		assert_int_equal(cpu.s.rip, 0x1000);
		assert_int_equal(cpu.s.regs[REG_RCX], left);
	}
	assert_int_equal(sys_string(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RDI], FAKE_BASE + 88);
}

/* 16-bit addresses wrap at 64 KiB and leave the upper halves of the registers alone. */
static void test_16bit(void **state)
{
	struct sysop op = { .opsize = 1, .adsize = 2, .rep = 0xf3, .seg = SEG_DS, .imm = STRING_MOVS };

	fake_init(&cpu, &table, CPU_32, 0);
	cpu.s.seg[SEG_DS].base = cpu.s.seg[SEG_ES].base = FAKE_BASE;
	cpu.s.regs[REG_RSI] = 0xabcd0010;
	cpu.s.regs[REG_RDI] = 0x1234fffe;
	cpu.s.regs[REG_RCX] = 0x00070004;
	memcpy(at(FAKE_BASE + 0x10), "wrap", 4);
	cpu_update_mode(&cpu);
	assert_int_equal(sys_string(&cpu, &op), NEXT_CONTINUE);
	assert_memory_equal(at(FAKE_BASE + 0xfffe), "wr", 2);
	assert_memory_equal(at(FAKE_BASE), "ap", 2);
	assert_int_equal(cpu.s.regs[REG_RSI], 0xabcd0014);
	assert_int_equal(cpu.s.regs[REG_RDI], 0x12340002);
	assert_int_equal(cpu.s.regs[REG_RCX], 0x00070000);
}

/* Segment limits hold for each element, and the override is for the source alone. */
static void test_segments(void **state)
{
	struct sysop op = { .opsize = 4, .adsize = 4, .rep = 0xf3, .seg = SEG_FS, .imm = STRING_MOVS };

	fake_init(&cpu, &table, CPU_32, 3);
	cpu.s.seg[SEG_FS].base = FAKE_BASE + 0x100;
	cpu.s.seg[SEG_FS].limit = 9;
	cpu.s.seg[SEG_FS].attr &= (uint16_t)~SEG_ATTR_G;
	cpu.s.seg[SEG_ES].base = FAKE_BASE + 0x200;
	cpu.s.regs[REG_RSI] = cpu.s.regs[REG_RDI] = 0;
	cpu.s.regs[REG_RCX] = 5;
	cpu.s.seg[SEG_FS].attr &= (uint16_t)~2u; /* read-only is enough for the source */
	memcpy(at(FAKE_BASE + 0x100), "0123456789abcdef", 16);
	cpu_update_mode(&cpu);
	assert_int_equal(sys_string(&cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_GP);
	assert_int_equal(cpu.s.regs[REG_RCX], 3);
	assert_int_equal(cpu.s.regs[REG_RSI], 8);
	assert_memory_equal(at(FAKE_BASE + 0x200), "01234567\0\0", 10);
}

static int setup(void **state)
{
	cpuid_build(&table, 1, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_native), cmocka_unit_test(test_restart),
		cmocka_unit_test(test_burst),       cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_16bit),       cmocka_unit_test(test_segments),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
