// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The set of translated blocks: finding, linking, and above all forgetting
 * them when the guest changes its code. Fast C.
 *
 * Invalidation is cheap and precise to 64 bytes, because Linux patches its
 * text while booting and keeps data beside code in a few places. The memory of
 * an invalidated block is not reused before its whole region is, at a
 * dispatch, so a vCPU that is still inside one gets to its end unharmed.
 */
#include "engine/soft/block.h"

#include "engine/soft/cross.h"

void *meta_alloc(struct soft_engine *e, size_t size)
{
	void *p;

	size = (size + 7) & ~(size_t)7;
	if (size > e->meta_end - e->meta_next)
		return NULL;
	p = e->meta + e->meta_next;
	e->meta_next += (uint32_t)size;
	return p;
}

static uint64_t hash_key(uint64_t phys, uint32_t mode)
{
	return (phys ^ ((uint64_t)mode << 40) ^ mode) * 0x9e3779b97f4a7c15ull;
}

/* All blocks that begin in the same 64 bytes share one: what is looked up next is mostly near. */
static uint32_t *hash_bucket(const struct soft_engine *e, uint64_t phys, uint32_t mode)
{
	return e->hash[hash_key(phys >> HASH_PIECE_BITS, mode) >> (64 - HASH_BUCKET_BITS)];
}

/* The part of a slot that comes from the key; never 0 with a block's offset. */
static uint32_t hash_tag(uint64_t key)
{
	return (uint32_t)(key >> 16) << HASH_OFF_BITS;
}

struct block *block_find(struct soft_engine *e, uint64_t phys, uint32_t mode, bool absolute, uint64_t page_va,
			 uint64_t phys2)
{
	uint64_t key = hash_key(phys, mode);
	const uint32_t *slot = hash_bucket(e, phys, mode);
	uint32_t tag = hash_tag(key);

	for (unsigned i = 0; i < HASH_BUCKET && slot[i]; i++) {
		struct block *b;

		if ((slot[i] ^ tag) >> HASH_OFF_BITS)
			continue;
		b = meta_at(e, (slot[i] ^ tag) << 3);
		if (b->phys == phys && b->mode == mode && b->absolute == absolute &&
		    (!absolute || block_page_va(b) == page_va) &&
		    (phys2 == ~0ull || !b->second || block_second(b)->phys == phys2))
			return b;
	}
	return NULL;
}

static void hash_remove(struct soft_engine *e, const struct block *b)
{
	uint64_t key = hash_key(b->phys, b->mode);
	uint32_t *slot = hash_bucket(e, b->phys, b->mode), mine = hash_tag(key) | meta_off(e, b) >> 3;
	unsigned at = 0;

	while (at < HASH_BUCKET && slot[at] != mine)
		at++;
	if (at == HASH_BUCKET)
		return;
	/* In order of age: block_insert() goes by that. */
	for (; at + 1 < HASH_BUCKET && slot[at]; at++)
		slot[at] = slot[at + 1];
	slot[at] = 0;
}

static struct code_page *code_page(struct soft_engine *e, uint64_t phys)
{
	int64_t i = ram_page(e, phys);

	return i < 0 || !e->code_pages[i] ? NULL : &e->code_page_pool[e->code_pages[i]];
}

static void patch_rel32(struct soft_engine *e, uint32_t at, uint32_t target)
{
	uint32_t rel = target - (at + 4);

	/* One store: another vCPU may be executing the jump. */
	__atomic_store_n((uint32_t *)(e->code_rw + at), rel, __ATOMIC_RELAXED);
}

/* Cache offset of its rel32. */
static uint32_t exit_patch(const struct block *b, const struct block_exit *x)
{
	return (x->patch_cold ? b->cold : b->hot) + x->patch;
}

void block_link(struct soft_engine *e, struct block_exit *x, struct block *to)
{
	struct block *from = exit_block(x);
	uint32_t self = meta_ref(e, x);

	if (x->to || from->invalid || to->invalid || (to->head == HEAD_NONE && !x->forward))
		return;
	x->to = meta_ref(e, to);
	x->next_in = to->incoming;
	x->prev_in = 0;
	if (to->incoming)
		exit_of(e, to->incoming)->prev_in = self;
	to->incoming = self;
	if (exit_is_proven(from, x)) {
		patch_rel32(e, exit_patch(from, x), cross_link(e, x, to));
		return;
	}
	if (x->cross && !from->on_cross) {
		from->on_cross = true;
		from->next_cross = e->cross_links;
		e->cross_links = meta_ref(e, from);
	}
	patch_rel32(e, exit_patch(from, x), x->forward ? block_forward_entry(to) : block_direct_entry(to));
}

