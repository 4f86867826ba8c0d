/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading images. Read, not mapped: a file that shrinks while we look at it is
 * then a short read with a message, not a SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/codecs.h"
#include "boot/job.h"

#define CHUNK 262144u
#define PAGE  4096u
#define FIRST 65536u /* bytes of a packed block that are tried first */

int boot_file_open(struct boot_job *job, struct boot_file *f, const char *name)
{
	struct stat st;
	int error;

	*f = (struct boot_file){ .name = name };
	/* NONBLOCK: a FIFO without writer must not hang us before we can refuse it. */
	f->fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0)
		return boot_fail(job, errno, "%s: cannot open: %s", name, strerror(errno));

	if (fstat(f->fd, &st) < 0)
		error = boot_fail(job, errno, "%s: cannot read: %s", name, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		error = boot_fail(job, EISDIR, "%s: is a directory", name);
	else if (!S_ISREG(st.st_mode))
		error = boot_fail(job, EINVAL, "%s: is not a regular file", name);
	else if (!st.st_size)
		error = boot_fail(job, EINVAL, "%s: file is empty", name);
	else
		error = 0;

	if (error)
		boot_file_close(f);
	else
		f->size = (uint64_t)st.st_size;
	return error;
}

void boot_file_close(struct boot_file *f)
{
	if (f->fd >= 0 && !f->borrowed)
		close(f->fd);
	boot_stream_free(f->stream);
	boot_buffer_free(f->buffer, f->size);
	free(f->block);
	*f = (struct boot_file){ .fd = -1 };
}

int boot_file_check(struct boot_job *job, const struct boot_file *f, uint64_t off, uint64_t len,
		    const char *what)
{
	if (off <= f->size && len <= f->size - off)
		return 0;
	return boot_fail(job, EINVAL,
			 "%s: truncated in the %s (file has %llu bytes, %s lies at %llu, length %llu)",
			 f->name, what, (unsigned long long)f->size, what, (unsigned long long)off,
			 (unsigned long long)len);
}

