// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The set of translated blocks: finding, linking, and above all forgetting
 * them when the guest changes its code. Fast C.
 *
 * Invalidation is cheap and precise to 64 bytes, because Linux patches its
 * text while booting and keeps data beside code in a few places. The memory of
 * an invalidated block is not reused before the whole cache is flushed, so a
 * vCPU that is still inside one gets to its end unharmed.
 */
#include "engine/soft/block.h"

void *meta_alloc(struct soft_engine *e, size_t size)
{
	void *p;

	size = (size + 7) & ~(size_t)7;
	if (size > META_SIZE - e->meta_next)
		return NULL;
	p = e->meta + e->meta_next;
	e->meta_next += (uint32_t)size;
	return p;
}

static uint32_t hash_key(uint64_t phys, uint32_t mode)
{
	uint64_t h = (phys ^ ((uint64_t)mode << 40) ^ mode) * 0x9e3779b97f4a7c15ull;

	return (uint32_t)(h >> (64 - BLOCK_HASH_BITS));
}

struct block *block_find(struct soft_engine *e, uint64_t phys, uint32_t mode, bool absolute, uint64_t page_va,
			 uint64_t phys2)
{
	struct block *b;

	for (b = e->hash[hash_key(phys, mode)]; b; b = b->hash_next) {
		if (b->phys == phys && b->mode == mode && b->absolute == absolute &&
		    (!absolute || b->page_va == page_va) &&
		    (phys2 == ~0ull || b->phys2 == ~0ull || b->phys2 == phys2))
			return b;
	}
	return NULL;
}

static struct code_page *code_page(struct soft_engine *e, uint64_t phys)
{
	int64_t i = ram_page(e, phys);

	return i < 0 ? NULL : e->code_pages[i];
}

void block_insert(struct soft_engine *e, struct block *b)
{
	uint32_t h = hash_key(b->phys, b->mode);
	struct code_page *p = code_page(e, b->phys);

	b->hash_next = e->hash[h];
	e->hash[h] = b;
	b->page_next = p->blocks;
	p->blocks = b;
	p->granules |= b->dep;
	if (b->phys2 != ~0ull) {
		p = code_page(e, b->phys2);
		b->page2_next = p->blocks2;
		p->blocks2 = b;
		p->granules |= b->dep2;
	}
}

static void patch_rel32(struct soft_engine *e, uint32_t at, uint32_t target)
{
	uint32_t rel = target - (at + 4);

	/* One store: another vCPU may be executing the jump. */
	__atomic_store_n((uint32_t *)(e->code_rw + at), rel, __ATOMIC_RELAXED);
}

static struct block_exit *exit_at(struct soft_engine *e, uint32_t off)
{
	return off ? meta_at(e, off) : NULL;
}

void block_link(struct soft_engine *e, struct block_exit *x, struct block *to)
{
	const struct block *from = meta_at(e, x->from);
	uint32_t self = meta_off(e, x);

	if (x->to || from->invalid || to->invalid)
		return;
	x->to = meta_off(e, to);
	x->next_in = to->incoming;
	x->prev_in = 0;
	if (to->incoming)
		exit_at(e, to->incoming)->prev_in = self;
	to->incoming = self;
	if (x->cross && !x->on_cross) {
		x->on_cross = true;
		x->next_cross = e->cross_links;
		e->cross_links = self;
	}
	patch_rel32(e, x->patch, block_direct_entry(to) + (x->forward ? POLL_LEN : 0));
}

static void unlink_exit(struct soft_engine *e, struct block_exit *x)
{
	if (!x->to)
		return;
	if (x->prev_in)
		exit_at(e, x->prev_in)->next_in = x->next_in;
	else
		((struct block *)meta_at(e, x->to))->incoming = x->next_in;
	if (x->next_in)
		exit_at(e, x->next_in)->prev_in = x->prev_in;
	x->to = 0;
	patch_rel32(e, x->patch, x->stub);
}

void block_unlink_cross(struct soft_engine *e)
{
	struct block_exit *x = exit_at(e, e->cross_links);

	/* An exit that has been unlinked by itself is still on this list. */
	while (x) {
		struct block_exit *next = exit_at(e, x->next_cross);

		x->next_cross = 0;
		x->on_cross = false;
		unlink_exit(e, x);
		x = next;
	}
	e->cross_links = 0;
}

static void remove_from(struct block **list, struct block *b, bool second)
{
	while (*list) {
		if (*list == b) {
			*list = second ? b->page2_next : b->page_next;
			return;
		}
		list = second ? &(*list)->page2_next : &(*list)->page_next;
	}
}

