/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the translator: the state of one translation, shared by its files.
 *
 *   translate.c          the instructions of a block, flag liveness, the loop over instructions
 *   translate_decode.c   bytes to struct insn: Zydis, or what it said of an instruction of that shape
 *   translate_loop.c     hot loops, several rounds in one block
 *   translate_classify.c what kind of instruction is this, and which operation in C
 *   translate_memory.c   effective addresses, the TLB check, segment checks
 *   translate_group.c    one check for several accesses off the same register
 *   translate_copy.c     copying an ordinary instruction with its operand redirected
 *   translate_flow.c     jumps, calls, returns, exits, the stack
 *   translate_string.c   REP MOVS and REP STOS within pages
 *   translate_inline.c   CLI, STI, PUSHF, SWAPGS, STAC, CLAC without leaving translated code
 *   translate_flags.c    keeping the guest's flags through code that clobbers them
 */
#ifndef LGUEST_SOFT_TRANSLATE_H
#define LGUEST_SOFT_TRANSLATE_H

#include <Zydis/Zydis.h>

#include "engine/soft/block.h"
#include "engine/soft/emit.h"
#include "engine/soft/sysop.h"

#define BLOCK_MAX_INSNS 24 /* and a conditional jump on flags of the last one */
#define BLOCK_GO_ON     8  /* from so many on, it ends at a conditional jump */
#define LOOP_MAX_INSNS  48 /* of a loop that is unrolled, with all copies */
#define INSNS_MAX       LOOP_MAX_INSNS
#define BLOCK_MAX_HOST  24576 /* bytes of hot, and of cold, code that one block may need */
#define INSN_MAX_HOST   1024  /* the same of one instruction, and of what is around all of them */

/* Scratch registers of translated code; the guest's live in vcpu.c.s.regs[]. */
#define SCRATCH0 REG_R11 /* the address */
#define SCRATCH1 REG_R10 /* TLB index */
#define SCRATCH2 REG_R9  /* id of the site at exits; RAX while flags are moved */

static inline bool is_stolen(unsigned reg)
{
	return reg >= REG_R9 && reg <= REG_R11;
}

#define REG_SLOT(r) ((uint32_t)(offsetof(struct soft_vcpu, c.s.regs) + 8u * (r)))
#define SEG_BASE_SLOT(n)                                                                 \
	((uint32_t)(offsetof(struct soft_vcpu, c.s.seg) + sizeof(struct x86_seg) * (n) + \
		    offsetof(struct x86_seg, base)))

enum insn_class {
	CLASS_COPY, /* the host executes it */
	CLASS_NOP,  /* nothing to do, also not for its memory operand */
	CLASS_PREFETCH,
	CLASS_RDTSCP, /* RDTSC in order, and ECX */
	CLASS_LEA,
	CLASS_MOFFS, /* MOV between the accumulator and an absolute address */
	CLASS_XLAT,
	CLASS_BITSTR, /* BT BTS BTR BTC [mem], reg: a bit string of any length */
	CLASS_INCDEC, /* the one-byte forms of 32-bit code */
	CLASS_JCC,
	CLASS_LOOP,
	CLASS_JMP,
	CLASS_CALL,
	CLASS_JMP_IND,
	CLASS_CALL_IND,
	CLASS_RET,
	CLASS_PUSH,
	CLASS_POP,
	CLASS_LEAVE,
	CLASS_STRING, /* MOVS STOS LODS SCAS CMPS: string.c */
	CLASS_SYSOP,  /* in C */
	CLASS_INLINE, /* a system instruction simple enough to be done here: translate_inline.c */
};

#define MAX_OPERANDS ZYDIS_MAX_OPERAND_COUNT_VISIBLE

