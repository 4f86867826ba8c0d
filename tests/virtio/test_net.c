/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network card on a network that the test plays: what is sent, what is
 * received into buffers of all shapes, what the control queue sets, and a guest
 * that is too slow, too small, or hostile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "driver.h"
#include "virtio/net.h"

#define BIT(feature) (1ull << (feature))
#define FRAMES       600
#define ALL_OFFLOADS                                                                          \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
	 BIT(VIRTIO_NET_F_HOST_ECN) | NET_RX_OFFLOADS)

struct frame {
	struct virtio_net_hdr hdr;
	size_t len;
	uint8_t *data;
};

/* The network. One test at a time. */
struct fake {
	struct network net;
	struct network_user user;
	struct frame sent[FRAMES], waiting[FRAMES];
	unsigned sents, waitings, taken;
	bool started, want_read, full, woken;
	unsigned flushes, dones;
	uint64_t features;
};

static struct fake fake;

static int fake_send(struct network *net, const struct iovec *iov, unsigned count, size_t len)
{
	struct frame *f = &fake.sent[fake.sents];

	if (fake.full)
		return -EAGAIN;
	assert_true(fake.sents < FRAMES);
	assert_int_equal(iov[0].iov_len, sizeof(f->hdr));
	memcpy(&f->hdr, iov[0].iov_base, sizeof(f->hdr));
	f->data = malloc(len);
	f->len = iov_read(iov + 1, count - 1, 0, f->data, len);
	assert_int_equal(f->len, len);
	fake.sents++;
	return 0;
}

static size_t fake_receive(struct network *net, const struct iovec *iov, unsigned count)
{
	struct frame *f = &fake.waiting[fake.taken];

	if (fake.taken == fake.waitings)
		return 0;
	assert_int_equal(iov[0].iov_len, sizeof(f->hdr));
	memcpy(iov[0].iov_base, &f->hdr, sizeof(f->hdr));
	iov_write(iov + 1, count - 1, 0, f->data, f->len);
	fake.taken++;
	return f->len;
}

static void fake_start(struct network *net, uint64_t features)
{
	fake.started = fake.want_read = true;
	fake.features = features;
}

static void fake_set_offloads(struct network *net, uint64_t features)
{
	fake.features = features;
}

static void fake_stop(struct network *net)
{
	fake.started = false;
}

static void fake_flush(struct network *net)
{
	fake.flushes++;
}

static void fake_want_read(struct network *net, bool want)
{
	fake.want_read = want;
}

static void fake_wake(struct network *net)
{
	fake.woken = true;
}

static void fake_destroy(struct network *net)
{
}

static const struct network_ops fake_ops = {
	.start = fake_start,
	.set_offloads = fake_set_offloads,
	.stop = fake_stop,
	.send = fake_send,
	.flush = fake_flush,
	.receive = fake_receive,
	.want_read = fake_want_read,
	.wake = fake_wake,
	.destroy = fake_destroy,
};

static struct network *fake_open(const struct net_config *cfg, struct eventloop *loop,
				 const struct network_user *user, char *err, size_t errlen)
{
	fake = (struct fake){ .net = { .ops = &fake_ops, .features = ALL_OFFLOADS, .mtu = 1400 },
			      .user = *user };
	snprintf(fake.net.identity, sizeof(fake.net.identity), "fake");
	return &fake.net;
}

/* ---- fixture ---- */

static struct driver d;
static const uint8_t our_mac[6] = { 2, 1, 2, 3, 4, 5 };

static struct virtio_net *card(void)
{
	return (struct virtio_net *)d.dev;
}

static void begin(uint64_t without)
{
	struct net_config cfg = { .kind = NET_USER, .has_mac = true };
	struct virtio_device *dev;
	char err[100];

	memcpy(cfg.mac, our_mac, 6);
	driver_init(&d, 16 << 20);
	dev = net_create(&cfg, 0, &d.env, fake_open, err, sizeof(err));
	assert_non_null(dev);
	assert_true(driver_start(&d, dev, without));
	assert_true(fake.started);
}

static void end(void)
{
	driver_destroy(&d);
	for (unsigned i = 0; i < fake.sents; i++)
		free(fake.sent[i].data);
	for (unsigned i = 0; i < fake.waitings; i++)
		free(fake.waiting[i].data);
}

