/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translated blocks, the code cache that holds them, and what ties a block to
 * the guest memory it was made from.
 *
 * A block is keyed by the physical address of its first byte and the mode
 * word. Most blocks do not know at which linear address they run: they find
 * the linear address of their page in vcpu.vbase, so that a shared library is
 * translated once for all processes. Blocks of global supervisor pages (the
 * kernel's text) are `absolute`: they have the linear address baked in, and
 * may be chained across pages until the next flush of global translations.
 *
 * The cache has two parts: hot code, and cold stubs that leave for C (site.c).
 * Both are mapped twice, once writable and once executable. Beside them lies
 * the metadata: struct block and friends. All three are divided into regions
 * of the same number, which are filled in turn; when the last is full, the
 * first is emptied, at a dispatch. So the oldest code goes, whether it is in
 * use or not; what is will be translated again soon enough.
 */
#ifndef LGUEST_SOFT_BLOCK_H
#define LGUEST_SOFT_BLOCK_H

#include "engine/soft/emit.h"
#include "engine/soft/vcpu.h"
#include "host/hugepages.h"
#include "memory.h"

#define CODE_REGIONS  10
#define REGION_HOT    (1520u << 10)
#define REGION_COLD   (800u << 10)
#define REGION_META   (1256u << 10)
#define REGION_BLOCKS 16384
#define CODE_HOT_SIZE (CODE_REGIONS * REGION_HOT)
#define CODE_CACHE_SIZE \
	(CODE_HOT_SIZE + CODE_REGIONS * REGION_COLD) /* documented in README.md and lguest.1 */
#define META_SIZE (CODE_REGIONS * REGION_META)
#define HOT_ALIGN 4u

/*
 * Buckets of a cache line each. A slot holds part of the hash and the block's meta
 * offset / 8, so that most lookups that find nothing touch nothing else.
 */
#define HASH_BUCKET_BITS 14
#define HASH_BUCKET      16
#define HASH_PIECE_BITS  6
#define HASH_OFF_BITS    21
_Static_assert(META_SIZE >> 3 <= 1u << HASH_OFF_BITS, "a hash slot holds any meta offset");

struct block;

/*
 * What stands before a block's first instruction. Nearly half of all blocks are only ever reached by
 * forward exits, which skip all of it, and of the others many never through the jump cache: what is not
 * wanted by the one that a block is translated for is left out. When somebody else comes, the block is translated anew.
 */
enum block_head {
	HEAD_FULL, /* the prologue, for who comes from the jump cache (not in absolute blocks), and the poll */
	HEAD_POLL, /* the poll: for linked exits */
	HEAD_NONE, /* for forward exits, and C */
};

/* How blocks and exits refer to each other: by meta offset / 4; 0: none. */
#define META_REF_BITS 22
#define META_REF_MASK ((1u << META_REF_BITS) - 1)
_Static_assert(META_SIZE >> 2 <= 1u << META_REF_BITS, "a reference holds any meta offset");

/*
 * A direct exit of a block, whose jump can be made to lead to its target.
 * There are more of these than of anything else. They find their block by lying behind it.
 */
struct block_exit {
	uint64_t to : META_REF_BITS;      /* the block it is linked to */
	uint64_t next_in : META_REF_BITS; /* list of to->incoming */
	uint64_t index : 7;               /* its number in the block */
	bool cross : 1;                   /* the target lies in another page */
	/* Of one that leads to another page: the instruction's page offset, whether it jumped, and pushed eight bytes */
	uint64_t off : 12;
	bool branch : 1;
	bool call : 1;
	uint32_t moved : 2; /* how often it was linked, but not to where it led: MOVED_MAX is enough */
	bool never : 1;     /* its target straddles pages, or is never the same for long: do not try again */
	/* Leads on in the same page, beyond the start of its block: no need to poll there, for no loop is without another exit */
	bool forward : 1;
	bool patch_cold : 1; /* the rel32 lies in cold code */
	bool ungrouped : 1;  /* leads to the block without groups */
	bool other_ac : 1;   /* the mode word at the target has MODE_AC flipped */
	uint32_t unused : 1;
	uint32_t prev_in : META_REF_BITS; /* 0: the first one there */
	int32_t target;                   /* offset from the page of the block */
	uint16_t patch;                   /* the rel32: offset from the block's hot, or cold, code */
	uint16_t stub;                    /* what that leads to while unlinked: offset from its cold code */
} __attribute__((packed, aligned(4)));

#define MOVED_MAX 3

/* Guest instructions that the host CPU may refuse, in order: for faults in copied code. */
struct insn_map {
	uint16_t host;       /* offset from the block's hot code */
	uint16_t guest;      /* offset from the block's first byte */
	uint16_t host_flags; /* compressed mask of flags that live in RFLAGS (flags_pack) */
};

/*
 * In the metadata, in one piece: struct block, its exits, and from the next multiple of eight on page_va if it is
 * absolute, struct block_second if it has a second part, its struct sysops, the
 * sites (packed descriptors), its map.
 */
struct block {
	uint64_t phys;
	uint64_t dep; /* 64-byte granules of the first page it depends on */
	uint32_t mode;
	uint32_t hot : 25; /* cache offset */
	uint32_t head : 2; /* enum block_head */
	bool absolute : 1;
	bool invalid : 1;
	bool second : 1;
	bool on_cross : 1; /* it is on the engine's list of those */
	uint32_t cold : 25;
	uint32_t exit_count : 7;
	uint32_t incoming : META_REF_BITS; /* exits linked to it: the first */
	uint32_t site_words : 10;
	uint32_t page_next : META_REF_BITS; /* another block of the page */
	uint32_t map_count : 6;
	uint32_t next_cross : META_REF_BITS; /* list of blocks with linked exits that lead to another page */
	uint32_t sysop_count : 5;
};
_Static_assert(sizeof(struct block) == 40 && sizeof(struct block_exit) == 20, "there are many of them");
_Static_assert(CODE_CACHE_SIZE <= 1u << 25, "hot and cold");

/* Of a block whose instruction straddles pages. */
struct block_second {
	uint64_t phys;      /* physical page of the second part */
	uint64_t dep;       /* granules of it that the block depends on */
	uint32_t page_next; /* a reference as in struct block */
	uint32_t unused;
};

/* The oldest and the newest of a list. */
struct page_blocks {
	uint32_t first, last;
};

/* Physical pages with code in them. */
struct code_page {
	struct page_blocks blocks;  /* through page_next */
	struct page_blocks blocks2; /* those whose second part lies here, through that's page_next */
	uint64_t granules;          /* any block depends on these bytes */
	uint32_t page;              /* its index in code_pages */
	/* Of a free one: index of the next. Else the number of the last emptying of a region that looked at it. */
	uint32_t next;
};

/*
 * What a place in translated code, a site, says when it leaves for C. In R9 it
 * brings its id: the meta offset of its block / 8, and its number there. Sites are
 * kept packed: see site_pack().
 */
enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_RMW };