struct insn {
	uint16_t off; /* offset from the page of the block */
	uint8_t len;
	uint8_t class;
	uint8_t sysop;          /* enum sysop_id for CLASS_SYSOP, enum string_op for CLASS_STRING */
	uint8_t aux;            /* struct sysop.aux, imm2 */
	bool ends;              /* the block ends behind it */
	bool shadow;            /* opens an interrupt shadow: the next one belongs to the block */
	bool maybe;             /* may or may not write flags: a shift by CL */
	bool follow;            /* a jump whose target comes next in the block */
	uint32_t reads, writes; /* arithmetic flags */
	uint32_t live_in;       /* flags that somebody from here on needs */
	uint32_t live_out;
	uint32_t live_exit; /* for CLASS_JCC, CLASS_LOOP and direct jumps: needed at the target */
	uint8_t bytes[16];  /* a copy: the guest may change its own while we look */
	ZydisDecoderContext context;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand ops[MAX_OPERANDS];
	unsigned op_count;
};

/*
 * What the look-ahead wants to know of an instruction of at most 8 bytes, by
 * its bytes: the same few thousand make up most of all code.
 */
struct peek {
	uint64_t bytes;
	uint32_t mode;
	uint8_t len : 4; /* 0: empty */
	uint8_t ends : 1;
	uint8_t rel : 3; /* how many bytes at its end are the displacement of a relative branch */
	uint8_t class;
	uint8_t reads, writes; /* flags_pack() */
};
_Static_assert(sizeof(struct peek) == 16, "four to a cache line");
#define PEEK_BITS 12
#define PEEK_SIZE (1u << PEEK_BITS)

/* What has been planned for a memory access of an instruction. */
struct access_plan {
	uint8_t group; /* number, from 1; 0: by itself */
	bool leader;   /* the first of the group: does the check */
	int32_t at;    /* distance from the group's lowest byte */
};

struct group {
	uint32_t value;    /* what its base registers hold, by number */
	uint32_t index;    /* the same of the index registers */
	unsigned scale;    /* 0: no index */
	int64_t low, high; /* bytes, relative to that */
	bool write;
	bool stack; /* some access is to the stack by way of RSP */
	uint8_t count;
};

/* An operand's explicit memory access, and that to the stack of PUSH, CALL... */
enum { ACCESS_OPERAND, ACCESS_STACK, ACCESSES };

/* Which registers an instruction writes that are not among its visible operands. */
struct hidden_registers {
	uint32_t key; /* 0: empty */
	uint16_t regs;
};
#define HIDDEN_BITS 8

/* What instructions of one shape have in common: translate_decode.c. */
struct shape_operand {
	uint8_t type, encoding, actions;
	uint16_t size;
	uint16_t
		reg; /* number 0 of its kind; where that does not change, the register; of memory, its kind */
};
#define SHAPE_OPERANDS 3
struct shape {
	uint32_t key;
	uint16_t mnemonic;
	uint8_t class;
	bool ends, maybe;
	uint8_t reads, writes; /* flags_pack() */
	uint8_t operand_width;
	uint8_t operands, visible;
	uint8_t imm; /* bytes of the immediate */
	bool count;  /* which is that of a shift */
	bool imm_signed;
	uint8_t constant; /* an immediate that is not among the bytes */
	uint8_t category, isa_set, isa_ext, branch_type;
	uint64_t attributes;
	struct shape_operand ops[SHAPE_OPERANDS];
};
_Static_assert(sizeof(struct shape) <= 64 && (int)ZYDIS_ISA_SET_MAX_VALUE < 256 &&
		       (int)ZYDIS_CATEGORY_MAX_VALUE < 256 && (int)ZYDIS_ISA_EXT_MAX_VALUE < 256,
	       "about a cache line each");
#define SHAPES_MAX 2048
#define SHAPE_BITS 12

#define GROUPS_MAX (TARGET_GROUP - 1) /* all numbers fit struct desc.group */

/* Of a block. An instruction has five at most: two accesses, their segments, and that it leaves. */
#define SITES_MAX ((BLOCK_MAX_INSNS + 1) * 5 + 2)
#define EXITS_MAX ((BLOCK_MAX_INSNS + 1) * 3 + 1)
_Static_assert(SITES_MAX + EXITS_MAX < SITE_EXIT, "their numbers fit a byte");

