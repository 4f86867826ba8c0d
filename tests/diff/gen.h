/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the generator.
 *
 * Register values are chosen lazily: an instruction that needs a pointer takes
 * registers that nobody has spoken for and gives them values that add up to
 * the wanted address, so that bases and indices look like anything at all.
 */
#ifndef LGUEST_TESTS_DIFF_GEN_H
#define LGUEST_TESTS_DIFF_GEN_H

#include <Zydis/Zydis.h>

#include "diff.h"

#define MAX_FIXUPS 24u

/* A branch displacement (or absolute address) to be filled with a label. */
struct fixup {
	uint16_t at;  /* offset of the field */
	uint8_t size; /* 1 or 4 */
	bool absolute;
	uint16_t next; /* offset behind the instruction: what displacements count from */
	uint8_t first; /* lowest instruction number that may be the target */
};

#define REG_SP_NUM 4

struct generator {
	struct offered offered;
	ZydisDecoder dec64, dec32;

	/* the case at hand */
	struct rng r;
	struct diff_case *c;
	uint32_t assigned; /* GPRs whose initial value is settled */
	uint32_t dirty;    /* GPRs that an instruction so far may have written */
	bool last;         /* the last instruction: faults are welcome */
	uint32_t labels;   /* instructions that may be jumped to */
	bool bases;        /* family group: they have been chosen */
	unsigned base[2];  /* the registers that memory is accessed off */
	uint64_t near;     /* ... or where RIP is as it were, if that is one of them */
	int32_t away[2];   /* ... how far they have been moved from there */
	bool own_code;     /* ... base[0] points at the case itself */
	unsigned index;    /* ... what may be added to both, or 0 (RAX): nothing */
	bool indexed;      /* ... is added in this access */
	unsigned scale;    /* ... times 1 << scale */
	unsigned nfixups;
	struct fixup fixup[MAX_FIXUPS];
};

/* Kinds of instruction, by what they need from the generator and the tester. */
enum insn_class {
	CLASS_REJECT,
	CLASS_INT,
	CLASS_X87,
	CLASS_MMX,
	CLASS_SSE,
	CLASS_VEX,
	CLASS_STRING,
	CLASS_STACK,
	CLASS_GATHER,
	CLASS_PRIV,   /* faults at CPL 3 */
	CLASS_FENV,   /* stores pointers to the last FPU instruction */
	CLASS_ABSENT, /* not offered to the guest: #UD there */
};

enum insn_class classify(const struct offered *o, const ZydisDecodedInstruction *in,
			 const ZydisDecodedOperand *op, bool ia32);

/* Where a random instruction is drawn from. */
enum opcode_space { SPACE_ONE, SPACE_0F, SPACE_0F38, SPACE_0F3A, SPACE_X87, SPACE_VEX, SPACE_EVEX };

/* Appends a random instruction of the space and class (a bit mask of 1 << class). */
bool gen_random(struct generator *g, enum opcode_space space, uint32_t classes);

/* Appends @n bytes as one instruction; @regs_written go dirty. */
void gen_emit(struct generator *g, const uint8_t *b, unsigned n, uint32_t regs_written);

/* Appends branches: gen_flow.c. */
void gen_branch(struct generator *g);
/* Appends far jumps and returns between 64-bit and 32-bit code. */
void gen_far(struct generator *g);
/* Appends code that changes code. */
void gen_smc(struct generator *g);
/* Appends an access off one of two registers, or a change to them: gen_group.c. */
void gen_group(struct generator *g);
void gen_resolve_fixups(struct generator *g);

/* A register, r9 to r11 more often than others. */
unsigned gen_reg(struct generator *g);
/* An address in the data pages for @size bytes. */
uint64_t gen_target(struct generator *g, unsigned size, bool write);

#endif
