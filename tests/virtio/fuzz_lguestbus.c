/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lguest bus with the real devices behind it: a guest that writes what it
 * likes into the page that lists them and into their rings, notifies whatever
 * addresses, accepts any features, resets in between and is restarted. The network
 * returns what is sent; nothing leaves the process.
 *
 * Checked besides what fuzz.h says: the bus knows its own addresses and no others, believes
 * nothing that stands in the page but status and accepted features, and interrupts with
 * numbers of its own only.
 *
 * How it is run: tests/fuzz/input.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "driver.h"
#include "fuzz/input.h"
#include "fuzz/ram.h"
#include "host/console.h"
#include "platform/lguest/abi.h"
#include "virtio/devices.h"
#include "virtio/lguestbus.h"
#include "virtio/net.h"

#define RAM       (256u << 10)
#define AREA      (1u + RINGS * RING_PAGES) /* pages */
#define BUFFERS   (64u << 10)               /* from here on in RAM; below: indirect tables */
#define DEVICES   4
#define RINGS     6
#define RING_SIZE 256
/* Descriptors, available ring, padding, used ring: see used_offset() of lguestbus.c */
#define RING_PAGES 3
#define AVAIL      4096
#define USED       8192
#define MAX_STEPS  300
#define LIVES      64
#define SECTORS    64u

const struct fuzz_bounds fuzz_bounds = { .len = 2000, .runs = 1500 };

struct terminal {
	struct console console;
	int in[2], out[2];
};

struct world {
	struct driver d; /* RAM, event loop, environment */
	struct fuzz_ram ram;
	struct lguest_bus bus;
	struct virtio_device *dev[DEVICES];
	struct driver_queue q[RINGS];
	struct terminal terminal;
	char image[64];
	struct fuzz_input in;
	_Atomic uint32_t irqs;
	unsigned lives;
};

/* ---- a network that is a loop ---- */

struct loop {
	struct network net;
	struct network_user user;
	bool started, waits;
	size_t len;
	uint8_t frame[NETWORK_FRAME_MAX];
	uint8_t hdr[12];
};

static struct loop *to_loop(struct network *net)
{
	return (struct loop *)net;
}

static void loop_start(struct network *net, uint64_t features)
{
	to_loop(net)->started = true;
	to_loop(net)->waits = false;
}

static void loop_set_offloads(struct network *net, uint64_t features)
{
}

static void loop_stop(struct network *net)
{
	to_loop(net)->started = to_loop(net)->waits = false;
}

static int loop_send(struct network *net, const struct iovec *iov, unsigned count, size_t len)
{
	struct loop *l = to_loop(net);

	FUZZ_CHECK(l->started && len >= NETWORK_FRAME_MIN && len <= NETWORK_FRAME_MAX);
	FUZZ_CHECK(iov_read(iov + 1, count - 1, 0, l->frame, sizeof(l->frame)) == len);
	l->len = len;
	l->waits = true;
	l->user.readable(l->user.opaque);
	return 0;
}

static void loop_flush(struct network *net)
{
}

static size_t loop_receive(struct network *net, const struct iovec *iov, unsigned count)
{
	struct loop *l = to_loop(net);

	if (!l->waits)
		return 0;
	l->waits = false;
	iov_write(iov, 1, 0, l->hdr, iov->iov_len < sizeof(l->hdr) ? iov->iov_len : sizeof(l->hdr));
	iov_write(iov + 1, count - 1, 0, l->frame, l->len);
	return l->len;
}

static void loop_want_read(struct network *net, bool want)
{
}

static void loop_wake(struct network *net)
{
}

static void loop_destroy(struct network *net)
{
	free(net);
}

static const struct network_ops loop_ops = {
	.start = loop_start,
	.set_offloads = loop_set_offloads,
	.stop = loop_stop,
	.send = loop_send,
	.flush = loop_flush,
	.receive = loop_receive,
	.want_read = loop_want_read,
	.wake = loop_wake,
	.destroy = loop_destroy,
};

static struct network *loop_open(const struct net_config *cfg, struct eventloop *loop,
				 const struct network_user *user, char *err, size_t errlen)
{
	struct loop *l = calloc(1, sizeof(*l));

	FUZZ_CHECK(l);
	l->net = (struct network){ .ops = &loop_ops, .mtu = 1500, .identity = "loop" };
	l->user = *user;
	return &l->net;
}

