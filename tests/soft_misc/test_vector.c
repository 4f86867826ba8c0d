/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gathers and masked moves against the host CPU: the handler gets the very
 * bytes that the CPU executes on the same registers and memory. Then what the
 * CPU cannot show here: faults in the middle, and none in masked-off lanes.
 */
#include "fake_mmu.h"

#include <setjmp.h>
#include <stdarg.h>
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

/* ---- the instructions ---- */

#define BASE (FAKE_BASE + 6 * PAGE_SIZE)
#define DISP 24

/* Register 0 or 9 is the destination or source, 1 or 14 the mask, 2 or 11 the index; RDX the base. */
#define INSNS(X)                                                                \
	X("vgatherdps %%xmm1, 24(%%rdx,%%xmm2,4), %%xmm0", 0, 1, 2, 4)          \
	X("vgatherdps %%ymm14, 24(%%rdx,%%ymm11,1), %%ymm9", 9, 14, 11, 1)      \
	X("vgatherdpd %%xmm1, 24(%%rdx,%%xmm2,8), %%xmm0", 0, 1, 2, 8)          \
	X("vgatherdpd %%ymm14, 24(%%rdx,%%xmm11,2), %%ymm9", 9, 14, 11, 2)      \
	X("vgatherqps %%xmm1, 24(%%rdx,%%xmm2,4), %%xmm0", 0, 1, 2, 4)          \
	X("vgatherqps %%xmm14, 24(%%rdx,%%ymm11,4), %%xmm9", 9, 14, 11, 4)      \
	X("vgatherqpd %%xmm1, 24(%%rdx,%%xmm2,4), %%xmm0", 0, 1, 2, 4)          \
	X("vgatherqpd %%ymm14, 24(%%rdx,%%ymm11,4), %%ymm9", 9, 14, 11, 4)      \
	X("vpgatherdd %%ymm1, 24(%%rdx,%%ymm2,4), %%ymm0", 0, 1, 2, 4)          \
	X("vpgatherdd %%xmm14, 24(%%rdx,%%xmm11,4), %%xmm9", 9, 14, 11, 4)      \
	X("vpgatherdq %%ymm1, 24(%%rdx,%%xmm2,4), %%ymm0", 0, 1, 2, 4)          \
	X("vpgatherdq %%xmm14, 24(%%rdx,%%xmm11,8), %%xmm9", 9, 14, 11, 8)      \
	X("vpgatherqd %%xmm1, 24(%%rdx,%%ymm2,4), %%xmm0", 0, 1, 2, 4)          \
	X("vpgatherqd %%xmm14, 24(%%rdx,%%xmm11,1), %%xmm9", 9, 14, 11, 1)      \
	X("vpgatherqq %%ymm1, 24(%%rdx,%%ymm2,4), %%ymm0", 0, 1, 2, 4)          \
	X("vpgatherqq %%xmm14, %%ds:24(%%rdx,%%xmm11,4), %%xmm9", 9, 14, 11, 4) \
	X("vmaskmovps 24(%%rdx), %%xmm1, %%xmm0", 0, 1, 99, 1)                  \
	X("vmaskmovps 24(%%rdx), %%ymm14, %%ymm9", 9, 14, 99, 1)                \
	X("vmaskmovpd 24(%%rdx), %%xmm14, %%xmm9", 9, 14, 99, 1)                \
	X("vmaskmovpd 24(%%rdx), %%ymm1, %%ymm0", 0, 1, 99, 1)                  \
	X("vpmaskmovd 24(%%rdx), %%xmm14, %%xmm9", 9, 14, 99, 1)                \
	X("vpmaskmovd 24(%%rdx), %%ymm1, %%ymm0", 0, 1, 99, 1)                  \
	X("vpmaskmovq 24(%%rdx), %%xmm1, %%xmm0", 0, 1, 99, 1)                  \
	X("vpmaskmovq 24(%%rdx), %%ymm14, %%ymm9", 9, 14, 99, 1)                \
	X("vmaskmovps %%xmm0, %%xmm1, 24(%%rdx)", 0, 1, 99, 1)                  \
	X("vmaskmovps %%ymm9, %%ymm14, 24(%%rdx)", 9, 14, 99, 1)                \
	X("vmaskmovpd %%xmm9, %%xmm14, 24(%%rdx)", 9, 14, 99, 1)                \
	X("vmaskmovpd %%ymm0, %%ymm1, 24(%%rdx)", 0, 1, 99, 1)                  \
	X("vpmaskmovd %%xmm9, %%xmm14, 24(%%rdx)", 9, 14, 99, 1)                \
	X("vpmaskmovd %%ymm0, %%ymm1, 24(%%rdx)", 0, 1, 99, 1)                  \
	X("vpmaskmovq %%xmm0, %%xmm1, 24(%%rdx)", 0, 1, 99, 1)                  \
	X("vpmaskmovq %%ymm9, %%ymm14, 24(%%rdx)", 9, 14, 99, 1)                \
	X("maskmovdqu %%xmm1, %%xmm0", 0, 1, 98, 1)                             \
	X("vmaskmovdqu %%xmm14, %%xmm9", 9, 14, 98, 1)                          \
	X("maskmovq %%mm1, %%mm0", 0, 1, 97, 1)

