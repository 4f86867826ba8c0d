/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk (virtio 1.2, 5.2): from the guest's requests to those of a disk
 * of the host (host/disk.h).
 *
 *   notify()    vCPU: pop a chain, check it, submit; what the host answers at
 *               once goes back right there, with one interrupt for all of it
 *   on_wake()   main thread: what took longer
 *
 * Whatever a guest asks for gets a status byte. Only a chain that has no place
 * for one breaks the device.
 *
 *   chain:  header (16 bytes, read)  data ...  status (1 byte, written)
 *
 * Nothing is to be concluded from how these are cut into buffers (2.7.4).
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "host/disk.h"
#include "memory.h"
#include "virtio/device.h"
#include "virtio/devices.h"

#define QUEUE_SIZE   VIRTQ_DEFAULT_SIZE
#define PIECES_MAX   QUEUE_SIZE       /* a chain is no longer than the queue (2.7.5.3.1) */
#define SEG_MAX      (PIECES_MAX - 2) /* header and status may each be in a piece of their own */
#define RANGES_MAX   16               /* of a discard or write-zeroes request */
#define RANGE_MAX    (1u << 21)       /* sectors of each: 1 GiB */
#define SERIAL_BYTES VIRTIO_BLK_ID_BYTES

struct block;

/* One request to the disk: a part of one of the guest's. */
struct part {
	struct disk_request disk;
	struct request *r;
};

struct request {
	struct block *block;
	struct request *next; /* in the list of unused ones, or of those to be flushed */
	struct virtq_chain chain;
	uint16_t queue;
	uint8_t *status; /* in guest RAM */
	bool trimmed;    /* the status byte was cut off the last piece of data */
	bool change;     /* not done before it is on the medium, when there is no write-back */
	unsigned pending;
	int error;
	/* The second and following ones: ranges of a discard or write-zeroes request. */
	struct part part[RANGES_MAX];
	struct iovec iov[PIECES_MAX];
};

struct block {
	struct virtio_device dev;
	struct disk *disk;
	uint64_t sectors;
	char serial[SERIAL_BYTES + 1];
	struct request *unused;
	struct request *written;  /* write-through: done but for the flush */
	struct request *requests; /* QUEUE_SIZE of them, since each chain has a descriptor of the ring */
};

/* ---- the end of a request ---- */

static void complete(struct request *r, uint8_t status)
{
	struct block *b = r->block;
	struct virtq_chain *chain = &r->chain;
	const struct iovec *in = chain->iov + chain->out_count;

	*r->status = status;
	if (r->trimmed)
		chain->iov[chain->out_count + chain->in_count - 1].iov_len++;
	if (b->dev.running)
		virtq_push(&b->dev.queue[r->queue], chain, (uint32_t)chain->in_len);
	else /* Nobody waits for it any more, but memory was written. */
		for (unsigned i = 0; i < chain->in_count; i++)
			guest_wrote(b->dev.env->ram, in[i].iov_base, in[i].iov_len);
	r->next = b->unused;
	b->unused = r;
}

/* With write-back, what is written may wait for a flush (5.2.5, 5.2.6.2). */
static bool write_back(const struct block *b)
{
	const struct virtio_blk_config *config = (const void *)b->dev.config;

	if (virtio_has(&b->dev, VIRTIO_BLK_F_CONFIG_WCE))
		return config->wce;
	return virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH);
}

