/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "platform/power.h"

/* PM1 control: ACPI mode is on for good; SLP_TYP and SLP_EN are not kept. */
#define PM1_SCI_ENABLE 0x0001
#define PM1_SLEEP_BITS 0x3c00

/* Reset control: a system reset (bit 1) happens when bit 2 rises. */
#define RESET_CPU 0x04

#define KBD_STATUS_FULL   0x01 /* the guest can read a byte */
#define KBD_STATUS_SYSTEM 0x04 /* self test passed */

#define KBD_READ_CONFIG  0x20
#define KBD_WRITE_CONFIG 0x60
#define KBD_TEST_AUX     0xa9
#define KBD_SELF_TEST    0xaa
#define KBD_TEST_PORT    0xab
#define KBD_READ_OUTPUT  0xd0
#define KBD_WRITE_OUTPUT 0xd1
#define KBD_PULSE        0xf0 /* low bits: the lines that stay high; bit 0 is reset */

/* Output port: bit 0 is the CPU's reset line (low: reset), bit 1 gate A20. */
#define OUTPUT_NO_RESET 0x01
#define OUTPUT_A20      0x02

void power_reset(struct power *p)
{
	p->s = (struct power_state){ 0 };
}

void power_write_reset(struct power *p, uint8_t val)
{
	if (val & RESET_CPU)
		p->event(p->opaque, POWER_RESET);
}

static uint64_t pm1_event_read(void *device, uint64_t offset, unsigned size)
{
	const struct power *p = device;

	/* Status: nothing has happened. Enable: ACPICA checks that its bits stick. */
	return ((uint64_t)p->s.pm1_enable << 16) >> (offset * 8);
}

static void pm1_event_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct power *p = device;

	if (offset == 2 && size == 2)
		p->s.pm1_enable = (uint16_t)val;
	else if (offset == 0 && size == 4)
		p->s.pm1_enable = (uint16_t)(val >> 16);
}

static uint64_t pm1_control_read(void *device, uint64_t offset, unsigned size)
{
	const struct power *p = device;

	return (p->s.pm1_control | PM1_SCI_ENABLE) >> (offset * 8);
}

static void pm1_control_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct power *p = device;

	if (offset != 0 || size != 2)
		return;
	p->s.pm1_control = (uint16_t)val & ~PM1_SLEEP_BITS;
	if ((val & PM1_SLEEP_BITS) == (PM1_SLEEP_ENABLE | PM1_SLEEP_TYPE(POWER_SLEEP_OFF)))
		p->event(p->opaque, POWER_OFF);
}

static uint64_t pvpanic_read(void *device, uint64_t offset, unsigned size)
{
	return PVPANIC_PANICKED | PVPANIC_CRASHLOADED;
}

static void pvpanic_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct power *p = device;

	if (val & PVPANIC_PANICKED)
		p->event(p->opaque, POWER_PANIC);
	else if (val & PVPANIC_CRASHLOADED)
		p->event(p->opaque, POWER_CRASH_KERNEL);
}

static void answer(struct power *p, uint8_t byte)
{
	p->s.kbd_data = byte;
	p->s.kbd_full = true;
}

static uint64_t i8042_read_data(void *device, uint64_t offset, unsigned size)
{
	struct power *p = device;

	p->s.kbd_full = false;
	return p->s.kbd_data;
}

static uint64_t i8042_read_status(void *device, uint64_t offset, unsigned size)
{
	const struct power *p = device;

	/* Never "input buffer full": commands are done when they are written. */
	return KBD_STATUS_SYSTEM | (p->s.kbd_full ? KBD_STATUS_FULL : 0);
}

static void i8042_command(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct power *p = device;
	uint8_t command = (uint8_t)val;

	p->s.kbd_command = 0;
	switch (command) {
	case KBD_READ_CONFIG: answer(p, p->s.kbd_config); return;
	case KBD_SELF_TEST: answer(p, 0x55); return;
	case KBD_TEST_PORT: answer(p, 0x00); return;
	case KBD_TEST_AUX: answer(p, 0xff); return; /* there is none */
	case KBD_READ_OUTPUT: answer(p, OUTPUT_NO_RESET | OUTPUT_A20); return;
	case KBD_WRITE_CONFIG:
	case KBD_WRITE_OUTPUT: p->s.kbd_command = command; return;
	}
	if ((command & 0xf0) == KBD_PULSE && !(command & OUTPUT_NO_RESET))
		p->event(p->opaque, POWER_RESET);
}

static void i8042_write_data(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct power *p = device;
	uint8_t command = p->s.kbd_command;

	/* Without a command before it the byte is for a keyboard, which is not there. */
	p->s.kbd_command = 0;
	if (command == KBD_WRITE_CONFIG)
		p->s.kbd_config = (uint8_t)val;
	else if (command == KBD_WRITE_OUTPUT && !(val & OUTPUT_NO_RESET))
		p->event(p->opaque, POWER_RESET);
}

const struct bus_ops power_pm1_event_ops = { .read = pm1_event_read, .write = pm1_event_write };
const struct bus_ops power_pm1_control_ops = { .read = pm1_control_read, .write = pm1_control_write };
const struct bus_ops power_pvpanic_ops = { .read = pvpanic_read, .write = pvpanic_write };
const struct bus_ops power_i8042_data_ops = { .read = i8042_read_data, .write = i8042_write_data };
const struct bus_ops power_i8042_command_ops = { .read = i8042_read_status, .write = i8042_command };
