/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring as the device sees it, with the driver for an enemy.
 *
 *   descriptors   16 bytes each: address, length, flags, next. The driver's;
 *                 a request is a chain of them, or one that points to a table
 *                 of more (indirect).
 *   available     index + ring of heads of chains. The driver writes, we read.
 *   used          index + ring of (head, bytes written). We write.
 *
 * Both indices run freely modulo 65536; entry i of a ring stands at i % size.
 * The driver's index never runs more than size ahead of our used index, for a
 * chain has at least one descriptor and is not reused before it came back. That
 * one comparison bounds the loops of every device, and the number of requests
 * that it can ever have in flight.
 *
 * All loads of what the guest can change go through the load functions below:
 * the compiler must not read a second time what has been checked.
 */
#include "virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "memory.h"

/* 2.7.5: "A driver MUST NOT add a descriptor chain longer than 2^32 bytes in total". */
#define CHAIN_MAX_BYTES (1ull << 32)

/* ---- guest memory, one access each ---- */

static uint16_t load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

/* What the driver wrote before this index or flag is seen after it. */
static uint16_t load16_acquire(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static void store16(void *p, uint16_t val)
{
	__atomic_store_n((uint16_t *)p, val, __ATOMIC_RELAXED);
}

/* Tables of indirect descriptors need no alignment (2.7.5.3), hence memcpy. */
static struct vring_desc load_desc(const void *table, unsigned index)
{
	struct vring_desc desc;
	uint64_t word[2];

	memcpy(word, (const uint8_t *)table + sizeof(desc) * (size_t)index, sizeof(word));
	/* The compiler cannot know the words any more, so it cannot read them again. */
	asm volatile("" : "+r"(word[0]), "+r"(word[1]));
	memcpy(&desc, word, sizeof(desc));
	return desc;
}

static const struct vring_avail *avail_of(const struct virtq *vq)
{
	return vq->avail;
}

static struct vring_used *used_of(struct virtq *vq)
{
	return vq->used;
}

/* The driver's word about interrupts behind its ring, and ours about notifications behind ours (2.7.7, 2.7.8). */
static const void *used_event(const struct virtq *vq)
{
	return &avail_of(vq)->ring[vq->s.size];
}

static void *avail_event(struct virtq *vq)
{
	return &used_of(vq)->ring[vq->s.size];
}

/* ---- set-up ---- */

void virtq_init(struct virtq *vq, const struct guest_memory *ram, uint16_t max_size)
{
	*vq = (struct virtq){ .ram = ram, .max_size = max_size };
	vq->s.size = max_size;
	vq->s.signalled_valid = true;
}

void virtq_reset(struct virtq *vq)
{
	virtq_init(vq, vq->ram, vq->max_size);
}

static bool set_broken(struct virtq *vq, const char *why)
{
	vq->broken = why;
	return false;
}

bool virtq_enable(struct virtq *vq, bool event_idx, bool indirect)
{
	struct virtq_state *s = &vq->s;

	if (vq->broken)
		return false;
	if (!s->size || s->size > vq->max_size || (s->size & (s->size - 1)))
		return set_broken(vq, "bad queue size");
	if (s->desc % VRING_DESC_ALIGN_SIZE || s->avail % VRING_AVAIL_ALIGN_SIZE ||
	    s->used % VRING_USED_ALIGN_SIZE)
		return set_broken(vq, "a ring is not aligned");

	vq->desc = guest_range(vq->ram, s->desc, virtq_desc_bytes(s->size));
	vq->avail = guest_range(vq->ram, s->avail, virtq_avail_bytes(s->size, event_idx));
	vq->used = guest_range(vq->ram, s->used, virtq_used_bytes(s->size, event_idx));
	if (!vq->desc || !vq->avail || !vq->used)
		return set_broken(vq, "a ring is outside of RAM");

	vq->event_idx = event_idx;
	vq->indirect = indirect;
	s->enabled = true;
	return true;
}

/* ---- from the driver ---- */

/* What a walk along one chain has found so far. */
struct walk {
	struct virtq *vq;
	struct virtq_chain *chain;
	bool writable; /* a writable descriptor was seen: all others must be, too */
};

static bool add_buffer(struct walk *w, const struct vring_desc *desc)
{
	struct virtq_chain *chain = w->chain;
	bool writable = desc->flags & VRING_DESC_F_WRITE;
	unsigned count = chain->out_count + chain->in_count;
	void *host;

	/* 2.7.4.2 */
	if (w->writable && !writable)
		return set_broken(w->vq, "a readable descriptor behind a writable one");
	w->writable = writable;
	if (!desc->len)
		return true;

	host = guest_range(w->vq->ram, desc->addr, desc->len);
	if (!host)
		return set_broken(w->vq, "a buffer is outside of RAM");
	/* The guest is about to be stopped. Until then no zeroes in place of its kernel get to a disk. */
	if (guest_load_failed(w->vq->ram))
		return set_broken(w->vq, "the kernel or the initrd could not be loaded");
	if (count == chain->capacity)
		return set_broken(w->vq, "a chain has too many buffers");
	if (chain->out_len + chain->in_len + desc->len > CHAIN_MAX_BYTES)
		return set_broken(w->vq, "a chain has more than 4 GiB");

	chain->iov[count] = (struct iovec){ .iov_base = host, .iov_len = desc->len };
	if (writable) {
		chain->in_count++;
		chain->in_len += desc->len;
	} else {
		chain->out_count++;
		chain->out_len += desc->len;
	}
	return true;
}

/* 2.7.5.3: the table replaces the one descriptor, which is the last of its chain; its WRITE flag says nothing. */
static bool walk_indirect(struct walk *w, const struct vring_desc *ref)
{
	struct virtq *vq = w->vq;
	unsigned entries = ref->len / sizeof(struct vring_desc), index = 0;
	const void *table;

	if (!vq->indirect)
		return set_broken(vq, "an indirect descriptor without the feature");
	if (ref->flags & VRING_DESC_F_NEXT)
		return set_broken(vq, "an indirect descriptor has a successor");
	if (!entries || ref->len % sizeof(struct vring_desc))
		return set_broken(vq, "a table of descriptors has a bad length");
	table = guest_range(vq->ram, ref->addr, ref->len);
	if (!table)
		return set_broken(vq, "a table of descriptors is outside of RAM");

	/*
	 * The specification limits a chain to the size of the queue, Linux to
	 * what the device can take (seg_max) whatever the queue's size is.
	 */
	for (unsigned steps = 0; steps < VIRTQ_MAX_SIZE; steps++) {
		struct vring_desc desc;

		if (index >= entries)
			return set_broken(vq, "a descriptor's successor is outside of its table");
		desc = load_desc(table, index);
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return set_broken(vq, "a table of descriptors in a table");
		if (!add_buffer(w, &desc))
			return false;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return true;
		index = desc.next;
	}
	return set_broken(vq, "a chain is too long or a loop");
}

static bool walk_chain(struct walk *w, unsigned index)
{
	struct virtq *vq = w->vq;

	for (unsigned steps = 0; steps < vq->s.size; steps++) {
		struct vring_desc desc;

		if (index >= vq->s.size)
			return set_broken(vq, "a descriptor's index is outside of the queue");
		desc = load_desc(vq->desc, index);
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, &desc);
		if (!add_buffer(w, &desc))
			return false;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return true;
		index = desc.next;
	}
	return set_broken(vq, "a chain is too long or a loop");
}

