/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the guest to the network, right in the doorbell, on the vCPU's thread:
 * to wake another thread would take longer than most packets. What the network
 * does not take now stays in the guest's ring, in order; the event loop comes
 * back for it.
 *
 * The header tells the network where to store a checksum and how to cut a
 * segment. We copy it and check the copy: a packet with a bad one is lost, and
 * counted, as it would be behind a card that gets it wrong.
 */
#include <errno.h>

#include "virtio/net.h"

#define BIT(feature) (1ull << (feature))

/* Packets in one go. One CPU cannot add more than a ring's worth meanwhile, but others can. */
#define TX_BATCH (2 * NET_QUEUE_SIZE)

static bool large_ok(const struct virtio_net_hdr *hdr, size_t frame, uint64_t features)
{
	uint64_t needed;

	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4: needed = BIT(VIRTIO_NET_F_HOST_TSO4); break;
	case VIRTIO_NET_HDR_GSO_TCPV6: needed = BIT(VIRTIO_NET_F_HOST_TSO6); break;
	default: return false;
	}
	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needed |= BIT(VIRTIO_NET_F_HOST_ECN);
	/* hdr_len is a hint, but the host's kernel believes it as far as it can. */
	return (features & needed) == needed && (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && hdr->gso_size &&
	       hdr->hdr_len <= frame;
}

bool net_header_ok(const struct virtio_net_hdr *hdr, size_t frame, uint64_t features)
{
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		/* Two 16 bit numbers and 2 do not overflow. */
		if (!(features & BIT(VIRTIO_NET_F_CSUM)) ||
		    (size_t)hdr->csum_start + hdr->csum_offset + 2 > frame)
			return false;
	}
	return hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE || large_ok(hdr, frame, features);
}

/* Takes the guest's header off the front and puts ours before the rest; elements of iov from there on, or 0. */
static unsigned parse(struct virtio_net *n, const struct virtq_chain *chain, struct iovec **iov, size_t *len)
{
	struct net_tx *tx = &n->tx;
	unsigned count = chain->out_count;

	if (chain->out_len < n->header + NETWORK_FRAME_MIN || chain->out_len > n->header + NETWORK_FRAME_MAX)
		return 0;
	*len = chain->out_len - n->header;
	/* What more a header has, num_buffers, is for receiving. */
	iov_read(chain->iov, count, 0, &tx->hdr, sizeof(tx->hdr));
	if (!net_header_ok(&tx->hdr, *len, n->dev.s.driver_features))
		return 0;
	/* Of the flags, only this one goes in this direction (5.1.6.2.1). */
	tx->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	*iov = iov_skip(chain->iov, &count, n->header) - 1;
	**iov = (struct iovec){ .iov_base = &tx->hdr, .iov_len = sizeof(tx->hdr) };
	return count + 1;
}

/* False: not now. */
static bool transmit(struct virtio_net *n, const struct virtq_chain *chain)
{
	struct iovec *iov;
	size_t len;
	unsigned count = parse(n, chain, &iov, &len);
	int error;

	if (!count) {
		n->stats.tx_bad++;
		return true;
	}
	error = n->net->ops->send(n->net, iov, count, len);
	if (error == -EAGAIN)
		return false;
	if (error) {
		n->stats.tx_lost++;
	} else {
		n->stats.tx_packets++;
		n->stats.tx_bytes += len;
	}
	return true;
}

void net_tx_run(struct virtio_net *n)
{
	/* One element before for our header. */
	struct virtq_chain chain = { .iov = n->tx.iov + 1, .capacity = NET_CHAIN_MAX };
	unsigned left = TX_BATCH;

	if (n->tx.blocked)
		return;
	while (!n->tx.blocked && left && virtio_pop(&n->dev, NET_TX, &chain) > 0) {
		if (!transmit(n, &chain)) {
			virtq_unpop(&n->dev.queue[NET_TX], 1);
			n->tx.blocked = true;
		} else if (n->dev.running) {
			/* An answer to it may have hit upon a broken receive queue. */
			virtq_push(&n->dev.queue[NET_TX], &chain, 0);
			left--;
		}
	}
	if (n->dev.running)
		n->net->ops->flush(n->net);
	if (!n->dev.running)
		return;
	if (!left) {
		n->tx.blocked = true;
		n->net->ops->wake(n->net);
	}
	if (n->tx.blocked)
		virtq_suppress(&n->dev.queue[NET_TX], true);
	virtio_flush(&n->dev, NET_TX);
	net_rx_settle(n);
}

void net_tx_writable(struct virtio_net *n)
{
	if (!n->tx.blocked)
		return;
	n->tx.blocked = false;
	virtq_suppress(&n->dev.queue[NET_TX], false);
	net_tx_run(n);
}
