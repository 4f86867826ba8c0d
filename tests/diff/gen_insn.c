/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One random instruction.
 *
 * Random prefixes, opcode and ModRM go to Zydis; what it decodes to an
 * instruction of the wanted class is kept. A memory operand then gets a new
 * addressing form, with registers and displacement that lead to an address in
 * the data pages.
 */
#include <string.h>

#include "gen.h"

struct draft {
	uint8_t b[32];
	unsigned n; /* up to and with ModRM and random bytes behind it */
	int rex_at; /* offset of the REX byte or -1 */
	int vex_at; /* offset of a three-byte VEX's second byte or -1 */
	bool vex;
};

struct addr {
	int base, index; /* -1: none */
	unsigned scale;  /* log2 */
	unsigned mod;
	bool rip, absolute;
	int32_t disp;
};

unsigned gen_reg(struct generator *g)
{
	if (g->c->ia32)
		return rnd_n(&g->r, 8);
	return rnd_pct(&g->r, 30) ? 9 + rnd_n(&g->r, 3) : rnd_n(&g->r, 16);
}

static bool is_prefix(const struct generator *g, uint8_t b)
{
	switch (b) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
	case 0x0f:
	case 0x62:
	case 0xc4:
	case 0xc5: return true;
	default: return b >= 0x40 && b <= 0x4f && !g->c->ia32;
	}
}

static void put(struct draft *d, unsigned b)
{
	d->b[d->n++] = (uint8_t)b;
}

static void put_vex(struct generator *g, struct draft *d)
{
	unsigned map = 1 + rnd_n(&g->r, 3);
	unsigned pp = rnd_n(&g->r, 4), l = rnd_n(&g->r, 2), w = rnd_n(&g->r, 3) == 0;
	/* Most instructions with one source want vvvv unused: 1111. */
	unsigned v = rnd_pct(&g->r, 35) ? 15 : (15 ^ gen_reg(g));
	unsigned rxb = g->c->ia32 ? 6 | rnd_n(&g->r, 2) : rnd_n(&g->r, 8);

	d->vex = true;
	if (g->c->ia32 && rnd_pct(&g->r, 10))
		v &= 7; /* the top bit is ignored there */
	if (map == 1 && rnd_pct(&g->r, 50)) {
		put(d, 0xc5);
		put(d, (g->c->ia32 ? 0xc0 : rxb & 4 ? 0x80 : 0) | v << 3 | l << 2 | pp);
		return;
	}
	put(d, 0xc4);
	d->vex_at = (int)d->n;
	put(d, rxb << 5 | map);
	put(d, w << 7 | v << 3 | l << 2 | pp);
}

static void put_evex(struct generator *g, struct draft *d)
{
	put(d, 0x62);
	put(d, (g->c->ia32 ? 0xf0 : rnd_n(&g->r, 16) << 4) | (1 + rnd_n(&g->r, 3)));
	put(d,
	    rnd_n(&g->r, 2) << 7 | (rnd_pct(&g->r, 50) ? 15 : rnd_n(&g->r, 16)) << 3 | 4 | rnd_n(&g->r, 4));
	put(d, rnd_n(&g->r, 256) | 8);
}

/* Prefixes and opcode, then ModRM and random bytes. */
static void draft_insn(struct generator *g, struct draft *d, enum opcode_space space, uint32_t classes)
{
	static const uint8_t mandatory[4] = { 0, 0x66, 0xf3, 0xf2 };
	static const uint8_t segs[6] = { 0x64, 0x65, 0x64, 0x65, 0x36, 0x3e };
	static const uint8_t again[] = { 0x66, 0xf2, 0xf3, 0xf2, 0xf3, 0x2e, 0x3e };
	struct rng *r = &g->r;
	bool simd = classes & (1u << CLASS_SSE | 1u << CLASS_MMX | 1u << CLASS_ABSENT);
	bool vex = space == SPACE_VEX || space == SPACE_EVEX;
	uint8_t op;

	*d = (struct draft){ .rex_at = -1, .vex_at = -1 };
	/* The same prefix several times, or two of a kind: the last one counts, if it does. */
	if (!vex && rnd_pct(r, 3))
		for (unsigned n = 2 + rnd_n(r, 7); n; n--)
			put(d, again[rnd_n(r, sizeof(again))]);
	if (rnd_pct(r, 7))
		put(d, segs[rnd_n(r, 6)]);
	if (rnd_pct(r, 4))
		put(d, 0x67);
	if (!vex) {
		uint8_t p = simd ? mandatory[rnd_n(r, 4)] : 0;

		if (!simd && rnd_pct(r, 15))
			put(d, 0x66);
		if (classes & 1u << CLASS_STRING)
			p = rnd_pct(r, 60) ? mandatory[2 + rnd_n(r, 2)] : 0;
		else if (!simd && rnd_pct(r, 8))
			p = rnd_pct(r, 40) ? 0xf0 : mandatory[2 + rnd_n(r, 2)];
		if (p)
			put(d, p);
		if (!g->c->ia32 && rnd_pct(r, 55)) {
			d->rex_at = (int)d->n;
			put(d, 0x40 | rnd_n(r, 16));
		}
	}
	switch (space) {
	case SPACE_ONE:
		do
			op = (uint8_t)rnd(r);
		while (is_prefix(g, op) || (op >= 0xd8 && op <= 0xdf));
		put(d, op);
		break;
	case SPACE_X87: put(d, 0xd8 + rnd_n(r, 8)); break;
	case SPACE_0F:
		put(d, 0x0f);
		put(d, rnd_n(r, 256));
		break;
	case SPACE_0F38:
		put(d, 0x0f);
		put(d, 0x38);
		put(d, rnd_n(r, 256));
		break;
	case SPACE_0F3A:
		put(d, 0x0f);
		put(d, 0x3a);
		put(d, rnd_n(r, 256));
		break;
	case SPACE_VEX:
		put_vex(g, d);
		put(d, rnd_n(r, 256));
		break;
	case SPACE_EVEX:
		put_evex(g, d);
		put(d, rnd_n(r, 256));
		break;
	}
	/* ModRM: the register that the engine steals (r9 to r11 are 1 to 3 with REX) more often. */
	op = (uint8_t)rnd(r);
	if (rnd_pct(r, 25))
		op = (op & 0xc7) | (1 + rnd_n(r, 3)) << 3;
	if ((op & 0xc0) == 0xc0 && rnd_pct(r, 25))
		op = (op & 0x3f);
	put(d, op);
	for (unsigned i = 0; i < 12; i++)
		put(d, (unsigned)rnd(r) & 0xff);
}

/* ---- addresses ---- */

static uint64_t in_page(struct generator *g, uint64_t page, unsigned size)
{
	return page + (size < 4096 ? rnd_n(&g->r, 4096 - size + 1) : 0);
}

static uint64_t bad_target(struct generator *g, unsigned size)
{
	/* first page, second page, of the pairs whose border is worth crossing */
	static const uint64_t border[] = { VA_DATA,          VA_DATA + 0x2000, VA_DATA + 0x3000,
					   VA_DATA + 0x5000, VA_STACK,         VA_STACK + 0x2000 };
	struct rng *r = &g->r;

	switch (rnd_n(r, 5)) {
	case 0: return in_page(g, VA_DATA + 0x2000, size);
	case 1: return in_page(g, VA_DATA + 0x5000, size);
	case 2:
		if (!g->c->ia32 && rnd_pct(r, 20))
			return rnd(r); /* most likely not canonical */
				       /* fall through */
	default: return border[rnd_n(r, 6)] - (size > 1 ? 1 + rnd_n(r, size - 1) : 0);
	}
}

uint64_t gen_target(struct generator *g, unsigned size, bool write)
{
	static const uint64_t border[] = { VA_DATA + 0x1000, VA_DATA + 0x4000, VA_STACK + 0x1000,
					   VA_HIGH + 0x1000 };
	struct rng *r = &g->r;
	const struct data_page *p;
	uint64_t t;

	if (g->last && rnd_pct(r, g->c->family == FAM_FAULT ? 80 : 12))
		return bad_target(g, size);
	/* Legacy SSE wants alignment: do not end most sequences at their first operand. */
	if (size > 1 && rnd_pct(r, size >= 16 && !g->last ? 4 : 15))
		return border[rnd_n(r, g->c->ia32 ? 3 : 4)] - 1 - rnd_n(r, size - 1);
	do
		p = &data_pages[rnd_n(r, DATA_PAGES)];
	while ((write && !p->writable) || (g->c->ia32 && p->va >> 32));
	t = in_page(g, p->va, size);
	if (size >= 16 && size <= 64 && rnd_pct(r, g->last ? 70 : 94))
		t &= ~(uint64_t)(size - 1);
	else if (size > 64)
		t &= rnd_pct(r, 90) ? ~63ull : ~0ull;
	return t;
}