/* ---- the world ---- */

static uint64_t take(struct world *w, unsigned bytes)
{
	return input_take(&w->in, bytes);
}

static unsigned pick(struct world *w, unsigned n)
{
	return input_pick(&w->in, n);
}

static void on_escape(void *opaque)
{
}

static void on_warn(void *opaque, const char *line)
{
}

static const struct console_ops console_ops = { .escape = on_escape, .warn = on_warn };

static void open_terminal(struct world *w)
{
	struct terminal *t = &w->terminal;

	FUZZ_CHECK(pipe2(t->in, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(t->out, O_CLOEXEC | O_NONBLOCK) == 0);
	FUZZ_CHECK(console_create(&t->console, &w->d.loop, t->in[0], dup(t->out[1]), NULL, &console_ops, t) ==
		   0);
	fcntl(t->out[1], F_SETPIPE_SZ, 4096);
	console_prefer(&t->console, CONSOLE_HVC);
}

static void close_terminal(struct world *w)
{
	console_destroy(&w->terminal.console);
	for (unsigned i = 0; i < 2; i++) {
		close(w->terminal.in[i]);
		close(w->terminal.out[i]);
	}
}

/* Any thread. */
static void on_irq(void *opaque, unsigned irq)
{
	struct world *w = opaque;

	FUZZ_CHECK(irq >= 1 && irq <= RINGS);
	atomic_fetch_or(&w->irqs, 1u << irq);
}

static struct virtio_device *make_block(struct world *w)
{
	struct block_config cfg = { .path = w->image };
	char err[200];
	int fd;

	strcpy(w->image, "/var/tmp/lguest-fuzz-XXXXXX");
	fd = mkstemp(w->image);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, SECTORS * 512) == 0);
	close(fd);
	return virtio_block_create(&cfg, 0, &w->d.env, err, sizeof(err));
}

/* In the order of a command line, the console last. */
static void create(struct world *w)
{
	struct net_config net = { .kind = NET_USER };
	char err[200];

	driver_init(&w->d, RAM + AREA * 4096);
	fuzz_ram_init(&w->ram, &w->d.ram);
	lguest_bus_init(&w->bus, &w->d.ram, RAM, RAM + AREA * 4096, on_irq, w);
	open_terminal(w);
	w->dev[0] = make_block(w);
	w->dev[1] = virtio_rng_create(0, &w->d.env, err, sizeof(err));
	w->dev[2] = net_create(&net, 0, &w->d.env, loop_open, err, sizeof(err));
	w->dev[3] = virtio_console_create(&w->terminal.console, &w->d.env, err, sizeof(err));
	unlink(w->image);
	for (unsigned i = 0; i < DEVICES; i++) {
		FUZZ_CHECK(w->dev[i]);
		FUZZ_CHECK(lguest_bus_attach(&w->bus, w->dev[i]) == 0);
	}
	/* The area is just large enough. */
	FUZZ_CHECK(w->bus.next_ring == RAM + AREA * 4096);
	FUZZ_CHECK(lguest_bus_attach(&w->bus, w->dev[1]) == -ENOSPC);
}

static void destroy_driver(void *opaque)
{
	driver_destroy(opaque);
}

static void destroy(struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++)
		w->dev[i]->ops->destroy(w->dev[i]);
	close_terminal(w);
	fuzz_ram_destroy(&w->ram, destroy_driver, &w->d);
}

/* ---- what is where ---- */

static struct lguest_bus_device *any_device(struct world *w)
{
	return &w->bus.device[pick(w, DEVICES)];
}

/* Rings are counted over all devices: 0 block, 1 rng, 2 and 3 net, 4 and 5 console. */
static uint32_t ring_at(unsigned ring)
{
	return RAM + 4096 + ring * RING_PAGES * 4096;
}

static struct lguest_bus_device *device_of_ring(struct world *w, unsigned ring)
{
	return &w->bus.device[ring < 2 ? ring : ring / 2 + 1];
}

static unsigned bitmap_at(const struct lguest_bus_device *d)
{
	return RAM + d->desc + LG_DESC_HEAD +
	       LG_VQCONFIG * (d->dev == d->bus->device[0].dev || d->dev == d->bus->device[1].dev ? 1 : 2);
}

