/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lguest bus: virtio devices as guests of the lguest platform find them.
 * A page above RAM lists the devices; their rings follow, laid out by the
 * host, with the used ring on a page boundary (the layout that virtio 1.0 calls
 * legacy). The guest writes status and accepted features into the list and says
 * so by a NOTIFY hypercall, with the address of what it is about.
 *
 *   descriptor: type, number of queues, length of a feature bitmap, length of the configuration,
 *               status, a struct for each queue, features offered, features accepted, configuration
 *
 * Nothing of it is read back but status and accepted features, and these once.
 */
#ifndef LGUEST_VIRTIO_LGUESTBUS_H
#define LGUEST_VIRTIO_LGUESTBUS_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"

#define LGUEST_BUS_DEVICES 31 /* there are no more interrupts */

struct lguest_bus;

struct lguest_bus_device {
	struct lguest_bus *bus;
	struct virtio_device *dev;
	const struct lguest_bus_kind *kind;
	uint32_t desc;                    /* offset in the device page */
	unsigned irq;                     /* of queue 0; the others count on */
	uint32_t ring[VIRTIO_MAX_QUEUES]; /* guest-physical */
	bool started;
};

struct lguest_bus {
	const struct guest_memory *memory;
	uint32_t page, end; /* guest-physical: device page; end of the device area */
	uint32_t next_desc, next_ring;
	unsigned next_irq;
	struct lguest_bus_device device[LGUEST_BUS_DEVICES];
	unsigned devices;
	/* Any thread. */
	void (*raise_irq)(void *opaque, unsigned irq);
	void *opaque;
};

/* An empty bus whose device page is at @page; the area ends at @end. */
void lguest_bus_init(struct lguest_bus *bus, const struct guest_memory *memory, uint32_t page, uint32_t end,
		     void (*raise_irq)(void *opaque, unsigned irq), void *opaque);
/*
 * Becomes the transport of @dev. 0, -EINVAL for a kind of device that these guests do not know,
 * -ENOSPC when page, rings or interrupts are used up.
 */
int lguest_bus_attach(struct lguest_bus *bus, struct virtio_device *dev);
/* Writes the descriptors into memory, which is all zero: before a guest starts. Devices are reset. */
void lguest_bus_start(struct lguest_bus *bus);
/*
 * Ring @n of all devices', counted from 0: the address that NOTIFY has for it; @polled: guests wait for its answers
 * in a loop. False: there is none.
 */
bool lguest_bus_ring(const struct lguest_bus *bus, unsigned n, uint32_t *addr, bool *polled);
/* NOTIFY with @addr, in the device area. False: nothing lies there. One thread at a time. */
bool lguest_bus_notify(struct lguest_bus *bus, uint32_t addr);

#endif
