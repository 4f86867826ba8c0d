/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network card, on user-mode networking: what gets through our checks goes
 * on into the sums and segments of host/offload.c and into libslirp, and what
 * slirp answers comes back. Two more networks are played: frames of all
 * lengths that come by themselves, and a sender that is full at times.
 */
#include "fuzz.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "host/offload.h"
#include "virtio/net.h"

/* ---- a network that gets in the way ---- */

struct noise {
	struct network net;
	struct network *real;
	struct fuzz *fuzz;
	bool started;
	unsigned full; /* so many packets are not taken now */
	size_t frame;  /* a frame of that many bytes waits; 0: none */
	uint8_t *bytes;
	uint8_t copy[NETWORK_FRAME_MAX];
};

static struct noise *to_noise(struct network *net)
{
	return (struct noise *)net;
}

static void noise_start(struct network *net, uint64_t features)
{
	struct noise *n = to_noise(net);

	n->started = true;
	n->real->ops->start(n->real, features);
}

static void noise_set_offloads(struct network *net, uint64_t features)
{
	to_noise(net)->real->ops->set_offloads(to_noise(net)->real, features);
}

static void noise_stop(struct network *net)
{
	struct noise *n = to_noise(net);

	n->started = false;
	n->frame = 0;
	n->real->ops->stop(n->real);
}

/*
 * Nothing may leave this process but to servers of slirp's own: what the input
 * is made of must not knock at doors of the machine that it runs on.
 */
