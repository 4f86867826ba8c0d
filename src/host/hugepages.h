/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves memory that fills up from its front to huge pages (2 MiB), behind its owner's back.
 *
 * A page walk of the CPU that misses its TLB is dear; where the host is a
 * virtual machine itself, twice as dear. But memory that is asked for in huge
 * pages from the start costs 2 MiB for its first byte, up to milliseconds for each of
 * them, and the host's settings often let no memfd have any. So the memory is filled in small
 * pages, and what is full a thread asks the host to copy (madvise(2), MADV_COLLAPSE, Linux
 * 6.1). Hosts that cannot do it leave everything as it was.
 *
 * Nobody notices but by speed: addresses and contents stay the same, and who
 * touches a piece while it is being copied waits for that.
 */
#ifndef LGUEST_HOST_HUGEPAGES_H
#define LGUEST_HOST_HUGEPAGES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUGE_SIZE (2ul << 20)

#define HUGE_AREAS 3

struct huge_area {
	uint8_t *base;         /* a multiple of HUGE_SIZE */
	_Atomic size_t filled; /* bytes from there */
	size_t moved;          /* the thread's: have been moved or cannot be */
};

struct hugepages {
	struct huge_area area[HUGE_AREAS];
	unsigned areas;
	_Atomic bool due; /* hugepages_wake() is to be called */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool started, work, stop; /* under lock */
};

/*
 * Address space of @size bytes at a multiple of HUGE_SIZE, private and
 * anonymous, the caller's to unmap. NULL: errno.
 */
void *huge_reserve(size_t size, int prot);

/* NULL: no memory. There is no thread until there is something to do. */
struct hugepages *hugepages_create(void);
/* Ends its thread, before the areas are unmapped. NULL is fine. */
void hugepages_destroy(struct hugepages *h);

/* Memory at @base, a multiple of HUGE_SIZE, empty yet. Its number, the next from 0. Before everything below. */
unsigned hugepages_add(struct hugepages *h, void *base);

/* The first @size bytes of the area are full. One thread, fast C too. */
static inline void hugepages_filled(struct hugepages *h, unsigned area, size_t size)
{
	struct huge_area *a = &h->area[area];

	if (size <= atomic_load_explicit(&a->filled, memory_order_relaxed))
		return;
	atomic_store_explicit(&a->filled, size, memory_order_relaxed);
	atomic_store_explicit(&h->due, true, memory_order_relaxed);
}

static inline bool hugepages_due(const struct hugepages *h)
{
	return atomic_load_explicit(&h->due, memory_order_relaxed);
}

/* Has the thread look. Ordinary C, of the thread that calls hugepages_filled(); does not wait for the copying. */
void hugepages_wake(struct hugepages *h);

#endif
