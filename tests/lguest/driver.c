/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "driver.h"

volatile uint8_t *features(const struct device *d)
{
	return d->desc + LG_DESC_HEAD + LG_VQCONFIG * d->queues;
}

static unsigned length(const struct device *d)
{
	return LG_DESC_HEAD + LG_VQCONFIG * d->queues + 2 * d->feature_len + d->config_len;
}

void look_at(struct device *d, volatile uint8_t *desc)
{
	d->desc = desc;
	d->queues = desc[LG_DESC_NUM_VQ];
	d->feature_len = desc[LG_DESC_FEATURE_LEN];
	d->config_len = desc[LG_DESC_CONFIG_LEN];
	for (unsigned i = 0; i < d->queues && i < 2; i++) {
		volatile uint8_t *vq = desc + LG_DESC_HEAD + LG_VQCONFIG * i;
		struct queue *q = &d->q[i];

		q->size = (uint16_t)get16(vq);
		q->irq = (uint16_t)get16(vq + 2);
		q->ring = (get16(vq + 4) | get16(vq + 6) << 16) << 12;
		q->desc = (volatile struct vring_desc *)q->ring;
		q->avail = (volatile struct vring_avail *)(q->ring + 16u * q->size);
		q->used = (volatile struct vring_used *)((addr(q->avail) + 4 + 2u * q->size + 2 + 4095) &
							 ~4095u);
		q->seen = 0;
	}
}

bool find(struct device *d, unsigned n)
{
	volatile uint8_t *p = PAGE;

	for (;;) {
		if (!p[LG_DESC_TYPE])
			return false;
		look_at(d, p);
		if (n-- == 0)
			return true;
		p += length(d);
	}
}

void set_status(struct device *d, uint8_t status, bool tell)
{
	d->desc[LG_DESC_STATUS] = status;
	if (tell)
		hypercall(LG_NOTIFY, addr(d->desc), 0, 0, 0);
}

void probe(struct device *d, bool old, uint32_t accepted)
{
	set_status(d, 0, true);
	set_status(d, ACKNOWLEDGE, old);
	set_status(d, ACKNOWLEDGE | DRIVER, old);
	for (unsigned i = 0; i < d->feature_len; i++)
		features(d)[d->feature_len + i] = (uint8_t)(accepted >> (8 * i));
	if (!old)
		hypercall(LG_NOTIFY, addr(d->desc), 0, 0, 0);
}

void probed(struct device *d, bool old)
{
	set_status(d, ACKNOWLEDGE | DRIVER | DRIVER_OK, old);
}

void put(struct queue *q, unsigned i, const volatile void *p, uint32_t len, unsigned flags)
{
	q->desc[i].addr = addr(p);
	q->desc[i].len = len;
	q->desc[i].flags = (uint16_t)flags;
	q->desc[i].next = (uint16_t)(i + 1);
}

void publish(struct queue *q, uint16_t head)
{
	q->avail->ring[q->avail->idx % q->size] = head;
	__asm__ volatile("mfence" : : : "memory");
	q->avail->idx++;
	__asm__ volatile("mfence" : : : "memory");
}

void offer(struct queue *q, uint16_t head)
{
	publish(q, head);
	hypercall(LG_NOTIFY, q->ring, 0, 0, 0);
}

bool wait_used(struct queue *q)
{
	for (unsigned i = 0; i < 100 && q->used->idx == q->seen; i++) {
		/* The timer ends this when the device does not. */
		hypercall(LG_SET_CLOCKEVENT, 20000000, 0, 0, 0);
		hypercall(LG_HALT, 0, 0, 0, 0);
	}
	if (q->used->idx == q->seen)
		return false;
	q->seen++;
	return true;
}

uint32_t irqs;

static void count_irq(struct frame *f)
{
	if (f->vector >= LG_IRQ_VECTOR && f->vector < LG_IRQ_VECTOR + LG_IRQS)
		irqs |= 1u << (f->vector - LG_IRQ_VECTOR);
}

void begin(void)
{
	init(KERNEL);
	set_gates();
	handler = count_irq;
	lguest_data.blocked = 0;
	lguest_data.irq_enabled = LG_IRQ_ON;
}

/* ---- block ---- */

struct virtio_blk_outhdr header;
uint8_t sector[512], outcome;

uint8_t block_request(struct device *d, uint32_t type, uint32_t lba, unsigned len)
{
	struct queue *q = &d->q[0];
	bool in = type == VIRTIO_BLK_T_IN;

	header.type = type;
	header.sector = lba;
	outcome = 0xff;
	put(q, 0, &header, sizeof(header), VRING_DESC_F_NEXT);
	if (len)
		put(q, 1, sector, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0));
	put(q, len ? 2 : 1, &outcome, 1, VRING_DESC_F_WRITE);
	offer(q, 0);
	return wait_used(q) ? outcome : 0xfe;
}
