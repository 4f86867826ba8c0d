/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory that the host's GS base points at while translated code runs:
 * struct soft_cpu (what the instruction handlers know), then the run-time
 * slots of translated code, the jump caches, and the software TLB.
 *
 * Translated code reaches all of it by a fixed displacement from GS, so one
 * translation serves every vCPU of an engine.
 */
#ifndef LGUEST_SOFT_VCPU_H
#define LGUEST_SOFT_VCPU_H

#include "engine/soft/cpu.h"
#include "engine/soft/signal.h"

/*
 * Jump cache: from the linear address that an indirect jump goes to, to host
 * code; one per view. Valid only for the mode word in jc_mode[view]. What has
 * been pushed out of its slot, jc_index(), lies in the neighbour, slot ^ 1.
 */
#define JC_SIZE 65536u

struct jump_cache {
	uint64_t tag[JC_SIZE];  /* linear address, or jc_none() */
	uint64_t host[JC_SIZE]; /* its host code */
};
#define JC_LOG_SIZE  8192
#define JC_LOG_SHORT 128
#define JC_PAGE_BITS 15
#define JC_NONE      0x8000000000000002ull /* not canonical */

/* What MOVZX does: a mispredicted jump waits for it. */
static inline uint32_t jc_index(uint64_t lin)
{
	return (uint16_t)lin;
}

/* Of a page, in jc_pages. */
static inline unsigned jc_page_bit(uint64_t lin)
{
	return (uint32_t)((lin >> PAGE_SHIFT) * 0x9e3779b1u) >> (32 - JC_PAGE_BITS);
}

/*
 * What an empty slot holds: an address that is looked up in another slot (and
 * its neighbour), for the guest may well jump to 0 or to JC_NONE. Fresh memory is empty, but for JC_FIRST slots.
 */
#define JC_FIRST 2u
static inline uint64_t jc_none(uint32_t index)
{
	return index < JC_FIRST ? JC_NONE : 0;
}

/*
 * The software TLB of one view: direct-mapped by bits 12..31 of the linear
 * address, without a mask, and sparse: the host kernel fills in only what is
 * touched. tag_r/tag_w hold the linear page address for which reads/writes
 * may go straight to host[]. A zero entry never matches, but for index 0,
 * which tlb_clear_view() therefore sets to TLB_NONE: a page that has another
 * index, so that no address which is looked up there lies in it.
 */
#define TLB_BITS 20
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_NONE 0x8000000000001000ull

struct tlb_view_table {
	uint64_t tag_r[TLB_SIZE];
	uint64_t tag_w[TLB_SIZE];
	uint64_t host[TLB_SIZE]; /* host address of the page */
};

/* Pieces of 512 entries (12 KiB) that may stay touched over a flush: 2.25 MiB. */
#define TLB_KEEP 192

/* What has been filled, so that a flush can take it back without a sweep. */
#define TLB_LOG_SIZE 16384
struct tlb_log {
	uint32_t count;
	bool overflow;                /* more fills than the log holds: clear the whole table */
	uint32_t entry[TLB_LOG_SIZE]; /* view << 24 | index */
};

/* Recent translations of code pages, for the dispatcher. */
#define CODE_BLOOM_BITS 14
#define CODE_BLOOM      (1u << CODE_BLOOM_BITS)
#define HUGE_PAGES      16
#define ITLB_SIZE       1024
struct itlb_entry {
	uint64_t tag; /* linear page; 1: none */
	uint64_t phys;
	uint64_t generation; /* valid when equal to the vCPU's */
	uint8_t view;
	bool global;
};

/* A store that translated code made to the bounce buffer, to be finished. */
struct pending_store {
	uint64_t lin;
	uint8_t size;
	bool bounced; /* the bytes wait in bounce[]; else they are in RAM already */
};

/*
 * TLB entries for the pages of the user's stack. Code uses one or another by
 * its own address (stack_entry()): what a function and its callees have on
 * both sides of the edge of two pages does not fight for one entry. Blocks that
 * do all the same are translated anew, without (group_slow()).
 *
 * STACK_NONE: none. What matches that is not canonical, with any addend there
 * can be (less than 2^48 either way), so it faults on the host as it would
 * on the guest's CPU.
 */
