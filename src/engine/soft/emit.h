/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing host machine code, one instruction a call.
 *
 * Only what the translator needs by its own account: guest instructions are
 * copied, not assembled. Encodings are those of the Intel SDM, vol. 2.
 *
 * There are two ways to a field of the vCPU. Code is executed at a fixed distance from it
 * (soft_engine.code_rx), so the field has a place relative to RIP: two bytes less than the other
 * way, GS, which points at the vCPU. That one is for code that is copied to another place, and, with
 * an index, for arrays. gs: operands are absolute (ModRM rm=100, SIB base=101).
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
	/* Where the vCPU lies as seen from the address that p's bytes are executed at, plus p */
	uint64_t vcpu;
	bool overflow;
	bool movable; /* what is written now works at any address */
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

/*
 * The @n low bytes of @v, first byte lowest: one store instead of @n that each wait for the
 * last one's pointer. What lies behind them, up to @v's end, is overwritten too.
 */
static inline void eput(struct emitter *e, uint64_t v, unsigned n)
{
	if (e->end - e->p >= 8) {
		memcpy(e->p, &v, 8);
		e->p += n;
	} else {
		e->overflow = true;
	}
}

/* REX with W, and the extension bits of reg, index, base. */
static inline unsigned rex_byte(bool w, unsigned reg, unsigned index, unsigned base)
{
	return 0x40 | (w << 3) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (base >> 3);
}

static inline void emit_rex(struct emitter *e, bool w, unsigned reg, unsigned index, unsigned base)
{
	e8(e, rex_byte(w, reg, index, base));
}

/* The displacement of the vCPU's byte @off for an instruction that ends at @end. */
static inline uint32_t vcpu_rel(uint64_t vcpu, uint32_t off, const uint8_t *end)
{
	return (uint32_t)(vcpu + off - (uint64_t)(uintptr_t)end);
}

/*
 * op reg, the vCPU's field at @off (or the store form, by opcode; 0x0f.. has two bytes), with
 * @imm_len bytes of @imm behind it
 */
static inline void emit_vcpu_imm(struct emitter *e, bool w, unsigned opcode, unsigned reg, uint32_t off,
				 uint32_t imm, unsigned imm_len)
{
	unsigned n = 0;
	uint64_t v = 0;

	if (e->movable) {
		v = 0x65;
		n = 1;
	}
	if (w || reg >= 8)
		v |= (uint64_t)rex_byte(w, reg, 0, 0) << (8 * n++);
	if (opcode > 0xff)
		v |= (uint64_t)(opcode >> 8) << (8 * n++);
	v |= (uint64_t)(opcode & 0xff) << (8 * n++);
	if (e->movable) {
		v |= (uint64_t)(0x2504 | (reg & 7) << 3) << (8 * n);
		eput(e, v, n + 2);
		e32(e, off);
	} else {
		v |= (uint64_t)(0x05 | (reg & 7) << 3) << (8 * n);
		eput(e, v, n + 1);
		e32(e, vcpu_rel(e->vcpu, off, e->p + 4 + imm_len));
	}
	if (imm_len)
		eput(e, imm, imm_len);
}

static inline void emit_vcpu(struct emitter *e, bool w, unsigned opcode, unsigned reg, uint32_t off)
{
	emit_vcpu_imm(e, w, opcode, reg, off, 0, 0);
}

static inline void emit_load(struct emitter *e, unsigned reg, uint32_t off)
{
	emit_vcpu(e, true, 0x8b, reg, off);
}

static inline void emit_store(struct emitter *e, unsigned reg, uint32_t off)
{
	emit_vcpu(e, true, 0x89, reg, off);
}

/* mov byte field, imm */
static inline void emit_store8_imm(struct emitter *e, uint32_t off, unsigned imm)
{
	emit_vcpu_imm(e, false, 0xc6, 0, off, imm, 1);
}

/* mov dword field, imm */
static inline void emit_store32_imm(struct emitter *e, uint32_t off, uint32_t imm)
{
	emit_vcpu_imm(e, false, 0xc7, 0, off, imm, 4);
}

