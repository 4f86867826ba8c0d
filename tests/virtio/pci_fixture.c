/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pci_fixture.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the device ---- */

static struct toy *toy_of(struct virtio_device *dev)
{
	return (struct toy *)dev;
}

/* Only meaningful where a single thread is at work. */
static void check_unlocked(struct toy *t)
{
	if (pthread_mutex_trylock(&t->world->lock) == 0)
		pthread_mutex_unlock(&t->world->lock);
	else
		t->world->locked_calls = true;
}

static void toy_start(struct virtio_device *dev)
{
	check_unlocked(toy_of(dev));
	toy_of(dev)->started++;
}

static void toy_stop(struct virtio_device *dev)
{
	check_unlocked(toy_of(dev));
	toy_of(dev)->stopped++;
}

static void toy_notify(struct virtio_device *dev, unsigned queue)
{
	struct toy *t = toy_of(dev);
	struct iovec iov[8];
	struct virtq_chain chain = { .iov = iov, .capacity = 8 };

	check_unlocked(t);
	t->notified[queue]++;
	if (t->lazy)
		return;
	while (virtio_pop(dev, queue, &chain) > 0)
		virtq_push(&dev->queue[queue], &chain, 0);
	virtio_flush(dev, queue);
}

static void toy_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	struct toy *t = toy_of(dev);

	check_unlocked(t);
	t->config_written++;
	t->last_offset = offset;
	t->last_size = size;
}

static void toy_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	free(dev);
}

static const struct virtio_ops toy_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.queues = QUEUES,
	.start = toy_start,
	.stop = toy_stop,
	.notify = toy_notify,
	.config_written = toy_config_written,
	.destroy = toy_destroy,
};

/* ---- the bus ---- */

static void on_line(void *opaque, unsigned gsi, bool high)
{
	struct world *w = opaque;

	w->lines = high ? w->lines | 1u << gsi : w->lines & ~(1u << gsi);
	w->edges++;
}

static void on_message(void *opaque, uint64_t addr, uint32_t data)
{
	struct world *w = opaque;

	w->message[w->messages++ % 64] = (struct message){ addr, data };
}

unsigned world_plug(struct world *w, unsigned config_len, struct toy **toy)
{
	struct toy *t = calloc(1, sizeof(*t));
	unsigned slot = pci_free_slot(&w->bus);

	if (!t)
		abort();
	virtio_init(&t->dev, &toy_ops, &w->d.env, "toy", 1ull << 40 | 3, config_len, QUEUE_SIZE);
	t->world = w;
	for (unsigned i = 0; i < config_len; i++)
		t->dev.config[i] = (uint8_t)(0x80 + i);
	if (virtio_pci_create(&t->dev, &w->bus)) {
		toy_destroy(&t->dev);
		return 0;
	}
	if (toy)
		*toy = t;
	return slot;
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	driver_init(&w->d, 1 << 20);
	pthread_mutex_init(&w->lock, NULL);
	bus_init(&w->ports, "port", NULL, NULL);
	bus_init(&w->memory, "address", NULL, NULL);
	pci_init(&w->bus, &w->ports, &w->memory);
	w->bus.lock = &w->lock;
	w->bus.set_line = on_line;
	w->bus.message = on_message;
	w->bus.opaque = w;
	if (bus_add(&w->ports, PCI_PORT, PCI_PORTS, &pci_bus_ops, &w->bus))
		return -1;
	w->slot = world_plug(w, CONFIG_LEN, &w->toy);
	*state = w;
	return w->slot != 1;
}

int world_teardown(void **state)
{
	struct world *w = *state;
	struct virtio_device *dev[PCI_SLOTS] = { NULL };
	bool locked_calls = w->locked_calls;

	for (unsigned i = 1; i < PCI_SLOTS; i++)
		if (w->bus.slot[i])
			dev[i] = ((struct virtio_pci *)w->bus.slot[i]->opaque)->dev;
	pci_reset(&w->bus);
	pci_destroy(&w->bus);
	for (unsigned i = 1; i < PCI_SLOTS; i++)
		if (dev[i])
			dev[i]->ops->destroy(dev[i]);
	driver_destroy(&w->d);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return locked_calls;
}