static bool has_features(const struct lguest_bus_device *d)
{
	return d == &d->bus->device[0] || d == &d->bus->device[2];
}

static void forget_rings(struct world *w, const struct lguest_bus_device *d)
{
	for (unsigned i = 0; i < RINGS; i++) {
		struct driver_queue *q = &w->q[i];

		if (d && device_of_ring(w, i) != d)
			continue;
		memset(q, 0, sizeof(*q));
		q->ram = &w->d.ram;
		q->size = q->free_count = RING_SIZE;
		q->desc_at = ring_at(i);
		q->avail_at = q->desc_at + AVAIL;
		q->used_at = q->desc_at + USED;
		q->desc = guest_range(q->ram, q->desc_at, 0);
		q->avail = guest_range(q->ram, q->avail_at, 0);
		q->used = guest_range(q->ram, q->used_at, 0);
		for (unsigned k = 0; k < RING_SIZE; k++)
			q->next[k] = (uint16_t)(k + 1);
	}
}

static void sync_ring(struct world *w, unsigned ring)
{
	fuzz_ram_sync(&w->ram, ring_at(ring), USED);
}

static bool is_known(struct world *w, uint32_t addr)
{
	for (unsigned i = 0; i < DEVICES; i++)
		if (addr == RAM + w->bus.device[i].desc)
			return true;
	for (unsigned i = 0; i < RINGS; i++)
		if (addr == ring_at(i))
			return true;
	return false;
}

static void notify(struct world *w, uint32_t addr)
{
	bool known = is_known(w, addr);

	FUZZ_CHECK(lguest_bus_notify(&w->bus, addr) == known);
}

static void poke8(struct world *w, uint32_t addr, uint8_t val)
{
	fuzz_ram_poke(&w->ram, addr, &val, 1);
}

/* ---- what a guest does ---- */

static void set_status(struct world *w, struct lguest_bus_device *d, uint8_t status, bool tell)
{
	poke8(w, RAM + d->desc + LG_DESC_STATUS, status);
	if (!tell)
		return;
	notify(w, RAM + d->desc);
	if (status == 0) {
		FUZZ_CHECK(!d->started && !d->dev->running && virtio_get_status(d->dev) == 0);
		for (unsigned i = 0; has_features(d) && i < 4; i++)
			FUZZ_CHECK(w->d.ram.base[bitmap_at(d) + 4 + i] == 0);
		for (unsigned i = 0; i < RINGS; i++)
			for (unsigned k = 0; device_of_ring(w, i) == d && k < RING_PAGES * 4096; k++)
				FUZZ_CHECK(w->d.ram.base[ring_at(i) + k] == 0);
		forget_rings(w, d);
	}
	if (status & VIRTIO_CONFIG_S_FAILED)
		FUZZ_CHECK(status == 0 || !d->dev->running);
}

/* By the book, of one era or the other, with any of the features. */
static void probe(struct world *w, struct lguest_bus_device *d)
{
	uint8_t how = (uint8_t)take(w, 1);
	uint32_t accepted = how & 0x10 ? (uint32_t)take(w, 4) : 0;
	bool old = how & 0x20;

	if ((how & 0x30) == 0x30)
		accepted = (uint32_t)virtio_get_device_features(d->dev, 0);
	set_status(w, d, 0, true);
	set_status(w, d, 1, old);
	set_status(w, d, 3, old);
	for (unsigned i = 0; has_features(d) && i < 4; i++)
		poke8(w, bitmap_at(d) + 4 + i, (uint8_t)(accepted >> (8 * i)));
	if (!old)
		notify(w, RAM + d->desc);
	if (how & 0x40)
		set_status(w, d, 7, old);
	for (unsigned i = 0; i < RINGS; i++)
		if (device_of_ring(w, i) == d)
			w->q[i].event_idx = has_features(d) && (accepted >> VIRTIO_RING_F_EVENT_IDX & 1);
}

static uint64_t buffer(struct world *w, uint32_t len)
{
	uint64_t at = BUFFERS + (take(w, 2) << 1);

	return at + len <= RAM ? at : BUFFERS;
}

static void add(struct world *w, unsigned ring, const struct driver_buf *buf, unsigned count, bool indirect)
{
	if (indirect) {
		uint64_t table = 4096 + 4096 * (w->q[ring].free_head % 12u);

		if (driver_add_indirect(&w->q[ring], table, buf, count) >= 0)
			fuzz_ram_sync(&w->ram, table, 16 * count);
	} else {
		driver_add(&w->q[ring], buf, count);
	}
	sync_ring(w, ring);
}