/* op reg, gs:[index*8 + disp] */
static inline void emit_gs_index8(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned index,
				  uint32_t disp)
{
	eput(e,
	     0x65 | rex_byte(w, reg, index, 0) << 8 | opcode << 16 |
		     (uint64_t)(0x04 | ((reg & 7) << 3)) << 24 | (uint64_t)(0xc5 | ((index & 7) << 3)) << 32,
	     5);
	e32(e, disp);
}

/* movzx r10d, r11w: jc_index() */
static inline void emit_jump_index(struct emitter *e)
{
	static const uint8_t code[] = { 0x45, 0x0f, 0xb7, 0xd3 };

	ebytes(e, code, sizeof(code));
}

#define JUMP_HOST_LEN 9
/* jmp gs:[r10*8 + @disp] */
static inline void emit_jump_host(struct emitter *e, uint32_t disp)
{
	static const uint8_t code[] = { 0x65, 0x42, 0xff, 0x24, 0xd5 };

	ebytes(e, code, sizeof(code));
	e32(e, disp);
}

/* op reg, rm (register form); @w selects 64 bits */
static inline void emit_rr(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned rm)
{
	unsigned tail = opcode | (0xc0 | ((reg & 7) << 3) | (rm & 7)) << 8;

	if (w || reg >= 8 || rm >= 8)
		eput(e, rex_byte(w, reg, 0, rm) | tail << 8, 3);
	else
		eput(e, tail, 2);
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
	unsigned tail = 0xc1 | (0xc0 | (op << 3) | (reg & 7)) << 8 | n << 16;

	if (reg >= 8)
		eput(e, 0x41 | (uint64_t)tail << 8, 4);
	else
		eput(e, tail, 3);
}

/* The shortest way to put @v into @reg without touching flags. */
static inline void emit_mov_imm(struct emitter *e, unsigned reg, uint64_t v)
{
	if (v <= 0xffffffffu) {
		if (reg >= 8)
			eput(e, 0x41 | (0xb8 | (reg & 7)) << 8 | v << 16, 6);
		else
			eput(e, (0xb8 | (reg & 7)) | v << 8, 5);
	} else if ((int64_t)v == (int32_t)v) {
		eput(e, rex_byte(true, 0, 0, reg) | 0xc7 << 8 | (0xc0 | (reg & 7)) << 16 | v << 24, 7);
	} else {
		eput(e, rex_byte(true, 0, 0, reg) | (0xb8 | (reg & 7)) << 8, 2);
		e64(e, v);
	}
}

#define EMIT_NOREG 0xffu

/* ModRM, SIB and displacement of [base + index*scale + disp]; REX is the caller's. */
static inline void emit_modrm_mem(struct emitter *e, unsigned reg, unsigned base, unsigned index,
				  unsigned scale, int32_t disp)
{
	unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
	unsigned mod, n;
	uint64_t v;

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
		n = 2;
		v = (mod << 6) | ((reg & 7) << 3) | 4 |
		    ((ss << 6) | ((index == EMIT_NOREG ? 4 : index & 7) << 3) | (base & 7)) << 8;
	} else {
		n = 1;
		v = (mod << 6) | ((reg & 7) << 3) | (base & 7);
	}
	eput(e, v | (uint64_t)(uint32_t)disp << (8 * n), n + (mod == 1 ? 1 : mod == 2 ? 4 : 0));
}

/* op reg, [base + index*scale + disp] */
static inline void emit_mem(struct emitter *e, bool w, unsigned opcode, unsigned reg, unsigned base,
			    unsigned index, unsigned scale, int32_t disp)
{
	unsigned x = index == EMIT_NOREG ? 0 : index, b = base == EMIT_NOREG ? 0 : base;

	if (w || reg >= 8 || x >= 8 || b >= 8)
		eput(e, rex_byte(w, reg, x, b) | opcode << 8, 2);
	else
		e8(e, opcode);
	emit_modrm_mem(e, reg, base, index, scale, disp);
}

/* lea dst, [base + disp]; @w: 64-bit result */
static inline void emit_lea(struct emitter *e, bool w, unsigned dst, unsigned base, int32_t disp)
{
	emit_mem(e, w, 0x8d, dst, base, EMIT_NOREG, 1, disp);
}

#endif
