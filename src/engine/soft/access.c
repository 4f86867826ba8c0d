// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory accesses that translated code could not do: because the TLB does not
 * have the page, or must not (a device, a page with code), because two pages
 * are wanted, or because it is a fault. Fast C.
 *
 * The host executes the instruction in all cases; this only says where, and
 * finishes what a store to a bounce buffer has begun (docs/soft-engine.md).
 */
#include "engine/soft/access.h"

#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"

enum after fault_at(struct soft_vcpu *v, const struct block *b, const struct desc *d)
{
	v->c.s.rip = block_rip(v, b, d->off);
	deliver_fault(v);
	v->faulted = true;
	return DISPATCH;
}

/* The same for the address itself: #SS instead of #GP where it is the stack's. */
static enum after address_fault_at(struct soft_vcpu *v, const struct block *b, const struct desc *d)
{
	if (v->c.fault.vector == VEC_GP && d->access.seg == SEG_SS)
		v->c.fault.vector = VEC_SS;
	return fault_at(v, b, d);
}

static bool store_trampoline(struct soft_vcpu *v, const struct desc *d, uint64_t *pc)
{
	struct soft_engine *e = v->c.engine;
	struct tramp_cache_entry *t = &e->tramp_cache[(d->id ^ d->id >> 8) % TRAMP_CACHE_SIZE];

	if (t->site != d->id || !t->start) {
		fpu_park(&v->c);
		t->start = trampoline_make(e, d);
		fpu_unpark(&v->c);
		t->site = d->id;
	}
	*pc = (uint64_t)(uintptr_t)e->code_rx + t->start;
	return t->start != 0;
}

/* The linear address that missed: the check has subtracted the tag of TLB entry R10 from R11. */
static uint64_t missed_address(const struct soft_vcpu *v, const struct block *b, const struct desc *d)
{
	const struct tlb_view_table *t = &v->tlb[mode_view(b->mode)];
	uint32_t index = (uint32_t)v->x10 & (TLB_SIZE - 1);

	return v->x11 + (d->access.write ? t->tag_w : t->tag_r)[index];
}

enum after group_slow(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc)
{
	const struct tlb_view_table *t = &v->tlb[mode_view(b->mode)];
	const uint64_t *tags = d->check.all_write ? t->tag_w : t->tag_r;
	const struct stack_entry *s = &v->stack[stack_entry(b->phys)];
	uint64_t stack = d->check.all_write ? s->tag_w : s->tag_r, phys;
	uint64_t low = v->x11 + (d->check.stack ? stack : tags[(uint32_t)v->x10 & (TLB_SIZE - 1)]);
	struct soft_engine *e = v->c.engine;
	struct block_exit *x = &block_exits(b)[d->check.exit];
	bool special, code;

	v->stats.tlb_misses++;
	if (v->stack_spent) {
		uint64_t bit, *word = slot_refused(e, ~b->phys, &bit);

		*word |= bit;
		e->hints++;
		v->stack_spent = 0;
		v->stack_budget[stack_entry(b->phys)] = STACK_BUDGET;
		v->stats.slots_given_up++;
		block_drop(e, meta_at(e, d->block));
	}
	if (b->invalid) {
		/* Nobody goes on in a block that is on no page's list: its own stores to it would not be seen. */
		v->c.s.rip = block_rip(v, b, d->off);
		return DISPATCH;
	}
	/* For its effect on the TLB. A fault is found again where it is due. */
	(void)mmu_resolve(v, low + d->check.own, d->check.size, d->check.write ? MEM_WRITE : MEM_READ,
			  &special, &code, &phys);
	if ((low & (PAGE_SIZE - 1)) + d->check.span <= PAGE_SIZE &&
	    tags[(uint32_t)low >> PAGE_SHIFT] == (low & PAGE_MASK)) {
		if (d->check.stack)
			mmu_set_stack(v, stack_entry(b->phys), low & PAGE_MASK);
		*pc = (uint64_t)(uintptr_t)e->code_rx + d->resume;
		return RESUME;
	}
	v->c.s.rip = block_rip(v, b, d->off);
	v->link_from = x->never ? NULL : x;
	v->link_generation = v->stats.code_flushes;
	v->ungrouped = true;
	return DISPATCH;
}

/*
 * It has been another page too often: the next translation of the place looks
 * into the TLB, and is needed at once, for nobody goes on in a block that is on
 * no page's list. An access with a slot is the first thing that its
 * instruction does, and never in a shadow: the instruction starts anew.
 */
static enum after give_up_slot(struct soft_vcpu *v, const struct block *b, const struct desc *d)
{
	struct soft_engine *e = v->c.engine;
	uint64_t bit, *word = slot_refused(e, (b->phys & PAGE_MASK) + d->off, &bit);

	*word |= bit;
	e->hints++;
	v->stats.slots_given_up++;
	block_drop(e, meta_at(e, meta_off(e, b)));
	v->c.s.rip = block_rip(v, b, d->off);
	return DISPATCH;
}