/* ---- the guest's side ---- */

uint32_t cfg_read(struct world *w, unsigned slot, unsigned offset, unsigned size)
{
	bus_write(&w->ports, PCI_PORT, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
	return (uint32_t)bus_read(&w->ports, PCI_PORT + 4 + (offset & 3), size);
}

void cfg_write(struct world *w, unsigned slot, unsigned offset, unsigned size, uint32_t val)
{
	bus_write(&w->ports, PCI_PORT, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
	bus_write(&w->ports, PCI_PORT + 4 + (offset & 3), size, val);
}

unsigned find_capability(struct world *w, unsigned slot, uint8_t id, uint8_t type)
{
	unsigned at = cfg_read(w, slot, PCI_CAP_POINTER, 1);

	for (unsigned i = 0; at && i < 64; i++, at = cfg_read(w, slot, at + 1, 1))
		if (cfg_read(w, slot, at, 1) == id &&
		    (id != PCI_CAPABILITY_VENDOR ||
		     cfg_read(w, slot, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type))
			return at;
	return 0;
}

void map(struct world *w)
{
	cfg_write(w, w->slot, PCI_BAR0, 4, BAR0);
	cfg_write(w, w->slot, PCI_BAR0 + 4, 4, BAR1);
	cfg_write(w, w->slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* As pc.c does it: the lock is there while the bus is searched, and gone for devices that ask for that. */
uint64_t reg_read(struct world *w, unsigned offset, unsigned size)
{
	return bus_read(&w->memory, BAR0 + offset, size);
}

void reg_write(struct world *w, unsigned offset, unsigned size, uint64_t val)
{
	bus_write(&w->memory, BAR0 + offset, size, val);
}

uint32_t msix_read(struct world *w, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(&w->memory, BAR1 + offset, size);
}

void msix_write(struct world *w, unsigned offset, unsigned size, uint32_t val)
{
	bus_write(&w->memory, BAR1 + offset, size, val);
}

void bring_up(struct world *w)
{
	const uint8_t found = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	map(w);
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, found);
	reg_write(w, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	reg_write(w, VIRTIO_PCI_COMMON_GF, 4, 1); /* VERSION_1 */
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, found | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < QUEUES; i++) {
		struct driver_queue *q = &w->d.q[i];

		driver_queue_init(q, &w->d, QUEUE_SIZE, false);
		reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		reg_write(w, VIRTIO_PCI_COMMON_Q_DESCLO, 4, q->desc_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
		reg_write(w, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, q->avail_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_USEDLO, 4, q->used_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1,
		  found | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

void bring_up_msix(struct world *w)
{
	unsigned cap = find_capability(w, w->slot, PCI_CAPABILITY_MSIX, 0);

	bring_up(w);
	cfg_write(w, w->slot, cap + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE);
	for (unsigned i = 0; i <= QUEUES; i++) {
		msix_write(w, 16 * i, 4, 0xfee00000 + i * 0x1000);
		msix_write(w, 16 * i + 4, 4, 0);
		msix_write(w, 16 * i + 8, 4, 0x40 + i);
		msix_write(w, 16 * i + 12, 4, 0);
	}
	reg_write(w, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		reg_write(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, i + 1);
	}
}

void request(struct world *w, unsigned queue)
{
	struct driver_queue *q = &w->d.q[queue];

	/* Take back what is done, so that descriptors never run out. */
	while (driver_get_used(q, NULL, NULL))
		;
	driver_add(q, (struct driver_buf[]){ { 0x100, 16, false } }, 1);
	reg_write(w, VPCI_NOTIFY + queue * VPCI_NOTIFY_STEP, 2, queue);
}