/* A frame to our address, its bytes a function of @seed. */
static void incoming(size_t len, uint8_t seed)
{
	struct frame *f = &fake.waiting[fake.waitings++];

	assert_true(fake.waitings < FRAMES);
	f->data = malloc(len);
	f->len = len;
	f->hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	for (size_t i = 0; i < len; i++)
		f->data[i] = (uint8_t)(seed + i * 7 + (i >> 8));
	memcpy(f->data, our_mac, len < 6 ? len : 6);
}

static void readable(void)
{
	virtio_lock(d.dev);
	if (fake.want_read)
		fake.user.readable(fake.user.opaque);
	fake.user.done(fake.user.opaque);
	virtio_unlock(d.dev);
}

/* One buffer of @len bytes, given without a word to the device; its address. */
static uint64_t give(uint32_t len)
{
	uint64_t at = driver_alloc(&d, len, 1);

	assert_true(driver_add(&d.q[NET_RX], (struct driver_buf[]){ { at, len, true } }, 1) >= 0);
	return at;
}

/* Puts a frame of @len behind @hdr into RAM and sends it. */
static void outgoing(const struct virtio_net_hdr *hdr, unsigned header, size_t len, uint8_t seed)
{
	uint64_t at = driver_alloc(&d, header + len, 1);
	uint8_t *p = driver_ptr(&d, at, header + len);

	memcpy(p, hdr, sizeof(*hdr));
	for (size_t i = 0; i < len; i++)
		p[header + i] = (uint8_t)(seed + i);
	assert_true(driver_add(&d.q[NET_TX], (struct driver_buf[]){ { at, (uint32_t)(header + len), false } },
			       1) >= 0);
}

/* One command; the answer. @len: bytes of arguments */
static int command(uint8_t class, uint8_t cmd, const void *args, uint32_t len)
{
	uint64_t at = driver_alloc(&d, 2 + len + 1, 1);
	uint8_t *p = driver_ptr(&d, at, 2 + len + 1);

	p[0] = class;
	p[1] = cmd;
	if (len)
		memcpy(p + 2, args, len);
	p[2 + len] = 0xaa;
	driver_add(
		&d.q[NET_CTRL],
		(struct driver_buf[]){ { at, 2, false }, { at + 2, len, false }, { at + 2 + len, 1, true } },
		3);
	virtio_notify(d.dev, NET_CTRL);
	assert_true(driver_get_used(&d.q[NET_CTRL], NULL, NULL));
	return p[2 + len];
}

/* ---- what it offers ---- */

