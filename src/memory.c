/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM. A memfd rather than anonymous memory: a second mapping of the
 * same pages, or another process that serves a device, can then share it.
 * The host kernel fills it page by page when the guest first touches it, so a
 * guest of 4 GiB costs what it uses. Kernels before 3.17, the hosts of
 * engine_lguest, have no memfd: there it is anonymous memory.
 */
#include "memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int guest_memory_create(struct guest_memory *mem, uint64_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, error;

	*mem = (struct guest_memory){ .fd = -1, .watch.lock = PTHREAD_MUTEX_INITIALIZER };
	if (!size || size % 4096 || size > GUEST_RAM_MAX)
		return -EINVAL;

	mem->fd = memfd_create("lguest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mem->fd < 0 && errno != ENOSYS)
		return -errno;
	if (mem->fd >= 0) {
		if (ftruncate(mem->fd, (off_t)size) < 0)
			goto fail;
		/* Nobody who is ever handed the file can shrink it under our mapping (SIGBUS). */
		if (fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
			goto fail;
		flags = MAP_SHARED;
	}
	/* NORESERVE: overcommit is the point of lazy filling. Never executable: guest code runs from copies. */
	mem->base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, mem->fd, 0);
	if (mem->base == MAP_FAILED) {
		mem->base = NULL;
		goto fail;
	}
	mem->watch.code = mmap(NULL, size >> 12, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if ((void *)mem->watch.code == MAP_FAILED) {
		mem->watch.code = NULL;
		goto fail;
	}
	/* One mark must not cost a huge page. */
	madvise((void *)mem->watch.code, size >> 12, MADV_NOHUGEPAGE);
	/* A core dump of the launcher has no use for the guest's memory. */
	madvise(mem->base, size, MADV_DONTDUMP);

	mem->size = size;
	mem->low_size = size < GUEST_LOW_MAX ? size : GUEST_LOW_MAX;
	mem->high_size = size - mem->low_size;
	return 0;

fail:
	error = errno;
	mem->size = size;
	guest_memory_destroy(mem);
	return -error;
}

void guest_memory_destroy(struct guest_memory *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	if (mem->watch.code)
		munmap((void *)mem->watch.code, mem->size >> 12);
	if (mem->fd >= 0)
		close(mem->fd);
	*mem = (struct guest_memory){ .fd = -1 };
}

int guest_memory_clear(struct guest_memory *mem)
{
	/* Private pages come back as zero. */
	if (mem->fd < 0)
		return madvise(mem->base, mem->size, MADV_DONTNEED) < 0 ? -errno : 0;
	/* A hole reads as zero, in every mapping of the file, and owns no pages. */
	if (fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)mem->size) < 0)
		return -errno;
	return 0;
}

void guest_memory_watch(struct guest_memory *mem, void (*written)(void *opaque, uint64_t page), void *opaque)
{
	pthread_mutex_lock(&mem->watch.lock);
	mem->watch.written = written;
	mem->watch.opaque = opaque;
	if (!written)
		madvise((void *)mem->watch.code, mem->size >> 12, MADV_DONTNEED);
	pthread_mutex_unlock(&mem->watch.lock);
}

static void tell(struct guest_memory_watch *w, uint64_t page)
{
	pthread_mutex_lock(&w->lock);
	if (w->written)
		w->written(w->opaque, page);
	pthread_mutex_unlock(&w->lock);
}

void guest_wrote(const struct guest_memory *mem, const void *host, uint64_t len)
{
	uint64_t first = (uint64_t)((const uint8_t *)host - mem->base) >> 12;
	uint64_t last = ((uint64_t)((const uint8_t *)host - mem->base) + len - 1) >> 12;

	if (!mem->watch.code || len == 0)
		return;
	/* Bytes first, then the look at the marks; the watcher marks first, then reads bytes. */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint64_t page = first; page <= last; page++)
		if (atomic_load_explicit(&mem->watch.code[page], memory_order_relaxed))
			tell((struct guest_memory_watch *)(uintptr_t)&mem->watch, page);
}
