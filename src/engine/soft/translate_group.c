// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One check for several memory accesses (soft-engine-notes.md 1a, "group").
 *
 * The pushes of a function's entry, the fields of one struct, a load and the
 * store to the same element of an array: all lie within a few bytes of a value that does not
 * change between them. A first pass follows, through the instructions of
 * the block, which register holds which value plus which constant. Accesses off
 * the same value, or the same two with the same scale, make a group; those relative to RIP are off
 * the block's page. The first of them, the leader, checks the whole range, for writing if any
 * member writes, and computes where its lowest byte is on the host. The members need no guest
 * register any more:
 *
 *	lea	r9, [rbx + 16]			the lowest byte
 *	mov	r10d, r9d
 *	shr	r10d, 12
 *	sub	r9, gs:[r10*8 + tag]
 *	cmp	r9, 4096 - 40			all 40 bytes lie in that page
 *	ja	stub
 *	add	r9, gs:[r10*8 + host]
 *	mov	rax, [r9 + 8]			mov rax, [rbx + 24]
 *	...
 *	mov	[r9], rcx			mov [rbx + 16], rcx
 *
 * R9 serves the group that is needed next. It is put into group_addend where
 * another value takes its place and the group is wanted again (release_r9()), or in
 * a stub in between, which overwrites it on a way through C (save_r9()). It stays right
 * because nothing takes rights away from TLB entries but system instructions,
 * behind which no group goes on, and the dispatcher.
 *
 * Of user code, the group off RSP, even if it is a single access, has TLB
 * entries of its own for the page of the stack (struct stack_entry), of which
 * the block uses one, known when it is translated:
 *
 *	lea	r11, [rsp - 40]
 *	sub	r11, gs:[stack[n].tag_w]
 *	cmp	r11, 4096 - 40
 *	ja	stub			to a thunk that fills it from the TLB (thunk.c)
 *	mov	r9, gs:[stack[n].addend]
 *	mov	[rsp + r9 - 8], rbp		push rbp
 *	mov	[rsp + r9 - 16], rbx		mov [rsp - 16], rbx
 *
 * R9 has the addend there, which is always to be had from memory again.
 *
 * A check may fail for what only a later member wants (the other page of two, a
 * page that is clean or has code in it). Then the exit leads to another
 * translation of the same instructions, MODE_UNGROUPED, where each is checked
 * and faults by itself.
 */
#include "engine/soft/translate.h"

#define STACK_STUB_LEN 11
#define SPAN_MAX       1024 /* the longer, the more often it crosses pages */

/* What is known of the registers at some point of the block. */
struct values {
	struct xlat *x;
	uint32_t
		value[17]; /* number of the unknown value that the register is based on; ACCESS_RIP as well */
	int64_t off[17];   /* and the constant on top of it */
	uint32_t next;
	unsigned first; /* groups below this one are closed */
	unsigned count;
};

static void forget(struct values *v, unsigned reg)
{
	v->value[reg] = v->next++;
	v->off[reg] = 0;
}

static void forget_all(struct values *v)
{
	for (unsigned i = 0; i < 16; i++)
		forget(v, i);
	v->first = v->count + 1;
}

/* @lead: may it be the first of a new group? */
static void note_access(struct values *v, unsigned i, unsigned which, const struct access *a, bool lead)
{
	struct translator *t = v->x->t;
	bool indexed = a->scale;
	uint32_t value = v->value[a->reg], index = indexed ? v->value[a->index] : 0;
	int64_t at = v->off[a->reg] + a->disp + (indexed ? a->scale * v->off[a->index] : 0);
	/* The stack's members need a guest register as their base. */
	bool write = a->write, stack = a->reg == REG_RSP && !indexed && value != v->value[ACCESS_RIP];
	int64_t disp = a->disp;
	int size = (int)a->size;
	struct group *g;
	unsigned n;

	/* The check takes up to SPAN_MAX off the leader's displacement: that must not wrap. */
	if (at > INT32_MAX / 4 || at < INT32_MIN / 4 || disp < INT32_MIN + SPAN_MAX ||
	    disp > INT32_MAX - SPAN_MAX)
		return;
	for (n = v->first; n <= v->count; n++) {
		int64_t low, high;

		g = &t->groups[n];
		if (g->value != value || g->index != index || g->scale != a->scale)
			continue;
		low = at < g->low ? at : g->low;
		high = at + size > g->high ? at + size : g->high;
		if (high - low > SPAN_MAX)
			continue;
		g->low = low;
		g->high = high;
		g->write |= write;
		g->stack |= stack;
		g->count++;
		t->plan[i][which] = (struct access_plan){ .group = (uint8_t)n, .at = (int32_t)at };
		return;
	}
	if (!lead || v->count == GROUPS_MAX)
		return;
	n = ++v->count;
	t->groups[n] = (struct group){ .value = value,
				       .index = index,
				       .scale = a->scale,
				       .low = at,
				       .high = at + size,
				       .write = write,
				       .stack = stack,
				       .count = 1 };
	t->plan[i][which] = (struct access_plan){ .group = (uint8_t)n, .leader = true, .at = (int32_t)at };
}

