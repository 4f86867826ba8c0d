// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest paging and the software TLB. Fast C.
 *
 * There are three TLBs, one per view (vcpu.h): a page enters a view's TLB only
 * if all code of that view may touch it, so translated code needs no further
 * check. A write entry is made only when the page's dirty bit is set already
 * and no translated code lies in the page.
 *
 * Paging: SDM vol. 3, chapter 4 (4.3 32-bit, 4.4 PAE, 4.5 4-level), access
 * rights 4.6, error codes 4.7, accessed and dirty bits 4.8.
 */
#include "engine/soft/mmu.h"

#include "cpu/cpuid.h"
#include "engine/soft/block.h"
#include "engine/soft/fpu.h"
#include "engine/soft/give_back.h"
#include "engine/soft/vcpu.h"

#define PTE_P    0x001ull
#define PTE_W    0x002ull
#define PTE_U    0x004ull
#define PTE_A    0x020ull
#define PTE_D    0x040ull
#define PTE_PS   0x080ull
#define PTE_G    0x100ull
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

/* What a walk found. */
struct walk {
	uint64_t phys; /* of the byte asked for */
	bool writable; /* for this kind of access, all levels considered */
	bool user;     /* a user page */
	bool dirty;    /* the leaf's D bit is set (or there is no paging) */
	bool global;
	bool large; /* a page of more than 4 KiB */
	bool huge;  /* ... of more than 2 MiB */
};

static void tlb_clear_view(struct tlb_view_table *t)
{
	if (!give_back(t, sizeof(*t))) {
		for (uint32_t i = 0; i < TLB_SIZE; i++)
			t->tag_r[i] = t->tag_w[i] = 0;
	}
	t->tag_r[0] = t->tag_w[0] = TLB_NONE;
}

static void forget_pages(struct soft_vcpu *v)
{
	v->huge_count = 0;
	v->low_global = false;
	for (unsigned half = 0; half < 2; half++) {
		for (unsigned i = 0; i < CODE_BLOOM / 64; i++)
			v->code_bloom[half][i] = 0;
		for (unsigned i = 0; i < TLB_SIZE / 512 / 64; i++)
			v->large_bitmap[half][i] = 0;
	}
}

static void tlb_clear(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		tlb_clear_view(&v->tlb[i]);
	v->log_global.count = v->log_local.count = 0;
	v->log_global.overflow = v->log_local.overflow = false;
	for (unsigned view = 0; view < VIEW_COUNT; view++)
		for (unsigned i = 0; i < TLB_SIZE / 512 / 64; i++)
			v->tlb_touched[view][i] = v->tlb_global[view][i] = 0;
	v->tlb_touched_count = v->tlb_global_count = 0;
}

/* Is taking back entries one by one not enough? */
static bool tlb_worn(const struct soft_vcpu *v, bool global)
{
	return v->log_local.overflow || (global && v->log_global.overflow) ||
	       v->tlb_touched_count + v->tlb_global_count > TLB_KEEP;
}

void mmu_set_stack(struct soft_vcpu *v, unsigned entry, uint64_t lin)
{
	const struct tlb_view_table *t = &v->tlb[VIEW_USER];
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;

	v->stack[entry] = (struct stack_entry){
		.tag_r = lin,
		.tag_w = t->tag_w[index] == lin ? lin : STACK_NONE,
		.addend = t->host[index] - lin,
	};
}

/* Whenever the user's TLB loses something: to a flush, INVLPG, a page fault, another page, or when a page becomes code. */
static void forget_stack(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < STACK_ENTRIES; i++)
		v->stack[i].tag_r = v->stack[i].tag_w = STACK_NONE;
	for (unsigned i = 0; i < SLOTS; i += 32) {
		if (!v->slot_used[i / 32])
			continue;
		v->slot_used[i / 32] = 0;
		for (unsigned n = i; n < i + 32; n++) {
			v->slot[n] = (struct access_slot){ .tag = STACK_NONE };
			v->slot_budget[n] = SLOT_BUDGET;
		}
	}
}

void mmu_refresh_slots(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < STACK_ENTRIES; i++)
		v->stack_budget[i] = STACK_BUDGET;
	for (unsigned i = 0; i < SLOTS; i++)
		if (v->slot_used[i / 32])
			v->slot_budget[i] = SLOT_BUDGET;
}

