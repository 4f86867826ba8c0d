/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats that kernels are packed in, by their own libraries. (A program
 * that is built without libraries has codecs_none.c in the place of this.)
 */
#include "boot/codecs.h"
#include "boot/job.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
/* For ZSTD_d_stableOutBuffer, a name; nothing is linked statically. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

/* ---- formats that can only be unpacked from the beginning ---- */

struct boot_unpacker {
	const struct stream_codec *codec;
	uint8_t *out;
	size_t size, filled;
	bool ended;
	union {
		z_stream gzip;
		lzma_stream xz;
		ZSTD_DCtx *zstd;
	};
};

struct stream_codec {
	const char *name;
	bool (*begin)(struct boot_unpacker *u);
	/* Takes all of @in, unless the stream ends in it; moves u->filled. False: corrupt. */
	bool (*feed)(struct boot_unpacker *u, const uint8_t *in, size_t len);
	void (*end)(struct boot_unpacker *u);
};

static bool gzip_begin(struct boot_unpacker *u)
{
	/* 15: window of 32 KiB; 16: with the gzip wrapper, whose CRC zlib then checks. */
	return inflateInit2(&u->gzip, 15 + 16) == Z_OK;
}

static bool gzip_feed(struct boot_unpacker *u, const uint8_t *in, size_t len)
{
	int ret;

	u->gzip.next_in = (Bytef *)in;
	u->gzip.avail_in = (uInt)len;
	u->gzip.next_out = u->out + u->filled;
	u->gzip.avail_out = (uInt)(u->size - u->filled);
	ret = inflate(&u->gzip, Z_NO_FLUSH);
	u->filled = u->size - u->gzip.avail_out;
	u->ended = ret == Z_STREAM_END;
	return u->ended || (ret == Z_OK && !u->gzip.avail_in);
}

static void gzip_end(struct boot_unpacker *u)
{
	inflateEnd(&u->gzip);
}

static bool xz_begin(struct boot_unpacker *u)
{
	/* The kernel's build uses dictionaries of up to 128 MiB. */
	u->xz = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_stream_decoder(&u->xz, 256u << 20, 0) == LZMA_OK;
}

static bool xz_feed(struct boot_unpacker *u, const uint8_t *in, size_t len)
{
	lzma_ret ret;

	u->xz.next_in = in;
	u->xz.avail_in = len;
	u->xz.next_out = u->out + u->filled;
	u->xz.avail_out = u->size - u->filled;
	ret = lzma_code(&u->xz, LZMA_RUN);
	u->filled = u->size - u->xz.avail_out;
	u->ended = ret == LZMA_STREAM_END;
	return u->ended || (ret == LZMA_OK && !u->xz.avail_in);
}

static void xz_end(struct boot_unpacker *u)
{
	lzma_end(&u->xz);
}

static bool zstd_begin(struct boot_unpacker *u)
{
	u->zstd = ZSTD_createDCtx();
	if (!u->zstd)
		return false;
	/* The output stays where it is: no window of its own. A library that knows no such thing is slower. */
	(void)ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_stableOutBuffer, 1);
	/* Windows as large as the kernel's build makes them (--ultra -22). */
	return !ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, 28));
}

static bool zstd_feed(struct boot_unpacker *u, const uint8_t *in, size_t len)
{
	ZSTD_inBuffer from = { in, len, 0 };
	ZSTD_outBuffer to = { u->out, u->size, u->filled };
	size_t ret = 1, before;

	do {
		before = from.pos + to.pos;
		ret = ZSTD_decompressStream(u->zstd, &to, &from);
	} while (!ZSTD_isError(ret) && ret && from.pos + to.pos > before);
	u->filled = to.pos;
	u->ended = ret == 0;
	return u->ended || (!ZSTD_isError(ret) && from.pos == len);
}

static void zstd_end(struct boot_unpacker *u)
{
	ZSTD_freeDCtx(u->zstd);
}

struct boot_unpacker *boot_unpacker_new(const char *name, uint8_t *out, size_t size)
{
	static const struct stream_codec codecs[] = {
		{ "gzip", gzip_begin, gzip_feed, gzip_end },
		{ "xz", xz_begin, xz_feed, xz_end },
		{ "zstd", zstd_begin, zstd_feed, zstd_end },
	};
	struct boot_unpacker *u;
	unsigned i = 0;

	while (i < sizeof(codecs) / sizeof(codecs[0]) && strcmp(codecs[i].name, name) != 0)
		i++;
	if (i == sizeof(codecs) / sizeof(codecs[0]))
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->codec = &codecs[i];
	u->out = out;
	u->size = size;
	if (!u->codec->begin(u)) {
		boot_unpacker_free(u);
		return NULL;
	}
	return u;
}

bool boot_unpacker_feed(struct boot_unpacker *u, const uint8_t *in, size_t len, size_t *filled, bool *ended)
{
	bool ok = !u->ended && u->codec->feed(u, in, len);

	*filled = u->filled;
	*ended = u->ended;
	return ok;
}

void boot_unpacker_free(struct boot_unpacker *u)
{
	if (u)
		u->codec->end(u);
	free(u);
}

/* ---- lz4 ---- */

bool boot_unpack_lz4(const uint8_t *in, size_t len, uint8_t *out, size_t outlen)
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

bool boot_has_codecs(void)
{
	return true;
}