static void test_config(void **state)
{
	begin(0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(virtio_config_read(d.dev, i, 1), our_mac[i]);
	assert_int_equal(virtio_config_read(d.dev, offsetof(struct virtio_net_config, status), 2),
			 VIRTIO_NET_S_LINK_UP);
	assert_int_equal(virtio_config_read(d.dev, offsetof(struct virtio_net_config, mtu), 2), 1400);
	assert_true(d.dev->device_features & BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_true(fake.features & BIT(VIRTIO_NET_F_GUEST_TSO4));
	/* No driver of version 1 changes it (5.1.4.2). */
	virtio_config_write(d.dev, 0, 1, 0x77);
	assert_memory_equal(card()->s.mac, our_mac, 6);
	assert_int_equal(virtio_config_read(d.dev, 0, 1), our_mac[0]);
	end();
}

static void test_lost(void **state)
{
	begin(0);
	assert_int_equal(d.config_changes, 0);
	virtio_lock(d.dev);
	fake.user.lost(fake.user.opaque);
	virtio_unlock(d.dev);
	assert_int_equal(d.config_changes, 1);
	assert_int_equal(virtio_config_read(d.dev, offsetof(struct virtio_net_config, status), 2), 0);
	assert_true(driver_start(&d, d.dev, 0));
	assert_int_equal(virtio_config_read(d.dev, offsetof(struct virtio_net_config, status), 2), 0);
	end();
}

static void test_default_mac(void **state)
{
	struct network one = { .identity = "192.168.1.1" }, two = { .identity = "192.168.1.2" };
	uint8_t a[6], b[6];

	network_default_mac(&one, 0, a);
	network_default_mac(&one, 0, b);
	assert_memory_equal(a, b, 6);
	assert_int_equal(a[0] & 3, 2);
	network_default_mac(&one, 1, b);
	assert_memory_not_equal(a, b, 6);
	network_default_mac(&two, 0, b);
	assert_memory_not_equal(a, b, 6);
}

static void check_received(const struct frame *f, const uint64_t *at, unsigned buffers, unsigned header);

/* ---- sending ---- */

static void test_send(void **state)
{
	const struct virtio_net_hdr plain = { 0 };
	uint64_t at;
	uint8_t *p;

	begin(0);
	outgoing(&plain, 12, 60, 1);
	/* Header and frame in pieces that do not end where they do. */
	at = driver_alloc(&d, 100, 1);
	p = driver_ptr(&d, at, 100);
	for (unsigned i = 12; i < 100; i++)
		p[i] = (uint8_t)i;
	driver_add(&d.q[NET_TX],
		   (struct driver_buf[]){ { at, 5, false }, { at + 5, 8, false }, { at + 13, 87, false } },
		   3);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 2);
	assert_int_equal(fake.sent[0].len, 60);
	assert_int_equal(fake.sent[0].data[59], 60);
	assert_int_equal(fake.sent[1].len, 88);
	assert_memory_equal(fake.sent[1].data, p + 12, 88);
	assert_int_equal(fake.flushes, 1);
	assert_true(driver_get_used(&d.q[NET_TX], NULL, NULL));
	assert_true(driver_get_used(&d.q[NET_TX], NULL, NULL));
	assert_int_equal(card()->stats.tx_packets, 2);
	end();
}

/* A driver from before version 1 (the lguest bus will bring some): no FEATURES_OK, a shorter header. */
static void test_legacy(void **state)
{
	const struct virtio_net_hdr plain = { 0 };
	struct net_config cfg = { .kind = NET_USER };
	uint64_t at;
	char err[100];

	driver_init(&d, 16 << 20);
	d.dev = net_create(&cfg, 0, &d.env, fake_open, err, sizeof(err));
	driver_negotiate(&d, d.dev, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF));
	for (unsigned i = 0; i < 3; i++)
		driver_setup_queue(&d, i, 256);
	virtio_set_status(d.dev, VIRTIO_CONFIG_S_DRIVER_OK | 3, true);
	assert_true(d.dev->running);
	outgoing(&plain, 10, 60, 9);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 1);
	assert_int_equal(fake.sent[0].len, 60);
	assert_int_equal(fake.sent[0].data[0], 9);
	at = give(1524);
	incoming(1514, 3);
	readable();
	check_received(&fake.waiting[0], &at, 1, 10);
	virtio_config_write(d.dev, 5, 1, 0x77);
	assert_int_equal(card()->s.mac[5], 0x77);
	assert_int_equal(virtio_config_read(d.dev, 5, 1), 0x77);
	virtio_config_write(d.dev, 6, 1, 0x77);
	assert_int_equal(virtio_config_read(d.dev, 6, 1), VIRTIO_NET_S_LINK_UP);
	virtio_reset(d.dev);
	assert_int_not_equal(virtio_config_read(d.dev, 5, 1), 0x77);
	end();
}

/* Each is lost and counted, returned to the guest, and the next good one goes out. */
static void test_bad_headers(void **state)
{
	const uint8_t csum = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	const struct virtio_net_hdr bad[] = {
		{ .flags = csum, .csum_start = 60 },
		{ .flags = csum, .csum_start = 40, .csum_offset = 19 },
		{ .flags = csum, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 20 },
		{ .flags = csum, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .flags = csum, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 20, .hdr_len = 61 },
		{ .flags = csum, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 20 },
		{ .flags = csum, .gso_type = 0x7f, .gso_size = 20 },
		{ .flags = csum, .gso_type = VIRTIO_NET_HDR_GSO_ECN, .gso_size = 20 },
	};
	const struct virtio_net_hdr good[] = {
		{ .flags = csum, .csum_start = 40, .csum_offset = 18 },
		{ .flags = csum,
		  .gso_type = VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN,
		  .gso_size = 20,
		  .hdr_len = 60 },
		{ .csum_start = 999 },
	};
	const unsigned bads = sizeof(bad) / sizeof(bad[0]), goods = sizeof(good) / sizeof(good[0]);

	begin(0);
	for (unsigned i = 0; i < bads; i++)
		outgoing(&bad[i], 12, 60, 0);
	for (unsigned i = 0; i < goods; i++)
		outgoing(&good[i], 12, 60, 0);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, goods);
	assert_int_equal(card()->stats.tx_bad, bads);
	for (unsigned i = 0; i < bads + goods; i++)
		assert_true(driver_get_used(&d.q[NET_TX], NULL, NULL));
	assert_true(d.dev->running);
	end();
}