static bool is_gpr64(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       register_class(op->reg.value) == ZYDIS_REGCLASS_GPR64;
}

static bool writes_gpr(const ZydisDecodedOperand *op)
{
	ZydisRegisterClass cl;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
		return false;
	cl = register_class(op->reg.value);
	return cl == ZYDIS_REGCLASS_GPR8 || cl == ZYDIS_REGCLASS_GPR16 || cl == ZYDIS_REGCLASS_GPR32 ||
	       cl == ZYDIS_REGCLASS_GPR64;
}

static void forget_written(struct values *v, const ZydisDecodedOperand *op, unsigned n)
{
	for (; n > 0; n--, op++)
		if (writes_gpr(op))
			forget(v, gpr_number(op->reg.value));
}

/*
 * The registers that an instruction writes without showing them, one bit each. Most
 * have nothing but the flags there. Opcode, its map and ModRM.reg say which instruction
 * it is, prefixes may make another mnemonic of it.
 */
static uint16_t hidden_registers(struct xlat *x, const struct insn *in)
{
	const ZydisDecodedInstruction *zi = &in->zi;
	uint32_t key = 1u << 31 | (uint32_t)zi->mnemonic << 16 | (uint32_t)zi->opcode_map << 11 |
		       (uint32_t)zi->opcode << 3 | zi->raw.modrm.reg;
	struct hidden_registers *h = &x->t->hidden_registers[(key * 0x9e3779b1u) >> (32 - HIDDEN_BITS)];
	ZydisDecodedOperand all[ZYDIS_MAX_OPERAND_COUNT];

	if (h->key == key)
		return h->regs;
	if (!insn_all_operands(x, in, all))
		return 0xffff;
	*h = (struct hidden_registers){ .key = key };
	for (unsigned i = zi->operand_count_visible; i < zi->operand_count; i++)
		if (writes_gpr(&all[i]))
			h->regs |= (uint16_t)(1u << gpr_number(all[i].reg.value));
	return h->regs;
}

/* What a copied instruction does to registers. */
static void follow_copy(struct values *v, const struct insn *in)
{
	const ZydisDecodedInstruction *zi = &in->zi;
	unsigned dst = in->op_count && is_gpr64(&in->ops[0]) ? gpr_number(in->ops[0].reg.value) : 16;
	bool imm = in->op_count == 2 && in->ops[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;

	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST: return;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (dst == 16 || !imm)
			break;
		v->off[dst] += zi->mnemonic == ZYDIS_MNEMONIC_ADD ? in->ops[1].imm.value.s
								  : -in->ops[1].imm.value.s;
		return;
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
		if (dst == 16)
			break;
		v->off[dst] += zi->mnemonic == ZYDIS_MNEMONIC_INC ? 1 : -1;
		return;
	case ZYDIS_MNEMONIC_MOV:
		if (dst == 16 || !is_gpr64(&in->ops[1]))
			break;
		v->value[dst] = v->value[gpr_number(in->ops[1].reg.value)];
		v->off[dst] = v->off[gpr_number(in->ops[1].reg.value)];
		return;
	default: break;
	}
	forget_written(v, in->ops, in->op_count);
	if (zi->operand_count > zi->operand_count_visible) {
		uint16_t regs = hidden_registers(v->x, in);

		for (unsigned i = 0; i < 16; i++)
			if (regs >> i & 1)
				forget(v, i);
	}
}

