/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See lguestbus.h. When does a device start? Guests differ: those of 2.6.3x
 * announce every change of the status, those of 3.x the moment when features
 * are settled, and neither kind waits for DRIVER_OK before it uses the queues.
 * What works for all: at the first notification of one of its queues, or when the
 * status says DRIVER_OK, whichever is first.
 */
#include "virtio/lguestbus.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "memory.h"
#include "platform/lguest/abi.h"

#define RING_SIZE VIRTQ_DEFAULT_SIZE
#define BIT(n)    (1u << (n))

/*
 * What is offered of each device. Beyond what the original launchers did:
 * indirect descriptors and event indices everywhere where there are features at all, read-only disks, and mergeable receive
 * buffers, which keep guests of 3.x from posting 18 pages for each packet.
 */
struct lguest_bus_kind {
	uint16_t id;
	uint8_t queues, feature_len, config_len;
	uint32_t features;
};

#define RING_FEATURES \
	(BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_ANY_LAYOUT))

static const struct lguest_bus_kind kinds[] = {
	{ VIRTIO_ID_NET, 2, 4, 10,
	  BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_MAC) |
		  BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) |
		  BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |
		  BIT(VIRTIO_NET_F_MRG_RXBUF) | RING_FEATURES },
	{ VIRTIO_ID_BLOCK, 1, 4, 16,
	  BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_FLUSH) | RING_FEATURES },
	{ VIRTIO_ID_CONSOLE, 2, 0, 0, 0 },
	{ VIRTIO_ID_RNG, 1, 0, 0, 0 },
};

/* Legacy layout: the used ring begins on the next page behind the available ring and its event index. */
static uint32_t used_offset(void)
{
	uint64_t end = virtq_desc_bytes(RING_SIZE) + virtq_avail_bytes(RING_SIZE, true);

	return (uint32_t)((end + LG_RING_ALIGN - 1) & ~(uint64_t)(LG_RING_ALIGN - 1));
}

static uint32_t ring_bytes(void)
{
	uint64_t end = used_offset() + virtq_used_bytes(RING_SIZE, true);

	return (uint32_t)((end + LG_RING_ALIGN - 1) & ~(uint64_t)(LG_RING_ALIGN - 1));
}

static uint32_t features_offset(const struct lguest_bus_kind *kind)
{
	return LG_DESC_HEAD + LG_VQCONFIG * kind->queues;
}

static uint32_t desc_bytes(const struct lguest_bus_kind *kind)
{
	return features_offset(kind) + 2u * kind->feature_len + kind->config_len;
}

static uint8_t *desc_host(const struct lguest_bus_device *d)
{
	return guest_range(d->bus->memory, d->bus->page + d->desc, desc_bytes(d->kind));
}

/* ---- the transport's side of the device ---- */

static void interrupt(void *transport, unsigned queue)
{
	struct lguest_bus_device *d = transport;

	d->bus->raise_irq(d->bus->opaque, d->irq + queue);
}

/* These guests cannot be told. */
static void config_changed(void *transport)
{
}

/* ---- construction ---- */

void lguest_bus_init(struct lguest_bus *bus, const struct guest_memory *memory, uint32_t page, uint32_t end,
		     void (*raise_irq)(void *opaque, unsigned irq), void *opaque)
{
	*bus = (struct lguest_bus){ .memory = memory,
				    .page = page,
				    .end = end,
				    .next_ring = page + 4096,
				    .next_irq = 1, /* 0 is the timer */
				    .raise_irq = raise_irq,
				    .opaque = opaque };
}

int lguest_bus_attach(struct lguest_bus *bus, struct virtio_device *dev)
{
	struct lguest_bus_device *d = &bus->device[bus->devices];
	const struct lguest_bus_kind *kind = NULL;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == dev->ops->id)
			kind = &kinds[i];
	if (!kind)
		return -EINVAL;
	/* One byte stays zero: the end of the list. */
	if (bus->devices == LGUEST_BUS_DEVICES || bus->next_desc + desc_bytes(kind) >= 4096 ||
	    bus->next_irq + kind->queues > LG_IRQS || kind->queues * ring_bytes() > bus->end - bus->next_ring)
		return -ENOSPC;
	*d = (struct lguest_bus_device){
		.bus = bus, .dev = dev, .kind = kind, .desc = bus->next_desc, .irq = bus->next_irq
	};
	for (unsigned q = 0; q < kind->queues; q++) {
		d->ring[q] = bus->next_ring;
		bus->next_ring += ring_bytes();
	}
	bus->next_desc += desc_bytes(kind);
	bus->next_irq += kind->queues;
	bus->devices++;
	dev->transport = (struct virtio_transport){ .interrupt = interrupt,
						    .config_changed = config_changed,
						    .transport = d };
	return 0;
}

