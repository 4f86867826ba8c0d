// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From bytes to struct insn. Zydis says what an instruction is; that takes
 * longer than all the rest of a translation where the host's caches are
 * full of other things, and code consists of a few hundred *shapes*: prefix, REX.W, opcode, and
 * of ModRM whether it names a register, or what is relative to RIP, and the
 * opcode's extension. Of one shape, instructions differ in numbers of
 * registers, displacements and immediates only. What Zydis and
 * translate_classify.c have said of the first one is kept, and the others are
 * made from it.
 *
 * Only of opcodes listed below, in 64-bit code, with no prefixes but one of 66, F2, F3
 * and a REX behind it. A shape is kept only if it makes of its first instruction what Zydis did.
 * tests/soft/test_decode.c compares both ways for random instructions.
 */
#include "engine/soft/translate.h"

/* What follows the opcode, and what of it says which instruction that is. */
enum {
	SHAPE_PLAIN = 1, /* no ModRM, but an immediate perhaps */
	SHAPE_MODRM,
	SHAPE_GROUP,  /* ModRM.reg is part of the opcode */
	SHAPE_GROUP0, /* the same, where that is 0 */
};

static const uint8_t shapes_1[256] = {
	[0x00 ... 0x03] = SHAPE_MODRM,  [0x04 ... 0x05] = SHAPE_PLAIN, /* ADD */
	[0x08 ... 0x0b] = SHAPE_MODRM,  [0x0c ... 0x0d] = SHAPE_PLAIN, /* OR */
	[0x10 ... 0x13] = SHAPE_MODRM,  [0x14 ... 0x15] = SHAPE_PLAIN, /* ADC */
	[0x18 ... 0x1b] = SHAPE_MODRM,  [0x1c ... 0x1d] = SHAPE_PLAIN, /* SBB */
	[0x20 ... 0x23] = SHAPE_MODRM,  [0x24 ... 0x25] = SHAPE_PLAIN, /* AND */
	[0x28 ... 0x2b] = SHAPE_MODRM,  [0x2c ... 0x2d] = SHAPE_PLAIN, /* SUB */
	[0x30 ... 0x33] = SHAPE_MODRM,  [0x34 ... 0x35] = SHAPE_PLAIN, /* XOR */
	[0x38 ... 0x3b] = SHAPE_MODRM,  [0x3c ... 0x3d] = SHAPE_PLAIN, /* CMP */
	[0x50 ... 0x5f] = SHAPE_PLAIN,                                 /* PUSH, POP */
	[0x63] = SHAPE_MODRM,                                          /* MOVSXD */
	[0x68] = SHAPE_PLAIN,           [0x6a] = SHAPE_PLAIN,          /* PUSH */
	[0x69] = SHAPE_MODRM,           [0x6b] = SHAPE_MODRM,          /* IMUL */
	[0x70 ... 0x7f] = SHAPE_PLAIN,                                 /* Jcc */
	[0x80 ... 0x81] = SHAPE_GROUP,  [0x83] = SHAPE_GROUP,
	[0x84 ... 0x85] = SHAPE_MODRM,                        /* TEST */
	[0x88 ... 0x8b] = SHAPE_MODRM,                        /* MOV */
	[0x8d] = SHAPE_MODRM,                                 /* LEA */
	[0x98 ... 0x99] = SHAPE_PLAIN,                        /* CDQE, CQO */
	[0xa8 ... 0xa9] = SHAPE_PLAIN,                        /* TEST */
	[0xb0 ... 0xbf] = SHAPE_PLAIN,                        /* MOV */
	[0xc0 ... 0xc1] = SHAPE_GROUP,                        /* shifts */
	[0xc2 ... 0xc3] = SHAPE_PLAIN,                        /* RET */
	[0xc6 ... 0xc7] = SHAPE_GROUP0,                       /* MOV */
	[0xc9] = SHAPE_PLAIN,                                 /* LEAVE */
	[0xd0 ... 0xd3] = SHAPE_GROUP,                        /* shifts */
	[0xe8 ... 0xe9] = SHAPE_PLAIN,  [0xeb] = SHAPE_PLAIN, /* CALL, JMP */
	[0xf6 ... 0xf7] = SHAPE_GROUP,  [0xfe ... 0xff] = SHAPE_GROUP,
};

