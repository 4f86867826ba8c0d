/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices again: both eras of drivers for all of them, what rings can do besides
 * the plain, several interrupts at once, and a device area full of nonsense.
 */
#include "driver.h"

#define USED_EVENT(q)  ((q)->avail->ring[(q)->size])
#define AVAIL_EVENT(q) (*(volatile uint16_t *)(addr((q)->used) + 4 + 8 * (q)->size))

/* An ARP request of 10.0.2.15 for 10.0.2.2, from the MAC address of run.py. */
static uint8_t arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x12, 0x34, 0x56, 0x78, 0x56, 8,    6,
			   0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x12, 0x34, 0x56, 0x78, 0x56,
			   10,   0,    2,    15,   0,    0,    0,    0,    0,    0,    10,   0,    2,    2 };
static uint8_t packet[12 + sizeof(arp)], bytes[64], in[2048];

/* Sends the request behind a header of @len bytes. */
static void send_arp(struct device *d, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		packet[i] = 0;
	for (unsigned i = 0; i < sizeof(arp); i++)
		packet[len + i] = arp[i];
	put(&d->q[1], 0, packet, len + sizeof(arp), 0);
	offer(&d->q[1], 0);
}

static void clear_sector(void)
{
	for (unsigned i = 0; i < sizeof(sector); i++)
		sector[i] = 0;
}

