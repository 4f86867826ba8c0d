// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The doors between C and translated code, assembled once at start-up:
 *
 *   enter      uint64_t (*)(struct soft_vcpu *v, uint64_t host_pc):
 *              saves C's registers, loads the guest's, jumps to host_pc with
 *              vcpu.x9..x11 in R9..R11 and vcpu.enter_flags in RFLAGS
 *   exit       R9 = id of the site: stores the guest's registers
 *              and returns R9 from `enter`
 *   exit_flags the same, with RFLAGS kept in vcpu.exit_flags
 *   jump       the second look into a view's jump cache, R10 = slot, R11 = where
 *              to; otherwise exit
 *   stack      see stack_thunk()
 *   slot       see slot_thunk()
 *   stale      where the entries of invalidated blocks jump to
 *
 * Translated code runs on the guest's RSP. Nothing may touch that stack:
 * signals have a stack of their own, and there is no call or push.
 */
#include "engine/soft/block.h"
#include "engine/soft/emit.h"

#define SLOT(r) ((uint32_t)(VOFF(c.s.regs) + 8u * (r)))

/* inc qword of the vCPU's field @off */
static void emit_count(struct emitter *o, uint32_t off)
{
	emit_vcpu(o, true, 0xff, 0, off);
}

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

/* lea reg, [address of cache offset 0] */
static void lea_cache(struct soft_engine *e, struct emitter *o, unsigned reg)
{
	emit_rex(o, true, reg, 0, 0);
	e8(o, 0x8d);
	e8(o, 0x05 | ((reg & 7) << 3));
	e32(o, 0u - (here(e, o) + 4));
}

/*
 * The check of a group of stack accesses has failed: R11 = lowest byte - tag, R9 =
 * cache offset of the record. When the TLB has the page, and the group lies in it, makes it the
 * stack's and checks again; else goes on, with R9 and R11 as they were, in the
 * jump behind the record: to C, or to the block without groups.
 */
static void stack_thunk(struct soft_engine *e, struct emitter *o, unsigned entry, bool write)
{
	uint32_t view = (uint32_t)(VIEW_USER * sizeof(struct tlb_view_table));
	uint32_t tag = (write ? VOFF(tlb[0].tag_w) : VOFF(tlb[0].tag_r)) + view;
	uint32_t own = write ? VOFF(stack[entry].tag_w) : VOFF(stack[entry].tag_r);
	static const uint8_t over_page[] = { 0x49, 0x81, 0xfb, 0xff, 0x0f, 0, 0 }; /* cmp r11, 4095 */
	static const uint8_t over_end[] = { 0x41, 0x81, 0xfa, 0, 0x10, 0, 0 };     /* cmp r10d, 4096 */
	static const uint8_t load_span[] = { 0x47, 0x0f, 0xb7, 0x54,
					     0x0a };                     /* movzx r10d, word [r10+r9+..] */
	static const uint8_t load_resume[] = { 0x47, 0x8b, 0x5c, 0x0a }; /* mov r11d, [r10+r9+..] */
	static const uint8_t load_group[] = { 0x47, 0x0f, 0xb6, 0x4c,
					      0x0a };           /* movzx r9d, byte [r10+r9+..] */
	static const uint8_t jump[] = { 0x41, 0xff, 0xe3 };     /* jmp r11 */
	static const uint8_t jump_r10[] = { 0x41, 0xff, 0xe2 }; /* jmp r10 */
	uint8_t *fail[3];

	e->thunk_stack[entry][write] = here(e, o);
	emit_vcpu(o, true, 0x03, REG_R11, own);
	emit_store(o, REG_R11, VOFF(x11));
	emit_mov32(o, REG_R10, REG_R11);
	emit_shift32(o, 5, REG_R10, PAGE_SHIFT);
	emit_gs_index8(o, true, 0x2b, REG_R11, REG_R10, tag);
	ebytes(o, over_page, sizeof(over_page));
	e8(o, 0x0f); /* ja fail */
	e8(o, 0x87);
	fail[0] = o->p;
	e32(o, 0);
	lea_cache(e, o, REG_R10);
	ebytes(o, load_span, sizeof(load_span));
	e8(o, offsetof(struct stack_record, span));
	emit_rr(o, false, 0x03, REG_R10, REG_R11);
	ebytes(o, over_end, sizeof(over_end));
	e8(o, 0x0f); /* ja fail */
	e8(o, 0x87);
	fail[1] = o->p;
	e32(o, 0);
	emit_vcpu_imm(o, false, 0x83, 5, VOFF(stack_budget[entry]), 1, 1); /* sub dword, 1 */
	e8(o, 0x0f);                                                       /* js spent */
	e8(o, 0x88);
	fail[2] = o->p;
	e32(o, 0);

	emit_count(o, VOFF(stats.stack_moves));
	emit_load(o, REG_R10, VOFF(x11)); /* R10 = the page */
	emit_rr(o, true, 0x2b, REG_R10, REG_R11);
	emit_store(o, REG_R10, VOFF(stack[entry].tag_r));
	emit_mov32(o, REG_R11, REG_R10);
	emit_shift32(o, 5, REG_R11, PAGE_SHIFT);
	if (write)
		emit_store(o, REG_R10, VOFF(stack[entry].tag_w));
	emit_gs_index8(o, true, 0x8b, REG_R11, REG_R11, VOFF(tlb[0].host) + view);
	emit_rr(o, true, 0x2b, REG_R11, REG_R10);
	emit_store(o, REG_R11, VOFF(stack[entry].addend));
	if (!write) {
		/* The next write comes here by itself. */
		emit_mov_imm(o, REG_R11, STACK_NONE);
		emit_store(o, REG_R11, VOFF(stack[entry].tag_w));
	}

	lea_cache(e, o, REG_R10);
	ebytes(o, load_resume, sizeof(load_resume));
	e8(o, offsetof(struct stack_record, resume));
	emit_rr(o, true, 0x03, REG_R11, REG_R10);
	ebytes(o, load_group, sizeof(load_group));
	e8(o, offsetof(struct stack_record, group));
	emit_gs_index8(o, true, 0x8b, REG_R9, REG_R9, VOFF(group_addend[0]));
	ebytes(o, jump, sizeof(jump));

	for (unsigned i = 0; i < 3; i++) {
		uint32_t rel = (uint32_t)(o->p - fail[i] - 4);

		memcpy(fail[i], &rel, 4);
		if (i == 0)
			continue;
		/* Spent: to C, past the jump. */
		if (i == 2)
			emit_store8_imm(o, VOFF(stack_spent), 1);
		emit_load(o, REG_R11, VOFF(x11));
		emit_vcpu(o, true, 0x2b, REG_R11, own);
		lea_cache(e, o, REG_R10);
		emit_mem(o, true, 0x8d, REG_R10, REG_R10, REG_R9, 1,
			 (int32_t)sizeof(struct stack_record) + (i == 2 ? 5 : 0));
		ebytes(o, jump_r10, sizeof(jump_r10));
	}
}