struct translator {
	struct soft_engine *engine;
	ZydisDecoder decoder[3]; /* 16, 32, 64 bits */
	struct insn insns[INSNS_MAX];
	struct desc sites[SITES_MAX];
	struct block_exit exits[EXITS_MAX];
	struct sysop sysops[BLOCK_MAX_INSNS];
	struct insn_map map[INSNS_MAX];
	struct insn peek_insn;
	uint8_t sysop_entry[ZYDIS_MNEMONIC_MAX_VALUE + 1];   /* index + 1 in the table of system operations */
	uint8_t hidden_memory[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* enum hidden, by mnemonic */
	struct hidden_registers hidden_registers[1u << HIDDEN_BITS];
	struct peek peeks[PEEK_SIZE];
	struct shape shapes[SHAPES_MAX]; /* from 1 on */
	unsigned shape_count;
	uint16_t shape_at[1u << SHAPE_BITS]; /* index in shapes by hash of the key; 0: none */
	struct insn shape_insn;
	struct access_plan plan[INSNS_MAX][ACCESSES];
	uint8_t stolen[INSNS_MAX]; /* stolen_used() of each, where there are groups */
	struct group groups[STACK_GROUP + 1];
};

struct xlat {
	struct soft_engine *engine;
	struct translator *t;
	struct block *block;
	uint64_t page_va, phys2; /* of the block */
	const uint8_t *page;     /* guest bytes of the page */
	const uint8_t *page2;    /* of the next page, or NULL */
	ZydisDecoder *decoder;
	uint32_t mode;
	uint32_t exit_mode; /* the mode word behind the block */
	bool single;        /* single-step block: leave for C after each instruction */
	bool absolute;
	bool forward; /* forward exits need not poll: nothing here lets interrupts in */

	bool ungrouped; /* each access is checked by itself */

	struct emitter hot, cold;
	struct emitter *o;   /* where code goes now */
	uint32_t host_valid; /* flag bits that are right in RFLAGS */
	uint32_t mem_valid;  /* ... in vcpu.c.aflags */
	unsigned n;
	unsigned held;     /* bit n: the host's R(9+n) still has the value of the guest's, see emit_insn() */
	unsigned r9_group; /* the group that R9 serves, or 0 */
	/* [n]: the group whose first byte's address R(9+n), which is R10 or R11, has as well; it is in memory, too */
	uint8_t copy_of[3];
	unsigned saved; /* bit n: that of group n is in vcpu.group_addend as well */
	bool slotted;   /* the instruction has a slot: the host may refuse its access */
	bool may_slot;  /* the next access may have a slot: nothing has changed if the host refuses it */
	const struct access *direct; /* of what has a slot: it may be made of registers, as it stands */
	uint32_t check;              /* where its check begins */
	int32_t rsp_due;             /* what has still to be added to RSP: see emit_stack_adjust() */