static int read_all(struct boot_job *job, const struct boot_file *f, uint64_t off, uint8_t *buf, size_t len,
		    const char *what)
{
	while (len) {
		ssize_t n = pread(f->fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return boot_fail(job, errno, "%s: cannot read the %s: %s", f->name, what,
					 strerror(errno));
		if (!n)
			return boot_fail(job, EIO, "%s: file shrank while being read", f->name);
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/*
 * How much of a packed block can be needed for its first @want bytes: incompressible ones, and the
 * length, a byte for each 255, of literals that go on to the end of the block.
 */
static size_t packed_prefix(size_t want)
{
	return want + want / 255 + 65536;
}

int boot_file_unpack(struct boot_job *job, const struct boot_file *f, unsigned i, size_t want,
		     struct boot_space *space)
{
	const struct boot_block *b = &f->block[i];
	size_t size = i + 1 < f->blocks ? BOOT_BLOCK : (size_t)(f->size - (uint64_t)i * BOOT_BLOCK);
	size_t limit = packed_prefix(want) < b->packed_len ? packed_prefix(want) : b->packed_len;
	size_t have = 0, len = want < size && FIRST < limit ? FIRST : limit;
	const uint8_t *packed = f->fd >= 0 ? space->packed : f->data + b->packed_off;
	int error = 0;

	if (want > size)
		want = size;
	/* A kernel's headers, and the holes between them, are packed to very little: tries that, then more. */
	for (;; have = len, len = limit / 4 < len ? limit : len * 4) {
		if (f->fd >= 0)
			error = read_all(job, f, b->packed_off + have, space->packed + have, len - have,
					 "payload");
		if (error ||
		    boot_unpack_block(packed, len, space->bytes, want, want == size && len == b->packed_len))
			return error;
		if (len == limit)
			return boot_fail(job, EINVAL, "%s: corrupt payload (lz4)", f->name);
	}
}

/* For headers and notes: unpacks from the start of a block up to what is wanted. */
static int read_blocks(struct boot_job *job, const struct boot_file *f, uint64_t off, uint8_t *buf,
		       size_t len)
{
	struct boot_space *space = boot_space_get(job);
	int error = space ? 0 : boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", f->name);

	while (len && !error) {
		uint64_t start = off % BOOT_BLOCK;
		size_t n = len < BOOT_BLOCK - start ? len : (size_t)(BOOT_BLOCK - start);

		error = boot_file_unpack(job, f, (unsigned)(off / BOOT_BLOCK), start + n, space);
		if (!error)
			memcpy(buf, space->bytes + start, n);
		buf += n;
		off += n;
		len -= n;
	}
	boot_space_put(job, space);
	return error;
}

int boot_file_read(struct boot_job *job, const struct boot_file *f, uint64_t off, void *buf, size_t len,
		   const char *what)
{
	int error = boot_file_check(job, f, off, len, what);

	if (error)
		return error;
	if (f->blocks)
		return read_blocks(job, f, off, buf, len);
	if (f->fd >= 0)
		return read_all(job, f, off, buf, len, what);
	error = f->stream ? boot_stream_until(job, f->stream, off + len) : 0;
	if (!error)
		memcpy(buf, f->data + off, len);
	return error;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/*
 * By write(2): the pages of a file that is written as a whole need neither be
 * cleared nor mapped first, which is twice as fast as memcpy() into our mapping.
 */
static int put(struct boot_job *job, const struct boot_file *f, const struct guest_memory *mem, uint8_t *dst,
	       const uint8_t *src, size_t len)
{
	if (mem->fd < 0) {
		memcpy(dst, src, len);
		return 0;
	}
	while (len) {
		ssize_t n = pwrite(mem->fd, src, len, dst - mem->base);

		if (n < 0 && errno == EINTR)
			continue;
		/* What write(2) gets no page for, memcpy() does not either: that would be a SIGBUS. */
		if (n <= 0)
			return boot_fail(job, n ? errno : ENOSPC, "%s: no host memory for the guest: %s",
					 f->name, strerror(n ? errno : ENOSPC));
		dst += n;
		src += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_sparse(struct boot_job *job, const struct boot_file *f, const struct guest_memory *mem,
		       uint8_t *dst, const uint8_t *src, size_t len)
{
	size_t run = 0; /* bytes before @src that are not all zero */
	int error = 0;

	while (len && !error) {
		/* Up to the end of the page of the destination. */
		size_t n = PAGE - (uintptr_t)dst % PAGE;

		if (n > len)
			n = len;
		if (all_zero(src, n)) {
			error = put(job, f, mem, dst - run, src - run, run);
			run = 0;
		} else {
			run += n;
		}
		dst += n;
		src += n;
		len -= n;
	}
	return error ? error : put(job, f, mem, dst - run, src - run, run);
}

int boot_file_copy(struct boot_job *job, const struct boot_file *f, const struct guest_memory *mem,
		   uint64_t off, uint8_t *dst, uint64_t len, const struct boot_space *block, const char *what)
{
	uint8_t *chunk;
	int error = 0;

	if (block || f->fd < 0)
		return copy_sparse(job, f, mem, dst, block ? block->bytes + off % BOOT_BLOCK : f->data + off,
				   len);
	chunk = malloc(CHUNK);
	if (!chunk)
		return boot_fail(job, ENOMEM, "%s: out of memory", f->name);
	while (len && !error) {
		size_t n = len < CHUNK ? len : CHUNK;

		error = read_all(job, f, off, chunk, n, what);
		if (!error)
			error = copy_sparse(job, f, mem, dst, chunk, n);
		off += n;
		dst += n;
		len -= n;
	}
	free(chunk);
	return error;
}

uint8_t *boot_buffer_new(size_t len, int advice)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, len, advice);
	return p;
}

void boot_buffer_free(uint8_t *buf, size_t len)
{
	if (buf)
		munmap(buf, len);
}
