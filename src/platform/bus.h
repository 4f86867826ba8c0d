/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An address space full of devices: one for I/O ports, one for physical
 * memory that is not RAM. A device claims ranges; the bus finds the one that
 * an access hits and hands it over with the offset into the range.
 *
 *   static const struct bus_ops rtc_ops = { .read = rtc_read, .write = rtc_write };
 *   bus_add(&pc->ports, 0x70, 2, &rtc_ops, &pc->rtc);
 *
 * Not locked: the owner of the bus serialises calls. A device with a lock of its
 * own asks for its calls to be made outside of that (bus_ops.unlocked); the owner
 * then looks the range up with bus_find(), lets go of its lock, and makes the call.
 */
#ifndef LGUEST_PLATFORM_BUS_H
#define LGUEST_PLATFORM_BUS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * @size is 1, 2, 4 or 8 and [offset, offset + size) lies inside the range.
 * A NULL callback reads all ones, or ignores the write. A device answers
 * sizes that it does not know as it likes; the guest chose them.
 */
struct bus_ops {
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t val);
	/*
	 * Call without the lock of the bus's owner. The range may be given up
	 * while such a call is under way: the device must live as long as the bus.
	 */
	bool unlocked;
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *device;
};

#define BUS_MAX_RANGES 96

struct bus {
	const char *name;                       /* for messages: "port" or "address" */
	struct bus_range range[BUS_MAX_RANGES]; /* sorted by base, disjoint */
	unsigned count;
	unsigned last; /* where the last access went: the next one often goes there, too */
	/* Takes lines about unclaimed accesses, without newline; NULL: not wanted. */
	void (*notice)(void *opaque, const char *line);
	void *opaque;
	/* Rate limit for them. */
	uint64_t unclaimed;  /* how many there were */
	int64_t last_notice; /* CLOCK_MONOTONIC seconds */
	unsigned notices;    /* in that second */
};

void bus_init(struct bus *bus, const char *name, void (*notice)(void *opaque, const char *line),
	      void *opaque);

/*
 * Claims [@base, @base + @len). 0, -EINVAL for an empty or wrapping range,
 * -EEXIST when a part is taken, -ENOSPC when the bus is full. @ops and
 * @device stay the caller's and must outlive the claim.
 */
int bus_add(struct bus *bus, uint64_t base, uint64_t len, const struct bus_ops *ops, void *device);

/* Gives up the range that starts at @base; nothing happens when there is none. */
void bus_remove(struct bus *bus, uint64_t base);

/*
 * One access of @size (1, 2, 4, 8) bytes. One that straddles the end of a
 * range, and one that no device claims, reads all ones of that size; such a
 * write is dropped. Both give a rate-limited notice.
 */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t val);

/* An access, looked up: its device, and where in the device's range it goes. */
struct bus_hit {
	const struct bus_ops *ops; /* never NULL; no callbacks where nobody is */
	void *device;
	uint64_t offset;
};

/*
 * bus_read() and bus_write() in two steps: who answers (@writes is for the
 * notice), and the call itself, which needs the bus no more.
 */
struct bus_hit bus_find(struct bus *bus, uint64_t addr, unsigned size, bool writes);

/* The low @size bytes all one. */
static inline uint64_t bus_ones(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

static inline uint64_t bus_hit_read(const struct bus_hit *hit, unsigned size)
{
	return hit->ops->read ? hit->ops->read(hit->device, hit->offset, size) & bus_ones(size)
			      : bus_ones(size);
}

static inline void bus_hit_write(const struct bus_hit *hit, unsigned size, uint64_t val)
{
	if (hit->ops->write)
		hit->ops->write(hit->device, hit->offset, size, val & bus_ones(size));
}

#endif
