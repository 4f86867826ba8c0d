// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Control flow and the stack: jumps, calls, returns, pushes and pops, and the
 * exits through which a block hands over to the next.
 *
 * A direct exit is a jump whose displacement the dispatcher later points at
 * the target block: always when the target is in the same page (the page
 * itself is the common key), between pages when both sides are global
 * supervisor text (see block.h), and between pages of user code by way of a
 * proof that the target is mapped (cross.c). All other transfers look the target up
 * in the jump cache by its linear address, inline.
 */
#include "engine/soft/cross.h"
#include "engine/soft/translate.h"

#include <stdlib.h>

static struct block_exit *new_exit(struct xlat *x, int64_t target)
{
	unsigned n = x->block->exit_count++;
	struct block_exit *e;

	if (n == EXITS_MAX)
		abort(); /* a bug */
	e = &x->t->exits[n];
	*e = (struct block_exit){
		.target = (int32_t)target,
		.index = (uint8_t)n,
		.cross = target < 0 || target >= PAGE_SIZE,
		.other_ac = (x->exit_mode ^ x->mode) & MODE_AC,
		.off = x->in->off,
		.branch = x->in->class >= CLASS_JCC && x->in->class <= CLASS_CALL && !x->in->follow,
		.call = x->in->class == CLASS_CALL,
	};
	e->forward = x->forward && !e->cross && target > x->in->off &&
		     target > (int64_t)(x->block->phys & (PAGE_SIZE - 1));
	return e;
}

void exit_patch_here(struct xlat *x, struct block_exit *e)
{
	e->patch_cold = x->o == &x->cold;
	e->patch = (uint16_t)(cache_off(x, x->o->p) - (e->patch_cold ? x->block->cold : x->block->hot));
}

struct block_exit *emit_group_exit(struct xlat *x)
{
	struct block_exit *e = new_exit(x, x->in->off);

	e->ungrouped = true;
	return e;
}

/* Can this exit ever be linked to a block? */
static bool linkable(struct xlat *x, int64_t target)
{
	bool cross = target < 0 || target >= PAGE_SIZE;

	if (target != (int32_t)target)
		return false;
	if (x->single || (x->mode & (MODE_CSBASE | MODE_CHECK(SEG_CS))))
		return false;
	/* A 16-bit or wrapping EIP is sorted out in C. */
	if (!is_code64(x) && cross)
		return x->absolute && (x->mode & MODE_CS32);
	if (cross)
		return x->absolute || ((x->mode & MODE_USER) && !(x->engine->disable & SOFT_NO_CROSS));
	/* What straddles pages depends on where the next page is mapped to. */
	return (x->engine->disable & SOFT_NO_STRADDLE) || !insn_straddles(x, target);
}

/*
 * Through the jump cache to the linear address in R11. RFLAGS is free. @undo:
 * what the instruction has taken from RSP so far.
 */
static void emit_jump_cache(struct xlat *x, int32_t undo)
{
	struct emitter *o = x->o;
	enum tlb_view view = mode_view(x->exit_mode);
	uint32_t base = VOFF(jc[0]) + (uint32_t)(view * sizeof(struct jump_cache));
	uint32_t thunk = x->engine->disable & SOFT_NO_JUMP2 ? x->engine->thunk_exit
							    : x->engine->thunk_jump[view];

	if (x->single || (x->mode & (MODE_CSBASE | MODE_CHECK(SEG_CS)))) {
		emit_leave(x, DESC_JUMP)->jump.undo = undo;
		return;
	}
	emit_jump_index(o);
	emit_gs_index8(o, true, 0x3b, SCRATCH0, SCRATCH1, base + (uint32_t)offsetof(struct jump_cache, tag));
	e8(o, 0x0f); /* jne miss */
	e8(o, 0x85);
	if (o == &x->hot)
		emit_rel32(x, cache_off(x, x->cold.p));
	else
		e32(o, JUMP_HOST_LEN); /* right behind the jump */
	emit_jump_host(o, base + (uint32_t)offsetof(struct jump_cache, host));
	x->o = &x->cold;
	emit_leave_by(x, thunk, DESC_JUMP)->jump.undo = undo;
	x->o = o;
}

