/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throws whatever a hostile guest could at the platform: port and MMIO
 * accesses of any size, MSRs, interrupts, with a few PCI devices whose BARs it
 * may move about, one of them virtio with queues to fill. Under the sanitizers the platform must neither crash nor
 * break its invariants.
 *
 * How it is run: tests/fuzz/input.h.
 *
 * Input: records of 12 bytes: kind, size, six bytes address, four bytes value.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "fuzz/input.h"
#include "fuzz/pc.h"
#include "memory.h"
#include "platform/acpi.h"
#include "virtio/devices.h"
#include "virtio/pci.h"

#define VIRTIO_SLOT 4
#define VIRTIO_BAR0 0xd4000000u
#define VIRTIO_BAR1 0xd4004000u
/* Its rings, when the guest sets them up well. */
#define DESC_AT  0x110000u
#define AVAIL_AT 0x111000u
#define USED_AT  0x112000u

const struct fuzz_bounds fuzz_bounds = { .len = 12 * 1000, .runs = 3000 };

struct world {
	struct fuzz_pc f;
	struct guest_memory ram;
	struct pci_device dev[3];
	struct virtio_env env;
	struct virtio_device *rng;
};

/* A BAR's contents: checks what the bus promises. */
static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bar *bar = device;

	if (!bar->mapped || offset + size > bar->size)
		abort();
	return offset;
}

static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	bar_read(device, offset, size);
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bar_write };

static void config(struct world *w, unsigned offset, uint32_t val)
{
	fuzz_pc_config_write(&w->f, VIRTIO_SLOT, offset, 4, val);
}

static void common(struct world *w, unsigned reg, unsigned size, uint64_t val)
{
	pc_mmio_write(&w->f.pc, 0, VIRTIO_BAR0 + reg, size, val);
}