void block_unlink_exit(struct soft_engine *e, struct block_exit *x)
{
	const struct block *from = exit_block(x);

	if (!x->to)
		return;
	if (x->prev_in)
		exit_of(e, x->prev_in)->next_in = x->next_in;
	else
		block_of(e, x->to)->incoming = x->next_in;
	if (x->next_in)
		exit_of(e, x->next_in)->prev_in = x->prev_in;
	x->to = 0;
	patch_rel32(e, exit_patch(from, x), from->cold + x->stub);
}

void block_never_link(struct soft_engine *e, struct block_exit *x)
{
	block_unlink_exit(e, x);
	x->never = true;
	patch_rel32(e, exit_patch(exit_block(x), x), cross_look_up(e, x));
}

void block_unlink_cross(struct soft_engine *e)
{
	struct block *b = block_of(e, e->cross_links);

	/* Whose exits have been unlinked by themselves is still on this list. */
	for (; b; b = block_of(e, b->next_cross)) {
		b->on_cross = false;
		for (unsigned i = 0; i < b->exit_count; i++)
			if (block_exits(b)[i].cross)
				block_unlink_exit(e, &block_exits(b)[i]);
	}
	e->cross_links = 0;
}

static uint32_t list_next(const struct block *b, bool second)
{
	return second ? block_second(b)->page_next : b->page_next;
}

static void list_set_next(struct block *b, bool second, uint32_t ref)
{
	if (second)
		block_second(b)->page_next = ref;
	else
		b->page_next = ref & META_REF_MASK;
}

static void list_append(struct soft_engine *e, struct page_blocks *l, struct block *b, bool second)
{
	list_set_next(b, second, 0);
	if (l->last)
		list_set_next(block_of(e, l->last), second, meta_ref(e, b));
	else
		l->first = meta_ref(e, b);
	l->last = meta_ref(e, b);
}

/* Takes those that are invalid from the front of a page's list. */
static void list_trim(struct soft_engine *e, struct page_blocks *l, bool second)
{
	while (l->first && block_of(e, l->first)->invalid)
		l->first = list_next(block_of(e, l->first), second);
	if (!l->first)
		l->last = 0;
}

/* Takes all of those from it. */
static void list_clean(struct soft_engine *e, struct page_blocks *l, bool second)
{
	struct block *b, *before = NULL;

	for (uint32_t ref = l->first; ref; ref = list_next(b, second)) {
		b = block_of(e, ref);
		if (!b->invalid)
			before = b;
		else if (before)
			list_set_next(before, second, list_next(b, second));
		else
			l->first = list_next(b, second);
	}
	l->last = before ? meta_ref(e, before) : 0;
}

/* Nobody finds the block any more, but by jump caches and in the lists of its pages. */
static void unlink_block(struct soft_engine *e, struct block *b)
{
	hash_remove(e, b);
	b->invalid = true;
	while (b->incoming)
		block_unlink_exit(e, exit_of(e, b->incoming));
}

/*
 * Where it is not the first in the lists of its pages it stays there until these are walked through for another
 * reason: that a page counts as code meanwhile does no harm.
 */
static void drop_block(struct soft_engine *e, struct block *b)
{
	uint8_t *hot = e->code_rw + b->hot;
	uint32_t rel = e->thunk_stale - (b->hot + 5);

	unlink_block(e, b);
	list_trim(e, &code_page(e, b->phys)->blocks, false);
	if (b->second)
		list_trim(e, &code_page(e, block_second(b)->phys)->blocks2, true);
	if (b->head != HEAD_FULL)
		return;
	/*
	 * Jump caches may still lead here, with the target in R11: let them run
	 * into a jump to the dispatcher. Nobody resumes in these five bytes.
	 */
	hot[0] = 0xe9;
	for (unsigned i = 0; i < 4; i++)
		hot[1 + i] = (uint8_t)(rel >> (8 * i));
}

void block_drop(struct soft_engine *e, struct block *b)
{
	if (!b->invalid)
		drop_block(e, b);
}

