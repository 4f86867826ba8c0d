/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control flow inside a case: branches go forward to a label chosen at the
 * end, or around a short counted loop, so that every case terminates.
 */
#include <string.h>

#include "gen.h"

#define EMIT(g, w, ...)                                         \
	do {                                                    \
		const uint8_t emit_bytes[] = { __VA_ARGS__ };   \
		gen_emit(g, emit_bytes, sizeof(emit_bytes), w); \
	} while (0)

/* The last @size bytes emitted are to become a branch target. */
static void fixup(struct generator *g, unsigned size, bool absolute)
{
	struct fixup *f = &g->fixup[g->nfixups++];

	f->at = (uint16_t)(g->c->len - size);
	f->size = (uint8_t)size;
	f->absolute = absolute;
	f->next = g->c->len;
	f->first = g->c->ninsns;
}

/* The next instruction must only be reached by falling into it. */
static void no_label(struct generator *g)
{
	g->labels &= ~(1u << g->c->ninsns);
}

static void filler(struct generator *g, bool stack)
{
	unsigned k = rnd_n(&g->r, 10);
	bool last = g->last;

	g->last = false; /* nothing wild here */
	if (!stack && k >= 5 && k < 7)
		k = 0;

	no_label(g);
	if (k < 5)
		gen_random(g, SPACE_ONE, 1u << CLASS_INT);
	else if (k < 7)
		gen_random(g, SPACE_ONE, 1u << CLASS_STACK);
	else
		gen_random(g, SPACE_0F, 1u << CLASS_INT);
	g->last = last;
}

/* reg = address of a label */
static unsigned label_to_reg(struct generator *g)
{
	unsigned reg;

	do
		reg = gen_reg(g);
	while (reg == REG_SP_NUM);
	if (g->c->ia32) {
		EMIT(g, 1u << reg, (uint8_t)(0xb8 | reg), 0, 0, 0, 0);
		fixup(g, 4, true);
	} else {
		EMIT(g, 1u << reg, (uint8_t)(0x48 | reg >> 3 << 2), 0x8d, (uint8_t)((reg & 7) << 3 | 5), 0, 0,
		     0, 0);
		fixup(g, 4, false);
	}
	no_label(g);
	return reg;
}

/* op /ext with reg */
static void group_reg(struct generator *g, unsigned op, unsigned ext, unsigned reg)
{
	if (g->c->ia32)
		EMIT(g, 0, (uint8_t)op, (uint8_t)(0xc0 | ext << 3 | reg));
	else
		EMIT(g, 0, (uint8_t)(0x40 | reg >> 3), (uint8_t)op, (uint8_t)(0xc0 | ext << 3 | (reg & 7)));
}

static void push_reg(struct generator *g, unsigned reg)
{
	if (reg >= 8)
		EMIT(g, 0, 0x41, (uint8_t)(0x50 | (reg & 7)));
	else
		EMIT(g, 0, (uint8_t)(0x50 | reg));
}

/* Jumps or calls through memory below the stack pointer: [rsp - 0x40]. */
static void indirect_memory(struct generator *g, unsigned ext)
{
	unsigned reg = label_to_reg(g);

	if (g->c->ia32)
		EMIT(g, 0, 0x89, (uint8_t)(0x44 | reg << 3), 0x24, 0xc0);
	else
		EMIT(g, 0, (uint8_t)(0x48 | reg >> 3 << 2), 0x89, (uint8_t)(0x44 | (reg & 7) << 3), 0x24,
		     0xc0);
	no_label(g);
	if (rnd_pct(&g->r, 30)) {
		filler(g, false);
		no_label(g);
	}
	EMIT(g, 0, 0xff, (uint8_t)(0x44 | ext << 3), 0x24, 0xc0);
}