enum desc_kind {
	DESC_EXIT,       /* direct exit that is not linked */
	DESC_JUMP,       /* indirect jump: x11 = linear target (or EIP under CSBASE) */
	DESC_STALE,      /* entry of an invalidated block, through the jump cache: x11 = linear address */
	DESC_POLL,       /* exit_request at block entry */
	DESC_ACCESS,     /* memory access that missed the TLB */
	DESC_SEGMENT,    /* x11 = effective address: check the segment, return the linear address in r11 */
	DESC_SYSOP,      /* has a struct sysop */
	DESC_STORED,     /* a store trampoline has run its instruction */
	DESC_STRING,     /* rep string instruction; has a struct sysop */
	DESC_GROUP,      /* the check of a group of accesses failed */
	DESC_HOST_FAULT, /* a copied instruction faulted: see vcpu.host_fault */
	DESC_KINDS
};

#define SITE_STORED 0x80000000u /* in an id: the trampoline of that site, DESC_STORED */
#define SITE_POLL   0 /* the number of each block's poll; others follow, exits count down from SITE_EXIT */
#define SITE_EXIT   255
/* Ids below 256 belong to no block, they are the kind: DESC_STALE, DESC_HOST_FAULT. */
static inline uint32_t site_id(uint32_t block, unsigned number)
{
	return block >> 3 << 8 | number;
}

