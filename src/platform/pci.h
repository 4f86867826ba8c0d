/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI host bridge with bus 0, reached through configuration mechanism #1
 * (PCI Local Bus specification 3.0, 3.2.2.3.2): address at port 0xcf8, data
 * at 0xcfc. Devices sit in slots 0..31, function 0 only; slot 0 is the bridge.
 *
 * A device fills a struct pci_device with pci_device_init() and pci_add_bar()
 * and hands it over with pci_attach(). From then on the bridge answers its
 * configuration space, sizes and maps its BARs, claims them on the bus, and
 * routes its interrupts: a pin with pci_set_intx(), messages with struct msix
 * (msix.h).
 *
 * Threads: everything of the bus and of struct pci_device is under the lock of
 * the PC, which pci->lock points to. The configuration ports take it themselves
 * (they are "unlocked" on the port bus), so that the one register that reaches
 * through to a device with a lock of its own, pci_device.window, can be served
 * without: the order is device, then PC.
 */
#ifndef LGUEST_PLATFORM_PCI_H
#define LGUEST_PLATFORM_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/bus.h"

#define PCI_PORT  0xcf8
#define PCI_PORTS 8
#define PCI_SLOTS 32
#define PCI_BARS  6

/* The windows that the DSDT gives the bus (dsdt.asl says the same). */
#define PCI_MEM_BASE 0xc0000000ull
#define PCI_MEM_END  0xfec00000ull
/* GSI of the interrupt pin of @slot: as in _PRT. */
#define PCI_GSI_BASE       16
#define PCI_GSIS           8
#define PCI_SLOT_GSI(slot) (PCI_GSI_BASE + (slot) % PCI_GSIS)

#define PCI_VENDOR_ID   0x00
#define PCI_DEVICE_ID   0x02
#define PCI_COMMAND     0x04
#define PCI_STATUS      0x06
#define PCI_REVISION    0x08
#define PCI_CLASS       0x09 /* programming interface, subclass, class */
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0        0x10
#define PCI_SUBVENDOR   0x2c
#define PCI_SUBDEVICE   0x2e
#define PCI_CAP_POINTER 0x34
#define PCI_INT_LINE    0x3c
#define PCI_INT_PIN     0x3d

#define PCI_COMMAND_IO     0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_NOINTX 0x0400
#define PCI_STATUS_INTX    0x0008
#define PCI_STATUS_CAPS    0x0010

#define PCI_CAPABILITY_VENDOR 0x09
#define PCI_CAPABILITY_MSIX   0x11

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size; /* a power of two */
	const struct bus_ops *ops;
	void *device;
	bool mapped; /* claimed on the bus at @base */
	uint64_t base;
};

struct pci_device {
	const char *name;
	uint8_t config[256]; /* what the guest reads */
	uint8_t wmask[256];  /* which bits it may write */
	struct pci_bar bar[PCI_BARS];
	/* After the guest wrote [offset, offset + size); may be NULL. Lock held. */
	void (*written)(struct pci_device *dev, unsigned offset, unsigned size);
	/*
	 * The four bytes at @window (0: there is no such thing) are a hatch to
	 * something else; the guest's accesses to them go here, without the lock.
	 * @at is 0..3, and at + size at most 4.
	 */
	unsigned window;
	uint32_t (*window_read)(struct pci_device *dev, unsigned at, unsigned size);
	void (*window_write)(struct pci_device *dev, unsigned at, unsigned size, uint32_t val);
	/* The bus is reset; may be NULL. Without the lock, before BARs and command register are. */
	void (*reset)(struct pci_device *dev);
	/* The bus goes away for good; may be NULL. The struct itself may be freed. */
	void (*destroy)(struct pci_device *dev);
	void *opaque;
	/* The bridge's side */
	struct pci_bus *bus;
	unsigned slot;
	bool intx;         /* the device drives its pin */
	uint8_t caps_end;  /* where the next capability goes; 0: there are none */
	uint8_t caps_last; /* the last one in the chain */
};

