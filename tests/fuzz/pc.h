/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PC for fuzzers (tests/platform/fuzz_pc.c, tests/virtio/fuzz_pci.c): its
 * host's side, which plays a console that is full at times, configuration
 * space as a guest reaches it, and what must hold of a bus at any time.
 */
#ifndef LGUEST_TESTS_FUZZ_PC_H
#define LGUEST_TESTS_FUZZ_PC_H

#include <stdint.h>

#include "platform/pc.h"

struct fuzz_pc {
	struct pc pc;
	unsigned room; /* of the console's output */
	uint8_t next;  /* of its input */
};

void fuzz_pc_init(struct fuzz_pc *f, struct guest_memory *ram);
/* One vCPU, slot @slot, by ports 0xcf8 and 0xcfc. */
void fuzz_pc_config_write(struct fuzz_pc *f, unsigned slot, unsigned offset, unsigned size, uint32_t val);
uint32_t fuzz_pc_config_read(struct fuzz_pc *f, unsigned slot, unsigned offset, unsigned size);
/* Ranges are in order and apart, and nobody has left the lock behind. */
void fuzz_pc_check(struct fuzz_pc *f);

#endif