static void any_chain(struct world *w, unsigned ring)
{
	struct driver_buf buf[6];
	unsigned count = 1 + pick(w, 6), readable = pick(w, 7);

	for (unsigned i = 0; i < count; i++) {
		uint8_t how = (uint8_t)take(w, 1);

		buf[i].len = how & 1 ? (uint32_t)take(w, 1) : (uint32_t)take(w, 2) % 3000;
		buf[i].write = i >= readable;
		buf[i].addr = buffer(w, buf[i].len);
		if (how >= 0xfc)
			buf[i].addr = take(w, 8);
		else if (how >= 0xf8)
			buf[i].addr = RAM + AREA * 4096 - take(w, 1);
		else if (how >= 0xf4)
			buf[i].len = (uint32_t)take(w, 4);
		else if (how >= 0xf0)
			buf[i].addr = RAM + take(w, 2); /* among the descriptors and rings themselves */
	}
	add(w, ring, buf, count, take(w, 1) & 1);
}

static void block_request(struct world *w)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_GET_ID };
	uint8_t how = (uint8_t)take(w, 1);
	struct virtio_blk_outhdr header = { .type = types[how & 3], .sector = take(w, 1) % (SECTORS + 4) };
	uint32_t len = 512 * (1 + (how >> 2 & 7));
	struct driver_buf buf[3] = { { buffer(w, 16), 16, false },
				     { buffer(w, len), len, header.type != VIRTIO_BLK_T_OUT },
				     { buffer(w, 1), 1, true } };

	if ((how & 0xe0) == 0)
		header.sector = take(w, 8);
	fuzz_ram_poke(&w->ram, buf[0].addr, &header, sizeof(header));
	if (header.type == VIRTIO_BLK_T_FLUSH)
		buf[1] = buf[2];
	add(w, 0, buf, header.type == VIRTIO_BLK_T_FLUSH ? 2 : 3, how & 0x40);
}

/* Good buffers: to receive, or with some bytes to send. */
static void plain(struct world *w, unsigned ring)
{
	bool in = ring == 1 || ring == 2 || ring == 4;
	uint32_t len = (uint32_t)take(w, 2) % 2100;
	struct driver_buf buf[2] = { { buffer(w, 12), ring == 3 ? 10 : 12, in },
				     { buffer(w, len), len, in } };

	add(w, ring, buf, 2, false);
}

/* Where it hurts: index and flags of the available ring, its entries, descriptors, used ring, anything. */
static void scribble_ring(struct world *w, unsigned ring)
{
	uint32_t base = ring_at(ring), val = (uint32_t)take(w, 4), at;

	switch (pick(w, 6)) {
	case 0: at = base + AVAIL + 2; break;
	case 1: at = base + AVAIL; break;
	case 2: at = base + AVAIL + 4 + 2 * pick(w, RING_SIZE + 1); break;
	case 3: at = base + 16 * pick(w, RING_SIZE) + 4 * pick(w, 4); break;
	case 4: at = base + USED + (uint32_t)take(w, 1); break;
	default: at = base + (uint32_t)take(w, 2) % (RING_PAGES * 4096); break;
	}
	fuzz_ram_poke(&w->ram, at, &val, val & 0x10000 ? 4 : 2);
}

static void scribble_page(struct world *w)
{
	uint8_t how = (uint8_t)take(w, 1);
	uint32_t at = RAM + (how & 0x80 ? (uint32_t)take(w, 2) % 4096 : (uint32_t)take(w, 1));

	for (unsigned i = 0; i <= (how & 7u); i++)
		poke8(w, at + i, how & 0x40 ? 0xff : (uint8_t)take(w, 1));
}

static void any_address(struct world *w)
{
	uint32_t addr = RAM + (uint32_t)take(w, 3) % (AREA * 4096);

	switch (pick(w, 4)) {
	case 0: addr = ring_at(pick(w, RINGS)) + (uint32_t)take(w, 1) % 4; break;
	case 1: addr = RAM + (uint32_t)take(w, 1); break;
	case 2: addr = (uint32_t)take(w, 4); break;
	default: break;
	}
	notify(w, addr);
}