/* R11 = the instruction pointer value of page offset @target. */
static void emit_target(struct xlat *x, int64_t target)
{
	emit_page_address(x, SCRATCH0, target);
	if (!is_code64(x)) {
		if (x->mode & MODE_CSBASE)
			emit_vcpu(x->o, false, 0x2b, SCRATCH0, SEG_BASE_SLOT(SEG_CS));
		else
			emit_mov32(x->o, SCRATCH0, SCRATCH0);
		if (x->in->zi.operand_width == 16 && !(x->mode & MODE_CS32) &&
		    (target < 0 || target >= 65536)) {
			emit_zext16(x->o, SCRATCH0);
		}
	}
}

/* In the cold region: the stub that an unlinked exit leads to, behind what a linked one between user pages goes through. */
static uint32_t emit_exit_stub(struct xlat *x, struct block_exit *e)
{
	uint32_t stub;

	if (exit_is_proven(x->block, e))
		cross_emit(&x->cold, e->target);
	stub = emit_stub(x, SITE_EXIT - e->index);
	e->stub = (uint16_t)(stub - x->block->cold);
	return stub;
}

void emit_exit(struct xlat *x, int64_t target, uint32_t live, int32_t undo)
{
	struct emitter *o = x->o;

	flags_to_memory(x, live);
	if (linkable(x, target)) {
		struct block_exit *e = new_exit(x, target);

		if (o == &x->cold) {
			/* The stub follows right behind. */
			e8(o, 0xe9);
			exit_patch_here(x, e);
			e32(o, exit_is_proven(x->block, e) ? CROSS_LEN : 0);
			emit_exit_stub(x, e);
		} else {
			uint32_t stub = emit_exit_stub(x, e);

			e8(o, 0xe9);
			exit_patch_here(x, e);
			emit_rel32(x, stub);
		}
		return;
	}
	emit_target(x, target);
	emit_jump_cache(x, undo);
}

void emit_exit_in_shadow(struct xlat *x, int64_t target)
{
	flags_to_memory(x, FLAG_ARITH);
	emit_store8_imm(x->o, VOFF(c.s.int_shadow), 1);
	emit_target(x, target);
	emit_leave(x, DESC_JUMP);
}

/* A taken conditional exit, in the cold region. Returns its cache offset. */
static uint32_t emit_side_exit(struct xlat *x, int64_t target, uint32_t live)
{
	uint32_t host = x->host_valid, mem = x->mem_valid;
	unsigned r9_group = x->r9_group, held = x->held;
	uint8_t r10_copy = x->copy_of[1], r11_copy = x->copy_of[2];
	uint32_t at = cache_off(x, x->cold.p);
	struct emitter *o = x->o;

	x->o = &x->cold;
	x->r9_group = 0;
	emit_exit(x, target, live, 0);
	x->o = o;
	x->host_valid = host;
	x->mem_valid = mem;
	x->r9_group = r9_group;
	x->held = held;
	x->copy_of[1] = r10_copy;
	x->copy_of[2] = r11_copy;
	return at;
}

void emit_jcc(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	int64_t target = exit_target(in);
	unsigned cc = (in->zi.opcode & 15) ^ in->follow;

	flags_to_host(x, in->reads);
	e8(o, 0x0f);
	e8(o, 0x80 | cc);
	if (linkable(x, target) && !(in->live_exit & x->host_valid & ~x->mem_valid)) {
		/* Nothing to save on the way: the conditional jump itself is linked. */
		struct block_exit *e = new_exit(x, target);
		uint32_t stub = emit_exit_stub(x, e);

		exit_patch_here(x, e);
		emit_rel32(x, stub);
		return;
	}
	/* The displacement's own bytes are emitted behind the stub's. */
	uint8_t *at = o->p;

	e32(o, 0);
	uint32_t stub = emit_side_exit(x, target, in->live_exit);
	uint32_t rel = stub - (cache_off(x, at) + 4);

	if (!o->overflow)
		memcpy(at, &rel, 4);
}