/* The page's mark for guest_wrote(). */
static void page_mark(struct soft_engine *e, uint64_t page, bool code)
{
	__atomic_store_n(&e->memory.watch.code[page], code, __ATOMIC_RELAXED);
	/* Pairs with the one in guest_wrote(): it sees the mark, or the translator its bytes. */
	if (code)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void page_watch(struct soft_engine *e, uint32_t page)
{
	uint32_t i = e->code_page_free;

	if (i)
		e->code_page_free = e->code_page_pool[i].next;
	else
		i = e->code_page_next++;
	e->code_page_pool[i] = (struct code_page){ .page = page };
	e->code_pages[page] = i;
	if (i < PAGE_VAS)
		e->vcpu->page_va[i] = PAGE_VA_NONE;
	page_mark(e, page, true);
}

static void page_clear(struct soft_engine *e, struct code_page *p)
{
	e->code_pages[p->page] = 0;
	page_mark(e, p->page, false);
	p->next = e->code_page_free;
	e->code_page_free = (uint32_t)(p - e->code_page_pool);
}

/*
 * The other page of a block that straddles two. Its granules may stay a
 * superset; to count them again for each of many blocks would take for ever.
 */
static void page_forget(struct soft_engine *e, uint64_t phys)
{
	struct code_page *p = code_page(e, phys);

	if (p && !p->blocks.first && !p->blocks2.first)
		page_clear(e, p);
}

void block_insert(struct soft_engine *e, struct block *b)
{
	uint64_t key = hash_key(b->phys, b->mode);
	uint32_t *slot = hash_bucket(e, b->phys, b->mode), self = meta_off(e, b);
	struct code_page *p = code_page(e, b->phys);
	struct block *evicted = NULL;
	unsigned n = 0;

	while (n < HASH_BUCKET && slot[n])
		n++;
	if (n == HASH_BUCKET) {
		/* Somebody has to go: the oldest, whose region will be emptied first of all anyway. */
		evicted = meta_at(e, (slot[0] & ((1u << HASH_OFF_BITS) - 1)) << 3);
		drop_block(e, evicted);
		e->vcpu->stats.evictions++;
		n--;
	}
	slot[n] = hash_tag(key) | self >> 3;
	list_append(e, &p->blocks, b, false);
	p->granules |= b->dep;
	if (b->second) {
		struct block_second *second = block_second(b);

		p = code_page(e, second->phys);
		list_append(e, &p->blocks2, b, true);
		p->granules |= second->dep;
	}
	/* Not before: one of these pages may be that of @b. */
	if (evicted) {
		page_forget(e, evicted->phys);
		if (evicted->second)
			page_forget(e, block_second(evicted)->phys);
	}
}

/* What is left of a page's blocks decides whether it stays protected. */
static void page_recount(struct soft_engine *e, uint64_t phys)
{
	struct code_page *p = code_page(e, phys);
	struct block *b;

	if (!p)
		return;
	list_clean(e, &p->blocks, false);
	list_clean(e, &p->blocks2, true);
	p->granules = 0;
	for (b = block_of(e, p->blocks.first); b; b = block_of(e, b->page_next))
		p->granules |= b->dep;
	for (b = block_of(e, p->blocks2.first); b; b = block_of(e, block_second(b)->page_next))
		p->granules |= block_second(b)->dep;
	page_forget(e, phys);
}

static bool invalidate(struct soft_engine *e, uint64_t phys, unsigned len, const struct block *current)
{
	struct code_page *p = code_page(e, phys);
	unsigned from = phys & (PAGE_SIZE - 1);
	uint64_t mask;
	struct block *b;
	bool hit = false;

	if (!p || !len)
		return false;
	mask = granules(from, from + len);
	if (!(p->granules & mask)) {
		/* It may have been watched for a translation that came to nothing. */
		page_forget(e, phys);
		return false;
	}
	for (b = block_of(e, p->blocks.first); b; b = block_of(e, b->page_next)) {
		if (b->invalid || !(b->dep & mask))
			continue;
		hit |= b == current;
		e->vcpu->stats.invalidations++;
		drop_block(e, b);
		if (b->second)
			page_forget(e, block_second(b)->phys);
	}
	for (b = block_of(e, p->blocks2.first); b; b = block_of(e, block_second(b)->page_next)) {
		if (b->invalid || !(block_second(b)->dep & mask))
			continue;
		hit |= b == current;
		e->vcpu->stats.invalidations++;
		drop_block(e, b);
		page_forget(e, b->phys);
	}
	page_recount(e, phys);
	return hit;
}

bool block_invalidate(struct soft_engine *e, uint64_t phys, unsigned len, const struct block *current)
{
	if (code_page(e, phys))
		e->vcpu->stats.smc_writes++;
	return invalidate(e, phys, len, current);
}

void block_forget(struct soft_engine *e, uint64_t phys, unsigned len)
{
	(void)invalidate(e, phys, len, NULL);
}

static void region_start(struct soft_engine *e, unsigned region)
{
	e->region = region;
	e->hot_next = region ? region * REGION_HOT : e->hot_start;
	e->cold_next = CODE_HOT_SIZE + region * REGION_COLD;
	e->meta_next = region ? region * REGION_META : 64; /* offset 0 means none */
	e->hot_end = (region + 1) * REGION_HOT;
	e->cold_end = CODE_HOT_SIZE + (region + 1) * REGION_COLD;
	e->meta_end = (region + 1) * REGION_META;
	e->by_hot_count[region] = 0;
}

static void forget_trampolines(struct soft_engine *e, uint32_t from, uint32_t to)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->trampoline_count; i++)
		if (e->trampolines[i].start - from >= to - from)
			e->trampolines[kept++] = e->trampolines[i];
	e->trampoline_count = kept;
	for (uint32_t i = 0; i < TRAMP_CACHE_SIZE; i++)
		e->tramp_cache[i].start = 0;
}