static int64_t operand_disp(const ZydisDecodedOperand *mem)
{
	return mem->mem.disp.has_displacement ? mem->mem.disp.value : 0;
}

/* Where a RIP-relative operand is, from the start of the block's page. */
static int64_t rip_target(const struct insn *in, const ZydisDecodedOperand *mem)
{
	return (int64_t)in->off + in->len + operand_disp(mem);
}

static void follow_lea(struct values *v, const struct insn *in)
{
	const ZydisDecodedOperand *mem = &in->ops[1];
	unsigned dst = gpr_number(in->ops[0].reg.value);

	if (in->ops[0].size == 64 && in->zi.address_width == 64 && mem->mem.index == ZYDIS_REGISTER_NONE &&
	    (register_class(mem->mem.base) == ZYDIS_REGCLASS_GPR64 || mem->mem.base == ZYDIS_REGISTER_RIP)) {
		bool rip = mem->mem.base == ZYDIS_REGISTER_RIP;
		unsigned src = rip ? ACCESS_RIP : gpr_number(mem->mem.base);

		v->value[dst] = v->value[src];
		v->off[dst] = v->off[src] + (rip ? rip_target(in, mem) : operand_disp(mem));
		return;
	}
	forget(v, dst);
}

/* AH..BH cannot stand beside the REX prefix that R9 or R11 needs. */
static bool has_high_byte(const struct insn *in)
{
	for (unsigned i = 0; i < in->op_count; i++)
		if (in->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    in->ops[i].reg.value >= ZYDIS_REGISTER_AH && in->ops[i].reg.value <= ZYDIS_REGISTER_BH)
			return true;
	return false;
}

/* Does the address of the explicit memory operand consist of registers and a constant alone? */
static bool simple_operand(const struct insn *in, const ZydisDecodedOperand *mem)
{
	return mem && in->zi.address_width == 64 &&
	       (mem->mem.index == ZYDIS_REGISTER_NONE ||
		register_class(mem->mem.index) == ZYDIS_REGCLASS_GPR64) &&
	       (register_class(mem->mem.base) == ZYDIS_REGCLASS_GPR64 ||
		(mem->mem.base == ZYDIS_REGISTER_RIP &&
		 rip_target(in, mem) == (int32_t)rip_target(in, mem))) &&
	       mem->mem.segment != ZYDIS_REGISTER_FS && mem->mem.segment != ZYDIS_REGISTER_GS && mem->size &&
	       mem->size <= 512 && !has_high_byte(in);
}

/*
 * The copy may have a REX and a SIB, or one byte of VEX and a SIB, more than the original, or instead of the SIB a
 * displacement of four bytes: 15 bytes at most.
 */
bool operand_may_grow(const struct insn *in, const ZydisDecodedOperand *mem)
{
	return in->len <= 13 && in->len - in->zi.raw.disp.size / 8 <= 10 && simple_operand(in, mem);
}

struct access operand_access(const struct insn *in, const ZydisDecodedOperand *mem)
{
	bool indexed = mem->mem.index != ZYDIS_REGISTER_NONE, rip = mem->mem.base == ZYDIS_REGISTER_RIP;

	return (struct access){ .reg = rip ? ACCESS_RIP : gpr_number(mem->mem.base),
				.disp = (int32_t)(rip ? rip_target(in, mem) : operand_disp(mem)),
				.size = mem->size / 8,
				.write = mem->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE,
				.index = indexed ? gpr_number(mem->mem.index) : EMIT_NOREG,
				.scale = indexed ? mem->mem.scale : 0 };
}

static void plan_copy(struct values *v, unsigned i, const struct insn *in)
{
	const ZydisDecodedOperand *mem = insn_memory(in);

	/* What reads flags restores them through R9. */
	if (operand_may_grow(in, mem) && !(in->reads & FLAG_ARITH) &&
	    in->zi.mnemonic != ZYDIS_MNEMONIC_CLFLUSH && in->zi.mnemonic != ZYDIS_MNEMONIC_CLFLUSHOPT &&
	    in->zi.mnemonic != ZYDIS_MNEMONIC_CLWB) {
		struct access own = operand_access(in, mem);

		note_access(v, i, ACCESS_OPERAND, &own, true);
	}
	follow_copy(v, in);
}