#define STACK_GROUP   15
#define TARGET_GROUP  14 /* not a group: R9 holds where an indirect call goes to, while it pushes */
#define STACK_ENTRIES 32
#define STACK_BUDGET  64
#define STACK_NONE    0x8000000000000000ull

struct stack_entry {
	uint64_t tag_r, tag_w; /* linear address of the page, as in the TLB */
	uint64_t addend;       /* what makes it a host address */
};

/*
 * Slots: TLB entries of single places in user code (translate_memory.c), the
 * first half for those that read, the other for those that write, so that no
 * number is ever used for both. What matches an empty one is not canonical with any
 * addend, as above: it faults on the host.
 *
 * A slot that is filled too often is given up: the place goes back to the TLB
 * (access_slow()). slot_budget says how often it may be before the next kick;
 * slot_used which groups of 32 have anything in them.
 */
#define SLOTS       1024
#define SLOT_BUDGET 32

struct access_slot {
	uint64_t tag;    /* linear address of the page */
	uint64_t addend; /* what makes it a host address */
};

static inline unsigned stack_entry(uint64_t phys)
{
	return (phys >> 7 ^ phys >> 12) & (STACK_ENTRIES - 1);
}

/* More pages with code than this are not linked to from other pages. */
#define PAGE_VAS     32768
#define PAGE_VA_LOG  1024
#define PAGE_VA_NONE 1ull /* not the address of a page */

#define EXIT_KINDS 16 /* at least DESC_KINDS */

struct soft_stats {
	uint64_t translated_blocks, translated_insns, code_flushes, invalidations, evictions;
	uint64_t exits[EXIT_KINDS]; /* by enum desc_kind */
	uint64_t dispatches, tlb_misses, bounces, smc_writes, dma_writes;
	uint64_t sysops, interrupts, faults, polls, links, halts, mmio, host_faults;
	uint64_t flush_all, flush_nonglobal, invlpg, jc_forgets, spaces_kept;
	uint64_t stack_moves, slot_moves; /* counted by translated code */
	uint64_t slots_given_up, hot_pieces, heads;
};

/* What an address space leaves in the TLB and the user's jump cache when the guest goes over to another: pcid.c */
#define SPACES      8
#define SPACE_TLB   256
#define SPACE_JUMPS 512
#define SPACE_TURNS 32 /* one in so many is left out, another one each time */
#define SPACE_PAGES 256
struct saved_entry {
	uint32_t where; /* view << 24 | index */
	uint64_t tag_r, tag_w, host;
};
struct saved_jump {
	uint64_t tag, host;
};
struct saved_page {
	uint32_t slot, page; /* place in page_va, and the page of RAM that had it */
	uint64_t va;
};
struct saved_space {
	bool valid;
	uint8_t turn; /* how often something has been saved here */
	uint16_t pcid;
	uint64_t itlb_generation;
	uint32_t jump_mode;
	uint64_t code_flushes; /* of the engine, when its jumps were saved */
	unsigned entries, jumps, pages;
	struct saved_entry entry[SPACE_TLB];
	struct saved_jump jump[SPACE_JUMPS];
	struct saved_page page[SPACE_PAGES];
};

struct soft_vcpu {
	struct soft_cpu c;

	/* ---- written by the thunks and translated code ---- */
	uint64_t vbase;    /* linear address of the page that the current block lies in */
	uint64_t x10, x11; /* scratch registers at an exit */
	uint64_t x9;       /* R9 on entry */
	/* Where the lowest byte of a group of accesses is, if R9 does not have it; by number, from 1 (translate_group.c). */
	uint64_t group_addend[16];
	struct stack_entry stack[STACK_ENTRIES];
	int32_t stack_budget[STACK_ENTRIES]; /* how often an entry may be filled before the next kick */
	uint8_t stack_spent;                 /* the block that C is called for has used it up */
	struct access_slot slot[SLOTS];
	int32_t slot_budget[SLOTS];
	uint8_t slot_used[SLOTS / 32];
	uint8_t slot_spent; /* the access that C is called for has used up its slot's budget */
	uint64_t spill[4];
	uint64_t host_rsp;    /* C's stack while translated code runs */
	uint16_t enter_flags; /* host flags to load on entry, in aflags layout */
	uint16_t exit_flags;  /* host flags at an exit that keeps them */