/* Blocks in metadata [@from, @to) leave the list; their links are undone elsewhere. */
static void forget_cross_links(struct soft_engine *e, uint32_t from, uint32_t to)
{
	uint32_t first = 0;
	struct block *last = NULL;

	for (struct block *b = block_of(e, e->cross_links); b; b = block_of(e, b->next_cross)) {
		if (meta_off(e, b) - from < to - from)
			continue;
		if (last)
			last->next_cross = meta_ref(e, b);
		else
			first = meta_ref(e, b);
		last = b;
	}
	if (last)
		last->next_cross = 0;
	e->cross_links = first;
}

/*
 * Takes the blocks of the region that is being emptied from the lists of a page. The lists are in order of
 * age, so they are the first there, all invalid by now. What is invalid of other regions may be
 * left there, see drop_block().
 */
static void page_sweep(struct soft_engine *e, uint64_t phys)
{
	struct code_page *p = code_page(e, phys);

	if (!p || p->next == e->emptied)
		return;
	p->next = e->emptied;
	for (unsigned second = 0; second < 2; second++) {
		struct page_blocks *l = second ? &p->blocks2 : &p->blocks;

		list_trim(e, l, second);
	}
	page_forget(e, phys);
}

/*
 * What was hot, and what no slot was good for, was so of the code of that time. To believe it of
 * what came to the same place costs less than to find it out again, as long as there is not much of it.
 */
static void forget_hints(struct soft_engine *e)
{
	e->hints = 0;
	for (unsigned i = 0; i < SLOT_REFUSED / 64; i++)
		e->slot_refused[i] = e->slot_hot[i] = 0;
}

void block_next_region(struct soft_engine *e)
{
	unsigned region = (e->region + 1) % CODE_REGIONS;
	uint32_t hot = region * REGION_HOT, cold = CODE_HOT_SIZE + region * REGION_COLD,
		 meta = region * REGION_META;

	if (e->huge) {
		hugepages_filled(e->huge, e->huge_hot, (e->region + 1) * REGION_HOT);
		hugepages_filled(e->huge, e->huge_cold,
				 CODE_HOT_SIZE % HUGE_SIZE + (e->region + 1) * REGION_COLD);
		hugepages_filled(e->huge, e->huge_meta, (e->region + 1) * REGION_META);
	}
	if (e->disable & SOFT_NO_REGIONS && !region) {
		block_flush_all(e);
		return;
	}
	for (uint32_t i = 0; i < e->by_hot_count[region]; i++) {
		struct block *b = block_of(e, e->by_hot[region][i]);

		if (i + 8 < e->by_hot_count[region]) {
			const struct block *soon = block_of(e, e->by_hot[region][i + 8]);

			__builtin_prefetch(hash_bucket(e, soon->phys, soon->mode), 1);
		}
		/* Also those of blocks that are invalid already. */
		for (unsigned n = 0; n < b->exit_count; n++)
			block_unlink_exit(e, &block_exits(b)[n]);
		if (!b->invalid)
			unlink_block(e, b);
	}
	e->emptied++;
	for (uint32_t i = 0; i < e->by_hot_count[region]; i++) {
		struct block *b = block_of(e, e->by_hot[region][i]);

		page_sweep(e, b->phys);
		if (b->second)
			page_sweep(e, block_second(b)->phys);
	}
	forget_cross_links(e, meta, meta + REGION_META);
	forget_trampolines(e, cold, cold + REGION_COLD);
	jc_forget_code(e->vcpu, hot, hot + REGION_HOT);
	if (e->by_hot_count[region])
		e->vcpu->stats.code_flushes++;
	region_start(e, region);
	if (e->hints > HINTS_MAX)
		forget_hints(e);
}

