/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network card's outside: what it offers to the guest, and when it runs.
 * Where its packets go it does not know: see host/network.h.
 */
#include "virtio/net.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "virtio/devices.h"

#define BIT(feature) (1ull << (feature))

static void fill_config(struct virtio_net *n, const uint8_t mac[6])
{
	struct virtio_net_config config = { .status = n->link_down ? 0 : VIRTIO_NET_S_LINK_UP,
					    .max_virtqueue_pairs = 1,
					    .mtu = n->net->mtu };

	memcpy(config.mac, mac, sizeof(config.mac));
	memcpy(n->dev.config, &config, n->dev.config_len);
}

/* ---- what the network calls, with the lock held ---- */

static void on_readable(void *opaque)
{
	net_rx_run(opaque);
}

static void on_writable(void *opaque)
{
	net_tx_writable(opaque);
}

static void on_done(void *opaque)
{
	net_rx_settle(opaque);
}

static void on_lost(void *opaque)
{
	struct virtio_net *n = opaque;

	n->link_down = true;
	fill_config(n, n->s.mac);
	virtio_config_change(&n->dev);
}

static void on_warn(void *opaque, const char *line)
{
	struct virtio_net *n = opaque;

	if (n->dev.env->warn)
		n->dev.env->warn(n->dev.env->opaque, line);
}

/* ---- what the driver causes ---- */

static void reset_state(struct virtio_net *n)
{
	memset(&n->s, 0, sizeof(n->s));
	memcpy(n->s.mac, n->mac, sizeof(n->s.mac));
	fill_config(n, n->mac);
	/* 5.1.6.5.1.1: all of it, until the driver says what it wants. */
	n->s.promiscuous = true;
}

static void net_start(struct virtio_device *dev)
{
	struct virtio_net *n = to_net(dev);

	reset_state(n);
	n->s.offloads = dev->s.driver_features & NET_RX_OFFLOADS;
	n->mergeable = virtio_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	/* 5.1.6.1: drivers from before version 1 know num_buffers only if they use it. */
	n->header = n->mergeable || virtio_has(dev, VIRTIO_F_VERSION_1)
			    ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
			    : sizeof(struct virtio_net_hdr);
	n->tx.blocked = false;
	net_rx_reset(n);
	virtq_suppress(&dev->queue[NET_RX], true);
	n->net->ops->start(n->net, dev->s.driver_features);
}

static void net_stop(struct virtio_device *dev)
{
	struct virtio_net *n = to_net(dev);

	n->net->ops->stop(n->net);
	n->tx.blocked = false;
	net_rx_reset(n);
	reset_state(n);
}

static void net_notify(struct virtio_device *dev, unsigned queue)
{
	switch (queue) {
	case NET_RX: net_rx_notify(to_net(dev)); break;
	case NET_TX: net_tx_run(to_net(dev)); break;
	case NET_CTRL: net_ctrl_run(to_net(dev)); break;
	default: break;
	}
}

/* Drivers from before version 1 store their address right there (5.1.4.3); no others write anything. */
static void net_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	struct virtio_net *n = to_net(dev);

	if (dev->running && !virtio_has(dev, VIRTIO_F_VERSION_1))
		memcpy(n->s.mac, dev->config, sizeof(n->s.mac));
	fill_config(n, n->s.mac);
}

static void net_destroy(struct virtio_device *dev)
{
	struct virtio_net *n = to_net(dev);
	const struct net_stats *s = &n->stats;
	char line[256];

	snprintf(line, sizeof(line),
		 "%s: received %" PRIu64 " packets, %" PRIu64 " bytes (%" PRIu64
		 " not for the guest, %" PRIu64 " lost); sent %" PRIu64 " packets, %" PRIu64
		 " bytes (%" PRIu64 " malformed, %" PRIu64 " lost)",
		 dev->name, s->rx_packets, s->rx_bytes, s->rx_filtered, s->rx_dropped, s->tx_packets,
		 s->tx_bytes, s->tx_bad, s->tx_lost);
	if (dev->env->notice)
		dev->env->notice(dev->env->opaque, line);
	n->net->ops->destroy(n->net);
	virtio_fini(dev);
	free(n);
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.queues = NET_QUEUES,
	.start = net_start,
	.stop = net_stop,
	.notify = net_notify,
	.config_written = net_config_written,
	.destroy = net_destroy,
};

/* ---- making one ---- */

struct virtio_device *net_create(const struct net_config *cfg, unsigned index, const struct virtio_env *env,
				 struct network *(*open)(const struct net_config *cfg, struct eventloop *loop,
							 const struct network_user *user, char *err,
							 size_t errlen),
				 char *err, size_t errlen)
{
	struct virtio_net *n = calloc(1, sizeof(*n));
	struct network_user user = { .lock = &n->dev.lock,
				     .readable = on_readable,
				     .writable = on_writable,
				     .done = on_done,
				     .lost = on_lost,
				     .warn = on_warn,
				     .opaque = n };
	uint64_t features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU) |
			    BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |
			    BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
			    BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	char name[16];

	if (!n) {
		snprintf(err, errlen, "network: out of memory");
		return NULL;
	}
	/* Warnings of the network need it. */
	n->dev.env = env;
	n->net = open(cfg, env->loop, &user, err, errlen);
	if (!n->net) {
		free(n);
		return NULL;
	}
	snprintf(name, sizeof(name), "net%u", index);
	virtio_init(&n->dev, &net_ops, env, name, features | n->net->features,
		    offsetof(struct virtio_net_config, mtu) + sizeof(uint16_t), NET_QUEUE_SIZE);
	if (cfg->has_mac)
		memcpy(n->mac, cfg->mac, sizeof(n->mac));
	else
		network_default_mac(n->net, index, n->mac);
	reset_state(n);
	return &n->dev;
}

struct virtio_device *virtio_net_create(const struct net_config *cfg, unsigned index,
					const struct virtio_env *env, char *err, size_t errlen)
{
	return net_create(cfg, index, env, network_open, err, errlen);
}