static void test_features_count(void **state)
{
	const struct virtio_net_hdr tso = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					    .gso_size = 20 };
	const struct virtio_net_hdr csum = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 10 };

	begin(BIT(VIRTIO_NET_F_HOST_TSO4));
	outgoing(&tso, 12, 60, 0);
	outgoing(&csum, 12, 60, 0);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 1);
	end();
	begin(BIT(VIRTIO_NET_F_CSUM));
	outgoing(&csum, 12, 60, 0);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 0);
	end();
}

static void test_send_lengths(void **state)
{
	const struct virtio_net_hdr plain = { 0 };

	begin(0);
	outgoing(&plain, 12, 13, 0);
	outgoing(&plain, 12, 14, 0);
	outgoing(&plain, 12, NETWORK_FRAME_MAX, 0);
	outgoing(&plain, 12, NETWORK_FRAME_MAX + 1, 0);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 2);
	assert_int_equal(fake.sent[1].len, NETWORK_FRAME_MAX);
	assert_int_equal(card()->stats.tx_bad, 2);
	end();
}

/* A full network: nothing is lost, nothing overtakes, no notification is asked for. */
static void test_blocked(void **state)
{
	const struct virtio_net_hdr plain = { 0 };
	uint16_t before;

	begin(0);
	outgoing(&plain, 12, 60, 1);
	virtio_notify(d.dev, NET_TX);
	fake.full = true;
	outgoing(&plain, 12, 60, 2);
	outgoing(&plain, 12, 60, 3);
	virtio_notify(d.dev, NET_TX);
	before = d.q[NET_TX].avail_idx;
	outgoing(&plain, 12, 60, 4);
	assert_false(driver_must_notify(&d.q[NET_TX], before));
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 1);
	assert_true(driver_get_used(&d.q[NET_TX], NULL, NULL));
	assert_false(driver_get_used(&d.q[NET_TX], NULL, NULL));

	fake.full = false;
	virtio_lock(d.dev);
	fake.user.writable(fake.user.opaque);
	virtio_unlock(d.dev);
	assert_int_equal(fake.sents, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(fake.sent[i].data[0], i + 1);
	before = d.q[NET_TX].avail_idx;
	outgoing(&plain, 12, 60, 5);
	assert_true(driver_must_notify(&d.q[NET_TX], before));
	end();
}

static void test_reset_while_blocked(void **state)
{
	const struct virtio_net_hdr plain = { 0 };

	begin(0);
	fake.full = true;
	outgoing(&plain, 12, 60, 1);
	virtio_notify(d.dev, NET_TX);
	virtio_reset(d.dev);
	assert_false(fake.started);
	virtio_lock(d.dev);
	fake.user.writable(fake.user.opaque);
	fake.user.readable(fake.user.opaque);
	virtio_unlock(d.dev);
	fake.full = false;
	assert_true(driver_start(&d, d.dev, 0));
	outgoing(&plain, 12, 60, 7);
	virtio_notify(d.dev, NET_TX);
	assert_int_equal(fake.sents, 1);
	assert_int_equal(fake.sent[0].data[0], 7);
	end();
}

/* ---- receiving ---- */

/* The next used buffers hold @f; @buffers is how many it took. */
static void check_received(const struct frame *f, const uint64_t *at, unsigned buffers, unsigned header)
{
	struct virtio_net_hdr_mrg_rxbuf *hdr = driver_ptr(&d, at[0], header);
	size_t done = 0;
	uint32_t len;

	assert_int_equal(hdr->hdr.flags, f->hdr.flags);
	if (header == 12)
		assert_int_equal(hdr->num_buffers, buffers);
	for (unsigned i = 0; i < buffers; i++) {
		unsigned skip_bytes = i ? 0 : header;

		assert_true(driver_get_used(&d.q[NET_RX], NULL, &len));
		assert_memory_equal((uint8_t *)driver_ptr(&d, at[i], len) + skip_bytes, f->data + done,
				    len - skip_bytes);
		done += len - skip_bytes;
	}
	assert_int_equal(done, f->len);
}

static void test_receive(void **state)
{
	uint64_t at[8];

	begin(0);
	for (unsigned i = 0; i < 8; i++)
		at[i] = give(1536);
	virtio_notify(d.dev, NET_RX);
	incoming(60, 1);
	incoming(1514, 2);
	incoming(5000, 3);
	readable();
	check_received(&fake.waiting[0], at, 1, 12);
	check_received(&fake.waiting[1], at + 1, 1, 12);
	check_received(&fake.waiting[2], at + 2, 4, 12);
	assert_int_equal(d.interrupts[NET_RX], 1);
	assert_false(driver_get_used(&d.q[NET_RX], NULL, NULL));
	/* What was looked at and not used is still there. */
	incoming(100, 4);
	readable();
	check_received(&fake.waiting[3], at + 6, 1, 12);
	end();
}

