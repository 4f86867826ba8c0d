/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differential tester: random instructions run natively and through the
 * soft engine, and everything that the architecture lets a program see is
 * compared.
 *
 *   gen*.c, filter.c              a 64-bit seed -> a struct diff_case
 *   layout.c                      the memory that a case finds
 *   native.c                      runs cases on the host CPU, in a process of its own
 *   guest.c, stub.S               runs cases in a tiny machine under engine_soft, likewise
 *   report.c                      compares, disassembles
 *   main.c                        options, batches, minimising
 *
 * A case is a user-mode program of a few instructions that ends in INT3, with
 * the complete register state that it starts from. Memory comes from one of a
 * few fixed images; after each case the changed words are listed and undone,
 * so that no case depends on an earlier one.
 */
#ifndef LGUEST_TESTS_DIFF_H
#define LGUEST_TESTS_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- random numbers (splitmix64) ---- */

struct rng {
	uint64_t s;
};

static inline uint64_t rnd(struct rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 .. n-1 */
static inline unsigned rnd_n(struct rng *r, unsigned n)
{
	return (unsigned)(((rnd(r) >> 32) * n) >> 32);
}

static inline bool rnd_pct(struct rng *r, unsigned percent)
{
	return rnd_n(r, 100) < percent;
}

/* ---- memory as a case sees it: the same virtual addresses on both sides ---- */

#define VA_CODE    0x20000000ull     /* code; fresh addresses for each case */
#define VA_SMC     0x345620000000ull /* the same memory again, writable: for code that changes itself */
#define CODE_PAGES 2048u
#define VA_DATA    0x30000000ull /* five pages, see layout.c; nothing before and behind */
#define VA_HIGH    0x130000000ull /* two pages, 4 GiB behind VA_DATA: who drops bits of an address ends there */
#define VA_STACK   0x40000000ull /* two pages; nothing before and behind */

#define DATA_PAGES 9u
#define DATA_WORDS (DATA_PAGES * 512u)
#define IMAGES     8u

struct data_page {
	uint64_t va;
	bool writable;
};

extern const struct data_page data_pages[DATA_PAGES];

/* One full set of contents for the data pages. */
struct data_image {
	uint64_t word[DATA_WORDS];
};

/* A random 64-bit value of a random kind: bits, float, pointer... */
uint64_t rnd_word(struct rng *r);

void image_fill(struct data_image *img, uint64_t seed);

/* ---- cases ---- */

#define MAX_INSNS   24u
#define MAX_CODE    320u
#define XSAVE_BYTES 832u

struct diff_case {
	uint64_t seed;
	uint64_t va; /* where the code stands */
	uint8_t family;
	uint8_t image;
	bool ia32;        /* compatibility mode */
	bool flush;       /* flush the guest's TLB first */
	bool expect_ud;   /* not offered to the guest: #UD at the last instruction, whatever the host says */
	bool loose_cr2;   /* CR2 may be any byte of the right page */
	bool undecodable; /* Zydis does not know it, the host CPU may */
	bool maskmov;     /* has a MASKMOV: whether masked bytes may fault is up to the CPU */
	bool any_cr2;     /* CR2 may be anything */
	uint16_t len;
	uint8_t ninsns;
	uint16_t insn_off[MAX_INSNS + 1];
	uint16_t undefined; /* arithmetic flags that the manuals leave undefined somewhere in here */
	uint8_t code[MAX_CODE];
	uint64_t regs[16];
	uint64_t rflags;
	uint64_t fsbase, gsbase;
	uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

/* Where the code stands in the memory that VA_CODE and VA_SMC map. */
static inline uint64_t code_offset(const struct diff_case *c)
{
	return c->va - (c->va >= VA_SMC ? VA_SMC : VA_CODE);
}

/* A word of data memory that the case left different from the image. */
struct change {
	uint32_t index; /* into data_image.word */
	uint64_t val;
};

#define MAX_CHANGES 96u

struct outcome {
	uint32_t vector;
	uint32_t error;
	uint64_t cr2; /* vector 14 only, else 0 */
	uint64_t regs[16];
	uint64_t rip, rflags;
	uint64_t fsbase, gsbase;
	uint16_t cs, ss, ds, es, fs, gs;
	uint32_t nchanges; /* may exceed MAX_CHANGES: then only the hash tells */
	uint64_t hash;     /* of all changes */
	struct change change[MAX_CHANGES];
	uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

/*
 * Lists in @out what differs between the image and memory, and undoes it.
 * @page[i]: where this side has data_pages[i].
 */
void scan_changes(struct outcome *out, const struct data_image *img, uint64_t *const page[DATA_PAGES]);

/*
 * XSAVE leaves components in their initial state unwritten, and both sides
 * may differ in what the image holds of no architectural meaning: brings @x
 * into one form.
 */
void xsave_normalise(uint8_t *x);

/* ---- families ---- */

enum family_id {
	FAM_INT,
	FAM_0F,
	FAM_0F38,
	FAM_0F3A,
	FAM_X87,
	FAM_MMX,
	FAM_SSE,
	FAM_VEX,
	FAM_STRING,
	FAM_STACK,
	FAM_BRANCH,
	FAM_FLAGS,
	FAM_FAULT,
	FAM_GATHER,
	FAM_PRIV,
	FAM_FENV,
	FAM_SMC,
	FAM_GROUP,
	FAM_FAR,
	FAM_MIX,
	FAM_RAW,
	FAM_ABSENT,
	FAM_INT32,
	FAM_0F32,
	FAM_X8732,
	FAM_SSE32,
	FAM_VEX32,
	FAM_STRING32,
	FAM_STACK32,
	FAM_BRANCH32,
	FAM_FAR32,
	FAM_MIX32,
	FAM_RAW32,
	FAM_COUNT
};

struct family {
	const char *name;
	const char *help;
	bool ia32;
	uint8_t max_insns;
	uint8_t weight; /* share in a run over all families */
};

extern const struct family families[FAM_COUNT];

/* What the guest is offered beyond x86-64-v3 (from the CPUID table). */
struct offered {
	bool aes, pclmul, sha, vaes, vpclmul, adx, gfni, fsgsbase, clwb, clflushopt, movbe, xsavec;
};

/* Asks the CPUID table. False: out of memory. */
bool what_is_offered(struct offered *o);

struct generator;

struct generator *generator_new(const struct offered *offered);
void generator_free(struct generator *g);
/* Fills @c from @seed, with the code to stand at @va. Deterministic. */
void generate_case(struct generator *g, struct diff_case *c, unsigned family, uint64_t seed, uint64_t va);

/* ---- running ---- */

#define BATCH 256u

/* Shared between the coordinator and its two workers. */
struct batch {
	volatile uint32_t count;
	volatile uint32_t current;    /* the case that the working side is at */
	volatile uint32_t done;       /* cases finished */
	volatile uint64_t interrupts; /* delivered to the guest */
	struct diff_case cases[BATCH];
	struct outcome native[BATCH], guest[BATCH];
};

/* Runs in a process of its own: one pass for each byte read from @cmd_fd, answered by one on @done_fd. */
struct worker_args {
	struct batch *batch;
	const struct data_image *images;
	uint8_t *code; /* CODE_PAGES pages, shared, as the coordinator wrote them */
	int code_fd;
	int cmd_fd, done_fd;
	bool interrupts;         /* guest: interrupt it all the time */
	const char *disable;     /* guest: struct engine_config.soft_disable */
	struct outcome *results; /* native or guest half of the batch, or a second native one */
};

void native_worker(const struct worker_args *a);
void guest_worker(const struct worker_args *a);

/* ---- reporting ---- */

/*
 * True when the outcomes agree. Writes what differs to @out unless NULL.
 *
 * @strict: compare the arithmetic flags at faults, too. The engine does not
 * keep flags that the next instructions overwrite unseen, so the flags that a
 * fault handler finds may be stale, though the program cannot tell.
 *
 * Known differences that pass: x87 instruction and data pointers in memory
 * (family fenv), and a memory fault of an x87 instruction where a pending #MF
 * should have come first.
 */
bool outcomes_equal(const struct diff_case *c, const struct outcome *want, const struct outcome *got,
		    bool strict, FILE *out);
void print_case(const struct diff_case *c, FILE *out);

#endif
