/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device page and what is on it: all four devices, good drivers and one that
 * breaks the rules. run.py gives --block --rng --net=user.
 */
#include "driver.h"

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
	static const uint8_t rings[] = { 1, 1, 2, 2 };
	struct device d;
	unsigned irq = 1;
	uint32_t ring = RAM + 4096;

	begin();
	for (unsigned i = 0; i < sizeof(types); i++) {
		check(find(&d, i), "a device");
		check_equal(d.desc[LG_DESC_TYPE], types[i], "in command-line order, the console last");
		check_equal(d.queues, rings[i], "number of queues");
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
	probe(&d, false, 0);
	use_block(&d);
	probed(&d, false);
	/* Reset, and all over again as a guest of the other era. */
	probe(&d, true, 0);
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
	probe(&d, false, 0);
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
	probe(&d, false, 0);
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
	probe(&d, false, 0);
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
	probe(&d, false, 0);
	q->desc[0].addr = 0xfffffff0;
	q->desc[0].len = 4096;
	q->desc[0].flags = 0;
	offer(q, 0);
	check(q->used->idx == 0, "an address outside of memory: no answer");
	probe(&d, false, 0);
	look_at(&d, d.desc);
	use_block(&d);

	probe(&d, false, 0);
	look_at(&d, d.desc);
	put(q, 0, &header, sizeof(header), VRING_DESC_F_NEXT);
	q->desc[0].next = 0;
	offer(q, 0);
	check(q->used->idx == 0, "a loop: no answer");
	probe(&d, false, 0);
	look_at(&d, d.desc);
	q->avail->idx = 0x8000;
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
	check(q->used->idx == 0, "an absurd index: no answer");
	probe(&d, false, 0);
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
	struct device d, net;

	begin();
	find(&d, 0);
	probe(&d, false, 0);
	check_equal(block_request(&d, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK, "read the count");
	if (sector[0]++ == 0) {
		find(&net, NET);
		for (unsigned i = 0; i < 6; i++)
			sector[1 + i] = features(&net)[2 * net.feature_len + i];
		check_equal(block_request(&d, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK, "write the count");
		hypercall(LG_SHUTDOWN, 0x40000000, LG_SHUTDOWN_RESTART, 0, 0);
	}
	check_equal(sector[0], 2, "the second start");
	find(&net, NET);
	for (unsigned i = 0; i < 6; i++)
		check_equal(features(&net)[2 * net.feature_len + i], sector[1 + i],
			    "the MAC address is the same");
	check(sector[1] || sector[6], "there was one");
	check(lguest_data.call[0][0] == 0, "memory is clean");
}

const struct scenario devices[] = {
	{ "list", run_list }, { "block", run_block }, { "rng", run_rng },       { "console", run_console },
	{ "net", run_net },   { "abuse", run_abuse }, { "reboot", run_reboot }, { NULL, NULL },
};
