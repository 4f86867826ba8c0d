/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decompressing the payload of a bzImage natively. The guest's own stub would
 * do the same, but as translated code, one to several seconds of it.
 *
 * Which algorithm packed it tells the magic (boot protocol, payload_offset).
 * The kernel's build appends the size of the result as four bytes, little
 * endian; gzip has them anyway as the last field of its format. So
 * the size is known, and anything that comes out shorter or longer is corrupt.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "boot/job.h"

/* More than any kernel; keeps a corrupt size field from taking the host's memory. */
#define MAX_OUTPUT (1024u << 20)

/* The block of the legacy frame of lz4 (lz4_Frame_format.md, "Legacy frame") */
#define LZ4_LEGACY_BLOCK (8u << 20)

/* Each fills exactly @outlen bytes at @out from all of @in, or returns false. */
typedef bool decompressor(const uint8_t *in, size_t len, uint8_t *out, size_t outlen);

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
		if (room > LZ4_LEGACY_BLOCK)
			room = LZ4_LEGACY_BLOCK;
		n = LZ4_decompress_safe((const char *)in + in_pos, (char *)out + out_pos, (int)packed,
					(int)room);
		if (n < 0)
			return false;
		in_pos += packed;
		out_pos += (size_t)n;
	}
	return out_pos == outlen;
}

static const struct format {
	const char *name;
	const char *magic;
	size_t magic_len;
	decompressor *unpack; /* NULL: known, not supported */
	size_t size_bytes;    /* bytes of the appended size that are not part of the stream */
} formats[] = {
	{ "gzip", "\x1f\x8b", 2, unpack_gzip, 0 },
	{ "xz",
	  "\xfd"
	  "7zXZ\0",
	  6, unpack_xz, 4 },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd, 4 },
	{ "lz4", "\x02\x21\x4c\x18", 4, unpack_lz4, 4 },
	{ "bzip2", "BZh", 3, NULL, 4 },
	{ "lzma", "\x5d\0\0", 3, NULL, 4 },
	{ "lzo", "\x89LZO", 4, NULL, 4 },
};

static const struct format *find_format(const uint8_t *in, size_t len)
{
	for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (len >= formats[i].magic_len && !memcmp(in, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	return NULL;
}

int boot_decompress(struct boot_job *job, const char *name, const uint8_t *in, size_t len, uint8_t **out,
		    size_t *outlen)
{
	const struct format *f = find_format(in, len);
	uint32_t size;
	uint8_t *buf;

	if (!f)
		return boot_fail(job, ENOTSUP,
				 "%s: payload has an unknown compression (try --no-host-decompress)", name);
	if (!f->unpack)
		return boot_fail(
			job, ENOTSUP,
			"%s: payload is packed with %s, which lguest cannot unpack (use --no-host-decompress)",
			name, f->name);
	if (len < f->magic_len + 4)
		return boot_fail(job, EINVAL, "%s: payload is too short to be a kernel", name);

	memcpy(&size, in + len - 4, 4);
	size = le32toh(size);
	if (!size || size > MAX_OUTPUT)
		return boot_fail(job, EINVAL, "%s: corrupt %s payload: claims to unpack to %u bytes", name,
				 f->name, size);

	buf = boot_buffer_new(size);
	if (!buf)
		return boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", name);
	if (!f->unpack(in, len - f->size_bytes, buf, size)) {
		boot_buffer_free(buf, size);
		return boot_fail(job, EINVAL, "%s: corrupt payload (%s)", name, f->name);
	}
	*out = buf;
	*outlen = size;
	return 0;
}

const char *boot_compression_name(const uint8_t *in, size_t len)
{
	const struct format *f = find_format(in, len);

	return f ? f->name : NULL;
}
