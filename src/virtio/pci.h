/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI transport (virtio 1.2, 4.1), modern only: puts a struct virtio_device
 * into a slot of a struct pci_bus.
 *
 *   BAR 0   common configuration, ISR status, device configuration and
 *           doorbells, each in a page of its own (VPCI_*)
 *   BAR 1   MSI-X: vector table and pending bits
 *
 * Threads: BAR 0 is served without the PC's lock, so that a doorbell does its
 * device's work right on the vCPU's thread while other devices work on theirs.
 * What the transport itself keeps is under the PC's lock, taken for a moment
 * behind that of the device, or a plain number that nobody relies on.
 */
#ifndef LGUEST_VIRTIO_PCI_H
#define LGUEST_VIRTIO_PCI_H

#include <stdatomic.h>
#include <stdint.h>

#include "platform/msix.h"
#include "platform/pci.h"
#include "virtio/device.h"

/* Pages of BAR 0 */
#define VPCI_COMMON   0x0000u
#define VPCI_ISR      0x1000u
#define VPCI_CONFIG   0x2000u
#define VPCI_NOTIFY   0x3000u
#define VPCI_BAR_SIZE 0x4000u
/* Queue n has its doorbell at VPCI_NOTIFY + n * VPCI_NOTIFY_STEP. */
#define VPCI_NOTIFY_STEP 4u

/* What the guest sets up, besides what the device and MSI-X keep. */
struct virtio_pci_state {
	/* Each access to a window of the common configuration follows one of these. */
	_Atomic uint32_t device_feature_select, driver_feature_select;
	_Atomic uint16_t queue_select;
	/* Under the PC's lock: */
	uint16_t config_vector, queue_vector[VIRTIO_MAX_QUEUES];
	uint8_t isr;
};

struct virtio_pci {
	struct virtio_pci_state s;
	struct virtio_device *dev;
	struct pci_device pci;
	struct msix msix;
	unsigned window; /* offset of the PCI configuration access capability */
};

/*
 * Plugs @dev into the first free slot of @bus and becomes its transport.
 * 0, -ENOSPC when all slots are taken, -ENOMEM or -EINVAL. Before the guest runs.
 *
 *   virtio_pci_create(dev, &pc->pci);
 *
 * From then on a reset of the PCI bus (pc_reset()) resets the device, too. The
 * transport goes away with the bus (pc_destroy()), which must happen after the
 * device has been stopped and before it is destroyed.
 */
int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus);

#endif