void mmu_reset(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < SLOTS / 32; i++)
		v->slot_used[i] = 1; /* so that all are set */
	forget_stack(v);
	mmu_forget_pcid(&v->c, MMU_ALL_PCIDS);
	tlb_clear(v);
	v->itlb_generation = ++v->itlb_last;
	forget_pages(v);
}

static void clear_entry(struct soft_vcpu *v, unsigned view, uint32_t index)
{
	uint64_t none = index ? 0 : TLB_NONE;

	v->tlb[view].tag_r[index] = none;
	v->tlb[view].tag_w[index] = none;
}

static void log_add(struct tlb_log *log, unsigned view, uint32_t index)
{
	if (log->count < TLB_LOG_SIZE)
		log->entry[log->count++] = view << 24 | index;
	else
		log->overflow = true;
}

static void log_undo(struct soft_vcpu *v, struct tlb_log *log)
{
	for (uint32_t i = 0; i < log->count; i++)
		clear_entry(v, log->entry[i] >> 24, log->entry[i] & (TLB_SIZE - 1));
	log->count = 0;
}

void mmu_flush_all(struct soft_cpu *c)
{
	struct soft_vcpu *v = to_vcpu(c);

	v->stats.flush_all++;
	mmu_forget_pcid(c, MMU_ALL_PCIDS);
	forget_stack(v);
	if (tlb_worn(v, true)) {
		mmu_reset(v);
	} else {
		log_undo(v, &v->log_global);
		log_undo(v, &v->log_local);
		v->itlb_generation = ++v->itlb_last;
		forget_pages(v);
	}
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		jc_flush(v, (enum tlb_view)i);
	block_unlink_cross(c->engine);
}

void mmu_flush_nonglobal(struct soft_cpu *c)
{
	struct soft_vcpu *v = to_vcpu(c);

	v->stats.flush_nonglobal++;
	forget_stack(v);
	if (tlb_worn(v, false))
		tlb_clear(v); /* global ones as well, but what is known of code stays */
	else
		log_undo(v, &v->log_local);
	/* Global entries survive in the ITLB by being looked at again: it is small. */
	v->itlb_generation = ++v->itlb_last;
	jc_flush_local(v);
}

/* INVLPG drops all of a page, and the large bitmap knows only 2 MiB at a time. */
static bool in_huge_page(const struct soft_vcpu *v, uint64_t lin)
{
	if (v->huge_count > HUGE_PAGES)
		return true;
	for (unsigned i = 0; i < v->huge_count; i++)
		if (v->huge_page[i] == lin >> 30)
			return true;
	return false;
}

static void note_large(struct soft_vcpu *v, const struct walk *w, uint64_t lin)
{
	uint32_t region = (uint32_t)lin >> 21;

	if (w->large)
		v->large_bitmap[lin >> 63][region / 64] |= 1ull << (region % 64);
	if (!w->huge || in_huge_page(v, lin))
		return;
	/* One past the size: too many to remember, so any page may be one. */
	if (v->huge_count < HUGE_PAGES)
		v->huge_page[v->huge_count] = lin >> 30;
	v->huge_count++;
}

static unsigned bloom_bit(uint64_t lin)
{
	return (uint32_t)((lin >> PAGE_SHIFT) * 0x9e3779b1u) >> (32 - CODE_BLOOM_BITS);
}

/* All that is remembered of the page at @lin, or of the large page that it may lie in. */
static void drop_page(struct soft_vcpu *v, uint64_t lin)
{
	struct soft_cpu *c = &v->c;
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;
	uint32_t region = index >> 9;
	unsigned half = lin >> 63, bit = bloom_bit(lin);
	bool large = v->large_bitmap[half][region / 64] >> (region % 64) & 1;

	forget_stack(v);
	if (v->huge_count && in_huge_page(v, lin)) {
		mmu_flush_all(c);
		return;
	}
	if (large) {
		for (unsigned view = 0; view < VIEW_COUNT; view++)
			for (uint32_t i = region << 9; i < (region + 1) << 9; i++)
				clear_entry(v, view, i);
		v->itlb_generation = ++v->itlb_last;
		mmu_forget_pcid(c, MMU_ALL_PCIDS); /* their ITLB entries may be the kernel's, global */
	} else {
		for (unsigned view = 0; view < VIEW_COUNT; view++)
			clear_entry(v, view, index);
		v->itlb[index % ITLB_SIZE].tag = 1; /* no page */
	}
	/* A large page's code may have been entered anywhere in it. */
	if (!large && !(v->code_bloom[half][bit / 64] >> (bit % 64) & 1))
		return;
	if (!half) {
		/* Links between the kernel's pages, and what is in jump caches for good, lie in the upper half. */
		if (large || (c->engine->disable & SOFT_NO_PAGE_JUMPS))
			jc_flush_local(v);
		else
			jc_forget_page(v, lin & PAGE_MASK);
		return;
	}
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		jc_flush(v, (enum tlb_view)i);
	block_unlink_cross(c->engine);
}

