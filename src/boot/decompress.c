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

#include "boot/codecs.h"
#include "boot/job.h"

/* More than any kernel; keeps a corrupt size field from taking the host's memory. */
#define MAX_OUTPUT (1024u << 20)

static const struct format {
	const char *name;
	const char *magic;
	size_t magic_len;
	size_t size_bytes; /* bytes of the appended size that are not part of the stream */
} formats[] = {
	{ "gzip", "\x1f\x8b", 2, 0 },
	{ "xz",
	  "\xfd"
	  "7zXZ\0",
	  6, 4 },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, 4 },
	{ "lz4", "\x02\x21\x4c\x18", 4, 4 },
	{ "bzip2", "BZh", 3, 4 },
	{ "lzma", "\x5d\0\0", 3, 4 },
	{ "lzo", "\x89LZO", 4, 4 },
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
	boot_codec *unpack = f ? boot_find_codec(f->name) : NULL;
	uint32_t size;
	uint8_t *buf;

	if (!f)
		return boot_fail(job, ENOTSUP,
				 "%s: payload has an unknown compression (try --no-host-decompress)", name);
	if (!unpack)
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
	if (!unpack(in, len - f->size_bytes, buf, size)) {
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
