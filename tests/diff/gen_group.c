/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several accesses off the same register, or RIP, which a translator may check
 * together: loads, stores and both at once, pushes and pops between them, the
 * register itself moved, copied and changed, near the edges of pages, of
 * read-only memory and of the code itself. R9 to R11, which a translator may want for itself, are
 * used more than others, with and without memory.
 */
#include <string.h>

#include "gen.h"

/* Where a base register may point: mostly so that the accesses around it meet an edge. */
static uint64_t base_value(struct generator *g)
{
	struct rng *r = &g->r;
	const struct data_page *page = &data_pages[rnd_n(r, DATA_PAGES)];

	if (rnd_pct(r, 2))
		return 0x8000000000000000ull + rnd_n(r, 0x1800) - 0x400;
	if (rnd_pct(r, 45))
		return page->va + 0x80 + rnd_n(r, 0xf00);
	return page->va + (rnd_pct(r, 50) ? 0 : 0x1000) + rnd_n(r, 160) - 80;
}

/* Not a register: accesses relative to RIP, around generator.near. */
#define BASE_RIP 16

static bool choose_rip(struct generator *g)
{
	uint64_t near = base_value(g);
	int64_t far = (int64_t)(near - g->c->va);

	if (g->c->ia32 || !rnd_pct(&g->r, 25) || far < INT32_MIN + 4096 || far > INT32_MAX - 4096)
		return false;
	g->near = near;
	return true;
}

static void choose_bases(struct generator *g)
{
	struct rng *r = &g->r;

	for (unsigned i = 0; i < 2; i++) {
		unsigned reg = rnd_pct(r, 25) ? REG_SP_NUM : gen_reg(g);

		g->away[i] = 0;
		if (choose_rip(g)) {
			g->base[i] = BASE_RIP;
			continue;
		}
		g->base[i] = reg;
		if ((g->assigned >> reg & 1) && (reg != REG_SP_NUM || rnd_pct(r, 60)))
			continue;
		g->c->regs[reg] = base_value(g);
		if (rnd_pct(r, 60))
			g->c->regs[reg] &= ~7ull;
		g->assigned |= 1u << reg;
	}
	/* An index: small, so that the accesses stay where they are. */
	g->index = rnd_pct(r, 50) ? gen_reg(g) : 0;
	if (g->index == REG_SP_NUM || (g->assigned >> g->index & 1))
		g->index = 0;
	if (g->index) {
		g->c->regs[g->index] = rnd_n(r, 16) - 8ull;
		g->assigned |= 1u << g->index;
		g->scale = rnd_n(r, 4);
	}
	/* The code's own bytes, which are only written back as they were. */
	g->own_code = rnd_pct(r, 8) && g->base[0] != REG_SP_NUM && g->base[0] != BASE_RIP &&
		      g->base[1] != g->base[0];
	if (g->own_code)
		g->c->regs[g->base[0]] = VA_SMC + code_offset(g->c) + rnd_n(r, 64);
}

/* [prefix] REX [0F] opcode ModRM [SIB] disp8 or disp32, with @imm more bytes */
static void emit_op(struct generator *g, unsigned prefix, bool w, unsigned op, unsigned reg, unsigned base,
		    int disp, unsigned imm, uint32_t written)
{
	bool rip = base == BASE_RIP, wide = rip || disp != (int8_t)disp;
	uint8_t b[16];
	unsigned n = 0;

	if (prefix)
		b[n++] = (uint8_t)prefix;
	if (rip)
		base = 5; /* with ModRM.mod 0 */
	b[n++] = (uint8_t)(0x40 | w << 3 | reg >> 3 << 2 | (g->indexed ? g->index >> 3 << 1 : 0) | base >> 3);
	if (op >= 0x100)
		b[n++] = 0x0f;
	b[n++] = (uint8_t)op;
	b[n++] = (uint8_t)((rip ? 0 : wide ? 0x80 : 0x40) | (reg & 7) << 3 | (g->indexed ? 4 : base & 7));
	if (g->indexed)
		b[n++] = (uint8_t)(g->scale << 6 | (g->index & 7) << 3 | (base & 7));
	else if ((base & 7) == 4)
		b[n++] = 0x24;
	if (rip)
		disp += (int)(g->near - (g->c->va + g->c->len + n + 4 + imm));
	for (unsigned i = 0; i < (wide ? 4 : 1); i++)
		b[n++] = (uint8_t)(disp >> (8 * i));
	while (imm-- > 0)
		b[n++] = (uint8_t)rnd(&g->r);
	gen_emit(g, b, n, written);
}

