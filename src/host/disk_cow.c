/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copy on write: a disk on top of another one that stays as it is. What the
 * guest writes goes to a sparse file without a name, at the same offset, and is
 * gone when lguest ends, however it ends; flushes have nothing to keep.
 *
 * A bitmap says for each sector where it lies: clear, in the base; set, in the
 * private file. One bit for the smallest thing that a guest can write means
 * that nothing ever has to be copied. For 1 TiB that is 256 MiB of address
 * space, of which the host provides the pages that are touched: one for every
 * 16 MiB of disk that the guest writes to.
 *
 * A write goes to the private file as it is, and sets its bits when it is done,
 * so that a failed one (no space left) leaves what was there before. So do
 * zeroes and discards, with holes in place of data: the base may not show
 * through where the guest has discarded something. A read is cut into runs
 * that lie on the same side:
 *
 *   bitmap     0 0 0 1 1 1 1 0      sectors of the read
 *              base  private base   three requests
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "host/disk.h"
#include "host/iov.h"

#define BITS     64u
#define RUNS_MAX 32 /* of a read under way */

struct cow {
	struct disk disk;
	struct disk *base, *private;
	uint64_t *bitmap;
	size_t bitmap_len;
	unsigned reads; /* of both sides, under way */
};

/* One request of ours on its way. */
struct cow_request {
	struct disk_request sub; /* to the private file: a change */
	struct cow *cow;
	struct disk_request *req;
};

/* A read that lies on both sides. */
struct cow_read {
	struct cow *cow;
	struct disk_request *req;
	uint64_t at;      /* sectors of it that are done or under way */
	unsigned pending; /* runs under way */
	int error;
	bool advancing;
};

struct cow_run {
	struct disk_request sub;
	struct cow_read *read;
	struct iovec iov[];
};

/* ---- the bitmap ---- */

static bool is_private(const struct cow *c, uint64_t sector)
{
	return c->bitmap[sector / BITS] >> (sector % BITS) & 1;
}

static void make_private(struct cow *c, uint64_t sector, uint64_t count)
{
	while (count) {
		unsigned bit = sector % BITS;
		uint64_t n = BITS - bit < count ? BITS - bit : count;

		c->bitmap[sector / BITS] |= (n == BITS ? ~0ull : (1ull << n) - 1) << bit;
		sector += n;
		count -= n;
	}
}

/* How many sectors from @sector on, at most @max, are where it is. */
static uint64_t run_length(const struct cow *c, uint64_t sector, uint64_t max)
{
	bool side = is_private(c, sector);
	uint64_t n = 0;

	while (n < max) {
		unsigned bit = (sector + n) % BITS;
		uint64_t word = c->bitmap[(sector + n) / BITS];
		uint64_t others = (side ? ~word : word) >> bit;

		if (others) {
			n += (uint64_t)__builtin_ctzll(others);
			break;
		}
		n += BITS - bit;
	}
	return n < max ? n : max;
}

/* ---- changes: to the private file, whatever was there ---- */

static void changed(struct disk_request *sub, int error)
{
	struct cow_request *r = (struct cow_request *)sub;
	struct disk_request *req = r->req;

	if (!error)
		make_private(r->cow, sub->offset / DISK_SECTOR, sub->length / DISK_SECTOR);
	free(r);
	req->done(req, error);
}

static void change(struct cow *c, struct disk_request *req)
{
	struct cow_request *r = malloc(sizeof(*r));

	if (!r) {
		req->done(req, -ENOMEM);
		return;
	}
	r->sub = *req;
	/* A hole in the private file reads as zero, which is one of the things that a discard may do. */
	if (req->op == DISK_DISCARD) {
		r->sub.op = DISK_ZERO;
		r->sub.unmap = true;
	}
	r->sub.done = changed;
	r->cow = c;
	r->req = req;
	c->private->ops->submit(c->private, &r->sub);
}

/* ---- reads ---- */

static void forward(struct cow *c, uint64_t sector, struct disk_request *req)
{
	struct disk *side = is_private(c, sector) ? c->private : c->base;

	side->ops->submit(side, req);
}

static void advance(struct cow_read *read);

static void run_done(struct disk_request *sub, int error)
{
	struct cow_run *run = (struct cow_run *)sub;
	struct cow_read *read = run->read;

	free(run);
	read->pending--;
	if (error)
		read->error = error;
	advance(read);
}

