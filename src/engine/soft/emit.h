/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing host machine code, one instruction a call.
 *
 * Only what the translator needs by its own account: guest instructions are
 * copied, not assembled. Encodings are those of the Intel SDM, vol. 2. Every
 * gs: operand is absolute (ModRM rm=100, SIB base=101 index=none), since GS
 * points at the vCPU.
 */
#ifndef LGUEST_SOFT_EMIT_H
#define LGUEST_SOFT_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cpu/state.h"

struct emitter {
	uint8_t *p;   /* where the next byte goes (writable alias) */
	uint8_t *end; /* one past the last byte that may be written */
	bool overflow;
};

static inline void e8(struct emitter *e, unsigned b)
{
	if (e->p < e->end)
		*e->p++ = (uint8_t)b;
	else
		e->overflow = true;
}

static inline void ebytes(struct emitter *e, const void *b, unsigned n)
{
	if ((uint64_t)(e->end - e->p) >= n) {
		memcpy(e->p, b, n);
		e->p += n;
	} else {
		e->overflow = true;
	}
}

static inline void e32(struct emitter *e, uint32_t v)
{
	ebytes(e, &v, 4);
}

static inline void e64(struct emitter *e, uint64_t v)
{
	ebytes(e, &v, 8);
}

/* REX with W, and the extension bits of reg, index, base; always emitted. */
static inline void emit_rex(struct emitter *e, bool w, unsigned reg, unsigned index, unsigned base)
{
	e8(e, 0x40 | (w << 3) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (base >> 3));
}

/* op reg, gs:[disp]  (or the store form, by opcode) */
static inline void emit_gs(struct emitter *e, bool w, unsigned opcode, unsigned reg, uint32_t disp)
{
	e8(e, 0x65);
	if (w || reg >= 8)
		emit_rex(e, w, reg, 0, 0);
	e8(e, opcode);
	e8(e, 0x04 | ((reg & 7) << 3));
	e8(e, 0x25);
	e32(e, disp);
}

static inline void emit_load(struct emitter *e, unsigned reg, uint32_t disp)
{
	emit_gs(e, true, 0x8b, reg, disp);
}

static inline void emit_store(struct emitter *e, unsigned reg, uint32_t disp)
{
	emit_gs(e, true, 0x89, reg, disp);
}

/* mov byte gs:[disp], imm */
static inline void emit_store8_imm(struct emitter *e, uint32_t disp, unsigned imm)
{
	emit_gs(e, false, 0xc6, 0, disp);
	e8(e, imm);
}

/* mov dword gs:[disp], imm */
static inline void emit_store32_imm(struct emitter *e, uint32_t disp, uint32_t imm)
{
	emit_gs(e, false, 0xc7, 0, disp);
	e32(e, imm);
}

/* op reg, gs:[index*8 + disp] */
static inline void emit_gs_index8(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned index,
				  uint32_t disp)
{
	e8(e, 0x65);
	emit_rex(e, w, reg, index, 0);
	e8(e, opcode);
	e8(e, 0x04 | ((reg & 7) << 3));
	e8(e, 0xc5 | ((index & 7) << 3));
	e32(e, disp);
}

/* op reg, rm (register form); @w selects 64 bits */
static inline void emit_rr(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned rm)
{
	if (w || reg >= 8 || rm >= 8)
		emit_rex(e, w, reg, 0, rm);
	e8(e, opcode);
	e8(e, 0xc0 | ((reg & 7) << 3) | (rm & 7));
}

static inline void emit_mov(struct emitter *e, unsigned dst, unsigned src)
{
	emit_rr(e, true, 0x8b, dst, src);
}

static inline void emit_mov32(struct emitter *e, unsigned dst, unsigned src)
{
	emit_rr(e, false, 0x8b, dst, src);
}

/* movzx reg32, reg16 of the same register */
static inline void emit_zext16(struct emitter *e, unsigned reg)
{
	if (reg >= 8)
		emit_rex(e, false, reg, 0, reg);
	e8(e, 0x0f);
	e8(e, 0xb7);
	e8(e, 0xc0 | ((reg & 7) << 3) | (reg & 7));
}

/* @op (5: SHR, 4: SHL) reg32, @n */
static inline void emit_shift32(struct emitter *e, unsigned op, unsigned reg, unsigned n)
{
	if (reg >= 8)
		e8(e, 0x41);
	e8(e, 0xc1);
	e8(e, 0xc0 | (op << 3) | (reg & 7));
	e8(e, n);
}

/* The shortest way to put @v into @reg without touching flags. */
static inline void emit_mov_imm(struct emitter *e, unsigned reg, uint64_t v)
{
	if (v <= 0xffffffffu) {
		if (reg >= 8)
			e8(e, 0x41);
		e8(e, 0xb8 | (reg & 7));
		e32(e, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		emit_rex(e, true, 0, 0, reg);
		e8(e, 0xc7);
		e8(e, 0xc0 | (reg & 7));
		e32(e, (uint32_t)v);
	} else {
		emit_rex(e, true, 0, 0, reg);
		e8(e, 0xb8 | (reg & 7));
		e64(e, v);
	}
}

#define EMIT_NOREG 0xffu

/* ModRM, SIB and displacement of [base + index*scale + disp]; REX is the caller's. */
static inline void emit_modrm_mem(struct emitter *e, unsigned reg, unsigned base, unsigned index,
				  unsigned scale, int32_t disp)
{
	unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
	unsigned mod;

	if (base == EMIT_NOREG) {
		e8(e, 0x04 | ((reg & 7) << 3));
		e8(e, (ss << 6) | ((index == EMIT_NOREG ? 4 : index & 7) << 3) | 5);
		e32(e, (uint32_t)disp);
		return;
	}
	if (disp == 0 && (base & 7) != REG_RBP)
		mod = 0;
	else
		mod = disp >= -128 && disp <= 127 ? 1 : 2;
	if (index != EMIT_NOREG || (base & 7) == REG_RSP) {
		e8(e, (mod << 6) | ((reg & 7) << 3) | 4);
		e8(e, (ss << 6) | ((index == EMIT_NOREG ? 4 : index & 7) << 3) | (base & 7));
	} else {
		e8(e, (mod << 6) | ((reg & 7) << 3) | (base & 7));
	}
	if (mod == 1)
		e8(e, (uint8_t)disp);
	else if (mod == 2)
		e32(e, (uint32_t)disp);
}

/* op reg, [base + index*scale + disp] */
static inline void emit_mem(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned base,
			    unsigned index, unsigned scale, int32_t disp)
{
	unsigned x = index == EMIT_NOREG ? 0 : index, b = base == EMIT_NOREG ? 0 : base;

	if (w || reg >= 8 || x >= 8 || b >= 8)
		emit_rex(e, w, reg, x, b);
	e8(e, opcode);
	emit_modrm_mem(e, reg, base, index, scale, disp);
}

/* lea dst, [base + disp]; @w: 64-bit result */
static inline void emit_lea(struct emitter *e, bool w, unsigned dst, unsigned base, int32_t disp)
{
	emit_mem(e, w, 0x8d, dst, base, EMIT_NOREG, 1, disp);
}

#endif
