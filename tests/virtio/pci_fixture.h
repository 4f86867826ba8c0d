/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI bus with a device of our own on it, for tests of the PCI transport: what
 * goes over the bus (interrupt lines, messages) is written down, and what the
 * device is asked to do checks that nobody holds the PC's lock then.
 */
#ifndef LGUEST_TESTS_VIRTIO_PCI_FIXTURE_H
#define LGUEST_TESTS_VIRTIO_PCI_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "platform/bus.h"
#include "platform/msix.h"
#include "platform/pci.h"
#include "virtio/device.h"
#include "virtio/pci.h"

#define QUEUES     3
#define QUEUE_SIZE 64
#define CONFIG_LEN 24

/* A device that answers each request at once with nothing, if told so, and counts. */
struct toy {
	struct virtio_device dev;
	struct world *world;
	bool lazy; /* leaves requests where they are */
	unsigned notified[QUEUES], started, stopped, config_written, destroyed;
	unsigned last_offset, last_size;
};

struct message {
	uint64_t addr;
	uint32_t data;
};

struct world {
	struct driver d; /* for RAM and environment */
	struct bus ports, memory;
	struct pci_bus bus;
	pthread_mutex_t lock;
	struct toy *toy;
	unsigned slot; /* its */
	/* What came over the bus */
	struct message message[64];
	unsigned messages;
	uint32_t lines;    /* interrupt lines, by GSI */
	unsigned edges;    /* their changes */
	bool locked_calls; /* somebody called a device with the PC's lock held */
};

/* cmocka's setup and teardown; *state is a struct world */
int world_setup(void **state);
int world_teardown(void **state);

/* One more toy on the bus; its slot, or 0 when there is none left. */
unsigned world_plug(struct world *w, unsigned config_len, struct toy **toy);

/* Configuration space of the toy, through the ports. */
uint32_t cfg_read(struct world *w, unsigned slot, unsigned offset, unsigned size);
void cfg_write(struct world *w, unsigned slot, unsigned offset, unsigned size, uint32_t val);

/* Offset of capability @id; vendor-specific ones: of that @type. 0: none. */
unsigned find_capability(struct world *w, unsigned slot, uint8_t id, uint8_t type);

/* Places both BARs, switches memory and bus mastering on. */
#define BAR0 0xd0000000u
#define BAR1 0xd0010000u
void map(struct world *w);

/* Registers of BAR 0 and 1, as mapped by map(). */
uint64_t reg_read(struct world *w, unsigned offset, unsigned size);
void reg_write(struct world *w, unsigned offset, unsigned size, uint64_t val);
uint32_t msix_read(struct world *w, unsigned offset, unsigned size);
void msix_write(struct world *w, unsigned offset, unsigned size, uint32_t val);

/* map(), and the driver's steps up to DRIVER_OK, all queues set up in w->d.q. */
void bring_up(struct world *w);

/* MSI-X on, vector n with address 0xfee00000 + n * 0x1000 and data 0x40 + n, unmasked; queue n has vector n + 1. */
void bring_up_msix(struct world *w);

/* One empty request to @queue, and the doorbell. */
void request(struct world *w, unsigned queue);

#endif
