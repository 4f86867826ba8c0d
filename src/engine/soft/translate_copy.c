// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copying an ordinary instruction: the host executes it. Without a memory
 * operand the bytes go over as they are; guest registers that have no host
 * register of their own (R9..R11) are loaded into the registers of that very
 * name around it. With one, the operand becomes [r11], where R11 holds the
 * checked host address:
 *
 *	add  rax, [rdi+rcx*8+16]	->	(check, r11 = host address)
 *						add rax, [r11]
 *
 * and a guest R11 as the register operand moves to R9 or R10, whichever the
 * instruction leaves free.
 */
#include "engine/soft/translate.h"

/* How the instruction uses the registers that translated code has taken. */
struct stolen_use {
	bool used[3], load[3], store[3]; /* R9, R10, R11 */
	bool high_byte;                  /* AH, CH, DH or BH is an operand */
};

/* As a part of an address. */
static void use_register(struct stolen_use *u, ZydisRegister reg)
{
	ZydisRegisterClass cl = register_class(reg);
	unsigned n;

	if (cl != ZYDIS_REGCLASS_GPR32 && cl != ZYDIS_REGCLASS_GPR64)
		return;
	n = gpr_number(reg);
	if (is_stolen(n))
		u->used[n - REG_R9] = u->load[n - REG_R9] = true;
}

static void stolen_scan(const struct insn *in, struct stolen_use *u)
{
	memset(u, 0, sizeof(*u));
	for (unsigned i = 0; i < in->op_count; i++) {
		const ZydisDecodedOperand *op = &in->ops[i];
		ZydisRegisterClass cl;
		unsigned n;

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && in->class == CLASS_LEA) {
			use_register(u, op->mem.base);
			use_register(u, op->mem.index);
		}
		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (op->reg.value >= ZYDIS_REGISTER_AH && op->reg.value <= ZYDIS_REGISTER_BH)
			u->high_byte = true;
		cl = register_class(op->reg.value);
		if (cl != ZYDIS_REGCLASS_GPR8 && cl != ZYDIS_REGCLASS_GPR16 && cl != ZYDIS_REGCLASS_GPR32 &&
		    cl != ZYDIS_REGCLASS_GPR64)
			continue;
		n = gpr_number(op->reg.value);
		if (!is_stolen(n))
			continue;
		n -= REG_R9;
		u->used[n] = true;
		/* Anything but a full-width plain write needs the old value (CMOV, 8 and 16 bits). */
		if ((op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) || op->size < 32 ||
		    (op->actions & ZYDIS_OPERAND_ACTION_CONDWRITE))
			u->load[n] = true;
		/* With a source of zero these leave the destination alone; Linux's ffs() counts on it. */
		if (in->zi.mnemonic == ZYDIS_MNEMONIC_BSF || in->zi.mnemonic == ZYDIS_MNEMONIC_BSR)
			u->load[n] = true;
		if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			u->store[n] = true;
	}
}

unsigned stolen_used(const struct insn *in)
{
	struct stolen_use u;

	if (in->class != CLASS_COPY && in->class != CLASS_LEA)
		return 0;
	stolen_scan(in, &u);
	return u.used[0] | (unsigned)u.used[1] << 1 | (unsigned)u.used[2] << 2;
}

/*
 * VEX fields that 32-bit mode ignores and 64-bit mode, in which the host runs
 * the copy, does not: B, the top bit of vvvv and of a register in the
 * immediate, and W where it would make a general register 64 bits wide.
 */