/* op reg, gs:[index*scale + disp] */
static void gs_index(struct emitter *o, bool w, unsigned op, unsigned reg, unsigned index, unsigned scale,
		     uint32_t disp)
{
	e8(o, 0x65);
	emit_rex(o, w, reg, index, 0);
	e8(o, op);
	emit_modrm_mem(o, reg, EMIT_NOREG, index, scale, (int32_t)disp);
}

/* movzx reg32, byte or word [r9 + disp] */
static void load_narrow(struct emitter *o, unsigned op, unsigned reg, size_t disp)
{
	emit_rex(o, false, reg, 0, REG_R9);
	e8(o, 0x0f);
	e8(o, op);
	emit_modrm_mem(o, reg, REG_R9, EMIT_NOREG, 1, (int32_t)disp);
}

/* cmp reg, imm; jump to what is filled in later */
static uint8_t *cmp_jump(struct emitter *o, unsigned reg, uint32_t imm, unsigned cc)
{
	emit_rex(o, true, 0, 0, reg);
	e8(o, 0x81);
	e8(o, 0xf8 | (reg & 7));
	e32(o, imm);
	e8(o, 0x0f);
	e8(o, 0x80 | cc);
	e32(o, 0);
	return o->p - 4;
}

/* R9 = where the record is whose cache offset is in vcpu.x9; R10 = the cache */
static void record_address(struct soft_engine *e, struct emitter *o)
{
	emit_load(o, REG_R9, VOFF(x9));
	lea_cache(e, o, REG_R10);
	emit_rr(o, true, 0x03, REG_R9, REG_R10);
}

/*
 * An access is not in its slot: R11 = address - tag, R9 = cache offset of the
 * record. When the TLB has it, fills the slot and goes on with the access; else,
 * or if the slot has been filled too often, goes on behind the record, for C, with
 * R10 and R11 as from a look-up in the TLB.
 */
