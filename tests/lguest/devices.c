/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device page and small drivers for what is on it, in the manner of both
 * eras: 3.x says when features are final, 2.6.3x says each status.
 */
#include "guest.h"

/* virtio 0.9.5, 2.3, appendix C and D; the kernel's headers are not there for -m32 on every machine. */
struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct vring_avail {
	uint16_t flags, idx, ring[];
};

struct vring_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

struct virtio_blk_outhdr {
	uint32_t type, ioprio;
	uint64_t sector;
};

enum { VRING_DESC_F_NEXT = 1, VRING_DESC_F_WRITE = 2 };
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK, VIRTIO_ID_CONSOLE, VIRTIO_ID_RNG };
enum { VIRTIO_BLK_T_IN = 0, VIRTIO_BLK_T_OUT = 1, VIRTIO_BLK_T_FLUSH = 4 };
enum { VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR };
enum { VIRTIO_BLK_F_SEG_MAX = 2, VIRTIO_BLK_F_FLUSH = 9 };

#define KERNEL 0xc0000000u
#define PAGE   ((volatile uint8_t *)RAM)

/* Status bits (virtio) */
#define ACKNOWLEDGE 1
#define DRIVER      2
#define DRIVER_OK   4

struct queue {
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	uint16_t size, irq, seen;
	uint32_t ring;
};

struct device {
	volatile uint8_t *desc;
	unsigned queues, feature_len, config_len;
	struct queue q[2];
};

static unsigned get16(volatile const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static volatile uint8_t *features(const struct device *d)
{
	return d->desc + LG_DESC_HEAD + LG_VQCONFIG * d->queues;
}

static unsigned length(const struct device *d)
{
	return LG_DESC_HEAD + LG_VQCONFIG * d->queues + 2 * d->feature_len + d->config_len;
}

static void look_at(struct device *d, volatile uint8_t *desc)
{
	d->desc = desc;
	d->queues = desc[LG_DESC_NUM_VQ];
	d->feature_len = desc[LG_DESC_FEATURE_LEN];
	d->config_len = desc[LG_DESC_CONFIG_LEN];
	for (unsigned i = 0; i < d->queues && i < 2; i++) {
		volatile uint8_t *vq = desc + LG_DESC_HEAD + LG_VQCONFIG * i;
		struct queue *q = &d->q[i];

		q->size = (uint16_t)get16(vq);
		q->irq = (uint16_t)get16(vq + 2);
		q->ring = (get16(vq + 4) | get16(vq + 6) << 16) << 12;
		q->desc = (volatile struct vring_desc *)q->ring;
		q->avail = (volatile struct vring_avail *)(q->ring + 16u * q->size);
		q->used = (volatile struct vring_used *)((addr(q->avail) + 4 + 2u * q->size + 2 + 4095) &
							 ~4095u);
		q->seen = 0;
	}
}

/* Device number @n of the list, or false. */
static bool find(struct device *d, unsigned n)
{
	volatile uint8_t *p = PAGE;

	for (;;) {
		if (!p[LG_DESC_TYPE])
			return false;
		look_at(d, p);
		if (n-- == 0)
			return true;
		p += length(d);
	}
}

static void set_status(struct device *d, uint8_t status, bool tell)
{
	d->desc[LG_DESC_STATUS] = status;
	if (tell)
		hypercall(LG_NOTIFY, addr(d->desc), 0, 0, 0);
}

/* What Linux does until a driver has its device. */
static void probe(struct device *d, bool old)
{
	set_status(d, 0, true);
	set_status(d, ACKNOWLEDGE, old);
	set_status(d, ACKNOWLEDGE | DRIVER, old);
	for (unsigned i = 0; i < d->feature_len; i++)
		features(d)[d->feature_len + i] = 0; /* the plainest driver */
	if (!old)
		hypercall(LG_NOTIFY, addr(d->desc), 0, 0, 0);
}

static void probed(struct device *d, bool old)
{
	set_status(d, ACKNOWLEDGE | DRIVER | DRIVER_OK, old);
}

static void put(struct queue *q, unsigned i, const volatile void *p, uint32_t len, unsigned flags)
{
	q->desc[i].addr = addr(p);
	q->desc[i].len = len;
	q->desc[i].flags = (uint16_t)flags;
	q->desc[i].next = (uint16_t)(i + 1);
}

static void offer(struct queue *q, uint16_t head)
{
	q->avail->ring[q->avail->idx % q->size] = head;
	__asm__ volatile("mfence" : : : "memory");
	q->avail->idx++;
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
}

/* Sleeps until the device has returned something. */
static bool wait_used(struct queue *q)
{
	for (unsigned i = 0; i < 100 && q->used->idx == q->seen; i++) {
		/* The timer ends this when the device does not. */
		hypercall(LG_SET_CLOCKEVENT, 20000000, 0, 0, 0);
		hypercall(LG_HALT, 0, 0, 0, 0);
	}
	if (q->used->idx == q->seen)
		return false;
	q->seen++;
	return true;
}

static uint32_t irqs;

static void count_irq(struct frame *f)
{
	if (f->vector >= LG_IRQ_VECTOR && f->vector < LG_IRQ_VECTOR + LG_IRQS)
		irqs |= 1u << (f->vector - LG_IRQ_VECTOR);
}

static void begin(void)
{
	init(KERNEL);
	set_gates();
	handler = count_irq;
	lguest_data.blocked = 0;
	lguest_data.irq_enabled = LG_IRQ_ON;
}

/* ---- block ---- */

static struct virtio_blk_outhdr header;
static uint8_t sector[512], status;

static uint8_t block_request(struct device *d, uint32_t type, uint32_t lba, unsigned len)
{
	struct queue *q = &d->q[0];
	bool in = type == VIRTIO_BLK_T_IN;

	header.type = type;
	header.sector = lba;
	status = 0xff;
	put(q, 0, &header, sizeof(header), VRING_DESC_F_NEXT);
	if (len)
		put(q, 1, sector, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0));
	put(q, len ? 2 : 1, &status, 1, VRING_DESC_F_WRITE);
	offer(q, 0);
	return wait_used(q) ? status : 0xfe;
}

