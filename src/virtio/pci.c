/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of the PCI transport, and the way of an interrupt: a device says
 * which queue it is about; with MSI-X that is a vector, without it is a bit in the
 * ISR register and a level on the pin, until the guest reads that register.
 */
#include "virtio/pci.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <stdlib.h>

#define VENDOR          0x1af4
#define FIRST_DEVICE_ID 0x1040 /* 4.1.2: plus the virtio device's number */
#define REVISION        1

#define BAR_REGISTERS 0
#define BAR_MSIX      1

#define ISR_QUEUE 1 /* the header has no name for this one */

#define PAGE(offset)   ((offset) & ~0xfffull)
#define WITHIN(offset) ((unsigned)(offset)&0xfff)

/* ---- interrupts ---- */

/* The pin follows the ISR register, while it is the pin's turn (4.1.4.5.1). Lock of the PC held. */
static void update_pin(struct virtio_pci *t)
{
	pci_set_intx(&t->pci, t->s.isr && !msix_enabled(&t->msix));
}

/* With the device's lock held, on any thread. */
static void on_interrupt(void *transport, unsigned queue)
{
	struct virtio_pci *t = transport;

	pci_lock(t->pci.bus);
	if (msix_enabled(&t->msix)) {
		msix_raise(&t->msix, t->s.queue_vector[queue]);
	} else {
		t->s.isr |= ISR_QUEUE;
		update_pin(t);
	}
	pci_unlock(t->pci.bus);
}

static void on_config_changed(void *transport)
{
	struct virtio_pci *t = transport;

	pci_lock(t->pci.bus);
	t->s.isr |= VIRTIO_PCI_ISR_CONFIG;
	if (msix_enabled(&t->msix))
		msix_raise(&t->msix, t->s.config_vector);
	else
		update_pin(t);
	pci_unlock(t->pci.bus);
}

static uint8_t isr_read(struct virtio_pci *t)
{
	uint8_t isr;

	pci_lock(t->pci.bus);
	isr = t->s.isr;
	t->s.isr = 0;
	update_pin(t);
	pci_unlock(t->pci.bus);
	return isr;
}

/* What a reset of the device takes along on our side. The device is silent already. */
static void forget(struct virtio_pci *t)
{
	t->s.device_feature_select = t->s.driver_feature_select = 0;
	t->s.queue_select = 0;
	pci_lock(t->pci.bus);
	t->s.config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		t->s.queue_vector[i] = VIRTIO_MSI_NO_VECTOR;
	t->s.isr = 0;
	update_pin(t);
	pci_unlock(t->pci.bus);
}

/* ---- common configuration (4.1.4.3) ---- */

struct field {
	uint8_t offset, width;
};

