/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throws whatever a hostile guest could at the platform: port and MMIO
 * accesses of any size, MSRs, interrupts, with a few PCI devices whose BARs it
 * may move about. Under the sanitizers the platform must neither crash nor
 * break its invariants.
 *
 * With clang and -fsanitize=fuzzer this is a libFuzzer target. Without, main()
 * below feeds it from a seeded generator: fuzz-pc [SEED [RUNS]].
 *
 * Input: records of 12 bytes: kind, size, six bytes address, four bytes value.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "platform/acpi.h"
#include "platform/pc.h"

struct world {
	struct pc pc;
	struct guest_memory ram;
	struct pci_device dev[3];
	unsigned room;
	uint8_t next;
};

static void on_kick(void *opaque, unsigned cpu)
{
}

static void on_event(void *opaque, enum power_event event)
{
}

static bool on_put(void *opaque, uint8_t byte)
{
	struct world *w = opaque;

	return w->room ? w->room--, true : false;
}

static bool on_wait(void *opaque)
{
	((struct world *)opaque)->room += 7;
	return true;
}

static int on_get(void *opaque)
{
	return ((struct world *)opaque)->next++;
}

static bool on_ready(void *opaque)
{
	return true;
}

static const struct pc_host host = {
	.kick = on_kick,
	.event = on_event,
	.console_put = on_put,
	.console_wait = on_wait,
	.console_get = on_get,
	.console_ready = on_ready,
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

static void check(const struct bus *bus)
{
	for (unsigned i = 1; i < bus->count; i++)
		if (bus->range[i].base - bus->range[i - 1].base < bus->range[i - 1].len ||
		    bus->range[i].base <= bus->range[i - 1].base)
			abort();
}

static void set_up(struct world *w)
{
	memset(w, 0, sizeof(*w));
	if (guest_memory_create(&w->ram, 2 << 20) || pc_init(&w->pc, &w->ram, 1, 2000000, &host, w) ||
	    !acpi_build(&w->ram, 1))
		abort();
	for (unsigned i = 0; i < 3; i++) {
		pci_device_init(&w->dev[i], "fuzz", 0x1af4, 0x1041, 0x020000, 1);
		pci_add_bar(&w->dev[i], 0, PCI_BAR_IO, 16u << i, &bar_ops, &w->dev[i].bar[0]);
		pci_add_bar(&w->dev[i], 1, PCI_BAR_MEM32, 4096u << i, &bar_ops, &w->dev[i].bar[1]);
		pci_add_bar(&w->dev[i], 4, PCI_BAR_MEM64, 65536u << i, &bar_ops, &w->dev[i].bar[4]);
		if (pci_attach(&w->pc.pci, &w->dev[i], i + 1))
			abort();
	}
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
	static const uint64_t base[] = { 0xfee00000, 0xfec00000, 0xd0000000, 0x100000000 };

	if (addr >> 40 & 1)
		return addr << (addr >> 41 & 31);
	return base[addr % 4] + (addr >> 8 & 0xfff);
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

	switch (kind % 10) {
	case 0: pc_pio_write(&w->pc, 0, pick_port(addr), pio, val); break;
	case 1: pc_pio_read(&w->pc, 0, pick_port(addr), pio); break;
	case 2: pc_mmio_write(&w->pc, 0, pick_address(addr), size, wide); break;
	case 3: pc_mmio_read(&w->pc, 0, pick_address(addr), size); break;
	case 4: pc_msr_write(&w->pc, 0, pick_msr(addr), wide); break;
	case 5: pc_msr_read(&w->pc, 0, pick_msr(addr), &msr); break;
	case 6: pc_run_timers(&w->pc, 0); break;
	case 7:
		if (lapic_pending(&w->pc.lapic[0]) != lapic_accept(&w->pc.lapic[0]))
			abort();
		break;
	case 8:
		/* PCI configuration, as a guest does it */
		pc_pio_write(&w->pc, 0, PCI_PORT, 4, 0x80000000 | (addr & 0x38fc));
		pc_pio_write(&w->pc, 0, PCI_PORT + 4 + (addr >> 16 & 3), pio, val);
		check(&w->pc.ports);
		check(&w->pc.memory);
		break;
	case 9:
		if (val % 16 == 0)
			pc_reset(&w->pc);
		else if (val & 1)
			pc_console_input(&w->pc);
		else
			pc_msi(&w->pc, LAPIC_DEFAULT_BASE | (addr & 0xfffff), val);
		break;
	}
	pc_deadline(&w->pc, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

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
	pc_destroy(&w->pc);
	guest_memory_destroy(&w->ram);
	free(w);
	return 0;
}

#ifndef LIBFUZZER
int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 3000;
	static uint8_t data[12 * 1000];

	for (unsigned run = 0; run < runs; run++) {
		uint64_t x = (seed * 1000003 + run) * 0x9e3779b97f4a7c15 + 1;

		for (size_t i = 0; i < sizeof(data); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[i] = (uint8_t)(x >> 32);
		}
		LLVMFuzzerTestOneInput(data, sizeof(data));
	}
	printf("%u inputs of 1000 accesses\n", runs);
	return 0;
}
#endif