void mmu_invlpg(struct soft_cpu *c, uint64_t lin)
{
	to_vcpu(c)->stats.invlpg++;
	drop_page(to_vcpu(c), lin);
}

/* Has the 4 KiB piece of the table that @index lies in got global entries? */
static bool globals_near(const struct soft_vcpu *v, unsigned view, uint32_t index)
{
	return v->tlb_global[view][index >> 15] >> (index >> 9) % 64 & 1;
}

/*
 * Is anything remembered of the page at @lin? The tables are sparse: what no
 * entry has ever touched is not looked at.
 */
static bool page_cached(const struct soft_vcpu *v, uint64_t lin)
{
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;
	const struct itlb_entry *code = &v->itlb[index % ITLB_SIZE];

	for (unsigned view = 0; view < VIEW_COUNT; view++)
		if ((globals_near(v, view, index) ||
		     v->tlb_touched[view][index >> 15] >> (index >> 9) % 64 & 1) &&
		    v->tlb[view].tag_r[index] == (lin & PAGE_MASK))
			return true;
	return code->tag == (lin & PAGE_MASK) && code->generation == v->itlb_generation;
}

/*
 * A page fault takes the page's translations with it (SDM vol. 3, 4.10.4.1), so
 * that a kernel which grants what was refused, be it by another page, needs no
 * INVLPG. Of a page that was not present there is nothing, nearly always.
 */
static void fault_drops_page(struct soft_vcpu *v, uint64_t lin, uint32_t error)
{
	if ((error & PFERR_P) || page_cached(v, lin))
		drop_page(v, lin);
}

/* ---- RAM ---- */

/* In the first moments of a guest: the bytes may still be on their way (memory.h). What brings them is ordinary C. */
static void __attribute__((noinline, cold)) wait_for_ram(struct soft_cpu *c, uint64_t phys, uint64_t len)
{
	fpu_park(c);
	(void)guest_range(&c->engine->memory, phys, len);
	fpu_unpark(c);
}

/* guest_range() for fast C. */
static void *ram_range(struct soft_cpu *c, uint64_t phys, uint64_t len)
{
	if (__builtin_expect(guest_loading(&c->engine->memory), 0))
		wait_for_ram(c, phys, len);
	return guest_range_loaded(&c->engine->memory, phys, len);
}

/* ---- the walk ---- */

static uint64_t *table_entry(struct soft_cpu *c, uint64_t phys)
{
	return ram_range(c, phys, 8);
}

static int page_fault(struct soft_cpu *c, uint64_t lin, uint32_t error, unsigned how, bool user)
{
	if (how & MEM_WRITE)
		error |= PFERR_W;
	if (user)
		error |= PFERR_U;
	if ((how & MEM_EXEC) && ((c->s.efer & EFER_NXE) || (c->s.cr4 & CR4_SMEP)))
		error |= PFERR_I;
	c->fault = (struct soft_fault){ .vector = VEC_PF, .has_error = true, .error = error, .cr2 = lin };
	fault_drops_page(to_vcpu(c), lin, error);
	return -1;
}

/* The accessed (and dirty) bit of a table entry, set as the CPU does: atomically, and only if clear. */
static void set_bits64(uint64_t *p, uint64_t bits)
{
	if ((*(volatile uint64_t *)p & bits) != bits)
		__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
}

static void set_bits32(uint32_t *p, uint32_t bits)
{
	if ((*(volatile uint32_t *)p & bits) != bits)
		__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
}

