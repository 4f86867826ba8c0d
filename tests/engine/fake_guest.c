/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest of fake_kernel.c does: run.py names it by the command line. It
 * sees its devices as a driver of Linux 3.x does, and prints by NOTIFY what it found.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#include "fake_kernel.h"
#include "platform/lguest/abi.h"

#define TEXT   0x10000u
#define BUFFER 0x20000u

struct queue {
	uint32_t ring;
	unsigned irq;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t seen;
};

struct device {
	uint32_t desc;
	uint8_t *bytes;
	struct queue q[2];
};

static void say(struct fake_kernel *k, const char *text)
{
	strcpy(fake_memory(k, TEXT), text);
	fake_notify(k, TEXT);
}

static void check(struct fake_kernel *k, bool ok, const char *what)
{
	char line[100];

	snprintf(line, sizeof(line), "%s - %s\n", ok ? "ok" : "not ok", what);
	say(k, line);
}

static uint32_t get(const uint8_t *p, unsigned bytes)
{
	uint32_t val = 0;

	memcpy(&val, p, bytes);
	return val;
}

/* The first device of that type, probed without any features. */
static struct device find(struct fake_kernel *k, unsigned type)
{
	struct device d = { .desc = fake_ram(k) };

	for (;;) {
		d.bytes = fake_memory(k, d.desc);
		if (d.bytes[0] == type || !d.bytes[0])
			break;
		d.desc += 5 + 8u * d.bytes[1] + 2u * d.bytes[2] + d.bytes[3];
	}
	for (unsigned i = 0; i < d.bytes[1] && i < 2; i++) {
		const uint8_t *vq = d.bytes + LG_DESC_HEAD + LG_VQCONFIG * i;

		d.q[i].irq = get(vq + 2, 2);
		d.q[i].ring = get(vq + 4, 4) << 12;
		d.q[i].desc = fake_memory(k, d.q[i].ring);
		d.q[i].avail = fake_memory(k, d.q[i].ring + 4096);
		d.q[i].used = fake_memory(k, d.q[i].ring + 8192);
	}
	d.bytes[LG_DESC_STATUS] = 0;
	fake_notify(k, d.desc);
	d.bytes[LG_DESC_STATUS] = 3;
	fake_notify(k, d.desc);
	return d;
}

static void put(struct queue *q, unsigned i, uint32_t addr, uint32_t len, uint16_t flags)
{
	q->desc[i] =
		(struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = (uint16_t)(i + 1) };
}

/* Makes descriptor 0 available, sleeps until its interrupt comes. */
static bool do_request(struct fake_kernel *k, struct queue *q)
{
	q->avail->ring[q->avail->idx % 256] = 0;
	__atomic_store_n(&q->avail->idx, (uint16_t)(q->avail->idx + 1), __ATOMIC_SEQ_CST);
	fake_notify(k, q->ring);
	while (__atomic_load_n(&q->used->idx, __ATOMIC_SEQ_CST) == q->seen)
		if (!fake_halt(k, 1u << q->irq))
			return false;
	q->seen++;
	return true;
}

static bool block(struct fake_kernel *k, struct queue *q, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr *header = fake_memory(k, BUFFER);
	uint8_t *status = fake_memory(k, BUFFER + 4096);

	*header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*status = 0xff;
	put(q, 0, BUFFER, sizeof(*header), VRING_DESC_F_NEXT);
	put(q, 1, BUFFER + 512, 512,
	    (uint16_t)(VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0)));
	put(q, 2, BUFFER + 4096, 1, VRING_DESC_F_WRITE);
	return do_request(k, q) && *status == VIRTIO_BLK_S_OK;
}

static void devices(struct fake_kernel *k)
{
	struct device d = find(k, VIRTIO_ID_BLOCK);
	char *sector = fake_memory(k, BUFFER + 512);

	strcpy(sector, "written by the guest");
	check(k, block(k, &d.q[0], VIRTIO_BLK_T_OUT, 2), "block: write");
	strcpy(sector, "");
	check(k, block(k, &d.q[0], VIRTIO_BLK_T_IN, 2), "block: read");
	check(k, strcmp(sector, "written by the guest") == 0, "block: what was written");

	say(k, fake_has_eventfd(k, d.q[0].ring) ? "block: by an eventfd\n" : "block: by a read\n");

	d = find(k, VIRTIO_ID_RNG);
	memset(sector, 0, 64);
	put(&d.q[0], 0, BUFFER + 512, 64, VRING_DESC_F_WRITE);
	check(k, do_request(k, &d.q[0]) && d.q[0].used->ring[0].len == 64, "rng: bytes");
	check(k, memcmp(sector, sector + 32, 32) != 0, "rng: random ones");

	d = find(k, VIRTIO_ID_CONSOLE);
	/* Its driver spins until a line is out, and with an eventfd it would keep the reader from the only CPU. */
	check(k, !fake_has_eventfd(k, d.q[0].ring) && !fake_has_eventfd(k, d.q[1].ring),
	      "console: no eventfds");
	strcpy(sector, "ok - console: output\n");
	put(&d.q[1], 0, BUFFER + 512, (uint32_t)strlen(sector), 0);
	check(k, do_request(k, &d.q[1]), "console: returned");
	put(&d.q[0], 0, BUFFER + 512, 100, VRING_DESC_F_WRITE);
	check(k, do_request(k, &d.q[0]) && memcmp(sector, "hi\n", 3) == 0, "console: input");
	fake_die(k, "CRASH: Power down");
}

/* The disk counts the starts. */
static void restart(struct fake_kernel *k)
{
	struct device d = find(k, VIRTIO_ID_BLOCK);
	uint8_t *count = fake_memory(k, BUFFER + 512);

	check(k, block(k, &d.q[0], VIRTIO_BLK_T_IN, 0), "read the count");
	check(k, *(uint32_t *)fake_memory(k, 0x300000) == 0, "memory is clean");
	*(uint32_t *)fake_memory(k, 0x300000) = 1;
	if ((*count)++ < 3) {
		check(k, block(k, &d.q[0], VIRTIO_BLK_T_OUT, 0), "write the count");
		fake_restart(k);
	}
	check(k, *count == 4, "the fourth start");
	fake_die(k, "CRASH: Power down");
}

void fake_guest(struct fake_kernel *k, const char *cmdline)
{
	if (strcmp(cmdline, "devices") == 0)
		devices(k);
	if (strcmp(cmdline, "restart") == 0)
		restart(k);
	if (strcmp(cmdline, "panic") == 0)
		fake_die(k, "CRASH: no more\nof this\x1b");
	if (strcmp(cmdline, "trap") == 0)
		fake_die(k, "unhandled trap 6 at 0x100000 (0)");
	if (strcmp(cmdline, "no-reason") == 0)
		fake_die(k, "");
	if (strcmp(cmdline, "bad-notify") == 0) {
		fake_notify(k, fake_ram(k) + 4095);
		fake_die(k, "not reached");
	}
	if (strcmp(cmdline, "sleep") == 0) {
		say(k, "ok - asleep\n");
		for (;;)
			fake_halt(k, 0);
	}
	fake_die(k, "CRASH: Power down");
}