struct sysop;

struct desc {
	uint32_t id;
	uint8_t kind;
	uint8_t len;    /* of the guest instruction */
	uint8_t group;  /* the group that R9 serves, or 0 */
	uint16_t off;   /* its offset from the page (0..4095) */
	uint32_t block; /* meta offset of the struct block */
	/* cache offset: of the access itself, r11 = host address; of the check of a group; behind the exit */
	uint32_t resume;
	union {
		struct {
			uint8_t size;
			uint8_t write; /* enum access_kind; for DESC_SEGMENT, 0 or 1 */
			uint8_t seg;   /* enum x86_segreg */
			bool align;    /* not a multiple of its size: #GP(0) */
			bool stay;     /* a call: not to be left behind the store */
			bool direct; /* r11 = what to add to the linear address, instead of the host address */
			uint8_t host_flags; /* flags in RFLAGS after the instruction (flags_pack) */
			uint8_t op_len;     /* bytes from resume to the end of the instruction's host code */
		} access;
		struct {
			uint8_t size;   /* of the first access of the group */
			uint8_t write;  /* its enum access_kind */
			bool all_write; /* some access of the group writes */
			bool stack;     /* checked against the block's entry in vcpu.stack */
			uint8_t exit;   /* number of the exit to the block without groups */
			uint16_t span;  /* bytes from the lowest to the highest */
			uint16_t own;   /* the first access' distance from the lowest */
		} check;
		struct {
			const struct sysop *op;
		} sys;
		struct {
			int32_t undo; /* what to add to RSP if the target is not canonical: #GP at the branch */
		} jump;
		struct {
			uint8_t exit; /* number of the struct block_exit */
		} exit;
	};
};

/* Behind the code that leaves a check of the stack's group for a thunk: where that finds it, from R9. */
struct stack_record {
	uint32_t resume; /* cache offset of the check */
	uint16_t span;
	uint8_t group; /* that R9 serves */
} __attribute__((packed, aligned(1)));

/* The same of an access with a slot; behind it goes on what leaves for C. */
struct slot_record {
	uint32_t resume; /* cache offset of the check, or of the access itself, r11 = host address */
	uint16_t slot;   /* its number, times 2 */
	uint16_t addend; /* where in the vCPU R9 is to be had from */
	uint8_t size;
} __attribute__((packed, aligned(1)));

/* ---- site.c: fast C ---- */
/* Packs @d, of block @b, into @words (at least SITE_WORDS); returns how many. */
#define SITE_WORDS 3
unsigned site_pack(const struct block *b, const struct desc *d, uint32_t *words);
/* What site @id says. */
struct soft_engine;
void site_read(const struct soft_engine *e, uint32_t id, struct desc *d);

/* Where the trampoline of a store site is; direct-mapped by the site's offset. */
#define TRAMP_CACHE_SIZE 4096
struct tramp_cache_entry {
	uint32_t site;  /* id */
	uint32_t start; /* cache offset; 0: empty */
};

struct trampoline {
	uint32_t start, end; /* cache offsets */
	uint32_t site;       /* id */
};

/* Mostly there is one (the kernel's direct map), or two. Each: view << 24 | index, | WRITER_VALID; 0: none. */
struct page_writers {
	uint32_t entry[2];
};
#define WRITER_VALID 0x80000000u
#define WRITER_MANY  0x40000000u /* in entry[0]: there are more */

/*
 * Pages that devices have written over code. Filled on any thread (dma_written(),
 * one at a time), emptied on the vCPU's.
 */
