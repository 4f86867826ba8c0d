/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's page tables are ordinary two-level x86 tables with 4 KiB pages
 * (SDM vol. 3, 4.3); the engine walks them by itself. This is for the few
 * places where the host looks at guest-virtual memory: frames that it pushes
 * and instructions that it emulates.
 */
#include "cpu/state.h"
#include "memory.h"
#include "platform/lguest/lguest.h"

#define PTE_PRESENT  1u
#define PTE_WRITABLE 2u
#define PTE_FRAME    0xfffff000u

/* Without guest_range()'s wait(), which is ordinary C: lguest_start() comes when all is loaded. */
void *lguest_range(const struct lguest *lg, uint32_t phys, uint32_t len)
{
	if (phys > lg->limit || len > lg->limit - phys)
		return NULL;
	return guest_range_loaded(lg->memory, phys, len);
}

/* Marks are set by the one vCPU, whose thread this is: nothing needs to be ordered (compare guest_wrote()). */
void lguest_wrote(const struct lguest *lg, const void *host, uint32_t len)
{
	const struct guest_memory *mem = lg->memory;
	uint64_t page = (uint64_t)((const uint8_t *)host - mem->base) >> 12;

	if (!mem->watch.code || !atomic_load_explicit(&mem->watch.code[page], memory_order_relaxed))
		return;
	lguest_park(lg);
	guest_wrote(mem, host, len);
	lguest_unpark(lg);
}

void lguest_store(const struct lguest *lg, void *host, uint32_t val)
{
	__builtin_memcpy(host, &val, sizeof(val));
	lguest_wrote(lg, host, sizeof(val));
}

static bool entry_at(const struct lguest *lg, uint32_t table, uint32_t index, bool write, uint32_t *frame)
{
	const uint32_t *p = lguest_range(lg, (table & PTE_FRAME) + index * 4, 4);
	uint32_t entry;

	if (!p)
		return false;
	entry = __atomic_load_n(p, __ATOMIC_RELAXED);
	*frame = entry & PTE_FRAME;
	return (entry & PTE_PRESENT) && (!write || (entry & PTE_WRITABLE));
}

bool lguest_valid_entry(const struct lguest *lg, uint32_t entry, bool directory)
{
	uint32_t wrong = directory ? 0xfff & ~LG_PDE_FLAGS : LG_PTE_PSE;

	return !(entry & PTE_PRESENT) || ((entry & PTE_FRAME) < lg->limit && !(entry & wrong));
}

const char *lguest_bad_entry(const struct lguest *lg, const struct x86_state *s, uint32_t lin,
			     uint32_t *entry)
{
	uint32_t table = (uint32_t)s->cr3;

	for (unsigned shift = 22; shift >= 12; shift -= 10) {
		const char *what = shift == 22 ? "page directory" : "page table";
		const uint32_t *p = lguest_range(lg, (table & PTE_FRAME) + (lin >> shift & 1023) * 4, 4);

		*entry = p ? __atomic_load_n(p, __ATOMIC_RELAXED) : table;
		if (!p || !lguest_valid_entry(lg, *entry, shift == 22))
			return what;
		if (!(*entry & PTE_PRESENT))
			return NULL;
		table = *entry;
	}
	return NULL;
}

bool lguest_translate(const struct lguest *lg, const struct x86_state *s, uint32_t lin, bool write,
		      uint32_t *phys)
{
	uint32_t table, page;

	if (!entry_at(lg, (uint32_t)s->cr3, lin >> 22, write, &table) ||
	    !entry_at(lg, table, lin >> 12 & 1023, write, &page))
		return false;
	*phys = page | (lin & ~PTE_FRAME);
	return true;
}