static void counted_loop(struct generator *g)
{
	unsigned n = 1 + rnd_n(&g->r, 3);
	uint16_t top;
	int rel;

	EMIT(g, 1u << 1, 0xb9, (uint8_t)(1 + rnd_n(&g->r, 5)), 0, 0, 0);
	top = g->c->len;
	no_label(g);
	for (unsigned i = 0; i < n; i++) {
		uint16_t len = g->c->len;
		uint8_t ninsns = g->c->ninsns;
		uint32_t dirty = g->dirty;

		g->dirty &= ~2u;
		filler(g, true);
		if (g->dirty & 2) { /* wrote the counter: take it back */
			g->c->len = len;
			g->c->ninsns = ninsns;
			g->c->insn_off[ninsns] = len;
		}
		g->dirty |= dirty;
		no_label(g);
	}
	rel = top - (g->c->len + 2);
	if (rnd_pct(&g->r, 50)) {
		EMIT(g, 1u << 1, (uint8_t)(0xe0 + rnd_n(&g->r, 3)), (uint8_t)rel);
		return;
	}
	if (g->c->ia32)
		EMIT(g, 1u << 1, 0x49);
	else
		EMIT(g, 1u << 1, 0xff, 0xc9);
	no_label(g);
	rel = top - (g->c->len + 2);
	EMIT(g, 0, 0x75, (uint8_t)rel);
}

/* call over a jump to a subroutine of one or two instructions */
static void call_and_ret(struct generator *g)
{
	uint16_t jmp_at;

	EMIT(g, 0, 0xe8, 2, 0, 0, 0);
	no_label(g);
	EMIT(g, 0, 0xeb, 0);
	jmp_at = g->c->len;
	no_label(g);
	/* Balanced: what the stack pointer is at RET must be what CALL left. */
	gen_random(g, SPACE_ONE, 1u << CLASS_INT);
	no_label(g);
	if (rnd_pct(&g->r, 25))
		EMIT(g, 0, 0xc2, (uint8_t)(rnd_n(&g->r, 4) * 8), 0);
	else if (rnd_pct(&g->r, 15))
		EMIT(g, 0, 0xf3, 0xc3);
	else
		EMIT(g, 0, 0xc3);
	g->c->code[jmp_at - 1] = (uint8_t)(g->c->len - jmp_at);
}

void gen_branch(struct generator *g)
{
	struct rng *r = &g->r;
	unsigned reg;

	switch (rnd_n(r, 16)) {
	case 0:
	case 1:
	case 2:
		EMIT(g, 0, (uint8_t)(0x70 | rnd_n(r, 16)), 0);
		fixup(g, 1, false);
		break;
	case 3:
	case 4:
		EMIT(g, 0, 0x0f, (uint8_t)(0x80 | rnd_n(r, 16)), 0, 0, 0, 0);
		fixup(g, 4, false);
		break;
	case 5:
		EMIT(g, 0, 0xeb, 0);
		fixup(g, 1, false);
		break;
	case 6:
		EMIT(g, 0, 0xe9, 0, 0, 0, 0);
		fixup(g, 4, false);
		break;
	case 7:
		if (rnd_pct(r, 20))
			EMIT(g, 1u << 1, 0x67, (uint8_t)(0xe0 + rnd_n(r, 4)), 0);
		else
			EMIT(g, 1u << 1, (uint8_t)(0xe0 + rnd_n(r, 4)), 0);
		fixup(g, 1, false);
		break;
	case 8:
		EMIT(g, 0, 0xe8, 0, 0, 0, 0);
		fixup(g, 4, false);
		break;
	case 9:
		reg = label_to_reg(g);
		push_reg(g, reg);
		no_label(g);
		EMIT(g, 0, 0xc3);
		break;
	case 10:
		reg = label_to_reg(g);
		group_reg(g, 0xff, 4, reg);
		break;
	case 11:
		reg = label_to_reg(g);
		group_reg(g, 0xff, 2, reg);
		break;
	case 12: indirect_memory(g, rnd_pct(r, 50) ? 4 : 2); break;
	case 13:
	case 14: counted_loop(g); break;
	default: call_and_ret(g);
	}
}