/*
 * @second: the instruction reads memory before. Then it leads no group, for it would start again where the
 * check fails, and what it has read may be a device's register.
 */
static void note_stack(struct values *v, unsigned i, unsigned reg, int disp, int size, bool write,
		       bool second)
{
	if (size == 8)
		note_access(v, i, ACCESS_STACK, &(struct access){ reg, disp, 8, write, EMIT_NOREG, 0 },
			    !second);
}

static void plan_insn(struct values *v, unsigned i, const struct insn *in)
{
	int size = in->zi.operand_width == 16 ? 2 : 8;
	bool mem = in->op_count && in->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

	switch ((enum insn_class)in->class) {
	case CLASS_COPY: plan_copy(v, i, in); return;
	case CLASS_LEA: follow_lea(v, in); return;
	case CLASS_NOP:
	case CLASS_PREFETCH:
	case CLASS_JCC:
	case CLASS_JMP:
	case CLASS_JMP_IND: return;
	case CLASS_LOOP: forget(v, REG_RCX); return;
	case CLASS_PUSH:
		note_stack(v, i, REG_RSP, -size, size, true, mem);
		v->off[REG_RSP] -= size;
		return;
	case CLASS_CALL:
	case CLASS_CALL_IND: note_stack(v, i, REG_RSP, -size, size, true, mem); return;
	case CLASS_POP:
		if (!mem && gpr_number(in->ops[0].reg.value) != REG_RSP)
			note_stack(v, i, REG_RSP, 0, size, false, false);
		v->off[REG_RSP] += size;
		if (!mem)
			forget(v, gpr_number(in->ops[0].reg.value));
		return;
	case CLASS_RET: note_stack(v, i, REG_RSP, 0, size, false, false); return;
	case CLASS_LEAVE:
		note_stack(v, i, REG_RBP, 0, size, false, false);
		v->value[REG_RSP] = v->value[REG_RBP];
		v->off[REG_RSP] = v->off[REG_RBP] + size;
		forget(v, REG_RBP);
		return;
	case CLASS_BITSTR: return; /* its register operand is only read */
	case CLASS_MOFFS:
	case CLASS_XLAT: forget(v, REG_RAX); return;
	case CLASS_RDTSCP:
	case CLASS_INCDEC:
	case CLASS_STRING:
	case CLASS_SYSOP:
	case CLASS_INLINE: break;
	}
	/* C may do anything to registers and to the TLB. */
	forget_all(v);
}

/* Which group is to use the stack's TLB entry; 0: none. There can be one only, for each check may change the entry. */
static unsigned stack_group(const struct xlat *x, unsigned count)
{
	struct group *g = x->t->groups;
	unsigned best = 0;
	uint64_t bit;

	if (*slot_refused(x->engine, ~x->block->phys, &bit) & bit)
		return 0;
	if (mode_view(x->mode) != VIEW_USER || (x->engine->disable & SOFT_NO_STACK))
		return 0;
	for (unsigned n = 1; n <= count; n++)
		if (g[n].stack && (!best || g[n].count > g[best].count))
			best = n;
	if (best)
		g[STACK_GROUP] = g[best];
	return best;
}

void plan_groups(struct xlat *x)
{
	struct translator *t = x->t;
	struct values v;
	unsigned stack, any = 0;

	memset(t->plan, 0, sizeof(t->plan[0]) * x->n);
	x->r9_group = 0;
	x->saved = 0;
	if (!is_code64(x) || x->single || x->ungrouped || x->phys2 != ~0ull ||
	    (x->engine->disable & SOFT_NO_GROUPS))
		return;
	v.x = x;
	v.next = v.count = 0;
	forget(&v, ACCESS_RIP); /* and never again: it is the same throughout the block */
	forget_all(&v);
	for (unsigned i = 0; i < x->n; i++) {
		/* A failing check leaves the block, and an interrupt shadow with it: none there. */
		if (i && t->insns[i - 1].shadow)
			break;
		plan_insn(&v, i, &t->insns[i]);
	}
	stack = stack_group(x, v.count);
	for (unsigned i = 0; i < x->n; i++) {
		for (unsigned which = 0; which < ACCESSES; which++) {
			struct access_plan *p = &t->plan[i][which];

			if (p->group && p->group == stack)
				p->group = STACK_GROUP;
			else if (p->group && t->groups[p->group].count < 2)
				p->group = 0;
			any |= p->group;
		}
	}
	for (unsigned i = 0; any && i < x->n; i++)
		t->stolen[i] = (uint8_t)stolen_used(&t->insns[i]);
}