static void drain(struct world *w, unsigned ring)
{
	for (unsigned i = 0; i < RING_SIZE && driver_get_used(&w->q[ring], NULL, NULL); i++)
		;
	sync_ring(w, ring);
}

static void from_host(struct world *w)
{
	uint8_t how = (uint8_t)take(w, 1), bytes[256];
	struct terminal *t = &w->terminal;

	memset(bytes, how, sizeof(bytes));
	switch (how & 3) {
	case 0:
		if (write(t->in[1], bytes, how) < 0)
			break; /* full, as a terminal may be */
		break;
	case 1:
		for (unsigned i = 0; i < how; i++)
			if (read(t->out[0], bytes, sizeof(bytes)) <= 0)
				break;
		break;
	case 2:
		console_flush(&t->console);
		virtio_console_settle(w->dev[3]);
		break;
	default: break;
	}
	eventloop_run_once(&w->d.loop, 0);
}

/* As machine.c does it: devices are reset, memory is zero, the list is written. */
static void restart(struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_reset(w->dev[i]);
	fuzz_ram_check(&w->ram);
	fuzz_ram_clear(&w->ram);
	lguest_bus_start(&w->bus);
	fuzz_ram_sync(&w->ram, RAM, 4096);
	forget_rings(w, NULL);
	FUZZ_CHECK(w->d.ram.base[RAM + w->bus.next_desc] == 0);
}

static void check(struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		struct virtio_device *dev = w->dev[i];
		const struct lguest_bus_device *d = &w->bus.device[i];
		unsigned queues = i < 2 ? 1 : 2;

		if (dev->running)
			FUZZ_CHECK(d->started && !(dev->s.driver_features & ~dev->device_features));
		for (unsigned q = 0; q < queues; q++) {
			struct virtq_state s = virtio_queue_get(dev, q);

			FUZZ_CHECK(!s.enabled ||
				   (s.size == RING_SIZE && s.desc == d->ring[q] &&
				    s.avail == d->ring[q] + AVAIL && s.used == d->ring[q] + USED));
		}
	}
	FUZZ_CHECK(w->d.warnings <= DEVICES * 6);
}

static void step(struct world *w)
{
	uint8_t op = (uint8_t)take(w, 1);
	unsigned ring = (op >> 5) % RINGS;

	switch (op & 31) {
	case 0:
	case 1:
	case 2: probe(w, any_device(w)); break;
	case 3: set_status(w, any_device(w), (uint8_t)take(w, 1), take(w, 1) & 1); break;
	case 4: set_status(w, any_device(w), 7, true); break;
	case 5:
	case 6: any_chain(w, ring); break;
	case 7:
	case 8:
		any_chain(w, ring);
		notify(w, ring_at(ring));
		break;
	case 9:
	case 10:
		block_request(w);
		notify(w, ring_at(0));
		break;
	case 11:
	case 12:
	case 13:
	case 14:
		plain(w, ring);
		notify(w, ring_at(ring));
		break;
	case 15:
	case 16:
	case 17: notify(w, ring_at(ring)); break;
	case 18:
	case 19: any_address(w); break;
	case 20:
	case 21: scribble_ring(w, ring); break;
	case 22:
	case 23: scribble_page(w); break;
	case 24:
	case 25: drain(w, ring); break;
	case 26:
	case 27:
	case 28: from_host(w); break;
	case 29: set_status(w, any_device(w), 0, true); break;
	case 30: set_status(w, any_device(w), 0x80 | (uint8_t)take(w, 1), true); break;
	case 31:
		if (take(w, 1) < 64)
			restart(w);
		break;
	}
	check(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world *w; /* lives through several inputs, and libFuzzer has no place for it */

	if (!w) {
		w = calloc(1, sizeof(*w));
		FUZZ_CHECK(w);
		create(w);
	}
	for (unsigned i = 0; i < DEVICES; i++)
		w->dev[i]->warnings = 0;
	w->d.warnings = 0;
	restart(w);
	w->in = (struct fuzz_input){ data, len };
	for (unsigned i = 0; i < MAX_STEPS && w->in.left; i++)
		step(w);
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_reset(w->dev[i]);
	fuzz_ram_check(&w->ram);
	if (++w->lives >= LIVES) {
		destroy(w);
		free(w);
		w = NULL;
	}
	return 0;
}
