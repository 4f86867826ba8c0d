/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 400
#define CHECK     FUZZ_CHECK

const struct fuzz_bounds fuzz_bounds = { .len = 2000, .runs = 2000 };

/* ---- input ---- */

uint64_t fuzz_take(struct fuzz *f, unsigned bytes)
{
	return input_take(&f->in, bytes);
}

unsigned fuzz_pick(struct fuzz *f, unsigned n)
{
	return input_pick(&f->in, n);
}

/* Mostly small, with the borders that matter; seldom anything. */
static uint32_t take_len(struct fuzz *f)
{
	static const uint32_t border[] = { 0,   1,   2,   4,    8,    12,   16,    20,
					   511, 512, 513, 4095, 4096, 4097, 65536, 0xffffffff };

	switch (fuzz_pick(f, 5)) {
	case 0: return (uint32_t)fuzz_take(f, 1);
	case 1: return (uint32_t)fuzz_take(f, 2) % 4096;
	case 2: return 512 * (uint32_t)(fuzz_take(f, 1) % 32);
	case 3: return border[fuzz_pick(f, 16)];
	default: return (uint32_t)fuzz_take(f, 2) * 8;
	}
}

uint64_t fuzz_buffer(struct fuzz *f, uint32_t len)
{
	uint64_t at = FUZZ_BUFFERS + (fuzz_take(f, 2) << 2);

	return at + len <= FUZZ_RAM ? at : FUZZ_BUFFERS;
}

/* ---- memory ---- */

void fuzz_poke(struct fuzz *f, uint64_t addr, const void *bytes, size_t len)
{
	fuzz_ram_poke(&f->ram, addr, bytes, len);
}

/* What driver.c wrote. */
static void sync(struct fuzz *f, uint64_t addr, uint64_t len)
{
	fuzz_ram_sync(&f->ram, addr, len);
}

static void sync_queue(struct fuzz *f, const struct driver_queue *q)
{
	sync(f, q->desc_at, virtq_desc_bytes(q->size));
	sync(f, q->avail_at, virtq_avail_bytes(q->size, true));
}

/* ---- what a guest can do ---- */

void fuzz_chain(struct fuzz *f, unsigned queue, const struct driver_buf *buf, unsigned count)
{
	struct driver_queue *q = &f->d.q[queue];
	bool indirect = fuzz_take(f, 1) & 1;
	uint64_t room = 0;
	int head;

	if (!q->size || !count || count > 256)
		return;
	for (unsigned i = 0; i < count; i++)
		room += buf[i].write ? buf[i].len : 0;
	if (indirect) {
		uint64_t table = FUZZ_TABLES + 4096 * (q->free_head % 16);

		head = driver_add_indirect(q, table, buf, count);
		sync(f, table, 16 * count);
		/* Another chain may have its table there. */
		f->honest = f->honest && q->free_head < 16 && queue == 0;
	} else {
		head = driver_add(q, buf, count);
	}
	if (head >= 0)
		f->room[queue][head] = room;
	sync_queue(f, q);
}

static void any_chain(struct fuzz *f, unsigned queue)
{
	struct driver_buf buf[8];
	unsigned count = 1 + fuzz_pick(f, 8), readable = fuzz_pick(f, 9);

	for (unsigned i = 0; i < count; i++) {
		uint8_t where = (uint8_t)fuzz_take(f, 1);

		buf[i].len = take_len(f);
		buf[i].write = i >= readable;
		buf[i].addr = fuzz_buffer(f, buf[i].len);
		if (where >= 0xf0)
			f->honest = false;
		if (where >= 0xfc)
			buf[i].addr = fuzz_take(f, 8);
		else if (where >= 0xf8)
			buf[i].addr = fuzz_take(f, 3);
		else if (where >= 0xf4)
			buf[i].addr = FUZZ_RAM - fuzz_take(f, 1);
		else if (where >= 0xf0)
			buf[i].write = !buf[i].write;
	}
	fuzz_chain(f, queue, buf, count);
}