#define DMA_RING 4096
struct dma_ring {
	_Atomic uint32_t head, tail; /* free running */
	_Atomic bool overflow;       /* there were more: forget all code */
	uint32_t page[DMA_RING];
};

#define SLOT_REFUSED 65536
#define HINTS_MAX    (SLOT_REFUSED / 4)
struct translator;

/* Optimizations that can be switched off, to find out which one is at fault. */
enum soft_disable {
	SOFT_NO_FORWARD = 1u << 0,     /* forward exits poll like all others */
	SOFT_NO_JUMP2 = 1u << 2,       /* no second look into the jump cache */
	SOFT_NO_GROUPS = 1u << 1,      /* each access is checked by itself */
	SOFT_NO_STRINGS = 1u << 4,     /* REP MOVS and REP STOS are done in C */
	SOFT_NO_SLOTS = 1u << 8,       /* no place in user code has a TLB entry of its own */
	SOFT_NO_CROSS = 1u << 9,       /* user code goes to other pages through the jump cache */
	SOFT_NO_HELD = 1u << 6,        /* R9..R11 are fetched from memory by each instruction */
	SOFT_NO_SAMPLING = 1u << 7,    /* all places in user code have slots, not only those that are hot */
	SOFT_NO_STACK = 1u << 3,       /* the user's stack has no TLB entry of its own */
	SOFT_NO_LINKS = 1u << 16,      /* exits are never linked to blocks */
	SOFT_NO_FLAGS = 1u << 12,      /* all arithmetic flags are kept, whether anybody wants them or not */
	SOFT_NO_INLINE = 1u << 13,     /* CLI, STI, PUSHF, SWAPGS, STAC and CLAC are done in C */
	SOFT_NO_STRADDLE = 1u << 14,   /* exits to what straddles pages go to C */
	SOFT_NO_PCID = 1u << 15,       /* each MOV to CR3 flushes the TLB */
	SOFT_NO_PAGE_JUMPS = 1u << 17, /* INVLPG of a user page empties the jump cache */
	SOFT_NO_SHAPES = 1u << 19,     /* Zydis decodes each instruction */
	SOFT_NO_SHORT = 1u << 5,       /* blocks go on behind any conditional jump */
	SOFT_NO_LOOPS = 1u << 10,      /* hot loops are not unrolled */
	SOFT_NO_CARRY = 1u << 20,      /* INC and DEC have their CF merged from memory when flags are saved */
	SOFT_NO_PREFETCH = 1u << 21,   /* PREFETCHh does nothing */
	SOFT_NO_HEADS = 1u << 22,      /* all blocks have a prologue and a poll */
	SOFT_NO_REGIONS = 1u << 18,    /* a full code cache is emptied as a whole */
	SOFT_NO_HUGE = 1u << 23,       /* code and metadata stay in small pages */
};

/* What the vCPU takes before the executable code, which may move to huge pages. */
#define VCPU_SPACE ((sizeof(struct soft_vcpu) + HUGE_SIZE - 1) & -HUGE_SIZE)
_Static_assert(VCPU_SPACE + CODE_CACHE_SIZE < INT32_MAX,
	       "all of the vCPU is within reach of RIP-relative operands");

struct soft_engine {
	struct engine e;
	struct guest_memory memory;          /* a copy of the description; RAM and loading outlive us */
	struct guest_memory *watched_memory; /* the original, whose marks we keep */
	const struct cpuid_table *cpuid;
	void *perf_map;   /* FILE *, or NULL */
	uint32_t disable; /* SOFT_NO_... */
	/* CLOCK_MONOTONIC in ns: when the program began, when the guest did; 0: not known */
	uint64_t started, first_run;
	uint64_t first_run_cpu; /* the program's CPU time until then */