static void vex_from_32(const struct insn *in, uint8_t b[15])
{
	const ZydisDecodedInstruction *zi = &in->zi;
	bool gpr = zi->mnemonic == ZYDIS_MNEMONIC_VCVTSI2SD || zi->mnemonic == ZYDIS_MNEMONIC_VCVTSI2SS ||
		   zi->mnemonic == ZYDIS_MNEMONIC_VMOVD || zi->mnemonic == ZYDIS_MNEMONIC_VPEXTRD ||
		   zi->mnemonic == ZYDIS_MNEMONIC_VPINSRD || zi->mnemonic == ZYDIS_MNEMONIC_VPCMPESTRI ||
		   zi->mnemonic == ZYDIS_MNEMONIC_VPCMPESTRM;
	unsigned at = 0;

	memcpy(b, in->bytes, in->len);
	while (b[at] != 0xc4 && b[at] != 0xc5)
		at++;
	for (unsigned i = 0; i < in->op_count; i++) {
		const ZydisDecodedOperand *op = &in->ops[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (register_class(op->reg.value) == ZYDIS_REGCLASS_GPR32)
			gpr = true;
		if (op->encoding == ZYDIS_OPERAND_ENCODING_IS4)
			b[in->len - 1] &= 0x7f;
	}
	if (b[at] == 0xc5) {
		b[at + 1] |= 0xc0;
		return;
	}
	b[at + 1] |= 0xe0;
	b[at + 2] |= 0x40;
	if (gpr)
		b[at + 2] &= 0x7f;
}

static bool is_segment_prefix(uint8_t b)
{
	return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x64 || b == 0x65;
}

static bool is_other_prefix(uint8_t b)
{
	return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0;
}

/* A REX that another prefix follows is ignored. */
static bool is_idle_rex(const struct xlat *x, const uint8_t *b)
{
	return is_code64(x) && (b[0] & 0xf0) == 0x40 &&
	       (is_segment_prefix(b[1]) || is_other_prefix(b[1]) || b[1] == 0x67 || (b[1] & 0xf0) == 0x40);
}

static bool is_prefix(const struct xlat *x, const uint8_t *b)
{
	return is_segment_prefix(*b) || is_other_prefix(*b) || *b == 0x67 || is_idle_rex(x, b);
}

enum size_prefix { SIZE_AS_IS, SIZE_WITHOUT_66, SIZE_WITH_66 };

/* In 16-bit code 66 means 32 bits, and no 66 means 16: the other way round than where the copy runs. */
static enum size_prefix size_prefix(const struct xlat *x)
{
	const struct insn *in = x->in;
	enum size_prefix result = SIZE_WITHOUT_66;

	if ((x->mode & (MODE_CS64 | MODE_CS32)) || in->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return SIZE_AS_IS;
	for (unsigned i = 0; i < in->zi.raw.prefix_count; i++)
		if (in->zi.raw.prefixes[i].value == 0x66 &&
		    in->zi.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			return SIZE_AS_IS;
	for (unsigned i = 0; i < in->op_count; i++) {
		const ZydisDecodedOperand *op = &in->ops[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			ZydisRegisterClass cl = register_class(op->reg.value);

			if (cl == ZYDIS_REGCLASS_XMM || cl == ZYDIS_REGCLASS_MMX || cl == ZYDIS_REGCLASS_X87)
				return SIZE_AS_IS;
			if (cl == ZYDIS_REGCLASS_GPR16)
				result = SIZE_WITH_66;
		} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && in->zi.operand_width == 16) {
			result = SIZE_WITH_66;
		}
	}
	return result;
}

/*
 * Bytes of the instruction, from its first prefix on, with the host's idea of 66.
 * Without a memory operand, segments and 67 mean nothing; with all of them one of 15
 * bytes would become one of 16.
 */
static void emit_sized(struct xlat *x, const uint8_t *bytes, unsigned n)
{
	enum size_prefix size = size_prefix(x);

	if (size == SIZE_WITH_66)
		e8(x->o, 0x66);
	if (size != SIZE_AS_IS) {
		unsigned end = 0;

		while (is_segment_prefix(bytes[end]) || is_other_prefix(bytes[end]) || bytes[end] == 0x67)
			end++;
		for (unsigned i = 0; i < end; i++)
			if (is_other_prefix(bytes[i]) && bytes[i] != 0x66 &&
			    !memchr(bytes + i + 1, bytes[i], end - i - 1))
				e8(x->o, bytes[i]);
		bytes += end;
		n -= end;
	}
	ebytes(x->o, bytes, n);
}

/* The registers in @u, which the instruction names, get their values. */
static void load_stolen(struct xlat *x, const struct stolen_use *u)
{
	if (u->used[0])
		release_r9(x);
	for (unsigned i = 0; i < 3; i++) {
		if (u->load[i] && !(x->held >> i & 1))
			emit_load(x->o, REG_R9 + i, REG_SLOT(REG_R9 + i));
		if (u->used[i])
			x->copy_of[i] = 0;
		/* Not what is only named. */
		if (u->load[i] || u->store[i])
			x->held |= 1u << i;
	}
}

static void store_stolen(struct xlat *x, const struct stolen_use *u)
{
	for (unsigned i = 0; i < 3; i++)
		if (u->store[i])
			emit_store(x->o, REG_R9 + i, REG_SLOT(REG_R9 + i));
}

static void emit_plain(struct xlat *x)
{
	const struct insn *in = x->in;
	struct stolen_use u;

	stolen_scan(in, &u);
	flags_to_host(x, in->reads);
	load_stolen(x, &u);
	if (in->zi.mnemonic == ZYDIS_MNEMONIC_INC || in->zi.mnemonic == ZYDIS_MNEMONIC_DEC)
		flags_carry(x);
	if (in->zi.opcode == 0x82 && in->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && !is_code64(x)) {
		for (unsigned i = 0; i < in->len; i++)
			e8(x->o, i + 3u == in->len ? 0x80 : in->bytes[i]);
	} else if (in->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !is_code64(x)) {
		uint8_t b[15];

		vex_from_32(in, b);
		ebytes(x->o, b, in->len);
	} else {
		emit_sized(x, in->bytes, in->len);
	}
	store_stolen(x, &u);
}

/* 82 is an alias of 80 that 64-bit mode, in which the host runs it, has dropped. */
static void emit_opcode(struct emitter *o, const uint8_t *bytes, unsigned n,
			const ZydisDecodedInstruction *zi)
{
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	    zi->opcode == 0x82)
		e8(o, 0x80);
	else
		ebytes(o, bytes, n);
}

/*
 * Emits the instruction with its memory operand replaced by @a, its
 * register operands renamed by @map.
 */
static void emit_redirected(struct xlat *x, const struct address *a, const uint8_t map[16])
{
	unsigned base = a->base, index = a->index == EMIT_NOREG ? 0 : a->index;
	const struct insn *in = x->in;
	const ZydisDecodedInstruction *zi = &in->zi;
	struct emitter *o = x->o;
	const uint8_t *b = in->bytes;
	uint8_t vex[15];
	unsigned modrm_at = zi->raw.modrm.offset;
	unsigned modrm = b[modrm_at];
	unsigned tail = modrm_at + 1 + zi->raw.disp.size / 8;
	unsigned reg = (modrm >> 3) & 7;
	enum size_prefix size = size_prefix(x);
	unsigned i = 0, end = 0;

	if (zi->address_width != 16 && (modrm & 7) == 4)
		tail++; /* SIB */
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !is_code64(x)) {
		vex_from_32(in, vex);
		b = vex;
	}

	if (size == SIZE_WITH_66)
		e8(o, 0x66);
	while (is_prefix(x, b + end))
		end++;
	/*
	 * Once each, or an instruction full of them would grow beyond 15 bytes by
	 * its REX: the last, for of F2 and F3 the last says what the instruction is,
	 * and so how much memory it accesses.
	 */
	for (; i < end; i++)
		if (is_other_prefix(b[i]) && (b[i] != 0x66 || size == SIZE_AS_IS) &&
		    !memchr(b + i + 1, b[i], end - i - 1))
			e8(o, b[i]);
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
		/* To the three-byte form, which has B. */
		unsigned r_inv, mmmmm, w, vvvv_inv, lpp;

		if (b[i] == 0xc5) {
			r_inv = b[i + 1] >> 7;
			mmmmm = 1;
			w = 0;
			vvvv_inv = (b[i + 1] >> 3) & 15;
			lpp = b[i + 1] & 7;
			i += 2;
		} else {
			r_inv = b[i + 1] >> 7;
			mmmmm = b[i + 1] & 31;
			w = b[i + 2] >> 7;
			vvvv_inv = (b[i + 2] >> 3) & 15;
			lpp = b[i + 2] & 7;
			i += 3;
		}
		for (unsigned k = 0; k < in->op_count; k++) {
			const ZydisDecodedOperand *op = &in->ops[k];
			bool gpr = op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
				   (register_class(op->reg.value) == ZYDIS_REGCLASS_GPR32 ||
				    register_class(op->reg.value) == ZYDIS_REGCLASS_GPR64);

			if (!gpr)
				continue;
			if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
				unsigned n = map[reg | ((r_inv ^ 1) << 3)];

				reg = n & 7;
				r_inv = (n >> 3) ^ 1;
			} else if (op->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD) {
				vvvv_inv = 15 ^ map[15 ^ vvvv_inv];
			}
		}
		e8(o, 0xc4);
		e8(o, (r_inv << 7) | (((index >> 3) ^ 1) << 6) | (((base >> 3) ^ 1) << 5) | mmmmm);
		e8(o, (w << 7) | (vvvv_inv << 3) | lpp);
	} else {
		unsigned rex = 0;

		if (is_code64(x) && (b[i] & 0xf0) == 0x40)
			rex = b[i++];
		for (unsigned k = 0; k < in->op_count; k++) {
			const ZydisDecodedOperand *op = &in->ops[k];

			if (op->type != ZYDIS_OPERAND_TYPE_REGISTER ||
			    op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_REG)
				continue;
			switch (register_class(op->reg.value)) {
			case ZYDIS_REGCLASS_GPR8:
			case ZYDIS_REGCLASS_GPR16:
			case ZYDIS_REGCLASS_GPR32:
			case ZYDIS_REGCLASS_GPR64: {
				unsigned n = reg | ((rex & 4) << 1);

				if (!is_stolen(n))
					break;
				n = map[n];
				reg = n & 7;
				rex = (rex & ~4u) | ((n >> 3) << 2);
				break;
			}
			default: break;
			}
		}
		rex = (rex & ~3u) | (base >> 3) | (index >> 3) << 1;
		if (rex)
			e8(o, 0x40 | rex);
	}
	emit_opcode(o, b + i, modrm_at - i, zi);
	emit_modrm_mem(o, reg, base, a->index, a->scale ? a->scale : 1, a->disp);
	ebytes(o, b + tail, in->len - tail);
}

