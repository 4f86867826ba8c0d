/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole case from a seed: the family decides which instructions, then the
 * registers that no instruction has spoken for get values of all kinds.
 */
#include <stdlib.h>
#include <string.h>

#include "gen.h"

#define F(n, h, ia, max, w)                                                     \
	{                                                                       \
		.name = n, .help = h, .ia32 = ia, .max_insns = max, .weight = w \
	}

const struct family families[FAM_COUNT] = {
	[FAM_INT] = F("int", "one-byte opcode map", false, 6, 14),
	[FAM_0F] = F("0f", "0F map, integer", false, 6, 8),
	[FAM_0F38] = F("0f38", "0F38 map, integer and SIMD", false, 4, 4),
	[FAM_0F3A] = F("0f3a", "0F3A map", false, 4, 3),
	[FAM_X87] = F("x87", "x87", false, 8, 6),
	[FAM_MMX] = F("mmx", "MMX", false, 5, 3),
	[FAM_SSE] = F("sse", "SSE to SSE4.2, AES, PCLMUL, SHA", false, 6, 8),
	[FAM_VEX] = F("vex", "AVX, AVX2, FMA, F16C, BMI", false, 6, 12),
	[FAM_STRING] = F("string", "string instructions with and without rep", false, 3, 4),
	[FAM_STACK] = F("stack", "push, pop, enter, leave, pushf", false, 6, 4),
	[FAM_BRANCH] = F("branch", "branches, calls, returns, loops", false, 7, 8),
	[FAM_FLAGS] = F("flags", "flags live across memory accesses", false, 8, 7),
	[FAM_FAULT] = F("fault", "the last instruction often faults", false, 4, 6),
	[FAM_GATHER] = F("gather", "AVX2 gathers", false, 2, 1),
	[FAM_PRIV] = F("priv", "privileged instructions at CPL 3", false, 2, 1),
	[FAM_FENV] = F("fenv", "FNSTENV, FNSAVE, FXSAVE and the like", false, 1, 1),
	[FAM_SMC] = F("smc", "self-modifying code", false, 3, 3),
	[FAM_GROUP] = F("group", "several accesses off one register, at the edges of pages", false, 14, 8),
	[FAM_FAR] = F("far", "far transfers between 64-bit and 32-bit code", false, 3, 2),
	[FAM_MIX] = F("mix", "all of the above, longer", false, 12, 12),
	[FAM_RAW] = F("raw", "random bytes", false, 1, 2),
	[FAM_ABSENT] = F("absent", "what the guest is not offered: #UD", false, 1, 1),
	[FAM_INT32] = F("int32", "32-bit code: one-byte map", true, 6, 6),
	[FAM_0F32] = F("0f32", "32-bit code: 0F map", true, 5, 3),
	[FAM_X8732] = F("x8732", "32-bit code: x87", true, 5, 2),
	[FAM_SSE32] = F("sse32", "32-bit code: MMX and SSE", true, 5, 3),
	[FAM_VEX32] = F("vex32", "32-bit code: VEX", true, 5, 3),
	[FAM_STRING32] = F("string32", "32-bit code: strings", true, 3, 2),
	[FAM_STACK32] = F("stack32", "32-bit code: stack", true, 6, 2),
	[FAM_BRANCH32] = F("branch32", "32-bit code: branches", true, 7, 4),
	[FAM_FAR32] = F("far32", "the same, beginning in 32-bit code", true, 3, 1),
	[FAM_MIX32] = F("mix32", "32-bit code: everything", true, 12, 5),
	[FAM_RAW32] = F("raw32", "32-bit code: random bytes", true, 1, 1),
};

#define C(k) (1u << CLASS_##k)