static unsigned other_reg(struct generator *g)
{
	unsigned reg;

	do
		reg = rnd_pct(&g->r, 35) ? 9 + rnd_n(&g->r, 3) : gen_reg(g);
	while (reg == REG_SP_NUM || (rnd_pct(&g->r, 85) && (reg == g->base[0] || reg == g->base[1] ||
							    (g->index && reg == g->index))));
	return reg;
}

static void access_memory(struct generator *g, unsigned base, int disp)
{
	static const uint8_t alu[] = {
		0x01, 0x03, 0x29, 0x2b, 0x31, 0x33, 0x39, 0x3b, 0x11, 0x13, 0x85, 0x87
	};
	struct rng *r = &g->r;
	unsigned reg = other_reg(g), xmm = rnd_n(r, 16);
	uint32_t w = 1u << reg;

	switch (rnd_n(r, 16)) {
	case 0:
	case 1:
	case 2: emit_op(g, 0, rnd_pct(r, 80), 0x8b, reg, base, disp, 0, w); break;
	case 3:
	case 4:
	case 5: emit_op(g, 0, rnd_pct(r, 80), 0x89, reg, base, disp, 0, 0); break;
	case 6: emit_op(g, 0, rnd_pct(r, 50), alu[rnd_n(r, sizeof(alu))], reg, base, disp, 0, w); break;
	case 7: emit_op(g, 0, false, 0x88 + rnd_n(r, 2) * 2, reg, base, disp, 0, w); break;
	case 8: emit_op(g, 0, true, 0x83, rnd_n(r, 8), base, disp, 1, 0); break;        /* ALU [mem], imm8 */
	case 9: emit_op(g, 0, true, 0x1b6 + rnd_n(r, 2), reg, base, disp, 0, w); break; /* MOVZX */
	case 10: emit_op(g, 0, true, 0x140 + rnd_n(r, 16), reg, base, disp, 0, w); break;       /* CMOVcc */
	case 11: emit_op(g, 0, false, 0x190 + rnd_n(r, 16), 0, base, disp, 0, 0); break;        /* SETcc */
	case 12: emit_op(g, 0, false, 0x110 + rnd_n(r, 2), xmm, base, disp, 0, 0); break;       /* MOVUPS */
	case 13: emit_op(g, 0, false, 0x128 + rnd_n(r, 2), xmm, base, disp & ~15, 0, 0); break; /* MOVAPS */
	case 14: emit_op(g, 0, true, 0xd3, rnd_n(r, 2) ? 4 : 7, base, disp, 0, 0); break; /* shift by CL */
	default: emit_op(g, 0xf0, true, 0x1c1, reg, base, disp, 0, w); break;             /* LOCK XADD */
	}
}

/* Between the accesses: an instruction that has its operands in registers. */
static void plain(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned dst = rnd_pct(r, 70) ? 9 + rnd_n(r, 3) : other_reg(g), src = other_reg(g);
	bool base = dst == g->base[0] || dst == g->base[1] || (g->index && dst == g->index);
	uint8_t rex = (uint8_t)(0x40 | rnd_pct(r, 60) << 3),
		modrm = (uint8_t)(0xc0 | (src & 7) << 3 | (dst & 7));
	uint8_t both = (uint8_t)(rex | src >> 3 << 2 | dst >> 3),
		swapped = (uint8_t)(rex | dst >> 3 << 2 | src >> 3);
	uint8_t to_dst = (uint8_t)(0xc0 | (dst & 7) << 3 | (src & 7));
	uint8_t setcc[] = { (uint8_t)(0x40 | dst >> 3), 0x0f, (uint8_t)(0x90 | rnd_n(r, 16)),
			    (uint8_t)(0xc0 | (dst & 7)) };
	uint8_t imul[] = { swapped, 0x0f, 0xaf, to_dst };
	uint8_t cmov[] = { swapped, 0x0f, (uint8_t)(0x40 | rnd_n(r, 16)), to_dst };
	uint8_t lea[] = { (uint8_t)(swapped | 2), 0x8d, (uint8_t)(0x44 | (dst & 7) << 3),
			  (uint8_t)(rnd_n(r, 3) << 6 | (1 + rnd_n(r, 3)) << 3 | (src & 7)), (uint8_t)rnd(r) };
	uint8_t inc[] = { (uint8_t)(rex | dst >> 3), 0xff, (uint8_t)(0xc0 | rnd_n(r, 2) << 3 | (dst & 7)) };
	uint8_t alu[] = { both, (uint8_t)(rnd_n(r, 8) << 3 | 1), modrm };

	/* What may be the group's end is the end of the test's sense, too: seldom. */
	if (base && !rnd_pct(r, 10))
		return;
	switch (rnd_n(r, 8)) {
	case 0: gen_emit(g, setcc, sizeof(setcc), 1u << dst); break;
	case 1: gen_emit(g, imul, sizeof(imul), 1u << dst); break;
	case 2: gen_emit(g, cmov, sizeof(cmov), 1u << dst); break;
	case 3:
	case 4: gen_emit(g, lea, sizeof(lea), 1u << dst); break;
	case 5: gen_emit(g, inc, sizeof(inc), 1u << dst); break;
	default: gen_emit(g, alu, sizeof(alu), 1u << dst); break;
	}
}

