// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Process-context identifiers (SDM vol. 3, 4.10.1). Fast C.
 *
 * The TLB itself has no tags, for the check in translated code would have to
 * compare them. Instead, what an address space has left in the TLB, in the user's
 * jump cache and in page_va (cross.c) is copied away when the guest goes over to another one with MOV
 * to CR3, and put back when it returns and asks to keep it (bit 63): the newest
 * few hundred entries, which is all there is for processes that do little between
 * switches; for the others it makes no difference.
 *
 * Nobody knows which of them are still in use, and to put back hundreds that are not takes longer than
 * all that is done between two switches may. So each time another one in 32 is left out: what is in use comes
 * back by a miss, the rest is gone after a while.
 *
 * What is put back must be what could have stayed in a tagged TLB:
 *
 * - whatever flushes more than the current PCID (mmu_flush_all(): CR0, CR4, EFER,
 *   breakpoints, INVPCID) forgets all copies, and so does a flush of that PCID;
 * - entries of global pages are not copied, for INVLPG takes them from all PCIDs: copied
 *   is the lower half of the address space only, and nothing as soon as it has a global page;
 * - INVLPG means the current PCID, of which there is no copy: it is taken when the
 *   PCID is left, and given up when the guest comes back;
 * - a page that has got translated code meanwhile is not put back as writable;
 * - code that has been thrown away is not jumped to: the number of emptied regions
 *   tells; single blocks that are dropped lead to the dispatcher by themselves.
 */
#include "engine/soft/block.h"
#include "engine/soft/cross.h"
#include "engine/soft/mmu.h"

/*
 * The two PCIDs of a Linux process under page table isolation, which differ in
 * bit 11, share a place: nothing is kept over a system call then.
 */
static struct saved_space *space_of(struct soft_vcpu *v, unsigned pcid)
{
	return &v->space[pcid % SPACES];
}

void mmu_forget_pcid(struct soft_cpu *c, unsigned pcid)
{
	struct soft_vcpu *v = to_vcpu(c);

	for (unsigned i = 0; i < SPACES; i++)
		if (pcid == MMU_ALL_PCIDS || v->space[i].pcid == pcid)
			v->space[i].valid = false;
}

static void save(struct soft_vcpu *v, struct saved_space *s, unsigned pcid)
{
	const struct tlb_log *log = &v->log_local;
	unsigned turn = ++s->turn % SPACE_TURNS;
	unsigned n = 0, count = log->overflow ? 0 : log->count; /* else the newest are not in it */

	for (unsigned i = count > SPACE_TLB ? count - SPACE_TLB : 0; i < count; i++) {
		uint32_t index = log->entry[i] & (TLB_SIZE - 1);
		const struct tlb_view_table *t = &v->tlb[log->entry[i] >> 24];

		/* Not what INVLPG has taken, nor what has come to the same place from the upper half. */
		if (t->tag_r[index] != (index ? 0 : TLB_NONE) && !(t->tag_r[index] >> 63) &&
		    index % SPACE_TURNS != turn)
			s->entry[n++] = (struct saved_entry){ log->entry[i], t->tag_r[index], t->tag_w[index],
							      t->host[index] };
	}
	s->entries = n;
	s->jumps = jc_save(v, s->jump, SPACE_JUMPS, s->turn);
	s->pages = page_va_save(v, s->page, SPACE_PAGES);
	s->jump_mode = v->jc_mode[VIEW_USER];
	s->code_flushes = v->stats.code_flushes;
	s->itlb_generation = v->itlb_generation;
	s->pcid = (uint16_t)pcid;
	s->valid = true;
}

static void restore(struct soft_vcpu *v, struct saved_space *s)
{
	for (unsigned i = 0; i < s->entries; i++)
		tlb_put_local(v, &s->entry[i]);
	if (s->code_flushes == v->stats.code_flushes && s->jump_mode == v->jc_mode[VIEW_USER]) {
		jc_restore(v, s->jump, s->jumps);
		page_va_restore(v, s->page, s->pages);
	}
	v->itlb_generation = s->itlb_generation;
	s->valid = false;
	v->stats.spaces_kept++;
}

void mmu_switch_pcid(struct soft_cpu *c, unsigned old, unsigned new, bool keep)
{
	struct soft_vcpu *v = to_vcpu(c);
	struct saved_space *to = space_of(v, new), *from = space_of(v, old);

	if (c->engine->disable & SOFT_NO_PCID) {
		mmu_flush_nonglobal(c);
		return;
	}
	if (to == from || v->low_global) {
		from->valid = to->valid = false;
	} else {
		save(v, from, old);
	}
	mmu_flush_nonglobal(c);
	if (keep && to->valid && to->pcid == new)
		restore(v, to);
	else if (to->pcid == new)
		to->valid = false;
}