struct generator *generator_new(const struct offered *offered)
{
	struct generator *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->offered = *offered;
	ZydisDecoderInit(&g->dec64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderInit(&g->dec32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	/* What the CPUs that matter do with these encodings: no MPX, no CET, no Cyrix, no Knights Corner. */
	for (unsigned i = 0; i < 2; i++) {
		ZydisDecoder *d = i ? &g->dec32 : &g->dec64;

		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
	}
	return g;
}

void generator_free(struct generator *g)
{
	free(g);
}

static void fill_fpu(struct rng *r, uint8_t *x)
{
	uint16_t fcw = 0x37f, fsw;
	uint32_t mxcsr = 0x1f80;
	uint64_t bv = 7;

	if (rnd_pct(r, 35))
		fcw = (uint16_t)(0x40 | (rnd_pct(r, 75) ? 0x3f : rnd(r) & 0x3f) | (rnd(r) & 0xf00));
	fsw = (uint16_t)(rnd(r) & 0x7f00);
	/* Exception flags only where they cannot be pending already. */
	if (rnd_pct(r, 20))
		fsw |= (uint16_t)(rnd(r) & 0x7f & (fcw | 0x40));
	if (rnd_pct(r, 35))
		mxcsr = (uint32_t)((rnd_pct(r, 75) ? 0x1f80 : rnd(r) & 0x1f80) | (rnd(r) & 0xe07f));
	memcpy(x, &fcw, 2);
	memcpy(x + 2, &fsw, 2);
	x[4] = rnd_pct(r, 50) ? 0xff : rnd_pct(r, 30) ? 0 : (uint8_t)rnd(r);
	memcpy(x + 24, &mxcsr, 4);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t m = rnd_word(r);
		uint16_t se = (uint16_t)rnd(r);

		if (rnd_pct(r, 70)) { /* an ordinary number */
			m |= 1ull << 63;
			se = (uint16_t)((se & 0x8000) | (0x3fff - 20 + rnd_n(r, 40)));
		} else if (rnd_pct(r, 50)) {
			se = rnd_pct(r, 50) ? 0x7fff : 0;
		}
		memcpy(x + 32 + 16 * i, &m, 8);
		memcpy(x + 32 + 16 * i + 8, &se, 2);
	}
	for (unsigned i = 0; i < 32; i++) {
		uint64_t w = rnd_word(r);

		memcpy(x + 160 + 8 * i, &w, 8);
	}
	for (unsigned i = 0; i < 32; i++) {
		uint64_t w = rnd_word(r);

		memcpy(x + 576 + 8 * i, &w, 8);
	}
	memcpy(x + 512, &bv, 8);
}

/* Vector register @n: its low 16 bytes and its high 16. */
static uint8_t *ymm_half(struct diff_case *c, unsigned n, unsigned high)
{
	return c->xsave + (high ? 576 : 160) + 16 * n;
}

/* VGATHER and VPGATHER: indices in a vector register, so the initial state must fit. */
static void gen_gather(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned dst = rnd_n(r, 16), idx = rnd_n(r, 16), mask = rnd_n(r, 16);
	unsigned op = 0x90 + rnd_n(r, 4), w = rnd_n(r, 2), l = rnd_n(r, 2);
	unsigned scale = rnd_n(r, 4), base;
	uint8_t b[12];
	unsigned n = 0;

	do
		base = gen_reg(g);
	while ((g->assigned >> base & 1) || base == 5 || base == 13);
	/* A fault in the middle of a gather under single step: too exotic. */
	g->c->rflags &= ~0x100ull;
	g->assigned |= 1u << base;
	g->c->regs[base] = gen_target(g, 512, false);
	for (unsigned h = 0; h < 2; h++) {
		for (unsigned i = 0; i < 4; i++) {
			int32_t v = (int32_t)rnd_n(r, rnd_pct(r, 95) ? 64 : 4096);

			/* Index of 64 bits: the upper half is 0. */
			if ((op & 1) && (i & 1))
				v = 0;
			memcpy(ymm_half(g->c, idx, h) + 4 * i, &v, 4);
		}
	}
	b[n++] = 0xc4;
	b[n++] = (uint8_t)((dst & 8 ? 0 : 0x80) | (idx & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20) | 2);
	b[n++] = (uint8_t)(w << 7 | (15 ^ mask) << 3 | l << 2 | 1);
	b[n++] = (uint8_t)op;
	b[n++] = (uint8_t)(0x04 | (dst & 7) << 3);
	b[n++] = (uint8_t)(scale << 6 | (idx & 7) << 3 | (base & 7));
	gen_emit(g, b, n, 0);
}

/* Arithmetic, a memory access or two, and someone who looks at the flags. */
static void gen_flag_chain(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned a = gen_reg(g), b = gen_reg(g);
	uint8_t rex = (uint8_t)(0x48 | a >> 3 << 2 | b >> 3), modrm;
	uint8_t code[4];

	if (b == REG_SP_NUM || a == REG_SP_NUM)
		return;
	modrm = (uint8_t)(0xc0 | (a & 7) << 3 | (b & 7));
	code[0] = rex;
	switch (rnd_n(r, 4)) {
	case 0: /* ALU reg, reg */
		code[1] = (uint8_t)(rnd_n(r, 8) << 3 | 1);
		code[2] = modrm;
		gen_emit(g, code, 3, 1u << b);
		break;
	case 1: /* CMP and TEST, often recomputed by translators */
		code[1] = rnd_pct(r, 50) ? 0x39 : 0x85;
		code[2] = modrm;
		gen_emit(g, code, 3, 0);
		break;
	case 2: /* INC, DEC keep CF */
		code[1] = 0xff;
		code[2] = (uint8_t)(0xc0 | rnd_n(r, 2) << 3 | (b & 7));
		gen_emit(g, code, 3, 1u << b);
		break;
	default: /* shifts and rotates, perhaps by 0 */
		code[1] = 0xc1;
		code[2] = (uint8_t)(0xc0 | rnd_n(r, 8) << 3 | (b & 7));
		code[3] = (uint8_t)rnd_n(r, 70);
		gen_emit(g, code, 4, 1u << b);
	}
	gen_random(g, SPACE_ONE, rnd_pct(r, 70) ? C(INT) : C(STACK));
	switch (rnd_n(r, 6)) {
	case 0: /* SETcc */
		gen_emit(g,
			 (uint8_t[]){ (uint8_t)(0x40 | b >> 3), 0x0f, (uint8_t)(0x90 | rnd_n(r, 16)), modrm },
			 4, 1u << b);
		break;
	case 1: /* CMOVcc */
		gen_emit(g, (uint8_t[]){ rex, 0x0f, (uint8_t)(0x40 | rnd_n(r, 16)), modrm }, 4, 1u << a);
		break;
	case 2: /* ADC, SBB */
		gen_emit(g, (uint8_t[]){ rex, (uint8_t)(0x11 | rnd_n(r, 2) << 3), modrm }, 3, 1u << b);
		break;
	case 3: gen_emit(g, (uint8_t[]){ 0x9c }, 1, 0); break;
	case 4: gen_emit(g, (uint8_t[]){ 0x9f }, 1, 1); break;
	default: /* RCL, RCR by 1 */
		gen_emit(g, (uint8_t[]){ rex, 0xd1, (uint8_t)(0xd0 | rnd_n(r, 2) << 3 | (b & 7)) }, 3,
			 1u << b);
	}
}

static void gen_raw(struct generator *g)
{
	const ZydisDecoder *dec = g->c->ia32 ? &g->dec32 : &g->dec64;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t b[15];

	for (unsigned tries = 0; tries < 100; tries++) {
		for (unsigned i = 0; i < sizeof(b); i++)
			b[i] = (uint8_t)rnd(&g->r);
		if (rnd_pct(&g->r, 50))
			b[rnd_n(&g->r, 3)] = 0x0f;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(dec, b, 15, &in, op))) {
			/* CPUs know encodings that Zydis does not: see outcomes_equal(). */
			g->c->undecodable = true;
			gen_emit(g, b, 15, 0xffff);
			return;
		}
		switch (classify(&g->offered, &in, op, g->c->ia32)) {
		case CLASS_REJECT:
		case CLASS_ABSENT:
		case CLASS_GATHER:
		case CLASS_FENV: continue;
		default: gen_emit(g, b, in.length, 0xffff); return;
		}
	}
}

static void gen_one(struct generator *g, unsigned family)
{
	static const uint8_t mix[] = { FAM_INT,    FAM_INT,   FAM_INT,    FAM_0F,   FAM_0F38, FAM_0F3A,
				       FAM_X87,    FAM_MMX,   FAM_SSE,    FAM_SSE,  FAM_VEX,  FAM_VEX,
				       FAM_STRING, FAM_STACK, FAM_BRANCH, FAM_FLAGS };
	static const uint8_t mix32[] = { FAM_INT32, FAM_INT32, FAM_INT32,    FAM_0F32,    FAM_X8732,
					 FAM_SSE32, FAM_VEX32, FAM_STRING32, FAM_STACK32, FAM_BRANCH32 };
	static const uint8_t simd_space[] = { SPACE_0F, SPACE_0F, SPACE_0F38, SPACE_0F3A };
	struct rng *r = &g->r;

	switch (family) {
	case FAM_INT:
	case FAM_INT32: gen_random(g, SPACE_ONE, C(INT)); break;
	case FAM_0F:
	case FAM_0F32: gen_random(g, SPACE_0F, C(INT) | C(STACK)); break;
	case FAM_0F38: gen_random(g, SPACE_0F38, rnd_pct(r, 40) ? C(INT) : C(SSE) | C(MMX)); break;
	case FAM_0F3A: gen_random(g, SPACE_0F3A, C(SSE) | C(MMX)); break;
	case FAM_X87:
	case FAM_X8732: gen_random(g, SPACE_X87, C(X87)); break;
	case FAM_MMX: gen_random(g, rnd_pct(r, 80) ? SPACE_0F : SPACE_0F38, C(MMX)); break;
	case FAM_SSE: gen_random(g, (enum opcode_space)simd_space[rnd_n(r, 4)], C(SSE)); break;
	case FAM_SSE32: gen_random(g, (enum opcode_space)simd_space[rnd_n(r, 4)], C(SSE) | C(MMX)); break;
	case FAM_VEX:
	case FAM_VEX32: gen_random(g, SPACE_VEX, C(VEX)); break;
	case FAM_STRING:
	case FAM_STRING32: gen_random(g, SPACE_ONE, C(STRING)); break;
	case FAM_STACK:
	case FAM_STACK32: gen_random(g, SPACE_ONE, C(STACK)); break;
	case FAM_BRANCH:
		if (rnd_pct(r, 60))
			gen_branch(g);
		else
			gen_one(g, rnd_pct(r, 50) ? FAM_INT : FAM_FLAGS);
		break;
	case FAM_BRANCH32:
		if (rnd_pct(r, 60))
			gen_branch(g);
		else
			gen_one(g, FAM_INT32);
		break;
	case FAM_FLAGS: gen_flag_chain(g); break;
	case FAM_FAULT: gen_one(g, mix[rnd_n(r, sizeof(mix))]); break;
	case FAM_GATHER: gen_gather(g); break;
	case FAM_PRIV: gen_random(g, rnd_pct(r, 60) ? SPACE_ONE : SPACE_0F, C(PRIV)); break;
	case FAM_FENV:
		if (rnd_pct(r, 50))
			gen_random(g, SPACE_X87, C(X87));
		else
			gen_random(g, rnd_pct(r, 70) ? SPACE_X87 : SPACE_0F, C(FENV));
		break;
	case FAM_SMC: gen_smc(g); break;
	case FAM_GROUP: gen_group(g); break;
	case FAM_FAR:
	case FAM_FAR32: gen_far(g); break;
	case FAM_MIX: gen_one(g, mix[rnd_n(r, sizeof(mix))]); break;
	case FAM_MIX32: gen_one(g, mix32[rnd_n(r, sizeof(mix32))]); break;
	case FAM_RAW:
	case FAM_RAW32: gen_raw(g); break;
	case FAM_ABSENT:
		g->c->expect_ud = gen_random(g,
					     rnd_pct(r, 50)   ? SPACE_EVEX
					     : rnd_pct(r, 60) ? SPACE_VEX
							      : SPACE_0F,
					     C(ABSENT));
		break;
	default: break;
	}
}