static void put(uint8_t **p, uint64_t val, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		*(*p)++ = (uint8_t)(val >> (8 * i));
}

void lguest_bus_start(struct lguest_bus *bus)
{
	for (unsigned i = 0; i < bus->devices; i++) {
		struct lguest_bus_device *d = &bus->device[i];
		const struct lguest_bus_kind *kind = d->kind;
		uint8_t *p = desc_host(d);

		d->started = false;
		put(&p, kind->id, 1);
		put(&p, kind->queues, 1);
		put(&p, kind->feature_len, 1);
		put(&p, kind->config_len, 1);
		put(&p, 0, 1);
		for (unsigned q = 0; q < kind->queues; q++) {
			put(&p, RING_SIZE, 2);
			put(&p, d->irq + q, 2);
			put(&p, d->ring[q] >> 12, 4);
		}
		put(&p, virtio_get_device_features(d->dev, 0) & kind->features, kind->feature_len);
		put(&p, 0, kind->feature_len);
		for (unsigned c = 0; c < kind->config_len; c++)
			put(&p, virtio_config_read(d->dev, c, 1), 1);
	}
}

/* ---- notifications ---- */

static void start(struct lguest_bus_device *d)
{
	const uint8_t *accepted = desc_host(d) + features_offset(d->kind) + d->kind->feature_len;
	uint32_t features = 0;

	if (d->started)
		return;
	d->started = true;
	memcpy(&features, accepted, d->kind->feature_len);
	virtio_set_status(d->dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, true);
	virtio_set_driver_features(d->dev, 0, features & d->kind->features);
	for (unsigned q = 0; q < d->kind->queues; q++) {
		virtio_queue_set(d->dev, q, VIRTIO_QUEUE_SIZE, RING_SIZE);
		virtio_queue_set(d->dev, q, VIRTIO_QUEUE_DESC, d->ring[q]);
		virtio_queue_set(d->dev, q, VIRTIO_QUEUE_AVAIL, d->ring[q] + virtq_desc_bytes(RING_SIZE));
		virtio_queue_set(d->dev, q, VIRTIO_QUEUE_USED, d->ring[q] + used_offset());
		virtio_queue_enable(d->dev, q);
	}
	virtio_set_status(d->dev,
			  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK,
			  true);
}

static void reset(struct lguest_bus_device *d)
{
	uint8_t *accepted = desc_host(d) + features_offset(d->kind) + d->kind->feature_len;

	virtio_reset(d->dev);
	d->started = false;
	memset(accepted, 0, d->kind->feature_len);
	guest_wrote(d->bus->memory, accepted, d->kind->feature_len);
	for (unsigned q = 0; q < d->kind->queues; q++) {
		void *ring = guest_range(d->bus->memory, d->ring[q], ring_bytes());

		memset(ring, 0, ring_bytes());
		guest_wrote(d->bus->memory, ring, ring_bytes());
	}
}

static void status_changed(struct lguest_bus_device *d)
{
	uint8_t status = __atomic_load_n(desc_host(d) + LG_DESC_STATUS, __ATOMIC_RELAXED);

	if (status == 0)
		reset(d);
	else if (status & VIRTIO_CONFIG_S_FAILED)
		virtio_set_status(d->dev, VIRTIO_CONFIG_S_FAILED, true);
	else if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		start(d);
}

bool lguest_bus_ring(const struct lguest_bus *bus, unsigned n, uint32_t *addr, bool *polled)
{
	for (unsigned i = 0; i < bus->devices; i++) {
		const struct lguest_bus_device *d = &bus->device[i];

		if (n >= d->kind->queues) {
			n -= d->kind->queues;
			continue;
		}
		*addr = d->ring[n];
		*polled = d->kind->id == VIRTIO_ID_CONSOLE;
		return true;
	}
	return false;
}

bool lguest_bus_notify(struct lguest_bus *bus, uint32_t addr)
{
	for (unsigned i = 0; i < bus->devices; i++) {
		struct lguest_bus_device *d = &bus->device[i];

		if (addr == bus->page + d->desc) {
			status_changed(d);
			return true;
		}
		for (unsigned q = 0; q < d->kind->queues; q++) {
			if (addr != d->ring[q])
				continue;
			start(d);
			virtio_notify(d->dev, q);
			return true;
		}
	}
	return false;
}