/* Access rights (SDM vol. 3, 4.6.1). @u, @w, @nx: combined over all levels. */
static bool access_allowed(const struct soft_cpu *c, unsigned how, bool user, bool u, bool w, bool nx)
{
	if (user) {
		if (!u)
			return false;
		if (how & MEM_WRITE)
			return w;
		return !((how & MEM_EXEC) && nx);
	}
	if (how & MEM_EXEC)
		return !nx && !(u && (c->s.cr4 & CR4_SMEP));
	if (u && (c->s.cr4 & CR4_SMAP) && ((how & MEM_SYSTEM) || !(c->mode & MODE_AC)))
		return false;
	if (how & MEM_WRITE)
		return w || !(c->s.cr0 & CR0_WP);
	return true;
}

/* Is a write through this mapping possible for a supervisor, respectively user? */
static bool write_possible(const struct soft_cpu *c, bool user, bool w)
{
	return user ? w : w || !(c->s.cr0 & CR0_WP);
}

static int walk_32bit(struct soft_cpu *c, uint64_t lin, unsigned how, bool user, struct walk *w)
{
	uint32_t *pde_p = ram_range(c, (c->s.cr3 & 0xfffff000u) + ((lin >> 22) & 0x3ff) * 4, 4);
	uint32_t pde, pte, *pte_p;

	if (!pde_p)
		return page_fault(c, lin, 0, how, user);
	pde = *(volatile uint32_t *)pde_p;
	if (!(pde & PTE_P))
		return page_fault(c, lin, 0, how, user);
	if ((pde & PTE_PS) && (c->s.cr4 & CR4_PSE)) {
		/* PSE-36: bits 13..20 are address bits 32..39 */
		uint64_t base = (pde & 0xffc00000u) | ((uint64_t)(pde & 0x001fe000u) << 19);

		if (pde & 0x00200000u)
			return page_fault(c, lin, PFERR_P | PFERR_RSVD, how, user);
		if (!access_allowed(c, how, user, pde & PTE_U, pde & PTE_W, false))
			return page_fault(c, lin, PFERR_P, how, user);
		set_bits32(pde_p, (uint32_t)(PTE_A | (how & MEM_WRITE ? PTE_D : 0)));
		w->phys = base | (lin & 0x3fffff);
		w->user = pde & PTE_U;
		w->writable = write_possible(c, user, pde & PTE_W);
		w->dirty = (pde & PTE_D) || (how & MEM_WRITE);
		w->global = (pde & PTE_G) && (c->s.cr4 & CR4_PGE);
		w->large = w->huge = true;
		return 0;
	}
	pte_p = ram_range(c, (pde & 0xfffff000u) + ((lin >> 12) & 0x3ff) * 4, 4);
	if (!pte_p)
		return page_fault(c, lin, 0, how, user);
	pte = *(volatile uint32_t *)pte_p;
	if (!(pte & PTE_P))
		return page_fault(c, lin, 0, how, user);
	w->user = pde & pte & PTE_U;
	if (!access_allowed(c, how, user, w->user, pde & pte & PTE_W, false))
		return page_fault(c, lin, PFERR_P, how, user);
	set_bits32(pde_p, PTE_A);
	set_bits32(pte_p, (uint32_t)(PTE_A | (how & MEM_WRITE ? PTE_D : 0)));
	w->phys = (pte & 0xfffff000u) | (lin & 0xfff);
	w->writable = write_possible(c, user, pde & pte & PTE_W);
	w->dirty = (pte & PTE_D) || (how & MEM_WRITE);
	w->global = (pte & PTE_G) && (c->s.cr4 & CR4_PGE);
	w->large = w->huge = false;
	return 0;
}

