/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz/ram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz/input.h"

#define GUARD (1u << 20)

static void on_written(void *opaque, uint64_t page)
{
	struct fuzz_ram *f = opaque;

	FUZZ_CHECK(page < f->ram->size / 4096);
	f->told[page] = true;
}

void fuzz_ram_init(struct fuzz_ram *f, struct guest_memory *ram)
{
	uint8_t *room = mmap(NULL, ram->size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	FUZZ_CHECK(room != MAP_FAILED);
	FUZZ_CHECK(mremap(ram->base, ram->size, ram->size, MREMAP_MAYMOVE | MREMAP_FIXED, room + GUARD) !=
		   MAP_FAILED);
	ram->base = room + GUARD;
	*f = (struct fuzz_ram){ .ram = ram,
				.shadow = calloc(1, ram->size),
				.told = calloc(ram->size / 4096, sizeof(*f->told)) };
	FUZZ_CHECK(f->shadow && f->told);
	memset((void *)ram->watch.code, 1, ram->size / 4096);
	guest_memory_watch(ram, on_written, f);
}

void fuzz_ram_destroy(struct fuzz_ram *f, void (*destroy_ram)(void *opaque), void *opaque)
{
	uint8_t *base = f->ram->base;
	uint64_t size = f->ram->size;

	destroy_ram(opaque);
	munmap(base - GUARD, GUARD);
	munmap(base + size, GUARD);
	free(f->shadow);
	free(f->told);
}

void fuzz_ram_clear(struct fuzz_ram *f)
{
	memset(f->ram->base, 0, f->ram->size);
	memset(f->shadow, 0, f->ram->size);
	for (uint64_t i = 0; i < f->ram->size / 4096; i++)
		f->told[i] = false;
}

void fuzz_ram_poke(struct fuzz_ram *f, uint64_t addr, const void *bytes, size_t len)
{
	void *p = guest_range(f->ram, addr, len);

	if (!p)
		return;
	memcpy(p, bytes, len);
	memcpy(f->shadow + addr, bytes, len);
}

void fuzz_ram_sync(struct fuzz_ram *f, uint64_t addr, uint64_t len)
{
	if (addr <= f->ram->size && len <= f->ram->size - addr)
		memcpy(f->shadow + addr, f->ram->base + addr, len);
}

void fuzz_ram_check(const struct fuzz_ram *f)
{
	for (uint64_t page = 0; page < f->ram->size / 4096; page++) {
		if (f->told[page] || memcmp(f->shadow + page * 4096, f->ram->base + page * 4096, 4096) == 0)
			continue;
		fprintf(stderr, "page %llu was written and nobody was told (guest_wrote())\n",
			(unsigned long long)page);
		abort();
	}
}