static const uint8_t shapes_0f[256] = {
	[0x10 ... 0x17] = SHAPE_MODRM, [0x1f] = SHAPE_MODRM,
	[0x28 ... 0x2f] = SHAPE_MODRM, [0x40 ... 0x4f] = SHAPE_MODRM, /* CMOVcc */
	[0x51 ... 0x70] = SHAPE_MODRM, [0x71 ... 0x73] = SHAPE_GROUP,
	[0x74 ... 0x76] = SHAPE_MODRM, [0x7e ... 0x7f] = SHAPE_MODRM,
	[0x80 ... 0x8f] = SHAPE_PLAIN, /* Jcc */
	[0x90 ... 0x9f] = SHAPE_MODRM, /* SETcc */
	[0xa3 ... 0xa5] = SHAPE_MODRM, [0xab ... 0xad] = SHAPE_MODRM,
	[0xaf] = SHAPE_MODRM,          [0xb3] = SHAPE_MODRM,
	[0xb6 ... 0xb7] = SHAPE_MODRM, [0xba] = SHAPE_GROUP,
	[0xbb ... 0xbf] = SHAPE_MODRM, [0xc6] = SHAPE_MODRM,
	[0xc8 ... 0xcf] = SHAPE_PLAIN, /* BSWAP */
	[0xd1 ... 0xd6] = SHAPE_MODRM, [0xd8 ... 0xe6] = SHAPE_MODRM,
	[0xe8 ... 0xef] = SHAPE_MODRM, [0xf1 ... 0xf6] = SHAPE_MODRM,
	[0xf8 ... 0xfe] = SHAPE_MODRM,
};

/* Bits of a shape's key besides the opcode and, shifted by KEY_REG, ModRM.reg. */
#define KEY_USED   (1u << 8)
#define KEY_0F     (1u << 9)
#define KEY_66     (1u << 10)
#define KEY_F2     (1u << 11)
#define KEY_F3     (1u << 12)
#define KEY_W      (1u << 13)
#define KEY_DIRECT (1u << 14) /* ModRM names a register */
#define KEY_RIP    (1u << 15)
#define KEY_REG    16

/* An instruction taken apart. */
struct parts {
	uint32_t key;
	uint8_t rex; /* 0: none */
	uint8_t opcode_at;
	uint8_t opcode;
	bool modrm;
};

static bool take_apart(const uint8_t *b, struct parts *p)
{
	unsigned at = 0, how;
	uint32_t key = KEY_USED;

	switch (b[0]) {
	case 0x66:
		key |= KEY_66;
		at++;
		break;
	case 0xf2:
		key |= KEY_F2;
		at++;
		break;
	case 0xf3:
		key |= KEY_F3;
		at++;
		break;
	default: break;
	}
	p->rex = 0;
	if ((b[at] & 0xf0) == 0x40) {
		p->rex = b[at++];
		if (p->rex & 8)
			key |= KEY_W;
	}
	if (b[at] == 0x0f) {
		key |= KEY_0F;
		how = shapes_0f[b[++at]];
	} else {
		/* REP means nothing there, or another instruction. */
		how = key & (KEY_F2 | KEY_F3) ? 0 : shapes_1[b[at]];
	}
	if (!how)
		return false;
	p->opcode_at = (uint8_t)at;
	p->opcode = b[at];
	p->modrm = how != SHAPE_PLAIN;
	key |= b[at];
	if (p->modrm) {
		uint8_t m = b[at + 1];

		if (m >= 0xc0)
			key |= KEY_DIRECT;
		else if ((m & 0xc7) == 5)
			key |= KEY_RIP;
		if (how != SHAPE_MODRM)
			key |= (m >> 3 & 7u) << KEY_REG;
		if (how == SHAPE_GROUP0 && (m & 0x38))
			return false;
	}
	p->key = key;
	return true;
}