/* Buffers in pieces of all sizes, the header across some of them. */
static void test_receive_pieces(void **state)
{
	uint64_t at;
	uint8_t *p;

	begin(0);
	at = driver_alloc(&d, 4096, 1);
	p = driver_ptr(&d, at, 4096);
	driver_add(&d.q[NET_RX],
		   (struct driver_buf[]){ { at, 1, true },
					  { at + 1, 6, true },
					  { at + 7, 5, true },
					  { at + 12, 1, true },
					  { at + 13, 2000, true } },
		   5);
	driver_add(&d.q[NET_RX], (struct driver_buf[]){ { at + 2013, 13, true }, { at + 2026, 2000, true } },
		   2);
	incoming(1000, 1);
	incoming(1000, 2);
	readable();
	assert_memory_equal(p + 12, fake.waiting[0].data, 1000);
	assert_memory_equal(p + 2013 + 12, fake.waiting[1].data, 1000);
	assert_int_equal(card()->stats.rx_packets, 2);
	end();
}

static void test_receive_one_chain(void **state)
{
	uint64_t at[3];

	begin(BIT(VIRTIO_NET_F_MRG_RXBUF));
	for (unsigned i = 0; i < 3; i++)
		at[i] = give(1526);
	incoming(1515, 1);
	incoming(1514, 2);
	readable();
	assert_int_equal(card()->stats.rx_dropped, 1);
	check_received(&fake.waiting[1], at, 1, 12);
	end();
}

/* No buffers: nothing is read until the guest gives some, and then without delay. */
static void test_starved(void **state)
{
	uint16_t before;
	uint64_t at[2];

	begin(0);
	incoming(60, 1);
	readable();
	assert_int_equal(fake.taken, 0);
	assert_false(fake.want_read);
	before = d.q[NET_RX].avail_idx;
	at[0] = give(1536);
	assert_true(driver_must_notify(&d.q[NET_RX], before));
	virtio_notify(d.dev, NET_RX);
	check_received(&fake.waiting[0], at, 1, 12);
	/* That was the last one: once more. */
	incoming(70, 2);
	readable();
	assert_false(fake.want_read);
	at[1] = give(1536);
	virtio_notify(d.dev, NET_RX);
	check_received(&fake.waiting[1], at + 1, 1, 12);
	end();
}

/* While there are buffers, the guest need not say that it gives more. */
static void test_quiet(void **state)
{
	uint16_t before;

	begin(0);
	for (unsigned i = 0; i < 10; i++)
		give(1536);
	virtio_notify(d.dev, NET_RX);
	incoming(60, 1);
	readable();
	before = d.q[NET_RX].avail_idx;
	give(1536);
	assert_false(driver_must_notify(&d.q[NET_RX], before));
	end();
}

/* A packet larger than all buffers of the moment waits, whole. */
static void test_stash(void **state)
{
	uint64_t at[50];
	uint16_t before;

	begin(0);
	for (unsigned i = 0; i < 5; i++)
		at[i] = give(1536);
	incoming(60000, 1);
	incoming(60, 2);
	readable();
	assert_int_equal(fake.taken, 1);
	assert_false(fake.want_read);
	assert_false(driver_get_used(&d.q[NET_RX], NULL, NULL));
	for (unsigned i = 5; i < 10; i++) {
		before = d.q[NET_RX].avail_idx;
		at[i] = give(1536);
		if (i == 5)
			assert_true(driver_must_notify(&d.q[NET_RX], before));
	}
	virtio_notify(d.dev, NET_RX);
	assert_false(driver_get_used(&d.q[NET_RX], NULL, NULL));
	for (unsigned i = 10; i < 50; i++)
		at[i] = give(1536);
	virtio_notify(d.dev, NET_RX);
	check_received(&fake.waiting[0], at, 40, 12);
	check_received(&fake.waiting[1], at + 40, 1, 12);
	assert_true(fake.want_read);
	end();
}

