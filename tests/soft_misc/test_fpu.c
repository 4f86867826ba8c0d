/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FPU state images against the host CPU: the same state, the same memory, the
 * same request, once through the handler and once natively. Only the x87
 * pointers may differ: the handlers' are zero.
 */
#include "fake_mmu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define AREA      (FAKE_BASE + 0x1000u) /* the handler's area */
#define AREA2     (FAKE_BASE + 0x5000u) /* the CPU's */
#define AREA_SIZE 1024

static struct cpuid_table table;
static struct soft_cpu cpu;

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static void fill(void *p, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)(rnd() >> 20);
}

/* Any state that software could have loaded. */
static void random_state(struct vstate *v)
{
	uint16_t fcw = 0x037f, fsw = (uint16_t)(rnd() & 0x3800);

	memset(v, 0, sizeof(*v));
	fill(v->legacy + 32, 384);
	/* ST registers: clear the padding, which no CPU keeps */
	for (unsigned i = 0; i < 8; i++)
		memset(v->legacy + 32 + 16 * i + 10, 0, 6);
	memcpy(v->legacy, &fcw, 2);
	memcpy(v->legacy + 2, &fsw, 2);
	v->legacy[4] = (uint8_t)rnd();
	fill(v->ymmh, 256);
	v->xstate_bv = rnd() & 7;
	/*
	 * Another MXCSR only when SSE is in use: the kernel's context switch
	 * would make it so anyway, at a moment that no test can foresee.
	 */
	*(uint32_t *)(v->legacy + 24) = rnd() & 1 || !(v->xstate_bv & XCR0_SSE) ? 0x1f80
										: 0x1fa0 | (rnd() & 0x6000);
}

static void clear_pointers(uint8_t *legacy)
{
	memset(legacy + 6, 0, 18);
}

static void same_state(struct vstate *a, struct vstate *b)
{
	clear_pointers(a->legacy);
	clear_pointers(b->legacy);
	*(uint32_t *)(a->legacy + 28) = *(uint32_t *)(b->legacy + 28) = 0; /* MXCSR_MASK */
	assert_memory_equal(a->legacy, b->legacy, 416);
	assert_memory_equal(a->ymmh, b->ymmh, 256);
}

struct native {
	unsigned insn;
	uint32_t mask;
};

enum {
	XSAVE,
	XSAVEOPT,
	XSAVEC,
	XRSTOR,
	FXSAVE,
	FXRSTOR,
	FNSTENV,
	FNSAVE,
	FLDENV,
	FRSTOR,
	FNSTENV16,
	FNSAVE16,
	FLDENV16,
	FRSTOR16
};

static void native(void *arg)
{
	const struct native *n = arg;
	uint8_t *p = at(AREA2);

	switch (n->insn) {
	case XSAVE: __asm__ volatile("xsave64 (%0)" : : "r"(p), "a"(n->mask), "d"(0) : "memory"); break;
	case XSAVEOPT: __asm__ volatile("xsaveopt64 (%0)" : : "r"(p), "a"(n->mask), "d"(0) : "memory"); break;
	case XSAVEC: __asm__ volatile("xsavec64 (%0)" : : "r"(p), "a"(n->mask), "d"(0) : "memory"); break;
	case XRSTOR: __asm__ volatile("xrstor64 (%0)" : : "r"(p), "a"(n->mask), "d"(0) : "memory"); break;
	case FXSAVE: __asm__ volatile("fxsave64 (%0)" : : "r"(p) : "memory"); break;
	case FXRSTOR: __asm__ volatile("fxrstor64 (%0)" : : "r"(p) : "memory"); break;
	case FNSTENV: __asm__ volatile("fnstenv (%0)" : : "r"(p) : "memory"); break;
	case FNSAVE: __asm__ volatile("fnsave (%0)" : : "r"(p) : "memory"); break;
	case FLDENV: __asm__ volatile("fldenv (%0)" : : "r"(p) : "memory"); break;
	case FRSTOR: __asm__ volatile("frstor (%0)" : : "r"(p) : "memory"); break;
	case FNSTENV16: __asm__ volatile(".byte 0x66; fnstenv (%0)" : : "r"(p) : "memory"); break;
	case FNSAVE16: __asm__ volatile(".byte 0x66; fnsave (%0)" : : "r"(p) : "memory"); break;
	case FLDENV16: __asm__ volatile(".byte 0x66; fldenv (%0)" : : "r"(p) : "memory"); break;
	case FRSTOR16: __asm__ volatile(".byte 0x66; frstor (%0)" : : "r"(p) : "memory"); break;
	}
}