/* One descriptor, of a ring or a table, as no driver would write it. */
static void scribble_descriptor(struct fuzz *f, unsigned queue)
{
	struct driver_queue *q = &f->d.q[queue];
	struct vring_desc desc = { .addr = fuzz_buffer(f, 0), .len = take_len(f) };
	uint8_t how = (uint8_t)fuzz_take(f, 1);
	uint64_t at = q->desc_at + 16 * fuzz_pick(f, q->size ? q->size : 1);

	desc.flags = how & 7;
	desc.next = (uint16_t)fuzz_pick(f, 1 + (how & 8 ? 65535 : q->size));
	if (how & 16)
		desc.addr = FUZZ_TABLES + 16 * fuzz_pick(f, 512);
	if ((how & 0xe0) == 0)
		desc.addr = fuzz_take(f, 8);
	if ((how & 0xe0) == 0x20)
		at = FUZZ_TABLES + 16 * fuzz_pick(f, 512);
	f->honest = false;
	fuzz_poke(f, at, &desc, sizeof(desc));
}

static void scribble(struct fuzz *f, unsigned queue)
{
	const struct driver_queue *q = &f->d.q[queue];
	uint16_t val = (uint16_t)fuzz_take(f, 2);
	uint64_t at;

	switch (fuzz_pick(f, 6)) {
	case 0: at = q->avail_at + 2; break; /* the index */
	case 1: at = q->avail_at; break;
	case 2: at = q->avail_at + 4 + 2 * (val >> 4 & (q->size - 1u)); break;
	case 3: at = q->avail_at + 4 + 2 * q->size; break; /* used_event */
	case 4: at = q->used_at + val % 64; break;
	default: at = fuzz_take(f, 3) % FUZZ_RAM; break;
	}
	f->honest = false;
	fuzz_poke(f, at, &val, sizeof(val));
}

static void fill_buffers(struct fuzz *f)
{
	uint8_t bytes[32];
	unsigned len = 1 + fuzz_pick(f, sizeof(bytes));

	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)fuzz_take(f, 1);
	fuzz_poke(f, fuzz_buffer(f, len), bytes, len);
}

static void drain(struct fuzz *f, unsigned queue)
{
	struct driver_queue *q = &f->d.q[queue];

	if (!q->size)
		return;
	for (unsigned i = 0; i < q->size; i++) {
		struct vring_used_elem elem = q->used->ring[q->last_used & (q->size - 1)];
		uint16_t index = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

		if (index == q->last_used)
			break;
		if (f->honest) {
			CHECK((uint16_t)(index - q->last_used) <= q->size);
			CHECK(elem.id < q->size);
			CHECK(q->chain_len[elem.id]);
			CHECK(elem.len <= f->room[queue][elem.id]);
		}
		driver_get_used(q, NULL, NULL);
	}
	sync_queue(f, q);
}

static void start(struct fuzz *f)
{
	uint64_t without = fuzz_take(f, 1) & 1 ? fuzz_take(f, 5) : 0;
	bool started;

	f->d.next = 4096;
	started = driver_start(&f->d, f->d.dev, without & ~(1ull << VIRTIO_F_VERSION_1));
	sync(f, 0, FUZZ_TABLES);
	CHECK(f->d.next <= FUZZ_TABLES);
	f->honest = true;
	CHECK(started);
}

static void check_status(struct fuzz *f)
{
	const uint8_t all = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			    VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	struct virtio_device *dev = f->d.dev;
	uint8_t status = virtio_get_status(dev);

	if (dev->running)
		CHECK((status | VIRTIO_CONFIG_S_FEATURES_OK) == all); /* old drivers do without that one */
	if (status & VIRTIO_CONFIG_S_FEATURES_OK)
		CHECK(!(dev->s.driver_features & ~dev->device_features));
	CHECK(f->d.warnings <= 6);
}

static void queue_registers(struct fuzz *f, unsigned queue)
{
	uint8_t what = (uint8_t)fuzz_take(f, 1);
	uint64_t val = what & 0x80 ? fuzz_take(f, 8) : fuzz_take(f, 3);

	if (!(what & 0x40))
		val &= ~15ull;
	f->honest = false;
	switch (what & 7) {
	case 0:
	case 1:
	case 2:
	case 3: virtio_queue_set(f->d.dev, queue, (enum virtio_queue_field)(what & 3), val); break;
	case 4: virtio_queue_set(f->d.dev, queue, VIRTIO_QUEUE_SIZE, 1ull << (val % 20)); break;
	case 5: virtio_queue_get(f->d.dev, queue); break;
	default: virtio_queue_enable(f->d.dev, queue); break;
	}
}