/* Where register operands of a shape have their number from. */
static unsigned part_number(const struct insn *in, const struct parts *p, uint8_t encoding)
{
	switch (encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: return in->zi.raw.modrm.reg | (p->rex & 4u) << 1;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: return in->zi.raw.modrm.rm | (p->rex & 1u) << 3;
	default: return (p->opcode & 7u) | (p->rex & 1u) << 3;
	}
}

static ZydisRegister numbered(ZydisRegister first, unsigned n, bool rex)
{
	if (first != ZYDIS_REGISTER_AL || n < 4)
		return first + n;
	if (n >= 8)
		return ZYDIS_REGISTER_R8B + (n - 8);
	return (rex ? ZYDIS_REGISTER_SPL : ZYDIS_REGISTER_AH) + (n - 4);
}

static int64_t read_signed(const uint8_t *b, unsigned bytes)
{
	uint32_t v = b[0];

	if (bytes == 1)
		return (int8_t)v;
	v |= (uint32_t)b[1] << 8;
	if (bytes == 2)
		return (int16_t)v;
	v |= (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	return bytes == 4 ? (int32_t)v : (int64_t)((uint64_t)read_signed(b + 4, 4) << 32 | v);
}

/* Of the memory operand, as Zydis calls it. */
struct memory_part {
	ZydisRegister base, index;
	uint8_t scale;
	int64_t disp;
};

/* ModRM, SIB and displacement of 64-bit code without a 67 prefix; returns where they end. */
static unsigned take_modrm(struct insn *in, const struct parts *p, struct memory_part *mem)
{
	const uint8_t *b = in->bytes;
	unsigned at = p->opcode_at + 1u, mod = b[at] >> 6, rm = b[at] & 7, disp;
	ZydisDecodedInstruction *zi = &in->zi;

	zi->raw.modrm.mod = (uint8_t)mod;
	zi->raw.modrm.reg = b[at] >> 3 & 7;
	zi->raw.modrm.rm = (uint8_t)rm;
	zi->raw.modrm.offset = (uint8_t)at++;
	if (mod == 3)
		return at;
	disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	mem->index = ZYDIS_REGISTER_NONE;
	mem->scale = 0;
	mem->base = ZYDIS_REGISTER_RAX + (rm | (p->rex & 1u) << 3);
	if (rm == 4) {
		unsigned sib = b[at], index = (sib >> 3 & 7) | (p->rex & 2u) << 2;

		zi->raw.sib.scale = (uint8_t)(sib >> 6);
		zi->raw.sib.index = sib >> 3 & 7;
		zi->raw.sib.base = sib & 7;
		zi->raw.sib.offset = (uint8_t)at++;
		zi->attributes |= ZYDIS_ATTRIB_HAS_SIB;
		mem->base = ZYDIS_REGISTER_RAX + ((sib & 7) | (p->rex & 1u) << 3);
		if (index != 4) {
			mem->index = ZYDIS_REGISTER_RAX + index;
			mem->scale = (uint8_t)(1u << (sib >> 6));
		}
		if (mod == 0 && (sib & 7) == 5) {
			mem->base = ZYDIS_REGISTER_NONE;
			disp = 4;
		}
	} else if (mod == 0 && rm == 5) {
		mem->base = ZYDIS_REGISTER_RIP;
		disp = 4;
	}
	mem->disp = 0;
	if (disp) {
		mem->disp = disp == 1 ? (int8_t)b[at] : (int32_t)read_signed(b + at, 4);
		zi->raw.disp.offset = (uint8_t)at;
		zi->raw.disp.size = (uint8_t)(8 * disp);
		zi->raw.disp.value = mem->disp;
	}
	return at + disp;
}

/* Makes of @in, whose bytes are there, what the shape and @p say. False: it is not of that shape after all. */
static bool shape_fill(const struct shape *s, const struct parts *p, struct insn *in)
{
	ZydisDecodedInstruction *zi = &in->zi;
	struct memory_part mem = { .base = ZYDIS_REGISTER_NONE };
	unsigned at = p->opcode_at + 1u;
	int64_t imm = s->constant;

	in->class = s->class;
	in->sysop = in->aux = 0;
	in->ends = s->ends;
	in->shadow = false;
	in->maybe = s->maybe;
	in->reads = flags_unpack(s->reads);
	in->writes = flags_unpack(s->writes);
	in->context.definition = NULL;
	in->op_count = s->visible;
	zi->mnemonic = s->mnemonic;
	zi->encoding = ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	zi->opcode_map = p->key & KEY_0F ? ZYDIS_OPCODE_MAP_0F : ZYDIS_OPCODE_MAP_DEFAULT;
	zi->opcode = p->opcode;
	zi->operand_width = s->operand_width;
	zi->address_width = 64;
	zi->operand_count = s->operands;
	zi->operand_count_visible = s->visible;
	zi->attributes = s->attributes | (p->rex ? ZYDIS_ATTRIB_HAS_REX : 0);
	zi->meta.category = s->category;
	zi->meta.isa_set = s->isa_set;
	zi->meta.isa_ext = s->isa_ext;
	zi->meta.branch_type = s->branch_type;
	memset(&zi->raw.modrm, 0, sizeof(zi->raw.modrm));
	memset(&zi->raw.sib, 0, sizeof(zi->raw.sib));
	memset(&zi->raw.disp, 0, sizeof(zi->raw.disp));
	if (p->modrm)
		at = take_modrm(in, p, &mem);
	zi->raw.imm[0].size = (uint8_t)(8 * s->imm);
	zi->raw.imm[1].size = 0;
	if (s->imm) {
		imm = read_signed(in->bytes + at, s->imm);
		if (!s->imm_signed && s->imm < 8)
			imm &= (int64_t)((1ull << (8 * s->imm)) - 1);
		at += s->imm;
		if (s->count && !(imm & 31))
			return false;
		zi->raw.imm[0].value.s = imm;
	}
	zi->length = in->len = (uint8_t)at;

	for (unsigned i = 0; i < s->visible; i++) {
		const struct shape_operand *from = &s->ops[i];
		ZydisDecodedOperand *op = &in->ops[i];

		op->type = (ZydisOperandType)from->type;
		op->encoding = (ZydisOperandEncoding)from->encoding;
		op->actions = from->actions;
		op->size = from->size;
		if (from->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			op->reg.value = from->reg;
			if (from->encoding != ZYDIS_OPERAND_ENCODING_NONE)
				op->reg.value = numbered(from->reg, part_number(in, p, from->encoding),
							 p->rex);
		} else if (from->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			bool stack = mem.base == ZYDIS_REGISTER_RSP || mem.base == ZYDIS_REGISTER_RBP;

			op->mem.type = (ZydisMemoryOperandType)from->reg;
			op->mem.segment = stack ? ZYDIS_REGISTER_SS : ZYDIS_REGISTER_DS;
			op->mem.base = mem.base;
			op->mem.index = mem.index;
			op->mem.scale = mem.scale;
			op->mem.disp.has_displacement = zi->raw.disp.size != 0;
			op->mem.disp.value = mem.disp;
		} else {
			op->imm.is_signed = s->imm_signed;
			op->imm.value.s = imm;
		}
	}
	return true;
}

/* Only PUSHF and the mode changes want the flags in memory; nothing here writes any. */
static void inline_flags(struct insn *in)
{
	in->class = CLASS_INLINE;
	in->writes = 0;
	in->reads = in->sysop == SYSOP_PUSHF || in->ends ? FLAG_ARITH : 0;
}

enum hidden { HIDDEN_UNKNOWN, HIDDEN_NONE, HIDDEN_MEMORY };

/*
 * Copying an instruction that accesses memory by an operand that it does not
 * show would let the guest at the host's memory. All of those are known and
 * classified otherwise; this makes sure that none is forgotten.
 */
static bool hides_memory(const struct xlat *x, const struct insn *in)
{
	uint8_t *known = &x->t->hidden_memory[in->zi.mnemonic];

	if ((in->zi.attributes & ZYDIS_ATTRIB_HAS_MODRM) && in->zi.raw.modrm.mod != 3 && !insn_memory(in))
		return true;
	if (*known == HIDDEN_UNKNOWN) {
		ZydisDecodedOperand all[ZYDIS_MAX_OPERAND_COUNT];

		*known = HIDDEN_MEMORY;
		if (!insn_all_operands(x, in, all))
			return true;
		*known = HIDDEN_NONE;
		for (unsigned i = in->zi.operand_count_visible; i < in->zi.operand_count; i++)
			if (all[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				*known = HIDDEN_MEMORY;
	}
	return *known == HIDDEN_MEMORY;
}

/*
 * Zydis 4.0 takes [index * scale + disp32] with REX.B and a 67 prefix for
 * [r13d + index * scale]; REX.B does not count there (SDM vol. 2, table 2-5).
 */
static void fix_base(struct insn *in)
{
	if (in->zi.address_width != 32 || in->zi.raw.modrm.mod != 0 || !in->zi.raw.sib.offset ||
	    in->zi.raw.sib.base != 5)
		return;
	for (unsigned i = 0; i < in->op_count; i++) {
		ZydisDecodedOperand *op = &in->ops[i];

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			continue;
		op->mem.base = ZYDIS_REGISTER_NONE;
		op->mem.disp.has_displacement = ZYAN_TRUE;
		op->mem.disp.value = in->zi.raw.disp.value;
	}
}

/* The register number 0 of those that @r is one of; NONE: of no kind that a shape may have. */
static ZydisRegister first_register(ZydisRegister r)
{
	switch (register_class(r)) {
	case ZYDIS_REGCLASS_GPR8: return ZYDIS_REGISTER_AL;
	case ZYDIS_REGCLASS_GPR16: return ZYDIS_REGISTER_AX;
	case ZYDIS_REGCLASS_GPR32: return ZYDIS_REGISTER_EAX;
	case ZYDIS_REGCLASS_GPR64: return ZYDIS_REGISTER_RAX;
	case ZYDIS_REGCLASS_XMM: return ZYDIS_REGISTER_XMM0;
	default: return ZYDIS_REGISTER_NONE;
	}
}

/* What is to be kept of operand @op; false: no shape has one like it. */
static bool operand_shape(const ZydisDecodedOperand *op, struct shape *s, struct shape_operand *to)
{
	*to = (struct shape_operand){ .type = (uint8_t)op->type,
				      .encoding = (uint8_t)op->encoding,
				      .actions = op->actions,
				      .size = op->size };
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		to->reg = (uint16_t)first_register(op->reg.value);
		if (op->encoding == ZYDIS_OPERAND_ENCODING_NONE)
			to->reg = (uint16_t)op->reg.value;
		else if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_REG &&
			 op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM &&
			 op->encoding != ZYDIS_OPERAND_ENCODING_OPCODE)
			return false;
		return to->reg != ZYDIS_REGISTER_NONE;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		to->reg = (uint16_t)op->mem.type;
		return op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		if (op->encoding == ZYDIS_OPERAND_ENCODING_NONE) {
			s->constant = (uint8_t)op->imm.value.u;
			return !s->imm && op->imm.value.u <= 255 && !op->imm.is_signed;
		}
		return s->imm;
	default: return false;
	}
}

static bool same_operand(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b)
{
	if (a->type != b->type || a->encoding != b->encoding || a->actions != b->actions ||
	    a->size != b->size)
		return false;
	switch (a->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER: return a->reg.value == b->reg.value;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return a->mem.type == b->mem.type && a->mem.segment == b->mem.segment &&
		       a->mem.base == b->mem.base && a->mem.index == b->mem.index &&
		       a->mem.scale == b->mem.scale &&
		       a->mem.disp.has_displacement == b->mem.disp.has_displacement &&
		       (!a->mem.disp.has_displacement || a->mem.disp.value == b->mem.disp.value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return a->imm.is_signed == b->imm.is_signed && a->imm.value.u == b->imm.value.u;
	case ZYDIS_OPERAND_TYPE_POINTER:
		return a->ptr.segment == b->ptr.segment && a->ptr.offset == b->ptr.offset;
	default: return false;
	}
}

bool insn_same(const struct insn *a, const struct insn *b)
{
	const ZydisDecodedInstruction *p = &a->zi, *q = &b->zi;

	if (a->len != b->len || a->class != b->class || (a->class >= CLASS_STRING && a->sysop != b->sysop) ||
	    a->aux != b->aux || a->ends != b->ends || a->shadow != b->shadow || a->maybe != b->maybe ||
	    a->reads != b->reads || a->writes != b->writes || a->op_count != b->op_count)
		return false;
	if (p->mnemonic != q->mnemonic || p->length != q->length || p->encoding != q->encoding ||
	    p->opcode_map != q->opcode_map || p->opcode != q->opcode ||
	    p->operand_width != q->operand_width || p->address_width != q->address_width ||
	    p->operand_count != q->operand_count || p->operand_count_visible != q->operand_count_visible ||
	    p->attributes != q->attributes || p->meta.category != q->meta.category ||
	    p->meta.isa_set != q->meta.isa_set || p->meta.isa_ext != q->meta.isa_ext ||
	    p->meta.branch_type != q->meta.branch_type)
		return false;
	if (p->raw.imm[0].size != q->raw.imm[0].size || p->raw.imm[1].size != q->raw.imm[1].size ||
	    (p->raw.imm[0].size && p->raw.imm[0].value.u != q->raw.imm[0].value.u) ||
	    p->raw.modrm.mod != q->raw.modrm.mod || p->raw.modrm.reg != q->raw.modrm.reg ||
	    p->raw.modrm.rm != q->raw.modrm.rm || p->raw.modrm.offset != q->raw.modrm.offset ||
	    p->raw.sib.offset != q->raw.sib.offset || p->raw.sib.base != q->raw.sib.base ||
	    p->raw.disp.size != q->raw.disp.size || p->raw.disp.value != q->raw.disp.value)
		return false;
	for (unsigned i = 0; i < a->op_count; i++)
		if (!same_operand(&a->ops[i], &b->ops[i]))
			return false;
	return true;
}

/* The place of @key among the shapes: it, or where it belongs. */
static uint16_t *shape_place(struct translator *t, uint32_t key)
{
	uint32_t h = key * 0x9e3779b1u >> (32 - SHAPE_BITS);

	while (t->shape_at[h] && t->shapes[t->shape_at[h]].key != key)
		h = (h + 1) & ((1u << SHAPE_BITS) - 1);
	return &t->shape_at[h];
}

/* @in has been decoded by Zydis: keeps its shape, if it has one. */
static void shape_keep(struct translator *t, const struct parts *p, const struct insn *in)
{
	const ZydisDecodedInstruction *zi = &in->zi;
	struct shape s = { .key = p->key,
			   .mnemonic = (uint16_t)zi->mnemonic,
			   .class = in->class,
			   .ends = in->ends,
			   .maybe = in->maybe,
			   .reads = flags_pack(in->reads),
			   .writes = flags_pack(in->writes),
			   .operand_width = zi->operand_width,
			   .operands = zi->operand_count,
			   .visible = zi->operand_count_visible,
			   .imm = zi->raw.imm[0].size / 8,
			   .imm_signed = zi->raw.imm[0].is_signed,
			   /* Shifts by 0 are another thing: fix_shift_flags(). */
			   .count = zi->meta.category == ZYDIS_CATEGORY_SHIFT ||
				    zi->meta.category == ZYDIS_CATEGORY_ROTATE,
			   .category = (uint8_t)zi->meta.category,
			   .isa_set = (uint8_t)zi->meta.isa_set,
			   .isa_ext = (uint8_t)zi->meta.isa_ext,
			   .branch_type = (uint8_t)zi->meta.branch_type,
			   .attributes = zi->attributes & ~(ZYDIS_ATTRIB_HAS_REX | ZYDIS_ATTRIB_HAS_SIB) };
	struct insn *again = &t->shape_insn;

	/* It is there, but @in was none of its kind. */
	if (*shape_place(t, p->key))
		return;
	if (t->shape_count == SHAPES_MAX - 1 || in->class >= CLASS_STRING || in->shadow ||
	    in->op_count > SHAPE_OPERANDS)
		return;
	for (unsigned i = 0; i < in->op_count; i++)
		if (!operand_shape(&in->ops[i], &s, &s.ops[i]))
			return;
	memcpy(again->bytes, in->bytes, sizeof(again->bytes));
	if (!shape_fill(&s, p, again) || !insn_same(again, in))
		return;
	t->shapes[++t->shape_count] = s;
	*shape_place(t, p->key) = (uint16_t)t->shape_count;
}

/*
 * Decodes by a shape. The mode word plays no part in what the listed opcodes are, as long as they may use
 * what registers they name; which features there are never changes.
 */
static bool decode_by_shape(const struct xlat *x, struct insn *in, struct parts *p)
{
	uint16_t at;

	p->key = 0;
	if ((x->mode & (MODE_CS64 | MODE_NOFPU | MODE_EM | MODE_NOSSE | MODE_WAIT_NM)) != MODE_CS64 ||
	    (x->engine->disable & SOFT_NO_SHAPES) || !take_apart(in->bytes, p)) {
		p->key = 0;
		return false;
	}
	at = *shape_place(x->t, p->key);
	if (!at)
		return false;
	return shape_fill(&x->t->shapes[at], p, in);
}

bool insn_all_operands(const struct xlat *x, const struct insn *in,
		       ZydisDecodedOperand all[ZYDIS_MAX_OPERAND_COUNT])
{
	ZydisDecoderContext context = in->context;
	ZydisDecodedInstruction zi;

	if (context.definition)
		zi = in->zi;
	else if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(x->decoder, &context, in->bytes, in->len, &zi)))
		return false;
	return ZYAN_SUCCESS(ZydisDecoderDecodeOperands(x->decoder, &context, &zi, all, zi.operand_count));
}