/* A timer is as good as a sampling profiler: where it interrupts, accesses get slots. */
void note_hot(struct soft_vcpu *v, const struct block *b)
{
	struct soft_engine *e = v->c.engine;
	uint64_t bit, *word = slot_hot(e, b->phys, &bit);

	if ((*word & bit) || (e->disable & SOFT_NO_SLOTS))
		return;
	*word |= bit;
	e->hints++;
	v->stats.hot_pieces++;
	block_forget(e, b->phys & ~(uint64_t)(SLOT_PIECE - 1), SLOT_PIECE);
}

enum after access_slow(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	uint64_t lin = missed_address(v, b, d), phys = 0, from = d->access.direct ? lin : 0;
	unsigned how = d->access.write ? MEM_WRITE : MEM_READ;
	unsigned size = d->access.size;
	bool special, code;
	uint8_t *host;

	*pc = (uint64_t)(uintptr_t)e->code_rx + d->resume;
	v->stats.tlb_misses++;
	if (v->slot_spent) {
		v->slot_spent = 0;
		return give_up_slot(v, b, d);
	}
	if (d->access.align && (lin & (size - 1))) {
		/* Comes before any page fault. */
		soft_gp(c, 0);
		return fault_at(v, b, d);
	}
	host = mmu_resolve(v, lin, size, how, &special, &code, &phys);
	if (host) {
		v->x11 = (uint64_t)(uintptr_t)host - from;
		if (how != MEM_WRITE)
			return RESUME;
		if (code)
			(void)block_invalidate(e, phys, size, b);
		if (!b->invalid)
			return RESUME;
		/*
		 * The instruction has changed its own block: leave behind it. Or a device has, of
		 * whose writing an access before this one has learned: the page need not be watched
		 * any more, so whatever this writes to is to be taken for the block's own code.
		 */
		if (d->access.stay)
			return RESUME;
		v->store = (struct pending_store){ .lin = lin, .size = (uint8_t)size };
		v->leave_behind = true;
		goto trampoline;
	}
	if (!special)
		return address_fault_at(v, b, d);
	if (!(c->mode & MODE_CS64) && !c->s.seg[d->access.seg].base && lin + size > 1ull << 32) {
		/* Beyond the limit of even the largest segment. */
		soft_gp(c, 0);
		return address_fault_at(v, b, d);
	}

	if ((c->mode & MODE_CS64) && !soft_canonical(lin + size - 1)) {
		soft_gp(c, 0);
		return address_fault_at(v, b, d);
	}
	/* MMIO, two pages, or a watched page: through the bounce buffer, alignment kept. */
	v->stats.bounces++;
	v->x11 = (uint64_t)(uintptr_t)(v->bounce_area + (lin & 63)) - from;
	if (d->access.write == ACCESS_READ || d->access.write == ACCESS_RMW) {
		if (d->access.write == ACCESS_RMW && soft_probe(c, lin, size, MEM_WRITE))
			return address_fault_at(v, b, d);
		if (soft_read(c, lin, v->bounce_area + (lin & 63), size, MEM_READ))
			return address_fault_at(v, b, d);
		/*
		 * A device's status, and the device has written to memory before.
		 * What follows in this very block may still be old, as it may
		 * on a CPU that has fetched it (SDM vol. 3, 8.1.3).
		 */
		if (dma_pending(e))
			dma_drain(v);
		if (d->access.write == ACCESS_READ)
			return RESUME;
	} else if (soft_probe(c, lin, size, MEM_WRITE)) {
		return address_fault_at(v, b, d);
	}
	v->store = (struct pending_store){ .lin = lin, .size = (uint8_t)size, .bounced = true };
	v->leave_behind = false;
trampoline:
	if (!store_trampoline(v, d, pc)) {
		/* No room: start the instruction again in an empty region, as if nothing had been. */
		c->s.rip = block_rip(v, b, d->off);
		c->s.int_shadow = true; /* it may have been in one; if not, no harm is done */
		v->faulted = true;
		e->region_wanted = true;
		return DISPATCH;
	}
	return RESUME;
}

enum after access_stored(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	uint16_t mask;

	if (v->store.bounced) {
		v->current = b;
		v->current_stale = false;
		/* Probed before, so it cannot fail now. */
		(void)soft_write(c, v->store.lin, v->bounce_area + (v->store.lin & 63), v->store.size,
				 MEM_WRITE);
		/* A doorbell: the device may have written to memory meanwhile. */
		if (dma_pending(e))
			dma_drain(v);
		v->current = NULL;
		v->leave_behind = (v->current_stale || b->invalid) && !d->access.stay;
	}
	if (!v->leave_behind) {
		v->enter_flags = v->exit_flags;
		*pc = (uint64_t)(uintptr_t)e->code_rx + d->resume + d->access.op_len;
		return RESUME;
	}
	mask = flags_ax_mask(flags_unpack(d->access.host_flags));
	c->aflags = (uint16_t)((c->aflags & ~mask) | (v->exit_flags & mask));
	c->s.rip = wrap_ip(c, block_rip(v, b, d->off) + d->len);
	return DISPATCH;
}