static int pick_reg(struct generator *g, bool ext)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned reg = gen_reg(g);

		if (!ext)
			reg &= 7;
		if (!(g->dirty >> reg & 1))
			return (int)reg;
	}
	return -1;
}

static void assign(struct generator *g, unsigned reg, uint64_t val, unsigned width)
{
	if (width == 32 && !g->c->ia32)
		val = (uint32_t)val | (rnd_pct(&g->r, 50) ? rnd(&g->r) << 32 : 0);
	if (g->c->ia32)
		val = (uint32_t)val;
	g->c->regs[reg] = val;
	g->assigned |= 1u << reg;
}

static bool is_free(const struct generator *g, int reg)
{
	return !((g->assigned | g->dirty) >> reg & 1);
}

static int32_t edge_displacement(struct generator *g)
{
	int32_t n = (int32_t)rnd_n(&g->r, rnd_pct(&g->r, 50) ? 32 : 2048);

	return rnd_pct(&g->r, 50) ? INT32_MIN + n : INT32_MAX - n;
}

/* Close to an end of some address space: sums of addresses wrap there, or are sign-extended. */
static uint64_t edge_address(struct generator *g)
{
	static const uint64_t edge[] = { 0,          1ull << 31,    1ull << 32,   1ull << 47, -(1ull << 47),
					 1ull << 63, -(1ull << 31), -(1ull << 32) };

	return edge[rnd_n(&g->r, sizeof(edge) / sizeof(*edge))] + rnd_n(&g->r, 4096) - 2048;
}

/* Chooses base, index, scale and displacement that lead to @want. */
static bool solve(struct generator *g, struct addr *a, uint64_t want, unsigned width, bool ext)
{
	struct rng *r = &g->r;
	uint64_t mask = width == 32 ? 0xffffffffull : ~0ull;
	int64_t rem;

	*a = (struct addr){ .base = -1, .index = -1, .mod = rnd_n(r, 3) };
	if (rnd_pct(r, 12)) {
		rem = width == 32 ? (int64_t)(int32_t)want : (int64_t)want;
		if (rem != (int32_t)rem || (want & ~mask))
			return false;
		a->disp = (int32_t)rem;
		a->mod = 0;
		a->rip = !g->c->ia32 && g->c->va >> 32 == 0 && rnd_pct(r, 75);
		a->absolute = !a->rip;
		return true;
	}
	if (want & ~mask)
		return false;
	a->base = rnd_pct(r, 12) ? REG_SP_NUM : pick_reg(g, ext);
	if (rnd_pct(r, 40))
		a->index = pick_reg(g, ext);
	if (a->index == REG_SP_NUM)
		a->index = -1;
	if (a->index >= 0 && rnd_pct(r, 15))
		a->base = -1; /* [index*scale + disp32] */
	if (a->base < 0 && a->index < 0)
		return false;
	a->scale = rnd_n(r, 4);
	if (a->mod == 1)
		a->disp = (int8_t)rnd(r);
	else if (a->mod == 2 || a->base < 0)
		a->disp = rnd_pct(r, 15)   ? edge_displacement(g)
			  : rnd_pct(r, 50) ? (int32_t)rnd(r)
					   : (int32_t)rnd_n(r, 65536) - 32768;

	if (a->base >= 0 && is_free(g, a->base)) {
		uint64_t idx = 0;

		if (a->index == a->base) {
			uint64_t v = want / (1 + (1u << a->scale));

			a->disp = (int32_t)(want - v * (1 + (1u << a->scale)));
			a->mod = rnd_pct(r, 50) ? 1 : 2;
			assign(g, (unsigned)a->base, v, width);
			return true;
		}
		if (a->index >= 0) {
			if (is_free(g, a->index))
				assign(g, (unsigned)a->index, rnd_pct(r, 25) ? edge_address(g) : rnd_word(r),
				       64);
			idx = g->c->regs[a->index] << a->scale;
		}
		assign(g, (unsigned)a->base, want - idx - (uint64_t)(int64_t)a->disp, width);
		return true;
	}
	rem = (int64_t)(want - (a->base >= 0 ? g->c->regs[a->base] : 0));
	if (a->index >= 0 && is_free(g, a->index)) {
		int64_t v = (int64_t)((uint64_t)rem - (uint64_t)(int64_t)a->disp) >> a->scale;

		assign(g, (unsigned)a->index, (uint64_t)v, width);
	}
	if (a->index >= 0)
		rem = (int64_t)((uint64_t)rem - (g->c->regs[a->index] << a->scale));
	if (width == 32)
		rem = (int32_t)rem;
	if (rem != (int32_t)rem)
		return false;
	a->disp = (int32_t)rem;
	if (a->base < 0)
		a->mod = 0;
	else
		a->mod = rem == 0 && rnd_pct(r, 50) ? 0 : rem == (int8_t)rem ? 1 : 2;
	return true;
}