void block_start(struct soft_engine *e)
{
	e->code_page_next = 1;
	e->code_page_free = 0;
	e->trampoline_count = 0;
	e->cross_links = 0;
	for (unsigned i = 0; i < CODE_REGIONS; i++)
		e->by_hot_count[i] = 0;
	region_start(e, 0);
	forget_hints(e);
}

void block_flush_all(struct soft_engine *e)
{
	for (uint32_t i = 1; i < e->code_page_next; i++) {
		struct code_page *p = &e->code_page_pool[i];

		/* Free ones are nobody's. */
		if (e->code_pages[p->page] == i) {
			e->code_pages[p->page] = 0;
			page_mark(e, p->page, false);
		}
	}
	for (uint32_t i = 0; i < 1u << HASH_BUCKET_BITS; i++)
		for (unsigned j = 0; j < HASH_BUCKET; j++)
			e->hash[i][j] = 0;
	for (uint32_t i = 0; i < TRAMP_CACHE_SIZE; i++)
		e->tramp_cache[i].start = 0;
	/* Before the pages' numbers start again: they are its places in page_va. */
	for (unsigned i = 0; e->vcpu && i < VIEW_COUNT; i++)
		jc_flush(e->vcpu, (enum tlb_view)i);
	block_start(e);
	if (e->vcpu)
		e->vcpu->stats.code_flushes++;
}

struct block *block_at(struct soft_engine *e, uint32_t off, const struct insn_map **map)
{
	const uint32_t *by_hot;
	uint32_t lo = 0, hi;
	struct block *b;

	if (off >= CODE_HOT_SIZE)
		return NULL;
	by_hot = e->by_hot[off / REGION_HOT];
	hi = e->by_hot_count[off / REGION_HOT];
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (block_of(e, by_hot[mid])->hot <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	b = block_of(e, by_hot[lo - 1]);
	*map = NULL;
	for (unsigned i = 0; i < b->map_count && block_map(b)[i].host <= off - b->hot; i++)
		*map = &block_map(b)[i];
	return *map ? b : NULL;
}

uint32_t trampoline_at(struct soft_engine *e, uint32_t off)
{
	for (uint32_t i = 0; i < e->trampoline_count; i++)
		if (off >= e->trampolines[i].start && off < e->trampolines[i].end)
			return e->trampolines[i].site;
	return 0;
}

/* ---- devices ---- */

void dma_written(void *engine, uint64_t page)
{
	struct soft_engine *e = engine;
	struct dma_ring *r = &e->dma;
	uint32_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);

	if (head - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) == DMA_RING) {
		__atomic_store_n(&r->overflow, true, __ATOMIC_RELEASE);
	} else {
		r->page[head % DMA_RING] = (uint32_t)page;
		__atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE);
	}
	/*
	 * Not before the page is noted. Every block polls at its entry, so code
	 * that learns of the write from the device meets this first.
	 */
	__atomic_store_n(&e->vcpu->c.exit_request, 1, __ATOMIC_SEQ_CST);
}

void dma_drain(struct soft_vcpu *v)
{
	struct soft_engine *e = v->c.engine;
	struct dma_ring *r = &e->dma;
	uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);

	if (__atomic_exchange_n(&r->overflow, false, __ATOMIC_SEQ_CST))
		e->flush_wanted = v->current_stale = true;
	while (tail != __atomic_load_n(&r->head, __ATOMIC_ACQUIRE)) {
		uint64_t at = (uint64_t)r->page[tail % DMA_RING] << PAGE_SHIFT;

		__atomic_store_n(&r->tail, ++tail, __ATOMIC_RELEASE);
		if (at >= e->memory.low_size)
			at += GUEST_HIGH_BASE - e->memory.low_size;
		v->stats.dma_writes++;
		if (invalidate(e, at, PAGE_SIZE, v->current))
			v->current_stale = true;
	}
}