static const struct field fields[] = {
	{ VIRTIO_PCI_COMMON_DFSELECT, 4 },  { VIRTIO_PCI_COMMON_DF, 4 },
	{ VIRTIO_PCI_COMMON_GFSELECT, 4 },  { VIRTIO_PCI_COMMON_GF, 4 },
	{ VIRTIO_PCI_COMMON_MSIX, 2 },      { VIRTIO_PCI_COMMON_NUMQ, 2 },
	{ VIRTIO_PCI_COMMON_STATUS, 1 },    { VIRTIO_PCI_COMMON_CFGGENERATION, 1 },
	{ VIRTIO_PCI_COMMON_Q_SELECT, 2 },  { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
	{ VIRTIO_PCI_COMMON_Q_MSIX, 2 },    { VIRTIO_PCI_COMMON_Q_ENABLE, 2 },
	{ VIRTIO_PCI_COMMON_Q_NOFF, 2 },    { VIRTIO_PCI_COMMON_Q_DESCLO, 4 },
	{ VIRTIO_PCI_COMMON_Q_DESCHI, 4 },  { VIRTIO_PCI_COMMON_Q_AVAILLO, 4 },
	{ VIRTIO_PCI_COMMON_Q_AVAILHI, 4 }, { VIRTIO_PCI_COMMON_Q_USEDLO, 4 },
	{ VIRTIO_PCI_COMMON_Q_USEDHI, 4 },
};

/* One of the addresses of a queue, by the register of its lower or upper half. */
static enum virtio_queue_field address_field(unsigned reg)
{
	switch (reg) {
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI: return VIRTIO_QUEUE_DESC;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI: return VIRTIO_QUEUE_AVAIL;
	default: return VIRTIO_QUEUE_USED;
	}
}

static uint64_t address_of(const struct virtq_state *s, enum virtio_queue_field field)
{
	return field == VIRTIO_QUEUE_DESC ? s->desc : field == VIRTIO_QUEUE_AVAIL ? s->avail : s->used;
}

/* All upper halves lie at an odd multiple of four. */
static bool upper_half(unsigned reg)
{
	return reg & 4;
}

static uint16_t get_vector(struct virtio_pci *t, const uint16_t *vector)
{
	uint16_t val;

	pci_lock(t->pci.bus);
	val = *vector;
	pci_unlock(t->pci.bus);
	return val;
}

/* 4.1.5.1.2: a vector that there is not reads back as none, and so tells the driver. */
static void set_vector(struct virtio_pci *t, uint16_t *vector, uint16_t val)
{
	pci_lock(t->pci.bus);
	*vector = val < t->msix.vectors ? val : VIRTIO_MSI_NO_VECTOR;
	pci_unlock(t->pci.bus);
}

/* Queues that do not exist have size 0 (4.1.4.3.1) and no vector. */
static uint32_t read_queue_field(struct virtio_pci *t, unsigned reg)
{
	unsigned queue = t->s.queue_select;
	struct virtq_state s;
	uint64_t addr;

	if (queue >= t->dev->ops->queues)
		return reg == VIRTIO_PCI_COMMON_Q_MSIX ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (reg) {
	case VIRTIO_PCI_COMMON_Q_MSIX: return get_vector(t, &t->s.queue_vector[queue]);
	case VIRTIO_PCI_COMMON_Q_NOFF: return queue;
	}
	s = virtio_queue_get(t->dev, queue);
	switch (reg) {
	case VIRTIO_PCI_COMMON_Q_SIZE: return s.size;
	case VIRTIO_PCI_COMMON_Q_ENABLE: return s.enabled;
	}
	addr = address_of(&s, address_field(reg));
	return (uint32_t)(upper_half(reg) ? addr >> 32 : addr);
}

static void write_queue_field(struct virtio_pci *t, unsigned reg, uint32_t val)
{
	unsigned queue = t->s.queue_select;
	enum virtio_queue_field field;
	struct virtq_state s;
	uint64_t addr;

	if (queue >= t->dev->ops->queues)
		return;
	switch (reg) {
	case VIRTIO_PCI_COMMON_Q_SIZE: virtio_queue_set(t->dev, queue, VIRTIO_QUEUE_SIZE, val); return;
	case VIRTIO_PCI_COMMON_Q_MSIX: set_vector(t, &t->s.queue_vector[queue], (uint16_t)val); return;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		/* Only a reset disables (4.1.4.3.2). */
		if (val == 1)
			virtio_queue_enable(t->dev, queue);
		return;
	case VIRTIO_PCI_COMMON_Q_NOFF: return;
	}
	s = virtio_queue_get(t->dev, queue);
	field = address_field(reg);
	addr = address_of(&s, field);
	if (upper_half(reg))
		addr = (uint64_t)val << 32 | (uint32_t)addr;
	else
		addr = (addr & ~0xffffffffull) | val;
	virtio_queue_set(t->dev, queue, field, addr);
}

static uint32_t read_field(struct virtio_pci *t, unsigned reg)
{
	switch (reg) {
	case VIRTIO_PCI_COMMON_DFSELECT: return t->s.device_feature_select;
	case VIRTIO_PCI_COMMON_DF: return virtio_get_device_features(t->dev, t->s.device_feature_select);
	case VIRTIO_PCI_COMMON_GFSELECT: return t->s.driver_feature_select;
	case VIRTIO_PCI_COMMON_GF: return virtio_get_driver_features(t->dev, t->s.driver_feature_select);
	case VIRTIO_PCI_COMMON_MSIX: return get_vector(t, &t->s.config_vector);
	case VIRTIO_PCI_COMMON_NUMQ: return t->dev->ops->queues;
	case VIRTIO_PCI_COMMON_STATUS: return virtio_get_status(t->dev);
	case VIRTIO_PCI_COMMON_CFGGENERATION: return virtio_config_generation(t->dev) & 0xff;
	case VIRTIO_PCI_COMMON_Q_SELECT: return t->s.queue_select;
	default: return read_queue_field(t, reg);
	}
}

static void write_field(struct virtio_pci *t, unsigned reg, uint32_t val)
{
	switch (reg) {
	case VIRTIO_PCI_COMMON_DFSELECT: t->s.device_feature_select = val; break;
	case VIRTIO_PCI_COMMON_GFSELECT: t->s.driver_feature_select = val; break;
	case VIRTIO_PCI_COMMON_GF: virtio_set_driver_features(t->dev, t->s.driver_feature_select, val); break;
	case VIRTIO_PCI_COMMON_MSIX: set_vector(t, &t->s.config_vector, (uint16_t)val); break;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_set_status(t->dev, (uint8_t)val, false);
		if (val == 0)
			forget(t);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT: t->s.queue_select = (uint16_t)val; break;
	case VIRTIO_PCI_COMMON_DF:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_CFGGENERATION: break;
	default: write_queue_field(t, reg, val);
	}
}

/*
 * A driver uses the width of each field (4.1.3.1). Reads of any other shape
 * get the bytes that they ask for; writes reach the fields that they cover completely,
 * which makes a 64-bit write of an address two of 32.
 */
static uint64_t common_read(struct virtio_pci *t, unsigned offset, unsigned size)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];
		uint64_t part;

		if (f->offset + f->width <= offset || f->offset >= offset + size)
			continue;
		part = read_field(t, f->offset);
		if (f->offset >= offset)
			val |= part << (f->offset - offset) * 8;
		else
			val |= part >> (offset - f->offset) * 8;
	}
	return val;
}