/* How many instructions until group @n is needed again; INSNS_MAX: never. */
static unsigned next_use(const struct xlat *x, unsigned n)
{
	unsigned now = (unsigned)(x->in - x->t->insns);

	for (unsigned i = now + 1; n && i < x->n; i++)
		if (x->t->plan[i][0].group == n || x->t->plan[i][1].group == n)
			return i - now;
	return INSNS_MAX;
}

/* How many instructions until one has guest register R(9+@n) as an operand, from this one on; INSNS_MAX: never. */
static unsigned next_operand(const struct xlat *x, unsigned n)
{
	unsigned now = (unsigned)(x->in - x->t->insns);

	for (unsigned i = now; i < x->n; i++)
		if (x->t->stolen[i] >> n & 1)
			return i - now;
	return INSNS_MAX;
}

/* ... until group @n is needed for the last time; 0: it is not. */
static unsigned last_use(const struct xlat *x, unsigned n)
{
	unsigned now = (unsigned)(x->in - x->t->insns);

	for (unsigned i = x->n - 1; i > now; i--)
		if (x->t->plan[i][0].group == n || x->t->plan[i][1].group == n)
			return i - now;
	return 0;
}

/* Shall R9 hold group @n from now on? Others than the stack's do as well in R10 or R11, if the guest's R9 is wanted meanwhile. */
static bool wants_r9(const struct xlat *x, unsigned n)
{
	if (next_use(x, n) >= next_use(x, x->r9_group) ||
	    (n != STACK_GROUP && x->t->stolen[x->in - x->t->insns] & 1))
		return false;
	return n == STACK_GROUP || (x->engine->disable & SOFT_NO_HELD) || next_operand(x, 0) > last_use(x, n);
}

/*
 * R10 or R11, for a group's address: whichever has what is needed last, and is no operand of the
 * instruction. EMIT_NOREG: both are.
 */
static unsigned spare_register(const struct xlat *x)
{
	unsigned best = EMIT_NOREG, best_use = 0;

	for (unsigned i = 2; i > 0; i--) {
		unsigned use = INSNS_MAX;

		if (x->t->stolen[x->in - x->t->insns] >> i & 1)
			continue;
		if (x->held >> i & 1)
			use = next_operand(x, i);
		else if (x->copy_of[i])
			use = next_use(x, x->copy_of[i]);
		if (best == EMIT_NOREG || use > best_use) {
			best = REG_R9 + i;
			best_use = use;
		}
	}
	return best;
}

/* A register that has the host address of group @n, which is not the stack's, and that is no operand of the instruction. */
static unsigned group_register(struct xlat *x, unsigned n)
{
	unsigned used = x->t->stolen[x->in - x->t->insns], from = EMIT_NOREG, to;

	if (x->r9_group == n)
		from = SCRATCH2;
	for (unsigned i = 1; from == EMIT_NOREG && i < 3; i++)
		if (x->copy_of[i] == n)
			from = REG_R9 + i;
	if (from != EMIT_NOREG && !(used & LOST(from)))
		return from;
	to = spare_register(x);
	if (to == EMIT_NOREG || (from == EMIT_NOREG && !(used & 1) && wants_r9(x, n))) {
		release_r9(x);
		to = SCRATCH2;
	}
	if (from != EMIT_NOREG)
		emit_mov(x->o, to, from);
	if (from == SCRATCH2)
		release_r9(x);
	if (from == EMIT_NOREG)
		emit_load(x->o, to, addend_slot(x, n));
	scratch_lost(x, LOST(to));
	if (to == SCRATCH2)
		x->r9_group = n;
	else if (x->saved >> n & 1)
		x->copy_of[to - REG_R9] = (uint8_t)n;
	return to;
}

