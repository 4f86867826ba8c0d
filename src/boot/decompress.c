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
#include <stdlib.h>
#include <string.h>

#include "boot/codecs.h"
#include "boot/job.h"

/* More than any kernel; keeps a corrupt size field from taking the host's memory. */
#define MAX_OUTPUT (1024u << 20)

#define LZ4_MAGIC "\x02\x21\x4c\x18"

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
	{ "lz4", LZ4_MAGIC, 4, 4 },
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

/*
 * lz4 in its legacy frame: blocks, each with its length before it, that do not depend on each
 * other. Finds them, and takes part only when all is as it should be.
 */
static bool find_blocks(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
			struct boot_file *elf)
{
	uint64_t end = off + len - 4;
	uint32_t size, packed;

	if (boot_file_read(job, f, end, &size, 4, "payload"))
		return false;
	size = le32toh(size);
	elf->block = calloc(MAX_OUTPUT / BOOT_BLOCK, sizeof(*elf->block));
	for (off += 4; elf->block && end - off > 4; off += packed) {
		if (elf->blocks == MAX_OUTPUT / BOOT_BLOCK ||
		    boot_file_read(job, f, off, &packed, 4, "payload"))
			return false;
		packed = le32toh(packed);
		off += 4;
		if (packed > end - off || packed > BOOT_PACKED_MAX)
			return false;
		elf->block[elf->blocks++] = (struct boot_block){ off, packed };
	}
	elf->size = size;
	return off == end && size <= MAX_OUTPUT && elf->blocks > 1 &&
	       elf->blocks == (size + BOOT_BLOCK - 1) / BOOT_BLOCK;
}

int boot_open_payload(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		      struct boot_file *elf)
{
	uint8_t magic[4] = { 0 }, *packed;
	size_t size = 0;
	int error = boot_file_read(job, f, off, magic, len < 4 ? len : 4, "payload");

	if (error)
		return error;
	*elf = (struct boot_file){ .name = f->name, .fd = f->fd, .data = f->data, .borrowed = true };
	if (len > 12 && !memcmp(magic, LZ4_MAGIC, 4) && find_blocks(job, f, off, len, elf))
		return 0;

	/* As a whole; if it is corrupt the words for that are found there. */
	boot_file_close(elf);
	elf->name = f->name;
	packed = boot_buffer_new(len);
	if (!packed)
		return boot_fail(job, ENOMEM, "%s: out of memory", f->name);
	error = boot_file_read(job, f, off, packed, len, "payload");
	/* CONFIG_KERNEL_UNCOMPRESSED */
	if (!error && !memcmp(magic, "\177ELF", 4)) {
		elf->buffer = packed;
		elf->data = packed;
		elf->size = len;
		return 0;
	}
	if (!error)
		error = boot_decompress(job, f->name, packed, len, &elf->buffer, &size);
	elf->data = elf->buffer;
	elf->size = size;
	boot_buffer_free(packed, len);
	return error;
}

const char *boot_compression_name(const uint8_t *in, size_t len)
{
	const struct format *f = find_format(in, len);

	return f ? f->name : NULL;
}
