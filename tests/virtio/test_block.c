/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk, driven from the guest's side: good requests in all layouts, bad
 * ones, and what a reset does to those under way. What disks do with requests
 * is the subject of tests/host/test_disk.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "driver.h"
#include "virtio/devices.h"

#define SECTORS 16384u
#define SIZE    (SECTORS * 512u)

struct bench {
	struct driver d;
	struct virtio_device *dev;
	struct block_config cfg;
	char path[64];
	uint64_t header, data, status; /* guest addresses; room for 1 MiB of data */
};

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 11 + (offset >> 9) * 3 + 5);
}

static void setup(struct bench *b)
{
	uint8_t *bytes = malloc(SIZE);
	int fd;

	memset(b, 0, sizeof(*b));
	driver_init(&b->d, 16 << 20);
	strcpy(b->path, "/var/tmp/lguest-block-XXXXXX");
	fd = mkstemp(b->path);
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = pattern(i);
	assert_int_equal(write(fd, bytes, SIZE), SIZE);
	close(fd);
	free(bytes);
	b->cfg.path = b->path;
}

static void create(struct bench *b, uint64_t without)
{
	char err[200] = "";

	b->dev = virtio_block_create(&b->cfg, 0, &b->d.env, err, sizeof(err));
	assert_string_equal(err, "");
	assert_true(driver_start(&b->d, b->dev, without));
	b->header = driver_alloc(&b->d, 4096, 4096);
	b->data = driver_alloc(&b->d, 1 << 20, 4096);
	b->status = driver_alloc(&b->d, 64, 64);
}

static void teardown(struct bench *b)
{
	driver_destroy(&b->d);
	unlink(b->path);
}

static void *at(struct bench *b, uint64_t addr)
{
	return driver_ptr(&b->d, addr, 1);
}

static void set_header(struct bench *b, uint32_t type, uint64_t sector)
{
	*(struct virtio_blk_outhdr *)at(b, b->header) = (struct virtio_blk_outhdr){ .type = type,
										    .sector = sector };
}

/* Rings, and waits: the status byte at b->status, 0x99 before. */
static uint8_t go(struct bench *b, const struct driver_buf *buf, unsigned count)
{
	uint8_t *status = at(b, b->status);
	uint32_t head, len;
	int added;

	*status = 0x99;
	added = driver_add(&b->d.q[0], buf, count);
	assert_true(added >= 0);
	virtio_notify(b->dev, 0);
	assert_true(driver_wait_used(&b->d, 0, &head, &len, 10000));
	assert_int_equal(head, added);
	return *status;
}

/* The usual layout: header, data, status. */
static uint8_t request(struct bench *b, uint32_t type, uint64_t sector, uint32_t len)
{
	struct driver_buf buf[] = { { b->header, 16, false },
				    { b->data, len, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID },
				    { b->status, 1, true } };

	set_header(b, type, sector);
	if (!len)
		buf[1] = buf[2];
	return go(b, buf, len ? 3 : 2);
}

static struct virtio_blk_config config_of(struct bench *b)
{
	struct virtio_blk_config config = { 0 };

	for (unsigned i = 0; i < sizeof(config); i++)
		((uint8_t *)&config)[i] = (uint8_t)virtio_config_read(b->dev, i, 1);
	return config;
}

static uint8_t file_byte(struct bench *b, uint64_t offset)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC);
	uint8_t byte = 0;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
	return byte;
}

static uint64_t file_size(struct bench *b)
{
	struct stat st;

	assert_int_equal(stat(b->path, &st), 0);
	return (uint64_t)st.st_size;
}

/* ---- ---- */

static void test_config(void **state)
{
	struct bench b;
	struct virtio_blk_config config;

	setup(&b);
	create(&b, 0);
	config = config_of(&b);
	assert_int_equal(config.capacity, SECTORS);
	assert_int_equal(config.seg_max, 254);
	assert_int_equal(config.blk_size, 512);
	assert_int_equal(config.physical_block_exp, 3);
	assert_true(config.max_discard_sectors > 0 && config.max_write_zeroes_sectors > 0);
	assert_true(virtio_has(b.dev, VIRTIO_BLK_F_FLUSH));
	assert_true(virtio_has(b.dev, VIRTIO_BLK_F_DISCARD));
	assert_false(virtio_has(b.dev, VIRTIO_BLK_F_RO));
	/* Nothing but wce can be written, and that is 0 or 1. */
	assert_int_equal(config.wce, 1);
	for (unsigned i = 0; i < sizeof(config); i++)
		virtio_config_write(b.dev, i, 1, 0xfe);
	config.wce = 0;
	assert_memory_equal(&config, &(struct virtio_blk_config[]){ config_of(&b) }[0], sizeof(config));
	/* A reset brings it back. */
	virtio_reset(b.dev);
	assert_int_equal(config_of(&b).wce, 1);
	teardown(&b);
}

