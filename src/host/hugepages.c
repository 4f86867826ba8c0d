// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/hugepages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void *huge_reserve(size_t size, int prot)
{
	size_t before;
	uint8_t *p;

	size = (size + 4095) & ~(size_t)4095;
	p = mmap(NULL, size + HUGE_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)p & (HUGE_SIZE - 1);
	if (before)
		munmap(p, before);
	munmap(p + before + size, HUGE_SIZE - before);
	return p + before;
}

/* False: the host cannot do it, ever. */
static bool move(struct huge_area *a)
{
	size_t full = atomic_load_explicit(&a->filled, memory_order_relaxed) & -HUGE_SIZE;

	for (; a->moved < full; a->moved += HUGE_SIZE)
		/* EINVAL: not this kernel, or not with its settings. Other errors are of this piece: no memory, page in use. */
		if (madvise(a->base + a->moved, HUGE_SIZE, MADV_COLLAPSE) && errno == EINVAL)
			return false;
	return true;
}

static void *mover(void *opaque)
{
	struct hugepages *h = opaque;
	bool can = true;

	pthread_mutex_lock(&h->lock);
	while (!h->stop && can) {
		if (!h->work) {
			pthread_cond_wait(&h->changed, &h->lock);
			continue;
		}
		h->work = false;
		pthread_mutex_unlock(&h->lock);
		for (unsigned i = 0; i < h->areas && can; i++)
			can = move(&h->area[i]);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

struct hugepages *hugepages_create(void)
{
	struct hugepages *h = calloc(1, sizeof(*h));

	if (h) {
		pthread_mutex_init(&h->lock, NULL);
		pthread_cond_init(&h->changed, NULL);
	}
	return h;
}

unsigned hugepages_add(struct hugepages *h, void *base)
{
	h->area[h->areas].base = base;
	return h->areas++;
}

void hugepages_wake(struct hugepages *h)
{
	atomic_store_explicit(&h->due, false, memory_order_relaxed);
	pthread_mutex_lock(&h->lock);
	h->work = true;
	if (!h->started)
		h->started = pthread_create(&h->thread, NULL, mover, h) == 0;
	pthread_cond_signal(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

void hugepages_destroy(struct hugepages *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->changed);
	pthread_mutex_unlock(&h->lock);
	if (h->started)
		pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