static bool host_has_xsavec(void)
{
	uint32_t a = 0xd, b, c = 1, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return a & 2;
}

static void set_mask(uint64_t mask)
{
	cpu.s.regs[REG_RAX] = (uint32_t)mask;
	cpu.s.regs[REG_RDX] = mask >> 32;
}

/* ---- saving ---- */

/*
 * Whether a component is "in use" is not entirely the program's: the host
 * kernel's context switch may turn SSE in its initial state into SSE in use.
 * So a case in which the two runs do not agree on it is done again.
 */
static void save_both(sysop_fn *fn, const struct native *n, struct vstate *v, struct vstate *w)
{
	const struct sysop op = op_at(AREA, 4);
	struct vstate state;
	uint8_t fresh[AREA_SIZE];

	random_state(&state);
	fill(fresh, AREA_SIZE);
	for (unsigned tries = 0; tries < 20; tries++) {
		*v = *w = state;
		memcpy(at(AREA), fresh, AREA_SIZE);
		memcpy(at(AREA2), fresh, AREA_SIZE);
		assert_int_equal(run_live(v, fn, &cpu, &op), NEXT_CONTINUE);
		run_native(w, native, (void *)n);
		if (!memcmp(at(AREA + 512), at(AREA2 + 512), 8))
			break;
	}
}

static void save_like_native(sysop_fn *fn, unsigned insn, bool masked)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct vstate v, w;
		struct native n = { .insn = insn, .mask = masked ? rnd() & 7 : 7 };

		set_mask(n.mask | 0xffffff00);
		save_both(fn, &n, &v, &w);
		same_state(&v, &w);

		uint8_t *a = at(AREA), *b = at(AREA2);
		bool x87_written = insn == XSAVE || insn == FXSAVE ? true : (v.xstate_bv & XCR0_X87) != 0;
		if (insn == FXSAVE || (x87_written && (n.mask & XCR0_X87)))
			clear_pointers(b);
		/* The CPU may write the reserved parts behind the XMM registers; compare what is defined. */
		assert_memory_equal(a, b, 416);
		assert_memory_equal(a + 512, b + 512, AREA_SIZE - 512);
	}
}

/* Whatever MXCSR LDMXCSR takes can be saved and restored. */
static void test_mxcsr(void **state)
{
	struct sysop op = op_at(AREA, 4);
	struct vstate v, w;

	fake_init(&cpu, &table, CPU_64, 0);
	set_mask(7);
	random_state(&v);
	v.xstate_bv = 7;
	*(uint32_t *)(v.legacy + 24) = cpuid_has(&table, CPU_MISALIGNSSE) ? 0x2ffc0 : 0xffc0;
	w = v;
	assert_int_equal(run_live(&w, sys_xsaves, &cpu, &op), NEXT_CONTINUE);
	random_state(&w);
	assert_int_equal(run_live(&w, sys_xrstors, &cpu, &op), NEXT_CONTINUE);
	same_state(&v, &w);
}

static void test_xsave(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	save_like_native(sys_xsave, XSAVE, true);
}

static void test_xsaveopt(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	save_like_native(sys_xsaveopt, XSAVEOPT, true);
}