static void test_read_write(void **state)
{
	struct bench b;
	uint8_t *data;

	setup(&b);
	create(&b, 0);
	data = at(&b, b.data);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 100, 8192), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(data[i], pattern(100 * 512 + i));
	memset(data, 0xab, 4096);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, SECTORS - 8, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(file_byte(&b, SIZE - 1), 0xab);
	assert_int_equal(file_byte(&b, SIZE - 4097), pattern(SIZE - 4097));
	assert_int_equal(request(&b, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, SECTORS - 9, 1024), VIRTIO_BLK_S_OK);
	assert_int_equal(data[511], pattern((SECTORS - 8) * 512 - 1));
	assert_int_equal(data[512], 0xab);
	teardown(&b);
}

/* Cuts [@addr, + @len) into pieces of @piece bytes. */
static unsigned cut(struct driver_buf *buf, uint64_t addr, uint32_t len, uint32_t piece, bool write)
{
	unsigned n = 0;

	for (uint32_t done = 0; done < len; done += piece)
		buf[n++] = (struct driver_buf){ addr + done, len - done < piece ? len - done : piece, write };
	return n;
}

static void test_layouts(void **state)
{
	static const uint32_t sizes[] = { 1, 3, 5, 7, 16, 17, 100, 511, 528, 1040, 2000 };
	struct driver_buf buf[200];
	struct bench b;
	uint8_t *data;

	setup(&b);
	create(&b, 0);
	data = at(&b, b.data);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t len = sizes[i] < 16 ? 512 : 1536;
		unsigned n;

		/* A write: header and data are one row of bytes, cut anywhere. */
		memset(data + 16, (int)(0x40 + i), len);
		*(struct virtio_blk_outhdr *)data = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_OUT,
										.sector = 10 };
		n = cut(buf, b.data, 16 + len, sizes[i] < 4 ? 5 : sizes[i], false);
		buf[n++] = (struct driver_buf){ b.status, 1, true };
		assert_int_equal(go(&b, buf, n), VIRTIO_BLK_S_OK);
		assert_int_equal(file_byte(&b, 5120 + len - 1), 0x40 + i);
		assert_int_equal(file_byte(&b, 5120), 0x40 + i);

		/* A read: data and status, in the same way; the header byte by byte. */
		set_header(&b, VIRTIO_BLK_T_IN, 10);
		memset(data, 0, 2048);
		n = cut(buf, b.header, 16, 3, false);
		n += cut(buf + n, b.data, len + 1, sizes[i] < 4 ? 5 : sizes[i], true);
		data[len] = 0x99;
		go(&b, buf, n);
		assert_int_equal(data[len], VIRTIO_BLK_S_OK);
		assert_int_equal(data[0], 0x40 + i);
		assert_int_equal(data[len - 1], 0x40 + i);
	}
	teardown(&b);
}