/* Replaces ModRM (keeping its reg field), SIB and displacement. */
static void encode_addr(struct generator *g, struct draft *d, const ZydisDecodedInstruction *in,
			struct addr *a)
{
	unsigned at = in->raw.modrm.offset;
	unsigned tail_at = at + 1 + (in->raw.sib.offset ? 1 : 0) + in->raw.disp.size / 8;
	unsigned tail = in->length - tail_at;
	uint8_t tail_bytes[16];
	uint8_t reg = (uint8_t)(in->raw.modrm.reg << 3);
	unsigned dsize, x = 0, b = 0;
	uint32_t disp;

	memcpy(tail_bytes, d->b + tail_at, tail);
	d->n = at;
	if (a->rip || (a->absolute && g->c->ia32)) {
		put(d, reg | 5);
		dsize = 4;
	} else if (a->absolute) {
		put(d, reg | 4);
		put(d, rnd_n(&g->r, 4) << 6 | 4 << 3 | 5);
		dsize = 4;
	} else if (a->base < 0) {
		put(d, reg | 4);
		put(d, a->scale << 6 | (a->index & 7) << 3 | 5);
		x = (unsigned)a->index >> 3;
		dsize = 4;
	} else {
		if (a->mod == 0 && (a->base & 7) == 5) {
			a->mod = 1;
			a->disp = 0;
		}
		dsize = a->mod == 0 ? 0 : a->mod == 1 ? 1 : 4;
		b = (unsigned)a->base >> 3;
		if (a->index < 0 && (a->base & 7) != 4 && rnd_pct(&g->r, 90)) {
			put(d, a->mod << 6 | reg | (a->base & 7));
		} else {
			put(d, a->mod << 6 | reg | 4);
			put(d, a->scale << 6 | (a->index < 0 ? 4 : a->index & 7) << 3 | (a->base & 7));
			x = a->index < 0 ? 0 : (unsigned)a->index >> 3;
		}
	}
	disp = (uint32_t)a->disp;
	if (a->rip)
		disp -= (uint32_t)(g->c->va + g->c->len + d->n + 4 + tail);
	for (unsigned i = 0; i < dsize; i++)
		put(d, disp >> (8 * i) & 0xff);
	memcpy(d->b + d->n, tail_bytes, tail);
	d->n += tail;
	if (d->rex_at >= 0)
		d->b[d->rex_at] = (uint8_t)((d->b[d->rex_at] & ~3u) | x << 1 | b);
	if (d->vex_at >= 0 && !g->c->ia32)
		d->b[d->vex_at] = (uint8_t)((d->b[d->vex_at] & ~0x60u) | (x ? 0 : 0x40) | (b ? 0 : 0x20));
}

static uint64_t segment_base(const struct generator *g, const ZydisDecodedInstruction *in)
{
	if (g->c->ia32)
		return 0;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return g->c->fsbase;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return g->c->gsbase;
	return 0;
}

static bool place_operand(struct generator *g, struct draft *d, const ZydisDecodedInstruction *in,
			  const ZydisDecodedOperand *op, const ZydisDecodedOperand *other)
{
	bool write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	unsigned size = op->size / 8;
	bool ext = d->rex_at >= 0 || d->vex_at >= 0;
	struct addr a;

	if (op->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64) {
		uint64_t t = gen_target(g, size, write) - segment_base(g, in);

		memcpy(d->b + in->raw.disp.offset, &t, in->raw.disp.size / 8);
		d->n = in->length;
		return true;
	}
	if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
		return true; /* implied registers: see implied_pointers() */
	if (in->address_width == 16)
		return g->last && rnd_pct(&g->r, 10);
	if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		return false; /* gen_gather() */
	/* The bit offset of BT and friends reaches beyond the operand. */
	if (in->meta.category == ZYDIS_CATEGORY_BITBYTE && other &&
	    other->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		unsigned reg = (unsigned)ZydisRegisterGetId(other->reg.value) & 15;

		if (is_free(g, (int)reg))
			assign(g, reg, (uint64_t)((int64_t)rnd_n(&g->r, 512) - 256), 64);
	}
	for (unsigned i = 0; i < 8; i++) {
		uint64_t want = gen_target(g, size, write) - segment_base(g, in);

		if (in->address_width == 32 && want >> 32)
			want = (uint32_t)want;
		if (solve(g, &a, want, in->address_width, ext)) {
			encode_addr(g, d, in, &a);
			return true;
		}
	}
	return false;
}

