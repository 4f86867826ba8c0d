/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC (82093AA data sheet, with the EOI register of later ones): 24
 * interrupt lines of devices, each with an entry that says which vector goes
 * to which CPU. All GSIs of the PC are its pins: GSI n is pin n.
 *
 * Serialised by its owner (the PC's lock).
 */
#ifndef LGUEST_PLATFORM_IOAPIC_H
#define LGUEST_PLATFORM_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/bus.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_SIZE 0x1000u
#define IOAPIC_PINS 24

/* Redirection table entry. */
#define IOAPIC_VECTOR     0xffull
#define IOAPIC_MODE       (7ull << 8)
#define IOAPIC_LOGICAL    (1ull << 11)
#define IOAPIC_STATUS     (1ull << 12) /* read-only */
#define IOAPIC_LOW        (1ull << 13) /* polarity: kept, has no effect */
#define IOAPIC_REMOTE_IRR (1ull << 14) /* read-only */
#define IOAPIC_LEVEL      (1ull << 15)
#define IOAPIC_MASKED     (1ull << 16)

struct ioapic_state {
	uint32_t select; /* IOREGSEL */
	uint32_t id;     /* bits 24-27 */
	uint64_t entry[IOAPIC_PINS];
	uint32_t lines; /* what devices drive, active = 1 */
};

struct ioapic {
	struct ioapic_state s;
	/* Sends an interrupt message; @mode is the delivery mode, 0 fixed ... 7 ExtINT. */
	void (*deliver)(void *opaque, uint8_t dest, bool logical, unsigned mode, uint8_t vector, bool level);
	void *opaque;
};

extern const struct bus_ops ioapic_bus_ops; /* device: struct ioapic */

/* deliver and opaque are set; the state becomes that after power-up. */
void ioapic_reset(struct ioapic *io);

/*
 * A device drives @pin. Edge-triggered: the rise counts, and is lost while
 * the entry is masked. Level-triggered: counts as long as it is high.
 */
void ioapic_set_line(struct ioapic *io, unsigned pin, bool high);

/* A CPU has finished with level-triggered @vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif
