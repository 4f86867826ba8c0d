/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all virtio devices have in common (virtio 1.2, section 2): status,
 * features, queues, configuration space. In the middle between two sides that
 * do not know each other:
 *
 *   a transport (pci.c, later virtio-mmio and the lguest bus) calls
 *       virtio_set_status(), virtio_notify(), ...
 *   and gives a struct virtio_transport to be told of interrupts;
 *
 *   a device (block.c, net.c, ...) fills a struct virtio_ops and gets called
 *       once the driver has done everything in the right order.
 *
 * Each device has a lock. Functions marked "transport" take it; the device's
 * operations run with it held, on the vCPU's thread, and callbacks from the
 * host's side (a disk is done, a packet came) must take it themselves with
 * virtio_lock(). Order of locks: device, then PC.
 */
#ifndef LGUEST_VIRTIO_DEVICE_H
#define LGUEST_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/queue.h"

struct eventloop;
struct guest_memory;
struct virtio_device;

#define VIRTIO_MAX_QUEUES 4
#define VIRTIO_CONFIG_MAX 128

/* What a device gets from its machine. Outlives it. */
struct virtio_env {
	const struct guest_memory *ram;
	struct eventloop *loop; /* of the main thread */
	/* One line, without newline, that the user must see. Any thread. */
	void (*warn)(void *opaque, const char *line);
	/* One for --verbose. */
	void (*notice)(void *opaque, const char *line);
	void *opaque;
};

/* The transport's side. Called with the lock of the device held, on any thread. */
struct virtio_transport {
	/* The guest wants to hear of @queue. */
	void (*interrupt)(void *transport, unsigned queue);
	/* The configuration or the status changed (NEEDS_RESET). */
	void (*config_changed)(void *transport);
	void *transport;
};

struct virtio_ops {
	uint16_t id;     /* VIRTIO_ID_* of <linux/virtio_ids.h> */
	unsigned queues; /* at most VIRTIO_MAX_QUEUES */
	/*
	 * DRIVER_OK: features are settled and queues set up. From here on
	 * notify() is called, and the queues may be used.
	 */
	void (*start)(struct virtio_device *dev);
	/*
	 * Reset, or the device broke: forget all requests. No guest memory is
	 * touched and no queue used after it returns; it waits for requests that
	 * the host's kernel works on (with the lock held: completions must be
	 * taken in by the device itself then). Only after start().
	 */
	void (*stop)(struct virtio_device *dev);
	/* The guest put something into @queue, which is enabled. */
	void (*notify)(struct virtio_device *dev, unsigned queue);
	/* After the guest wrote [offset, offset + size) of @config; may be NULL: read-only. */
	void (*config_written)(struct virtio_device *dev, unsigned offset, unsigned size);
	/* The guest reads that part, which is in its configuration space; may be NULL. */
	void (*config_read)(struct virtio_device *dev, unsigned offset, unsigned size);
	/* Gives back the host's resources and the memory of @dev. Stopped before. Main thread. */
	void (*destroy)(struct virtio_device *dev);
};

/* What the guest sees and changes: cleared by a reset, saved by a snapshot. */
struct virtio_state {
	uint8_t status;           /* VIRTIO_CONFIG_S_* */
	uint64_t driver_features; /* as the driver writes them; settled by FEATURES_OK */
	uint32_t config_generation;
};

/* First member of each device's own struct. */
struct virtio_device {
	pthread_mutex_t lock;
	const struct virtio_ops *ops;
	const struct virtio_env *env;
	char name[16];            /* for messages: "block0", "net1" */
	uint64_t device_features; /* what is offered */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_len;
	struct virtq queue[VIRTIO_MAX_QUEUES];
	struct virtio_state s;
	bool running; /* between start() and stop() */
	struct virtio_transport transport;
	unsigned warnings; /* printed so far: there is a limit */
};

/* ---- for devices ---- */

/*
 * Fills in what is common. @queue_size: offered for all queues. RING_INDIRECT_DESC,
 * RING_EVENT_IDX, VERSION_1 and ANY_LAYOUT are added to @features here.
 */
void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const struct virtio_env *env,
		 const char *name, uint64_t features, unsigned config_len, uint16_t queue_size);
/* The counterpart of virtio_init(), for the device's destroy(). */
void virtio_fini(struct virtio_device *dev);

static inline void virtio_lock(struct virtio_device *dev)
{
	pthread_mutex_lock(&dev->lock);
}
static inline void virtio_unlock(struct virtio_device *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

/* Negotiated? False before FEATURES_OK. */
bool virtio_has(const struct virtio_device *dev, unsigned feature_bit);

/* Pops from @queue; a broken queue breaks the device. As virtq_pop(). Lock held. */
int virtio_pop(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain);
/* Interrupts the guest for what was pushed to @queue, if it wants that. Lock held. */
void virtio_flush(struct virtio_device *dev, unsigned queue);
/*
 * The guest broke the rules on @queue: NEEDS_RESET, one warning that names
 * device, queue and @reason (static text), stop(). Nothing more is done until
 * the driver resets the device. Lock held; also from inside notify().
 */
void virtio_break(struct virtio_device *dev, unsigned queue, const char *reason);
/* The device changed dev->config: tells the guest. Lock held. */
void virtio_config_change(struct virtio_device *dev);

/* ---- for transports: each takes the lock ---- */

uint8_t virtio_get_status(struct virtio_device *dev);
/*
 * The driver writes the status (2.1, 3.1.1): 0 resets; FEATURES_OK sticks only
 * when the features are a subset of what is offered with VERSION_1 unless
 * @legacy; DRIVER_OK starts the device. Bits cannot be taken back one by one.
 */
void virtio_set_status(struct virtio_device *dev, uint8_t status, bool legacy);
/* Half @select (0, 1; others read 0) of the features. Writes count only before FEATURES_OK. */
uint32_t virtio_get_device_features(struct virtio_device *dev, unsigned select);
uint32_t virtio_get_driver_features(struct virtio_device *dev, unsigned select);
void virtio_set_driver_features(struct virtio_device *dev, unsigned select, uint32_t val);
/*
 * Changes @field of a queue that is not enabled and whose device is not running;
 * ignored otherwise. Takes any value, so that the driver reads back what it has written: were a size that
 * it must not write (2.7) left out here, it would go on with rings of another size than the
 * device. virtio_queue_enable() judges.
 */
enum virtio_queue_field { VIRTIO_QUEUE_SIZE, VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_AVAIL, VIRTIO_QUEUE_USED };
void virtio_queue_set(struct virtio_device *dev, unsigned queue, enum virtio_queue_field field, uint64_t val);
struct virtq_state virtio_queue_get(struct virtio_device *dev, unsigned queue);
/* Checks and enables it; nonsense breaks the device. */
void virtio_queue_enable(struct virtio_device *dev, unsigned queue);
/* The driver's doorbell. Ignored unless the device runs and @queue is enabled. */
void virtio_notify(struct virtio_device *dev, unsigned queue);
/* Configuration space, little-endian; outside of it reads 0. @size: 1, 2, 4, 8 */
uint64_t virtio_config_read(struct virtio_device *dev, unsigned offset, unsigned size);
void virtio_config_write(struct virtio_device *dev, unsigned offset, unsigned size, uint64_t val);
uint32_t virtio_config_generation(struct virtio_device *dev);
/* The machine resets: as if the driver had. */
void virtio_reset(struct virtio_device *dev);

#endif
