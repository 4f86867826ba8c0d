// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The doors between C and translated code, assembled once at start-up:
 *
 *   enter      uint64_t (*)(struct soft_vcpu *v, uint64_t host_pc):
 *              saves C's registers, loads the guest's, jumps to host_pc with
 *              vcpu.x9..x11 in R9..R11 and vcpu.enter_flags in RFLAGS
 *   exit       R9 = cache offset of the descriptor: stores the guest's registers
 *              and returns R9 from `enter`
 *   exit_flags the same, with RFLAGS kept in vcpu.exit_flags
 *   jump       the second look into a view's jump cache, R10 = slot, R11 = where
 *              to; otherwise exit
 *   stale      where the entries of invalidated blocks jump to
 *
 * Translated code runs on the guest's RSP. Nothing may touch that stack:
 * signals have a stack of their own, and there is no call or push.
 */
#include "engine/soft/block.h"
#include "engine/soft/emit.h"

#define SLOT(r) ((uint32_t)(VOFF(c.s.regs) + 8u * (r)))

static const uint8_t callee_saved[] = { REG_RBX, REG_RBP, REG_R12, REG_R13, REG_R14, REG_R15 };

/* All but R9, R10, R11. */
static const uint8_t identity[] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
				    REG_RDI, REG_R8,  REG_R12, REG_R13, REG_R14, REG_R15 };

static void push_pop(struct emitter *e, unsigned opcode, unsigned reg)
{
	if (reg >= 8)
		e8(e, 0x41);
	e8(e, opcode | (reg & 7));
}

static uint32_t here(struct soft_engine *e, struct emitter *o)
{
	return (uint32_t)(o->p - e->code_rw);
}

static void jmp_to(struct soft_engine *e, struct emitter *o, uint32_t target)
{
	e8(o, 0xe9);
	e32(o, target - (here(e, o) + 4));
}

void thunks_create(struct soft_engine *e)
{
	struct emitter o = { e->code_rw, e->code_rw + CODE_HOT_SIZE, false };
	struct emitter c = { e->code_rw + CODE_HOT_SIZE, e->code_rw + CODE_CACHE_SIZE, false };
	struct desc *stale = (struct desc *)c.p;
	struct desc *fault = stale + 1;

	*stale = (struct desc){ .kind = DESC_STALE };
	*fault = (struct desc){ .kind = DESC_HOST_FAULT };
	e->desc_host_fault = (uint32_t)((uint8_t *)fault - e->code_rw);
	c.p = (uint8_t *)(fault + 1);

	e->thunk_enter = here(e, &o);
	for (unsigned i = 0; i < sizeof(callee_saved); i++)
		push_pop(&o, 0x50, callee_saved[i]);
	emit_store(&o, REG_RSP, VOFF(host_rsp));
	emit_store(&o, REG_RSI, VOFF(spill[3]));
	e8(&o, 0x65); /* movzx eax, word gs:[enter_flags] */
	e8(&o, 0x0f);
	e8(&o, 0xb7);
	e8(&o, 0x04);
	e8(&o, 0x25);
	e32(&o, VOFF(enter_flags));
	e8(&o, 0x04); /* add al, 0x7f */
	e8(&o, 0x7f);
	e8(&o, 0x9e); /* sahf */
	for (unsigned i = 0; i < sizeof(identity); i++)
		emit_load(&o, identity[i], SLOT(identity[i]));
	emit_load(&o, REG_R9, VOFF(x9));
	emit_load(&o, REG_R10, VOFF(x10));
	emit_load(&o, REG_R11, VOFF(x11));
	e8(&o, 0x65); /* jmp gs:[spill3] */
	e8(&o, 0xff);
	e8(&o, 0x24);
	e8(&o, 0x25);
	e32(&o, VOFF(spill[3]));

	e->thunk_exit = here(e, &o);
	for (unsigned i = 0; i < sizeof(identity); i++)
		emit_store(&o, identity[i], SLOT(identity[i]));
	emit_store(&o, REG_R10, VOFF(x10));
	emit_store(&o, REG_R11, VOFF(x11));
	emit_load(&o, REG_RSP, VOFF(host_rsp));
	emit_mov(&o, REG_RAX, REG_R9);
	for (unsigned i = sizeof(callee_saved); i-- > 0;)
		push_pop(&o, 0x58, callee_saved[i]);
	e8(&o, 0xc3);

	e->thunk_exit_flags = here(e, &o);
	emit_store(&o, REG_RAX, SLOT(REG_RAX));
	e8(&o, 0x9f); /* lahf */
	e8(&o, 0x0f); /* seto al */
	e8(&o, 0x90);
	e8(&o, 0xc0);
	e8(&o, 0x65); /* mov gs:[exit_flags], ax */
	e8(&o, 0x66);
	e8(&o, 0x89);
	e8(&o, 0x04);
	e8(&o, 0x25);
	e32(&o, VOFF(exit_flags));
	emit_load(&o, REG_RAX, SLOT(REG_RAX));
	jmp_to(e, &o, e->thunk_exit);

	for (unsigned view = 0; view < VIEW_COUNT; view++) {
		uint32_t jc = VOFF(jc[0]) + (uint32_t)(view * sizeof(struct jump_cache));

		e->thunk_jump[view] = here(e, &o);
		e8(&o, 0x41); /* xor r10d, 1 */
		e8(&o, 0x83);
		e8(&o, 0xf2);
		e8(&o, 1);
		emit_gs_index8(&o, true, 0x3b, REG_R11, REG_R10,
			       jc + (uint32_t)offsetof(struct jump_cache, tag));
		e8(&o, 0x0f); /* jne exit */
		e8(&o, 0x85);
		e32(&o, e->thunk_exit - (here(e, &o) + 4));
		e8(&o, 0x65); /* jmp gs:[r10*8 + host] */
		e8(&o, 0x42);
		e8(&o, 0xff);
		e8(&o, 0x24);
		e8(&o, 0xd5);
		e32(&o, jc + (uint32_t)offsetof(struct jump_cache, host));
	}

	e->thunk_stale = here(e, &o);
	emit_mov_imm(&o, REG_R9, (uint64_t)((uint8_t *)stale - e->code_rw));
	jmp_to(e, &o, e->thunk_exit);

	e->hot_start = (here(e, &o) + 63) & ~63u;
	e->cold_start = ((uint32_t)(c.p - e->code_rw) + 63) & ~63u;
}