/* As a driver would, up to DRIVER_OK: more than bytes by chance ever do. @how: with MSI-X, event index... */
static void bring_up(struct world *w, uint32_t how)
{
	config(w, PCI_BAR0, VIRTIO_BAR0);
	config(w, PCI_BAR0 + 4, VIRTIO_BAR1);
	config(w, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	/* Somebody else may have been put there. */
	if (!w->f.pc.pci.slot[VIRTIO_SLOT]->bar[0].mapped || !w->f.pc.pci.slot[VIRTIO_SLOT]->bar[1].mapped)
		return;
	config(w, 0x40, how & 1 ? 0x80000000 : 0);
	pc_mmio_write(&w->f.pc, 0, VIRTIO_BAR1 + 16, 4, 0xfee00000);
	pc_mmio_write(&w->f.pc, 0, VIRTIO_BAR1 + 24, 8, (how >> 8 & 0xff) | (uint64_t)(how >> 16 & 1) << 32);
	common(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common(w, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	common(w, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	common(w, VIRTIO_PCI_COMMON_GF, 4, how & 2 ? 3u << 28 : 0); /* indirect, event index */
	common(w, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common(w, VIRTIO_PCI_COMMON_GF, 4, 1);
	common(w, VIRTIO_PCI_COMMON_STATUS, 1, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	common(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common(w, VIRTIO_PCI_COMMON_Q_SIZE, 2, 1u << (how >> 4 & 7));
	common(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	common(w, VIRTIO_PCI_COMMON_Q_DESCLO, 8, DESC_AT);
	common(w, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, AVAIL_AT);
	common(w, VIRTIO_PCI_COMMON_Q_USEDLO, 8, USED_AT);
	common(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	common(w, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	if (!(w->rng->s.status & VIRTIO_CONFIG_S_DRIVER_OK))
		abort();
}

/* One descriptor or entry of the available ring, often a good one. */
static void fill_ring(struct world *w, uint64_t addr, uint32_t val)
{
	uint8_t *desc = guest_range(&w->ram, DESC_AT + addr % 8 * 16, 16);
	uint8_t *avail = guest_range(&w->ram, AVAIL_AT, 64);
	uint64_t buffer = addr >> 40 & 1 ? addr : 0x120000 + (addr >> 8 & 0xffff);
	uint16_t flags = addr >> 41 & 1 ? (uint16_t)(addr >> 42 & 7) : 2, next = addr >> 45 & 7;
	uint32_t len = addr >> 41 & 1 ? val : val % 64;
	uint16_t index, head = (uint16_t)(addr % 8);

	memcpy(desc, &buffer, 8);
	memcpy(desc + 8, &len, 4);
	memcpy(desc + 12, &flags, 2);
	memcpy(desc + 14, &next, 2);
	memcpy(&index, avail + 2, 2);
	memcpy(avail + 4 + index % 16 * 2, &head, 2);
	index += val % 8 ? 1 : val;
	memcpy(avail + 2, &index, 2);
	common(w, VPCI_NOTIFY, 2, 0);
}

/* The window into the BARs of the virtio device, or its MSI-X control. */
static void through_window(struct world *w, uint64_t addr, uint32_t val)
{
	unsigned data = w->f.pc.pci.slot[VIRTIO_SLOT]->window, lie = addr >> 40 & 1;

	if (addr & 1) {
		config(w, 0x40, val);
		return;
	}
	config(w, data - 16 + VIRTIO_PCI_CAP_BAR, addr >> 1 & (lie ? 255 : 1));
	config(w, data - 16 + VIRTIO_PCI_CAP_OFFSET, (uint32_t)(addr >> 8) & (lie ? ~0u : 0x3ffc));
	config(w, data - 16 + VIRTIO_PCI_CAP_LENGTH, lie ? (uint32_t)addr >> 24 : 1u << (addr >> 24) % 3);
	if (addr >> 41 & 1)
		config(w, data, val);
	else
		pc_pio_read(&w->f.pc, 0, PCI_PORT + 4, 1u << (addr >> 42) % 3);
}

static void set_up(struct world *w)
{
	char err[100];

	memset(w, 0, sizeof(*w));
	FUZZ_CHECK(guest_memory_create(&w->ram, 2 << 20) == 0);
	fuzz_pc_init(&w->f, &w->ram);
	FUZZ_CHECK(acpi_build(&w->ram, 1));
	for (unsigned i = 0; i < 3; i++) {
		pci_device_init(&w->dev[i], "fuzz", 0x1af4, 0x1041, 0x020000, 1);
		pci_add_bar(&w->dev[i], 0, PCI_BAR_IO, 16u << i, &bar_ops, &w->dev[i].bar[0]);
		pci_add_bar(&w->dev[i], 1, PCI_BAR_MEM32, 4096u << i, &bar_ops, &w->dev[i].bar[1]);
		pci_add_bar(&w->dev[i], 4, PCI_BAR_MEM64, 65536u << i, &bar_ops, &w->dev[i].bar[4]);
		if (pci_attach(&w->f.pc.pci, &w->dev[i], i + 1))
			abort();
	}
	w->env = (struct virtio_env){ .ram = &w->ram };
	w->rng = virtio_rng_create(0, &w->env, err, sizeof(err));
	if (!w->rng || virtio_pci_create(w->rng, &w->f.pc.pci))
		abort();
}

/* Addresses worth visiting: without help, random ones would hardly ever hit a device. */
static uint16_t pick_port(uint64_t addr)
{
	static const uint16_t base[] = { 0x3f8, 0x70, 0xcf8, 0x600, 0x505, 0x60, 0x64, 0x80, 0xc000 };

	if (addr >> 40 & 1)
		return (uint16_t)addr;
	return (uint16_t)(base[addr % 9] + (addr >> 8 & 7));
}

static uint64_t pick_address(uint64_t addr)
{
	static const uint64_t base[] = { 0xfee00000,
					 0xfec00000,
					 0xd0000000,
					 0x100000000,
					 VIRTIO_BAR0,
					 VIRTIO_BAR1,
					 VIRTIO_BAR0 + VPCI_ISR,
					 VIRTIO_BAR0 };

	if (addr >> 40 & 1)
		return addr << (addr >> 41 & 31);
	return base[addr % 8] + (addr >> 8 & (addr % 8 > 3 ? 63 : 0xfff));
}

static uint32_t pick_msr(uint64_t addr)
{
	static const uint32_t base[] = { 0x1b, 0x6e0, 0x800, 0x800, 0x800, 0x4b564d00, 0x10 };
	static const uint32_t span[] = { 1, 1, 0x100, 0x100, 0x40, 8, 4 };
	unsigned i = addr % 7;

	return base[i] + (uint32_t)(addr >> 8 & 0xffff) % span[i];
}

static void one(struct world *w, uint8_t kind, unsigned size, uint64_t addr, uint32_t val)
{
	uint64_t wide = (uint64_t)val << (addr >> 42 & 31) | addr >> 40, msr;
	unsigned pio = size > 4 ? 4 : size;
	int pending;

	switch (kind % 13) {
	case 0: pc_pio_write(&w->f.pc, 0, pick_port(addr), pio, val); break;
	case 1: pc_pio_read(&w->f.pc, 0, pick_port(addr), pio); break;
	case 2: pc_mmio_write(&w->f.pc, 0, pick_address(addr), size, wide); break;
	case 3: pc_mmio_read(&w->f.pc, 0, pick_address(addr), size); break;
	case 4: pc_msr_write(&w->f.pc, 0, pick_msr(addr), wide); break;
	case 5: pc_msr_read(&w->f.pc, 0, pick_msr(addr), &msr); break;
	case 6: pc_run_timers(&w->f.pc, 0); break;
	case 7:
		pending = lapic_pending(&w->f.pc.lapic[0]);
		FUZZ_CHECK(lapic_accept(&w->f.pc.lapic[0]) == pending);
		break;
	case 8:
		/* PCI configuration, as a guest does it */
		pc_pio_write(&w->f.pc, 0, PCI_PORT, 4, 0x80000000 | (addr & 0x38fc));
		pc_pio_write(&w->f.pc, 0, PCI_PORT + 4 + (addr >> 16 & 3), pio, val);
		fuzz_pc_check(&w->f);
		break;
	case 10: bring_up(w, val); break;
	case 11: fill_ring(w, addr, val); break;
	case 12: through_window(w, addr, val); break;
	case 9:
		if (val % 16 == 0)
			pc_reset(&w->f.pc);
		else if (val & 1)
			pc_console_input(&w->f.pc);
		else
			pc_msi(&w->f.pc, LAPIC_DEFAULT_BASE | (addr & 0xfffff), val);
		break;
	}
	pc_deadline(&w->f.pc, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world *w = malloc(sizeof(*w));

	if (!w)
		abort();
	set_up(w);
	for (; len >= 12; data += 12, len -= 12) {
		uint64_t addr = 0;
		uint32_t val;

		memcpy(&addr, data + 2, 6);
		memcpy(&val, data + 8, 4);
		one(w, data[0], 1u << (data[1] & 3), addr, val);
	}
	virtio_reset(w->rng);
	pc_destroy(&w->f.pc);
	w->rng->ops->destroy(w->rng);
	guest_memory_destroy(&w->ram);
	free(w);
	return 0;
}
