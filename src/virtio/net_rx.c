/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the network to the guest. A packet is read right into the guest's
 * buffers. How long it will be nobody knows before, and Linux gives buffers of
 * 1.5 KiB for packets of up to 64: so we take as many as the last packet makes
 * likely, and put a buffer of our own behind them, from which the rest of a
 * longer one is copied. With MRG_RXBUF a packet may fill any number of the
 * guest's buffers (5.1.6.3.2); without, one chain must do.
 *
 * When the guest has none left, nothing is read, and the guest asked to tell
 * when it has; only then does it notify us at all.
 */
#include <errno.h>
#include <string.h>

#include "memory.h"
#include "virtio/net.h"

/* Packets and bytes in one go, before others get the lock and the guest its interrupt. */
#define RX_BATCH       64
#define RX_BATCH_BYTES (512u << 10)

#define EXPECT_MIN 2048
#define EXPECT_MAX (NETWORK_FRAME_MAX + sizeof(struct virtio_net_hdr_mrg_rxbuf))

/* The longest header, in pieces of one byte. */
#define HEADER_PIECES sizeof(struct virtio_net_hdr_mrg_rxbuf)

static struct virtq *rx_queue(struct virtio_net *n)
{
	return &n->dev.queue[NET_RX];
}

/* No chains, no elements. */
static void forget_chains(struct net_rx *rx)
{
	rx->first = rx->chains = 0;
	rx->end = 1;
	rx->room = 0;
}

/* One more chain behind those that are there. 1, 0: the guest has no more, or we no room; -EPROTO: broken */
static int take_chain(struct virtio_net *n)
{
	struct net_rx *rx = &n->rx;
	struct virtq_chain *c = &rx->chain[rx->chains];
	int ret;

	/* One element stays free for overflow[]. */
	if (rx->chains == NET_QUEUE_SIZE || rx->end + NET_CHAIN_MAX + 1 > NET_IOV)
		return 0;
	c->iov = rx->iov + rx->end;
	c->capacity = NET_CHAIN_MAX;
	ret = virtio_pop(&n->dev, NET_RX, c);
	if (ret <= 0)
		return ret;
	if (c->out_count || c->in_len < n->header) {
		virtio_break(&n->dev, NET_RX, "a receive buffer is not writable or too small");
		return -EPROTO;
	}
	rx->chains++;
	rx->end += c->in_count;
	rx->room += c->in_len;
	return 1;
}

/*
 * Chains with room for @bytes, header included, if the guest has them. Without
 * mergeable buffers one chain has to do. 0 or -EPROTO.
 */
static int take_chains(struct virtio_net *n, size_t bytes)
{
	struct net_rx *rx = &n->rx;
	int ret = 1;

	while (ret > 0 && (rx->first == rx->chains || (n->mergeable && rx->room < bytes)))
		ret = take_chain(n);
	return ret < 0 ? ret : 0;
}

static void give_back(struct virtio_net *n)
{
	virtq_unpop(rx_queue(n), n->rx.chains - n->rx.first);
	forget_chains(&n->rx);
}

/*
 * All buffers that the guest has given are taken and do not suffice. 1: it has
 * given more meanwhile; 0: it will tell. Asked before anything is given back,
 * for the queue asks for a notification of what comes after the last one taken.
 */
static int starve(struct virtio_net *n)
{
	bool more = virtq_suppress(rx_queue(n), false);

	give_back(n);
	if (more) {
		virtq_suppress(rx_queue(n), true);
		return 1;
	}
	n->rx.starved = true;
	n->net->ops->want_read(n->net, false);
	return 0;
}

/* ---- one packet ---- */

/*
 * The guest's buffers were written, and it will not hear of it: the frame is
 * for nobody, or in no place where it can stay.
 */
static void announce(struct virtio_net *n, const struct iovec *iov, unsigned count, size_t len)
{
	for (unsigned i = 0; i < count && len; i++) {
		size_t piece = iov[i].iov_len < len ? iov[i].iov_len : len;

		guest_wrote(n->dev.env->ram, iov[i].iov_base, piece);
		len -= piece;
	}
}