/*
 * Instructions that leave some flags undefined: AMD CPUs do not write those,
 * while a translator may take them for dead. (What the others leave undefined,
 * the CPU sets to something that depends on the operands only.)
 */
static uint32_t undefined_flags(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_AAA:
	case ZYDIS_MNEMONIC_AAS:
	case ZYDIS_MNEMONIC_AAD:
	case ZYDIS_MNEMONIC_AAM:
	case ZYDIS_MNEMONIC_DAA:
	case ZYDIS_MNEMONIC_DAS:
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_LZCNT: return in->cpu_flags->undefined & 0x8d5;
	default: return 0;
	}
}

/* Notes which flags are undefined, and makes NOPs of what would look at them. */
static void mask_undefined(struct generator *g)
{
	const ZydisDecoder *dec = g->c->ia32 ? &g->dec32 : &g->dec64;
	struct diff_case *c = g->c;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint32_t undefined = 0;

	for (unsigned pass = 0; pass < 2; pass++) {
		/* A branch may come back, or skip who would have set the flags: nothing is taken off the mask. */
		for (unsigned i = 0; i < c->ninsns; i++) {
			uint8_t *at = c->code + c->insn_off[i];
			unsigned len = c->insn_off[i + 1] - c->insn_off[i];

			if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(dec, at, len, &in, op)) || !in.cpu_flags)
				continue;
			switch (in.mnemonic) {
			case ZYDIS_MNEMONIC_MASKMOVDQU:
			case ZYDIS_MNEMONIC_VMASKMOVDQU:
			case ZYDIS_MNEMONIC_MASKMOVQ: c->maskmov = true; break;
			case ZYDIS_MNEMONIC_FLDENV:
			case ZYDIS_MNEMONIC_FRSTOR:
			case ZYDIS_MNEMONIC_FNSTENV:
			case ZYDIS_MNEMONIC_FNSAVE: c->loose_cr2 = true; break;
			/* Which operand is looked at first depends on the CPU. */
			case ZYDIS_MNEMONIC_FXSAVE:
			case ZYDIS_MNEMONIC_FXSAVE64:
			case ZYDIS_MNEMONIC_CMPSB:
			case ZYDIS_MNEMONIC_CMPSW:
			case ZYDIS_MNEMONIC_CMPSQ: c->any_cr2 = true; break;
			case ZYDIS_MNEMONIC_CMPSD:
				c->any_cr2 |= in.meta.category == ZYDIS_CATEGORY_STRINGOP;
				break;
			default: break;
			}
			if (in.cpu_flags->tested & undefined)
				memset(at, 0x90, len);
			else
				undefined |= undefined_flags(&in);
		}
	}
	/* Translators may have taken flags for dead that the new code would not overwrite. */
	if (c->family == FAM_SMC || g->own_code)
		undefined = 0x8d5;
	c->undefined = (uint16_t)undefined;
}