static void common_write(struct virtio_pci *t, unsigned offset, unsigned size, uint64_t val)
{
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];

		if (f->offset >= offset && f->offset + f->width <= offset + size)
			write_field(t, f->offset,
				    (uint32_t)(val >> (f->offset - offset) * 8 & bus_ones(f->width)));
	}
}

/* ---- BAR 0 ---- */

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio_pci *t = device;

	switch (PAGE(offset)) {
	case VPCI_COMMON: return common_read(t, WITHIN(offset), size);
	case VPCI_ISR: return WITHIN(offset) == 0 ? isr_read(t) : 0;
	case VPCI_CONFIG: return virtio_config_read(t->dev, WITHIN(offset), size);
	}
	return 0;
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct virtio_pci *t = device;

	switch (PAGE(offset)) {
	case VPCI_NOTIFY:
		/* The address says which queue; the value says it again (4.1.5.2). */
		if (WITHIN(offset) / VPCI_NOTIFY_STEP < t->dev->ops->queues)
			virtio_notify(t->dev, WITHIN(offset) / VPCI_NOTIFY_STEP);
		break;
	case VPCI_COMMON: common_write(t, WITHIN(offset), size, val); break;
	case VPCI_CONFIG: virtio_config_write(t->dev, WITHIN(offset), size, val); break;
	}
}

static const struct bus_ops registers_ops = { .read = registers_read,
					      .write = registers_write,
					      .unlocked = true };

/* ---- configuration space ---- */

/* The window into the BARs for firmware that has not mapped them (4.1.4.9): where it points to. */
static bool window_access(struct virtio_pci *t, bool write, uint32_t *val)
{
	unsigned cap = t->window, bar, offset, length;

	pci_lock(t->pci.bus);
	bar = pci_get(&t->pci, cap + VIRTIO_PCI_CAP_BAR, 1);
	offset = pci_get(&t->pci, cap + VIRTIO_PCI_CAP_OFFSET, 4);
	length = pci_get(&t->pci, cap + VIRTIO_PCI_CAP_LENGTH, 4);
	if (write)
		*val = pci_get(&t->pci, cap + sizeof(struct virtio_pci_cap), 4);
	pci_unlock(t->pci.bus);
	return pci_bar_access(&t->pci, bar, offset, length, write, val);
}

static uint32_t window_read(struct pci_device *pci, unsigned at, unsigned size)
{
	struct virtio_pci *t = pci->opaque;
	unsigned data = t->window + sizeof(struct virtio_pci_cap);
	uint32_t val;
	bool ok = window_access(t, false, &val);

	pci_lock(pci->bus);
	if (ok)
		pci_set(pci, data, 4, val);
	val = pci_get(pci, data + at, size);
	pci_unlock(pci->bus);
	return val;
}

static void window_write(struct pci_device *pci, unsigned at, unsigned size, uint32_t val)
{
	struct virtio_pci *t = pci->opaque;

	pci_lock(pci->bus);
	pci_set(pci, t->window + sizeof(struct virtio_pci_cap) + at, size, val);
	pci_unlock(pci->bus);
	window_access(t, true, &val);
}

/* After writes to configuration space: MSI-X switched on or off, masked, or the command register changed. */
static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct virtio_pci *t = pci->opaque;

	msix_written(&t->msix);
	update_pin(t);
}

static void reset(struct pci_device *pci)
{
	struct virtio_pci *t = pci->opaque;
	unsigned cap = t->window;

	virtio_reset(t->dev);
	forget(t);
	pci_lock(pci->bus);
	msix_reset(&t->msix);
	pci_set(pci, cap + VIRTIO_PCI_CAP_BAR, 1, 0);
	pci_set(pci, cap + VIRTIO_PCI_CAP_OFFSET, 4, 0);
	pci_set(pci, cap + VIRTIO_PCI_CAP_LENGTH, 4, 0);
	pci_set(pci, cap + sizeof(struct virtio_pci_cap), 4, 0);
	pci_unlock(pci->bus);
}