static const struct address at_r11 = { SCRATCH0, EMIT_NOREG, 0, 0 };

/* Does an instruction that soon follows find guest register @n in the host's of that name, if it is there? */
static bool wants_in_place(const struct xlat *x, unsigned n)
{
	if (x->engine->disable & SOFT_NO_HELD)
		return false;
	for (const struct insn *in = x->in + 1; in < x->t->insns + x->n && insn_keeps_scratch(in); in++) {
		struct stolen_use u;

		stolen_scan(in, &u);
		if (u.used[n - REG_R9])
			return u.load[n - REG_R9];
	}
	return false;
}

/* The instruction itself, with registers in place, on host address @a. */
static void emit_on_host_address(struct xlat *x, const struct stolen_use *u, const struct address *a)
{
	struct emitter *o = x->o;
	struct address moved;
	uint8_t map[16];

	if (a->index != EMIT_NOREG && is_stolen(a->index) && (u->used[0] || u->used[1] || u->used[2])) {
		/* All scratch registers but R11 are wanted. */
		scratch_lost(x, LOST(SCRATCH0));
		if (a->base == SCRATCH0) {
			emit_mem(o, true, 0x8d, SCRATCH0, a->base, a->index, 1, a->disp);
			a = &at_r11;
		} else if (a->index != SCRATCH0) {
			/* The base stays what it is: it may be the stack's, which faults differently. */
			emit_mov(o, SCRATCH0, a->index);
			moved = *a;
			moved.index = SCRATCH0;
			a = &moved;
		}
	}

	for (unsigned i = 0; i < 16; i++)
		map[i] = (uint8_t)i;
	if (a->base == SCRATCH0 || a->index != EMIT_NOREG)
		map[REG_R11] = u->used[1] ? REG_R9 : REG_R10;

	if (u->high_byte) {
		/* AH..BH cannot be encoded beside a REX prefix, which [r11] needs. */
		emit_store(o, REG_RDI, VOFF(spill[2]));
		emit_mov(o, REG_RDI, SCRATCH0);
		emit_redirected(x, &(struct address){ REG_RDI, EMIT_NOREG, 0, 0 }, map);
		emit_load(o, REG_RDI, VOFF(spill[2]));
		return;
	}
	if (u->used[0] || (u->used[2] && map[REG_R11] == REG_R9))
		release_r9(x);
	for (unsigned i = 0; i < 3; i++) {
		bool there = map[REG_R9 + i] == REG_R9 + i && (x->held >> i & 1);

		if (!u->used[i] || there)
			continue;
		scratch_lost(x, LOST(map[REG_R9 + i]));
		if (u->load[i])
			emit_load(o, map[REG_R9 + i], REG_SLOT(REG_R9 + i));
	}
	/* What is not in its place gets another value in memory. */
	for (unsigned i = 0; i < 3; i++)
		if (u->store[i])
			x->held &= ~(1u << i);
	emit_redirected(x, a, map);
	for (unsigned i = 0; i < 3; i++) {
		if (u->store[i])
			emit_store(o, map[REG_R9 + i], REG_SLOT(REG_R9 + i));
		/* C may come back behind a store, with other values there. */
		if (!(u->load[i] || u->store[i]) || x->store)
			continue;
		if (map[REG_R9 + i] == REG_R9 + i) {
			x->held |= 1u << i;
		} else if (wants_in_place(x, REG_R9 + i)) {
			/* To wait for what has just been stored would take longer. */
			emit_mov(o, REG_R9 + i, map[REG_R9 + i]);
			scratch_lost(x, 1u << i);
			x->held |= 1u << i;
		}
	}
}

