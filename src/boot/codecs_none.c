/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of codecs.c, when the program is built without libraries (-Dlibraries=false). */
#include "boot/codecs.h"

#include <stddef.h>

boot_codec *boot_find_codec(const char *name)
{
	return NULL;
}

bool boot_unpack_block(const uint8_t *in, size_t len, uint8_t *out, size_t want, bool whole)
{
	return false;
}

bool boot_has_codecs(void)
{
	return false;
}
