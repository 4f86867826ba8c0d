/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole way from a guest's ports and memory accesses to devices and back
 * to its interrupt controllers: a PC with virtio devices in its slots, and a
 * guest that does anything to their configuration space, BARs, MSI-X tables and
 * rings. (What devices make of requests is for the other fuzzers.)
 *
 * How it is run: tests/fuzz/input.h.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "fuzz/input.h"
#include "fuzz/pc.h"
#include "platform/ioapic.h"
#include "virtio/devices.h"
#include "virtio/pci.h"

#define RAM       (256u << 10)
#define DEVICES   3
#define MAX_STEPS 300

const struct fuzz_bounds fuzz_bounds = { .len = 2000, .runs = 2000 };

/* Sends back what it gets, changes its own configuration, and has all the queues that there can be. */
struct toy {
	struct virtio_device dev;
	struct pc *pc;
};

struct world {
	struct fuzz_pc f;
	struct driver d;
	struct virtio_device *dev[DEVICES];
	struct virtio_pci *transport[DEVICES];
	struct fuzz_input in;
};

static uint64_t take(struct world *w, unsigned bytes)
{
	return input_take(&w->in, bytes);
}

/* ---- the device ---- */

/* The order is device, then PC (device.h): whoever calls with the PC's lock would wait for ever some day. */
static void check_unlocked(struct virtio_device *dev)
{
	struct pc *pc = ((struct toy *)dev)->pc;

	FUZZ_CHECK(pthread_mutex_trylock(&pc->lock) == 0);
	pthread_mutex_unlock(&pc->lock);
}

static void toy_start(struct virtio_device *dev)
{
	check_unlocked(dev);
}

static void toy_stop(struct virtio_device *dev)
{
	check_unlocked(dev);
}

static void toy_notify(struct virtio_device *dev, unsigned queue)
{
	struct iovec iov[8];
	struct virtq_chain chain = { .iov = iov, .capacity = 8 };

	check_unlocked(dev);
	while (virtio_pop(dev, queue, &chain) > 0)
		virtq_push(&dev->queue[queue], &chain, 0);
	virtio_flush(dev, queue);
	if (dev->running && queue == 3)
		virtio_config_change(dev);
}

static void toy_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	check_unlocked(dev);
	FUZZ_CHECK(offset + size <= dev->config_len);
	virtio_config_change(dev);
}

static void toy_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	free(dev);
}

static const struct virtio_ops toy_ops = {
	.id = 19,
	.queues = VIRTIO_MAX_QUEUES,
	.start = toy_start,
	.stop = toy_stop,
	.notify = toy_notify,
	.config_written = toy_config_written,
	.destroy = toy_destroy,
};

/* ---- the PC ---- */

static void set_up(struct world *w)
{
	struct toy *toy = calloc(1, sizeof(*toy));
	char err[100];

	FUZZ_CHECK(toy);
	driver_init(&w->d, RAM);
	fuzz_pc_init(&w->f, &w->d.ram);
	virtio_init(&toy->dev, &toy_ops, &w->d.env, "toy", 7, 30, 64);
	toy->pc = &w->f.pc;
	w->dev[0] = &toy->dev;
	for (unsigned i = 1; i < DEVICES; i++)
		w->dev[i] = virtio_rng_create(i, &w->d.env, err, sizeof(err));
	for (unsigned i = 0; i < DEVICES; i++) {
		FUZZ_CHECK(w->dev[i] && virtio_pci_create(w->dev[i], &w->f.pc.pci) == 0);
		w->transport[i] = w->f.pc.pci.slot[i + 1]->opaque;
	}
}

static void tear_down(struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_reset(w->dev[i]);
	pc_destroy(&w->f.pc);
	for (unsigned i = 0; i < DEVICES; i++)
		w->dev[i]->ops->destroy(w->dev[i]);
	driver_destroy(&w->d);
}

/* ---- the guest ---- */

static uint64_t base_of(struct world *w, unsigned n, unsigned bar)
{
	const struct pci_bar *b = &w->transport[n]->pci.bar[bar];

	return b->mapped ? b->base : PCI_MEM_BASE;
}

static void reg(struct world *w, unsigned n, unsigned offset, unsigned size, uint64_t val)
{
	pc_mmio_write(&w->f.pc, 0, base_of(w, n, 0) + offset, size, val);
}