	/* code cache */
	int code_fd;
	/*
	 * Its two mappings. The vCPU lies right before the one to execute, since code finds it by that
	 * distance (each of several vCPUs would have such a mapping of its own).
	 */
	uint8_t *code_rw, *code_rx;
	unsigned region;              /* the one that is being filled */
	uint32_t hot_next, cold_next; /* cache offsets */
	uint32_t hot_end, cold_end;   /* of the region */
	uint32_t hot_start;           /* of the first region, behind the thunks */
	/* fills the entry in vcpu.stack from the TLB, [1]: for writes */
	uint32_t thunk_stack[STACK_ENTRIES][2];
	uint32_t thunk_slot[2];          /* fills a slot from the TLB, [1]: for writes */
	uint32_t thunk_jump[VIEW_COUNT]; /* looks into the neighbouring slot, then leaves */
	uint32_t thunk_enter, thunk_exit, thunk_exit_flags, thunk_stale;
	bool flush_wanted, region_wanted;
	unsigned next_slot[2];
	/* Places (hashed by physical address) whose slot was filled too often. */
	uint64_t slot_refused[SLOT_REFUSED / 64];
	/* Pieces of code (hashed by physical address) in which an interrupt came: hot, so that slots are worth it. */
	uint64_t slot_hot[SLOT_REFUSED / 64];
	uint32_t hints; /* how often a bit was set in either */

	/* metadata, bump-allocated, reset with the code */
	uint8_t *meta;
	uint32_t meta_next, meta_end;
	uint32_t (*hash)[HASH_BUCKET];
	uint32_t cross_links; /* reference to the first block that has any */
	uint32_t emptied;     /* how many regions have been */
	/* References to a region's blocks in order of hot code, and how many */
	uint32_t (*by_hot)[REGION_BLOCKS];
	uint32_t by_hot_count[CODE_REGIONS];
	struct trampoline *trampolines;
	uint32_t trampoline_count, trampoline_max;
	struct tramp_cache_entry *tramp_cache;

	struct hugepages *huge; /* for code and metadata, by number; NULL: not wanted */
	unsigned huge_hot, huge_cold, huge_meta;

	/* one entry per page of RAM, in memfd order */
	uint32_t *code_pages; /* index in code_page_pool, 0: no code */
	/* All of them: a page can be watched without having a block. Never as many as pages of RAM. */
	struct code_page *code_page_pool;
	uint32_t code_page_next, code_page_free;
	/* TLB entries through which each page of RAM may be written: see note_writer() in mmu.c */
	struct page_writers *writers;
	struct dma_ring dma;

	struct translator *translator;
	struct soft_vcpu *vcpu; /* the only one for now */
};

/* The place of the instruction at @phys in slot_refused; of a block and the stack's entries: ~@phys. */
static inline uint64_t *slot_refused(struct soft_engine *e, uint64_t phys, uint64_t *bit)
{
	uint64_t h = phys * 0x9e3779b97f4a7c15ull >> 48;

	*bit = 1ull << (h & 63);
	return &e->slot_refused[h >> 6];
}

#define SLOT_PIECE 256u /* bytes */

static inline uint64_t *slot_hot(struct soft_engine *e, uint64_t phys, uint64_t *bit)
{
	uint64_t h = phys / SLOT_PIECE * 0x9e3779b97f4a7c15ull >> 48;

	*bit = 1ull << (h & 63);
	return &e->slot_hot[h >> 6];
}

static inline void *meta_at(const struct soft_engine *e, uint32_t off)
{
	return e->meta + off;
}

static inline uint32_t meta_off(const struct soft_engine *e, const void *p)
{
	return (uint32_t)((const uint8_t *)p - e->meta);
}

/* References, see META_REF_BITS. */
static inline uint32_t meta_ref(const struct soft_engine *e, const void *p)
{
	return meta_off(e, p) >> 2 & META_REF_MASK;
}

static inline struct block *block_of(const struct soft_engine *e, uint32_t ref)
{
	return ref ? meta_at(e, ref << 2) : NULL;
}

static inline struct block_exit *exit_of(const struct soft_engine *e, uint32_t ref)
{
	return ref ? meta_at(e, ref << 2) : NULL;
}