static enum access_kind access_kind(const struct insn *in, const ZydisDecodedOperand *mem)
{
	if (!(mem->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
		return ACCESS_READ;
	/* x87 stores do not happen when they raise an unmasked exception. */
	if (in->zi.meta.isa_ext == ZYDIS_ISA_EXT_X87 || in->zi.meta.isa_set == ZYDIS_ISA_SET_SSE3X87)
		return ACCESS_RMW;
	/* A write that may not happen, or only to a part, keeps what was there. */
	if ((mem->actions & ZYDIS_OPERAND_ACTION_MASK_READ) ||
	    (mem->actions & ZYDIS_OPERAND_ACTION_CONDWRITE))
		return ACCESS_RMW;
	return ACCESS_WRITE;
}

void emit_copy(struct xlat *x)
{
	const struct insn *in = x->in;
	const ZydisDecodedOperand *mem = insn_memory(in);
	struct stolen_use u;
	struct address a;
	uint32_t from;
	unsigned size;
	bool write;

	if (!mem) {
		emit_plain(x);
		return;
	}
	stolen_scan(in, &u);
	write = mem->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	size = mem->size / 8;
	if (in->zi.mnemonic == ZYDIS_MNEMONIC_CLFLUSH || in->zi.mnemonic == ZYDIS_MNEMONIC_CLFLUSHOPT ||
	    in->zi.mnemonic == ZYDIS_MNEMONIC_CLWB)
		size = 1; /* whatever line the byte is in */
	if (is_grouped(x, ACCESS_OPERAND)) {
		struct access own = operand_access(in, mem);

		emit_grouped(x, ACCESS_OPERAND, &own, &a);
		emit_on_host_address(x, &u, &a);
		return;
	}
	flags_clobber(x, in->live_in);
	from = cache_off(x, x->o->p);
	emit_linear(x, mem, size, write, 0);
	x->may_slot = !u.high_byte;
	a = at_r11;
	if (operand_may_grow(in, mem)) {
		struct access own = operand_access(in, mem);

		own.size = size;
		emit_access_direct(x, &own, from, access_kind(in, mem), &a);
	} else {
		emit_access(x, size, access_kind(in, mem));
	}
	flags_to_host(x, in->reads);
	emit_on_host_address(x, &u, &a);
}

void emit_lea_insn(struct xlat *x)
{
	const struct insn *in = x->in;
	struct emitter *o = x->o;
	unsigned dst = gpr_number(in->ops[0].reg.value);
	unsigned size = in->ops[0].size;
	const ZydisDecodedOperand *mem = &in->ops[1];
	bool rip = mem->mem.base == ZYDIS_REGISTER_RIP || mem->mem.base == ZYDIS_REGISTER_EIP;

	if (is_code64(x) && !rip) {
		struct stolen_use u;

		stolen_scan(in, &u);
		load_stolen(x, &u);
		ebytes(o, in->bytes, in->len);
		store_stolen(x, &u);
		return;
	}
	if (rip && size == 64 && in->zi.address_width == 64) {
		if (dst == REG_R9)
			release_r9(x);
		emit_page_address(x, dst, (int64_t)in->off + in->len + mem->mem.disp.value);
		if (is_stolen(dst)) {
			emit_store(o, dst, REG_SLOT(dst));
			scratch_lost(x, LOST(dst));
			x->held |= LOST(dst);
		}
		return;
	}
	scratch_lost(x, LOST_SCRATCH);
	emit_effective(x, mem, 0);
	if (is_stolen(dst)) {
		if (size == 64) {
			emit_store(o, SCRATCH0, REG_SLOT(dst));
		} else if (size == 32) {
			emit_mov32(o, SCRATCH0, SCRATCH0);
			emit_store(o, SCRATCH0, REG_SLOT(dst));
		} else {
			e8(o,
			   0x66); /* mov word gs:[slot], r11w; prefixes may stand in any order before REX */
			emit_vcpu(o, false, 0x89, SCRATCH0, REG_SLOT(dst));
		}
		return;
	}
	if (size == 16)
		e8(o, 0x66);
	emit_rr(o, size == 64, 0x8b, dst, SCRATCH0);
}

void emit_moffs(struct xlat *x)
{
	const struct insn *in = x->in;
	const ZydisDecodedOperand *mem = insn_memory(in);
	struct emitter *o = x->o;
	bool write = mem->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	unsigned size = mem->size / 8;

	flags_clobber(x, in->live_in);
	emit_mov_imm(o, SCRATCH0,
		     in->zi.address_width == 64   ? (uint64_t)mem->mem.disp.value
		     : in->zi.address_width == 32 ? (uint32_t)mem->mem.disp.value
						  : (uint16_t)mem->mem.disp.value);
	emit_segment(x, segment_number(mem->mem.segment), size, write);
	emit_access(x, size, access_kind(in, mem));
	if (size == 2)
		e8(o, 0x66);
	emit_rex(o, size == 8, REG_RAX, 0, SCRATCH0);
	e8(o, (write ? 0x88 : 0x8a) | (size > 1));
	emit_modrm_mem(o, REG_RAX, SCRATCH0, EMIT_NOREG, 1, 0);
}

void emit_xlat(struct xlat *x)
{
	const struct insn *in = x->in;
	struct emitter *o = x->o;

	flags_clobber(x, in->live_in);
	e8(o, 0x44); /* movzx r11d, al */
	e8(o, 0x0f);
	e8(o, 0xb6);
	e8(o, 0xd8);
	emit_rr(o, in->zi.address_width == 64, 0x03, SCRATCH0, REG_RBX);
	if (in->zi.address_width == 16) {
		emit_zext16(o, SCRATCH0);
	}
	emit_segment(x, segment_override(in, SEG_DS), 1, false);
	emit_access(x, 1, ACCESS_READ);
	e8(o, 0x41); /* mov al, [r11] */
	e8(o, 0x8a);
	e8(o, 0x03);
}

/*
 * BT and friends with a register bit offset address memory far from the
 * operand: unit (offset >> 4, 5 or 6) of the operand's size, signed. The
 * offset within the unit then selects the bit.
 */
void emit_bitstring(struct xlat *x)
{
	const struct insn *in = x->in;
	const ZydisDecodedOperand *mem = insn_memory(in);
	struct emitter *o = x->o;
	unsigned size = mem->size / 8, shift = size == 8 ? 6 : size == 4 ? 5 : 4;
	unsigned reg = gpr_number(in->ops[1].reg.value), src = reg;
	bool write = mem->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	bool w = in->zi.address_width == 64;
	uint8_t op = in->bytes[in->zi.raw.modrm.offset - 1];

	flags_clobber(x, in->live_in);
	emit_effective(x, mem, 0);
	if (is_stolen(reg)) {
		emit_load(o, SCRATCH1, REG_SLOT(reg));
		src = SCRATCH1;
	}
	if (size == 8) {
		emit_mov(o, SCRATCH1, src);
	} else if (size == 4) {
		emit_rr(o, true, 0x63, SCRATCH1, src); /* movsxd r10, src */
	} else {
		emit_rex(o, true, SCRATCH1, 0, src); /* movsx r10, src16 */
		e8(o, 0x0f);
		e8(o, 0xbf);
		e8(o, 0xc0 | ((SCRATCH1 & 7) << 3) | (src & 7));
	}
	emit_rex(o, true, 0, 0, SCRATCH1); /* sar r10, shift */
	e8(o, 0xc1);
	e8(o, 0xc0 | (7 << 3) | (SCRATCH1 & 7));
	e8(o, shift);
	emit_mem(o, w, 0x8d, SCRATCH0, SCRATCH0, SCRATCH1, size, 0);
	if (in->zi.address_width == 16) {
		emit_zext16(o, SCRATCH0);
	}
	emit_segment(x, segment_number(mem->mem.segment), size, write);
	emit_access(x, size, access_kind(in, mem));
	/* r10 = offset within the unit */
	if (is_stolen(reg))
		emit_load(o, SCRATCH1, REG_SLOT(reg));
	else
		emit_mov(o, SCRATCH1, reg);
	e8(o, 0x41); /* and r10d, bits - 1 */
	e8(o, 0x83);
	e8(o, 0xe2);
	e8(o, size * 8 - 1);
	/*
	 * BT leaves OF, SF, ZF, AF and PF as they were, so what was saved is
	 * still the truth for them: only CF comes from here.
	 */
	flags_to_host(x, in->reads);
	if (in->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		e8(o, 0xf0);
	if (size == 2)
		e8(o, 0x66);
	emit_rex(o, size == 8, SCRATCH1, 0, SCRATCH0);
	e8(o, 0x0f);
	e8(o, op);
	emit_modrm_mem(o, SCRATCH1, SCRATCH0, EMIT_NOREG, 1, 0);
}

void emit_incdec(struct xlat *x)
{
	const struct insn *in = x->in;
	uint8_t op = in->zi.opcode; /* 40+r: INC, 48+r: DEC */

	flags_to_host(x, in->reads);
	flags_carry(x);
	if (in->zi.operand_width == 16)
		e8(x->o, 0x66);
	e8(x->o, 0xff);
	e8(x->o, 0xc0 | (op & 0x0f)); /* /0 or /1 */
}