/* PAE and 4-level paging: the same entries, in 3 or 4 levels. */
static int walk_64bit(struct soft_cpu *c, uint64_t lin, unsigned how, bool user, struct walk *w)
{
	bool pae = !(c->s.efer & EFER_LMA);
	unsigned level = pae ? 3 : 4;
	uint64_t table = pae ? c->s.cr3 & 0xffffffe0u : c->s.cr3 & PTE_ADDR;
	uint64_t reserved = PTE_ADDR & ~((1ull << CPUID_PHYS_BITS) - 1);
	uint64_t *path[4];
	uint64_t entry = 0;
	unsigned depth = 0;
	bool u = true, wr = true, nx = false;

	if (!(c->s.efer & EFER_NXE))
		reserved |= PTE_NX;
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t *p = table_entry(c, table + ((lin >> shift) & (pae && level == 3 ? 3 : 511)) * 8);
		bool leaf;

		if (!p)
			return page_fault(c, lin, PFERR_P | PFERR_RSVD, how, user);
		entry = *(volatile uint64_t *)p;
		if (!(entry & PTE_P))
			return page_fault(c, lin, 0, how, user);
		leaf = level == 1 || ((entry & PTE_PS) && (level == 2 || (level == 3 && !pae)));
		if ((entry & reserved) || (level == 4 && (entry & PTE_PS)) ||
		    (leaf && level > 1 && (entry & ((1ull << shift) - 1) & PTE_ADDR & ~0x1000ull)))
			return page_fault(c, lin, PFERR_P | PFERR_RSVD, how, user);
		if (pae && level == 3) {
			/* A PDPTE has no rights and no accessed bit. */
			table = entry & PTE_ADDR;
			continue;
		}
		u = u && (entry & PTE_U);
		wr = wr && (entry & PTE_W);
		nx = nx || (entry & PTE_NX);
		path[depth++] = p;
		if (leaf) {
			uint64_t mask = (1ull << shift) - 1;

			w->phys = (entry & PTE_ADDR & ~mask) | (lin & mask);
			break;
		}
		table = entry & PTE_ADDR;
	}
	if (!access_allowed(c, how, user, u, wr, nx))
		return page_fault(c, lin, PFERR_P, how, user);
	for (unsigned i = 0; i + 1 < depth; i++)
		set_bits64(path[i], PTE_A);
	set_bits64(path[depth - 1], PTE_A | (how & MEM_WRITE ? PTE_D : 0));
	w->user = u;
	w->writable = write_possible(c, user, wr);
	w->dirty = (entry & PTE_D) || (how & MEM_WRITE);
	w->global = (entry & PTE_G) && (c->s.cr4 & CR4_PGE);
	w->large = level > 1;
	w->huge = level > 2;
	return 0;
}

static int walk(struct soft_cpu *c, uint64_t lin, unsigned how, struct walk *w)
{
	bool user = c->cpl == 3 && !(how & MEM_SYSTEM);

	if (!(c->s.cr0 & CR0_PG)) {
		*w = (struct walk){ .phys = (uint32_t)lin, .writable = true, .user = true, .dirty = true };
		return 0;
	}
	if (c->s.efer & EFER_LMA) {
		if (!soft_canonical(lin)) {
			c->fault = (struct soft_fault){ .vector = VEC_GP, .has_error = true };
			return -1;
		}
		return walk_64bit(c, lin, how, user, w);
	}
	if (c->s.cr4 & CR4_PAE)
		return walk_64bit(c, (uint32_t)lin, how, user, w);
	return walk_32bit(c, (uint32_t)lin, how, user, w);
}

/* ---- filling ---- */

static uint64_t page_host(const struct soft_engine *e, int64_t page)
{
	return (uint64_t)(uintptr_t)e->memory.base + ((uint64_t)page << PAGE_SHIFT);
}

/* Takes the write permission from TLB entry @writer, if it is still one of the page at @host. True if it was. */
static bool writer_is(struct soft_vcpu *v, uint32_t writer, uint64_t host, bool clear)
{
	uint32_t index = writer & (TLB_SIZE - 1);
	struct tlb_view_table *t = &v->tlb[(writer >> 24) & 3];
	uint64_t none = index ? 0 : TLB_NONE;

	if (t->host[index] != host || t->tag_w[index] == none)
		return false;
	if (clear)
		t->tag_w[index] = none;
	return true;
}

static void note_writer(struct soft_vcpu *v, int64_t page, unsigned view, uint32_t index)
{
	struct page_writers *w = &v->c.engine->writers[page];
	uint64_t host = page_host(v->c.engine, page);
	uint32_t writer = WRITER_VALID | view << 24 | index;

	if ((w->entry[0] & ~WRITER_MANY) == writer || w->entry[1] == writer)
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (!w->entry[i] ||
		    (!(w->entry[i] & WRITER_MANY) && !writer_is(v, w->entry[i], host, false))) {
			w->entry[i] = writer;
			return;
		}
	}
	w->entry[0] |= WRITER_MANY;
}

static void sweep_log(struct soft_vcpu *v, const struct tlb_log *log, uint64_t host)
{
	for (uint32_t i = 0; i < log->count; i++) {
		uint32_t index = log->entry[i] & (TLB_SIZE - 1);
		struct tlb_view_table *t = &v->tlb[log->entry[i] >> 24];

		if (t->host[index] == host)
			t->tag_w[index] = index ? 0 : TLB_NONE;
	}
}