static void use_block(struct device *d)
{
	for (unsigned i = 0; i < 512; i++)
		sector[i] = (uint8_t)(i * 7 + 1);
	check_equal(block_request(d, VIRTIO_BLK_T_OUT, 3, 512), VIRTIO_BLK_S_OK, "write");
	check_equal(block_request(d, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK, "flush");
	for (unsigned i = 0; i < 512; i++)
		sector[i] = 0;
	check_equal(block_request(d, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "read");
	check(sector[0] == 1 && sector[511] == (uint8_t)(511 * 7 + 1), "what was written");
	check(irqs & 1u << d->q[0].irq, "its interrupt came");
	/* The original launcher died of this. */
	check_equal(block_request(d, VIRTIO_BLK_T_OUT, 0x7fffffff, 512), VIRTIO_BLK_S_IOERR,
		    "a write past the end is an error");
	check_equal(block_request(d, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "and the disk still there");
}

/* ---- scenarios: --block --rng --net=user ---- */

static void run_list(void)
{
	static const uint8_t types[] = { VIRTIO_ID_BLOCK, VIRTIO_ID_RNG, VIRTIO_ID_NET, VIRTIO_ID_CONSOLE };
	static const uint8_t queues[] = { 1, 1, 2, 2 };
	struct device d;
	unsigned irq = 1;
	uint32_t ring = RAM + 4096;

	begin();
	for (unsigned i = 0; i < sizeof(types); i++) {
		check(find(&d, i), "a device");
		check_equal(d.desc[LG_DESC_TYPE], types[i], "in command-line order, the console last");
		check_equal(d.queues, queues[i], "number of queues");
		check_equal(d.desc[LG_DESC_STATUS], 0, "status");
		for (unsigned q = 0; q < d.queues; q++) {
			check_equal(d.q[q].size, 256, "256 entries");
			check_equal(d.q[q].irq, irq++, "interrupts count from 1");
			check_equal(d.q[q].ring, ring, "rings follow each other");
			ring += 3 * 4096;
		}
	}
	check(!find(&d, sizeof(types)), "then the list ends");
	find(&d, 0);
	check_equal(d.config_len, 16, "block: configuration");
	check(features(&d)[0] & 1u << VIRTIO_BLK_F_SEG_MAX, "block: seg_max");
	check(features(&d)[1] & 1u << (VIRTIO_BLK_F_FLUSH - 8), "block: flush");
	check_equal(get16(features(&d) + 2 * d.feature_len), 128, "block: 64 KiB are 128 sectors");
	find(&d, 2);
	check(features(&d)[0] & 1u << 5, "net: has a MAC address");
	check_equal(features(&d)[2 * d.feature_len], 0x52, "net: the one of the command line");
	check_equal(features(&d)[2 * d.feature_len + 5], 0x56, "net: all of it");
}

static void run_block(void)
{
	struct device d;

	begin();
	find(&d, 0);
	probe(&d, false);
	use_block(&d);
	probed(&d, false);
	/* Reset, and all over again as a guest of the other era. */
	probe(&d, true);
	look_at(&d, d.desc);
	check_equal(d.q[0].used->idx, 0, "a reset clears the rings");
	probed(&d, true);
	use_block(&d);
}

static void run_rng(void)
{
	static uint8_t bytes[64];
	struct device d;
	unsigned sum = 0;

	begin();
	find(&d, 1);
	probe(&d, false);
	put(&d.q[0], 0, bytes, sizeof(bytes), VRING_DESC_F_WRITE);
	offer(&d.q[0], 0);
	check(wait_used(&d.q[0]), "an answer");
	check_equal(d.q[0].used->ring[0].len, sizeof(bytes), "as many bytes as were asked for");
	for (unsigned i = 0; i < sizeof(bytes); i++)
		sum += bytes[i] != 0;
	check(sum > 32, "random ones");
}

static void run_console(void)
{
	static char line[16];
	struct device d;

	begin();
	find(&d, 3);
	probe(&d, false);
	put(&d.q[1], 0, "ok - through the console device\n", 32, 0);
	offer(&d.q[1], 0);
	check(wait_used(&d.q[1]), "output returned");
	put(&d.q[0], 0, line, sizeof(line), VRING_DESC_F_WRITE);
	offer(&d.q[0], 0);
	check(wait_used(&d.q[0]), "input came");
	check(line[0] == 'h' && line[1] == 'i', "what was typed");
}

/* An ARP request for the gateway, and its answer. */
static void run_net(void)
{
	static uint8_t out[10 + 42] = { [10] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x12, 0x34, 0x56,
					0x78,        0x56, 0x08, 0x06, /* Ethernet */
					0,           1,    8,    0,    6,    4,    0,    1,    0x52, 0x12,
					0x34,        0x56, 0x78, 0x56, 10,   0,    2,    15,   0,    0,
					0,           0,    0,    0,    10,   0,    2,    2 };
	static uint8_t in[2048];
	struct device d;

	begin();
	find(&d, 2);
	probe(&d, false);
	put(&d.q[0], 0, in, sizeof(in), VRING_DESC_F_WRITE);
	offer(&d.q[0], 0);
	put(&d.q[1], 0, out, sizeof(out), 0);
	offer(&d.q[1], 0);
	check(wait_used(&d.q[1]), "a packet left");
	check(wait_used(&d.q[0]), "and one came");
	check(in[10 + 12] == 8 && in[10 + 13] == 6 && in[10 + 21] == 2,
	      "an ARP reply behind a header of 10 bytes");
	check(in[10 + 28] == 10 && in[10 + 31] == 2, "from the gateway");
}

/* Rings that make no sense break the device, not the launcher, and a reset mends it. */
static void run_abuse(void)
{
	struct device d;
	struct queue *q = &d.q[0];

	begin();
	find(&d, 0);
	probe(&d, false);
	q->desc[0].addr = 0xfffffff0;
	q->desc[0].len = 4096;
	q->desc[0].flags = 0;
	offer(q, 0);
	check(q->used->idx == 0, "an address outside of memory: no answer");
	probe(&d, false);
	look_at(&d, d.desc);
	use_block(&d);

	probe(&d, false);
	look_at(&d, d.desc);
	put(q, 0, &header, sizeof(header), VRING_DESC_F_NEXT);
	q->desc[0].next = 0;
	offer(q, 0);
	check(q->used->idx == 0, "a loop: no answer");
	probe(&d, false);
	look_at(&d, d.desc);
	q->avail->idx = 0x8000;
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
	check(q->used->idx == 0, "an absurd index: no answer");
	probe(&d, false);
	look_at(&d, d.desc);
	use_block(&d);
	/* The page belongs to the guest, who may write nonsense into it; the host does not believe it. */
	for (unsigned i = 0; i < LG_DESC_HEAD + LG_VQCONFIG; i++)
		if (i != LG_DESC_STATUS)
			d.desc[i] = 0xff;
	use_block(&d);
	set_status(&d, 0x80, true);
	check(true, "a driver that gives up");
}

/* The disk counts how often the guest has been started: twice. */
static void run_reboot(void)
{
	struct device d;

	begin();
	find(&d, 0);
	probe(&d, false);
	check_equal(block_request(&d, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK, "read the count");
	if (sector[0]++ == 0) {
		check_equal(block_request(&d, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK, "write the count");
		hypercall(LG_SHUTDOWN, 0x40000000, LG_SHUTDOWN_RESTART, 0, 0);
	}
	check_equal(sector[0], 2, "the second start");
	check(lguest_data.call[0][0] == 0, "memory is clean");
}

const struct scenario devices[] = {
	{ "list", run_list }, { "block", run_block }, { "rng", run_rng },       { "console", run_console },
	{ "net", run_net },   { "abuse", run_abuse }, { "reboot", run_reboot }, { NULL, NULL },
};