/* The first chain, from where its frame begins. */
struct landing {
	struct iovec saved[HEADER_PIECES]; /* what stood before: place of the header */
	unsigned pieces;
	struct iovec *iov; /* one before the frame: for the network's header */
	unsigned count;
	size_t room; /* for a frame, in the guest's buffers */
};

static void prepare(struct virtio_net *n, struct landing *l)
{
	struct net_rx *rx = &n->rx;
	struct virtq_chain *c = &rx->chain[rx->first];
	unsigned count = c->in_count;

	l->pieces = count < HEADER_PIECES ? count : HEADER_PIECES;
	memcpy(l->saved, c->iov, l->pieces * sizeof(l->saved[0]));
	/* What is before belongs to a chain that was returned, or is element 0. */
	l->iov = iov_skip(c->iov, &count, n->header) - 1;
	l->room = (n->mergeable ? rx->room : c->in_len) - n->header;
	l->count = (unsigned)((n->mergeable ? rx->iov + rx->end : c->iov + c->in_count) - l->iov);
	*l->iov = (struct iovec){ .iov_base = &rx->hdr, .iov_len = sizeof(rx->hdr) };
}

static void restore(struct virtio_net *n, const struct landing *l)
{
	memcpy(n->rx.chain[n->rx.first].iov, l->saved, l->pieces * sizeof(l->saved[0]));
}

/*
 * The frame is in place in the chains, @len bytes; fills in the guest's header
 * and returns the chains.
 */
static void complete(struct virtio_net *n, size_t len)
{
	struct net_rx *rx = &n->rx;
	struct virtio_net_hdr_mrg_rxbuf hdr = { 0 };
	size_t left = len + n->header;
	struct virtq_chain *first = &rx->chain[rx->first];
	unsigned used = 0;

	/* Both forms begin alike; the legacy header ends there. */
	memcpy(&hdr, &rx->hdr, sizeof(rx->hdr));
	do {
		const struct virtq_chain *c = &rx->chain[rx->first + used++];

		left -= left < c->in_len ? left : c->in_len;
	} while (left);
	hdr.num_buffers = (uint16_t)used;
	iov_write(first->iov, first->in_count, 0, &hdr, n->header);

	left = len + n->header;
	for (unsigned i = 0; i < used; i++) {
		const struct virtq_chain *c = &rx->chain[rx->first++];
		size_t piece = left < c->in_len ? left : c->in_len;

		virtq_fill(rx_queue(n), c, (uint32_t)piece, i);
		left -= piece;
		rx->room -= c->in_len;
	}
	virtq_publish(rx_queue(n), used);
	rx->unsettled = true;
	n->stats.rx_packets++;
	n->stats.rx_bytes += len;
	if (rx->first == rx->chains)
		forget_chains(rx);
}

/* From overflow[] into [@offset, ...) of a frame in the chains, which have the room. */
static void land(struct virtio_net *n, size_t offset, size_t len)
{
	struct net_rx *rx = &n->rx;
	struct iovec *iov = rx->chain[rx->first].iov;

	iov_write(iov, (unsigned)(rx->iov + rx->end - iov), n->header + offset, rx->overflow, len);
}

/* All chains that were to be had do not suffice: will more? Not if the ring was full of them, or we. */
static bool hopeless(struct virtio_net *n)
{
	return n->rx.chains == rx_queue(n)->s.size || virtq_has_work(rx_queue(n));
}

/*
 * A packet of @len bytes is in the buffers as far as they go (@room), the rest
 * in overflow[]. As receive_one().
 */