/* Index of a RAM page in the per-page tables, or -1. */
static inline int64_t ram_page(const struct soft_engine *e, uint64_t phys)
{
	if (phys < e->memory.low_size)
		return (int64_t)(phys >> PAGE_SHIFT);
	if (phys >= GUEST_HIGH_BASE && phys - GUEST_HIGH_BASE < e->memory.high_size)
		return (int64_t)((phys - GUEST_HIGH_BASE + e->memory.low_size) >> PAGE_SHIFT);
	return -1;
}

/* The place in vcpu.page_va of the page at @phys; 0: it has no code, or there are too many. */
static inline uint32_t page_va_slot(const struct soft_engine *e, uint64_t phys)
{
	int64_t page = ram_page(e, phys);
	uint32_t slot = page < 0 ? 0 : e->code_pages[page];

	return slot < PAGE_VAS ? slot : 0;
}

/* Does a link of @x need a proof that the target is mapped? */
static inline bool exit_is_proven(const struct block *b, const struct block_exit *x)
{
	return x->cross && !b->absolute;
}

/* Six flag bits in one byte: for sites and maps. */
static inline uint8_t flags_pack(uint32_t f)
{
	return (uint8_t)((f & 0xd5) | ((f & FLAG_OF) ? 2 : 0));
}

static inline uint32_t flags_unpack(uint8_t p)
{
	return (p & 0xd5u) | ((p & 2) ? FLAG_OF : 0);
}

/* The same mask in the aflags layout (OF bit 0, LAHF image in bits 8..15). */
static inline uint16_t flags_ax_mask(uint32_t f)
{
	return (uint16_t)(((f & 0xd5u) << 8) | ((f & FLAG_OF) ? 1 : 0));
}

/* ---- block.c: fast C ---- */

/* Room in the metadata, or NULL when the region's is full. */
void *meta_alloc(struct soft_engine *e, size_t size);

static inline struct block_exit *block_exits(const struct block *b)
{
	return (struct block_exit *)(uintptr_t)(b + 1);
}

static inline struct block *exit_block(const struct block_exit *x)
{
	return (struct block *)(uintptr_t)(x - x->index) - 1;
}

static inline size_t exits_size(unsigned count)
{
	return (count * sizeof(struct block_exit) + 7) & ~(size_t)7;
}

/* What lies behind the exits. */
static inline void *block_rest(const struct block *b)
{
	return (uint8_t *)(uintptr_t)(b + 1) + exits_size(b->exit_count);
}

/* Absolute blocks: linear address of the page; else 0. */
static inline uint64_t block_page_va(const struct block *b)
{
	return b->absolute ? *(const uint64_t *)block_rest(b) : 0;
}

/* NULL: it has no second part. */
static inline struct block_second *block_second(const struct block *b)
{
	return !b->second ? NULL : (struct block_second *)((uint64_t *)block_rest(b) + b->absolute);
}

/* Physical page of the second part; ~0: none. */
static inline uint64_t block_phys2(const struct block *b)
{
	return b->second ? block_second(b)->phys : ~0ull;
}

const uint32_t *block_sites(const struct block *b);
static inline struct insn_map *block_map(const struct block *b)
{
	return (struct insn_map *)(uintptr_t)(block_sites(b) + b->site_words);
}

/* What the block is found by at the target of its exit. */
static inline uint32_t exit_mode(const struct block_exit *x)
{
	return (exit_block(x)->mode & ~MODE_UNGROUPED) ^ (x->other_ac ? MODE_AC : 0) ^
	       (x->ungrouped ? MODE_UNGROUPED : 0);
}

/* Has the region room for @bytes of hot, and of cold, code and one more block? */
static inline bool code_room(const struct soft_engine *e, uint32_t bytes)
{
	return e->hot_end - e->hot_next >= bytes && e->cold_end - e->cold_next >= bytes &&
	       e->by_hot_count[e->region] < REGION_BLOCKS;
}

