/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of virtio, for tests and fuzzers: a machine's worth of RAM,
 * a driver that sets a device up by the rules, adds chains and takes them back,
 * and counts what the device tells it. It sits on the transport's side of
 * device.h, so it drives each device without any transport.
 *
 *   struct driver d;
 *
 *   driver_init(&d, 8 << 20);
 *   dev = virtio_rng_create(0, &d.env, err, sizeof(err));
 *   driver_start(&d, dev, 0);                     (offered features to leave out)
 *   addr = driver_alloc(&d, 64, 1);
 *   driver_add(&d.q[0], (struct driver_buf[]){ { addr, 64, true } }, 1);
 *   virtio_notify(dev, 0);
 *   driver_wait_used(&d, 0, &head, &len, 1000);
 *   driver_destroy(&d);                           (the device, too)
 *
 * Where a test wants to break the rules, the rings are open: driver_desc() and
 * the pointers in struct driver_queue.
 */
#ifndef LGUEST_TESTS_VIRTIO_DRIVER_H
#define LGUEST_TESTS_VIRTIO_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/eventloop.h"
#include "memory.h"
#include "virtio/device.h"

struct driver_buf {
	uint64_t addr; /* guest-physical */
	uint32_t len;
	bool write; /* by the device */
};

struct driver_queue {
	const struct guest_memory *ram;
	uint16_t size;
	bool event_idx;
	uint64_t desc_at, avail_at, used_at; /* guest-physical */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx; /* published */
	uint16_t last_used; /* taken back */
	uint16_t free_head, free_count;
	uint16_t next[VIRTQ_MAX_SIZE]; /* of a chain or of the free list; what the rings say may be spoilt */
	uint16_t chain_len[VIRTQ_MAX_SIZE]; /* descriptors of the chain with this head; 0: none */
};

struct driver {
	struct guest_memory ram;
	uint64_t next; /* what driver_alloc() gives next */
	struct eventloop loop;
	struct virtio_env env;
	struct virtio_device *dev;
	struct driver_queue q[VIRTIO_MAX_QUEUES];
	_Atomic unsigned interrupts[VIRTIO_MAX_QUEUES];
	_Atomic unsigned config_changes;
	_Atomic unsigned warnings, notices;
	char warning[200]; /* the last one */
};

/* Ends the program when the host refuses. @ram: bytes */
void driver_init(struct driver *d, uint64_t ram);
/* Also destroys the device that was started. */
void driver_destroy(struct driver *d);

/* Guest memory, zeroed, never given back. Ends the program when there is none left. */
uint64_t driver_alloc(struct driver *d, uint64_t len, uint64_t align);
void *driver_ptr(struct driver *d, uint64_t addr, uint64_t len);

/*
 * Resets @dev, negotiates all that it offers but @without, sets up all queues in
 * the size that they offer, and says DRIVER_OK. False when the device refused.
 * May be called again: the rings are made anew.
 */
bool driver_start(struct driver *d, struct virtio_device *dev, uint64_t without);
/* The same up to and with FEATURES_OK; then, for one queue. */
bool driver_negotiate(struct driver *d, struct virtio_device *dev, uint64_t without);
void driver_setup_queue(struct driver *d, unsigned queue, uint16_t size);

/* A ring of @size in memory of @d, for tests of a queue without a device. */
void driver_queue_init(struct driver_queue *q, struct driver *d, uint16_t size, bool event_idx);

/*
 * Makes a chain available and returns its head; -1 when descriptors are short.
 * The indirect one puts its table at @table (16 * count bytes).
 */
int driver_add(struct driver_queue *q, const struct driver_buf *buf, unsigned count);
int driver_add_indirect(struct driver_queue *q, uint64_t table, const struct driver_buf *buf, unsigned count);
/* Puts @head into the available ring, whatever it is. */
void driver_publish(struct driver_queue *q, uint16_t head);
/* Must the driver notify for what it added since @old_avail_idx? */
bool driver_must_notify(const struct driver_queue *q, uint16_t old_avail_idx);

/* Takes a chain back: false when none is there. @head, @len may be NULL. */
bool driver_get_used(struct driver_queue *q, uint32_t *head, uint32_t *len);
/* The same, running the event loop for at most @timeout_ms until there is one. */
bool driver_wait_used(struct driver *d, unsigned queue, uint32_t *head, uint32_t *len, int timeout_ms);

#endif