static void drop_block(struct soft_engine *e, struct block *b)
{
	struct block **h = &e->hash[hash_key(b->phys, b->mode)];
	uint8_t *hot = e->code_rw + b->hot;
	uint32_t rel = e->thunk_stale - (b->hot + 5);

	while (*h && *h != b)
		h = &(*h)->hash_next;
	if (*h)
		*h = b->hash_next;
	b->invalid = true;
	while (b->incoming)
		unlink_exit(e, exit_at(e, b->incoming));
	/*
	 * Jump caches may still lead here, with the target in R11: let them run
	 * into a jump to the dispatcher. Nobody resumes in these five bytes.
	 */
	hot[0] = 0xe9;
	for (unsigned i = 0; i < 4; i++)
		hot[1 + i] = (uint8_t)(rel >> (8 * i));
	remove_from(&code_page(e, b->phys)->blocks, b, false);
	if (b->phys2 != ~0ull)
		remove_from(&code_page(e, b->phys2)->blocks2, b, true);
}

void page_mark(struct soft_engine *e, uint64_t page, bool code)
{
	__atomic_store_n(&e->memory.watch.code[page], code, __ATOMIC_RELAXED);
	/* Pairs with the one in guest_wrote(): it sees the mark, or the translator its bytes. */
	if (code)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void page_clear(struct soft_engine *e, uint64_t page)
{
	e->code_pages[page] = NULL;
	page_mark(e, page, false);
}

/*
 * The other page of a block that straddles two. Its granules may stay a
 * superset; to count them again for each of many blocks would take for ever.
 */
static void page_forget(struct soft_engine *e, uint64_t phys)
{
	int64_t i = ram_page(e, phys);
	const struct code_page *p = e->code_pages[i];

	if (p && !p->blocks && !p->blocks2)
		page_clear(e, (uint64_t)i); /* its memory goes with the next flush */
}

/* What is left of a page's blocks decides whether it stays protected. */
static void page_recount(struct soft_engine *e, uint64_t phys)
{
	struct code_page *p = code_page(e, phys);
	struct block *b;

	if (!p)
		return;
	p->granules = 0;
	for (b = p->blocks; b; b = b->page_next)
		p->granules |= b->dep;
	for (b = p->blocks2; b; b = b->page2_next)
		p->granules |= b->dep2;
	page_forget(e, phys);
}

bool block_invalidate(struct soft_engine *e, uint64_t phys, unsigned len, const struct block *current)
{
	struct code_page *p = code_page(e, phys);
	unsigned from = phys & (PAGE_SIZE - 1);
	uint64_t mask;
	struct block *b, *next;
	bool hit = false;

	if (!p || !len)
		return false;
	mask = granules(from, from + len);
	e->vcpu->stats.smc_writes++;
	if (!(p->granules & mask))
		return false;
	for (b = p->blocks; b; b = next) {
		next = b->page_next;
		if (!(b->dep & mask))
			continue;
		hit |= b == current;
		e->vcpu->stats.invalidations++;
		drop_block(e, b);
		if (b->phys2 != ~0ull)
			page_forget(e, b->phys2);
	}
	for (b = p->blocks2; b; b = next) {
		next = b->page2_next;
		if (!(b->dep2 & mask))
			continue;
		hit |= b == current;
		e->vcpu->stats.invalidations++;
		drop_block(e, b);
		page_forget(e, b->phys);
	}
	page_recount(e, phys);
	return hit;
}

void block_flush_all(struct soft_engine *e)
{
	for (struct code_page *p = e->watched; p; p = p->next)
		page_clear(e, p->page);
	e->watched = NULL;
	for (uint32_t i = 0; i < BLOCK_HASH_SIZE; i++)
		e->hash[i] = NULL;
	e->by_hot_count = 0;
	e->trampoline_count = 0;
	for (uint32_t i = 0; i < TRAMP_CACHE_SIZE; i++)
		e->tramp_cache[i].start = 0;
	e->meta_next = 64; /* offset 0 means none */
	e->cross_links = 0;
	e->hot_next = e->hot_start;
	e->cold_next = e->cold_start;
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		jc_flush(e->vcpu, (enum tlb_view)i);
	e->vcpu->stats.code_flushes++;
}

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
		if (block_invalidate(e, at, PAGE_SIZE, v->current))
			v->current_stale = true;
	}
}

struct block *block_at(struct soft_engine *e, uint32_t off, const struct insn_map **map)
{
	uint32_t lo = 0, hi = e->by_hot_count;
	struct block *b;
	unsigned i;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (e->by_hot[mid]->hot <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	b = e->by_hot[lo - 1];
	if (off >= b->hot + b->hot_len)
		return NULL;
	for (i = b->insn_count; i > 1 && b->map[i - 1].host > off - b->hot;)
		i--;
	*map = &b->map[i - 1];
	return b;
}

const struct desc *trampoline_at(struct soft_engine *e, uint32_t off)
{
	for (uint32_t i = 0; i < e->trampoline_count; i++)
		if (off >= e->trampolines[i].start && off < e->trampolines[i].end)
			return e->trampolines[i].site;
	return NULL;
}