#define GATHER_END 16
#define MASKMOVQ   97
#define MASKMOVDQU 98
#define VMASKMOV   99

static const struct insn {
	const char *text;
	uint8_t reg, mask, index, scale;
} insns[] = {
#define X(text, reg, mask, index, scale) { text, reg, mask, index, scale },
	INSNS(X)
#undef X
};
#define COUNT (sizeof(insns) / sizeof(insns[0]))

struct run {
	unsigned n;
	const uint8_t *bytes;
	unsigned len;
};

/* Executes number @n, and tells where its bytes are. */
static void native(void *arg)
{
	struct run *r = arg;
	unsigned i = 0;

#define X(text, reg, mask, index, scale)                                                 \
	if (r->n == i++) {                                                               \
		uint64_t from, to;                                                       \
		__asm__ volatile("lea 1f(%%rip), %0; lea 2f(%%rip), %1; 1: " text "; 2:" \
				 : "=&r"(from), "=&r"(to)                                \
				 : "d"((uint64_t)BASE), "D"((uint64_t)BASE)              \
				 : "memory");                                            \
		r->bytes = (const uint8_t *)from;                                        \
		r->len = (unsigned)(to - from);                                          \
	}
	INSNS(X)
#undef X
}

static struct sysop make_op(const struct run *r)
{
	const struct insn *in = &insns[r->n];
	struct sysop op = {
		.len = (uint8_t)r->len, .adsize = 8, .seg = SEG_DS, .reg = in->reg, .scale = in->scale
	};

	memcpy(op.bytes, r->bytes, r->len);
	if (in->index >= MASKMOVQ && in->index <= MASKMOVDQU) {
		op.rm = in->mask;
		op.aux = in->index == MASKMOVQ ? 8 : 16;
		op.base = op.index = OPERAND_NONE;
		return op;
	}
	op.rm = OPERAND_NONE;
	op.vec = in->mask;
	op.base = REG_RDX;
	op.disp = DISP;
	op.index = in->index == VMASKMOV ? OPERAND_NONE : in->index;
	return op;
}

static sysop_fn *handler(unsigned n)
{
	return n < GATHER_END ? sys_gather : insns[n].index == VMASKMOV ? sys_vmaskmov : sys_maskmov;
}

/* ---- state ---- */

static void set_ymm(struct vstate *v, unsigned n, const void *val)
{
	memcpy(v->legacy + 160 + 16 * n, val, 16);
	memcpy(v->ymmh + 16 * n, (const uint8_t *)val + 16, 16);
}

static void get_ymm(const struct vstate *v, unsigned n, void *val)
{
	memcpy(val, v->legacy + 160 + 16 * n, 16);
	memcpy((uint8_t *)val + 16, v->ymmh + 16 * n, 16);
}