/* Its code ends at @hot_next and @cold_next: there the next block's begins. */
static inline void code_commit(struct soft_engine *e, const struct block *b, uint32_t hot_next,
			       uint32_t cold_next)
{
	e->by_hot[e->region][e->by_hot_count[e->region]++] = meta_ref(e, b);
	e->hot_next = (hot_next + HOT_ALIGN - 1) & ~(HOT_ALIGN - 1);
	e->cold_next = cold_next;
}

/* The 64-byte granules of a page that bytes [@from, @to) of it lie in. */
static inline uint64_t granules(unsigned from, unsigned to)
{
	unsigned first = from >> 6, last = (to - 1) >> 6;
	uint64_t m = ~0ull << first;

	if (last < 63)
		m &= (2ull << last) - 1;
	return m;
}

/*
 * The block for this key. When it straddles a page its second physical page has
 * to be compared by the caller, who passes it as @phys2 (~0: any).
 */
struct block *block_find(struct soft_engine *e, uint64_t phys, uint32_t mode, bool absolute, uint64_t page_va,
			 uint64_t phys2);
void block_insert(struct soft_engine *e, struct block *b);
/* It is to be translated anew; who is inside it may go on. */
void block_drop(struct soft_engine *e, struct block *b);
void block_link(struct soft_engine *e, struct block_exit *x, struct block *to);
void block_unlink_cross(struct soft_engine *e);
/* Undoes the link of @x, if it has one. */
void block_unlink_exit(struct soft_engine *e, struct block_exit *x);
/* @x, between pages of user code, goes through the jump cache for ever (cross.c). */
void block_never_link(struct soft_engine *e, struct block_exit *x);
/* Does RAM page @index have code in it? */
static inline bool page_has_code(const struct soft_engine *e, int64_t index)
{
	return e->code_pages[index] != 0;
}
/*
 * [@phys, @phys + @len), within one page, is about to change: drops the blocks
 * that depend on it. True when @current was among them.
 */
bool block_invalidate(struct soft_engine *e, uint64_t phys, unsigned len, const struct block *current);
/* Drops them, so that they are translated anew; the bytes stay. */
void block_forget(struct soft_engine *e, uint64_t phys, unsigned len);
/* For guest_memory_watch(): notes the page and makes the vCPU come to dma_drain(). */
void dma_written(void *engine, uint64_t page);
static inline bool dma_pending(struct soft_engine *e)
{
	return __atomic_load_n(&e->dma.head, __ATOMIC_ACQUIRE) !=
		       __atomic_load_n(&e->dma.tail, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&e->dma.overflow, __ATOMIC_ACQUIRE);
}
/* Drops the blocks of pages that devices have written. Sets vcpu.current_stale and flush_wanted. */
void dma_drain(struct soft_vcpu *v);
/* Makes writes to RAM page @page known: from now on it counts as code. */
void page_watch(struct soft_engine *e, uint32_t page);
/* Goes over to the next region, which is emptied first. Only while no vCPU is inside translated code. */
void block_next_region(struct soft_engine *e);
/* For fresh memory, whose tables are all zero: nobody touches them before there is something to put in. */
void block_start(struct soft_engine *e);
/* Empties the cache. Only while no vCPU is inside translated code. */
void block_flush_all(struct soft_engine *e);
/* The block whose hot code holds cache offset @off, and the map's entry for the instruction; NULL if none. */
struct block *block_at(struct soft_engine *e, uint32_t off, const struct insn_map **map);
/* The id of the site whose trampoline lies there, or 0. */
uint32_t trampoline_at(struct soft_engine *e, uint32_t off);

/* ---- thunk.c ---- */
void thunks_create(struct soft_engine *e);

