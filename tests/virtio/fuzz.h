/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver, made of the bytes of a fuzzer. fuzz.c turns each input into
 * a sequence of things that a guest and a host can do to a device through the
 * transport's side of device.h: start it by the book or not, put up chains good
 * and bad, scribble over rings, ring doorbells, write configuration, reset in
 * between. A file of its own for each device (fuzz_rng.c ...) says how to
 * create it, and may know requests that get further than random bytes do.
 *
 * Checked besides what the sanitizers see:
 *   - RAM lies between guard pages: an access beside it ends the program
 *   - all memory that the device changed was announced with guest_wrote()
 *   - as long as rings are good, only chains that were put up come back, once,
 *     and no longer than their writable part
 *   - the status follows the rules; a guest gets few warnings printed
 *
 * How it is run: tests/fuzz/input.h.
 */
#ifndef LGUEST_TESTS_VIRTIO_FUZZ_H
#define LGUEST_TESTS_VIRTIO_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "fuzz/input.h"
#include "fuzz/ram.h"

#define FUZZ_RAM     (512u << 10)
#define FUZZ_TABLES  (192u << 10) /* below: rings; from here: tables of indirect descriptors */
#define FUZZ_BUFFERS (256u << 10) /* from here: buffers */

struct fuzz {
	struct driver d;
	struct fuzz_input in;
	struct fuzz_ram ram;
	bool honest; /* rings and tables were not tampered with since the last start */
	uint64_t room[VIRTIO_MAX_QUEUES][VIRTQ_MAX_SIZE]; /* writable bytes of the chain with this head */
	unsigned inputs;                                  /* that the device has lived through */
	void *opaque;                                     /* the target's */
};

struct fuzz_target {
	/* The device on f->d.env. NULL, with a line on stderr, ends the program. */
	struct virtio_device *(*create)(struct fuzz *f);
	/* After its destroy(), while there is an event loop; may be NULL. */
	void (*destroyed)(struct fuzz *f);
	/* Puts up a request that makes some sense, by fuzz_chain(); may be NULL. */
	void (*request)(struct fuzz *f);
	/* Something comes from the host's side; may be NULL. */
	void (*host)(struct fuzz *f);
	/* How many inputs the same device serves, with a reset in between, for those that take long to make. */
	unsigned lives;
};

/* Defined by each fuzz_*.c. */
extern const struct fuzz_target fuzz_target;

/* The next @bytes (1 to 8) of the input as a number; zeroes behind its end. */
uint64_t fuzz_take(struct fuzz *f, unsigned bytes);
/* One of 0 .. @n - 1. */
unsigned fuzz_pick(struct fuzz *f, unsigned n);
/* Writes guest memory as the guest's CPU does. */
void fuzz_poke(struct fuzz *f, uint64_t addr, const void *bytes, size_t len);
/* An address among the buffers. */
uint64_t fuzz_buffer(struct fuzz *f, uint32_t len);
/* Makes the chain available in @queue, direct or indirect as the input says, when descriptors are left. */
void fuzz_chain(struct fuzz *f, unsigned queue, const struct driver_buf *buf, unsigned count);

#endif