void mmu_protect_page(struct soft_vcpu *v, int64_t page)
{
	struct page_writers w = v->c.engine->writers[page];
	uint64_t host = page_host(v->c.engine, page);

	v->c.engine->writers[page] = (struct page_writers){ 0 };
	forget_stack(v);
	if (!(w.entry[0] & WRITER_MANY)) {
		for (unsigned i = 0; i < 2; i++)
			if (w.entry[i])
				writer_is(v, w.entry[i], host, true);
		return;
	}
	if (v->log_global.overflow || v->log_local.overflow) {
		/* What is known of code stays: this may be on the way from a walk to what will rest on it. */
		tlb_clear(v);
		return;
	}
	sweep_log(v, &v->log_global, host);
	sweep_log(v, &v->log_local, host);
}

/* Is a data breakpoint armed in this page? Then its accesses are looked at one by one. */
static bool page_watched(const struct soft_cpu *c, uint64_t lin)
{
	if (!(c->mode & MODE_HWBP))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((c->s.dr[7] >> (2 * i) & 3) && (c->s.dr[7] >> (16 + 4 * i) & 3) != 0 &&
		    ((c->s.dr[i] ^ lin) & ~0xfffull) == 0)
			return true;
	return false;
}

static void touch_global(struct soft_vcpu *v, unsigned view, uint32_t index)
{
	uint64_t *word = &v->tlb_global[view][index >> 15], bit = 1ull << (index >> 9) % 64;

	v->tlb_global_count += !(*word & bit);
	*word |= bit;
}

static void touch(struct soft_vcpu *v, unsigned view, uint32_t index)
{
	if (v->tlb_touched[view][index >> 15] >> (index >> 9) % 64 & 1)
		return;
	v->tlb_touched[view][index >> 15] |= 1ull << (index >> 9) % 64;
	v->tlb_touched_count++;
}

void tlb_put_local(struct soft_vcpu *v, const struct saved_entry *from)
{
	unsigned view = from->where >> 24;
	uint32_t index = from->where & (TLB_SIZE - 1);
	struct tlb_view_table *t = &v->tlb[view];
	int64_t page = (int64_t)((from->host - (uint64_t)(uintptr_t)v->c.engine->memory.base) >> PAGE_SHIFT);

	touch(v, view, index);
	log_add(&v->log_local, view, index);
	t->host[index] = from->host;
	t->tag_r[index] = from->tag_r;
	/* It may have got code meanwhile. */
	if (from->tag_w == from->tag_r && !page_has_code(v->c.engine, page)) {
		t->tag_w[index] = from->tag_w;
		note_writer(v, page, view, index);
	} else {
		t->tag_w[index] = index ? 0 : TLB_NONE;
	}
}

static void fill(struct soft_vcpu *v, uint64_t lin, const struct walk *w, unsigned view, int64_t page,
		 bool code)
{
	struct tlb_view_table *t = &v->tlb[view];
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;
	uint64_t tag = lin & PAGE_MASK, host = page_host(v->c.engine, page);
	bool write = w->writable && w->dirty && !code;

	if (!w->global)
		touch(v, view, index);
	else
		touch_global(v, view, index);
	if (w->global && !(lin >> 63))
		v->low_global = true;
	/* Stack entries and slots are copies of what is here. */
	if (view == VIEW_USER && t->tag_r[index] != (index ? 0 : TLB_NONE) &&
	    (t->tag_r[index] != tag || t->host[index] != host || (t->tag_w[index] == tag && !write)))
		forget_stack(v);
	/* What was global may have become local: MOV to CR3 must know it. */
	if (t->tag_r[index] != tag || (!w->global && globals_near(v, view, index)))
		log_add(w->global ? &v->log_global : &v->log_local, view, index);
	t->host[index] = host;
	t->tag_r[index] = tag;
	if (write) {
		t->tag_w[index] = tag;
		note_writer(v, page, view, index);
	} else {
		t->tag_w[index] = index ? 0 : TLB_NONE;
	}
	note_large(v, w, lin);
}