static void test_xsavec(void **state)
{
	if (!host_has_xsavec())
		skip();
	fake_init(&cpu, &table, CPU_64, 0);
	save_like_native(sys_xsavec, XSAVEC, true);
	/* With no supervisor components XSAVES writes the same. */
	save_like_native(sys_xsaves, XSAVEC, true);
}

static void test_fxsave(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	save_like_native(sys_fxsave, FXSAVE, false);
}

/* Bits 63:32 of the request come from EDX, and none of them means anything here. */
static void test_request(void **state)
{
	struct sysop op = op_at(AREA, 4);
	struct vstate v;

	fake_init(&cpu, &table, CPU_64, 0);
	random_state(&v);
	v.xstate_bv = 7;
	memset(at(AREA), 0x55, AREA_SIZE);
	memset(at(AREA + 512), 0, 8);
	cpu.s.regs[REG_RAX] = 7ull << 32;
	cpu.s.regs[REG_RDX] = 0xffffffff00000007;
	assert_int_equal(run_live(&v, sys_xsave, &cpu, &op), NEXT_CONTINUE);
	for (unsigned i = 0; i < AREA_SIZE; i++)
		assert_int_equal(at(AREA)[i], i >= 512 && i < 520 ? 0 : 0x55);
}

/* 32-bit code has eight registers and leaves the room of the others alone. */
static void test_save_32(void **state)
{
	for (unsigned i = 0; i < 200; i++) {
		struct vstate v;
		struct sysop op = op_at(AREA, 4);
		uint8_t before[AREA_SIZE];

		fake_init(&cpu, &table, CPU_32, 0);
		random_state(&v);
		v.xstate_bv = 7;
		fill(at(AREA), AREA_SIZE);
		memcpy(before, at(AREA), AREA_SIZE);
		set_mask(7);
		assert_int_equal(run_live(&v, i & 1 ? sys_xsave : sys_fxsave, &cpu, &op), NEXT_CONTINUE);
		assert_memory_equal(at(AREA) + 160, v.legacy + 160, 128);
		assert_memory_equal(at(AREA) + 288, before + 288, 224);
		if (i & 1) {
			assert_memory_equal(at(AREA) + 576, v.ymmh, 128);
			assert_memory_equal(at(AREA) + 704, before + 704, AREA_SIZE - 704);
		} else {
			assert_memory_equal(at(AREA) + 512, before + 512, AREA_SIZE - 512);
		}
	}
}

/* ---- restoring ---- */

static void restore_like_native(sysop_fn *fn, unsigned insn, bool compact)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct vstate v, w, image;
		struct native n = { .insn = insn, .mask = rnd() & 7 };
		struct sysop op = op_at(AREA, 4);

		random_state(&image);
		if (compact) {
			image.xcomp_bv = 1ull << 63 | (image.xstate_bv | (rnd() & 7));
		} else if (insn == XRSTOR) {
			/* bytes 63:24 of the header do not matter */
			fill(&image.reserved[1], 40);
		}
		random_state(&v);
		w = v;
		memcpy(at(AREA), &image, sizeof(image));
		memcpy(at(AREA2), &image, sizeof(image));
		set_mask(n.mask);
		assert_int_equal(run_live(&v, fn, &cpu, &op), NEXT_CONTINUE);
		run_native(&w, native, &n);
		same_state(&v, &w);
		assert_memory_equal(at(AREA), at(AREA2), sizeof(image));
	}
}

static void test_xrstor(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	restore_like_native(sys_xrstor, XRSTOR, false);
}

static void test_xrstor_compact(void **state)
{
	if (!host_has_xsavec())
		skip();
	fake_init(&cpu, &table, CPU_64, 0);
	restore_like_native(sys_xrstor, XRSTOR, true);
	restore_like_native(sys_xrstors, XRSTOR, true);
}

static void test_fxrstor(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	restore_like_native(sys_fxrstor, FXRSTOR, false);
}