/* LOOP, LOOPE, LOOPNE, JCXZ, JECXZ, JRCXZ */
/* LOOP and JCXZ on CX, which 64-bit mode does not have. Returns where the rel32 of the taken jump is. */
static uint8_t *emit_loop16(struct emitter *o, unsigned opcode)
{
	bool jcxz = opcode == 0xe3, flag = opcode == 0xe0 || opcode == 0xe1;
	static const uint8_t dec_cx[] = { 0x66, 0x8d, 0x49, 0xff }; /* lea cx, [rcx-1] */
	static const uint8_t movzx[] = { 0x0f, 0xb7, 0xc9 };        /* movzx ecx, cx */
	static const uint8_t restore[] = { 0x4c, 0x89, 0xd1 };      /* mov rcx, r10 */
	static const uint8_t over_taken[] = { 0xeb, 0x08 };         /* jmp over the rest */
	uint8_t *at;

	if (!jcxz)
		ebytes(o, dec_cx, sizeof(dec_cx));
	emit_mov(o, SCRATCH1, REG_RCX);
	ebytes(o, movzx, sizeof(movzx));
	e8(o, 0xe3); /* jrcxz: to the second restore */
	e8(o, jcxz ? 5 : flag ? 10 : 8);
	ebytes(o, restore, sizeof(restore));
	if (jcxz) {
		ebytes(o, over_taken, sizeof(over_taken));
		ebytes(o, restore, sizeof(restore));
	} else if (flag) {
		e8(o, opcode == 0xe1 ? 0x75 : 0x74); /* LOOPE wants ZF, LOOPNE its absence */
		e8(o, 8);
	}
	e8(o, 0xe9);
	at = o->p;
	e32(o, 0);
	if (!jcxz)
		ebytes(o, restore, sizeof(restore));
	return at;
}

void emit_loop(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	int64_t target = exit_target(in);
	uint32_t rel;
	uint8_t *at;

	flags_to_host(x, in->reads);
	if (in->zi.address_width == 16) {
		at = emit_loop16(o, in->zi.opcode);
	} else {
		if (in->zi.address_width == 32)
			e8(o, 0x67);
		e8(o, in->zi.opcode); /* E0..E3 rel8: to the long jump */
		e8(o, 2);
		e8(o, 0xeb); /* jmp over it */
		e8(o, 5);
		e8(o, 0xe9);
		at = o->p;
		e32(o, 0);
	}
	rel = emit_side_exit(x, target, in->live_exit) - (cache_off(x, at) + 4);
	if (!o->overflow)
		memcpy(at, &rel, 4);
}

void emit_jmp(struct xlat *x)
{
	if (!x->in->follow)
		emit_exit(x, exit_target(x->in), x->in->live_exit, 0);
}

/* ---- the stack ---- */

static unsigned stack_width(const struct xlat *x)
{
	return is_code64(x) ? 8 : (x->mode & MODE_SS32) ? 4 : 2;
}

/* R11 = linear address of [sp + @disp] */
static void emit_stack_address(struct xlat *x, int32_t disp, unsigned size, bool write)
{
	struct emitter *o = x->o;
	unsigned sw = stack_width(x);

	if (disp || sw != 8)
		emit_lea(o, sw == 8, SCRATCH0, REG_RSP, disp);
	else
		emit_mov(o, SCRATCH0, REG_RSP);
	if (sw == 2) {
		emit_zext16(o, SCRATCH0);
	}
	emit_segment(x, SEG_SS, size, write);
}

/*
 * Does the next instruction push or pop without fail, and without another look
 * at RSP? Then nobody sees RSP before it is right again.
 */