struct pci_bus {
	uint32_t address; /* CONFIG_ADDRESS */
	struct pci_device *slot[PCI_SLOTS];
	struct bus *ports, *memory;
	struct pci_device bridge;
	uint32_t asserted[PCI_GSIS]; /* slots that drive each interrupt line */
	pthread_mutex_t *lock;       /* the PC's; NULL in tests with one thread */
	/* An interrupt line changes. Lock held. */
	void (*set_line)(void *opaque, unsigned gsi, bool high);
	/* A device sends a message-signalled interrupt. Lock held. */
	void (*message)(void *opaque, uint64_t addr, uint32_t data);
	/* A write of @val to port 0xcf9, the reset control register. */
	void (*reset_control)(void *opaque, uint8_t val);
	void *opaque;
};

extern const struct bus_ops pci_bus_ops; /* device: struct pci_bus; PCI_PORT, PCI_PORTS */

/* An empty bus with its host bridge; @ports and @memory are where BARs go. */
void pci_init(struct pci_bus *pci, struct bus *ports, struct bus *memory);

/*
 * Bus reset: devices reset, BARs unmapped, command registers and the address
 * register zero. Takes the lock.
 */
void pci_reset(struct pci_bus *pci);

/* Lets each device destroy itself. No vCPU may run. */
void pci_destroy(struct pci_bus *pci);

/* Fills in the identity; @class_code is 24 bits. */
void pci_device_init(struct pci_device *dev, const char *name, uint16_t vendor, uint16_t device,
		     uint32_t class_code, uint8_t revision);

/*
 * Gives @dev BAR @index (MEM64 takes the next one, too) of @size bytes, a
 * power of two, at least 4 (I/O) or 16 (memory). @ops and @device serve it
 * while it is mapped. 0 or -EINVAL.
 */
int pci_add_bar(struct pci_device *dev, unsigned index, enum pci_bar_kind kind, uint64_t size,
		const struct bus_ops *ops, void *device);

/* Plugs @dev into @slot. 0, -EINVAL, or -EBUSY when it is taken. Stays the caller's. */
int pci_attach(struct pci_bus *pci, struct pci_device *dev, unsigned slot);

/* The first slot from 1 with nothing in it, or 0 when the bus is full. */
unsigned pci_free_slot(const struct pci_bus *pci);

/*
 * Adds a capability of @len bytes (with its two of header, which it fills in)
 * to the chain; @id is PCI_CAPABILITY_*. Its offset, or 0 when there is no room.
 */
unsigned pci_add_capability(struct pci_device *dev, uint8_t id, unsigned len);

/*
 * @dev drives its interrupt pin, a level, or lets go. The guest can gag it with
 * PCI_COMMAND_NOINTX. Lock held.
 */
void pci_set_intx(struct pci_device *dev, bool high);

/*
 * Reads or writes (@val) as the guest would through BAR @index, wherever that
 * is mapped, and also when it is not. False, and nothing done, unless @size is
 * 1, 2 or 4 and the access aligned and inside. Without the lock.
 */
bool pci_bar_access(struct pci_device *dev, unsigned index, uint64_t offset, unsigned size, bool write,
		    uint32_t *val);

static inline void pci_lock(struct pci_bus *pci)
{
	if (pci->lock)
		pthread_mutex_lock(pci->lock);
}

static inline void pci_unlock(struct pci_bus *pci)
{
	if (pci->lock)
		pthread_mutex_unlock(pci->lock);
}

/* Configuration space as mechanism #1 sees it; also for tests. Take the lock. */
uint32_t pci_config_read(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *pci, unsigned slot, unsigned offset, unsigned size, uint32_t val);

static inline uint32_t pci_get(const struct pci_device *dev, unsigned offset, unsigned size)
{
	uint32_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint32_t)dev->config[offset + i] << (i * 8);
	return val;
}

static inline void pci_set(struct pci_device *dev, unsigned offset, unsigned size, uint32_t val)
{
	for (unsigned i = 0; i < size; i++)
		dev->config[offset + i] = (uint8_t)(val >> (i * 8));
}

#endif