static void nops(struct generator *g, unsigned n)
{
	uint8_t b[24];

	memset(b, 0x90, sizeof(b));
	gen_emit(g, b, n, 0);
}

void generate_case(struct generator *g, struct diff_case *c, unsigned family, uint64_t seed, uint64_t va)
{
	const struct family *f = &families[family];
	struct rng *r = &g->r;
	unsigned n;

	memset(c, 0, offsetof(struct diff_case, regs));
	c->seed = seed;
	c->va = va;
	c->family = (uint8_t)family;
	c->ia32 = f->ia32;
	g->r.s = seed * 64 + family;
	g->c = c;
	g->labels = ~0u;
	g->nfixups = 0;
	g->own_code = g->bases = false;
	c->image = (uint8_t)rnd_n(r, IMAGES);
	c->flush = rnd_pct(r, 10);
	c->rflags = 0x202 | (rnd(r) & 0x8d5);
	if (rnd_pct(r, 15))
		c->rflags |= 0x400;
	if (rnd_pct(r, 2))
		c->rflags |= 0x100;
	c->fsbase = rnd_pct(r, 30)   ? 0
		    : rnd_pct(r, 50) ? VA_DATA + rnd_n(r, 0x4000)
				     : rnd(r) >> (17 + rnd_n(r, 20));
	c->gsbase = rnd_pct(r, 30)   ? 0
		    : rnd_pct(r, 50) ? VA_DATA + rnd_n(r, 0x4000)
				     : rnd(r) >> (17 + rnd_n(r, 20));
	fill_fpu(r, c->xsave);

	c->regs[REG_SP_NUM] = VA_STACK + 0x200 + rnd_n(r, 0x1c00);
	if (rnd_pct(r, 80))
		c->regs[REG_SP_NUM] &= ~15ull;
	else if (rnd_pct(r, 30))
		c->regs[REG_SP_NUM] = VA_STACK + 0x1000 + rnd_n(r, 16);
	g->assigned = 1u << REG_SP_NUM;
	g->dirty = 0;

	n = 1 + rnd_n(r, f->max_insns);
	/* So that what follows is at the end of a block as long as may be: one instruction of the case, whatever is in it. */
	if ((family == FAM_FLAGS || family == FAM_GROUP) && rnd_pct(r, 4))
		nops(g, 12 + rnd_n(r, 12));
	for (unsigned i = 0; i < n && c->ninsns < MAX_INSNS - 10 && c->len < MAX_CODE - 120; i++) {
		g->last = i == n - 1;
		gen_one(g, family);
		if (f->max_insns > 1 && family != FAM_STRING && family != FAM_FAR && family != FAM_FAR32 &&
		    rnd_pct(r, 4) && g->nfixups < MAX_FIXUPS - 4)
			gen_branch(g);
	}
	gen_resolve_fixups(g);
	mask_undefined(g);
	c->code[c->len] = 0xcc;
	for (unsigned i = 0; i < 16; i++) {
		if (!(g->assigned >> i & 1))
			c->regs[i] = rnd_word(r);
		if (c->ia32)
			c->regs[i] = (uint32_t)c->regs[i];
		if (c->ia32 && i >= 8)
			c->regs[i] = 0;
	}
}