/*
 * With an event index the driver notifies only when it adds the entry that we
 * named. We name the next one each time that we have seen the end: while
 * there is work, we look by ourselves, and a notification would be for nothing.
 * Whoever leaves work in the queue comes back to it without one.
 */
static void ask_for_next(struct virtq *vq)
{
	vq->asked = vq->s.next_avail;
	vq->asked_valid = true;
	store16(avail_event(vq), vq->asked);
	guest_wrote(vq->ram, avail_event(vq), 2);
	/* We write the event and read the index, the driver the other way round (2.7.10). */
	atomic_thread_fence(memory_order_seq_cst);
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	struct walk walk = { .vq = vq, .chain = chain };
	uint16_t index;

	if (vq->broken)
		return -EPROTO;
	if (!vq->s.enabled)
		return 0;

	index = load16_acquire(&avail_of(vq)->idx);
	if (index == vq->s.next_avail) {
		if (!vq->event_idx || vq->quiet || (vq->asked_valid && vq->asked == index))
			return 0;
		ask_for_next(vq);
		index = load16_acquire(&avail_of(vq)->idx);
		if (index == vq->s.next_avail)
			return 0;
	}
	/* Behind what we took, or more than a queue of chains that did not come back: both make this large. */
	if ((uint16_t)(index - vq->s.next_used) > vq->s.size ||
	    (uint16_t)(index - vq->s.next_avail) > vq->s.size) {
		set_broken(vq, "the available index is absurd");
		return -EPROTO;
	}

	chain->out_count = chain->in_count = 0;
	chain->out_len = chain->in_len = 0;
	chain->head = load16(&avail_of(vq)->ring[vq->s.next_avail & (vq->s.size - 1)]);
	if (!walk_chain(&walk, chain->head))
		return -EPROTO;
	if (!chain->out_count && !chain->in_count) {
		set_broken(vq, "a chain without a byte");
		return -EPROTO;
	}
	vq->s.next_avail++;
	return 1;
}