static bool can_defer(const struct xlat *x)
{
	const struct insn *next = x->in + 1;

	if (next >= x->t->insns + x->n || !is_member(x, next, ACCESS_STACK))
		return false;
	switch ((enum insn_class)next->class) {
	case CLASS_PUSH:
	case CLASS_POP:
		return next->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       gpr_number(next->ops[0].reg.value) != REG_RSP;
	case CLASS_CALL:
	case CLASS_RET: return true;
	default: return false;
	}
}

/* sp += @disp, flags untouched. A series of pushes or pops in one group does it once, at its end. */
static void emit_stack_adjust(struct xlat *x, int32_t disp)
{
	unsigned sw = stack_width(x);

	disp += x->rsp_due;
	x->rsp_due = 0;
	if (is_grouped(x, ACCESS_STACK) && can_defer(x)) {
		x->rsp_due = disp;
		return;
	}
	if (!disp)
		return;
	if (sw == 2)
		e8(x->o, 0x66);
	emit_lea(x->o, sw == 8, REG_RSP, REG_RSP, disp);
}

static unsigned stack_operand_size(const struct xlat *x)
{
	unsigned w = x->in->zi.operand_width;

	if (is_code64(x))
		return w == 16 ? 2 : 8;
	return w / 8;
}

static const struct address at_r11 = { SCRATCH0, EMIT_NOREG, 0, 0 };

/* mov [address], reg with @size */
static void emit_store_sized(struct xlat *x, unsigned reg, unsigned size, const struct address *a)
{
	if (size == 2)
		e8(x->o, 0x66);
	emit_mem(x->o, size == 8, 0x89, reg, a->base, a->index, 1, a->disp);
}

static void emit_load_from(struct xlat *x, unsigned reg, unsigned size, const struct address *a)
{
	if (size == 2)
		e8(x->o, 0x66);
	emit_mem(x->o, size == 8, 0x8b, reg, a->base, a->index, 1, a->disp);
}

/* ... from [r11] */
static void emit_load_sized(struct xlat *x, unsigned reg, unsigned size)
{
	emit_load_from(x, reg, size, &at_r11);
}

/* movzx r11d, word [r11] or a full load: a value to jump to */
static void emit_load_target(struct xlat *x, unsigned size, const struct address *a)
{
	if (size == 2) {
		e8(x->o, 0x45);
		e8(x->o, 0x0f);
		e8(x->o, 0xb7);
		e8(x->o, 0x1b);
	} else {
		emit_load_from(x, SCRATCH0, size, a);
	}
}

/*
 * The host address of [sp + @disp], checked. RFLAGS is lost unless others have checked for it.
 * @slot: nothing has changed, or been read, if the host refuses it.
 */
static void emit_stack_access(struct xlat *x, int32_t disp, unsigned size, bool write, bool slot,
			      struct address *a)
{
	uint32_t from;

	if (is_grouped(x, ACCESS_STACK)) {
		emit_grouped(x, ACCESS_STACK,
			     &(struct access){ REG_RSP, disp + x->rsp_due, size, write, EMIT_NOREG, 0 }, a);
		return;
	}
	flags_clobber(x, x->in->live_in);
	from = cache_off(x, x->o->p);
	emit_stack_address(x, disp, size, write);
	x->may_slot = slot;
	if (size == 8) {
		struct access own = { REG_RSP, disp, size, write, EMIT_NOREG, 0 };

		emit_access_direct(x, &own, from, write ? ACCESS_WRITE : ACCESS_READ, a);
		return;
	}
	emit_access(x, size, write ? ACCESS_WRITE : ACCESS_READ);
	*a = at_r11;
}

