// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The system instructions that a kernel executes all the time and that need
 * nothing but a few bytes of the vCPU: no reason to leave for C. Each has its
 * full version in a sys_*.c file, which serves all other modes.
 */
#include "engine/soft/translate.h"

bool insn_can_inline(const struct xlat *x, const struct insn *in)
{
	if (!is_code64(x) || x->single || (x->engine->disable & SOFT_NO_INLINE))
		return false;
	switch (in->sysop) {
	case SYSOP_PUSHF: return in->zi.operand_width == 64;
	case SYSOP_CLI:
	case SYSOP_STI:
	case SYSOP_SWAPGS: return x->mode & MODE_CPL0;
	case SYSOP_STAC:
	case SYSOP_CLAC: return (x->mode & MODE_CPL0) && (x->mode & MODE_SMAP);
	default: return false;
	}
}

/* movzx reg, byte of the vCPU */
static void emit_load8(struct emitter *o, unsigned reg, uint32_t off)
{
	emit_vcpu(o, false, 0x0fb6, reg, off);
}

/* R10 = RFLAGS as PUSHF shows it. All flags are in memory. */
static void emit_rflags(struct emitter *o)
{
	emit_load8(o, SCRATCH1, VOFF(c.aflags) + 1);
	emit_vcpu(o, false, 0x0b, SCRATCH1, VOFF(c.sysflags));
	emit_load8(o, SCRATCH0, VOFF(c.iflag));
	emit_shift32(o, 4, SCRATCH0, 9);
	emit_rr(o, false, 0x0b, SCRATCH1, SCRATCH0);
	emit_load8(o, SCRATCH0, VOFF(c.aflags));
	emit_shift32(o, 4, SCRATCH0, 11);
	emit_rr(o, false, 0x0b, SCRATCH1, SCRATCH0);
	e8(o, 0x41); /* and r10d, ~(RF | VM) */
	e8(o, 0x81);
	e8(o, 0xe2);
	e32(o, ~(FLAG_RF | FLAG_VM));
	e8(o, 0x41); /* or r10d, 2 */
	e8(o, 0x83);
	e8(o, 0xca);
	e8(o, FLAG_ONE);
}

static void emit_set_ac(struct xlat *x, bool ac)
{
	struct emitter *o = x->o;

	/* or/and byte 2 of sysflags, AC */
	emit_vcpu_imm(o, false, 0x80, ac ? 1 : 4, VOFF(c.sysflags) + 2,
		      ac ? FLAG_AC >> 16 : (uint8_t) ~(FLAG_AC >> 16), 1);
	x->exit_mode = ac ? x->mode | MODE_AC : x->mode & ~MODE_AC;
	emit_store32_imm(o, VOFF(c.mode), x->exit_mode);
}

void emit_inline(struct xlat *x)
{
	struct emitter *o = x->o;

	switch (x->in->sysop) {
	case SYSOP_CLI: emit_store8_imm(o, VOFF(c.iflag), 0); break;
	case SYSOP_STI:
		/* The block ends behind the next instruction, and the next one polls. */
		emit_store8_imm(o, VOFF(c.iflag), 1);
		emit_load8(o, SCRATCH0, VOFF(c.irq_waiting));
		emit_vcpu(o, false, 0x89, SCRATCH0, VOFF(c.irq_open));
		break;
	case SYSOP_SWAPGS:
		emit_load(o, SCRATCH0, SEG_BASE_SLOT(SEG_GS));
		emit_load(o, SCRATCH1, VOFF(c.s.kernel_gs_base));
		emit_store(o, SCRATCH1, SEG_BASE_SLOT(SEG_GS));
		emit_store(o, SCRATCH0, VOFF(c.s.kernel_gs_base));
		break;
	case SYSOP_PUSHF:
		flags_clobber(x, FLAG_ARITH);
		emit_rflags(o);
		emit_store(o, SCRATCH1, VOFF(spill[0]));
		emit_push_spilled(x, 8);
		break;
	case SYSOP_STAC:
	case SYSOP_CLAC:
		flags_clobber(x, FLAG_ARITH);
		emit_set_ac(x, x->in->sysop == SYSOP_STAC);
		break;
	}
}
