/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in a file of the host: a raw image, or a block device.
 *
 * Each request has two ways to go:
 *
 *   at once      inside submit(): reads of what is in the page cache
 *                (RWF_NOWAIT finds out), and writes into the page cache, as long
 *                as they are fast
 *   later        through aio.h: all the rest
 *
 * "As long as they are fast": a write may have to wait when the host has too
 * many dirty pages, and there is no asking beforehand on most file systems. So
 * the clock decides. One that took longer than SLOW_NS makes us watch the
 * following ones: if another one is slow because it slept (and not because
 * somebody else had the processor), those of the next moments go the other way.
 * And a batch gets no more than BATCH_BYTES worth of the vCPU's time.
 *
 * Opening, locking and measuring files is in disk_open.c.
 */
#include "host/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "host/iov.h"

#define SLOW_NS     2000000ull   /* a write that took longer had to wait for something */
#define WATCHED     64           /* writes after a slow one */
#define AVOID_NS    100000000ull /* for how long writes go the other way */
#define BATCH_BYTES (4u << 20)   /* between two kick(): about 300 us */
#define BOUNCE_MAX  (1u << 20)
#define ZEROES      (64u << 10)
#define ZERO_PIECES 16

/* A request on its way through aio, perhaps in several steps. */
struct transfer {
	struct aio_op op;
	struct file_disk *disk;
	struct disk_request *req;
	uint64_t progress; /* bytes of req that are done */
	uint64_t mark;     /* a flush: disk->writes when it began */
	struct iovec *iov; /* what is left of req->iov after a short transfer; owned */
	uint8_t *bounce;   /* for guest buffers that direct I/O does not take; owned */
	struct iovec piece[ZERO_PIECES];
	int mode; /* DISK_ZERO: of the attempt under way */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the tail of an image whose size is no multiple of a sector: it reads as zero ---- */

static void fill_zero(struct disk_request *req, uint64_t from)
{
	static const uint8_t zero[DISK_SECTOR];

	while (from < req->length) {
		uint64_t n = req->length - from < sizeof(zero) ? req->length - from : sizeof(zero);

		from += iov_write(req->iov, req->count, from, zero, n);
	}
}

/* Is @progress of @req all that there is in the file? */
static bool at_end(const struct file_disk *d, const struct disk_request *req, uint64_t progress)
{
	return req->op == DISK_READ && req->offset + progress >= d->data_size;
}

/* ---- later ---- */

static void step(struct transfer *t);

static void finish(struct transfer *t, int error)
{
	struct disk_request *req = t->req;

	/* A failed one, too, may have changed something. */
	if (req->op != DISK_READ && req->op != DISK_FLUSH)
		t->disk->writes++;
	free(t->iov);
	free(t->bounce);
	free(t);
	req->done(req, error);
}

static void moved(struct aio_op *op, int64_t result)
{
	struct transfer *t = (struct transfer *)op;
	struct disk_request *req = t->req;

	if (result <= 0) {
		/* Somebody has cut the file off behind us. */
		finish(t, result ? (int)result : -EIO);
		return;
	}
	if (t->bounce && req->op == DISK_READ)
		iov_write(req->iov, req->count, t->progress, t->bounce, (size_t)result);
	t->progress += (uint64_t)result;
	if (t->progress < req->length && at_end(t->disk, req, t->progress)) {
		fill_zero(req, t->progress);
		t->progress = req->length;
	}
	if (t->progress >= req->length)
		finish(t, 0);
	else
		step(t);
}

static void flushed(struct aio_op *op, int64_t result)
{
	struct transfer *t = (struct transfer *)op;

	if (result == 0 && t->mark > t->disk->flushed)
		t->disk->flushed = t->mark;
	finish(t, (int)result);
}

static void discarded(struct aio_op *op, int64_t result)
{
	finish((struct transfer *)op, (int)result);
}

static void zeroed(struct aio_op *op, int64_t result)
{
	struct transfer *t = (struct transfer *)op;

	/* The file system, or the device, cannot do it this way: to the next one. */
	if (result == -EOPNOTSUPP || result == -EINVAL) {
		t->mode = t->mode == ZERO_BY_PUNCHING ? ZERO_BY_RANGE : ZERO_BY_WRITING;
		/* -EINVAL: this one is not aligned as the device wants it. */
		if (result == -EOPNOTSUPP && t->mode > t->disk->zero_mode[t->req->unmap])
			t->disk->zero_mode[t->req->unmap] = t->mode;
		step(t);
		return;
	}
	finish(t, (int)result);
}

/* What is left of the request's buffers; false: no memory. */
static bool remaining_iov(struct transfer *t)
{
	const struct disk_request *req = t->req;
	struct iovec *rest = malloc(req->count * sizeof(*rest));

	if (!rest)
		return false;
	free(t->iov);
	t->iov = rest;
	t->op.iov = rest;
	t->op.count = iov_slice(req->iov, req->count, t->progress, req->length - t->progress, rest);
	return true;
}

static bool prepare_move(struct transfer *t)
{
	struct disk_request *req = t->req;

	t->op.kind = req->op == DISK_READ ? AIO_READ : AIO_WRITE;
	t->op.done = moved;
	if (t->bounce) {
		uint64_t left = req->length - t->progress;

		t->piece[0] = (struct iovec){ t->bounce, left < BOUNCE_MAX ? left : BOUNCE_MAX };
		if (req->op == DISK_WRITE)
			iov_read(req->iov, req->count, t->progress, t->bounce, t->piece[0].iov_len);
		t->op.iov = t->piece;
		t->op.count = 1;
		return true;
	}
	if (t->progress)
		return remaining_iov(t);
	t->op.iov = req->iov;
	t->op.count = req->count;
	return true;
}

static void prepare_zeroes(struct transfer *t)
{
	uint64_t left = t->req->length - t->progress;
	unsigned n;

	for (n = 0; n < ZERO_PIECES && left; n++) {
		t->piece[n] = (struct iovec){ t->disk->zeroes, left < ZEROES ? left : ZEROES };
		left -= t->piece[n].iov_len;
	}
	t->op.kind = AIO_WRITE;
	t->op.iov = t->piece;
	t->op.count = n;
	t->op.done = moved;
}

static bool prepare_zero(struct transfer *t)
{
	struct file_disk *d = t->disk;

	if (t->mode == ZERO_BY_WRITING) {
		if (!d->zeroes && posix_memalign((void **)&d->zeroes, 4096, ZEROES) == 0)
			memset(d->zeroes, 0, ZEROES);
		if (!d->zeroes)
			return false;
		prepare_zeroes(t);
		return true;
	}
	t->op.kind = AIO_ALLOCATE;
	t->op.mode = FALLOC_FL_KEEP_SIZE |
		     (t->mode == ZERO_BY_PUNCHING ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	t->op.length = t->req->length;
	t->op.done = zeroed;
	return true;
}

/* A device takes whole blocks only; the rest of the range need not be discarded. */
static bool prepare_device_discard(struct transfer *t)
{
	const struct disk_request *req = t->req;
	uint64_t mask = t->disk->disk.logical_block - 1;
	uint64_t begin = (req->offset + mask) & ~mask, end = (req->offset + req->length) & ~mask;

	t->op.kind = AIO_DISCARD;
	t->op.offset = begin;
	t->op.length = end - begin;
	return begin < end;
}

/* Hands the next step of a request to aio. */
static void step(struct transfer *t)
{
	struct file_disk *d = t->disk;
	struct disk_request *req = t->req;
	struct aio *aio = d->aio;
	bool ok = true;

	t->op.offset = req->offset + t->progress;
	switch (req->op) {
	case DISK_READ:
	case DISK_WRITE: ok = prepare_move(t); break;
	case DISK_ZERO: ok = prepare_zero(t); break;
	case DISK_FLUSH:
		t->op.kind = AIO_SYNC;
		t->op.done = flushed;
		break;
	case DISK_DISCARD:
		t->op.done = discarded;
		if (!d->block_device) {
			t->op.kind = AIO_ALLOCATE;
			t->op.mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
			t->op.length = req->length;
		} else if (prepare_device_discard(t)) {
			aio = d->slow;
		} else {
			finish(t, 0);
			return;
		}
		break;
	}
	if (ok)
		aio->ops->submit(aio, &t->op);
	else
		finish(t, -ENOMEM);
}

/* Direct I/O wants offset, length and addresses in multiples of something. */
static bool aligned(const struct file_disk *d, const struct disk_request *req, bool *buffers)
{
	*buffers = true;
	for (unsigned i = 0; i < req->count; i++)
		if ((uintptr_t)req->iov[i].iov_base % d->memory_align ||
		    req->iov[i].iov_len % d->offset_align)
			*buffers = false;
	return req->offset % d->offset_align == 0 && req->length % d->offset_align == 0;
}

static void start(struct file_disk *d, struct disk_request *req, uint64_t progress)
{
	struct transfer *t = calloc(1, sizeof(*t));
	bool fits;

	if (!t) {
		req->done(req, -ENOMEM);
		return;
	}
	t->disk = d;
	t->req = req;
	t->progress = progress;
	t->op.fd = d->fd;
	t->mark = d->writes;
	t->mode = d->zero_mode[req->unmap];
	if (d->direct && (req->op == DISK_READ || req->op == DISK_WRITE || req->op == DISK_ZERO)) {
		if (!aligned(d, req, &fits))
			t->op.fd = d->buffered_fd;
		else if (!fits && posix_memalign((void **)&t->bounce, 4096, BOUNCE_MAX) != 0) {
			t->bounce = NULL;
			finish(t, -ENOMEM);
			return;
		}
	}
	step(t);
}

/* ---- at once ---- */

/* Has done all of it, or *@progress of it. */
static bool read_now(struct file_disk *d, struct disk_request *req, uint64_t *progress)
{
	int64_t n;

	if (d->no_nowait)
		return false;
#ifdef RWF_NOWAIT
	n = preadv2(d->fd, req->iov, (int)req->count, (off_t)req->offset, d->in_memory ? 0 : RWF_NOWAIT);
#else
	n = -1; /* musl 1.2.3 */
	errno = ENOSYS;
#endif
	if (n < 0) {
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			d->no_nowait = true;
		return false;
	}
	if ((uint64_t)n < req->length && at_end(d, req, (uint64_t)n)) {
		fill_zero(req, (uint64_t)n);
		n = (int64_t)req->length;
	}
	*progress = (uint64_t)n;
	return (uint64_t)n == req->length;
}

static bool write_now(struct file_disk *d, struct disk_request *req, uint64_t *progress)
{
	int64_t n = pwritev(d->fd, req->iov, (int)req->count, (off_t)req->offset);

	if (n <= 0)
		return false; /* an error comes again, and is reported, the other way */
	d->writes++;
	*progress = (uint64_t)n;
	return (uint64_t)n == req->length;
}

/* How often this thread has slept so far. */
static long sleeps(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

static bool write_timed(struct file_disk *d, struct disk_request *req, uint64_t *progress)
{
	uint64_t begin = now_ns(), end;
	bool watch = d->watched > 0, done;
	long slept = watch ? sleeps() : 0;

	if (begin < d->avoid_until)
		return false;
	done = write_now(d, req, progress);
	end = now_ns();
	if (watch)
		d->watched--;
	if (end - begin <= SLOW_NS)
		return done;
	if (watch && sleeps() != slept)
		d->avoid_until = end + AVOID_NS;
	d->watched = WATCHED;
	return done;
}

static bool try_now(struct file_disk *d, struct disk_request *req, uint64_t *progress)
{
	if (d->direct || (req->op != DISK_READ && req->op != DISK_WRITE) || d->batch >= BATCH_BYTES)
		return false;
	d->batch += req->length;
	return req->op == DISK_READ ? read_now(d, req, progress) : write_timed(d, req, progress);
}

/* A flush has nothing to do when nothing was written since the last one, or when there is no medium. */
static void file_submit(struct disk *disk, struct disk_request *req)
{
	struct file_disk *d = (struct file_disk *)disk;
	uint64_t progress = 0;

	if ((req->op == DISK_FLUSH && (d->writes == d->flushed || d->in_memory)) ||
	    try_now(d, req, &progress))
		req->done(req, 0);
	else
		start(d, req, progress);
}

static void file_kick(struct disk *disk)
{
	struct file_disk *d = (struct file_disk *)disk;

	d->batch = 0;
	d->aio->ops->kick(d->aio);
	if (d->slow)
		d->slow->ops->kick(d->slow);
}

static void file_reap(struct disk *disk)
{
	struct file_disk *d = (struct file_disk *)disk;

	d->aio->ops->reap(d->aio);
	if (d->slow)
		d->slow->ops->reap(d->slow);
	/* What needs another step. */
	file_kick(disk);
}

static void file_drain(struct disk *disk)
{
	struct file_disk *d = (struct file_disk *)disk;

	while (d->aio->in_flight || (d->slow && d->slow->in_flight)) {
		d->aio->ops->wait(d->aio);
		if (d->slow)
			d->slow->ops->wait(d->slow);
	}
}

static void file_destroy(struct disk *disk)
{
	struct file_disk *d = (struct file_disk *)disk;

	if (d->aio)
		d->aio->ops->destroy(d->aio);
	if (d->slow)
		d->slow->ops->destroy(d->slow);
	if (d->fd >= 0)
		close(d->fd);
	if (d->buffered_fd >= 0)
		close(d->buffered_fd);
	free(d->zeroes);
	free(d);
}

const struct disk_ops disk_file_ops = {
	.submit = file_submit,
	.kick = file_kick,
	.reap = file_reap,
	.drain = file_drain,
	.destroy = file_destroy,
};