static void start_run(struct cow_read *read)
{
	struct cow *c = read->cow;
	struct disk_request *req = read->req;
	struct cow_run *run = malloc(sizeof(*run) + req->count * sizeof(struct iovec));
	uint64_t sector = req->offset / DISK_SECTOR + read->at, n;

	if (!run) {
		read->error = -ENOMEM;
		return;
	}
	n = run_length(c, sector, req->length / DISK_SECTOR - read->at);
	run->sub = (struct disk_request){ .op = DISK_READ,
					  .offset = sector * DISK_SECTOR,
					  .length = n * DISK_SECTOR,
					  .iov = run->iov,
					  .done = run_done };
	run->sub.count = iov_slice(req->iov, req->count, read->at * DISK_SECTOR, run->sub.length, run->iov);
	run->read = read;
	read->at += n;
	read->pending++;
	forward(c, sector, &run->sub);
}

/*
 * The next runs, and the end when there are none. A guest that has written
 * every other sector can ask for millions of them with one request: only so many
 * are under way. One that is done at once comes back here from inside.
 */
static void advance(struct cow_read *read)
{
	struct disk_request *req = read->req;
	int error;

	if (read->advancing)
		return;
	read->advancing = true;
	while (!read->error && read->pending < RUNS_MAX && read->at < req->length / DISK_SECTOR)
		start_run(read);
	read->advancing = false;
	if (read->pending)
		return;
	error = read->error;
	read->cow->reads--;
	free(read);
	req->done(req, error);
}

static void read_both(struct cow *c, struct disk_request *req)
{
	struct cow_read *read = malloc(sizeof(*read));

	if (!read) {
		req->done(req, -ENOMEM);
		return;
	}
	*read = (struct cow_read){ .cow = c, .req = req };
	c->reads++;
	advance(read);
}

static void cow_submit(struct disk *disk, struct disk_request *req)
{
	struct cow *c = (struct cow *)disk;
	uint64_t sector = req->offset / DISK_SECTOR, count = req->length / DISK_SECTOR;

	switch (req->op) {
	case DISK_FLUSH: req->done(req, 0); break;
	case DISK_READ:
		if (run_length(c, sector, count) == count)
			forward(c, sector, req);
		else
			read_both(c, req);
		break;
	case DISK_WRITE:
	case DISK_DISCARD:
	case DISK_ZERO: change(c, req); break;
	}
}

/* ---- both together ---- */

static void cow_kick(struct disk *disk)
{
	struct cow *c = (struct cow *)disk;

	c->base->ops->kick(c->base);
	c->private->ops->kick(c->private);
}

static void cow_reap(struct disk *disk)
{
	struct cow *c = (struct cow *)disk;

	c->base->ops->reap(c->base);
	c->private->ops->reap(c->private);
	/* What one of them has brought forward for the other. */
	cow_kick(disk);
}

static void cow_drain(struct disk *disk)
{
	struct cow *c = (struct cow *)disk;

	do {
		c->base->ops->drain(c->base);
		c->private->ops->drain(c->private);
	} while (c->reads);
}

static void cow_destroy(struct disk *disk)
{
	struct cow *c = (struct cow *)disk;

	if (c->base)
		c->base->ops->destroy(c->base);
	if (c->private)
		c->private->ops->destroy(c->private);
	if (c->bitmap)
		munmap(c->bitmap, c->bitmap_len);
	free(c);
}

static const struct disk_ops cow_ops = {
	.submit = cow_submit,
	.kick = cow_kick,
	.reap = cow_reap,
	.drain = cow_drain,
	.destroy = cow_destroy,
};

struct disk *disk_cow_open(struct disk *base, const struct disk_options *options,
			   const struct disk_client *client, char *err, size_t errlen)
{
	struct cow *c = calloc(1, sizeof(*c));

	if (!c) {
		base->ops->destroy(base);
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	c->disk = *base;
	c->disk.ops = &cow_ops;
	c->disk.read_only = false;
	c->disk.discards = true;
	c->base = base;
	c->bitmap_len = (base->size / DISK_SECTOR / BITS + 1) * sizeof(uint64_t);
	c->bitmap = mmap(NULL, c->bitmap_len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->bitmap == MAP_FAILED) {
		c->bitmap = NULL;
		snprintf(err, errlen, "no memory for the map of a disk of %llu bytes",
			 (unsigned long long)base->size);
	} else {
		c->private = disk_file_temporary(base->size, options, client, err, errlen);
	}
	if (c->private)
		return &c->disk;
	cow_destroy(&c->disk);
	return NULL;
}
