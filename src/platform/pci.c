/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration space is an array of bytes and a mask of what the guest may
 * write; sizing a BAR falls out of that, since the low bits of its address
 * are not writable. What a write changes beyond the bytes (where BARs are
 * mapped) is worked out anew after each write.
 */
#include "platform/pci.h"

#include <errno.h>
#include <string.h>

#define ADDRESS_ENABLE 0x80000000u

/* PCI_VENDOR_ID_REDHAT and the generic host bridge that Linux needs no driver for. */
#define BRIDGE_VENDOR     0x1b36
#define BRIDGE_DEVICE     0x0008
#define CLASS_HOST_BRIDGE 0x060000

void pci_device_init(struct pci_device *dev, const char *name, uint16_t vendor, uint16_t device,
		     uint32_t class_code, uint8_t revision)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	pci_set(dev, PCI_VENDOR_ID, 2, vendor);
	pci_set(dev, PCI_DEVICE_ID, 2, device);
	pci_set(dev, PCI_REVISION, 1, revision);
	pci_set(dev, PCI_CLASS, 3, class_code);
	dev->wmask[PCI_COMMAND] = PCI_COMMAND_MASTER;
	dev->wmask[PCI_COMMAND + 1] = PCI_COMMAND_NOINTX >> 8;
	dev->wmask[PCI_INT_LINE] = 0xff;
}

int pci_add_bar(struct pci_device *dev, unsigned index, enum pci_bar_kind kind, uint64_t size,
		const struct bus_ops *ops, void *device)
{
	unsigned at = PCI_BAR0 + index * 4, bytes = kind == PCI_BAR_MEM64 ? 8 : 4;
	uint64_t least = kind == PCI_BAR_IO ? 4 : 16, most = kind == PCI_BAR_IO ? 256 : 1ull << 30;
	static const uint8_t type[] = { [PCI_BAR_IO] = 1, [PCI_BAR_MEM32] = 0, [PCI_BAR_MEM64] = 4 };

	if (kind == PCI_BAR_NONE || index >= PCI_BARS || at + bytes > PCI_BAR0 + PCI_BARS * 4)
		return -EINVAL;
	if (size < least || size > most || (size & (size - 1)))
		return -EINVAL;
	dev->bar[index] = (struct pci_bar){ .kind = kind, .size = size, .ops = ops, .device = device };
	dev->config[at] = type[kind];
	for (unsigned i = 0; i < bytes; i++)
		dev->wmask[at + i] = (uint8_t)(~(size - 1) >> (i * 8));
	dev->wmask[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	return 0;
}

int pci_attach(struct pci_bus *pci, struct pci_device *dev, unsigned slot)
{
	if (slot >= PCI_SLOTS)
		return -EINVAL;
	if (pci->slot[slot])
		return -EBUSY;
	dev->bus = pci;
	dev->slot = slot;
	pci->slot[slot] = dev;
	if (dev->config[PCI_INT_PIN])
		dev->config[PCI_INT_LINE] = (uint8_t)PCI_SLOT_GSI(slot);
	return 0;
}

static void unmap(struct pci_device *dev, struct pci_bar *bar)
{
	if (!bar->mapped)
		return;
	bus_remove(bar->kind == PCI_BAR_IO ? dev->bus->ports : dev->bus->memory, bar->base);
	bar->mapped = false;
}

/* Where @bar stands by the registers; false when it is not decoded. */
static bool placed(const struct pci_device *dev, unsigned index, uint64_t *base)
{
	const struct pci_bar *bar = &dev->bar[index];
	unsigned at = PCI_BAR0 + index * 4;
	uint32_t command = pci_get(dev, PCI_COMMAND, 2);

	switch (bar->kind) {
	case PCI_BAR_IO:
		*base = pci_get(dev, at, 4) & ~3u;
		return (command & PCI_COMMAND_IO) && *base && *base <= 0xffff;
	case PCI_BAR_MEM64:
		*base = pci_get(dev, at, 4) & ~15u;
		*base |= (uint64_t)pci_get(dev, at + 4, 4) << 32;
		break;
	case PCI_BAR_MEM32: *base = pci_get(dev, at, 4) & ~15u; break;
	default: return false;
	}
	return (command & PCI_COMMAND_MEMORY) && *base;
}

/*
 * Brings the bus in line with the registers. A BAR that the guest put on top
 * of something else is simply not there: the first one keeps the place.
 */
static void remap(struct pci_device *dev)
{
	uint64_t base;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &dev->bar[i];
		bool wanted = placed(dev, i, &base);

		if (bar->mapped && wanted && base == bar->base)
			continue;
		unmap(dev, bar);
		if (!wanted)
			continue;
		bar->base = base;
		bar->mapped = bus_add(bar->kind == PCI_BAR_IO ? dev->bus->ports : dev->bus->memory, base,
				      bar->size, bar->ops, bar->device) == 0;
	}
}

