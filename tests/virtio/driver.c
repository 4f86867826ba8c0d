/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "driver.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fail(const char *what)
{
	fprintf(stderr, "driver: %s\n", what);
	abort();
}

/* ---- what the device tells ---- */

static void on_interrupt(void *opaque, unsigned queue)
{
	struct driver *d = opaque;

	d->interrupts[queue]++;
}

static void on_config_changed(void *opaque)
{
	struct driver *d = opaque;

	d->config_changes++;
}

static void on_warn(void *opaque, const char *line)
{
	struct driver *d = opaque;

	d->warnings++;
	snprintf(d->warning, sizeof(d->warning), "%s", line);
}

static void on_notice(void *opaque, const char *line)
{
	struct driver *d = opaque;

	d->notices++;
}

/* ---- memory ---- */

void driver_init(struct driver *d, uint64_t ram)
{
	memset(d, 0, sizeof(*d));
	if (guest_memory_create(&d->ram, ram) < 0)
		fail("no memory for the guest");
	if (eventloop_create(&d->loop) < 0)
		fail("no event loop");
	d->next = 4096; /* address 0 is for what went wrong */
	d->env = (struct virtio_env){
		.ram = &d->ram, .loop = &d->loop, .warn = on_warn, .notice = on_notice, .opaque = d
	};
}

void driver_destroy(struct driver *d)
{
	if (d->dev) {
		virtio_reset(d->dev);
		d->dev->ops->destroy(d->dev);
	}
	d->dev = NULL;
	eventloop_destroy(&d->loop);
	guest_memory_destroy(&d->ram);
}

uint64_t driver_alloc(struct driver *d, uint64_t len, uint64_t align)
{
	uint64_t at = (d->next + align - 1) & ~(align - 1);

	if (!guest_range(&d->ram, at, len))
		fail("the guest is too small for this test");
	d->next = at + len;
	memset(guest_range(&d->ram, at, len), 0, len);
	return at;
}

void *driver_ptr(struct driver *d, uint64_t addr, uint64_t len)
{
	void *p = guest_range(&d->ram, addr, len);

	if (!p)
		fail("not an address of the guest");
	return p;
}

/* ---- set-up ---- */

void driver_queue_init(struct driver_queue *q, struct driver *d, uint16_t size, bool event_idx)
{
	memset(q, 0, sizeof(*q));
	q->ram = &d->ram;
	q->size = size;
	q->event_idx = event_idx;
	/* With the event indices in any case: the driver may look at them. */
	q->desc_at = driver_alloc(d, virtq_desc_bytes(size), 16);
	q->avail_at = driver_alloc(d, virtq_avail_bytes(size, true), 2);
	q->used_at = driver_alloc(d, virtq_used_bytes(size, true), 4);
	q->desc = guest_range(q->ram, q->desc_at, 0);
	q->avail = guest_range(q->ram, q->avail_at, 0);
	q->used = guest_range(q->ram, q->used_at, 0);
	for (unsigned i = 0; i < size; i++)
		q->next[i] = (uint16_t)(i + 1);
	q->free_count = size;
}

bool driver_negotiate(struct driver *d, struct virtio_device *dev, uint64_t without)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	d->dev = dev;
	dev->transport = (struct virtio_transport){ .interrupt = on_interrupt,
						    .config_changed = on_config_changed,
						    .transport = d };
	virtio_set_status(dev, 0, false);
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE, false);
	virtio_set_status(dev, status, false);
	for (unsigned i = 0; i < 2; i++)
		virtio_set_driver_features(
			dev, i, virtio_get_device_features(dev, i) & ~(uint32_t)(without >> (32 * i)));
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	virtio_set_status(dev, status, false);
	return virtio_get_status(dev) == status;
}

void driver_setup_queue(struct driver *d, unsigned queue, uint16_t size)
{
	struct driver_queue *q = &d->q[queue];

	driver_queue_init(q, d, size, virtio_has(d->dev, VIRTIO_RING_F_EVENT_IDX));
	virtio_queue_set(d->dev, queue, VIRTIO_QUEUE_SIZE, size);
	virtio_queue_set(d->dev, queue, VIRTIO_QUEUE_DESC, q->desc_at);
	virtio_queue_set(d->dev, queue, VIRTIO_QUEUE_AVAIL, q->avail_at);
	virtio_queue_set(d->dev, queue, VIRTIO_QUEUE_USED, q->used_at);
	virtio_queue_enable(d->dev, queue);
}

