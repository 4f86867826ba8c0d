/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What unpacks a kernel's payload.
 */
#ifndef LGUEST_BOOT_CODECS_H
#define LGUEST_BOOT_CODECS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * gzip, xz and zstd, as decompress.c names them: unpack from the beginning on, into @size bytes at @out,
 * which stay there. NULL: no such format, or no memory.
 */
struct boot_unpacker;

struct boot_unpacker *boot_unpacker_new(const char *format, uint8_t *out, size_t size);
/*
 * Unpacks what it can with the next @len bytes. False: corrupt. *@filled: bytes at @out, all told;
 * *@ended: that was the end, checksum included, and it must not be fed again.
 */
bool boot_unpacker_feed(struct boot_unpacker *u, const uint8_t *in, size_t len, size_t *filled, bool *ended);
void boot_unpacker_free(struct boot_unpacker *u);

/* lz4 as a whole: fills exactly @outlen bytes at @out from all of @in, or returns false. */
bool boot_unpack_lz4(const uint8_t *in, size_t len, uint8_t *out, size_t outlen);

/*
 * One block of lz4: its first @want bytes to @out. @whole: these are all, and @in is all that
 * they were packed to. False: it is corrupt.
 */
bool boot_unpack_block(const uint8_t *in, size_t len, uint8_t *out, size_t want, bool whole);

/* False: there are none, and bzImages have to unpack themselves. */
bool boot_has_codecs(void);

#endif