uint32_t pci_config_read(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size)
{
	struct pci_device *dev = slot < PCI_SLOTS ? pci->slot[slot] : NULL;

	if (!dev || offset + size > sizeof(dev->config))
		return (uint32_t)bus_ones(size);
	if (dev->reading)
		dev->reading(dev, offset, size);
	return pci_get(dev, offset, size);
}

void pci_config_write(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size, uint32_t val)
{
	struct pci_device *dev = slot < PCI_SLOTS ? pci->slot[slot] : NULL;

	if (!dev || offset + size > sizeof(dev->config))
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = dev->wmask[offset + i], byte = (uint8_t)(val >> (i * 8));

		dev->config[offset + i] = (uint8_t)((dev->config[offset + i] & ~mask) | (byte & mask));
	}
	if (offset < PCI_BAR0 + PCI_BARS * 4 && offset + size > PCI_COMMAND)
		remap(dev);
	if (dev->written)
		dev->written(dev, offset, size);
}

/* The function that CONFIG_ADDRESS selects; slot PCI_SLOTS when there is none. */
static unsigned selected(const struct pci_bus *pci)
{
	uint32_t a = pci->address;

	/* Enable bit, bus 0, function 0 */
	return (a & 0x80ffff00u & ~0xf800u) == ADDRESS_ENABLE ? a >> 11 & 31 : PCI_SLOTS;
}

static uint64_t pci_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bus *pci = device;

	if (offset >= 4 && offset + size <= 8)
		return pci_config_read(pci, selected(pci), (pci->address & 0xfc) + (unsigned)offset - 4,
				       size);
	if (offset == 0 && size == 4)
		return pci->address;
	/* Reset control: nothing is latched. */
	if (offset == 1 && size == 1)
		return 0;
	return ~0ull;
}

static void pci_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct pci_bus *pci = device;

	if (offset >= 4 && offset + size <= 8)
		pci_config_write(pci, selected(pci), (pci->address & 0xfc) + (unsigned)offset - 4, size,
				 (uint32_t)val);
	else if (offset == 0 && size == 4)
		pci->address = (uint32_t)val & 0x80fffffcu;
	else if (offset == 1 && size == 1 && pci->reset_control)
		pci->reset_control(pci->opaque, (uint8_t)val);
}

void pci_init(struct pci_bus *pci, struct bus *ports, struct bus *memory)
{
	memset(pci, 0, sizeof(*pci));
	pci->ports = ports;
	pci->memory = memory;
	pci_device_init(&pci->bridge, "host bridge", BRIDGE_VENDOR, BRIDGE_DEVICE, CLASS_HOST_BRIDGE, 0);
	pci_attach(pci, &pci->bridge, 0);
}

void pci_reset(struct pci_bus *pci)
{
	pci->address = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *dev = pci->slot[slot];

		if (!dev)
			continue;
		/* Everything the guest could write in the header goes back to zero. */
		for (unsigned i = PCI_COMMAND; i < PCI_BAR0 + PCI_BARS * 4; i++)
			dev->config[i] &= (uint8_t)~dev->wmask[i];
		remap(dev);
	}
}

const struct bus_ops pci_bus_ops = { .read = pci_read, .write = pci_write };