static void test_restore_32(void **state)
{
	for (unsigned i = 0; i < 400; i++) {
		struct vstate v, old, image;
		struct sysop op = op_at(AREA, 4);
		bool fx = i & 1;

		fake_init(&cpu, &table, CPU_32, 0);
		random_state(&image);
		random_state(&v);
		v.xstate_bv = 7;
		old = v;
		memcpy(at(AREA), &image, sizeof(image));
		set_mask(7);
		assert_int_equal(run_live(&v, fx ? sys_fxrstor : sys_xrstor, &cpu, &op), NEXT_CONTINUE);
		/* 8 to 15 stay as they were, 0 to 7 come from the image or are cleared. */
		assert_memory_equal(v.legacy + 288, old.legacy + 288, 128);
		assert_memory_equal(v.ymmh + 128, old.ymmh + 128, 128);
		for (unsigned j = 0; j < 128; j++) {
			bool sse = fx || (image.xstate_bv & XCR0_SSE);
			assert_int_equal(v.legacy[160 + j], sse ? image.legacy[160 + j] : 0);
			if (!fx)
				assert_int_equal(v.ymmh[j], image.xstate_bv & XCR0_AVX ? image.ymmh[j] : 0);
		}
	}
}

/* ---- x87's own ---- */

static void x87_like_native(sysop_fn *fn, unsigned insn, unsigned opsize, unsigned size, bool load)
{
	for (unsigned i = 0; i < 1000; i++) {
		struct vstate v, w;
		struct native n = { .insn = insn };
		struct sysop op = op_at(AREA + 3, opsize);
		unsigned env = opsize == 2 ? 14 : 28, word = opsize == 2 ? 2 : 4;
		uint8_t *a = at(AREA + 3), *b = at(AREA2);

		random_state(&v);
		w = v;
		fill(at(AREA), AREA_SIZE);
		if (load) {
			/* exceptions masked, or the next x87 instruction here would trap */
			const uint16_t fcw = 0x037f, fsw = (uint16_t)(rnd() & 0x3800);
			memcpy(a, &fcw, 2);
			if (i & 1)
				memcpy(a + word, &fsw, 2);
		}
		memcpy(b, a, AREA_SIZE - 8);
		assert_int_equal(run_live(&v, fn, &cpu, &op), NEXT_CONTINUE);
		run_native(&w, native, &n);
		same_state(&v, &w);
		if (!load) {
			/* pointers: zero here, the CPU's there */
			for (unsigned j = 3 * word; j < env; j++) {
				bool high = opsize == 4 && j >= 26;
				assert_int_equal(a[j], high ? 0xff : 0);
			}
			memcpy(b + 3 * word, a + 3 * word, env - 3 * word);
		}
		assert_memory_equal(a, b, AREA_SIZE - 8);
		(void)size;
	}
}

static void test_x87(void **state)
{
	fake_init(&cpu, &table, CPU_64, 3);
	x87_like_native(sys_fnstenv, FNSTENV, 4, 28, false);
	x87_like_native(sys_fnstenv, FNSTENV16, 2, 14, false);
	x87_like_native(sys_fnsave, FNSAVE, 4, 108, false);
	x87_like_native(sys_fnsave, FNSAVE16, 2, 94, false);
	x87_like_native(sys_fldenv, FLDENV, 4, 28, true);
	x87_like_native(sys_fldenv, FLDENV16, 2, 14, true);
	x87_like_native(sys_frstor, FRSTOR, 4, 108, true);
	x87_like_native(sys_frstor, FRSTOR16, 2, 94, true);
}