static void slot_thunk(struct soft_engine *e, struct emitter *o, bool write)
{
	uint32_t view = (uint32_t)(VIEW_USER * sizeof(struct tlb_view_table));
	uint32_t tag = (write ? VOFF(tlb[0].tag_w) : VOFF(tlb[0].tag_r)) + view;
	static const uint8_t jump_r9[] = { 0x41, 0xff, 0xe1 };
	uint8_t *fail[3];

	e->thunk_slot[write] = here(e, o);
	emit_store(o, REG_R9, VOFF(x9));
	record_address(e, o);
	load_narrow(o, 0xb7, REG_R10, offsetof(struct slot_record, slot));
	gs_index(o, true, 0x03, REG_R11, REG_R10, 8, VOFF(slot[0].tag));
	emit_store(o, REG_R11, VOFF(x11));
	emit_store(o, REG_R10, VOFF(x10));
	emit_mov32(o, REG_R10, REG_R11);
	emit_shift32(o, 5, REG_R10, PAGE_SHIFT);
	emit_gs_index8(o, true, 0x2b, REG_R11, REG_R10, tag);
	fail[0] = cmp_jump(o, REG_R11, PAGE_SIZE - 1, 7); /* ja */
	load_narrow(o, 0xb6, REG_R9, offsetof(struct slot_record, size));
	emit_rr(o, true, 0x03, REG_R9, REG_R11);
	fail[1] = cmp_jump(o, REG_R9, PAGE_SIZE, 7);
	emit_load(o, REG_R9, VOFF(x10));
	gs_index(o, false, 0x83, 5, REG_R9, 2, VOFF(slot_budget[0])); /* sub dword, 1 */
	e8(o, 1);
	e8(o, 0x0f); /* js */
	e8(o, 0x88);
	fail[2] = o->p;
	e32(o, 0);

	emit_gs_index8(o, true, 0x8b, REG_R10, REG_R10, VOFF(tlb[0].host) + view);
	emit_rr(o, true, 0x03, REG_R10, REG_R11);
	emit_store(o, REG_R10, VOFF(x10));
	emit_load(o, REG_R11, VOFF(x11));
	emit_rr(o, true, 0x2b, REG_R10, REG_R11);
	gs_index(o, true, 0x89, REG_R10, REG_R9, 8, VOFF(slot[0].addend));
	emit_rex(o, true, 0, 0, REG_R11); /* and r11, -4096 */
	e8(o, 0x81);
	e8(o, 0xe3);
	e32(o, (uint32_t)-4096);
	gs_index(o, true, 0x89, REG_R11, REG_R9, 8, VOFF(slot[0].tag));
	emit_shift32(o, 5, REG_R9, 6);
	gs_index(o, false, 0xc6, 0, REG_R9, 1, VOFF(slot_used[0])); /* mov byte, 1 */
	e8(o, 1);
	emit_count(o, VOFF(stats.slot_moves));
	emit_load(o, REG_R10, VOFF(x10));
	emit_store(o, REG_R10, VOFF(x11));
	record_address(e, o);
	emit_mem(o, false, 0x8b, REG_R11, REG_R9, EMIT_NOREG, 1, offsetof(struct slot_record, resume));
	emit_rr(o, true, 0x03, REG_R11, REG_R10);
	emit_store(o, REG_R11, VOFF(x10));
	load_narrow(o, 0xb7, REG_R9, offsetof(struct slot_record, addend));
	gs_index(o, true, 0x8b, REG_R9, REG_R9, 1, 0);
	emit_load(o, REG_R11, VOFF(x11));
	emit_vcpu(o, false, 0xff, 4, VOFF(x10)); /* jmp */

	for (unsigned i = 3; i-- > 0;) {
		uint32_t rel = (uint32_t)(o->p - fail[i] - 4);

		memcpy(fail[i], &rel, 4);
		if (i == 2)
			emit_store8_imm(o, VOFF(slot_spent), 1);
	}
	lea_cache(e, o, REG_R9);
	emit_vcpu(o, true, 0x03, REG_R9, VOFF(x9));
	emit_lea(o, true, REG_R9, REG_R9, sizeof(struct slot_record));
	ebytes(o, jump_r9, sizeof(jump_r9));
}

void thunks_create(struct soft_engine *e)
{
	struct emitter o = code_emitter(e, 0, CODE_HOT_SIZE);

	e->thunk_enter = here(e, &o);
	for (unsigned i = 0; i < sizeof(callee_saved); i++)
		push_pop(&o, 0x50, callee_saved[i]);
	emit_store(&o, REG_RSP, VOFF(host_rsp));
	emit_store(&o, REG_RSI, VOFF(spill[3]));
	emit_vcpu(&o, false, 0x0fb7, REG_RAX, VOFF(enter_flags)); /* movzx eax, word */
	e8(&o, 0x04);                                             /* add al, 0x7f */
	e8(&o, 0x7f);
	e8(&o, 0x9e); /* sahf */
	for (unsigned i = 0; i < sizeof(identity); i++)
		emit_load(&o, identity[i], SLOT(identity[i]));
	emit_load(&o, REG_R9, VOFF(x9));
	emit_load(&o, REG_R10, VOFF(x10));
	emit_load(&o, REG_R11, VOFF(x11));
	emit_vcpu(&o, false, 0xff, 4, VOFF(spill[3])); /* jmp */

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
	e8(&o, 0x66); /* mov exit_flags, ax */
	emit_vcpu(&o, false, 0x89, REG_RAX, VOFF(exit_flags));
	emit_load(&o, REG_RAX, SLOT(REG_RAX));
	jmp_to(e, &o, e->thunk_exit);

	for (unsigned i = 0; i < 2 * STACK_ENTRIES; i++)
		stack_thunk(e, &o, i / 2, i % 2);
	for (unsigned write = 0; write < 2; write++)
		slot_thunk(e, &o, write);
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
		emit_jump_host(&o, jc + (uint32_t)offsetof(struct jump_cache, host));
	}

	e->thunk_stale = here(e, &o);
	emit_mov_imm(&o, REG_R9, DESC_STALE);
	jmp_to(e, &o, e->thunk_exit);

	e->hot_start = (here(e, &o) + 63) & ~63u;
}
