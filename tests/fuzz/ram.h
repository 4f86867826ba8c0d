/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM for fuzzers: between guard pages, so that an access beside it ends
 * the program, and with a copy of what it is when nobody but the guest
 * writes: whatever else changes must have been announced with guest_wrote().
 */
#ifndef LGUEST_TESTS_FUZZ_RAM_H
#define LGUEST_TESTS_FUZZ_RAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

struct fuzz_ram {
	struct guest_memory *ram;
	uint8_t *shadow;
	_Atomic bool *told; /* for each page: guest_wrote() */
};

/* @ram has been made, and nobody has an address in it yet: it moves. */
void fuzz_ram_init(struct fuzz_ram *f, struct guest_memory *ram);
/* Call @destroy_ram (guest_memory_destroy() and the like) with @opaque, then give back the guards. */
void fuzz_ram_destroy(struct fuzz_ram *f, void (*destroy_ram)(void *opaque), void *opaque);
/* All zero, nothing told. */
void fuzz_ram_clear(struct fuzz_ram *f);
/* Writes as the guest's CPU does; what is not RAM is left out. */
void fuzz_ram_poke(struct fuzz_ram *f, uint64_t addr, const void *bytes, size_t len);
/* The same was done by other means. */
void fuzz_ram_sync(struct fuzz_ram *f, uint64_t addr, uint64_t len);
/* Ends the program when something has changed that nobody was told of. */
void fuzz_ram_check(const struct fuzz_ram *f);

#endif
