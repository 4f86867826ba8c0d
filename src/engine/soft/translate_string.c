// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * REP MOVS and REP STOS in 64-bit code, without a way through C: where all of
 * source and destination lies within a page each, and both are in the TLB, the
 * host's own instruction runs on host addresses.
 *
 *	cmp	rcx, 4096 / size
 *	ja	stub
 *	mov	r9d, ecx			R9 = 4096 - bytes
 *	shl	r9d, log2(size)
 *	neg	r9d
 *	lea	r9d, [r9 + 4096]
 *	(R11 = RSI - tag, as in every check)
 *	cmp	r11, r9
 *	ja	stub
 *	add	r11, gs:[r10*8 + host]
 *	mov	gs:[spill], r11
 *	(the same for RDI, in R11)
 *	mov	r10, rdi			what takes RDI back: guest - host address
 *	mov	rdi, r11
 *	sub	r10, r11
 *	(the same for RSI, in R9)
 *	rep movs
 *	lea	rdi, [rdi + r10]
 *	lea	rsi, [rsi + r9]
 *
 * Up to `sub` no guest register has changed, so the stub may leave for
 * string_run() from any of the checks, and that does all of it.
 *
 * A page with code, a clean page and MMIO have no write entry: they are C's.
 */
#include "engine/soft/translate.h"

/* Jumps to the stub, which is not there yet. */
struct stub_jumps {
	uint8_t *at[3];
	unsigned n;
};

static void emit_ja(struct xlat *x, struct stub_jumps *j)
{
	e8(x->o, 0x0f);
	e8(x->o, 0x87);
	j->at[j->n++] = x->o->p;
	e32(x->o, 0);
}

/* R11 = host address of [@reg], R10 = its TLB index, if R9 or less is its offset in the page. */
static void emit_check_range(struct xlat *x, unsigned reg, bool write, struct stub_jumps *j)
{
	uint32_t view = (uint32_t)(mode_view(x->mode) * sizeof(struct tlb_view_table));
	struct emitter *o = x->o;

	emit_mov(o, SCRATCH0, reg);
	emit_mov32(o, SCRATCH1, reg);
	emit_shift32(o, 5, SCRATCH1, PAGE_SHIFT);
	emit_gs_index8(o, true, 0x2b, SCRATCH0, SCRATCH1,
		       (write ? VOFF(tlb[0].tag_w) : VOFF(tlb[0].tag_r)) + view);
	emit_rr(o, true, 0x3b, SCRATCH0, SCRATCH2);
	emit_ja(x, j);
	emit_gs_index8(o, true, 0x03, SCRATCH0, SCRATCH1, VOFF(tlb[0].host) + view);
}

bool string_is_fast(const struct xlat *x, const struct insn *in)
{
	bool movs = in->sysop == STRING_MOVS;
	unsigned seg = segment_override(in, SEG_DS);

	return in->class == CLASS_STRING && (movs || in->sysop == STRING_STOS) && is_code64(x) &&
	       in->zi.address_width == 64 && !x->single && !(x->mode & MODE_DF) &&
	       (!movs || (seg != SEG_FS && seg != SEG_GS)) &&
	       in->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE) &&
	       !(x->engine->disable & SOFT_NO_STRINGS);
}

void emit_string(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	bool movs = in->sysop == STRING_MOVS;
	unsigned size = in->zi.operand_width / 8;
	unsigned shift = size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
	struct stub_jumps jumps = { .n = 0 };
	struct desc *d;
	uint32_t stub;

	flags_clobber(x, FLAG_ARITH);
	release_r9(x);
	e8(o, 0x48); /* cmp rcx, 4096 / size */
	e8(o, 0x81);
	e8(o, 0xf9);
	e32(o, PAGE_SIZE >> shift);
	emit_ja(x, &jumps);
	emit_mov32(o, SCRATCH2, REG_RCX);
	if (shift)
		emit_shift32(o, 4, SCRATCH2, shift);
	e8(o, 0x41); /* neg r9d */
	e8(o, 0xf7);
	e8(o, 0xd9);
	emit_lea(o, false, SCRATCH2, SCRATCH2, PAGE_SIZE);
	if (movs) {
		emit_check_range(x, REG_RSI, false, &jumps);
		emit_store(o, SCRATCH0, VOFF(spill[0]));
	}
	emit_check_range(x, REG_RDI, true, &jumps);
	emit_mov(o, SCRATCH1, REG_RDI);
	emit_mov(o, REG_RDI, SCRATCH0);
	emit_rr(o, true, 0x2b, SCRATCH1, SCRATCH0);
	if (movs) {
		emit_load(o, SCRATCH0, VOFF(spill[0]));
		emit_mov(o, SCRATCH2, REG_RSI);
		emit_mov(o, REG_RSI, SCRATCH0);
		emit_rr(o, true, 0x2b, SCRATCH2, SCRATCH0);
	}
	if (size == 2)
		e8(o, 0x66);
	e8(o, 0xf3);
	if (size == 8)
		e8(o, 0x48);
	e8(o, (movs ? 0xa4 : 0xaa) | (size > 1));
	emit_mem(o, true, 0x8d, REG_RDI, REG_RDI, SCRATCH1, 1, 0);
	if (movs)
		emit_mem(o, true, 0x8d, REG_RSI, REG_RSI, SCRATCH2, 1, 0);

	x->o = &x->cold;
	stub = cache_off(x, x->cold.p);
	d = emit_leave(x, DESC_STRING);
	x->o = o;
	d->resume = cache_off(x, o->p);
	for (unsigned i = 0; i < jumps.n && !o->overflow; i++) {
		uint32_t rel = stub - (cache_off(x, jumps.at[i]) + 4);

		memcpy(jumps.at[i], &rel, 4);
	}
}