uint32_t addend_slot(const struct xlat *x, unsigned n)
{
	return n == STACK_GROUP ? VOFF(stack[stack_entry(x->block->phys)].addend) : VOFF(group_addend[n]);
}

/* Does this instruction, or one behind it, want what R9 holds? */
static bool r9_wanted(const struct xlat *x)
{
	const struct access_plan *p = x->t->plan[x->in - x->t->insns];

	return x->r9_group && (x->r9_group == TARGET_GROUP || p[0].group == x->r9_group ||
			       p[1].group == x->r9_group || next_use(x, x->r9_group) < INSNS_MAX);
}

void save_r9(struct xlat *x, struct emitter *o)
{
	if (x->r9_group == STACK_GROUP || (x->saved >> x->r9_group & 1) || !r9_wanted(x))
		return;
	emit_store(o, SCRATCH2, VOFF(group_addend[x->r9_group]));
	if (o == &x->hot)
		x->saved |= 1u << x->r9_group;
}

void release_r9(struct xlat *x)
{
	save_r9(x, x->o);
	x->r9_group = 0;
}

/*
 * Where the check of the group of the stack fails to: a record for the thunk,
 * which goes on behind that, in the exit's jump, when it has no page for the group.
 */
static struct stack_record *emit_stack_stub(struct xlat *x, struct block_exit *e, uint32_t thunk)
{
	struct emitter *c = &x->cold;
	struct stack_record *record;

	emit_mov_imm(c, SCRATCH2, cache_off(x, c->p) + STACK_STUB_LEN);
	e8(c, 0xe9); /* jmp thunk */
	emit_rel32(x, thunk);
	record = (struct stack_record *)c->p;
	for (unsigned i = 0; i < sizeof(*record); i++)
		e8(c, 0);
	e8(c, 0xe9); /* jmp: to what follows, until it is linked */
	exit_patch_here(x, e);
	e32(c, 0);
	return record;
}

/*
 * The leader's check. Returns the register that holds the addend of the stack's group, or where the lowest
 * byte of any other is.
 */
static unsigned emit_check(struct xlat *x, unsigned n, const struct access *own, int32_t at)
{
	const struct group *g = &x->t->groups[n];
	uint32_t view = (uint32_t)(mode_view(x->mode) * sizeof(struct tlb_view_table));
	uint32_t tag = (g->write ? VOFF(tlb[0].tag_w) : VOFF(tlb[0].tag_r)) + view;
	struct emitter *o = x->o;
	int32_t from_low = (int32_t)(at - g->low);
	bool use_r9 = wants_r9(x, n), stack = n == STACK_GROUP;
	unsigned entry = stack_entry(x->block->phys);
	unsigned result = use_r9 ? SCRATCH2 : SCRATCH0, reg = own->reg;
	unsigned at_low = stack ? SCRATCH0 : result;
	unsigned span = (unsigned)(g->high - g->low);
	struct stack_record *record = NULL;
	uint32_t resume, stub;
	struct block_exit *e;
	struct desc *d;

	scratch_lost(x, LOST_SCRATCH);
	if (use_r9)
		release_r9(x);
	resume = cache_off(x, o->p);
	if (is_stolen(reg)) {
		emit_load(o, at_low, REG_SLOT(reg));
		reg = at_low;
	}
	if (own->scale) {
		unsigned index = own->index;

		if (is_stolen(index)) {
			emit_load(o, SCRATCH1, REG_SLOT(index));
			index = SCRATCH1;
		}
		emit_mem(o, true, 0x8d, at_low, reg, index, own->scale, own->disp - from_low);
	} else if (reg == ACCESS_RIP)
		emit_page_address(x, at_low, own->disp - from_low);
	else if (own->disp != from_low)
		emit_lea(o, true, at_low, reg, own->disp - from_low);
	else if (reg != at_low)
		emit_mov(o, at_low, reg);
	if (stack) {
		emit_vcpu(o, true, 0x2b, at_low,
			  g->write ? VOFF(stack[entry].tag_w) : VOFF(stack[entry].tag_r));
	} else {
		emit_mov32(o, SCRATCH1, at_low);
		emit_shift32(o, 5, SCRATCH1, PAGE_SHIFT);
		emit_gs_index8(o, true, 0x2b, at_low, SCRATCH1, tag);
	}
	e8(o, 0x49); /* cmp at_low, 4096 - span */
	e8(o, 0x81);
	e8(o, 0xf8 | (at_low & 7));
	e32(o, PAGE_SIZE - span);

	x->o = &x->cold;
	stub = cache_off(x, x->cold.p);
	save_r9(x, &x->cold);
	if (at_low != SCRATCH0)
		emit_mov(x->o, SCRATCH0, at_low);
	e = emit_group_exit(x);
	if (stack)
		record = emit_stack_stub(x, e, x->engine->thunk_stack[entry][g->write]);
	d = emit_leave(x, DESC_GROUP);
	x->o = o;
	e8(o, 0x0f); /* ja stub */
	e8(o, 0x87);
	if (stack) {
		*record = (struct stack_record){ .resume = resume,
						 .span = (uint16_t)span,
						 .group = (uint8_t)x->r9_group };
		e->stub = (uint16_t)((uint8_t *)(record + 1) + 5 - x->engine->code_rw - x->block->cold);
	} else {
		e->stub = (uint16_t)(stub - x->block->cold);
		exit_patch_here(x, e);
	}
	emit_rel32(x, stub);

	d->check.size = (uint8_t)own->size;
	d->check.write = own->write;
	d->check.all_write = g->write;
	d->check.stack = stack;
	d->check.span = (uint16_t)span;
	d->check.own = (uint16_t)from_low;
	d->check.exit = e->index;
	d->resume = resume;

	if (stack)
		emit_load(o, result, addend_slot(x, n));
	else
		emit_gs_index8(o, true, 0x03, result, SCRATCH1, VOFF(tlb[0].host) + view);
	if (use_r9) {
		x->r9_group = n;
	} else if (!stack) {
		emit_store(o, result, VOFF(group_addend[n]));
		x->saved |= 1u << n;
		x->copy_of[2] = (uint8_t)n;
	}
	return result;
}

