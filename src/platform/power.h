/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways in which a guest ends itself: ACPI's PM1 registers (ACPI 6.4,
 * 4.8.3.1 and 4.8.3.2), the reset control register 0xcf9, the keyboard
 * controller's reset pulse, and the pvpanic port (QEMU docs/specs/pvpanic). And
 * what little of an i8042 there is around that pulse.
 *
 * Serialised by its owner (the PC's lock).
 */
#ifndef LGUEST_PLATFORM_POWER_H
#define LGUEST_PLATFORM_POWER_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/bus.h"

#define PM1_EVENT_PORT       0x600 /* status, enable: 16 bits each */
#define PM1_EVENT_PORTS      4
#define PM1_CONTROL_PORT     0x604
#define PM1_CONTROL_PORTS    2
#define PM1_SCI              9 /* the interrupt that they would raise, but nothing happens here */
#define PM1_SLEEP_ENABLE     0x2000
#define PM1_SLEEP_TYPE(type) ((type) << 10)
#define POWER_SLEEP_OFF      5 /* SLP_TYP of \_S5 in dsdt.asl */

#define POWER_RESET_PORT  0xcf9
#define POWER_RESET_VALUE 0x06

#define PVPANIC_PORT        0x505
#define PVPANIC_PANICKED    0x01
#define PVPANIC_CRASHLOADED 0x02

#define I8042_DATA_PORT    0x60
#define I8042_COMMAND_PORT 0x64

enum power_event { POWER_OFF, POWER_RESET, POWER_PANIC, POWER_CRASH_KERNEL };

struct power_state {
	uint16_t pm1_enable, pm1_control;
	/* i8042: one byte on its way to the guest, command byte, command that waits for data. */
	bool kbd_full;
	uint8_t kbd_data, kbd_config, kbd_command;
};

struct power {
	struct power_state s;
	void (*event)(void *opaque, enum power_event event);
	void *opaque;
};

/* device: struct power */
extern const struct bus_ops power_pm1_event_ops, power_pm1_control_ops, power_pvpanic_ops,
	power_i8042_data_ops, power_i8042_command_ops;

/* event and opaque are set; the state becomes that after power-up. */
void power_reset(struct power *p);

/* A write to the reset control register. */
void power_write_reset(struct power *p, uint8_t val);

#endif