/* ---- instructions whose addresses stand in fixed registers ---- */

static bool point_at(struct generator *g, unsigned reg, uint64_t target, unsigned width)
{
	if (is_free(g, (int)reg))
		assign(g, reg, target, width);
	else if (!g->last && rnd_pct(&g->r, 70))
		return false;
	return true;
}

static bool implied_pointers(struct generator *g, const ZydisDecodedInstruction *in)
{
	unsigned w = in->address_width;
	uint64_t fs = segment_base(g, in);

	if (in->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		unsigned n = rnd_pct(&g->r, 90) ? rnd_n(&g->r, 48) : rnd_n(&g->r, 3000);

		if (w == 16)
			return false;
		return point_at(g, 6, gen_target(g, 8, false) - fs, w) &&
		       point_at(g, 7, gen_target(g, 8, true), w) && point_at(g, 1, n, w);
	}
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_XLAT: return point_at(g, 3, gen_target(g, 1, false) - fs - rnd_n(&g->r, 256), w);
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		/* Whether a masked byte on another page faults is up to the CPU: stay within one. */
		return is_free(g, 7) &&
		       point_at(g, 7, in_page(g, VA_DATA + rnd_n(&g->r, 2) * 0x1000, 16) - fs, w);
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_ENTER:
		return point_at(g, 5, VA_STACK + 0x400 + rnd_n(&g->r, 0x1800), g->c->ia32 ? 32 : 64);
	default: return true;
	}
}

/* Registers that @in may write; SP only when written as an operand. */
static uint32_t written(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < in->operand_count; i++) {
		ZydisRegister big;

		if (op[i].type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		big = ZydisRegisterGetLargestEnclosing(in->machine_mode, op[i].reg.value);
		if (ZydisRegisterGetClass(big) != ZYDIS_REGCLASS_GPR64 &&
		    ZydisRegisterGetClass(big) != ZYDIS_REGCLASS_GPR32)
			continue;
		if (ZydisRegisterGetId(big) == REG_SP_NUM &&
		    op[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			continue;
		mask |= 1u << ZydisRegisterGetId(big);
	}
	return mask;
}

void gen_emit(struct generator *g, const uint8_t *b, unsigned n, uint32_t regs_written)
{
	struct diff_case *c = g->c;

	c->insn_off[c->ninsns++] = c->len;
	memcpy(c->code + c->len, b, n);
	c->len = (uint16_t)(c->len + n);
	c->insn_off[c->ninsns] = c->len;
	g->dirty |= regs_written;
}

bool gen_random(struct generator *g, enum opcode_space space, uint32_t classes)
{
	const ZydisDecoder *dec = g->c->ia32 ? &g->dec32 : &g->dec64;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct draft d;

	for (unsigned tries = 0; tries < 400; tries++) {
		enum insn_class k;
		uint32_t w;
		bool ok = true;

		draft_insn(g, &d, space, classes);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(dec, d.b, 15, &in, op)))
			continue;
		k = classify(&g->offered, &in, op, g->c->ia32);
		if (k == CLASS_REJECT || !(classes >> k & 1))
			continue;
		w = written(&in, op);
		if ((w >> REG_SP_NUM & 1) && !(g->last && rnd_pct(&g->r, 30)))
			continue;
		d.n = in.length;
		for (unsigned i = 0; ok && i < in.operand_count; i++)
			if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			    op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
			    op[i].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
				ok = place_operand(g, &d, &in, &op[i], i == 0 ? &op[1] : NULL);
		if (!ok || !implied_pointers(g, &in) || d.n > 15)
			continue;
		gen_emit(g, d.b, d.n, w);
		return true;
	}
	return false;
}