static void random_vectors(struct vstate *v, const struct insn *in)
{
	uint8_t mask[32];

	memset(v, 0, sizeof(*v));
	*(uint16_t *)v->legacy = 0x37f;
	*(uint32_t *)(v->legacy + 24) = 0x1f80;
	for (unsigned i = 0; i < 256; i++) {
		v->legacy[160 + i] = (uint8_t)rnd();
		v->ymmh[i] = (uint8_t)rnd();
	}
	/* mm registers: what MMX leaves above them is all ones */
	for (unsigned i = 0; i < 8; i++) {
		for (unsigned j = 0; j < 8; j++)
			v->legacy[32 + 16 * i + j] = (uint8_t)rnd();
		v->legacy[32 + 16 * i + 8] = v->legacy[32 + 16 * i + 9] = 0xff;
	}
	v->xstate_bv = 7;

	/* Runs of lanes that are on and off; sometimes all or none. */
	unsigned style = rnd() % 4;
	for (unsigned i = 0; i < 32; i++)
		mask[i] = (uint8_t)(style == 0 ? 0xff : style == 1 ? 0x7f : rnd());
	set_ymm(v, in->mask, mask);
	if (in->index == MASKMOVQ)
		memcpy(v->legacy + 32 + 16 * in->mask, mask, 8);
	if (in->index < 16) {
		/* Small offsets to both sides, as dwords or, the same bits, as low halves of qwords. */
		int32_t d[8];
		bool qwords = strstr(in->text, "gatherq") != NULL;
		for (unsigned i = 0; i < 8; i++)
			d[i] = qwords && (i & 1) ? (d[i - 1] < 0 ? -1 : 0) : (int32_t)(rnd() % 1001) - 500;
		set_ymm(v, in->index, d);
	}
}

static void prepare(unsigned cpl)
{
	fake_init(&cpu, &table, CPU_64, cpl);
	cpu.s.regs[REG_RDX] = cpu.s.regs[REG_RDI] = BASE;
	for (unsigned i = 0; i < FAKE_SIZE; i++)
		at(FAKE_BASE)[i] = (uint8_t)rnd();
}

static void same(const struct vstate *a, const struct vstate *b)
{
	assert_memory_equal(a->legacy + 160, b->legacy + 160, 256);
	assert_memory_equal(a->ymmh, b->ymmh, 256);
	/* x87: tags and registers, that is MMX state */
	assert_int_equal(a->legacy[4], b->legacy[4]);
	assert_memory_equal(a->legacy + 32, b->legacy + 32, 128);
}

static void test_like_native(void **state)
{
	static uint8_t before[FAKE_SIZE], after[FAKE_SIZE];

	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	prepare(3);
	for (unsigned n = 0; n < COUNT; n++) {
		for (unsigned i = 0; i < 300; i++) {
			struct vstate v, w;
			struct run r = { .n = n };
			struct sysop op;

			random_vectors(&v, &insns[n]);
			w = v;
			memcpy(before, at(FAKE_BASE), FAKE_SIZE);
			run_native(&w, native, &r);
			memcpy(after, at(FAKE_BASE), FAKE_SIZE);
			memcpy(at(FAKE_BASE), before, FAKE_SIZE);
			op = make_op(&r);
			assert_int_equal(run_live(&v, handler(n), &cpu, &op), NEXT_CONTINUE);
			assert_memory_equal(at(FAKE_BASE), after, FAKE_SIZE);
			same(&v, &w);
		}
	}
}

/* A gather that faults has done the elements before, and says so in its mask. */
static void test_gather_restarts(void **state)
{
	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	for (unsigned n = 0; n < GATHER_END; n++) {
		for (unsigned i = 0; i < 50; i++) {
			struct vstate v, w;
			struct run r = { .n = n };
			struct sysop op;
			enum soft_next next;
			unsigned faults = 0;

			prepare(3);
			random_vectors(&v, &insns[n]);
			w = v;
			run_native(&w, native, &r);
			op = make_op(&r);
			memset(fake.page, PAGE_NONE, FAKE_PAGES);
			while ((next = run_live(&v, sys_gather, &cpu, &op)) == NEXT_FAULT) {
				assert_int_equal(cpu.fault.vector, VEC_PF);
				assert_int_equal(cpu.fault.error, PFERR_U);
				fake.page[(cpu.fault.cr2 - FAKE_BASE) / PAGE_SIZE] = PAGE_RO;
				faults++;
			}
			assert_int_equal(next, NEXT_CONTINUE);
			same(&v, &w);
			assert_true(faults <= 8);
		}
	}
}