static bool harmless(const uint8_t *eth, size_t len)
{
	const uint8_t *ip = eth + 14;
	struct offload_frame f;
	unsigned port;

	if (eth[12] == 8 && eth[13] == 6)
		return true;
	if (!offload_parse(eth, len, &f) || f.fragment || len < f.transport + 4u)
		return false;
	if (f.version == 4 && (ip[0] != 0x45 || memcmp(ip + 16, "\12\0\2\2", 4) != 0))
		return false;
	if (f.version == 6 && memcmp(ip + 24, "\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16) != 0)
		return false;
	port = (unsigned)eth[f.transport + 2] << 8 | eth[f.transport + 3];
	return f.protocol == IPPROTO_ICMP || f.protocol == IPPROTO_ICMPV6 ||
	       (f.protocol == IPPROTO_UDP && (port == 67 || port == 69 || port == 547));
}

static int noise_send(struct network *net, const struct iovec *iov, unsigned count, size_t len)
{
	struct noise *n = to_noise(net);

	if (n->full) {
		n->full--;
		return -EAGAIN;
	}
	/* All of it is there, whatever the guest does meanwhile. */
	if (iov_read(iov + 1, count - 1, 0, n->copy, sizeof(n->copy)) != len)
		abort();
	if (!harmless(n->copy, len))
		return 0;
	return n->real->ops->send(n->real, iov, count, len);
}

static void noise_flush(struct network *net)
{
	to_noise(net)->real->ops->flush(to_noise(net)->real);
}

static size_t noise_receive(struct network *net, const struct iovec *iov, unsigned count)
{
	struct noise *n = to_noise(net);
	struct virtio_net_hdr hdr = { 0 };
	size_t len = n->frame;

	if (!len)
		return n->real->ops->receive(n->real, iov, count);
	n->frame = 0;
	iov_write(iov, 1, 0, &hdr, sizeof(hdr));
	iov_write(iov + 1, count - 1, 0, n->bytes, len);
	return len;
}

static void noise_want_read(struct network *net, bool want)
{
	to_noise(net)->real->ops->want_read(to_noise(net)->real, want);
}

static void noise_wake(struct network *net)
{
	to_noise(net)->real->ops->wake(to_noise(net)->real);
}

static void noise_destroy(struct network *net)
{
	struct noise *n = to_noise(net);

	n->real->ops->destroy(n->real);
	free(n->bytes);
	free(n);
}

static const struct network_ops noise_ops = {
	.start = noise_start,
	.set_offloads = noise_set_offloads,
	.stop = noise_stop,
	.send = noise_send,
	.flush = noise_flush,
	.receive = noise_receive,
	.want_read = noise_want_read,
	.wake = noise_wake,
	.destroy = noise_destroy,
};

static struct network *noise_open(const struct net_config *cfg, struct eventloop *loop,
				  const struct network_user *user, char *err, size_t errlen)
{
	struct noise *n = calloc(1, sizeof(*n));

	n->bytes = calloc(1, NETWORK_FRAME_MAX);
	n->real = usernet_open(cfg, loop, user, err, errlen);
	if (!n->real) {
		free(n->bytes);
		free(n);
		return NULL;
	}
	n->net = *n->real;
	n->net.ops = &noise_ops;
	return &n->net;
}

/* ---- the target ---- */

static struct noise *noise_of(struct fuzz *f)
{
	return to_noise(((struct virtio_net *)f->d.dev)->net);
}

static struct virtio_device *create(struct fuzz *f)
{
	struct net_config cfg = { .kind = NET_USER };
	char err[200];
	struct virtio_device *dev = net_create(&cfg, 0, &f->d.env, noise_open, err, sizeof(err));

	if (!dev)
		fprintf(stderr, "%s\n", err);
	return dev;
}

static void receive_buffers(struct fuzz *f)
{
	static const uint32_t length[] = { 11, 12, 100, 1526, 4096, 65562 };

	for (unsigned i = fuzz_pick(f, 8) + 1; i; i--) {
		uint32_t len = length[fuzz_pick(f, 6)];
		struct driver_buf buf[2] = { { fuzz_buffer(f, len), len, true },
					     { fuzz_buffer(f, 2000), 2000, true } };

		fuzz_chain(f, NET_RX, buf, 1 + fuzz_pick(f, 2));
	}
	virtio_notify(f->d.dev, NET_RX);
}

static void put16(uint8_t *p, unsigned val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

/* An ARP, IPv4 or IPv6 packet to slirp with some of it wrong. */
static void packet(struct fuzz *f)
{
	static const uint8_t protocol[] = { 1, 6, 17, 58, 44, 0 };
	uint8_t b[12 + 14 + 60 + 200] = { 0 }, *eth = b + 12, *ip = eth + 14, *t;
	unsigned kind = fuzz_pick(f, 4), len = 12 + 14 + 20 + (unsigned)fuzz_take(f, 1);
	struct driver_buf buf[2];
	uint64_t at;
	uint16_t sum;

	if (len > sizeof(b))
		len = sizeof(b);
	b[0] = (uint8_t)fuzz_take(f, 1) & 3;
	b[1] = fuzz_pick(f, 8);
	put16(b + 2, (unsigned)fuzz_take(f, 1) << 8);
	put16(b + 4, (unsigned)fuzz_take(f, 2));
	b[6] = (uint8_t)fuzz_take(f, 1);
	b[8] = (uint8_t)fuzz_take(f, 1);
	memset(eth, 0xff, 6);
	memcpy(eth + 6, "\x02lg\1\2\3", 6);
	put16(eth + 12, kind == 0 ? 0x0806 : kind == 1 ? 0x86dd : 0x0800);
	for (unsigned i = 0; ip + i < b + len; i++)
		ip[i] = (uint8_t)(i < 64 ? fuzz_take(f, 1) : i);
	switch (kind) {
	case 0:
		memcpy(ip, "\0\1\10\0\6\4\0\1", 8);
		memcpy(ip + 24, "\12\0\2\2", 4);
		break;
	case 1:
		ip[0] = 0x60;
		put16(ip + 4, len - 12 - 14 - 40);
		ip[6] = protocol[fuzz_pick(f, 6)];
		memcpy(ip + 8, "\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\x15", 16);
		memcpy(ip + 24, "\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
		break;
	default:
		t = ip + 20;
		ip[0] = 0x45;
		put16(ip + 2, len - 12 - 14);
		if (fuzz_take(f, 1) & 7)
			put16(ip + 6, 0);
		ip[9] = protocol[fuzz_pick(f, 6)];
		memcpy(ip + 12, "\12\0\2\17\12\0\2\2", 8);
		/* Ports of slirp's own servers, where nothing leaves the process: bootp, tftp */
		put16(t + 2, fuzz_pick(f, 2) ? 67 : 69);
		put16(ip + 10, 0);
		sum = (uint16_t)~offload_fold(offload_sum(ip, 20));
		memcpy(ip + 10, &sum, 2);
		break;
	}
	at = fuzz_buffer(f, len);
	fuzz_poke(f, at, b, len);
	buf[0] = (struct driver_buf){ at, 12, false };
	buf[1] = (struct driver_buf){ at + 12, len - 12, false };
	fuzz_chain(f, NET_TX, buf, 2);
	virtio_notify(f->d.dev, NET_TX);
}

static void command(struct fuzz *f)
{
	uint8_t b[64];
	unsigned len = 2 + fuzz_pick(f, sizeof(b) - 2);
	uint64_t at = fuzz_buffer(f, len);
	struct driver_buf buf[2] = { { at, len, false }, { fuzz_buffer(f, 1), 1, true } };

	for (unsigned i = 0; i < len; i++)
		b[i] = i < 12 ? (uint8_t)fuzz_take(f, 1) & 15 : 0;
	fuzz_poke(f, at, b, len);
	fuzz_chain(f, NET_CTRL, buf, 2);
	virtio_notify(f->d.dev, NET_CTRL);
}

static void request(struct fuzz *f)
{
	switch (fuzz_pick(f, 4)) {
	case 0: receive_buffers(f); break;
	case 1: command(f); break;
	default: packet(f); break;
	}
}

static void host(struct fuzz *f)
{
	struct virtio_net *n = (struct virtio_net *)f->d.dev;
	struct noise *noise = noise_of(f);
	uint8_t what = (uint8_t)fuzz_take(f, 1);

	virtio_lock(f->d.dev);
	if (noise->started) {
		const uint32_t len = (uint32_t)fuzz_take(f, 2);

		if (what & 1)
			noise->full = what >> 6;
		if (what & 2)
			noise->frame = what & 4 ? len % 2000 : len;
		if (what & 8)
			net_tx_writable(n);
		if (what & 16)
			net_rx_run(n);
		net_rx_settle(n);
	}
	virtio_unlock(f->d.dev);
}

const struct fuzz_target fuzz_target = { .create = create, .request = request, .host = host, .lives = 100 };