static int place_rest(struct virtio_net *n, size_t room, size_t len)
{
	struct net_rx *rx = &n->rx;
	struct iovec *iov = rx->chain[rx->first].iov;

	if (!n->mergeable) {
		n->stats.rx_dropped++;
		return 1;
	}
	if (take_chains(n, len + n->header) < 0)
		return -EPROTO;
	if (rx->room >= len + n->header) {
		land(n, room, len - room);
		complete(n, len);
		return 1;
	}
	if (!rx->first && hopeless(n)) {
		n->stats.rx_dropped++;
		return 1;
	}
	/* It waits, in one piece, until it all fits. */
	memmove(rx->overflow + room, rx->overflow, len - room);
	iov_read(iov, (unsigned)(rx->iov + rx->end - iov), n->header, rx->overflow, room);
	rx->stash = len;
	return starve(n);
}

/* The packet that waited; it comes first, no chain is taken yet. */
static int receive_stash(struct virtio_net *n)
{
	struct net_rx *rx = &n->rx;

	if (take_chains(n, rx->stash + n->header) < 0)
		return -EPROTO;
	if (rx->room >= rx->stash + n->header) {
		land(n, 0, rx->stash);
		complete(n, rx->stash);
	} else if (hopeless(n)) {
		n->stats.rx_dropped++;
	} else {
		return starve(n);
	}
	rx->stash = 0;
	return 1;
}

/* 1: go on; 0: no packet there, or no buffers; -EPROTO */
static int receive_one(struct virtio_net *n, size_t *bytes)
{
	struct net_rx *rx = &n->rx;
	struct landing l;
	uint8_t mac[6];
	bool wanted;
	size_t len;

	if (rx->stash)
		return receive_stash(n);
	if (take_chains(n, rx->expected) < 0)
		return -EPROTO;
	if (rx->first == rx->chains)
		return starve(n);
	prepare(n, &l);
	/* Behind the buffers, and into the elements of no one. */
	l.iov[l.count] = (struct iovec){ .iov_base = rx->overflow, .iov_len = sizeof(rx->overflow) };
	len = n->net->ops->receive(n->net, l.iov, l.count + 1);
	iov_read(l.iov + 1, l.count, 0, mac, sizeof(mac));
	wanted = len >= NETWORK_FRAME_MIN && len <= NETWORK_FRAME_MAX && net_wants(n, mac);
	if (!wanted || len > l.room)
		announce(n, l.iov + 1, l.count - 1, len);
	restore(n, &l);
	if (!len)
		return 0;
	*bytes += len;
	rx->expected = 2 * len + n->header;
	if (rx->expected < EXPECT_MIN)
		rx->expected = EXPECT_MIN;
	if (rx->expected > EXPECT_MAX)
		rx->expected = EXPECT_MAX;
	if (!wanted) {
		n->stats.rx_filtered++;
		return 1;
	}
	if (len > l.room)
		return place_rest(n, l.room, len);
	complete(n, len);
	return 1;
}

/* ---- batches ---- */

void net_rx_run(struct virtio_net *n)
{
	size_t bytes = 0;
	int ret = 1;

	if (!n->dev.running || n->rx.starved)
		return;
	for (unsigned i = 0; ret > 0 && i < RX_BATCH && bytes < RX_BATCH_BYTES; i++)
		ret = receive_one(n, &bytes);
	if (ret >= 0 && n->dev.running)
		give_back(n);
}

void net_rx_notify(struct virtio_net *n)
{
	if (!n->rx.starved)
		return;
	n->rx.starved = false;
	virtq_suppress(rx_queue(n), true);
	/* Here and now what waits, the rest as it comes. */
	net_rx_run(n);
	if (n->dev.running && !n->rx.starved)
		n->net->ops->want_read(n->net, true);
	net_rx_settle(n);
}

void net_rx_settle(struct virtio_net *n)
{
	if (!n->rx.unsettled)
		return;
	n->rx.unsettled = false;
	virtio_flush(&n->dev, NET_RX);
}

void net_rx_reset(struct virtio_net *n)
{
	n->rx.starved = n->rx.unsettled = false;
	n->rx.stash = 0;
	n->rx.expected = EXPECT_MIN;
	forget_chains(&n->rx);
}
