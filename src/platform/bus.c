/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ranges stand in one sorted array: a PC has a few dozen, so a binary
 * search is a handful of compares, and PCI devices may move their BARs about
 * without any other bookkeeping.
 */
#include "platform/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NOTICES_PER_SECOND 5

void bus_init(struct bus *bus, const char *name, void (*notice)(void *opaque, const char *line), void *opaque)
{
	memset(bus, 0, sizeof(*bus));
	bus->name = name;
	bus->notice = notice;
	bus->opaque = opaque;
}

/* Index of the first range that ends behind @addr. */
static unsigned find(const struct bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = &bus->range[mid];

		if (addr >= r->base && addr - r->base >= r->len)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t len, const struct bus_ops *ops, void *device)
{
	unsigned at = find(bus, base);

	if (len == 0 || base + (len - 1) < base)
		return -EINVAL;
	if (at < bus->count && bus->range[at].base <= base + (len - 1))
		return -EEXIST;
	if (bus->count == BUS_MAX_RANGES)
		return -ENOSPC;
	memmove(&bus->range[at + 1], &bus->range[at], (bus->count - at) * sizeof(bus->range[0]));
	bus->range[at] = (struct bus_range){ .base = base, .len = len, .ops = ops, .device = device };
	bus->count++;
	return 0;
}

void bus_remove(struct bus *bus, uint64_t base)
{
	unsigned at = find(bus, base);

	if (at == bus->count || bus->range[at].base != base)
		return;
	bus->count--;
	memmove(&bus->range[at], &bus->range[at + 1], (bus->count - at) * sizeof(bus->range[0]));
}

static void unclaimed(struct bus *bus, const char *what, uint64_t addr, unsigned size)
{
	struct timespec now;
	char line[128];

	bus->unclaimed++;
	if (!bus->notice)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec != bus->last_notice) {
		bus->last_notice = now.tv_sec;
		bus->notices = 0;
	}
	if (bus->notices++ >= NOTICES_PER_SECOND)
		return;
	snprintf(line, sizeof(line), "guest %s unclaimed %s 0x%" PRIx64 ", %u byte%s%s", what, bus->name,
		 addr, size, size == 1 ? "" : "s",
		 bus->notices == NOTICES_PER_SECOND ? " (no more of these for a second)" : "");
	bus->notice(bus->opaque, line);
}

struct bus_hit bus_find(struct bus *bus, uint64_t addr, unsigned size, bool writes)
{
	static const struct bus_ops nobody = { 0 };
	const struct bus_range *r = &bus->range[bus->last];
	/* Wraps to something large below the range; an unused entry has length 0. */
	uint64_t offset = addr - r->base;

	if (offset >= r->len || bus->last >= bus->count) {
		unsigned at = find(bus, addr);

		r = &bus->range[at];
		if (at == bus->count || addr < r->base)
			goto missed;
		bus->last = at;
		offset = addr - r->base;
	}
	if (size > r->len - offset)
		goto missed;
	return (struct bus_hit){ .ops = r->ops, .device = r->device, .offset = offset };
missed:
	unclaimed(bus, writes ? "wrote" : "read", addr, size);
	return (struct bus_hit){ .ops = &nobody };
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_hit hit = bus_find(bus, addr, size, false);

	return bus_hit_read(&hit, size);
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t val)
{
	struct bus_hit hit = bus_find(bus, addr, size, true);

	bus_hit_write(&hit, size, val);
}