/* One element done, the second faults: SDM vol. 2, VGATHERDPS. */
static void test_gather_partial(void **state)
{
	struct vstate v;
	struct run r = { .n = 8 }; /* vpgatherdd, 8 elements */
	struct sysop op;
	const int32_t index[8] = { 1, 2000, 2, 3, 4, 5, 6, 7 };
	uint32_t mask[8], dest[8], was[8];

	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	prepare(3);
	random_vectors(&v, &insns[8]);
	run_native(&v, native, &r);
	op = make_op(&r);
	memset(mask, 0xff, sizeof(mask));
	memset(was, 0x77, sizeof(was));
	set_ymm(&v, 0, was);
	set_ymm(&v, 1, mask);
	set_ymm(&v, 2, index);
	fake.page[7] = PAGE_NONE;
	assert_int_equal(run_live(&v, sys_gather, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.cr2, BASE + DISP + 8000);
	get_ymm(&v, 0, dest);
	get_ymm(&v, 1, mask);
	assert_memory_equal(&dest[0], at(BASE + DISP + 4), 4);
	assert_memory_equal(&dest[1], &was[1], 28);
	assert_int_equal(mask[0], 0);
	assert_int_equal(mask[1], 0xffffffff);
}

static void test_gather_same_registers(void **state)
{
	struct run r = { .n = 0 };
	struct vstate v;

	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	prepare(3);
	random_vectors(&v, &insns[0]);
	run_native(&v, native, &r);
	for (unsigned i = 0; i < 3; i++) {
		struct sysop op = make_op(&r);
		if (i == 0)
			op.vec = op.reg;
		else if (i == 1)
			op.index = op.reg;
		else
			op.index = op.vec;
		assert_int_equal(run_live(&v, sys_gather, &cpu, &op), NEXT_FAULT);
		assert_int_equal(cpu.fault.vector, VEC_UD);
	}
}

/* Lanes that are off may lie in pages that are not there; a store is all or nothing. */
static void test_masked_lanes(void **state)
{
	static uint8_t before[FAKE_SIZE];

	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	for (unsigned n = GATHER_END; n < COUNT; n++) {
		struct vstate v, w;
		struct run r = { .n = n };
		struct sysop op;
		unsigned width = insns[n].index == MASKMOVQ     ? 8
				 : insns[n].index == MASKMOVDQU ? 16
				 : strstr(insns[n].text, "ymm") ? 32
								: 16;
		uint8_t mask[32];

		prepare(3);
		random_vectors(&v, &insns[n]);
		w = v;
		run_native(&w, native, &r);
		op = make_op(&r);
		/* the second half lies in a page that is not there */
		cpu.s.regs[REG_RDX] = FAKE_BASE + 3 * PAGE_SIZE - DISP - width / 2;
		cpu.s.regs[REG_RDI] = FAKE_BASE + 3 * PAGE_SIZE - width / 2;
		fake.page[3] = PAGE_NONE;
		memset(mask, 0xff, width / 2);
		memset(mask + width / 2, 0, width / 2);
		set_ymm(&v, insns[n].mask, mask);
		if (insns[n].index == MASKMOVQ)
			memcpy(v.legacy + 32 + 16 * insns[n].mask, mask, 8);
		w = v;
		assert_int_equal(run_live(&w, handler(n), &cpu, &op), NEXT_CONTINUE);

		/* and with the last lane on */
		memset(mask + width - 8, 0xff, 8);
		set_ymm(&v, insns[n].mask, mask);
		if (insns[n].index == MASKMOVQ)
			memset(v.legacy + 32 + 16 * insns[n].mask, 0xff, 8);
		w = v;
		memcpy(before, at(FAKE_BASE), FAKE_SIZE);
		assert_int_equal(run_live(&w, handler(n), &cpu, &op), NEXT_FAULT);
		assert_int_equal(cpu.fault.vector, VEC_PF);
		assert_memory_equal(before, at(FAKE_BASE), FAKE_SIZE);
		assert_memory_equal(v.legacy + 160, w.legacy + 160, 256);
		assert_memory_equal(v.ymmh, w.ymmh, 256);

		/* nothing on: nothing touched at all */
		memset(mask, 0x7f, 32);
		set_ymm(&v, insns[n].mask, mask);
		if (insns[n].index == MASKMOVQ)
			memset(v.legacy + 32 + 16 * insns[n].mask, 0x7f, 8);
		fake.page[2] = PAGE_NONE;
		w = v;
		assert_int_equal(run_live(&w, handler(n), &cpu, &op), NEXT_CONTINUE);
	}
}

/* Bytes off at both ends: only what lies between is looked at. */
static void test_maskmov_ends(void **state)
{
	struct sysop op = { .adsize = 8, .seg = SEG_DS, .reg = 0, .rm = 1, .aux = 16 };
	uint8_t mask[32] = { 0 };
	struct vstate v;

	prepare(3);
	random_vectors(&v, &insns[COUNT - 3]);
	mask[6] = mask[7] = mask[9] = 0x80;
	set_ymm(&v, 1, mask);
	/* bytes 6 to 9 are the last four of a page */
	cpu.s.regs[REG_RDI] = FAKE_BASE + 3 * PAGE_SIZE - 10;
	fake.page[3] = PAGE_NONE;
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_CONTINUE);
	assert_memory_equal(at(FAKE_BASE + 3 * PAGE_SIZE - 4), v.legacy + 160 + 6, 2);
	/* and the first four */
	cpu.s.regs[REG_RDI] = FAKE_BASE + 3 * PAGE_SIZE - 6;
	fake.page[2] = PAGE_NONE;
	fake.page[3] = PAGE_RW;
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_CONTINUE);
	assert_memory_equal(at(FAKE_BASE + 3 * PAGE_SIZE + 3), v.legacy + 160 + 9, 1);
	/* RDI as wide as the address size */
	cpu.s.regs[REG_RDI] |= 0xabull << 32;
	op.adsize = 4;
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_CONTINUE);
	op.adsize = 8;
	cpu.s.regs[REG_RDI] = (uint32_t)cpu.s.regs[REG_RDI];
	/* just one too many, to either side */
	mask[5] = 0x80;
	set_ymm(&v, 1, mask);
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.cr2, FAKE_BASE + 3 * PAGE_SIZE - 1);
	mask[5] = 0;
	mask[10] = 0x80;
	set_ymm(&v, 1, mask);
	cpu.s.regs[REG_RDI] -= 4;
	fake.page[2] = PAGE_RW;
	fake.page[3] = PAGE_NONE;
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.cr2, FAKE_BASE + 3 * PAGE_SIZE);
}

