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

#define CAPS_START 0x40 /* behind the header */

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

unsigned pci_add_capability(struct pci_device *dev, uint8_t id, unsigned len)
{
	unsigned at = dev->caps_end ? dev->caps_end : CAPS_START;

	if (len < 2 || len > sizeof(dev->config) - at)
		return 0;
	dev->config[at] = id;
	dev->config[dev->caps_last ? dev->caps_last + 1u : PCI_CAP_POINTER] = (uint8_t)at;
	dev->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	dev->caps_last = (uint8_t)at;
	/* Aligned to four bytes; full when that reaches the end (PCI 3.0, 6.7). */
	at = (at + len + 3) & ~3u;
	dev->caps_end = (uint8_t)(at < sizeof(dev->config) ? at : sizeof(dev->config) - 1);
	return dev->caps_last;
}

unsigned pci_free_slot(const struct pci_bus *pci)
{
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		if (!pci->slot[slot])
			return slot;
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

/*
 * Several slots share a line, which is high as long as any of them drives it
 * (PCI 3.0, 2.2.6); the interrupt status bit tells of the device alone, whether
 * it is gagged or not (6.2.3).
 */
static void update_intx(struct pci_device *dev)
{
	struct pci_bus *pci = dev->bus;
	uint32_t *asserted = &pci->asserted[dev->slot % PCI_GSIS], bit = 1u << dev->slot, old = *asserted;
	bool gagged = pci_get(dev, PCI_COMMAND, 2) & PCI_COMMAND_NOINTX;

	if (dev->intx)
		dev->config[PCI_STATUS] |= PCI_STATUS_INTX;
	else
		dev->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	*asserted = dev->intx && !gagged ? old | bit : old & ~bit;
	if (!old != !*asserted && pci->set_line)
		pci->set_line(pci->opaque, PCI_SLOT_GSI(dev->slot), *asserted);
}

void pci_set_intx(struct pci_device *dev, bool high)
{
	if (dev->intx == high)
		return;
	dev->intx = high;
	update_intx(dev);
}

bool pci_bar_access(struct pci_device *dev, unsigned index, uint64_t offset, unsigned size, bool write,
		    uint32_t *val)
{
	struct bus_hit hit = { .offset = offset };
	const struct pci_bar *bar;

	if (index >= PCI_BARS || (size != 1 && size != 2 && size != 4))
		return false;
	bar = &dev->bar[index];
	if (bar->kind == PCI_BAR_NONE)
		return false;
	/* Both are powers of two: aligned and started inside means inside. */
	if (offset % size || offset >= bar->size)
		return false;
	hit.ops = bar->ops;
	hit.device = bar->device;
	if (!hit.ops->unlocked)
		pci_lock(dev->bus);
	if (write)
		bus_hit_write(&hit, size, *val);
	else
		*val = (uint32_t)bus_hit_read(&hit, size);
	if (!hit.ops->unlocked)
		pci_unlock(dev->bus);
	return true;
}

/* Slots and windows are settled before the guest runs: no lock needed to look. */
static bool in_window(const struct pci_device *dev, unsigned offset, unsigned size)
{
	return dev->window && offset >= dev->window && offset + size <= dev->window + 4;
}

uint32_t pci_config_read(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size)
{
	struct pci_device *dev = slot < PCI_SLOTS ? pci->slot[slot] : NULL;
	uint32_t val;

	if (!dev || offset + size > sizeof(dev->config))
		return (uint32_t)bus_ones(size);
	if (in_window(dev, offset, size))
		return dev->window_read(dev, offset - dev->window, size);
	pci_lock(pci);
	val = pci_get(dev, offset, size);
	pci_unlock(pci);
	return val;
}

void pci_config_write(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size, uint32_t val)
{
	struct pci_device *dev = slot < PCI_SLOTS ? pci->slot[slot] : NULL;

	if (!dev || offset + size > sizeof(dev->config))
		return;
	if (in_window(dev, offset, size)) {
		dev->window_write(dev, offset - dev->window, size, val);
		return;
	}
	pci_lock(pci);
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = dev->wmask[offset + i], byte = (uint8_t)(val >> (i * 8));

		dev->config[offset + i] = (uint8_t)((dev->config[offset + i] & ~mask) | (byte & mask));
	}
	if (offset < PCI_BAR0 + PCI_BARS * 4 && offset + size > PCI_COMMAND) {
		remap(dev);
		update_intx(dev);
	}
	if (dev->written)
		dev->written(dev, offset, size);
	pci_unlock(pci);
}

/* The function that CONFIG_ADDRESS selects; slot PCI_SLOTS when there is none. */
static unsigned selected(uint32_t a)
{
	/* Enable bit, bus 0, function 0 */
	return (a & 0x80ffff00u & ~0xf800u) == ADDRESS_ENABLE ? a >> 11 & 31 : PCI_SLOTS;
}

static uint64_t pci_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bus *pci = device;
	uint32_t address;

	pci_lock(pci);
	address = pci->address;
	pci_unlock(pci);
	if (offset >= 4 && offset + size <= 8)
		return pci_config_read(pci, selected(address), (address & 0xfc) + (unsigned)offset - 4, size);
	if (offset == 0 && size == 4)
		return address;
	/* Reset control: nothing is latched. */
	if (offset == 1 && size == 1)
		return 0;
	return ~0ull;
}

static void pci_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct pci_bus *pci = device;
	uint32_t address;

	pci_lock(pci);
	address = pci->address;
	if (offset == 0 && size == 4)
		pci->address = (uint32_t)val & 0x80fffffcu;
	else if (offset == 1 && size == 1 && pci->reset_control)
		pci->reset_control(pci->opaque, (uint8_t)val);
	pci_unlock(pci);
	if (offset >= 4 && offset + size <= 8)
		pci_config_write(pci, selected(address), (address & 0xfc) + (unsigned)offset - 4, size,
				 (uint32_t)val);
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
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (pci->slot[slot] && pci->slot[slot]->reset)
			pci->slot[slot]->reset(pci->slot[slot]);
	pci_lock(pci);
	pci->address = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *dev = pci->slot[slot];

		if (!dev)
			continue;
		/* Everything the guest could write in the header goes back to zero. */
		for (unsigned i = PCI_COMMAND; i < PCI_BAR0 + PCI_BARS * 4; i++)
			dev->config[i] &= (uint8_t)~dev->wmask[i];
		remap(dev);
		dev->intx = false;
		update_intx(dev);
	}
	pci_unlock(pci);
}

void pci_destroy(struct pci_bus *pci)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *dev = pci->slot[slot];

		pci->slot[slot] = NULL;
		if (dev && dev->destroy)
			dev->destroy(dev);
	}
}

const struct bus_ops pci_bus_ops = { .read = pci_read, .write = pci_write, .unlocked = true };