uint8_t *mmu_resolve(struct soft_vcpu *v, uint64_t lin, unsigned size, unsigned how, bool *special,
		     bool *code, uint64_t *phys)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	struct walk w;
	int64_t page;

	*special = *code = false;
	if (!cpu_long_mode(c))
		lin = (uint32_t)lin;
	if ((lin & (PAGE_SIZE - 1)) + size > PAGE_SIZE) {
		*special = true;
		return NULL;
	}
	if (walk(c, lin, how, &w))
		return NULL;
	*phys = w.phys;
	page = ram_page(e, w.phys);
	if (page < 0 || page_watched(c, lin)) {
		*special = true;
		return NULL;
	}
	/* A TLB entry is a pass to the whole page for good. */
	(void)ram_range(c, w.phys & PAGE_MASK, PAGE_SIZE);
	*code = page_has_code(e, page);
	/*
	 * A page may enter a view only if every access of that view to it is
	 * allowed. Implicit supervisor accesses do not follow the view's rules.
	 */
	if (!(how & MEM_SYSTEM))
		fill(v, lin, &w, mode_view(c->mode), page, *code);
	else if (c->s.cr4 & CR4_SMAP)
		fill(v, lin, &w, VIEW_KERNEL, page, *code); /* the very same rules */
	return e->memory.base + ((uint64_t)page << PAGE_SHIFT) + (lin & (PAGE_SIZE - 1));
}

int mmu_translate_code(struct soft_vcpu *v, uint64_t lin, uint64_t *phys, bool *global)
{
	struct soft_cpu *c = &v->c;
	struct itlb_entry *e = &v->itlb[(lin >> PAGE_SHIFT) % ITLB_SIZE];
	uint8_t view = c->cpl == 3;
	struct walk w;
	unsigned bit;

	if (e->tag == (lin & PAGE_MASK) && e->generation == v->itlb_generation && e->view == view) {
		*phys = e->phys | (lin & (PAGE_SIZE - 1));
		*global = e->global;
		return 0;
	}
	if (walk(c, lin, MEM_EXEC, &w))
		return -1;
	*phys = w.phys;
	/* mmu_invlpg() relies on the upper half, where kernels live. */
	*global = w.global && !w.user && lin >> 63;
	if (w.global && !(lin >> 63))
		v->low_global = true; /* jumps to it must not outlive INVLPG in another PCID (pcid.c) */
	e->tag = lin & PAGE_MASK;
	e->phys = w.phys & PAGE_MASK;
	e->generation = v->itlb_generation;
	e->view = view;
	e->global = *global;
	bit = bloom_bit(lin);
	v->code_bloom[lin >> 63][bit / 64] |= 1ull << (bit % 64);
	note_large(v, &w, lin);
	return 0;
}

/* ---- copies for C ---- */

static void copy(void *to, const void *from, uint64_t n)
{
	switch (n) {
	case 1: *(uint8_t *)to = *(const uint8_t *)from; return;
	case 2: __builtin_memcpy(to, from, 2); return;
	case 4: __builtin_memcpy(to, from, 4); return;
	case 8: __builtin_memcpy(to, from, 8); return;
	default: break;
	}
	while (n >= 8) {
		__builtin_memcpy(to, from, 8);
		to = (uint8_t *)to + 8;
		from = (const uint8_t *)from + 8;
		n -= 8;
	}
	while (n--) {
		*(uint8_t *)to = *(const uint8_t *)from;
		to = (uint8_t *)to + 1;
		from = (const uint8_t *)from + 1;
	}
}

/* The host address, when the TLB has it and nothing needs a closer look. */
static uint8_t *tlb_lookup(struct soft_vcpu *v, uint64_t lin, unsigned len, unsigned how)
{
	enum tlb_view view = how & MEM_SYSTEM ? VIEW_KERNEL : mode_view(v->c.mode);
	struct tlb_view_table *t = &v->tlb[view];
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;

	if ((lin & (PAGE_SIZE - 1)) + len > PAGE_SIZE ||
	    (how & MEM_WRITE ? t->tag_w : t->tag_r)[index] != (lin & PAGE_MASK))
		return NULL;
	return (uint8_t *)(uintptr_t)(t->host[index] + (lin & (PAGE_SIZE - 1)));
}

