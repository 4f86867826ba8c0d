/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network card (virtio 1.2, 5.1), shared by its four files:
 *
 *   net.c      what it offers, and its life
 *   net_ctrl.c the control queue, and the filter that it sets
 *   net_rx.c   from the network to the guest
 *   net_tx.c   from the guest to the network, and what of it is nonsense
 *
 * All under the device's lock.
 */
#ifndef LGUEST_VIRTIO_NET_H
#define LGUEST_VIRTIO_NET_H

#include "host/network.h"
#include "virtio/device.h"

enum { NET_RX, NET_TX, NET_CTRL, NET_QUEUES };

#define NET_QUEUE_SIZE VIRTQ_DEFAULT_SIZE
/* Buffers in a chain. Linux uses 19, and a chain of plain descriptors has at most one for each entry. */
#define NET_CHAIN_MAX VIRTQ_DEFAULT_SIZE
/* What the guest may leave to others when it receives. */
#define NET_RX_OFFLOADS                                                      \
	(1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 | \
	 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN)
/* Elements that one readv() or writev() takes (UIO_MAXIOV). */
#define NET_IOV 1024

/* Addresses that the guest wants to hear. More of a kind, and it hears all. */
#define NET_MAC_TABLE 64
struct net_mac_table {
	unsigned count;
	bool overflow;
	uint8_t mac[NET_MAC_TABLE][6];
};

/* What the driver has set through the control queue: all that a snapshot needs beside struct virtio_state. */
struct net_state {
	uint8_t mac[6]; /* in use; after a reset its own */
	bool promiscuous, all_multicast;
	struct net_mac_table unicast, multicast;
	uint64_t offloads; /* of the receiving side, as features; less than negotiated, perhaps */
};

/* For --verbose. */
struct net_stats {
	uint64_t rx_packets, rx_bytes, rx_filtered, rx_dropped;
	uint64_t tx_packets, tx_bytes, tx_bad, tx_lost;
};

/*
 * Receiving. iov[0] is the place for the network's header of the first packet;
 * buffers that the guest has given follow, and behind them stands @overflow.
 * Between batches no buffer is held.
 */
struct net_rx {
	struct virtq_chain chain[NET_QUEUE_SIZE]; /* popped, not returned yet: [first, chains) */
	unsigned first, chains;
	struct iovec iov[NET_IOV];
	unsigned end;    /* of the elements in use */
	size_t room;     /* bytes in the chains, headers included */
	size_t expected; /* bytes to have room for before looking for a packet */
	bool starved;    /* the guest must give buffers first */
	bool unsettled;  /* something was returned since the last interrupt */
	struct virtio_net_hdr hdr;
	size_t stash; /* bytes of a packet in @overflow that waits for buffers; its header is hdr */
	uint8_t overflow[NETWORK_FRAME_MAX];
};

/* Sending. iov[0] is the header that we have copied and checked. */
struct net_tx {
	struct iovec iov[1 + NET_CHAIN_MAX];
	struct virtio_net_hdr hdr;
	bool blocked; /* until writable() */
};

struct virtio_net {
	struct virtio_device dev;
	struct network *net;
	uint8_t mac[6];  /* its own */
	bool link_down;  /* the network is gone */
	unsigned header; /* bytes before each frame in the guest's buffers: 10 or 12 */
	bool mergeable;
	struct net_state s;
	struct net_stats stats;
	struct net_rx rx;
	struct net_tx tx;
};

/*
 * virtio_net_create() on a network that @open makes in network_open()'s place;
 * for tests.
 */
struct virtio_device *net_create(const struct net_config *cfg, unsigned index, const struct virtio_env *env,
				 struct network *(*open)(const struct net_config *cfg, struct eventloop *loop,
							 const struct network_user *user, char *err,
							 size_t errlen),
				 char *err, size_t errlen);

static inline struct virtio_net *to_net(struct virtio_device *dev)
{
	return (struct virtio_net *)dev;
}

/* What the header of a packet of @frame bytes may say under @features (5.1.6.2.2); net_tx.c. */
bool net_header_ok(const struct virtio_net_hdr *hdr, size_t frame, uint64_t features);

/* As many packets as there are, and buffers for them; a batch at most. */
void net_rx_run(struct virtio_net *n);
/* The guest has given buffers. */
void net_rx_notify(struct virtio_net *n);
/* Interrupts for what was received. */
void net_rx_settle(struct virtio_net *n);
void net_rx_reset(struct virtio_net *n);

void net_tx_run(struct virtio_net *n);
void net_tx_writable(struct virtio_net *n);

/* The control queue; net_ctrl.c. */
void net_ctrl_run(struct virtio_net *n);
/* Does the guest want a frame for this address? */
bool net_wants(const struct virtio_net *n, const uint8_t mac[6]);

#endif
