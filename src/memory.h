/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM: one memfd, mapped shared and never executable, filled lazily by
 * the host kernel, with a hole for PCI and the interrupt controllers below
 * 4 GiB.
 *
 *   guest physical                       offset in the memfd
 *   0 .. low_size                        0 .. low_size
 *   4 GiB .. 4 GiB + high_size           low_size .. low_size + high_size
 *
 * All of the program reaches guest memory through guest_range(): one door, in
 * which every guest-supplied address is checked.
 */
#ifndef LGUEST_MEMORY_H
#define LGUEST_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_LOW_MAX   0xc0000000ull /* RAM below 4 GiB ends here at most */
#define GUEST_HIGH_BASE 0x100000000ull
#define GUEST_RAM_MAX   (64ull << 30)

/*
 * Somebody who has to know when RAM is written by other than the guest's
 * CPUs: an engine that keeps translated code. @code has one byte per page of
 * RAM, in memfd order, non-zero while that page has been translated; @written
 * is called, on any thread but one at a time, for pages where it is set. It
 * must not block. The marks live as long as the RAM, and are set by the watcher.
 */
struct guest_memory_watch {
	_Atomic uint8_t *code;
	void (*written)(void *opaque, uint64_t page);
	void *opaque;
	pthread_mutex_t lock; /* held around written() */
};

/*
 * RAM that is still being filled while the guest runs already (boot/loading.c).
 * Whoever is about to look at bytes or to change them waits for them first:
 * guest_range() does it, for everybody who comes through it. An engine that
 * keeps host addresses of pages asks before it takes one.
 */
struct guest_memory_loading {
	atomic_bool busy; /* never again true once it is false */
	/*
	 * What is missing will never come. Set before wait() returns for the first page that lacks
	 * something, and for good: nothing that a guest says after it has seen such a page comes from its program.
	 */
	atomic_bool failed;
	/*
	 * Returns when all that will be loaded into the pages of [@addr, @addr + @len), RAM, is there, or
	 * never will be because loading failed (the machine knows). Any thread; ordinary C that may
	 * read files and sleep, but takes no lock other than its own.
	 */
	void (*wait)(struct guest_memory_loading *loading, uint64_t addr, uint64_t len);
};

struct guest_memory {
	int fd;        /* the memfd, owned; -1 on hosts without */
	uint8_t *base; /* host address of offset 0, owned mapping */
	uint64_t size; /* low_size + high_size, a multiple of 4096 */
	uint64_t low_size;
	uint64_t high_size;
	struct guest_memory_watch watch;
	/* NULL: all is there. Does not change while a vCPU or a device is at work. */
	struct guest_memory_loading *loading;
};

/*
 * Creates zero-filled RAM of @size bytes (a multiple of 4096, at most
 * GUEST_RAM_MAX). Returns 0, or a negative errno with @mem unusable.
 */
int guest_memory_create(struct guest_memory *mem, uint64_t size);
void guest_memory_destroy(struct guest_memory *mem);

/*
 * From now on @written(@opaque, page) is told what guest_wrote() is told of
 * pages with a mark in watch.code. NULL: nobody watches any more, and all
 * marks are clear; written() does not run when this has returned.
 */
void guest_memory_watch(struct guest_memory *mem, void (*written)(void *opaque, uint64_t page), void *opaque);

/* Makes all of RAM zero again and gives its pages back to the host. */
int guest_memory_clear(struct guest_memory *mem);

/* Must somebody who wants RAM call loading->wait()? Acquires what was loaded when the answer is no. */
static inline bool guest_loading(const struct guest_memory *mem)
{
	return mem->loading && atomic_load_explicit(&mem->loading->busy, memory_order_acquire);
}

/* May RAM lack what should have been loaded? Asked behind guest_range(), it speaks of that range, too. */
static inline bool guest_load_failed(const struct guest_memory *mem)
{
	return mem->loading && atomic_load_explicit(&mem->loading->failed, memory_order_acquire);
}

/* The arithmetic of guest_range(), for those who have waited: fast C, which may not call wait() as it is. */
static inline void *guest_range_loaded(const struct guest_memory *mem, uint64_t addr, uint64_t len)
{
	if (addr < mem->low_size)
		return len <= mem->low_size - addr ? mem->base + addr : NULL;
	if (addr < GUEST_HIGH_BASE)
		return NULL;
	addr -= GUEST_HIGH_BASE;
	if (addr >= mem->high_size || len > mem->high_size - addr)
		return NULL;
	return mem->base + mem->low_size + addr;
}

/*
 * Host address of guest-physical [@addr, @addr + @len), or NULL when any byte
 * of it is not RAM. Never wraps; a range must not span the PCI hole. The
 * pointer lives as long as @mem. The guest may change the bytes at any
 * moment: copy first, then check the copy.
 */
static inline void *guest_range(const struct guest_memory *mem, uint64_t addr, uint64_t len)
{
	void *host = guest_range_loaded(mem, addr, len);

	if (host && guest_loading(mem))
		mem->loading->wait(mem->loading, addr, len);
	return host;
}

/*
 * A device has written [@host, @host + @len), which came from guest_range().
 * To be called after the bytes are in place and before the guest is told
 * (used ring, interrupt): translated code made from the old bytes does not run
 * after the guest's next serializing instruction or jump back. Any thread.
 */
void guest_wrote(const struct guest_memory *mem, const void *host, uint64_t len);

#endif