bool is_grouped(const struct xlat *x, unsigned which)
{
	return x->t->plan[x->in - x->t->insns][which].group != 0;
}

bool is_member(const struct xlat *x, const struct insn *in, unsigned which)
{
	const struct access_plan *p = &x->t->plan[in - x->t->insns][which];

	return p->group && !p->leader;
}

bool is_leader(const struct xlat *x, const struct insn *in, unsigned which)
{
	const struct access_plan *p = &x->t->plan[in - x->t->insns][which];

	return p->group && p->leader;
}

void emit_grouped(struct xlat *x, unsigned which, const struct access *own, struct address *a)
{
	const struct access_plan *p = &x->t->plan[x->in - x->t->insns][which];
	struct emitter *o = x->o;
	unsigned from;

	if (p->leader) {
		flags_clobber(x, x->in->live_in);
		from = emit_check(x, p->group, own, p->at);
	} else if (p->group != STACK_GROUP) {
		from = group_register(x, p->group);
	} else if (x->r9_group == p->group) {
		from = SCRATCH2;
	} else {
		from = SCRATCH0;
		if (wants_r9(x, p->group)) {
			release_r9(x);
			from = SCRATCH2;
			x->r9_group = p->group;
		}
		scratch_lost(x, LOST(from));
		emit_load(o, from, addend_slot(x, p->group));
	}
	if (p->group != STACK_GROUP) {
		*a = (struct address){ .base = from,
				       .index = EMIT_NOREG,
				       .disp = (int32_t)(p->at - x->t->groups[p->group].low) };
		return;
	}
	*a = (struct address){ .base = own->reg, .index = from, .disp = own->disp };
	if (!is_stolen(own->reg))
		return;
	scratch_lost(x, LOST(SCRATCH0) | LOST(SCRATCH1));
	if (from == SCRATCH0) {
		emit_mov(o, SCRATCH1, SCRATCH0);
		a->index = SCRATCH1;
	}
	emit_load(o, SCRATCH0, REG_SLOT(own->reg));
	a->base = SCRATCH0;
}

bool in_stack_group(const struct xlat *x)
{
	const struct access_plan *p = x->t->plan[x->in - x->t->insns];

	return p[ACCESS_OPERAND].group == STACK_GROUP || p[ACCESS_STACK].group == STACK_GROUP;
}