bool virtq_has_work(const struct virtq *vq)
{
	return vq->s.enabled && !vq->broken && load16_acquire(&avail_of(vq)->idx) != vq->s.next_avail;
}

void virtq_unpop(struct virtq *vq, unsigned count)
{
	vq->s.next_avail -= (uint16_t)count;
}

/* ---- to the driver ---- */

/* The first @written bytes of the writable part. */
static void tell_written(const struct virtq *vq, const struct virtq_chain *chain, uint64_t written)
{
	const struct iovec *iov = chain->iov + chain->out_count;

	for (unsigned i = 0; i < chain->in_count && written; i++) {
		uint64_t len = iov[i].iov_len < written ? iov[i].iov_len : written;

		guest_wrote(vq->ram, iov[i].iov_base, len);
		written -= len;
	}
}

void virtq_fill(struct virtq *vq, const struct virtq_chain *chain, uint32_t written, unsigned ahead)
{
	struct vring_used_elem *entry;

	/* Also when nobody waits for the chain any more: its memory was written. */
	tell_written(vq, chain, written);
	if (!vq->s.enabled || vq->broken)
		return;
	entry = &used_of(vq)->ring[(vq->s.next_used + ahead) & (vq->s.size - 1)];
	__atomic_store_n(&entry->id, chain->head, __ATOMIC_RELAXED);
	__atomic_store_n(&entry->len, written, __ATOMIC_RELAXED);
	guest_wrote(vq->ram, entry, sizeof(*entry));
}

void virtq_publish(struct virtq *vq, unsigned count)
{
	if (!vq->s.enabled || vq->broken)
		return;
	/* Once all around since the guest was last told: the difference would look small again. */
	if ((uint16_t)(vq->s.next_used - vq->s.signalled) + count > UINT16_MAX)
		vq->s.signalled_valid = false;
	vq->s.next_used += (uint16_t)count;
	__atomic_store_n(&used_of(vq)->idx, vq->s.next_used, __ATOMIC_RELEASE);
	guest_wrote(vq->ram, &used_of(vq)->idx, 2);
}

void virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written)
{
	virtq_fill(vq, chain, written, 0);
	virtq_publish(vq, 1);
}

bool virtq_wants_interrupt(struct virtq *vq)
{
	uint16_t old = vq->s.signalled, new = vq->s.next_used;
	bool valid = vq->s.signalled_valid;

	if (!vq->s.enabled || vq->broken)
		return false;
	if (valid && old == new)
		return false;
	vq->s.signalled = new;
	vq->s.signalled_valid = true;

	/* We write the used index and read the driver's wish, the driver the other way round (2.7.7.2, 2.7.10). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vq->event_idx)
		return !(load16(&avail_of(vq)->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return !valid || vring_need_event(load16(used_event(vq)), new, old);
}

bool virtq_suppress(struct virtq *vq, bool quiet)
{
	vq->quiet = quiet;
	if (!vq->s.enabled || vq->broken)
		return false;

	if (!vq->event_idx) {
		store16(&used_of(vq)->flags, quiet ? VRING_USED_F_NO_NOTIFY : 0);
		guest_wrote(vq->ram, &used_of(vq)->flags, 2);
		atomic_thread_fence(memory_order_seq_cst);
	} else if (quiet) {
		/* An entry that the driver has added already: it comes by there 65535 entries later. */
		vq->asked_valid = false;
		store16(avail_event(vq), (uint16_t)(vq->s.next_avail - 1));
		guest_wrote(vq->ram, avail_event(vq), 2);
	} else {
		ask_for_next(vq);
	}
	return !quiet && virtq_has_work(vq);
}