/* MASKMOVQ is an MMX instruction: an x87 exception that waits comes first. */
static void test_maskmovq_pending(void **state)
{
	struct sysop op = { .adsize = 8, .seg = SEG_DS, .reg = 0, .rm = 1, .aux = 8 };
	struct vstate v;

	prepare(3);
	random_vectors(&v, &insns[COUNT - 1]);
	*(uint16_t *)v.legacy = 0x037e;
	*(uint16_t *)(v.legacy + 2) = 0x8081;
	assert_int_equal(run_live(&v, sys_maskmov, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_MF);
	assert_int_equal(*(uint16_t *)(v.legacy + 2), 0x8081);
}

/* Stores want a segment that can be written to, loads do not. */
static void test_read_only_segment(void **state)
{
	if (!cpuid_has(&table, CPU_AVX2))
		skip();
	for (unsigned n = 0; n < COUNT; n++) {
		struct run r = { .n = n };
		struct vstate v;
		struct sysop op;
		bool store = n >= 24;
		uint8_t on[32];

		prepare(3);
		random_vectors(&v, &insns[n]);
		run_native(&v, native, &r);
		random_vectors(&v, &insns[n]);
		memset(on, 0xff, sizeof(on));
		set_ymm(&v, insns[n].mask, on);
		if (insns[n].index == MASKMOVQ)
			memset(v.legacy + 32 + 16 * insns[n].mask, 0xff, 8);
		op = make_op(&r);
		fake_init(&cpu, &table, CPU_32, 3);
		cpu.s.regs[REG_RDX] = cpu.s.regs[REG_RDI] = BASE;
		cpu.s.seg[SEG_DS].attr &= (uint16_t)~2u;
		cpu_update_mode(&cpu);
		op.adsize = 4;
		assert_int_equal(run_live(&v, handler(n), &cpu, &op), store ? NEXT_FAULT : NEXT_CONTINUE);
		if (store)
			assert_int_equal(cpu.fault.vector, VEC_GP);
	}
}

static int setup(void **state)
{
	cpuid_build(&table, 1, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_native),      cmocka_unit_test(test_gather_restarts),
		cmocka_unit_test(test_gather_partial),   cmocka_unit_test(test_gather_same_registers),
		cmocka_unit_test(test_masked_lanes),     cmocka_unit_test(test_maskmov_ends),
		cmocka_unit_test(test_maskmovq_pending), cmocka_unit_test(test_read_only_segment),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
