/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading images. Read, not mapped: a file that shrinks while we look at it is
 * then a short read with a message, not a SIGBUS.
 */
#include <endian.h>
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

/* ---- lz4 ---- */

struct unpacking {
	struct boot_job *job;
	const struct boot_file *f;
	uint64_t start; /* in the file, where the block begins */
	int (*take)(void *opaque, uint64_t off, const uint8_t *bytes, size_t len);
	void *opaque;
};

static int read_packed(void *opaque, uint64_t off, uint8_t *buf, size_t len)
{
	struct unpacking *u = opaque;

	if (u->f->fd >= 0)
		return read_all(u->job, u->f, off, buf, len, "payload");
	memcpy(buf, u->f->data + off, len);
	return 0;
}

static int take_unpacked(void *opaque, uint64_t off, const uint8_t *bytes, size_t len)
{
	struct unpacking *u = opaque;

	return u->take(u->opaque, u->start + off, bytes, len);
}

static int unpack_block(struct unpacking *u, uint64_t off, uint64_t len, uint64_t want, struct lz4_end *end)
{
	const struct lz4_io io = { read_packed, take_unpacked, u };
	struct boot_space *space = boot_space_get(u->job);
	int error;

	if (!space)
		return boot_fail(u->job, ENOMEM, "%s: no memory to unpack the payload", u->f->name);
	error = lz4_unpack(&space->lz4, &io, off, len, want, end);
	boot_space_put(u->job, space);
	return error == LZ4_CORRUPT ? boot_fail(u->job, EINVAL, "%s: corrupt payload (lz4)", u->f->name)
				    : error;
}

int boot_file_unpack(struct boot_job *job, const struct boot_file *f, unsigned i, uint64_t want,
		     int (*take)(void *opaque, uint64_t off, const uint8_t *bytes, size_t len), void *opaque)
{
	struct unpacking u = { job, f, (uint64_t)i * BOOT_BLOCK, take, opaque };
	uint64_t size = f->size - u.start < BOOT_BLOCK ? f->size - u.start : BOOT_BLOCK;
	struct lz4_end end;
	int error = unpack_block(&u, f->block[i].packed_off, f->block[i].packed_len,
				 want < size ? want : size, &end);

	if (!error && (want < size ? end.taken < want : end.taken < size || !end.whole))
		error = boot_fail(job, EINVAL, "%s: corrupt payload (lz4)", f->name);
	return error;
}

static int take_to_memory(void *opaque, uint64_t off, const uint8_t *bytes, size_t len)
{
	memcpy((uint8_t *)opaque + off, bytes, len);
	return 0;
}

int boot_file_unpack_all(struct boot_job *job, const struct boot_file *f, uint64_t off, uint64_t len,
			 uint8_t *out, uint64_t size)
{
	struct unpacking u = { .job = job, .f = f, .take = take_to_memory, .opaque = out };
	uint64_t end = off + len;
	struct lz4_end last = { .whole = true };
	uint32_t packed = 0;
	int error = 0;

	while (!error && last.whole && end - off >= 4) {
		error = boot_file_read(job, f, off, &packed, 4, "payload");
		packed = le32toh(packed);
		if (error || packed > end - off - 4)
			break;
		off += 4;
		error = unpack_block(&u, off, packed,
				     size - u.start < BOOT_BLOCK ? size - u.start : BOOT_BLOCK, &last);
		u.start += error ? 0 : last.taken;
		off += packed;
	}
	if (!error && (off != end || u.start != size || !last.whole))
		error = boot_fail(job, EINVAL, "%s: corrupt payload (lz4)", f->name);
	return error;
}

/* What boot_file_read() wants */
struct wanted {
	uint8_t *buf;
	uint64_t off, end;
};

static int take_wanted(void *opaque, uint64_t off, const uint8_t *bytes, size_t len)
{
	const struct wanted *w = opaque;
	uint64_t from = off > w->off ? off : w->off, to = off + len < w->end ? off + len : w->end;

	if (from < to)
		memcpy(w->buf + (from - w->off), bytes + (from - off), to - from);
	return 0;
}

/* For headers and notes: unpacks from the start of a block up to what is wanted. */
static int read_blocks(struct boot_job *job, const struct boot_file *f, uint64_t off, uint8_t *buf,
		       size_t len)
{
	struct wanted w = { buf, off, off + len };
	int error = 0;

	for (uint64_t i = off / BOOT_BLOCK; i * BOOT_BLOCK < w.end && !error; i++)
		error = boot_file_unpack(job, f, (unsigned)i, w.end - i * BOOT_BLOCK, take_wanted, &w);
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
		   uint64_t off, uint8_t *dst, uint64_t len, const uint8_t *bytes, const char *what)
{
	uint8_t *chunk;
	int error = 0;

	if (bytes || f->fd < 0)
		return copy_sparse(job, f, mem, dst, bytes ? bytes : f->data + off, len);
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

uint8_t *boot_buffer_new(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Page faults would be a third of the time of unpacking a kernel. */
	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

void boot_buffer_free(uint8_t *buf, size_t len)
{
	if (buf)
		munmap(buf, len);
}