/* An x87 exception that is pending comes before FLDENV and FRSTOR, not before FNSAVE. */
static void test_x87_pending(void **state)
{
	struct vstate v;
	struct sysop op = op_at(AREA, 4);

	fake_init(&cpu, &table, CPU_64, 3);
	random_state(&v);
	v.xstate_bv = 7;
	*(uint16_t *)v.legacy = 0x037e;       /* invalid operation unmasked */
	*(uint16_t *)(v.legacy + 2) = 0x8081; /* B, ES, IE */
	struct vstate w = v;
	assert_int_equal(run_live(&w, sys_fldenv, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_MF);
	assert_false(cpu.fault.has_error);
	w = v;
	assert_int_equal(run_live(&w, sys_frstor, &cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_MF);
	w = v;
	assert_int_equal(run_live(&w, sys_fnsave, &cpu, &op), NEXT_CONTINUE);
	assert_int_equal(*(uint16_t *)(at(AREA) + 4), 0x8081);
	assert_int_equal(*(uint16_t *)w.legacy, 0x037f);
	/* and FXRSTOR of such a state is fine, it traps later */
	memcpy(at(AREA), &v, sizeof(v));
	random_state(&w);
	assert_int_equal(run_live(&w, sys_fxrstor, &cpu, &op), NEXT_CONTINUE);
	assert_int_equal(*(uint16_t *)(w.legacy + 2), 0x8081);
}

/* ---- faults ---- */

/* Runs @fn, which must raise this and leave the CPU's vector state and the memory alone. */
static void faults(sysop_fn *fn, const struct sysop *op, unsigned vector, int error)
{
	static uint8_t before[FAKE_SIZE];
	struct vstate v, w;

	random_state(&v);
	v.xstate_bv = 7;
	w = v;
	memcpy(before, at(FAKE_BASE), FAKE_SIZE);
	assert_int_equal(run_live(&w, fn, &cpu, op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, vector);
	assert_int_equal(cpu.fault.has_error, error >= 0);
	if (error >= 0)
		assert_int_equal(cpu.fault.error, error);
	same_state(&v, &w);
	assert_memory_equal(before, at(FAKE_BASE), FAKE_SIZE);
}

static void test_availability(void **state)
{
	static sysop_fn *const xsaves[] = { sys_xsave,  sys_xsaveopt, sys_xsavec,
					    sys_xsaves, sys_xrstor,   sys_xrstors };
	static sysop_fn *const x87[] = { sys_fxsave, sys_fxrstor, sys_fnstenv,
					 sys_fldenv, sys_fnsave,  sys_frstor };
	struct sysop op = op_at(AREA, 4);

	for (unsigned i = 0; i < 6; i++) {
		fake_init(&cpu, &table, CPU_64, 0);
		set_mask(7);
		cpu.s.cr0 |= CR0_TS;
		faults(xsaves[i], &op, VEC_NM, -1);
		faults(x87[i], &op, VEC_NM, -1);
		cpu.s.cr0 &= ~(uint64_t)CR0_TS;
		cpu.s.cr0 |= CR0_EM;
		faults(x87[i], &op, VEC_NM, -1);
		cpu.s.cr4 &= ~(uint64_t)CR4_OSXSAVE;
		faults(xsaves[i], &op, VEC_UD, -1);
	}
	fake_init(&cpu, &table, CPU_64, 3);
	set_mask(7);
	faults(sys_xsaves, &op, VEC_GP, 0);
	faults(sys_xrstors, &op, VEC_GP, 0);
}

static void test_alignment(void **state)
{
	struct sysop op = op_at(AREA + 32, 4);

	fake_init(&cpu, &table, CPU_64, 0);
	set_mask(7);
	faults(sys_xsave, &op, VEC_GP, 0);
	faults(sys_xrstor, &op, VEC_GP, 0);
	op = op_at(AREA + 8, 4);
	faults(sys_fxsave, &op, VEC_GP, 0);
	faults(sys_fxrstor, &op, VEC_GP, 0);
}

/* Headers and MXCSR values at which the host's XRSTOR would fault. */
static void test_bad_images(void **state)
{
	struct vstate good, v;
	struct sysop op = op_at(AREA, 4);

	fake_init(&cpu, &table, CPU_64, 0);
	set_mask(7);
	random_state(&good);
	good.xstate_bv = 7;
#define BAD(fn, change)                          \
	do {                                     \
		v = good;                        \
		change;                          \
		memcpy(at(AREA), &v, sizeof(v)); \
		faults(fn, &op, VEC_GP, 0);      \
	} while (0)
	for (unsigned bit = 3; bit < 64; bit++)
		BAD(sys_xrstor, v.xstate_bv |= 1ull << bit);
	for (unsigned bit = 0; bit < 63; bit++)
		BAD(sys_xrstor, v.xcomp_bv |= 1ull << bit);
	BAD(sys_xrstor, v.reserved[0] = 1);
	BAD(sys_xrstor, v.reserved[0] = 1ull << 63);
	for (unsigned bit = 16; bit < 32; bit++) {
		if (bit == 17 && cpuid_has(&table, CPU_MISALIGNSSE))
			continue;
		BAD(sys_xrstor, *(uint32_t *)(v.legacy + 24) |= 1u << bit);
		BAD(sys_fxrstor, *(uint32_t *)(v.legacy + 24) |= 1u << bit);
	}
	/* also when SSE's bit in XSTATE_BV is clear */
	BAD(sys_xrstor, (v.xstate_bv = 5, *(uint32_t *)(v.legacy + 24) |= 1u << 31));

	good.xcomp_bv = 1ull << 63 | 7;
	for (unsigned bit = 3; bit < 63; bit++) {
		BAD(sys_xrstor, v.xcomp_bv |= 1ull << bit);
		BAD(sys_xrstors, v.xcomp_bv |= 1ull << bit);
	}
	for (unsigned bit = 3; bit < 64; bit++)
		BAD(sys_xrstor, v.xstate_bv |= 1ull << bit);
	for (unsigned i = 0; i < 6; i++)
		BAD(sys_xrstor, v.reserved[i] = 1ull << (7 * i));
	BAD(sys_xrstor, v.xcomp_bv = 1ull << 63 | 3);
	BAD(sys_xrstors, v.xcomp_bv = 0);
	/* components that XCR0 does not enable */
	cpu.s.xcr0 = 3;
	BAD(sys_xrstor, (void)0);
	good.xcomp_bv = 0;
	BAD(sys_xrstor, (void)0);
#undef BAD
}

static void test_page_faults(void **state)
{
	static sysop_fn *const savers[] = { sys_xsave,  sys_xsaveopt, sys_xsavec, sys_xsaves,
					    sys_fxsave, sys_fnsave,   sys_fnstenv };
	static sysop_fn *const loaders[] = { sys_xrstor, sys_xrstors, sys_fxrstor, sys_frstor, sys_fldenv };
	struct vstate image;

	fake_init(&cpu, &table, CPU_64, 0);
	set_mask(7);
	fake.page[3] = PAGE_NONE;
	fake.page[5] = PAGE_RO;
	for (unsigned i = 0; i < 7; i++) {
		unsigned back = i == 6 ? 8 : i == 5 ? 50 : i == 4 ? 256 : 576;
		struct sysop op = op_at(FAKE_BASE + 3 * PAGE_SIZE - back, 4);
		faults(savers[i], &op, VEC_PF, PFERR_W);
		assert_int_equal(cpu.fault.cr2, FAKE_BASE + 3 * PAGE_SIZE);
		op = op_at(FAKE_BASE + 5 * PAGE_SIZE, 4);
		faults(savers[i], &op, VEC_PF, PFERR_W | PFERR_P);
	}
	random_state(&image);
	image.xstate_bv = 7;
	for (unsigned i = 0; i < 5; i++) {
		unsigned back = i == 4 ? 8 : i == 3 ? 50 : i == 2 ? 256 : 576;
		struct sysop op = op_at(FAKE_BASE + 3 * PAGE_SIZE - back, 4);
		image.xcomp_bv = loaders[i] == sys_xrstors ? 1ull << 63 | 7 : 0;
		memcpy(at(FAKE_BASE + 3 * PAGE_SIZE - back), &image, sizeof(image));
		faults(loaders[i], &op, VEC_PF, 0);
	}
	/* An area without AVX need not have room for it. */
	struct sysop op = op_at(FAKE_BASE + 3 * PAGE_SIZE - 576, 4);
	set_mask(3);
	image.xcomp_bv = 0;
	memset(at(FAKE_BASE + 3 * PAGE_SIZE - 64), 0, 64);
	assert_int_equal(run_live(&image, sys_xsave, &cpu, &op), NEXT_CONTINUE);
	assert_int_equal(run_live(&image, sys_xrstor, &cpu, &op), NEXT_CONTINUE);
}

/* A segment that can only be read is good enough to restore from, and nothing else. */
static void test_read_only_segment(void **state)
{
	static sysop_fn *const savers[] = { sys_xsave, sys_xsavec, sys_fxsave, sys_fnsave, sys_fnstenv };
	static sysop_fn *const loaders[] = { sys_xrstor, sys_fxrstor, sys_frstor, sys_fldenv };
	struct sysop op = op_at(AREA, 4);
	struct vstate image, v;

	fake_init(&cpu, &table, CPU_32, 3);
	cpu.s.seg[SEG_DS].attr &= (uint16_t)~2u;
	cpu_update_mode(&cpu);
	set_mask(7);
	for (unsigned i = 0; i < 5; i++)
		faults(savers[i], &op, VEC_GP, 0);
	for (unsigned i = 0; i < 4; i++) {
		random_state(&image);
		image.xstate_bv = 7;
		random_state(&v);
		memcpy(at(AREA), &image, sizeof(image));
		if (i >= 2)
			*(uint32_t *)at(AREA) = 0x37f, *(uint32_t *)at(AREA + 4) = 0;
		assert_int_equal(run_live(&v, loaders[i], &cpu, &op), NEXT_CONTINUE);
	}
}

/* No copied x87 instruction's address may be seen in memory. */
static void x87_divide(void *arg)
{
	__asm__ volatile("fninit; fldz; fldz; fdivp; fstps %0" : "=m"(*(float *)arg));
}

static void test_no_leak(void **state)
{
	static sysop_fn *const savers[] = { sys_xsave, sys_xsaveopt, sys_xsavec, sys_xsaves, sys_fxsave };
	struct sysop op = op_at(AREA, 4);
	struct vstate v;
	float f;

	fake_init(&cpu, &table, CPU_64, 0);
	set_mask(7);
	random_state(&v);
	run_native(&v, x87_divide, &f);
	/* Unmask what is pending, so that also AMD saves the pointers. */
	*(uint16_t *)v.legacy &= (uint16_t)~1u;
	*(uint64_t *)(v.legacy + 8) = 0x123456789abcull;
	*(uint64_t *)(v.legacy + 16) = 0x123456789abcull;
	for (unsigned i = 0; i < 5; i++) {
		struct vstate w = v;
		memset(at(AREA), 0x55, AREA_SIZE);
		assert_int_equal(run_live(&w, savers[i], &cpu, &op), NEXT_CONTINUE);
		for (unsigned j = 6; j < 24; j++)
			assert_int_equal(at(AREA)[j], 0);
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
		cmocka_unit_test(test_xsave),
		cmocka_unit_test(test_xsaveopt),
		cmocka_unit_test(test_xsavec),
		cmocka_unit_test(test_fxsave),
		cmocka_unit_test(test_save_32),
		cmocka_unit_test(test_xrstor),
		cmocka_unit_test(test_xrstor_compact),
		cmocka_unit_test(test_fxrstor),
		cmocka_unit_test(test_restore_32),
		cmocka_unit_test(test_x87),
		cmocka_unit_test(test_x87_pending),
		cmocka_unit_test(test_availability),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_bad_images),
		cmocka_unit_test(test_page_faults),
		cmocka_unit_test(test_no_leak),
		cmocka_unit_test(test_mxcsr),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_read_only_segment),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