	/* ---- C only ---- */
	struct soft_stats stats;
	struct pending_store store;
	uint64_t watch_hit;          /* DR6 bits of data watchpoints hit by this instruction */
	const struct block *current; /* the block that C was called from */
	bool current_stale;          /* ... has been invalidated by what C did */
	bool stepping;               /* the current block is a single-step block */
	bool step_tf;                /* TF was set when it began */
	bool step_rf;                /* so was RF */
	bool no_step;                /* ... its instruction is one that has no trap behind it */
	bool faulted;                /* it ended in a fault */
	bool unfinished;             /* it is a REP that has more to do */
	bool shadow_step;            /* one instruction in an interrupt shadow */
	uint32_t shadow_exit_request;
	bool ungrouped;               /* the next block is to be one without groups */
	bool leave_behind;            /* the pending store has changed the current block */
	struct block_exit *link_from; /* the exit that led to this dispatch */
	uint64_t link_generation;     /* ... is only good while no flush came between */
	uint32_t jc_mode[VIEW_COUNT];
	bool jc_nonglobal[VIEW_COUNT];
	uint32_t jc_log_count[VIEW_COUNT];
	uint16_t jc_log[VIEW_COUNT][JC_LOG_SIZE];
	/* Pages (hashed) that a jump cache has, or had, entries for. */
	uint64_t jc_pages[VIEW_COUNT][(1u << JC_PAGE_BITS) / 64];
	/* The current one; the highest that there has been: of 64 bits, for pcid.c lets old ones live for ever. */
	uint64_t itlb_generation, itlb_last;
	struct itlb_entry itlb[ITLB_SIZE];
	struct tlb_log log_global, log_local;
	/*
	 * Which 4 KiB pieces of each table's arrays user pages have touched, and
	 * how many: address space randomization spreads processes over all of it.
	 */
	uint64_t tlb_touched[VIEW_COUNT][TLB_SIZE / 512 / 64];
	unsigned tlb_touched_count, tlb_global_count;
	uint64_t tlb_global[VIEW_COUNT][TLB_SIZE / 512 / 64]; /* ... that have, or had, global entries */
	/* Pages (hashed) that jump caches or cross-page links may lead to; [1]: of the upper half of the address space. */
	uint64_t code_bloom[2][CODE_BLOOM / 64];
	/* Pages of 4 MiB or 1 GiB in use, by linear address >> 30; more than HUGE_PAGES: not all are here */
	unsigned huge_count;
	uint64_t huge_page[HUGE_PAGES];
	/* 2 MiB regions (index >> 9) with entries that come from a large page, by half as well */
	uint64_t large_bitmap[2][TLB_SIZE / 512 / 64];

	struct saved_space space[SPACES];
	/*
	 * Where pages with code are mapped, to be executed by the user, in this address space: by
	 * the number of the page's struct code_page. PAGE_VA_NONE: not known. See cross.c.
	 */
	uint64_t page_va[PAGE_VAS];
	unsigned page_va_count; /* of those that were noted; PAGE_VA_LOG + 1: more than the log holds */
	uint16_t page_va_log[PAGE_VA_LOG];
	bool low_global; /* since the last flush of all there has been a global page in the lower half of the address space */

	struct signal_target host_fault; /* the signal handler's report */

	uint8_t bounce_area[192] __attribute__((aligned(64)));

	/* page aligned, both, or jc_give_back() and tlb_clear_view() could not give pages back */
	struct jump_cache jc[VIEW_COUNT] __attribute__((aligned(4096)));
	struct tlb_view_table tlb[VIEW_COUNT] __attribute__((aligned(4096)));
};

#define VOFF(field) ((uint32_t)offsetof(struct soft_vcpu, field))

static inline struct soft_vcpu *to_vcpu(struct soft_cpu *c)
{
	return (struct soft_vcpu *)c;
}

#endif