static void change_base(struct generator *g, unsigned which)
{
	struct rng *r = &g->r;
	unsigned base = g->base[which];
	uint8_t step = (uint8_t)((rnd_n(r, 9) - 4) * 8);
	uint8_t add[] = { (uint8_t)(0x48 | base >> 3), 0x83, (uint8_t)(0xc0 | (base & 7)), step };
	uint8_t inc[] = { (uint8_t)(0x48 | base >> 3), 0xff, (uint8_t)(0xc0 | (base & 7)) };
	unsigned copy;

	if (base == BASE_RIP) { /* the same in a register */
		copy = rnd_pct(r, 25) ? REG_SP_NUM : other_reg(g);
		emit_op(g, 0, true, 0x8d, copy, base, (int8_t)step, 0, 1u << copy);
		if (rnd_pct(r, 50))
			g->base[which] = copy;
		return;
	}
	switch (rnd_n(r, 6)) {
	case 5: /* far away: displacements of the accesses from here on are near the largest or smallest */
		if (base != REG_SP_NUM && g->base[0] != g->base[1] && !g->away[which]) {
			int32_t off = rnd_pct(r, 50) ? INT32_MIN + 256 : INT32_MAX - 255;

			emit_op(g, 0, true, 0x8d, base, base, off, 0, 1u << base);
			g->away[which] = off;
		}
		break;
	case 0:
		add[2] |= (uint8_t)(rnd_n(r, 2) * 0x28); /* ADD or SUB */
		gen_emit(g, add, sizeof(add), 1u << base);
		break;
	case 1:
		inc[2] |= (uint8_t)(rnd_n(r, 2) << 3);
		gen_emit(g, inc, sizeof(inc), 1u << base);
		break;
	case 2: emit_op(g, 0, true, 0x8d, base, base, (int8_t)step, 0, 1u << base); break;
	case 3: /* a copy, which is the base from now on */
		copy = other_reg(g);
		emit_op(g, 0, true, 0x8d, copy, base, (int8_t)step, 0, 1u << copy);
		g->base[which] = copy;
		break;
	default: {
		copy = other_reg(g);
		uint8_t mov[] = { (uint8_t)(0x48 | base >> 3 << 2 | copy >> 3), 0x89,
				  (uint8_t)(0xc0 | (base & 7) << 3 | (copy & 7)) };

		gen_emit(g, mov, sizeof(mov), 1u << copy);
		g->base[which] = copy;
	}
	}
}

static void change_index(struct generator *g)
{
	unsigned index = g->index;
	uint8_t add[] = { (uint8_t)(0x48 | index >> 3), 0x83, (uint8_t)(0xc0 | (index & 7)),
			  (uint8_t)(rnd_n(&g->r, 5) - 2) };

	if (rnd_pct(&g->r, 20))
		add[0] &= (uint8_t)~8u; /* of 32 bits: nothing is known of it any more */
	gen_emit(g, add, sizeof(add), 1u << index);
}

static void stack_op(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned reg = rnd_pct(r, 5) ? REG_SP_NUM : other_reg(g);
	uint8_t b[5] = { 0x41, (uint8_t)(0x50 | (reg & 7)) };

	switch (rnd_n(r, 8)) {
	case 0: /* call the next instruction */
		memset(b, 0, sizeof(b));
		b[0] = 0xe8;
		gen_emit(g, b, 5, 0);
		return;
	case 1:
		b[0] = 0x6a;
		gen_emit(g, b, 2, 0);
		return;
	case 2:
	case 3:
	case 4: b[1] |= 8; break;
	default: break;
	}
	gen_emit(g, b + (reg < 8), reg < 8 ? 1 : 2, b[1] & 8 ? 1u << reg : 0);
}