	struct insn *in;     /* the instruction being emitted */
	unsigned access_seg; /* segment of the address in R11: #SS or #GP */
	struct desc *store;  /* its store access, to be completed at its end */
	unsigned sites;      /* how many, with that of the poll */
	uint32_t tail;       /* cache offset of the code that stubs jump to; 0: none yet */
};

static inline uint32_t cache_off(const struct xlat *x, const void *p)
{
	return (uint32_t)((const uint8_t *)p - x->engine->code_rw);
}

static inline bool is_code64(const struct xlat *x)
{
	return x->mode & MODE_CS64;
}

/* The host's R(9+n), for each bit n of @regs, is about to get another value. */
static inline void scratch_lost(struct xlat *x, unsigned regs)
{
	x->held &= ~regs;
	for (unsigned i = 1; i < 3; i++)
		if (regs >> i & 1)
			x->copy_of[i] = 0;
}
#define LOST(reg)    (1u << ((reg)-REG_R9))
#define LOST_SCRATCH 7u

/* translate.c */
/* Does the instruction at page offset @target, in this page, reach into the next one? */
bool insn_straddles(struct xlat *x, int64_t target);
/*
 * Guest R9..R11 are fetched from memory and put back there by each instruction
 * that uses them. But what follows without a memory access finds the value in
 * the host's register of the same name still, and need not wait for it: does @in leave it there?
 */
bool insn_keeps_scratch(const struct insn *in);

/* translate_loop.c */
/*
 * If the block is a hot loop: decodes it, and its body again, as often as is good. Returns the number of
 * instructions of the body; 0: it is no loop.
 */
unsigned decode_loop(struct xlat *x);
/* Where a direct jump leaves the block to, as a page offset: not where it goes on in the block. */
static inline int64_t exit_target(const struct insn *in)
{
	return (int64_t)in->off + in->len + (in->follow ? 0 : in->zi.raw.imm[0].value.s);
}

/* translate_decode.c */
/*
 * Decodes the instruction at @off of the page into @in; bad bytes become SYSOP_UD. False: it
 * reaches into the next page, which is not known.
 */
bool insn_decode(const struct xlat *x, struct insn *in, unsigned off);
/* All operands, hidden ones too. False: Zydis has refused. */
bool insn_all_operands(const struct xlat *x, const struct insn *in,
		       ZydisDecodedOperand all[ZYDIS_MAX_OPERAND_COUNT]);
/* Is all that the translator looks at the same in both? */
bool insn_same(const struct insn *a, const struct insn *b);

/* translate_classify.c */
/* Once for each translator. */
void classify_create(struct translator *t);
void insn_classify(const struct xlat *x, struct insn *in);
void sysop_fill(const struct xlat *x, const struct insn *in, struct sysop *op);
const ZydisDecodedOperand *insn_memory(const struct insn *in);
/* The alignment that the instruction demands of its memory operand, or 0. */
unsigned insn_alignment(const struct insn *in, unsigned size);
/* ZydisRegisterGetClass() searches a table; most registers are general ones. */
static inline ZydisRegisterClass register_class(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return ZYDIS_REGCLASS_GPR64;
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return ZYDIS_REGCLASS_GPR32;
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15B)
		return ZYDIS_REGCLASS_GPR8;
	return ZydisRegisterGetClass(r);
}

/* Number (0..15) of a general or segment register. */
unsigned gpr_number(ZydisRegister r);
unsigned segment_number(ZydisRegister r);
/* The segment of an instruction whose memory operand is implied. */
unsigned segment_override(const struct insn *in, unsigned otherwise);

/* translate_flags.c */
void flags_to_memory(struct xlat *x, uint32_t need);
void flags_to_host(struct xlat *x, uint32_t need);
/* The instruction writes all flags but CF, and somebody wants that: puts it into RFLAGS, so that all are there. */
void flags_carry(struct xlat *x);
/* RFLAGS is about to be overwritten; @live is needed later. */
void flags_clobber(struct xlat *x, uint32_t live);

/* translate_memory.c */
/* Linear address of @mem into R11. Clobbers R10 and RFLAGS (see flags_clobber). @size, @write: for segment checks. */
void emit_linear(struct xlat *x, const ZydisDecodedOperand *mem, unsigned size, bool write, int32_t extra);
/* Effective address, without segment, into R11. Flags survive. */
void emit_effective(struct xlat *x, const ZydisDecodedOperand *mem, int32_t extra);
/* Adds segment base and checks to R11. */
void emit_segment(struct xlat *x, unsigned seg, unsigned size, bool write);
/*
 * PREFETCHh, where that takes no save of the flags: of what the TLB has, for no prefetch ever faults, nor does the
 * guest get to see what else lies in the host's caches.
 */
void emit_prefetch(struct xlat *x);
/* R11: linear address -> host address. */
void emit_access(struct xlat *x, unsigned size, enum access_kind kind);
/* Ends the instruction: what a store trampoline must copy is known now. */
void emit_access_done(struct xlat *x);
/* Linear address of (page + @off) into @reg; flags survive. */
void emit_page_address(struct xlat *x, unsigned reg, int64_t off);
/* An address of our own code: relative jump or call displacement to cache offset @target. */
void emit_rel32(struct xlat *x, uint32_t target);
/* Leaves for C here, at a new site. */
struct desc *emit_leave(struct xlat *x, enum desc_kind kind);
/* The same through another thunk, at cache offset @thunk. */
struct desc *emit_leave_by(struct xlat *x, uint32_t thunk, enum desc_kind kind);
/* The stub of site @number in the cold region; returns its cache offset. */
uint32_t emit_stub(struct xlat *x, unsigned number);

