// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's arithmetic flags live in the host's RFLAGS, but each TLB check
 * and each jump-cache look-up overwrites those. So the translator tracks, per
 * flag bit, whether RFLAGS or vcpu.c.aflags holds the truth, and liveness
 * (translate.c) tells which bits anybody still wants:
 *
 *   cmp  rax, rbx        host_valid = all, mem_valid = none
 *   mov  rcx, [rdx]      the check clobbers: is anything live? then save
 *   jb   somewhere       wants CF: restore it if it was saved
 *
 * A save moves the flags through AX (LAHF, SETO), never through PUSHF, which
 * costs twelve times as much and a stack. At every entry of a block the flags
 * are in memory.
 */
#include "engine/soft/translate.h"

/* AX <- flags, RAX kept in R9. */
static void emit_flags_to_ax(struct emitter *o)
{
	emit_mov(o, SCRATCH2, REG_RAX);
	e8(o, 0x9f); /* lahf */
	e8(o, 0x0f); /* seto al */
	e8(o, 0x90);
	e8(o, 0xc0);
}

void flags_to_memory(struct xlat *x, uint32_t need)
{
	struct emitter *o = x->o;
	uint32_t keep = x->mem_valid & ~x->host_valid & need;

	if (!(need & x->host_valid & ~x->mem_valid))
		return;
	release_r9(x);
	scratch_lost(x, LOST(SCRATCH2));
	emit_flags_to_ax(o);
	if (keep) {
		scratch_lost(x, LOST(SCRATCH1));
		/* Bits that RFLAGS has lost but memory still has. */
		uint16_t mask = flags_ax_mask(keep);

		e8(o, 0x25); /* and eax, ~mask */
		e32(o, (uint16_t)~mask);
		emit_vcpu(o, false, 0x0fb7, SCRATCH1, VOFF(c.aflags)); /* movzx r10d, word */
		e8(o, 0x41);                                           /* and r10d, mask */
		e8(o, 0x81);
		e8(o, 0xe2);
		e32(o, mask);
		emit_rr(o, false, 0x0b, REG_RAX, SCRATCH1); /* or eax, r10d */
	}
	e8(o, 0x66); /* mov aflags, ax */
	emit_vcpu(o, false, 0x89, REG_RAX, VOFF(c.aflags));
	emit_mov(o, REG_RAX, SCRATCH2);
	x->mem_valid = x->host_valid | keep;
	if (keep)
		x->host_valid = 0; /* the merge has clobbered them */
}

void flags_carry(struct xlat *x)
{
	struct emitter *o = x->o;

	if (!(x->in->live_out & ~x->in->writes & FLAG_CF) || (x->host_valid & FLAG_CF) ||
	    (x->engine->disable & SOFT_NO_CARRY))
		return;
	e8(o, 0x66); /* bt word aflags, 8: CF of what LAHF has put there */
	emit_vcpu_imm(o, false, 0x0fba, 4, VOFF(c.aflags), 8, 1);
	x->host_valid = FLAG_CF;
}

void flags_to_host(struct xlat *x, uint32_t need)
{
	struct emitter *o = x->o;

	if (!(need & ~x->host_valid))
		return;
	/* All six move together, so what only RFLAGS knows goes to memory first. */
	flags_to_memory(x, FLAG_ARITH);
	release_r9(x);
	scratch_lost(x, LOST(SCRATCH2));
	emit_mov(o, SCRATCH2, REG_RAX);
	emit_vcpu(o, false, 0x0fb7, REG_RAX, VOFF(c.aflags)); /* movzx eax, word */
	e8(o, 0x04); /* add al, 0x7f: overflows exactly when OF was set */
	e8(o, 0x7f);
	e8(o, 0x9e); /* sahf */
	emit_mov(o, REG_RAX, SCRATCH2);
	x->host_valid = x->mem_valid;
}

void flags_clobber(struct xlat *x, uint32_t live)
{
	flags_to_memory(x, live);
	x->host_valid = 0;
}
