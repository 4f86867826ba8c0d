/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz/pc.h"

#include "fuzz/input.h"

static void on_kick(void *opaque, unsigned cpu)
{
}

static void on_event(void *opaque, enum power_event event)
{
}

static bool on_put(void *opaque, uint8_t byte)
{
	struct fuzz_pc *f = opaque;

	return f->room ? f->room--, true : false;
}

static bool on_wait(void *opaque)
{
	((struct fuzz_pc *)opaque)->room += 7;
	return true;
}

static int on_get(void *opaque)
{
	return ((struct fuzz_pc *)opaque)->next++;
}

static bool on_ready(void *opaque)
{
	return true;
}

static const struct pc_host host = {
	.kick = on_kick,
	.event = on_event,
	.console_put = on_put,
	.console_wait = on_wait,
	.console_get = on_get,
	.console_ready = on_ready,
};

void fuzz_pc_init(struct fuzz_pc *f, struct guest_memory *ram)
{
	FUZZ_CHECK(pc_init(&f->pc, ram, 1, 2000000, &host, f) == 0);
}

static void select(struct fuzz_pc *f, unsigned slot, unsigned offset)
{
	pc_pio_write(&f->pc, 0, PCI_PORT, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
}

void fuzz_pc_config_write(struct fuzz_pc *f, unsigned slot, unsigned offset, unsigned size, uint32_t val)
{
	select(f, slot, offset);
	pc_pio_write(&f->pc, 0, (uint16_t)(PCI_PORT + 4 + (offset & 3)), size, val);
}

uint32_t fuzz_pc_config_read(struct fuzz_pc *f, unsigned slot, unsigned offset, unsigned size)
{
	select(f, slot, offset);
	return pc_pio_read(&f->pc, 0, (uint16_t)(PCI_PORT + 4 + (offset & 3)), size);
}

static void check_bus(const struct bus *bus)
{
	for (unsigned i = 1; i < bus->count; i++) {
		FUZZ_CHECK(bus->range[i].base > bus->range[i - 1].base);
		FUZZ_CHECK(bus->range[i].base - bus->range[i - 1].base >= bus->range[i - 1].len);
	}
}

void fuzz_pc_check(struct fuzz_pc *f)
{
	check_bus(&f->pc.ports);
	check_bus(&f->pc.memory);
	FUZZ_CHECK(pthread_mutex_trylock(&f->pc.lock) == 0);
	pthread_mutex_unlock(&f->pc.lock);
}
