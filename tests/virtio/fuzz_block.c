/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block requests good and bad on a small image, in turn writable, with copy on
 * write, read-only, and with direct I/O (FUZZ_BLOCK=rw|cow|ro|direct: always
 * that). The image ends in the midst of a sector. It must never change its size
 * or that end, nor a copied or read-only one any of its contents.
 */
#include "fuzz.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "virtio/devices.h"

#define SECTORS 512u
#define WHOLE   (SECTORS * 512u)
#define SIZE    (WHOLE + 100)

struct image {
	struct block_config cfg;
	char path[64];
	int fd;
};

static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

static uint8_t pattern(unsigned offset)
{
	return (uint8_t)(offset * 7 + (offset >> 9));
}

static void check_image(const struct image *img)
{
	static uint8_t bytes[SIZE];
	struct stat st;

	must(fstat(img->fd, &st) == 0 && st.st_size == SIZE, "the image has another size");
	must(pread(img->fd, bytes, SIZE, 0) == SIZE, "reading the image");
	for (unsigned i = img->cfg.cow || img->cfg.read_only ? 0 : WHOLE; i < SIZE; i++)
		must(bytes[i] == pattern(i), "the image was written to");
}

static struct virtio_device *create(struct fuzz *f)
{
	static const char *const kinds[] = { "rw", "cow", "ro", "direct" };
	static unsigned turn;
	const char *kind = getenv("FUZZ_BLOCK") ? getenv("FUZZ_BLOCK") : kinds[turn++ % 4];
	struct image *img = calloc(1, sizeof(*img));
	static uint8_t bytes[SIZE];
	struct virtio_device *dev;
	char err[200];

	must(img, "calloc");
	strcpy(img->path, "/var/tmp/lguest-fuzz-XXXXXX");
	img->fd = mkstemp(img->path);
	must(img->fd >= 0, "mkstemp");
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = pattern(i);
	must(write(img->fd, bytes, SIZE) == SIZE, "write");
	img->cfg.path = img->path;
	img->cfg.cow = strcmp(kind, "cow") == 0;
	img->cfg.read_only = strcmp(kind, "ro") == 0;
	img->cfg.direct = strcmp(kind, "direct") == 0;
	dev = virtio_block_create(&img->cfg, 0, &f->d.env, err, sizeof(err));
	if (!dev && img->cfg.direct) { /* not every file system does that */
		img->cfg.direct = false;
		dev = virtio_block_create(&img->cfg, 0, &f->d.env, err, sizeof(err));
	}
	if (!dev)
		fprintf(stderr, "%s\n", err);
	unlink(img->path);
	f->opaque = img;
	return dev;
}

static void destroyed(struct fuzz *f)
{
	struct image *img = f->opaque;

	check_image(img);
	close(img->fd);
	free(img);
}

/* Header, data in some pieces, status; all of it nearly right. */
static void request(struct fuzz *f)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
					  VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_SECURE_ERASE,
					  VIRTIO_BLK_T_OUT };
	uint32_t type = types[fuzz_pick(f, 9)];
	uint8_t how = (uint8_t)fuzz_take(f, 1);
	struct virtio_blk_outhdr header = { .type = type, .sector = fuzz_take(f, 2) % (SECTORS + 8) };
	bool ranges = type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
	unsigned pieces = fuzz_pick(f, 4), n = 0;
	struct driver_buf buf[8];

	if ((how & 0xf) == 0)
		header.sector = fuzz_take(f, 8);
	buf[n++] = (struct driver_buf){ fuzz_buffer(f, 16), (how & 0xf0) == 0x10 ? fuzz_pick(f, 32) : 16,
					false };
	fuzz_poke(f, buf[0].addr, &header, sizeof(header));
	for (unsigned i = 0; i < pieces; i++) {
		struct virtio_blk_discard_write_zeroes range = { 0 };
		struct driver_buf *b = &buf[n++];

		*b = (struct driver_buf){ .len = 512 * fuzz_pick(f, 24),
					  .write = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID };
		if (ranges)
			b->len = 16;
		if ((how & 0xf0) == 0x20)
			b->len = (uint32_t)fuzz_take(f, 2);
		b->addr = fuzz_buffer(f, b->len);
		if (!ranges)
			continue;
		range.sector = fuzz_take(f, 2) % (SECTORS + 4);
		range.num_sectors = fuzz_pick(f, 64);
		range.flags = fuzz_take(f, 1) & 1;
		if ((how & 0xf0) == 0x30) {
			range.sector = fuzz_take(f, 8);
			range.num_sectors = (uint32_t)fuzz_take(f, 4);
			range.flags = (uint32_t)fuzz_take(f, 4);
		}
		fuzz_poke(f, b->addr, &range, sizeof(range));
	}
	if ((how & 0xf0) != 0x40)
		buf[n++] = (struct driver_buf){ fuzz_buffer(f, 1), 1, true };
	fuzz_chain(f, 0, buf, n);
	if (how & 1)
		virtio_notify(f->d.dev, 0);
}

const struct fuzz_target fuzz_target = {
	.create = create, .destroyed = destroyed, .request = request, .lives = 200
};