/* A capability that says where in BAR 0 a structure is (4.1.4); its offset, or 0. */
static unsigned add_capability(struct virtio_pci *t, uint8_t type, unsigned cap_len, uint32_t offset,
			       uint32_t length)
{
	unsigned at = pci_add_capability(&t->pci, PCI_CAPABILITY_VENDOR, cap_len);

	if (!at)
		return 0;
	pci_set(&t->pci, at + VIRTIO_PCI_CAP_LEN, 1, cap_len);
	pci_set(&t->pci, at + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
	pci_set(&t->pci, at + VIRTIO_PCI_CAP_BAR, 1, BAR_REGISTERS);
	pci_set(&t->pci, at + VIRTIO_PCI_CAP_OFFSET, 4, offset);
	pci_set(&t->pci, at + VIRTIO_PCI_CAP_LENGTH, 4, length);
	return at;
}

static bool add_capabilities(struct virtio_pci *t)
{
	const unsigned plain = sizeof(struct virtio_pci_cap);
	unsigned at;

	if (!add_capability(t, VIRTIO_PCI_CAP_COMMON_CFG, plain, VPCI_COMMON,
			    sizeof(struct virtio_pci_common_cfg)) ||
	    !add_capability(t, VIRTIO_PCI_CAP_ISR_CFG, plain, VPCI_ISR, 1))
		return false;
	/* 4.1.4.6.1: only for devices that have one. */
	if (t->dev->config_len &&
	    !add_capability(t, VIRTIO_PCI_CAP_DEVICE_CFG, plain, VPCI_CONFIG, t->dev->config_len))
		return false;
	at = add_capability(t, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap), VPCI_NOTIFY,
			    t->dev->ops->queues * VPCI_NOTIFY_STEP);
	if (!at)
		return false;
	pci_set(&t->pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, VPCI_NOTIFY_STEP);

	at = add_capability(t, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0);
	if (!at)
		return false;
	t->window = at;
	t->pci.wmask[at + VIRTIO_PCI_CAP_BAR] = 0xff;
	for (unsigned i = 0; i < 4; i++) {
		t->pci.wmask[at + VIRTIO_PCI_CAP_OFFSET + i] = 0xff;
		t->pci.wmask[at + VIRTIO_PCI_CAP_LENGTH + i] = 0xff;
	}
	t->pci.window = at + plain;
	t->pci.window_read = window_read;
	t->pci.window_write = window_write;
	return true;
}

/* What lspci calls it; drivers look at the ids alone. */
static uint32_t class_of(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET: return 0x020000;     /* Ethernet controller */
	case VIRTIO_ID_BLOCK: return 0x018000;   /* mass storage controller, of another kind */
	case VIRTIO_ID_CONSOLE: return 0x078000; /* communication controller, of another kind */
	default: return 0xff0000;                /* fits no class */
	}
}

static void destroy(struct pci_device *pci)
{
	struct virtio_pci *t = pci->opaque;

	virtio_lock(t->dev);
	t->dev->transport = (struct virtio_transport){ 0 };
	virtio_unlock(t->dev);
	free(t);
}

/* All of it, up to the slot. */
static int fill_in(struct virtio_pci *t, struct virtio_device *dev)
{
	const uint16_t id = (uint16_t)(FIRST_DEVICE_ID + dev->ops->id);
	int error;

	t->dev = dev;
	pci_device_init(&t->pci, dev->name, VENDOR, id, class_of(dev->ops->id), REVISION);
	pci_set(&t->pci, PCI_SUBVENDOR, 2, VENDOR);
	pci_set(&t->pci, PCI_SUBDEVICE, 2, id);
	pci_set(&t->pci, PCI_INT_PIN, 1, 1); /* INTA */
	t->pci.opaque = t;
	t->pci.written = config_written;
	t->pci.reset = reset;
	t->pci.destroy = destroy;
	/* A vector for each queue, and one for changes of the configuration */
	error = msix_init(&t->msix, &t->pci, BAR_MSIX, dev->ops->queues + 1);
	if (!error)
		error = pci_add_bar(&t->pci, BAR_REGISTERS, PCI_BAR_MEM32, VPCI_BAR_SIZE, &registers_ops, t);
	if (!error && !add_capabilities(t))
		error = -EINVAL;
	return error;
}

int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus)
{
	struct virtio_pci *t = calloc(1, sizeof(*t));
	unsigned slot = pci_free_slot(bus);
	int error;

	if (!t)
		return -ENOMEM;
	error = !slot ? -ENOSPC : fill_in(t, dev);
	if (!error)
		error = pci_attach(bus, &t->pci, slot);
	if (error) {
		free(t);
		return error;
	}
	forget(t);
	dev->transport = (struct virtio_transport){ .interrupt = on_interrupt,
						    .config_changed = on_config_changed,
						    .transport = t };
	return 0;
}