/* By the book: BARs, MSI-X perhaps, features, queues, DRIVER_OK. */
static void bring_up(struct world *w, unsigned n)
{
	struct virtio_pci *t = w->transport[n];
	uint8_t how = (uint8_t)take(w, 1);
	unsigned slot = n + 1;

	fuzz_pc_config_write(&w->f, slot, PCI_BAR0, 4, 0xd0000000 + n * 0x100000);
	fuzz_pc_config_write(&w->f, slot, PCI_BAR0 + 4, 4, 0xd0080000 + n * 0x100000);
	fuzz_pc_config_write(&w->f, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	/* Somebody else may have been put there. */
	if (!t->pci.bar[0].mapped || !t->pci.bar[1].mapped)
		return;
	if (how & 1) {
		fuzz_pc_config_write(&w->f, slot, t->msix.capability + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE);
		for (unsigned i = 0; i < t->msix.vectors; i++) {
			pc_mmio_write(&w->f.pc, 0, base_of(w, n, 1) + 16 * i, 4, 0xfee00000);
			pc_mmio_write(&w->f.pc, 0, base_of(w, n, 1) + 16 * i + 4, 4, 0);
			pc_mmio_write(&w->f.pc, 0, base_of(w, n, 1) + 16 * i + 8, 4, 0x40 + i);
			pc_mmio_write(&w->f.pc, 0, base_of(w, n, 1) + 16 * i + 12, 4, 0);
		}
	}
	reg(w, n, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg(w, n, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		reg(w, n, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		reg(w, n, VIRTIO_PCI_COMMON_GF, 4, virtio_get_device_features(w->dev[n], i));
	}
	reg(w, n, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	w->d.next = 4096 + n * 65536;
	if (how & 2)
		reg(w, n, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned q = 0; q < w->dev[n]->ops->queues; q++) {
		driver_queue_init(&w->d.q[q], &w->d, 64, true);
		reg(w, n, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		reg(w, n, VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
		if (how & 4)
			reg(w, n, VIRTIO_PCI_COMMON_Q_MSIX, 2, q + 1);
		reg(w, n, VIRTIO_PCI_COMMON_Q_DESCLO, 8, w->d.q[q].desc_at);
		reg(w, n, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, w->d.q[q].avail_at);
		reg(w, n, VIRTIO_PCI_COMMON_Q_USEDLO, 8, w->d.q[q].used_at);
		reg(w, n, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	reg(w, n, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	FUZZ_CHECK(virtio_get_status(w->dev[n]) == 15);
}

static void add_request(struct world *w, unsigned q)
{
	uint32_t len = (uint32_t)take(w, 1);

	if (w->d.q[q].size)
		driver_add(&w->d.q[q], &(struct driver_buf){ 0x38000 + take(w, 2) % 0x8000, len, true }, 1);
}

/* Anything in the registers, mostly where there are some. */
static void any_register(struct world *w, unsigned n)
{
	static const uint16_t place[] = {
		0, 0, 0, 0x10, 0x18, 0x28, VPCI_ISR, VPCI_CONFIG, VPCI_CONFIG + 16, VPCI_NOTIFY
	};
	uint8_t how = (uint8_t)take(w, 1);
	unsigned size = 1u << (how >> 4 & 3);
	uint64_t addr = base_of(w, n, 0) + place[(how & 15) % 10] + take(w, 1) % 0x40;

	if (how & 0x80)
		pc_mmio_read(&w->f.pc, 0, addr, size);
	else
		pc_mmio_write(&w->f.pc, 0, addr, size, take(w, how & 0x40 ? 8 : 2));
}

static void any_vector(struct world *w, unsigned n)
{
	uint8_t how = (uint8_t)take(w, 1);
	uint64_t addr = base_of(w, n, 1) + (how & 0x40 ? MSIX_PBA : 0) + take(w, 1);

	if (how & 0x80)
		pc_mmio_read(&w->f.pc, 0, addr, 1u << (how & 3));
	else
		pc_mmio_write(&w->f.pc, 0, addr, 1u << (how & 3), take(w, how & 4 ? 8 : 1));
}

static void any_configuration(struct world *w, unsigned n)
{
	uint8_t how = (uint8_t)take(w, 1);
	unsigned slot = how & 0x40 ? how & 31 : n + 1, size = how & 8 ? 4 : 1u << (how & 1);
	unsigned offset = (unsigned)take(w, 1);

	if (how & 0x80)
		fuzz_pc_config_read(&w->f, slot, offset, size);
	else
		fuzz_pc_config_write(&w->f, slot, offset, size, (uint32_t)take(w, 4));
	fuzz_pc_check(&w->f);
}

/* The window into the BARs (4.1.4.9). */
static void any_window(struct world *w, unsigned n)
{
	uint8_t how = (uint8_t)take(w, 1);
	unsigned cap = w->transport[n]->window, slot = n + 1;

	fuzz_pc_config_write(&w->f, slot, cap + VIRTIO_PCI_CAP_BAR, 1,
			     how & 0x40 ? (uint32_t)take(w, 1) : how >> 3 & 1);
	fuzz_pc_config_write(&w->f, slot, cap + VIRTIO_PCI_CAP_OFFSET, 4,
			     (uint32_t)take(w, how & 0x20 ? 4 : 1));
	fuzz_pc_config_write(&w->f, slot, cap + VIRTIO_PCI_CAP_LENGTH, 4,
			     how & 0x10 ? (uint32_t)take(w, 4) : 1u << (how & 3));
	if (how & 0x80)
		fuzz_pc_config_read(&w->f, slot, cap + sizeof(struct virtio_pci_cap) + (how & 3), 1);
	else
		fuzz_pc_config_write(&w->f, slot, cap + sizeof(struct virtio_pci_cap), 4,
				     (uint32_t)take(w, 4));
}

static void ioapic(struct world *w)
{
	unsigned pin = PCI_SLOT_GSI(1) + (unsigned)take(w, 1) % 4, word = (unsigned)take(w, 1) & 1;

	pc_mmio_write(&w->f.pc, 0, 0xfec00000, 4, 0x10 + 2 * pin + word);
	pc_mmio_write(&w->f.pc, 0, 0xfec00010, 4, take(w, 3));
}

static void step(struct world *w)
{
	uint8_t op = (uint8_t)take(w, 1);
	unsigned n = (op >> 5) % DEVICES, q = (unsigned)take(w, 1) % VIRTIO_MAX_QUEUES;
	uint16_t val;

	switch (op & 31) {
	case 0:
	case 1: bring_up(w, n); break;
	case 2:
	case 3:
	case 4: add_request(w, q); break;
	case 5:
	case 6: reg(w, n, VPCI_NOTIFY + 4 * q, 2, q); break;
	case 7:
	case 8:
		add_request(w, q);
		reg(w, n, VPCI_NOTIFY + 4 * q, 2, q);
		break;
	case 9:
	case 10:
	case 11:
	case 12:
	case 13: any_register(w, n); break;
	case 14:
	case 15:
	case 16: any_vector(w, n); break;
	case 17:
	case 18:
	case 19: any_configuration(w, n); break;
	case 20:
	case 21: any_window(w, n); break;
	case 22:
	case 23:
		if (lapic_pending(&w->f.pc.lapic[0]) >= 0)
			lapic_accept(&w->f.pc.lapic[0]);
		pc_mmio_write(&w->f.pc, 0, 0xfee000b0, 4, 0);
		break;
	case 24: ioapic(w); break;
	case 25: pc_mmio_write(&w->f.pc, 0, 0xfee00000 + (take(w, 1) << 4), 4, take(w, 4)); break;
	case 26: pc_run_timers(&w->f.pc, 0); break;
	case 27:
		val = (uint16_t)take(w, 2);
		memcpy(driver_ptr(&w->d, take(w, 3) % (RAM - 2), 2), &val, 2);
		break;
	case 28: reg(w, n, VIRTIO_PCI_COMMON_STATUS, 1, 0); break;
	case 29:
		if (take(w, 1) < 32)
			pc_reset(&w->f.pc);
		break;
	case 30: pc_mmio_read(&w->f.pc, 0, base_of(w, n, 0) + VPCI_ISR, 1); break;
	case 31:
		for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
			while (w->d.q[i].size && driver_get_used(&w->d.q[i], NULL, NULL) && take(w, 1))
				;
		break;
	}
	for (unsigned i = 0; i < DEVICES; i++)
		FUZZ_CHECK(w->transport[i]->s.queue_vector[0] == VIRTIO_MSI_NO_VECTOR ||
			   w->transport[i]->s.queue_vector[0] < w->transport[i]->msix.vectors);
	/* Nobody left the lock behind. */
	FUZZ_CHECK(pthread_mutex_trylock(&w->f.pc.lock) == 0);
	pthread_mutex_unlock(&w->f.pc.lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world *w = calloc(1, sizeof(*w));

	FUZZ_CHECK(w);
	set_up(w);
	w->in = (struct fuzz_input){ data, len };
	for (unsigned i = 0; i < MAX_STEPS && w->in.left; i++)
		step(w);
	tear_down(w);
	free(w);
	return 0;
}