#define SEL32 0x23
#define SEL64 0x33

/* A few instructions that both modes decode, or that differ between them. */
static void mode_probe(struct generator *g)
{
	no_label(g);
	switch (rnd_n(&g->r, 5)) {
	case 0: EMIT(g, 1, 0x48, 0x40, 0x90); break; /* DEC, INC EAX or idle REX prefixes */
	case 1: EMIT(g, 0, 0x50); break;
	case 2: EMIT(g, 0, 0x54, 0x58); break; /* push rsp; pop rax */
	case 3: EMIT(g, 1, 0x48, 0x8d, 0x44, 0x24, 0x10); break;
	default: EMIT(g, 0, 0x90);
	}
	no_label(g);
}

static void to_32(struct generator *g)
{
	uint32_t target;

	if (rnd_pct(&g->r, 50)) {
		/* push 0x23; lea rax, [rip+3]; push rax; lretq */
		EMIT(g, 1, 0x6a, SEL32, 0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcb);
		no_label(g);
		return;
	}
	/* ljmp [rsp-0x40] */
	target = (uint32_t)(g->c->va + g->c->len + 20);
	EMIT(g, 0, 0xc7, 0x44, 0x24, 0xc0, (uint8_t)target, (uint8_t)(target >> 8), (uint8_t)(target >> 16),
	     (uint8_t)(target >> 24), 0xc7, 0x44, 0x24, 0xc4, SEL32, 0, 0, 0, 0xff, 0x6c, 0x24, 0xc0);
	no_label(g);
}

static void to_64(struct generator *g)
{
	uint32_t target;

	if (rnd_pct(&g->r, 50)) {
		target = (uint32_t)(g->c->va + g->c->len + 7);
		EMIT(g, 0, 0xea, (uint8_t)target, (uint8_t)(target >> 8), (uint8_t)(target >> 16),
		     (uint8_t)(target >> 24), SEL64, 0);
	} else {
		/* push 0x33; push target; lret */
		target = (uint32_t)(g->c->va + g->c->len + 8);
		EMIT(g, 0, 0x6a, SEL64, 0x68, (uint8_t)target, (uint8_t)(target >> 8),
		     (uint8_t)(target >> 16), (uint8_t)(target >> 24), 0xcb);
	}
	no_label(g);
}

void gen_far(struct generator *g)
{
	if (g->c->ia32) {
		to_64(g);
		mode_probe(g);
		to_32(g);
		mode_probe(g);
		return;
	}
	to_32(g);
	mode_probe(g);
	if (g->last && rnd_pct(&g->r, 30))
		return; /* ends in 32-bit mode */
	to_64(g);
	mode_probe(g);
}

/* mov size [rip + rel], imm, to be aimed at @at; returns the offset of rel. */
static uint16_t store_to_code(struct generator *g, unsigned size)
{
	uint32_t v = (uint32_t)rnd(&g->r);

	switch (size) {
	case 1: EMIT(g, 0, 0xc6, 0x05, 0, 0, 0, 0, (uint8_t)v); return (uint16_t)(g->c->len - 5);
	case 2:
		EMIT(g, 0, 0x66, 0xc7, 0x05, 0, 0, 0, 0, (uint8_t)v, (uint8_t)(v >> 8));
		return (uint16_t)(g->c->len - 6);
	default:
		EMIT(g, 0, 0xc7, 0x05, 0, 0, 0, 0, (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16),
		     (uint8_t)(v >> 24));
		return (uint16_t)(g->c->len - 8);
	}
}

static void aim(struct generator *g, uint16_t field, unsigned next, unsigned target)
{
	uint32_t rel = (uint32_t)target - (uint32_t)next;

	memcpy(g->c->code + field, &rel, 4);
}