/* ---- translate.c: ordinary C ---- */
struct translator *translator_create(struct soft_engine *e);
void translator_destroy(struct translator *t);
/*
 * Translates the block at physical @phys. @page_va: linear address of its
 * page (only stored when @absolute). When its first instruction straddles the
 * page, @phys2 is the physical address of the next page, or ~0 when that is not
 * known yet: then returns NULL with *@need_second set. NULL and not
 * *@need_second: the code cache is full. The block has @head, or more.
 */
struct block *translate(struct soft_engine *e, uint64_t phys, uint32_t mode, bool absolute, uint64_t page_va,
			uint64_t phys2, enum block_head head, bool *need_second);
#define PROLOGUE_LEN 14 /* sets vbase */
/* Where C and direct jumps enter: behind that. Here, for fast C. */
static inline uint32_t block_direct_entry(const struct block *b)
{
	return b->hot + (b->absolute || b->head != HEAD_FULL ? 0 : PROLOGUE_LEN);
}
#define POLL_LEN 14 /* then comes the poll, then this is skipped by forward exits */
static inline uint32_t block_forward_entry(const struct block *b)
{
	return block_direct_entry(b) + (b->head == HEAD_NONE ? 0 : POLL_LEN);
}
/* Writes to the @size bytes of the code cache at offset @at. */
static inline struct emitter code_emitter(const struct soft_engine *e, uint32_t at, uint32_t size)
{
	uint8_t *p = e->code_rw + at;

	return (struct emitter){ .p = p,
				 .end = p + size,
				 .vcpu = (uint64_t)(uintptr_t)e->code_rw - VCPU_SPACE };
}
/* Makes the store trampoline for @site, and returns its cache offset, or 0 when the cache is full. */
uint32_t trampoline_make(struct soft_engine *e, const struct desc *site);

/* ---- mmu.c ---- */
void mmu_reset(struct soft_vcpu *v);
/* Linear to physical for code. 0, or -1 with the fault set. */
int mmu_translate_code(struct soft_vcpu *v, uint64_t lin, uint64_t *phys, bool *global);
/*
 * Host address for an access of @size bytes at @lin, within one page of RAM
 * and not to be watched: fills the TLB. NULL with *@mmio = true: not RAM or crossing a
 * page or watched, do it in pieces; NULL otherwise: c->fault is set.
 * *@code: the page holds code (then no write entry was made).
 */
uint8_t *mmu_resolve(struct soft_vcpu *v, uint64_t lin, unsigned size, unsigned how, bool *special,
		     bool *code, uint64_t *phys);
/* Slots and stack entries may be filled as often as at first again. */
void mmu_refresh_slots(struct soft_vcpu *v);
/* Makes user page @lin, which is in the TLB, that of stack entry @entry. */
void mmu_set_stack(struct soft_vcpu *v, unsigned entry, uint64_t lin);
/* Drops every TLB entry through which RAM page @index can be written. */
void mmu_protect_page(struct soft_vcpu *v, int64_t index);

/* Puts back an entry that was not global; what there is for its index goes. */
void tlb_put_local(struct soft_vcpu *v, const struct saved_entry *from);

/* ---- dispatch.c ---- */
/* Copies the user's jump cache, or part of it, to @to; returns how many. @turn: which ones to leave out. */
unsigned jc_save(const struct soft_vcpu *v, struct saved_jump *to, unsigned max, unsigned turn);
void jc_restore(struct soft_vcpu *v, const struct saved_jump *from, unsigned n);
/* Sets the bit of the page at @lin in jc_pages. */
void jc_note_page(struct soft_vcpu *v, enum tlb_view view, uint64_t lin);
/* Forgets host code in [@from, @to), cache offsets. */
void jc_forget_code(struct soft_vcpu *v, uint32_t from, uint32_t to);
void jc_flush(struct soft_vcpu *v, enum tlb_view view);
/* Forgets what lies in linear page @page and may not be global. */
void jc_forget_page(struct soft_vcpu *v, uint64_t page);
void jc_flush_local(struct soft_vcpu *v);

/* ---- string.c ---- */
enum soft_next string_run(struct soft_vcpu *v, const void *sysop);

#endif