void emit_push(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	unsigned size = stack_operand_size(x);
	const ZydisDecodedOperand *op = &in->ops[0];
	struct address a;

	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		flags_clobber(x, in->live_in);
		emit_linear(x, op, size, false, 0);
		emit_access(x, size, ACCESS_READ);
		emit_load_sized(x, SCRATCH0, size);
		emit_store(o, SCRATCH0, VOFF(spill[0]));
	}
	emit_stack_access(x, -(int32_t)size, size, true, op->type != ZYDIS_OPERAND_TYPE_MEMORY, &a);
	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		if (size == 2)
			e8(o, 0x66);
		emit_mem(o, size == 8, 0xc7, 0, a.base, a.index, 1, a.disp);
		if (size == 2) {
			e8(o, (uint8_t)op->imm.value.s);
			e8(o, (uint8_t)(op->imm.value.s >> 8));
		} else {
			e32(o, (uint32_t)op->imm.value.s);
		}
	} else {
		unsigned src = SCRATCH1;

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
			emit_load(o, SCRATCH1, VOFF(spill[0]));
		else if (is_stolen(gpr_number(op->reg.value)))
			emit_load(o, SCRATCH1, REG_SLOT(gpr_number(op->reg.value)));
		else
			src = gpr_number(op->reg.value);
		emit_store_sized(x, src, size, &a);
	}
	emit_stack_adjust(x, -(int32_t)size);
}

void emit_push_spilled(struct xlat *x, unsigned size)
{
	emit_stack_address(x, -(int32_t)size, size, true);
	emit_access(x, size, ACCESS_WRITE);
	emit_load(x->o, SCRATCH1, VOFF(spill[0]));
	emit_store_sized(x, SCRATCH1, size, &at_r11);
	emit_stack_adjust(x, -(int32_t)size);
}

void emit_pop(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	unsigned size = stack_operand_size(x);
	const ZydisDecodedOperand *op = &in->ops[0];
	struct address a;

	/* POP SP adds to RSP before the access. */
	emit_stack_access(x, 0, size, false, op->type != ZYDIS_OPERAND_TYPE_MEMORY && size == 8, &a);
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		/* The address of `pop [rsp+8]` is computed after the increment. */
		ZydisRegister base = op->mem.base;
		int32_t extra = 0;

		emit_load_sized(x, SCRATCH0, size);
		emit_store(o, SCRATCH0, VOFF(spill[0]));
		if (base == ZYDIS_REGISTER_RSP || base == ZYDIS_REGISTER_ESP)
			extra = (int32_t)size;
		emit_linear(x, op, size, true, extra);
		emit_access(x, size, ACCESS_WRITE);
		emit_load(o, SCRATCH1, VOFF(spill[0]));
		emit_store_sized(x, SCRATCH1, size, &at_r11);
		emit_stack_adjust(x, (int32_t)size);
		return;
	}
	unsigned dst = gpr_number(op->reg.value);

	if (dst == REG_RSP) {
		if (size == 2) {
			/* The increment happens first, then the low word is replaced. */
			emit_stack_adjust(x, 2);
		}
		emit_load_from(x, REG_RSP, size, &a);
		return;
	}
	if (is_stolen(dst)) {
		if (size == 2) {
			e8(o, 0x45); /* movzx r10d, word [r11] */
			e8(o, 0x0f);
			e8(o, 0xb7);
			e8(o, 0x13);
			e8(o, 0x66);
			emit_vcpu(o, false, 0x89, SCRATCH1, REG_SLOT(dst));
		} else {
			emit_load_from(x, SCRATCH1, size, &a);
			emit_store(o, SCRATCH1, REG_SLOT(dst));
		}
	} else {
		emit_load_from(x, dst, size, &a);
	}
	emit_stack_adjust(x, (int32_t)size);
}

void emit_leave_insn(struct xlat *x)
{
	struct emitter *o = x->o;
	unsigned size = stack_operand_size(x), sw = stack_width(x);

	if (is_grouped(x, ACCESS_STACK)) {
		struct address a;

		emit_grouped(x, ACCESS_STACK, &(struct access){ REG_RBP, 0, size, false, EMIT_NOREG, 0 }, &a);
		emit_load_from(x, SCRATCH1, size, &a); /* it may fault, see struct stack_entry */
		emit_lea(o, true, REG_RSP, REG_RBP, (int32_t)size);
		emit_mov(o, REG_RBP, SCRATCH1);
		return;
	}
	flags_clobber(x, x->in->live_in);
	if (sw == 8)
		emit_mov(o, SCRATCH0, REG_RBP);
	else
		emit_mov32(o, SCRATCH0, REG_RBP);
	if (sw == 2) {
		emit_zext16(o, SCRATCH0);
	}
	emit_segment(x, SEG_SS, size, false);
	emit_access(x, size, ACCESS_READ);
	if (sw == 2)
		e8(o, 0x66);
	emit_lea(o, sw == 8, REG_RSP, REG_RBP, (int32_t)size);
	emit_load_sized(x, REG_RBP, size);
}

