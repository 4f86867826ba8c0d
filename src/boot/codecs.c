/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats that kernels are packed in, by their own libraries. (A program
 * that is built without libraries has codecs_none.c in the place of this.)
 */
#include "boot/codecs.h"
#include "boot/job.h"

#include <endian.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

static bool unpack_gzip(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
{
	z_stream z = {
		.next_in = (Bytef *)in, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)outlen
	};
	bool ok;

	/* 15: window of 32 KiB; 16: with the gzip wrapper, whose CRC zlib then checks. */
	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == outlen;
	inflateEnd(&z);
	return ok;
}

static bool unpack_xz(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
{
	/* The kernel's build uses dictionaries of up to 128 MiB. */
	uint64_t limit = 256u << 20;
	size_t in_pos = 0, out_pos = 0;

	return lzma_stream_buffer_decode(&limit, 0, NULL, in, &in_pos, len, out, &out_pos, outlen) ==
		       LZMA_OK &&
	       out_pos == outlen;
}

static bool unpack_zstd(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
{
	return ZSTD_decompress(out, outlen, in, len) == outlen;
}

static bool unpack_lz4(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
{
	size_t in_pos = 4, out_pos = 0;

	while (in_pos < len) {
		uint32_t packed;
		size_t room = outlen - out_pos;
		int n;

		if (len - in_pos < 4)
			return false;
		memcpy(&packed, in + in_pos, 4);
		packed = le32toh(packed);
		in_pos += 4;
		if (packed > len - in_pos || packed > INT32_MAX)
			return false;
		if (room > BOOT_BLOCK)
			room = BOOT_BLOCK;
		n = LZ4_decompress_safe((const char *)in + in_pos, (char *)out + out_pos, (int)packed,
					(int)room);
		if (n < 0)
			return false;
		in_pos += packed;
		out_pos += (size_t)n;
	}
	return out_pos == outlen;
}

bool boot_unpack_block(const uint8_t *in, size_t len, uint8_t *out, size_t want, bool whole)
{
	const char *from = (const char *)in;
	int n = whole ? LZ4_decompress_safe(from, (char *)out, (int)len, (int)want)
		      : LZ4_decompress_safe_partial(from, (char *)out, (int)len, (int)want, (int)want);

	return n >= 0 && (size_t)n == want;
}

boot_codec *boot_find_codec(const char *name)
{
	static const struct {
		const char *name;
		boot_codec *unpack;
	} codecs[] = {
		{ "gzip", unpack_gzip },
		{ "xz", unpack_xz },
		{ "zstd", unpack_zstd },
		{ "lz4", unpack_lz4 },
	};

	for (unsigned i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
		if (strcmp(codecs[i].name, name) == 0)
			return codecs[i].unpack;
	return NULL;
}

bool boot_has_codecs(void)
{
	return true;
}
