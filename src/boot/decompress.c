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
#include <sys/mman.h>

#include "boot/codecs.h"
#include "boot/job.h"

/* More than any kernel; keeps a corrupt size field from taking the host's memory. */
#define MAX_OUTPUT (1024u << 20)

/* What is fed at a time */
#define SLICE 65536u

#define LZ4_MAGIC "\x02\x21\x4c\x18"

static const struct format {
	const char *name;
	const char *magic;
	size_t magic_len;
	size_t size_bytes; /* bytes of the appended size that are not part of the stream */
	enum { UNSUPPORTED, STREAM, LZ4 } how;
} formats[] = {
	{ "gzip", "\x1f\x8b", 2, 0, STREAM },
	{ "xz",
	  "\xfd"
	  "7zXZ\0",
	  6, 4, STREAM },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, 4, STREAM },
	{ "lz4", LZ4_MAGIC, 4, 4, LZ4 },
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

struct boot_stream {
	const char *name, *format;
	int fd;              /* borrowed; -1: @data counts */
	const uint8_t *data; /* not owned */
	uint64_t off, left;  /* what is not read yet */
	uint64_t size;       /* of the result */
	size_t filled;       /* bytes of it that are there */
	bool ended;
	struct boot_unpacker *unpacker;
	uint8_t packed[SLICE];
};

void boot_stream_free(struct boot_stream *s)
{
	if (s)
		boot_unpacker_free(s->unpacker);
	free(s);
}

int boot_stream_until(struct boot_job *job, struct boot_stream *s, uint64_t end)
{
	const struct boot_file packed = {
		.name = s->name, .fd = s->fd, .data = s->data, .size = s->off + s->left
	};

	/* The last byte is not enough: a checksum may follow. */
	while (s->filled < end || (end == s->size && !s->ended)) {
		size_t n = s->left < SLICE ? (size_t)s->left : SLICE;
		int error = boot_file_read(job, &packed, s->off, s->packed, n, "payload");

		if (error)
			return error;
		if (!n || s->ended || !boot_unpacker_feed(s->unpacker, s->packed, n, &s->filled, &s->ended))
			return boot_fail(job, EINVAL, "%s: corrupt payload (%s)", s->name, s->format);
		s->off += n;
		s->left -= n;
	}
	return 0;
}

/* The packed bytes of @f are those of @elf from now on; finds out how many they will be. */
static int open_packed(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		       const struct format *format, struct boot_file *elf)
{
	uint32_t size;
	int error;

	if (len < format->magic_len + 4)
		return boot_fail(job, EINVAL, "%s: payload is too short to be a kernel", f->name);
	error = boot_file_read(job, f, off + len - 4, &size, 4, "payload");
	if (error)
		return error;
	size = le32toh(size);
	if (!size || size > MAX_OUTPUT)
		return boot_fail(job, EINVAL, "%s: corrupt %s payload: claims to unpack to %u bytes", f->name,
				 format->name, size);
	elf->buffer = boot_buffer_new(size, MADV_HUGEPAGE);
	if (!elf->buffer)
		return boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", f->name);
	elf->data = elf->buffer;
	elf->size = size;
	return 0;
}

static int open_stream(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		       const struct format *format, struct boot_file *elf)
{
	int error = open_packed(job, f, off, len, format, elf);
	struct boot_stream *s;

	if (error)
		return error;
	elf->stream = s = malloc(sizeof(*s));
	if (!s)
		return boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", f->name);
	*s = (struct boot_stream){
		.name = f->name,
		.format = format->name,
		.fd = f->fd,
		.data = f->data,
		.off = off,
		.left = len - format->size_bytes,
		.size = elf->size,
		.unpacker = boot_unpacker_new(format->name, elf->buffer, elf->size),
	};
	if (!s->unpacker)
		return boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", f->name);
	/* What is as small as this is looked at to its end before anybody believes in it. */
	return boot_stream_until(job, s, elf->size < SLICE ? elf->size : SLICE);
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

/* As a whole, now: lz4 that is small or strange. */
static int open_lz4(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		    const struct format *format, struct boot_file *elf)
{
	uint8_t *packed = boot_buffer_new(len, MADV_HUGEPAGE);
	int error = packed ? open_packed(job, f, off, len, format, elf)
			   : boot_fail(job, ENOMEM, "%s: out of memory", f->name);

	if (!error)
		error = boot_file_read(job, f, off, packed, len, "payload");
	if (!error && !boot_unpack_lz4(packed, len - format->size_bytes, elf->buffer, elf->size))
		error = boot_fail(job, EINVAL, "%s: corrupt payload (%s)", f->name, format->name);
	boot_buffer_free(packed, len);
	return error;
}

/* CONFIG_KERNEL_UNCOMPRESSED */
static int open_plain(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		      struct boot_file *elf)
{
	elf->buffer = boot_buffer_new(len, MADV_HUGEPAGE);
	if (!elf->buffer)
		return boot_fail(job, ENOMEM, "%s: out of memory", f->name);
	elf->data = elf->buffer;
	elf->size = len;
	return boot_file_read(job, f, off, elf->buffer, len, "payload");
}

int boot_open_payload(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		      struct boot_file *elf)
{
	uint8_t magic[8] = { 0 };
	const struct format *format;
	int error = boot_file_read(job, f, off, magic, len < sizeof(magic) ? len : sizeof(magic), "payload");

	if (error)
		return error;
	*elf = (struct boot_file){ .name = f->name, .fd = f->fd, .data = f->data, .borrowed = true };
	if (len > 12 && !memcmp(magic, LZ4_MAGIC, 4) && find_blocks(job, f, off, len, elf))
		return 0;

	boot_file_close(elf);
	elf->name = f->name;
	if (!memcmp(magic, "\177ELF", 4))
		return open_plain(job, f, off, len, elf);
	format = find_format(magic, len < sizeof(magic) ? len : sizeof(magic));
	if (!format)
		return boot_fail(job, ENOTSUP,
				 "%s: payload has an unknown compression (try --no-host-decompress)",
				 f->name);
	switch (format->how) {
	case STREAM: return open_stream(job, f, off, len, format, elf);
	case LZ4: return open_lz4(job, f, off, len, format, elf);
	default:
		return boot_fail(
			job, ENOTSUP,
			"%s: payload is packed with %s, which lguest cannot unpack (use --no-host-decompress)",
			f->name, format->name);
	}
}

const char *boot_compression_name(const uint8_t *in, size_t len)
{
	const struct format *f = find_format(in, len);

	return f ? f->name : NULL;
}
