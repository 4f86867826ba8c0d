/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unpacks a block of lz4 piece by piece, in little memory.
 */
#ifndef LGUEST_BOOT_LZ4_H
#define LGUEST_BOOT_LZ4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LZ4_WINDOW  65536
#define LZ4_ROOM    131072 /* what is unpacked before it is handed on */
#define LZ4_SLICE   32768  /* what is read at a time */
#define LZ4_CORRUPT 1

/* Contents do not matter before and after. */
struct lz4_buffers {
	uint8_t out[LZ4_WINDOW + LZ4_ROOM];
	uint8_t in[LZ4_SLICE];
};

/* Both return 0, or a negative number that ends all. */
struct lz4_io {
	int (*read)(void *opaque, uint64_t off, uint8_t *buf, size_t len);
	/* The next @len bytes of the result, from its byte @off on. */
	int (*take)(void *opaque, uint64_t off, const uint8_t *bytes, size_t len);
	void *opaque;
};

struct lz4_end {
	uint64_t taken;
	bool whole; /* the block ended there */
};

/*
 * Unpacks [@off, @off + @len) until the block ends or @want bytes have been taken; what lies behind them is not
 * looked at. 0 (then *@end is set), LZ4_CORRUPT, or what a callback returned.
 */
int lz4_unpack(struct lz4_buffers *b, const struct lz4_io *io, uint64_t off, uint64_t len, uint64_t want,
	       struct lz4_end *end);

#endif