static void test_bad_requests(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ SECTORS + 100, 512 },
		{ UINT64_MAX, 512 },
		{ UINT64_MAX / 512, 512 },
		{ UINT64_MAX / 512 + 2, 1024 },
		{ 1ull << 55, 512 },
		{ 0, 0 },
		{ 0, 1 },
		{ 0, 511 },
		{ 0, 513 },
		{ 3, 4095 },
	};
	struct bench b;

	setup(&b);
	create(&b, 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(&b, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len), VIRTIO_BLK_S_IOERR);
	}
	for (uint32_t type = 14; type < 40; type++)
		assert_int_equal(request(&b, type, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(&b, 0x80000001, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(&b, VIRTIO_BLK_T_SCSI_CMD, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(file_size(&b), SIZE);
	assert_int_equal(file_byte(&b, 0), pattern(0));

	/* Half a header */
	assert_int_equal(go(&b, (struct driver_buf[]){ { b.header, 15, false }, { b.status, 1, true } }, 2),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(go(&b, (struct driver_buf[]){ { b.status, 1, true } }, 1), VIRTIO_BLK_S_IOERR);
	/* The device is well, nobody was warned. */
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(b.d.warnings, 0);

	/* No place for a status */
	driver_add(&b.d.q[0], (struct driver_buf[]){ { b.header, 16, false } }, 1);
	virtio_notify(b.dev, 0);
	assert_true(virtio_get_status(b.dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(b.d.warnings, 1);
	assert_true(driver_start(&b.d, b.dev, 0));
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&b);
}

static void test_id(void **state)
{
	struct bench b;
	char *data;

	setup(&b);
	strcpy(b.cfg.serial, "12345678901234567890");
	create(&b, 0);
	data = at(&b, b.data);
	memset(data, 'x', 64);
	assert_int_equal(request(&b, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "12345678901234567890xx", 22);
	memset(data, 'x', 64);
	assert_int_equal(request(&b, VIRTIO_BLK_T_GET_ID, 0, 5), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "12345x", 6);
	memset(data, 'x', 64);
	assert_int_equal(request(&b, VIRTIO_BLK_T_GET_ID, 0, 40), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "12345678901234567890xx", 22);
	teardown(&b);
}

static void test_read_only(void **state)
{
	struct bench b;

	setup(&b);
	b.cfg.read_only = true;
	create(&b, 0);
	assert_true(virtio_has(b.dev, VIRTIO_BLK_F_RO));
	assert_false(virtio_has(b.dev, VIRTIO_BLK_F_DISCARD));
	assert_false(virtio_has(b.dev, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	*(struct virtio_blk_discard_write_zeroes *)at(
		&b, b.data) = (struct virtio_blk_discard_write_zeroes){ .sector = 0, .num_sectors = 8 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(file_byte(&b, 0), pattern(0));
	teardown(&b);
}

static void test_ranges(void **state)
{
	const uint32_t unmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	struct virtio_blk_discard_write_zeroes *range;
	struct bench b;

	setup(&b);
	create(&b, 0);
	range = at(&b, b.data);

	/* Three at once, with and without unmap */
	for (unsigned i = 0; i < 3; i++)
		range[i] = (struct virtio_blk_discard_write_zeroes){ .sector = 8 * i + 1,
								     .num_sectors = 2,
								     .flags = i == 1 ? unmap : 0 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 48), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(file_byte(&b, (8 * i + 1) * 512 - 1), pattern((8 * i + 1) * 512 - 1));
		assert_int_equal(file_byte(&b, (8 * i + 1) * 512), 0);
		assert_int_equal(file_byte(&b, (8 * i + 3) * 512 - 1), 0);
		assert_int_equal(file_byte(&b, (8 * i + 3) * 512), pattern((8 * i + 3) * 512));
	}
	range[0] = (struct virtio_blk_discard_write_zeroes){ .sector = 800, .num_sectors = 800 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
	assert_int_equal(file_byte(&b, 799 * 512), pattern(799 * 512));
	assert_int_equal(file_byte(&b, 1600 * 512), pattern(1600 * 512));

	/* Bad flags, sizes and places; none of the ranges of a bad request counts. */
	range[0] =
		(struct virtio_blk_discard_write_zeroes){ .sector = 3000, .num_sectors = 8, .flags = unmap };
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_UNSUPP);
	range[0].flags = 2;
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_UNSUPP);
	range[0].flags = 0;
	range[1] = (struct virtio_blk_discard_write_zeroes){ .sector = SECTORS - 1, .num_sectors = 2 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32), VIRTIO_BLK_S_IOERR);
	range[1] = (struct virtio_blk_discard_write_zeroes){ .sector = UINT64_MAX, .num_sectors = 2 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32), VIRTIO_BLK_S_IOERR);
	range[1] = (struct virtio_blk_discard_write_zeroes){ .sector = 0, .num_sectors = 0 };
	assert_int_equal(request(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32), VIRTIO_BLK_S_IOERR);
	range[1] = (struct virtio_blk_discard_write_zeroes){ .sector = 0, .num_sectors = UINT32_MAX };
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 15), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 17), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 17 * 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(file_byte(&b, 3000 * 512), pattern(3000 * 512));
	assert_int_equal(file_size(&b), SIZE);
	teardown(&b);
}

static void test_host_error(void **state)
{
	struct rlimit old, small;
	struct bench b;

	setup(&b);
	create(&b, 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ .rlim_cur = SIZE / 2, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, SECTORS / 2, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, SECTORS / 2, 512), VIRTIO_BLK_S_OK);
	teardown(&b);
}

/* Is a write done when the doorbell has been rung? */
static bool done_at_once(struct bench *b)
{
	uint32_t head, len;
	bool now;

	set_header(b, VIRTIO_BLK_T_OUT, 0);
	driver_add(&b->d.q[0],
		   (struct driver_buf[]){
			   { b->header, 16, false }, { b->data, 512, false }, { b->status, 1, true } },
		   3);
	virtio_notify(b->dev, 0);
	now = driver_get_used(&b->d.q[0], &head, &len);
	if (!now)
		assert_true(driver_wait_used(&b->d, 0, &head, &len, 10000));
	assert_int_equal(*(uint8_t *)at(b, b->status), VIRTIO_BLK_S_OK);
	return now;
}

static void test_write_through(void **state)
{
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	struct bench b;

	/* A flush of something takes longer than the doorbell: that is how it shows. */
	setup(&b);
	create(&b, 0);
	assert_true(done_at_once(&b));
	virtio_config_write(b.dev, wce, 1, 0);
	assert_false(done_at_once(&b));
	virtio_config_write(b.dev, wce, 1, 1);
	assert_true(done_at_once(&b));
	/* A driver that knows no flush (5.2.6.2). */
	assert_true(driver_start(&b.d, b.dev, 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE));
	assert_false(done_at_once(&b));
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&b);
}

static void test_many(void **state)
{
	struct bench b;
	unsigned done = 0, before;

	/* As many as the ring takes, one doorbell: one interrupt, or few. */
	setup(&b);
	create(&b, 0);
	set_header(&b, VIRTIO_BLK_T_IN, 0);
	before = b.d.interrupts[0];
	for (unsigned i = 0; i < 85; i++) {
		struct driver_buf buf[] = { { b.header, 16, false },
					    { b.data + 4096 * i, 4096, true },
					    { b.status, 1, true } };

		assert_true(driver_add(&b.d.q[0], buf, 3) >= 0);
	}
	virtio_notify(b.dev, 0);
	while (done < 85 && driver_wait_used(&b.d, 0, NULL, NULL, 1000))
		done++;
	assert_int_equal(done, 85);
	assert_true(b.d.interrupts[0] - before <= 4);
	for (unsigned i = 0; i < 85; i++)
		assert_int_equal(((uint8_t *)at(&b, b.data))[4096 * i + 100], pattern(100));

	/* 256 indirect ones of all kinds */
	done = 0;
	for (unsigned i = 0; i < 256; i++) {
		uint64_t header = driver_alloc(&b.d, 16, 16), table = driver_alloc(&b.d, 48, 16);
		struct driver_buf buf[] = { { header, 16, false },
					    { b.data + 512 * i, 512, i % 2 == 0 },
					    { b.status, 1, true } };

		*(struct virtio_blk_outhdr *)at(
			&b, header) = (struct virtio_blk_outhdr){ .type = i % 8 == 7 ? VIRTIO_BLK_T_FLUSH
									  : i % 2    ? VIRTIO_BLK_T_OUT
										     : VIRTIO_BLK_T_IN,
								  .sector = i };
		assert_true(driver_add_indirect(&b.d.q[0], table, buf, 3) >= 0);
	}
	virtio_notify(b.dev, 0);
	while (done < 256 && driver_wait_used(&b.d, 0, NULL, NULL, 1000))
		done++;
	assert_int_equal(done, 256);
	teardown(&b);
}

static void test_reset(void **state)
{
	struct bench b;

	/* With requests under way that take long: writes through to the medium. */
	setup(&b);
	create(&b, 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE);
	for (unsigned round = 0; round < 20; round++) {
		uint8_t *data = at(&b, b.data);

		set_header(&b, VIRTIO_BLK_T_OUT, 0);
		for (unsigned i = 0; i < 40; i++)
			driver_add(&b.d.q[0],
				   (struct driver_buf[]){ { b.header, 16, false },
							  { b.data, 65536, false },
							  { b.status, 1, true } },
				   3);
		virtio_notify(b.dev, 0);
		virtio_reset(b.dev);
		/* From now on the memory is the guest's: nobody writes a status or a used ring there. */
		memset(at(&b, b.status), 0x77, 64);
		memset(data, (int)round, 512);
		for (unsigned i = 0; i < 5; i++)
			eventloop_run_once(&b.d.loop, 1);
		assert_int_equal(*(uint8_t *)at(&b, b.status), 0x77);
		assert_int_equal(b.d.q[0].used->idx, b.d.q[0].last_used);
		assert_true(driver_start(&b.d, b.dev, 0));
		b.header = driver_alloc(&b.d, 16, 16);
		assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_OK);
		assert_true(driver_start(&b.d, b.dev,
					 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE));
	}
	teardown(&b);
}

static void test_create(void **state)
{
	struct bench b;
	char err[200] = "";

	setup(&b);
	b.cfg.path = (char[]){ "/nonexistent/disk" };
	assert_null(virtio_block_create(&b.cfg, 0, &b.d.env, err, sizeof(err)));
	assert_int_equal(strncmp(err, "--block=/nonexistent/disk: No such file", 39), 0);
	assert_int_equal(b.d.loop.count, 0);
	teardown(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_host_error),
		cmocka_unit_test(test_write_through),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_create),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