/* translate_group.c */
struct address {
	unsigned base, index; /* EMIT_NOREG: none */
	int32_t disp;
	unsigned scale; /* of the index; 0 is 1 */
};
/* Which accesses of the block share a check. */
void plan_groups(struct xlat *x);
/* An access to [@reg + @index * @scale + @disp]; without an index, @scale is 0. */
#define ACCESS_RIP 16u /* as @reg: the start of the block's page, for what is relative to RIP */
struct access {
	unsigned reg;
	int32_t disp;
	unsigned size;
	bool write;
	unsigned index, scale;
};
/* Is its address made of general registers, or RIP, and a constant, and may other registers take their place? */
bool operand_may_grow(const struct insn *in, const ZydisDecodedOperand *mem);
/* That of a memory operand of which operand_may_grow() is true. */
struct access operand_access(const struct insn *in, const ZydisDecodedOperand *mem);
/*
 * The linear address of @own, which is in R11 -> host address @a. Its check began at cache offset @from. With a slot
 * the address is made of the registers of @own and R11, if none of them is R9..R11.
 */
void emit_access_direct(struct xlat *x, const struct access *own, uint32_t from, enum access_kind kind,
			struct address *a);
/* Where the addend of group @n is in memory. */
uint32_t addend_slot(const struct xlat *x, unsigned n);
/*
 * Puts what R9 holds into memory, if it is wanted again: code in @o, which overwrites R9. A stub does
 * that too, but comes back with R9 fetched from there (struct desc.group).
 */
void save_r9(struct xlat *x, struct emitter *o);
/* The same before R9 gets another value. */
void release_r9(struct xlat *x);
/* Does access @which of the instruction belong to a group? */
bool is_grouped(const struct xlat *x, unsigned which);
/* ... and is not the first there, so that it cannot fail? */
bool is_member(const struct xlat *x, const struct insn *in, unsigned which);
bool is_leader(const struct xlat *x, const struct insn *in, unsigned which);
/* Does the instruction use the stack's TLB entry, so that the host may refuse its access? */
bool in_stack_group(const struct xlat *x);
/*
 * The host address of an access that does, made of guest registers, R9 and R11;
 * R10 as well where @own->reg is R9..R11. Flags survive but in the leader, which
 * saves what is live.
 */
void emit_grouped(struct xlat *x, unsigned which, const struct access *own, struct address *a);

/* translate_copy.c */
/* Bit n: the instruction, copied or LEA, names R(9+n), as an operand that it finds in a register. */
unsigned stolen_used(const struct insn *in);
void emit_copy(struct xlat *x);
void emit_lea_insn(struct xlat *x);
void emit_moffs(struct xlat *x);
void emit_xlat(struct xlat *x);
void emit_bitstring(struct xlat *x);
void emit_incdec(struct xlat *x);

/* translate_inline.c */
bool insn_can_inline(const struct xlat *x, const struct insn *in);
void emit_inline(struct xlat *x);
/* Pushes the value in vcpu.spill[0]. */
void emit_push_spilled(struct xlat *x, unsigned size);

/* translate_string.c */
/* Can it be done without C, mostly? */
bool string_is_fast(const struct xlat *x, const struct insn *in);
void emit_string(struct xlat *x);

/* translate_flow.c */
void emit_jcc(struct xlat *x);
void emit_loop(struct xlat *x);
void emit_jmp(struct xlat *x);
void emit_call(struct xlat *x);
void emit_jump_indirect_insn(struct xlat *x);
void emit_ret(struct xlat *x);
void emit_push(struct xlat *x);
void emit_pop(struct xlat *x);
void emit_leave_insn(struct xlat *x);
/* A new exit from the check of a group to the block at @in that has none, and its stub. */
struct block_exit *emit_group_exit(struct xlat *x);
/* The exit's rel32 comes here next. */
void exit_patch_here(struct xlat *x, struct block_exit *e);
/*
 * Goes on at page offset @target; the flags in @live matter there. @undo: what the
 * instruction has taken from RSP, in case that the target is not canonical.
 */
void emit_exit(struct xlat *x, int64_t target, uint32_t live, int32_t undo);
/* The same from within an interrupt shadow: C runs the instruction there by itself. */
void emit_exit_in_shadow(struct xlat *x, int64_t target);

#endif