static int group_disp(struct rng *r)
{
	return rnd_pct(r, 60) ? ((int)rnd_n(r, 16) - 8) * 8 : (int)rnd_n(r, 128) - 64;
}

/*
 * A loop over memory, counted by RCX: a few accesses, the base that moves, DEC RCX, perhaps a jump out, and
 * the jump back. A translator may put several rounds into one block.
 */
static void group_loop(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned base = g->base[0], accesses = 1 + rnd_n(r, 3);
	int step = ((int)rnd_n(r, 17) - 8) * (rnd_pct(r, 20) ? 1 : 8);
	uint8_t set[] = { 0xb9, (uint8_t)(1 + rnd_n(r, 20)), 0, 0, 0 };
	uint8_t add[] = { (uint8_t)(0x48 | base >> 3), 0x83, (uint8_t)(0xc0 | (base & 7)), (uint8_t)step };
	static const uint8_t dec[] = { 0xff, 0xc9 };
	uint8_t back[] = { (uint8_t)(rnd_pct(r, 90) ? 0x75 : 0x70 | rnd_n(r, 2) << 3), 0 };
	uint8_t out[] = { (uint8_t)(0x70 | rnd_n(r, 16)), sizeof(back) };
	uint16_t top;

	gen_emit(g, set, sizeof(set), 2);
	top = g->c->len;
	while (accesses-- > 0) {
		uint32_t before = g->dirty;
		uint16_t len = g->c->len;
		uint8_t ninsns = g->c->ninsns;

		g->labels &= ~(1u << ninsns);
		g->dirty = 0;
		g->indexed = g->index && rnd_pct(r, 40);
		access_memory(g, g->base[rnd_pct(r, 20)], group_disp(r));
		g->indexed = false;
		if (rnd_pct(r, 40)) {
			g->labels &= ~(1u << g->c->ninsns);
			plain(g);
		}
		if (g->dirty & 2) { /* it writes the counter: take it back */
			g->c->len = len;
			g->c->ninsns = ninsns;
			g->c->insn_off[ninsns] = len;
		}
		g->dirty |= before;
	}
	g->labels &= ~(7u << g->c->ninsns);
	gen_emit(g, add, sizeof(add), 1u << base);
	gen_emit(g, dec, sizeof(dec), 2);
	if (rnd_pct(r, 20)) {
		gen_emit(g, out, sizeof(out), 0);
		g->labels &= ~(1u << g->c->ninsns);
	}
	back[1] = (uint8_t)(top - (g->c->len + sizeof(back)));
	gen_emit(g, back, sizeof(back), 0);
}

void gen_group(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned which = rnd_pct(r, 30);
	int disp = group_disp(r);

	if (!g->bases) {
		g->bases = true;
		choose_bases(g);
	}
	if (!g->own_code && rnd_pct(r, 7) && !g->away[0] && !g->away[1] && g->base[0] != REG_SP_NUM &&
	    g->base[0] != BASE_RIP && g->base[1] != BASE_RIP && g->base[0] != 1 && g->base[1] != 1 &&
	    g->index != 1) {
		group_loop(g);
		return;
	}
	if (g->own_code) {
		/* A load, and the store that changes nothing. */
		unsigned reg = other_reg(g), base = g->base[0];

		if (reg != base && rnd_pct(r, 60)) {
			disp &= 63;
			emit_op(g, 0, true, 0x8b, reg, base, disp, 0, 1u << reg);
			g->labels &= ~(1u << g->c->ninsns);
			emit_op(g, 0, true, 0x89, reg, base, disp, 0, 0);
			return;
		}
		which = 1;
		if (g->base[1] == base)
			return;
	}
	switch (rnd_n(r, 13)) {
	case 0:
	case 1: stack_op(g); break;
	case 10:
	case 11:
	case 12: plain(g); break;
	case 2:
		if (!g->own_code) {
			change_base(g, which);
			break;
		}
		/* fall through */
	case 3:
		if (g->index) {
			change_index(g);
			break;
		}
		/* fall through */
	default:
		g->indexed = g->index && !g->own_code && g->base[which] != BASE_RIP && rnd_pct(r, 60);
		access_memory(g, g->base[which], disp - g->away[which]);
		g->indexed = false;
		break;
	}
}