static void mmio_copy(struct soft_vcpu *v, uint64_t phys, uint8_t *buf, unsigned len, bool write)
{
	struct soft_cpu *c = &v->c;

	v->stats.mmio++;
	fpu_park(c);
	while (len) {
		unsigned n = len >= 8 && !(phys & 7)   ? 8
			     : len >= 4 && !(phys & 3) ? 4
			     : len >= 2 && !(phys & 1) ? 2
						       : 1;
		uint64_t val = 0;

		if (write) {
			for (unsigned i = 0; i < n; i++)
				val |= (uint64_t)buf[i] << (8 * i);
			c->bus.mmio_write(c->bus.machine, c->index, phys, n, val);
		} else {
			val = c->bus.mmio_read(c->bus.machine, c->index, phys, n);
			for (unsigned i = 0; i < n; i++)
				buf[i] = (uint8_t)(val >> (8 * i));
		}
		buf += n;
		phys += n;
		len -= n;
	}
	fpu_unpark(c);
}

/* Do data breakpoints cover [lin, lin + len)? Notes them for the #DB behind the instruction. */
static void note_watch(struct soft_vcpu *v, uint64_t lin, unsigned len, bool write)
{
	struct soft_cpu *c = &v->c;

	if (!(c->mode & MODE_HWBP))
		return;
	for (unsigned i = 0; i < 4; i++) {
		static const uint8_t length[4] = { 1, 2, 8, 4 };
		unsigned rw = c->s.dr[7] >> (16 + 4 * i) & 3;
		unsigned n = length[c->s.dr[7] >> (18 + 4 * i) & 3];
		uint64_t at = c->s.dr[i] & ~(uint64_t)(n - 1);

		if (!(c->s.dr[7] >> (2 * i) & 3) || rw == 0 || rw == 2 || (rw == 1 && !write))
			continue;
		if (lin < at + n && at < lin + len)
			v->watch_hit |= 1ull << i;
	}
}

static int transfer(struct soft_cpu *c, uint64_t lin, uint8_t *buf, unsigned len, unsigned how)
{
	struct soft_vcpu *v = to_vcpu(c);

	while (len) {
		unsigned n = PAGE_SIZE - (lin & (PAGE_SIZE - 1));
		bool special, code;
		uint64_t phys;
		uint8_t *host;

		if (n > len)
			n = len;
		host = mmu_resolve(v, lin, n, how, &special, &code, &phys);
		if (!host && !special)
			return -1;
		if (!(how & MEM_SYSTEM))
			note_watch(v, lin, n, how & MEM_WRITE);
		if (!host && ram_page(c->engine, phys) >= 0) {
			host = ram_range(c, phys, n);
			code = page_has_code(c->engine, ram_page(c->engine, phys));
		}
		if (!host) {
			mmio_copy(v, phys, buf, n, how & MEM_WRITE);
		} else if (how & MEM_WRITE) {
			if (code && block_invalidate(c->engine, phys, n, v->current))
				v->current_stale = true;
			copy(host, buf, n);
		} else {
			copy(buf, host, n);
		}
		lin += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int soft_probe(struct soft_cpu *c, uint64_t lin, unsigned len, unsigned how)
{
	while (len) {
		unsigned n = PAGE_SIZE - (lin & (PAGE_SIZE - 1));
		struct walk w;

		if (n > len)
			n = len;
		if (walk(c, cpu_long_mode(c) ? lin : (uint32_t)lin, how, &w))
			return -1;
		lin += n;
		len -= n;
	}
	return 0;
}

int soft_read(struct soft_cpu *c, uint64_t lin, void *buf, unsigned len, unsigned how)
{
	uint8_t *host = tlb_lookup(to_vcpu(c), lin, len, how & ~MEM_WRITE);

	if (host) {
		copy(buf, host, len);
		return 0;
	}
	return transfer(c, lin, buf, len, how & ~MEM_WRITE);
}

int soft_write(struct soft_cpu *c, uint64_t lin, const void *buf, unsigned len, unsigned how)
{
	uint8_t *host = tlb_lookup(to_vcpu(c), lin, len, how | MEM_WRITE);

	if (host) {
		copy(host, buf, len);
		return 0;
	}
	how |= MEM_WRITE;
	if ((lin & (PAGE_SIZE - 1)) + len > PAGE_SIZE && soft_probe(c, lin, len, how))
		return -1;
	return transfer(c, lin, (uint8_t *)(uintptr_t)buf, len, how);
}

void mmu_vcpu_flush_page(struct vcpu *vcpu, uint64_t lin)
{
	mmu_invlpg(&((struct soft_vcpu *)vcpu)->c, lin);
}

void mmu_vcpu_flush_tlb(struct vcpu *vcpu)
{
	mmu_flush_nonglobal(&((struct soft_vcpu *)vcpu)->c);
}