/* A store into the immediate of an instruction further on, perhaps the very next. */
static void patch_ahead(struct generator *g)
{
	unsigned size = 1u << rnd_n(&g->r, 3), alu = rnd_n(&g->r, 8), reg;
	uint16_t field = store_to_code(g, size);
	unsigned next = g->c->len;

	for (unsigned n = rnd_n(&g->r, 3); n > 0; n--)
		filler(g, true);
	no_label(g);
	do
		reg = rnd_n(&g->r, 8);
	while (reg == REG_SP_NUM);
	/* Not ADC and SBB: mask_undefined() might make NOPs of them, of which the store makes anything. */
	if (alu == 2 || alu == 3 || rnd_pct(&g->r, 40))
		EMIT(g, 1u << reg, (uint8_t)(0xb8 | reg), 0x11, 0x22, 0x33, 0x44);
	else
		EMIT(g, 1u << reg, 0x81, (uint8_t)(0xc0 | alu << 3 | reg), 0x55, 0x66, 0x77, 0x08);
	aim(g, field, next, g->c->len - 4u + rnd_n(&g->r, 5 - size));
}

/* Changes an opcode: NOP to STC, CDQ or CLD. */
static void patch_opcode(struct generator *g)
{
	/* None that reads flags: those that the old code had overwritten are not kept. */
	static const uint8_t ops[] = { 0x90, 0xf8, 0xf9, 0x98, 0x99, 0xfc, 0xfd };
	uint16_t field = store_to_code(g, 1);
	unsigned next = g->c->len;

	g->c->code[next - 1] = ops[rnd_n(&g->r, sizeof(ops))];
	for (unsigned n = rnd_n(&g->r, 3); n > 0; n--)
		filler(g, true);
	no_label(g);
	aim(g, field, next, g->c->len);
	EMIT(g, 1u | 4u, 0x90);
}

/* A loop that changes an immediate or itself as it goes. */
static void patch_loop(struct generator *g)
{
	uint16_t top, imm, field;
	unsigned n = 2 + rnd_n(&g->r, 5);

	EMIT(g, 2, 0xb9, (uint8_t)n, 0, 0, 0);
	no_label(g);
	top = g->c->len;
	EMIT(g, 1, 0x83, 0xc0, 0x01); /* add eax, imm8 */
	imm = (uint16_t)(g->c->len - 1);
	no_label(g);
	if (rnd_pct(&g->r, 30))
		EMIT(g, 0, 0x90);
	no_label(g);
	/* add byte [rip + rel], imm8 */
	EMIT(g, 0, 0x80, 0x05, 0, 0, 0, 0, (uint8_t)(1 + rnd_n(&g->r, 9)));
	field = (uint16_t)(g->c->len - 5);
	aim(g, field, g->c->len, imm);
	no_label(g);
	EMIT(g, 2, 0xff, 0xc9);
	no_label(g);
	EMIT(g, 0, 0x75, (uint8_t)(top - (g->c->len + 2)));
}

void gen_smc(struct generator *g)
{
	switch (rnd_n(&g->r, 4)) {
	case 0: patch_opcode(g); break;
	case 1: patch_loop(g); break;
	default: patch_ahead(g);
	}
}

void gen_resolve_fixups(struct generator *g)
{
	struct diff_case *c = g->c;

	for (unsigned i = 0; i < g->nfixups; i++) {
		struct fixup *f = &g->fixup[i];
		uint16_t to = c->insn_off[c->ninsns];
		uint32_t val;

		for (unsigned tries = 0; tries < 6; tries++) {
			unsigned l = f->first + rnd_n(&g->r, c->ninsns - f->first + 1);

			if (!(g->labels >> l & 1) && l != c->ninsns)
				continue;
			to = c->insn_off[l];
			if (f->size == 4 || to - f->next < 128)
				break;
		}
		if (f->size == 1 && to - f->next > 127) {
			/* Too far for a byte: to the next instruction. */
			to = f->next;
		}
		val = f->absolute ? (uint32_t)(c->va + to) : (uint32_t)(to - f->next);
		memcpy(c->code + f->at, &val, f->size);
	}
}
