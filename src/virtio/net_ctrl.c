/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control queue (virtio 1.2, 5.1.6.5): commands of the driver about which
 * packets it wants to receive, and in which form. A request is class, command,
 * arguments; we answer with one byte.
 *
 * The filter saves the guest from packets that are flooded on a bridge: each of
 * them would cost it an interrupt.
 */
#include <string.h>

#include "virtio/net.h"

#define BIT(feature) (1ull << (feature))

/* Bytes of a request that we look at: header and two tables that are just too long. */
#define REQUEST_MAX (2 + 2 * (4 + 6 * (NET_MAC_TABLE + 1)))

/* ---- the filter ---- */

static bool in_table(const struct net_mac_table *t, const uint8_t mac[6])
{
	if (t->overflow)
		return true;
	for (unsigned i = 0; i < t->count; i++)
		if (memcmp(t->mac[i], mac, 6) == 0)
			return true;
	return false;
}

bool net_wants(const struct virtio_net *n, const uint8_t mac[6])
{
	static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };

	if (n->s.promiscuous || memcmp(mac, n->s.mac, 6) == 0)
		return true;
	if (!(mac[0] & 1))
		return in_table(&n->s.unicast, mac);
	return n->s.all_multicast || memcmp(mac, broadcast, 6) == 0 || in_table(&n->s.multicast, mac);
}

/* ---- commands ---- */

/* One request, copied. */
struct request {
	uint8_t data[REQUEST_MAX];
	size_t len;  /* of it there */
	size_t full; /* that the driver sent */
};

static bool set_mode(struct virtio_net *n, const struct request *r)
{
	if (r->full != 3)
		return false;
	switch (r->data[1]) {
	case VIRTIO_NET_CTRL_RX_PROMISC: n->s.promiscuous = r->data[2]; return true;
	case VIRTIO_NET_CTRL_RX_ALLMULTI: n->s.all_multicast = r->data[2]; return true;
	default: return false;
	}
}

/* A table at *@at; moves it behind. */
static bool read_table(const struct request *r, size_t *at, struct net_mac_table *t)
{
	uint32_t count;

	if (*at > r->full || r->full - *at < sizeof(count) || *at + sizeof(count) > r->len)
		return false;
	memcpy(&count, r->data + *at, sizeof(count));
	*at += sizeof(count);
	if (count > (r->full - *at) / 6)
		return false;
	t->overflow = count > NET_MAC_TABLE;
	t->count = t->overflow ? 0 : count;
	memcpy(t->mac, r->data + *at, 6ul * t->count);
	*at += 6ul * count;
	return true;
}

static bool set_macs(struct virtio_net *n, const struct request *r)
{
	struct net_mac_table unicast = { 0 }, multicast = { 0 };
	size_t at = 2;

	switch (r->data[1]) {
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		if (r->full != 2 + 6)
			return false;
		memcpy(n->s.mac, r->data + 2, 6);
		return true;
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		if (!read_table(r, &at, &unicast))
			return false;
		/* Behind a table that is too long we do not look: more than enough of one kind, all of the other. */
		if (unicast.overflow)
			multicast.overflow = true;
		else if (!read_table(r, &at, &multicast))
			return false;
		n->s.unicast = unicast;
		n->s.multicast = multicast;
		return true;
	default: return false;
	}
}

/* Linux takes offloads back before it runs XDP programs. */
static bool set_offloads(struct virtio_net *n, const struct request *r)
{
	uint64_t wanted;

	if (r->data[1] != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || r->full != 2 + sizeof(wanted) ||
	    !virtio_has(&n->dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return false;
	memcpy(&wanted, r->data + 2, sizeof(wanted));
	if (wanted & ~(n->dev.s.driver_features & NET_RX_OFFLOADS))
		return false;
	n->s.offloads = wanted;
	n->net->ops->set_offloads(n->net, wanted);
	return true;
}

static bool execute(struct virtio_net *n, const struct request *r)
{
	if (r->len < 2)
		return false;
	switch (r->data[0]) {
	case VIRTIO_NET_CTRL_RX: return set_mode(n, r);
	case VIRTIO_NET_CTRL_MAC: return set_macs(n, r);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS: return set_offloads(n, r);
	default: return false;
	}
}

void net_ctrl_run(struct virtio_net *n)
{
	struct iovec iov[NET_CHAIN_MAX];
	struct virtq_chain chain = { .iov = iov, .capacity = NET_CHAIN_MAX };
	struct request r;
	uint8_t ack;

	for (unsigned i = 0; i < NET_QUEUE_SIZE && virtio_pop(&n->dev, NET_CTRL, &chain) > 0; i++) {
		if (!chain.in_len) {
			virtio_break(&n->dev, NET_CTRL, "a command without a place for the answer");
			return;
		}
		r.full = chain.out_len;
		r.len = iov_read(iov, chain.out_count, 0, r.data, sizeof(r.data));
		ack = execute(n, &r) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		iov_write(iov + chain.out_count, chain.in_count, 0, &ack, 1);
		virtq_push(&n->dev.queue[NET_CTRL], &chain, 1);
	}
	virtio_flush(&n->dev, NET_CTRL);
}