/* Puts up a read of sector 3, which is all zero, with descriptors from @first on, and notifies unless told not to. */
static void offer_read(struct queue *q, unsigned first)
{
	header.type = VIRTIO_BLK_T_IN;
	header.sector = 3;
	outcome = 0xff;
	put(q, first, &header, sizeof(header), VRING_DESC_F_NEXT);
	put(q, first + 1, sector, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
	put(q, first + 2, &outcome, 1, VRING_DESC_F_WRITE);
	publish(q, (uint16_t)first);
}

/* Without sleeping, so that no interrupt is needed. */
static bool spin_used(struct queue *q)
{
	uint64_t end = tsc() + (uint64_t)lguest_data.tsc_khz * 2000;

	while (q->used->idx == q->seen && tsc() < end)
		;
	if (q->used->idx == q->seen)
		return false;
	q->seen++;
	return true;
}

static void pause_ms(uint32_t ms)
{
	uint64_t end = tsc() + (uint64_t)lguest_data.tsc_khz * ms;

	while (tsc() < end)
		;
}

/* ---- eras ---- */

/* A driver of 2.6.3x tells each status: 0, 1, 3, and 7 when it has its device, which is before or after the first request. */
static void run_old_era(void)
{
	struct device d;

	begin();
	for (unsigned late = 0; late < 2; late++) {
		find(&d, RNG);
		probe(&d, true, 0);
		if (!late)
			probed(&d, true);
		put(&d.q[0], 0, bytes, sizeof(bytes), VRING_DESC_F_WRITE);
		offer(&d.q[0], 0);
		check(wait_used(&d.q[0]), "rng: an answer");
		if (late)
			probed(&d, true);
		offer(&d.q[0], 0);
		check(wait_used(&d.q[0]), "rng: another one");
		check_equal(d.q[0].used->idx, 2, "rng: two in all, nothing began anew at 7");

		find(&d, NET);
		probe(&d, true, 0);
		if (!late)
			probed(&d, true);
		put(&d.q[0], 0, in, sizeof(in), VRING_DESC_F_WRITE);
		offer(&d.q[0], 0);
		send_arp(&d, 10);
		check(wait_used(&d.q[1]), "net: a packet left");
		check(wait_used(&d.q[0]), "net: and one came");
		if (late)
			probed(&d, true);
		offer(&d.q[0], 0);
		send_arp(&d, 10);
		check(wait_used(&d.q[0]) && wait_used(&d.q[1]), "net: once more");

		find(&d, CONSOLE);
		probe(&d, true, 0);
		if (!late)
			probed(&d, true);
		put(&d.q[1], 0, "ok - by the console\n", 20, 0);
		offer(&d.q[1], 0);
		check(wait_used(&d.q[1]), "console: output returned");
		if (late)
			probed(&d, true);
		offer(&d.q[1], 0);
		check(wait_used(&d.q[1]), "console: once more");
	}
	/* Typed input, at last. */
	put(&d.q[0], 0, in, sizeof(in), VRING_DESC_F_WRITE);
	offer(&d.q[0], 0);
	check(wait_used(&d.q[0]) && in[0] == 'h' && in[1] == 'i', "console: input came");
}

/* The 3.12 launcher took a queue's NOTIFY before features were final for fatal. Here it starts the device. */
static void run_early_notify(void)
{
	struct device d;

	begin();
	for (unsigned n = BLOCK; n <= CONSOLE; n++) {
		find(&d, n);
		for (unsigned q = 0; q < d.queues; q++)
			hypercall(LG_NOTIFY, d.q[q].ring, 0, 0, 0);
	}
	find(&d, BLOCK);
	check_equal(block_request(&d, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "and it works");
}

/* ---- rings ---- */

static void run_no_interrupt(void)
{
	struct device d;
	struct queue *q = &d.q[0];

	begin();
	find(&d, BLOCK);
	probe(&d, false, 0);
	irqs = 0;
	q->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	offer_read(q, 0);
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
	check(spin_used(q), "a request without interrupt");
	pause_ms(20);
	check_equal(irqs, 0, "none came");
	q->avail->flags = 0;
	offer_read(q, 0);
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
	check(spin_used(q), "a request with one");
	pause_ms(20);
	check_equal(irqs, 1u << q->irq, "it came");
}

/* Feature 29 (virtio 0.9.5, 2.4.7): an interrupt when the used index passes what the guest has named. */
static void run_event_index(void)
{
	struct device d;
	struct queue *q = &d.q[0];

	begin();
	find(&d, BLOCK);
	check(features(&d)[3] >> (VIRTIO_RING_F_EVENT_IDX - 24) & 1, "offered");
	probe(&d, false, 1u << VIRTIO_RING_F_EVENT_IDX);
	irqs = 0;
	/* The flag does not count any more. */
	q->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	USED_EVENT(q) = 2;
	for (unsigned i = 0; i < 4; i++) {
		offer_read(q, 3 * i);
		hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
		check(spin_used(q), "a request");
		pause_ms(20);
		check_equal(irqs, i < 2 ? 0 : 1u << q->irq, i == 2 ? "now an interrupt" : "no more of them");
		check_equal(AVAIL_EVENT(q), q->avail->idx, "the device wants to hear of the next");
		if (i == 2)
			USED_EVENT(q) = 10;
	}
}

static void run_indirect(void)
{
	static struct vring_desc table[3];
	struct device d;
	struct queue *q = &d.q[0];

	begin();
	find(&d, BLOCK);
	check(features(&d)[3] >> (VIRTIO_RING_F_INDIRECT_DESC - 24) & 1, "offered");
	for (unsigned accepted = 2; accepted-- > 0;) {
		look_at(&d, d.desc);
		probe(&d, false, accepted << VIRTIO_RING_F_INDIRECT_DESC);
		for (unsigned i = 0; i < sizeof(sector); i++)
			sector[i] = 0xee;
		offer_read(q, 0);
		for (unsigned i = 0; i < 3; i++) {
			table[i].addr = q->desc[i].addr;
			table[i].len = q->desc[i].len;
			table[i].flags = q->desc[i].flags;
			table[i].next = q->desc[i].next;
		}
		put(q, 0, table, sizeof(table), VRING_DESC_F_INDIRECT);
		hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
		if (accepted) {
			check(wait_used(q) && outcome == VIRTIO_BLK_S_OK, "a request in a table");
			check_equal(sector[511], 0, "... has read");
		} else {
			pause_ms(20);
			check_equal(q->used->idx, 0, "not without having accepted the feature");
		}
	}
}

/* Buffers of 20 bytes: the reply of at least 42 and its header of 12 take three or more. */
static void run_mergeable(void)
{
	struct device d;
	struct queue *q = &d.q[0];
	unsigned total = 0;

	begin();
	find(&d, NET);
	check(features(&d)[1] >> (VIRTIO_NET_F_MRG_RXBUF - 8) & 1, "offered");
	probe(&d, false, 1u << VIRTIO_NET_F_MRG_RXBUF);
	for (unsigned i = 0; i < 8; i++) {
		put(q, i, in + 20 * i, 20, VRING_DESC_F_WRITE);
		publish(q, (uint16_t)i);
	}
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
	send_arp(&d, 12);
	check(wait_used(q), "a packet came");
	check(q->used->idx >= 3, "in three buffers or more");
	check_equal(get16(in + 10), q->used->idx, "the header says so");
	for (unsigned i = 0; i < q->used->idx; i++)
		total += q->used->ring[i].len;
	check(total >= 54 && total <= 20u * q->used->idx && total > 20u * (q->used->idx - 1u), "all of it");
	check(in[12 + 12] == 8 && in[12 + 13] == 6 && in[12 + 21] == 2, "an ARP reply");
}

/* A NOTIFY of a ring that waits in the ring of hypercalls. */
static void run_ring_notify(void)
{
	struct device d;
	struct queue *q = &d.q[0];
	unsigned before;

	begin();
	find(&d, BLOCK);
	probe(&d, false, 0);
	offer_read(q, 0);
	lguest_data.call[0][0] = LG_NOTIFY;
	lguest_data.call[0][1] = q->ring;
	lguest_data.call[1][0] = LG_SET_CLOCKEVENT;
	lguest_data.call[1][1] = 1000;
	lguest_data.status[0] = lguest_data.status[1] = 0;
	pause_ms(5);
	/* check() is a hypercall, too. */
	before = q->used->idx;
	irqs = 0;
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
	check_equal(before, 0, "waiting in the ring it does nothing");
	check(spin_used(q), "then it is done");
	check_equal(outcome, VIRTIO_BLK_S_OK, "... well");
	pause_ms(20);
	check_equal(irqs, 1u << q->irq | 1, "so is what came behind it");
	check_equal(q->used->idx, 1, "once");
}

/* ---- a driver that gives up ---- */

static void run_failed(void)
{
	struct device d;
	struct queue *q = &d.q[0];

	begin();
	find(&d, BLOCK);
	for (unsigned used = 0; used < 2; used++) {
		probe(&d, false, 0);
		look_at(&d, d.desc);
		if (used)
			check_equal(block_request(&d, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "it works");
		set_status(&d, FAILED, true);
		offer_read(q, 0);
		hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
		pause_ms(20);
		check_equal(outcome, 0xff, "behind FAILED there are no answers");
		set_status(&d, FAILED | ACKNOWLEDGE | DRIVER | DRIVER_OK, true);
		hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
		pause_ms(20);
		check_equal(outcome, 0xff, "not with DRIVER_OK either");
	}
	probe(&d, false, 0);
	look_at(&d, d.desc);
	check_equal(block_request(&d, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "a reset mends it");
	/* What was accepted is forgotten: the device works without event indices, by the flags. */
	probe(&d, false, 1u << VIRTIO_RING_F_EVENT_IDX);
	set_status(&d, 0, true);
	check_equal(features(&d)[d.feature_len + 3], 0, "a reset clears the accepted features");
}

/* ---- several interrupts ---- */

static uint8_t order[8];
static volatile unsigned interrupts_seen;

static void note_order(struct frame *f)
{
	if (f->vector >= LG_IRQ_VECTOR && interrupts_seen < sizeof(order))
		order[interrupts_seen++] = (uint8_t)(f->vector - LG_IRQ_VECTOR);
}

/* Timer, block (1), rng (2), net (3 and 4), all pending while interrupts are off. */
static void raise_all(void)
{
	struct device b, r, n;

	lguest_data.irq_enabled = 0;
	interrupts_seen = 0;
	find(&n, NET);
	probe(&n, false, 0);
	put(&n.q[0], 0, in, sizeof(in), VRING_DESC_F_WRITE);
	offer(&n.q[0], 0);
	send_arp(&n, 10);
	check(spin_used(&n.q[1]) && spin_used(&n.q[0]), "net is ready");
	find(&r, RNG);
	probe(&r, false, 0);
	put(&r.q[0], 0, bytes, sizeof(bytes), VRING_DESC_F_WRITE);
	offer(&r.q[0], 0);
	check(spin_used(&r.q[0]), "rng is ready");
	find(&b, BLOCK);
	probe(&b, false, 0);
	offer_read(&b.q[0], 0);
	hypercall(LG_NOTIFY, b.q[0].ring, 0, 0, 0);
	check(spin_used(&b.q[0]), "block is ready");
	arm(1000);
	pause_ms(20);
	check_equal(interrupts_seen, 0, "nothing comes while interrupts are off");
}

static bool order_is(const uint8_t *want, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (order[i] != want[i])
			return false;
	return interrupts_seen == n;
}

static void run_lowest_first(void)
{
	static const uint8_t all[] = { 0, 1, 2, 3, 4 }, without_two[] = { 0, 1, 3, 4, 2 };

	begin();
	handler = note_order;
	raise_all();
	check_equal(lguest_data.irq_pending, LG_IRQ_ON, "the host wants to be called");
	lguest_data.irq_enabled = LG_IRQ_ON;
	hypercall(LG_SEND_INTERRUPTS, 0, 0, 0, 0);
	pause_ms(50);
	check(order_is(all, 5), "the lowest number first");
	check_equal(lguest_data.irq_pending, 0, "then there is nothing to call for");

	raise_all();
	lguest_data.blocked = 1u << 2;
	lguest_data.irq_enabled = LG_IRQ_ON;
	hypercall(LG_SEND_INTERRUPTS, 0, 0, 0, 0);
	pause_ms(50);
	check_equal(interrupts_seen, 4, "all but the blocked one");
	lguest_data.blocked = 0;
	pause_ms(50);
	check(order_is(without_two, 5), "which comes when it is unblocked");

	/* A handler that does not return at once has to call for the next one. */
	raise_all();
	lguest_data.irq_enabled = LG_IRQ_ON;
	hypercall(LG_HALT, 0, 0, 0, 0);
	pause_ms(50);
	check(order_is(all, 5), "HALT ends at once, and the order is the same");
}

/* ---- abuse ---- */

/* All of the area, all ones: each device breaks, and after a reset of each all is well. */
static void run_device_area(void)
{
	struct device d[4];

	begin();
	for (unsigned n = BLOCK; n <= CONSOLE; n++)
		find(&d[n], n);
	for (volatile uint32_t *p = (volatile uint32_t *)RAM;
	     p < (volatile uint32_t *)(RAM + LG_DEVICE_PAGES * 4096u); p++)
		*p = 0xffffffff;
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned n = BLOCK; n <= CONSOLE; n++) {
			set_status(&d[n], turn ? 0xff : ACKNOWLEDGE | DRIVER | DRIVER_OK, true);
			for (unsigned q = 0; q < d[n].queues; q++)
				hypercall(LG_NOTIFY, d[n].q[q].ring, 0, 0, 0);
		}
	}
	check(true, "still there");
	for (unsigned n = BLOCK; n <= CONSOLE; n++)
		set_status(&d[n], 0, true);
	clear_sector();
	/* The list is the guest's memory, and stays as the guest has left it: the driver knows what was there. */
	check_equal(d[BLOCK].q[0].used->idx, 0, "a reset clears the rings");
	check_equal(block_request(&d[BLOCK], VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK, "block works");
	put(&d[RNG].q[0], 0, bytes, sizeof(bytes), VRING_DESC_F_WRITE);
	offer(&d[RNG].q[0], 0);
	check(wait_used(&d[RNG].q[0]), "rng works");
	put(&d[CONSOLE].q[1], 0, "ok - console works\n", 19, 0);
	offer(&d[CONSOLE].q[1], 0);
	check(wait_used(&d[CONSOLE].q[1]), "console returned it");
	put(&d[NET].q[0], 0, in, sizeof(in), VRING_DESC_F_WRITE);
	offer(&d[NET].q[0], 0);
	send_arp(&d[NET], 10);
	check(wait_used(&d[NET].q[0]), "net works");
}

/* The page data where the devices are listed: a guest may be as foolish as it likes. */
static void run_data_on_list(void)
{
	uint32_t *words = (uint32_t *)(RAM + LG_DATA_RESERVE_MEM);
	volatile uint8_t *state = (volatile uint8_t *)(RAM + LG_DATA_HCALL_STATUS);

	for (unsigned i = 0; i < LG_RING; i++)
		state[i] = LG_HCALL_DONE;
	words[2] = words[3] = 0;
	words[4] = KERNEL;
	words[5] = LG_SYSCALL;
	hypercall(LG_INIT, RAM, 0, 0, 0);
	check_equal(words[0], LG_RESERVE_MEM, "the host has written there");
	hypercall(LG_NOTIFY, RAM, 0, 0, 0);
	check(true, "still there");
}

const struct scenario queues[] = {
	{ "old-era", run_old_era },           { "early-notify", run_early_notify },
	{ "no-interrupt", run_no_interrupt }, { "event-index", run_event_index },
	{ "indirect", run_indirect },         { "mergeable", run_mergeable },
	{ "ring-notify", run_ring_notify },   { "failed", run_failed },
	{ "lowest-first", run_lowest_first }, { "device-area", run_device_area },
	{ "data-on-list", run_data_on_list }, { NULL, NULL },
};
