/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues (virtio 1.2, 2.7), the device's side. Every check of what
 * a guest may write into a ring stands in queue.c, once, for all devices and
 * all transports.
 *
 *   while (virtq_pop(vq, &chain) > 0) {
 *           ... read chain.iov[0 .. out_count), write the in_count ones after ...
 *           virtq_push(vq, &chain, bytes_written);
 *   }
 *   if (virtq_wants_interrupt(vq))
 *           ... interrupt ...                  (virtio_flush() of device.h does both)
 *
 * The guest may change rings and buffers at any moment: each descriptor is read
 * once, and what was read is checked and used. A ring that makes no sense
 * breaks the queue: virtq_pop() answers -EPROTO for good, and vq->broken says
 * why; device.c turns that into NEEDS_RESET.
 *
 * Serialised by the owner (the lock of the device).
 */
#ifndef LGUEST_VIRTIO_QUEUE_H
#define LGUEST_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "host/iov.h"

struct guest_memory;

#define VIRTQ_MAX_SIZE     1024
#define VIRTQ_DEFAULT_SIZE 256 /* as in the original */

/* What the guest set up and how far both sides have come: all that a snapshot needs. */
struct virtq_state {
	uint16_t size;              /* a power of two, at most VIRTQ_MAX_SIZE */
	bool enabled;               /* the rings below are checked and in use */
	uint64_t desc, avail, used; /* guest-physical: descriptor area, driver area, device area */
	uint16_t next_avail;        /* index of the next available entry to take */
	uint16_t next_used;         /* index of the next used entry to write */
	uint16_t signalled;         /* next_used when the guest was last interrupted or passed over */
	bool signalled_valid;
};

struct virtq {
	struct virtq_state s;
	uint16_t max_size; /* what the device offers */
	bool event_idx;    /* VIRTIO_RING_F_EVENT_IDX was negotiated */
	bool indirect;     /* VIRTIO_RING_F_INDIRECT_DESC was */
	bool quiet;        /* virtq_suppress() is in force */
	uint16_t asked;    /* the entry that we asked a notification for (event index) */
	bool asked_valid;
	const char *broken; /* static text: what the guest did wrong; NULL: all is well */
	const struct guest_memory *ram;
	/* Host addresses of the three areas, while enabled. */
	const void *desc;
	void *avail, *used;
};

/*
 * One request: buffers that the device reads, then buffers that it writes.
 * @iov is the caller's, with room for @capacity elements; it points into guest
 * RAM and stays valid as long as the RAM. Empty descriptors are left out.
 */
struct virtq_chain {
	struct iovec *iov;
	unsigned capacity;
	unsigned out_count, in_count; /* elements that the device reads, then writes */
	uint64_t out_len, in_len;     /* their bytes in all */
	uint16_t head;                /* names the chain in the used ring */
};

/* An unset queue that offers @max_size entries (a power of two). */
void virtq_init(struct virtq *vq, const struct guest_memory *ram, uint16_t max_size);
/* Back to virtq_init(). */
void virtq_reset(struct virtq *vq);

/*
 * Takes s.size and the addresses in s into use after checking alignment (16,
 * 2, 4 bytes; 2.7) and that all of it is RAM. False, with vq->broken set, if not.
 */
bool virtq_enable(struct virtq *vq, bool event_idx, bool indirect);

/*
 * Takes the next available chain. 1: *chain is filled in; 0: there is none;
 * -EPROTO: broken. A chain with more than capacity elements is broken, too, and
 * one without a byte. There are never more than s.size chains between pop and push.
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);
/* Is there one? Cheap; false when broken. */
bool virtq_has_work(const struct virtq *vq);
/* Undoes the last @count virtq_pop() (no virtq_push() of them has happened). */
void virtq_unpop(struct virtq *vq, unsigned count);

/*
 * Returns a chain; the device has written the first @written bytes of its
 * writable part (which code translators get told, see guest_wrote()): chain->iov
 * must still describe it, so do not iov_skip() the writable part itself but a
 * copy. Bytes written elsewhere need a guest_wrote() of their own before. On a
 * broken queue all that is left of this is the guest_wrote().
 */
void virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written);
/*
 * The same in two steps, for buffers that must appear together (mergeable
 * receive buffers, virtio 1.2, 5.1.6.3.2): virtq_fill() writes used entry
 * number @ahead behind the last published one, virtq_publish() shows @count of them.
 */
void virtq_fill(struct virtq *vq, const struct virtq_chain *chain, uint32_t written, unsigned ahead);
void virtq_publish(struct virtq *vq, unsigned count);

/*
 * Does the guest want an interrupt for what was pushed since the last call
 * (2.7.7, 2.7.10)? Remembers that it was asked.
 */
bool virtq_wants_interrupt(struct virtq *vq);

/*
 * Asks the guest not to notify (true), or to notify again (false). After
 * false, look at virtq_has_work() once more: something may have come meanwhile;
 * virtq_suppress() returns that: true when there is work already.
 */
bool virtq_suppress(struct virtq *vq, bool quiet);

/* Bytes of the three areas for @size entries, without and with event index (2.7). */
static inline uint64_t virtq_desc_bytes(unsigned size)
{
	return 16ull * size;
}
static inline uint64_t virtq_avail_bytes(unsigned size, bool event_idx)
{
	return 4 + 2ull * size + (event_idx ? 2 : 0);
}
static inline uint64_t virtq_used_bytes(unsigned size, bool event_idx)
{
	return 4 + 8ull * size + (event_idx ? 2 : 0);
}

#endif
