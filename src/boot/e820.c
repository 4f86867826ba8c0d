/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory map that the guest gets, in the form of the BIOS call e820, which
 * both boot_params and PVH use. Sorted, nothing overlaps.
 */
#include <errno.h>

#include "boot/job.h"

struct map {
	struct boot_e820_entry *entry;
	unsigned nr, max;
	bool full;
};

static void append(struct map *m, uint64_t start, uint64_t end, uint32_t type)
{
	if (start >= end)
		return;
	if (m->nr == m->max) {
		m->full = true;
		return;
	}
	m->entry[m->nr++] = (struct boot_e820_entry){ start, end - start, type };
}

/* Cuts [@start, @end) out of what is there. */
static void carve(struct map *m, uint64_t start, uint64_t end)
{
	unsigned nr = m->nr;

	for (unsigned i = 0; i < nr; i++) {
		struct boot_e820_entry *e = &m->entry[i];
		uint64_t e_start = e->addr, e_end = e->addr + e->size;

		if (e_end <= start || end <= e_start)
			continue;
		e->size = start > e_start ? start - e_start : 0;
		append(m, end, e_end, e->type);
	}
}

static void set(struct map *m, uint64_t start, uint64_t end, uint32_t type)
{
	carve(m, start, end);
	append(m, start, end, type);
}

/* Insertion sort; drops entries that became empty. */
static void tidy(struct map *m)
{
	unsigned out = 0;

	for (unsigned i = 0; i < m->nr; i++) {
		struct boot_e820_entry e = m->entry[i];
		unsigned j = out;

		if (!e.size)
			continue;
		for (; j > 0 && m->entry[j - 1].addr > e.addr; j--)
			m->entry[j] = m->entry[j - 1];
		m->entry[j] = e;
		out++;
	}
	m->nr = out;
}

int boot_memory_map(struct boot_job *job, struct boot_e820_entry *entry, unsigned max)
{
	struct map m = { .entry = entry, .max = max };

	append(&m, 0, BOOT_EBDA_ADDR, BOOT_RAM);
	append(&m, BOOT_EBDA_ADDR, BOOT_HOLE_ADDR, BOOT_RESERVED);
	append(&m, BOOT_BIOS_ADDR, BOOT_HIGH_ADDR, BOOT_RESERVED);
	append(&m, BOOT_HIGH_ADDR, job->mem->low_size, BOOT_RAM);
	append(&m, GUEST_HIGH_BASE, GUEST_HIGH_BASE + job->mem->high_size, BOOT_RAM);
	/* That no sum wraps was checked when the ranges were claimed. */
	for (unsigned i = 0; i < job->in->nr_reserved; i++) {
		const struct boot_range *r = &job->in->reserved[i];

		set(&m, r->addr, r->addr + r->size, r->type);
	}
	if (m.full)
		return boot_fail(job, E2BIG, "memory map: more than %u entries", max);
	tidy(&m);
	return (int)m.nr;
}