static void step(struct fuzz *f)
{
	struct virtio_device *dev = f->d.dev;
	uint8_t op = (uint8_t)fuzz_take(f, 1);
	unsigned queues = dev->ops->queues ? dev->ops->queues : 1;
	unsigned queue = (op >> 5) % queues;

	switch (op & 31) {
	case 0:
	case 1: start(f); break;
	case 2:
	case 3:
	case 4: any_chain(f, queue); break;
	case 5:
	case 6:
	case 7:
		any_chain(f, queue);
		virtio_notify(dev, queue);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		if (fuzz_target.request)
			fuzz_target.request(f);
		break;
	case 12:
	case 13: virtio_notify(dev, queue); break;
	case 14: virtio_notify(dev, (unsigned)fuzz_take(f, 4)); break;
	case 15:
	case 16: scribble_descriptor(f, queue); break;
	case 17:
	case 18: scribble(f, queue); break;
	case 19:
	case 20: fill_buffers(f); break;
	case 21:
		if (f->d.q[queue].size)
			driver_publish(&f->d.q[queue], (uint16_t)fuzz_take(f, 2));
		f->honest = false;
		sync_queue(f, &f->d.q[queue]);
		break;
	case 22:
	case 23: drain(f, queue); break;
	case 24: eventloop_run_once(&f->d.loop, 0); break;
	case 25:
	case 26:
		if (fuzz_target.host)
			fuzz_target.host(f);
		break;
	case 27: virtio_config_write(dev, fuzz_pick(f, 80), 1u << fuzz_pick(f, 4), fuzz_take(f, 8)); break;
	case 28: virtio_config_read(dev, fuzz_pick(f, 160), 1u << fuzz_pick(f, 4)); break;
	case 29:
		f->honest = false;
		virtio_set_status(dev, (uint8_t)fuzz_take(f, 1), fuzz_take(f, 1) & 1);
		break;
	case 30:
		virtio_set_driver_features(dev, fuzz_pick(f, 3), (uint32_t)fuzz_take(f, 4));
		queue_registers(f, (unsigned)fuzz_take(f, 1));
		break;
	case 31: queue_registers(f, queue); break;
	}
	check_status(f);
}

/* ---- one input ---- */

static void create(struct fuzz *f)
{
	driver_init(&f->d, FUZZ_RAM);
	fuzz_ram_init(&f->ram, &f->d.ram);
	f->d.dev = fuzz_target.create(f);
	if (!f->d.dev)
		exit(2);
	f->inputs = 0;
}

static void destroy_driver(void *opaque)
{
	driver_destroy(opaque);
}

static void destroy(struct fuzz *f)
{
	f->d.dev->ops->destroy(f->d.dev);
	f->d.dev = NULL;
	if (fuzz_target.destroyed)
		fuzz_target.destroyed(f);
	fuzz_ram_destroy(&f->ram, destroy_driver, &f->d);
}

static void run(struct fuzz *f, const uint8_t *data, size_t len)
{
	fuzz_ram_clear(&f->ram);
	memset(f->d.q, 0, sizeof(f->d.q));
	f->d.dev->warnings = 0;
	f->d.warnings = 0;
	f->honest = false;
	f->in = (struct fuzz_input){ data, len };

	start(f);
	for (unsigned i = 0; i < MAX_STEPS && f->in.left; i++)
		step(f);
	for (unsigned i = 0; i < f->d.dev->ops->queues; i++)
		drain(f, i);
	virtio_reset(f->d.dev);
	fuzz_ram_check(&f->ram);
	CHECK(!f->d.dev->running);
	for (unsigned i = 0; i < f->d.dev->ops->queues; i++)
		CHECK(!virtio_queue_get(f->d.dev, i).enabled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fuzz
		*f; /* a device may live through several inputs, and libFuzzer has no place for it */

	if (!f) {
		f = calloc(1, sizeof(*f));
		CHECK(f);
		create(f);
	}
	run(f, data, len);
	if (++f->inputs >= fuzz_target.lives) {
		destroy(f);
		free(f);
		f = NULL;
	}
	return 0;
}