static void part_done(struct disk_request *disk, int error)
{
	struct request *r = ((struct part *)disk)->r;
	struct block *b = r->block;

	if (error)
		r->error = error;
	if (--r->pending)
		return;
	if (!r->error && r->change && b->dev.running && !write_back(b)) {
		r->next = b->written;
		b->written = r;
		return;
	}
	if (r->error == -EOPNOTSUPP)
		complete(r, VIRTIO_BLK_S_UNSUPP);
	else
		complete(r, r->error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* ---- the way in ---- */

/* @r->pending is set; the last one that is done completes @r. */
static void submit(struct request *r, unsigned index, struct disk_request disk)
{
	struct part *part = &r->part[index];

	part->disk = disk;
	part->disk.done = part_done;
	part->r = r;
	r->block->disk->ops->submit(r->block->disk, &part->disk);
}

/* Write-through: what was written, to the medium. */
static void flush_written(struct block *b)
{
	struct request *r;

	while ((r = b->written)) {
		b->written = r->next;
		r->change = false;
		r->pending = 1;
		submit(r, 0, (struct disk_request){ .op = DISK_FLUSH });
	}
}

static bool inside(const struct block *b, uint64_t sector, uint64_t count)
{
	return sector <= b->sectors && count <= b->sectors - sector;
}

/* @len bytes of data in @iov. */
static void move(struct request *r, enum disk_op op, uint64_t sector, struct iovec *iov, unsigned count,
		 uint64_t len)
{
	struct block *b = r->block;

	if (!len || len % DISK_SECTOR || !inside(b, sector, len / DISK_SECTOR) ||
	    (op == DISK_WRITE && b->disk->read_only)) {
		complete(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->change = op == DISK_WRITE;
	r->pending = 1;
	submit(r, 0,
	       (struct disk_request){
		       .op = op, .offset = sector * DISK_SECTOR, .length = len, .iov = iov, .count = count });
}

/* 5.2.6.2: what the device must refuse, and how. */
static uint8_t check_ranges(const struct block *b, bool zero,
			    const struct virtio_blk_discard_write_zeroes *range, unsigned count)
{
	const uint32_t known = zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	if (b->disk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!zero && !b->disk->discards)
		return VIRTIO_BLK_S_UNSUPP;
	for (unsigned i = 0; i < count; i++) {
		if (range[i].flags & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (!range[i].num_sectors || range[i].num_sectors > RANGE_MAX ||
		    !inside(b, range[i].sector, range[i].num_sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

/* Discard or write zeroes. The data says where. */
static void clear(struct request *r, bool zero, const struct iovec *iov, unsigned count, uint64_t len)
{
	struct virtio_blk_discard_write_zeroes range[RANGES_MAX];
	unsigned ranges = (unsigned)(len / sizeof(range[0]));
	uint8_t status;

	if (!len || len % sizeof(range[0]) || len > sizeof(range)) {
		complete(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_read(iov, count, 0, range, len);
	status = check_ranges(r->block, zero, range, ranges);
	if (status != VIRTIO_BLK_S_OK) {
		complete(r, status);
		return;
	}
	r->change = true;
	r->pending = ranges;
	for (unsigned i = 0; i < ranges; i++)
		submit(r, i,
		       (struct disk_request){ .op = zero ? DISK_ZERO : DISK_DISCARD,
					      .unmap = range[i].flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
					      .offset = range[i].sector * DISK_SECTOR,
					      .length = (uint64_t)range[i].num_sectors * DISK_SECTOR });
}

/* A chain has come: r->chain. It has room for a status. */
static void serve(struct request *r)
{
	struct block *b = r->block;
	struct virtq_chain *chain = &r->chain;
	struct iovec *out = chain->iov, *in = chain->iov + chain->out_count, *last;
	unsigned out_count = chain->out_count, in_count = chain->in_count;
	struct virtio_blk_outhdr header;
	uint64_t sector;

	last = &in[in_count - 1];
	r->status = (uint8_t *)last->iov_base + --last->iov_len;
	r->trimmed = true;
	if (!last->iov_len)
		in_count--;
	r->error = 0;
	r->change = false;

	if (iov_read(out, out_count, 0, &header, sizeof(header)) < sizeof(header)) {
		complete(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	out = iov_skip(out, &out_count, sizeof(header));
	sector = header.sector;
	switch (header.type) {
	case VIRTIO_BLK_T_IN: move(r, DISK_READ, sector, in, in_count, chain->in_len - 1); break;
	case VIRTIO_BLK_T_OUT:
		move(r, DISK_WRITE, sector, out, out_count, chain->out_len - sizeof(header));
		break;
	case VIRTIO_BLK_T_FLUSH:
		r->pending = 1;
		submit(r, 0, (struct disk_request){ .op = DISK_FLUSH });
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		clear(r, header.type == VIRTIO_BLK_T_WRITE_ZEROES, out, out_count,
		      chain->out_len - sizeof(header));
		break;
	case VIRTIO_BLK_T_GET_ID:
		/* A string of 20 bytes, without a zero at the end when it is that long (5.2.6). */
		iov_write(in, in_count, 0, b->serial, SERIAL_BYTES);
		complete(r, VIRTIO_BLK_S_OK);
		break;
	default: complete(r, VIRTIO_BLK_S_UNSUPP); break;
	}
}

/* Takes all that is there. False when the guest has broken the device. */
static bool take(struct block *b, unsigned queue)
{
	struct request *r;
	int ret;

	while ((r = b->unused)) {
		r->chain = (struct virtq_chain){ .iov = r->iov, .capacity = PIECES_MAX };
		ret = virtio_pop(&b->dev, queue, &r->chain);
		if (ret <= 0)
			return ret == 0;
		if (!r->chain.in_len) {
			virtio_break(&b->dev, queue, "a request without room for its status");
			return false;
		}
		b->unused = r->next;
		r->queue = (uint16_t)queue;
		serve(r);
	}
	return true;
}

static void block_notify(struct virtio_device *dev, unsigned queue)
{
	struct block *b = (struct block *)dev;

	do {
		virtq_suppress(&dev->queue[queue], true);
		if (!take(b, queue))
			return;
		flush_written(b);
		b->disk->ops->kick(b->disk);
	} while (virtq_suppress(&dev->queue[queue], false) && b->unused);
	virtio_flush(dev, queue);
}

/* Main thread. */
static void on_wake(void *opaque)
{
	struct block *b = opaque;

	virtio_lock(&b->dev);
	b->disk->ops->reap(b->disk);
	flush_written(b);
	b->disk->ops->kick(b->disk);
	virtio_flush(&b->dev, 0);
	virtio_unlock(&b->dev);
}

/* ---- configuration ---- */

static uint8_t log2_of(uint32_t n)
{
	return (uint8_t)(31 - __builtin_clz(n));
}

/* 5.2.4; the guest may have written anything into it. */
static void fill_config(struct block *b, bool wce)
{
	const struct disk *d = b->disk;
	uint32_t phys = d->physical_block / d->logical_block;
	struct virtio_blk_config config = {
		.capacity = b->sectors,
		.seg_max = SEG_MAX,
		.blk_size = d->logical_block,
		.physical_block_exp = log2_of(phys),
		.min_io_size = (uint16_t)phys,
		.opt_io_size = d->optimal_io / d->logical_block,
		.wce = wce,
		.num_queues = 1,
		.max_discard_sectors = RANGE_MAX,
		.max_discard_seg = RANGES_MAX,
		.discard_sector_alignment = d->physical_block / DISK_SECTOR,
		.max_write_zeroes_sectors = RANGE_MAX,
		.max_write_zeroes_seg = RANGES_MAX,
		.write_zeroes_may_unmap = 1,
	};

	_Static_assert(sizeof(config) <= VIRTIO_CONFIG_MAX, "room for the configuration");
	memcpy(b->dev.config, &config, sizeof(config));
}

static void block_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	struct block *b = (struct block *)dev;
	const struct virtio_blk_config *config = (const void *)dev->config;

	/* The one field that a driver may write (5.2.5.1). */
	fill_config(b, virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE) ? config->wce & 1 : true);
}

/* ---- from beginning to end ---- */

static void block_start(struct virtio_device *dev)
{
}

static void block_stop(struct virtio_device *dev)
{
	struct block *b = (struct block *)dev;
	struct request *r;

	b->disk->ops->drain(b->disk);
	while ((r = b->written)) {
		b->written = r->next;
		complete(r, VIRTIO_BLK_S_IOERR);
	}
	fill_config(b, true);
}

static void block_destroy(struct virtio_device *dev)
{
	struct block *b = (struct block *)dev;

	b->disk->ops->destroy(b->disk);
	virtio_fini(dev);
	free(b->requests);
	free(b);
}

static const struct virtio_ops block_ops = {
	.id = VIRTIO_ID_BLOCK,
	.queues = 1,
	.start = block_start,
	.stop = block_stop,
	.notify = block_notify,
	.config_written = block_config_written,
	.destroy = block_destroy,
};

static uint64_t features_of(const struct disk *disk)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			    1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_FLUSH |
			    1ull << VIRTIO_BLK_F_CONFIG_WCE;

	if (disk->read_only)
		features |= 1ull << VIRTIO_BLK_F_RO;
	else
		features |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	if (disk->discards)
		features |= 1ull << VIRTIO_BLK_F_DISCARD;
	return features;
}

struct virtio_device *virtio_block_create(const struct block_config *cfg, unsigned index,
					  const struct virtio_env *env, char *err, size_t errlen)
{
	struct block *b = calloc(1, sizeof(*b));
	struct disk_client client = { .loop = env->loop, .wake = on_wake, .opaque = b };
	struct disk_options options = { .read_only = cfg->read_only,
					.cow = cfg->cow,
					.direct = cfg->direct,
					.warn = env->warn,
					.warn_opaque = env->opaque };
	char name[16], why[400] = "out of memory";

	if (!b)
		goto fail;
	/* Large, and touched only as far as there are requests in flight. */
	b->requests = calloc(QUEUE_SIZE, sizeof(*b->requests));
	if (!b->requests)
		goto fail;
	for (unsigned i = QUEUE_SIZE; i-- > 0;) {
		b->requests[i].block = b;
		b->requests[i].next = b->unused;
		b->unused = &b->requests[i];
	}
	b->disk = disk_open(cfg->path, &options, &client, why, sizeof(why));
	if (!b->disk)
		goto fail;
	b->sectors = b->disk->size / DISK_SECTOR;
	if (cfg->serial[0])
		snprintf(b->serial, sizeof(b->serial), "%s", cfg->serial);
	else
		snprintf(b->serial, sizeof(b->serial), "lguest-%u", index);
	snprintf(name, sizeof(name), "block%u", index);
	virtio_init(&b->dev, &block_ops, env, name, features_of(b->disk), sizeof(struct virtio_blk_config),
		    QUEUE_SIZE);
	fill_config(b, true);
	return &b->dev;

fail:
	snprintf(err, errlen, "--block=%s", why);
	if (b)
		free(b->requests);
	free(b);
	return NULL;
}
