/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What unpacks a kernel's payload.
 */
#ifndef LGUEST_BOOT_CODECS_H
#define LGUEST_BOOT_CODECS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills exactly @outlen bytes at @out from all of @in, or returns false. */
typedef bool boot_codec(const uint8_t *in, size_t len, uint8_t *out, size_t outlen);

/* By the format's name (decompress.c); NULL: not supported. */
boot_codec *boot_find_codec(const char *name);

/*
 * One block of lz4: its first @want bytes to @out. @whole: these are all, and @in is all that
 * they were packed to. False: it is corrupt.
 */
bool boot_unpack_block(const uint8_t *in, size_t len, uint8_t *out, size_t want, bool whole);

/* False: there are none, and bzImages have to unpack themselves. */
bool boot_has_codecs(void);

#endif
