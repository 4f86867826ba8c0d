/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of codecs.c, when the program is built without libraries (-Dlibraries=false). */
#include "boot/codecs.h"

#include <stddef.h>

struct boot_unpacker *boot_unpacker_new(const char *format, uint8_t *out, size_t size)
{
	return NULL;
}

bool boot_unpacker_feed(struct boot_unpacker *u, const uint8_t *in, size_t len, size_t *filled, bool *ended)
{
	return false;
}

void boot_unpacker_free(struct boot_unpacker *u)
{
}

bool boot_unpack_lz4(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
{
	return false;
}

bool boot_unpack_block(const uint8_t *in, size_t len, uint8_t *out, size_t want, bool whole)
{
	return false;
}

bool boot_has_codecs(void)
{
	return false;
}