bool driver_start(struct driver *d, struct virtio_device *dev, uint64_t without)
{
	if (!driver_negotiate(d, dev, without))
		return false;
	for (unsigned i = 0; i < dev->ops->queues; i++)
		driver_setup_queue(d, i, virtio_queue_get(dev, i).size);
	virtio_set_status(dev, VIRTIO_CONFIG_S_DRIVER_OK, false);
	return virtio_get_status(dev) == (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
					  VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- chains ---- */

static void fill(struct vring_desc *desc, const struct driver_buf *buf, bool more)
{
	desc->addr = buf->addr;
	desc->len = buf->len;
	desc->flags = (buf->write ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
}

void driver_publish(struct driver_queue *q, uint16_t head)
{
	q->avail->ring[q->avail_idx & (q->size - 1)] = head;
	__atomic_store_n(&q->avail->idx, ++q->avail_idx, __ATOMIC_RELEASE);
	atomic_thread_fence(memory_order_seq_cst);
}

/* Unlinks @count free descriptors, which stay chained by next. */
static int take(struct driver_queue *q, unsigned count)
{
	uint16_t head = q->free_head;

	if (!count || q->free_count < count)
		return -1;
	for (unsigned i = 0; i < count; i++)
		q->free_head = q->next[q->free_head];
	q->free_count -= (uint16_t)count;
	q->chain_len[head] = (uint16_t)count;
	return head;
}

int driver_add(struct driver_queue *q, const struct driver_buf *buf, unsigned count)
{
	int head = take(q, count);
	uint16_t index = (uint16_t)head;

	if (head < 0)
		return -1;
	for (unsigned i = 0; i < count; i++) {
		fill(&q->desc[index], &buf[i], i + 1 < count);
		q->desc[index].next = q->next[index];
		index = q->next[index];
	}
	driver_publish(q, (uint16_t)head);
	return head;
}

int driver_add_indirect(struct driver_queue *q, uint64_t table, const struct driver_buf *buf, unsigned count)
{
	uint8_t *to = guest_range(q->ram, table, 16ull * count);
	int head = take(q, 1);

	if (head < 0 || !to)
		return -1;
	for (unsigned i = 0; i < count; i++) {
		struct vring_desc desc = { .next = (uint16_t)(i + 1) };

		fill(&desc, &buf[i], i + 1 < count);
		memcpy(to + 16 * i, &desc, 16); /* it may lie anywhere */
	}
	q->desc[head].addr = table;
	q->desc[head].len = 16 * count;
	q->desc[head].flags = VRING_DESC_F_INDIRECT;
	driver_publish(q, (uint16_t)head);
	return head;
}

bool driver_must_notify(const struct driver_queue *q, uint16_t old_avail_idx)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (q->event_idx)
		return vring_need_event(*(volatile uint16_t *)&q->used->ring[q->size], q->avail_idx,
					old_avail_idx);
	return !(*(volatile uint16_t *)&q->used->flags & VRING_USED_F_NO_NOTIFY);
}

bool driver_get_used(struct driver_queue *q, uint32_t *head, uint32_t *len)
{
	struct vring_used_elem elem;
	uint16_t last;

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->last_used)
		return false;
	elem = q->used->ring[q->last_used++ & (q->size - 1)];
	if (elem.id < q->size && q->chain_len[elem.id]) {
		last = (uint16_t)elem.id;
		for (unsigned i = 1; i < q->chain_len[elem.id]; i++)
			last = q->next[last];
		q->next[last] = q->free_head;
		q->free_head = (uint16_t)elem.id;
		q->free_count += q->chain_len[elem.id];
		q->chain_len[elem.id] = 0;
	}
	if (q->event_idx) /* as Linux does: an interrupt for the next one */
		__atomic_store_n(&q->avail->ring[q->size], q->last_used, __ATOMIC_SEQ_CST);
	if (head)
		*head = elem.id;
	if (len)
		*len = elem.len;
	return true;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool driver_wait_used(struct driver *d, unsigned queue, uint32_t *head, uint32_t *len, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	for (;;) {
		int64_t left = end - now_ms();

		if (driver_get_used(&d->q[queue], head, len))
			return true;
		if (left <= 0)
			return false;
		eventloop_run_once(&d->loop, left < 10 ? (int)left : 10);
	}
}