/* No ring of such buffers will ever hold it. */
static void test_hopeless(void **state)
{
	uint64_t last = 0;

	begin(0);
	for (unsigned i = 0; i < d.q[NET_RX].size; i++)
		last = give(64);
	incoming(60000, 1);
	incoming(50, 2);
	readable();
	readable();
	assert_int_equal(card()->stats.rx_dropped, 1);
	assert_int_equal(card()->stats.rx_packets, 1);
	assert_true(last);
	end();
}

static void test_bad_buffers(void **state)
{
	uint64_t at;

	begin(0);
	give(11);
	incoming(60, 1);
	readable();
	assert_false(d.dev->running);
	assert_int_equal(d.warnings, 1);
	assert_true(virtio_get_status(d.dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(driver_start(&d, d.dev, 0));
	at = driver_alloc(&d, 2000, 1);
	driver_add(&d.q[NET_RX], (struct driver_buf[]){ { at, 12, false }, { at + 12, 1500, true } }, 2);
	incoming(60, 1);
	readable();
	assert_false(d.dev->running);
	end();
}

/* One interrupt for many packets, and an end to each turn. */
static void test_batch(void **state)
{
	begin(0);
	for (unsigned i = 0; i < 200; i++)
		give(1536);
	for (unsigned i = 0; i < 150; i++)
		incoming(60, (uint8_t)i);
	readable();
	assert_int_equal(d.interrupts[NET_RX], 1);
	assert_in_range(fake.taken, 32, 149);
	while (fake.taken < 150)
		readable();
	assert_in_range(d.interrupts[NET_RX], 1, 4);
	end();
}

/* ---- control ---- */

static void send_to(const uint8_t mac[6])
{
	incoming(60, 0);
	memcpy(fake.waiting[fake.waitings - 1].data, mac, 6);
	give(1536);
	virtio_notify(d.dev, NET_RX);
	readable();
}

/* Is a frame to this address received? */
static bool heard(const uint8_t mac[6])
{
	uint64_t before = card()->stats.rx_packets;

	send_to(mac);
	return card()->stats.rx_packets > before;
}

static void test_filter(void **state)
{
	const uint8_t other[6] = { 2, 9, 9, 9, 9, 9 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	const uint8_t off = 0, on = 1;
	uint8_t table[4 + 6 + 4 + 6] = { 1 };

	begin(0);
	assert_true(heard(other));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), VIRTIO_NET_OK);
	assert_false(heard(other));
	assert_false(heard(group));
	assert_true(heard(our_mac));
	assert_true(heard(all));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &on, 1), VIRTIO_NET_OK);
	assert_true(heard(group));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &off, 1), VIRTIO_NET_OK);
	memcpy(table + 4, other, 6);
	table[10] = 1;
	memcpy(table + 14, group, 6);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)),
			 VIRTIO_NET_OK);
	assert_true(heard(other));
	assert_true(heard(group));
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, all, 6), VIRTIO_NET_OK);
	assert_false(heard(our_mac));
	/* A reset takes it all back. */
	assert_true(driver_start(&d, d.dev, 0));
	assert_true(heard(our_mac));
	end();
}

static void test_many_macs(void **state)
{
	const uint8_t other[6] = { 2, 9, 9, 9, 9, 9 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	const uint8_t off = 0;
	uint8_t table[4 + 6 * 65 + 4] = { 0 };

	begin(0);
	command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1);
	table[4] = 65;
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)),
			 VIRTIO_NET_OK);
	assert_true(heard(group));
	assert_false(heard(other));
	memset(table, 0, sizeof(table));
	table[0] = 65;
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)),
			 VIRTIO_NET_OK);
	assert_true(heard(other));
	end();
}

static void test_bad_commands(void **state)
{
	uint8_t args[40] = { 0 };
	const uint8_t huge[8] = { 255, 255, 255, 255, 0, 0, 0, 0 };
	const uint64_t tso = BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_CSUM), all = ~0ull;

	begin(0);
	assert_int_equal(command(9, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, args, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, args, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 77, args, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, args, 5), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, args, 4),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, huge, 8),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, args, 8), VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &all, 8),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &tso, 8),
			 VIRTIO_NET_OK);
	assert_int_equal(fake.features, tso);
	assert_true(d.dev->running);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_default_mac),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_features_count),
		cmocka_unit_test(test_send_lengths),
		cmocka_unit_test(test_blocked),
		cmocka_unit_test(test_reset_while_blocked),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_pieces),
		cmocka_unit_test(test_receive_one_chain),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_stash),
		cmocka_unit_test(test_hopeless),
		cmocka_unit_test(test_bad_buffers),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_many_macs),
		cmocka_unit_test(test_bad_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