bool insn_decode(const struct xlat *x, struct insn *in, unsigned off)
{
	unsigned avail = PAGE_SIZE - off;
	struct parts p;
	ZyanStatus st;

	in->off = (uint16_t)off;
	in->follow = false;
	if (avail >= 15) {
		avail = 15;
		memcpy(in->bytes, x->page + off, 15);
	} else {
		memcpy(in->bytes, x->page + off, avail);
		if (x->page2) {
			memcpy(in->bytes + avail, x->page2, 15 - avail);
			avail = 15;
		}
	}
	if (avail >= 15 && decode_by_shape(x, in, &p))
		return true;
	st = ZydisDecoderDecodeInstruction(x->decoder, &in->context, in->bytes, avail, &in->zi);
	in->op_count = 0;
	if (ZYAN_SUCCESS(st) && in->zi.operand_count_visible) {
		in->op_count = in->zi.operand_count_visible;
		st = ZydisDecoderDecodeOperands(x->decoder, &in->context, &in->zi, in->ops,
						(ZyanU8)in->op_count);
	}
	if (ZYAN_SUCCESS(st)) {
		in->len = in->zi.length;
		fix_base(in);
		insn_classify(x, in);
		if (in->class == CLASS_SYSOP && insn_can_inline(x, in))
			inline_flags(in);
		if (in->class == CLASS_COPY && hides_memory(x, in)) {
			in->class = CLASS_SYSOP;
			in->sysop = SYSOP_UD;
			in->ends = true;
			in->reads = in->writes = FLAG_ARITH;
		}
		if (avail >= 15 && p.key)
			shape_keep(x->t, &p, in);
		return true;
	}
	if (st == ZYDIS_STATUS_NO_MORE_DATA && avail < 15)
		return false;
	in->class = CLASS_SYSOP;
	/* Longer than 15 bytes is #GP, everything else undefined. */
	in->sysop = st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || st == ZYDIS_STATUS_NO_MORE_DATA ? SYSOP_GP0
											       : SYSOP_UD;
	in->op_count = 0;
	in->aux = 0;
	/* Any of them may have had a say: the block depends on all, also on those of the second page. */
	in->len = x->page2 && off + 15 > PAGE_SIZE ? (uint8_t)(PAGE_SIZE - off + 1) : (uint8_t)avail;
	in->ends = true;
	in->shadow = in->maybe = false;
	in->reads = in->writes = FLAG_ARITH;
	memset(&in->zi, 0, sizeof(in->zi));
	return true;
}