/* Pushes the address of the next instruction. */
static void emit_push_return(struct xlat *x, unsigned size)
{
	struct emitter *o = x->o;
	struct address a;

	emit_stack_access(x, -(int32_t)size, size, true, x->in->class == CLASS_CALL, &a);
	emit_page_address(x, SCRATCH1, (int64_t)x->in->off + x->in->len);
	if (x->mode & MODE_CSBASE)
		emit_vcpu(o, false, 0x2b, SCRATCH1, SEG_BASE_SLOT(SEG_CS));
	emit_store_sized(x, SCRATCH1, size, &a);
	emit_stack_adjust(x, -(int32_t)size);
	/* The jump is still to come: C must not leave between the two. */
	if (!x->hot.overflow && x->store)
		x->store->access.stay = 1;
	emit_access_done(x);
}

void emit_call(struct xlat *x)
{
	unsigned size = stack_operand_size(x);

	emit_push_return(x, size);
	emit_exit(x, exit_target(x->in), x->in->live_exit, (int32_t)size);
}

/* R9 = @reg for as long as the push takes, also if that goes by way of C. */
static void emit_hold_target(struct xlat *x, unsigned reg)
{
	release_r9(x);
	emit_mov(x->o, SCRATCH2, reg);
	x->r9_group = TARGET_GROUP;
}

/* JMP and CALL through a register or memory */
void emit_jump_indirect_insn(struct xlat *x)
{
	struct insn *in = x->in;
	struct emitter *o = x->o;
	const ZydisDecodedOperand *op = &in->ops[0];
	unsigned size = stack_operand_size(x);
	bool call = in->class == CLASS_CALL_IND;
	bool spilled = false;

	flags_clobber(x, in->live_in);
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		emit_linear(x, op, size, false, 0);
		x->may_slot = true;
		emit_access(x, size, ACCESS_READ);
		emit_load_target(x, size, &at_r11);
		if (call) {
			emit_hold_target(x, SCRATCH0);
			spilled = true;
		}
	} else {
		unsigned reg = gpr_number(op->reg.value);

		if (call && reg == REG_RSP) {
			emit_hold_target(x, REG_RSP);
			spilled = true;
		}
	}
	if (call)
		emit_push_return(x, size);
	if (spilled) {
		emit_mov(o, SCRATCH0, SCRATCH2);
	} else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		unsigned reg = gpr_number(op->reg.value);

		if (is_stolen(reg))
			emit_load(o, SCRATCH0, REG_SLOT(reg));
		else if (size == 8)
			emit_mov(o, SCRATCH0, reg);
		else
			emit_mov32(o, SCRATCH0, reg);
	}
	if (size == 2) {
		emit_zext16(o, SCRATCH0);
	}
	emit_jump_cache(x, call ? (int32_t)size : 0);
}

void emit_ret(struct xlat *x)
{
	struct insn *in = x->in;
	unsigned size = stack_operand_size(x);
	int32_t release = in->zi.raw.imm[0].size ? (int32_t)(uint16_t)in->zi.raw.imm[0].value.u : 0;
	struct address a;

	flags_clobber(x, in->live_in);
	emit_stack_access(x, 0, size, false, true, &a);
	emit_load_target(x, size, &a);
	emit_stack_adjust(x, (int32_t)size + release);
	emit_jump_cache(x, -((int32_t)size + release));
}
