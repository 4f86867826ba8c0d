/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Indirect registers behind a select/window pair, and the little state
 * machine of a level-triggered pin: deliver once, set remote IRR, wait for
 * EOI, deliver again if the line is still high.
 */
#include "platform/ioapic.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40

/* Version 0x20: the first with an EOI register. */
#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

#define READ_ONLY (IOAPIC_STATUS | IOAPIC_REMOTE_IRR)
#define WRITABLE  (0xff0000000001ffffull & ~READ_ONLY)

void ioapic_reset(struct ioapic *io)
{
	io->s = (struct ioapic_state){ 0 };
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->s.entry[i] = IOAPIC_MASKED;
}

static void send(struct ioapic *io, unsigned pin)
{
	uint64_t *e = &io->s.entry[pin];
	bool level = *e & IOAPIC_LEVEL;

	if (level)
		*e |= IOAPIC_REMOTE_IRR;
	io->deliver(io->opaque, (uint8_t)(*e >> 56), *e & IOAPIC_LOGICAL, (unsigned)((*e & IOAPIC_MODE) >> 8),
		    (uint8_t)(*e & IOAPIC_VECTOR), level);
}

/* Sends what a level-triggered pin owes. */
static void service_level(struct ioapic *io, unsigned pin)
{
	uint64_t e = io->s.entry[pin];

	if ((e & IOAPIC_LEVEL) && !(e & (IOAPIC_MASKED | IOAPIC_REMOTE_IRR)) && (io->s.lines >> pin & 1))
		send(io, pin);
}

void ioapic_set_line(struct ioapic *io, unsigned pin, bool high)
{
	uint32_t bit;
	bool rise;

	if (pin >= IOAPIC_PINS)
		return;
	bit = 1u << pin;
	rise = high && !(io->s.lines & bit);
	io->s.lines = high ? io->s.lines | bit : io->s.lines & ~bit;
	if (io->s.entry[pin] & IOAPIC_LEVEL)
		service_level(io, pin);
	else if (rise && !(io->s.entry[pin] & IOAPIC_MASKED))
		send(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t *e = &io->s.entry[i];

		if (!(*e & IOAPIC_LEVEL) || (*e & IOAPIC_VECTOR) != vector)
			continue;
		*e &= ~IOAPIC_REMOTE_IRR;
		service_level(io, i);
	}
}

static uint32_t read_indirect(const struct ioapic *io)
{
	uint32_t reg = io->s.select, pin = (reg - 0x10) / 2;

	switch (reg) {
	case 0: return io->s.id;
	case 1: return VERSION;
	case 2: return io->s.id; /* arbitration id: loaded with the id */
	}
	if (reg < 0x10 || pin >= IOAPIC_PINS)
		return 0;
	return (uint32_t)(reg & 1 ? io->s.entry[pin] >> 32 : io->s.entry[pin]);
}

static void write_indirect(struct ioapic *io, uint32_t val)
{
	uint32_t reg = io->s.select, pin = (reg - 0x10) / 2;
	uint64_t *e, full;

	if (reg == 0)
		io->s.id = val & 0x0f000000;
	if (reg < 0x10 || pin >= IOAPIC_PINS)
		return;
	e = &io->s.entry[pin];
	if (reg & 1)
		full = (uint64_t)val << 32 | (uint32_t)*e;
	else
		full = (*e & 0xffffffff00000000ull) | val;
	*e = (full & WRITABLE) | (*e & READ_ONLY);
	/* Edge-triggered pins have no remote IRR: software clears it so. */
	if (!(*e & IOAPIC_LEVEL))
		*e &= ~IOAPIC_REMOTE_IRR;
	service_level(io, pin);
}

static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *io = device;
	uint32_t within = offset & 3, val;

	switch (offset & ~3ull) {
	case REG_SELECT: val = io->s.select; break;
	case REG_WINDOW: val = read_indirect(io); break;
	default: val = 0;
	}
	return val >> (within * 8);
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct ioapic *io = device;

	switch (offset) {
	case REG_SELECT: io->s.select = val & 0xff; break;
	case REG_WINDOW:
		if (size >= 4)
			write_indirect(io, (uint32_t)val);
		break;
	case REG_EOI: ioapic_eoi(io, val & 0xff); break;
	}
}

const struct bus_ops ioapic_bus_ops = { .read = ioapic_read, .write = ioapic_write };
