/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X (PCI Local Bus specification 3.0, 6.8.2) for any PCI device: the
 * capability, and a BAR of its own with the table of messages and the pending
 * bits.
 *
 *   msix_init(&t->msix, &t->pci, 1, vectors);    before pci_attach()
 *   ...
 *   pci_lock(bus);
 *   if (msix_enabled(&t->msix))
 *           msix_raise(&t->msix, vector);
 *   else
 *           pci_set_intx(&t->pci, true);
 *   pci_unlock(bus);
 *
 * The device's own handler of writes to configuration space calls
 * msix_written(), and its reset msix_reset(). All under the lock of the bus.
 */
#ifndef LGUEST_PLATFORM_MSIX_H
#define LGUEST_PLATFORM_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/pci.h"

#define MSIX_MAX_VECTORS 64
#define MSIX_BAR_SIZE    4096u
#define MSIX_TABLE       0x000 /* in the BAR: 16 bytes for each vector */
#define MSIX_PBA         0x800 /* one bit for each */

/* The capability: message control */
#define MSIX_CONTROL          2
#define MSIX_CONTROL_MASK_ALL 0x4000u
#define MSIX_CONTROL_ENABLE   0x8000u
#define MSIX_CAPABILITY_LEN   12

/* Dwords of a table entry, and the only bit in the last one */
enum msix_word { MSIX_ADDR_LOW, MSIX_ADDR_HIGH, MSIX_DATA, MSIX_VECTOR_CONTROL };
#define MSIX_VECTOR_MASKED 1u

/* What the guest set up, besides the capability in configuration space. */
struct msix_state {
	uint32_t table[MSIX_MAX_VECTORS][4];
	uint64_t pending; /* raised while masked */
};

struct msix {
	struct msix_state s;
	struct pci_device *pci;
	unsigned vectors;
	unsigned capability; /* its offset */
};

/*
 * Gives @pci the capability and BAR @bar. 0, or -EINVAL for no or too many
 * vectors, a BAR that is no good or a configuration space that is full.
 */
int msix_init(struct msix *m, struct pci_device *pci, unsigned bar, unsigned vectors);

/* As after power-up: disabled, all vectors masked. */
void msix_reset(struct msix *m);

/* The guest wrote configuration space: sends what that unmasks. */
void msix_written(struct msix *m);

/* Messages, or the pin? */
bool msix_enabled(const struct msix *m);

/* Sends the message of @vector, or remembers it while that is masked. Beyond the table: nothing. */
void msix_raise(struct msix *m, unsigned vector);

#endif
