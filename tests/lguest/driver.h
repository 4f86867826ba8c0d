/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small drivers for what is on the device page, in the manner of both eras: 3.x
 * says when features are final, 2.6.3x says each status.
 */
#ifndef TEST_LGUEST_DRIVER_H
#define TEST_LGUEST_DRIVER_H

#include "guest.h"

/* virtio 0.9.5, 2.3, appendix C and D; the kernel's headers are not there for -m32 on every machine. */
struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct vring_avail {
	uint16_t flags, idx, ring[];
};

struct vring_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

struct virtio_blk_outhdr {
	uint32_t type, ioprio;
	uint64_t sector;
};

enum { VRING_DESC_F_NEXT = 1, VRING_DESC_F_WRITE = 2, VRING_DESC_F_INDIRECT = 4 };
enum { VRING_AVAIL_F_NO_INTERRUPT = 1 };
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK, VIRTIO_ID_CONSOLE, VIRTIO_ID_RNG };
enum { VIRTIO_BLK_T_IN = 0, VIRTIO_BLK_T_OUT = 1, VIRTIO_BLK_T_FLUSH = 4 };
enum { VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR };
enum { VIRTIO_BLK_F_SEG_MAX = 2, VIRTIO_BLK_F_FLUSH = 9 };
enum { VIRTIO_NET_F_MRG_RXBUF = 15, VIRTIO_RING_F_INDIRECT_DESC = 28, VIRTIO_RING_F_EVENT_IDX = 29 };

#define PAGE ((volatile uint8_t *)RAM)

/* Status bits (virtio) */
#define ACKNOWLEDGE 1
#define DRIVER      2
#define DRIVER_OK   4
#define FAILED      0x80

/* How run.py orders them: --block --rng --net */
enum { BLOCK, RNG, NET, CONSOLE };

struct queue {
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	uint16_t size, irq, seen;
	uint32_t ring;
};

struct device {
	volatile uint8_t *desc;
	unsigned queues, feature_len, config_len;
	struct queue q[2];
};

/* Interrupts that came, by number: bits. */
extern uint32_t irqs;

/* LGUEST_INIT, gates and interrupts, which are counted from now on. */
void begin(void);
/* Device number @n of the list, or false. */
bool find(struct device *d, unsigned n);
/* What find() does for the one at @desc. */
void look_at(struct device *d, volatile uint8_t *desc);
volatile uint8_t *features(const struct device *d);
void set_status(struct device *d, uint8_t status, bool tell);
/* What Linux does until a driver has its device, then what it does when it has; @old: guests of 2.6.3x. */
void probe(struct device *d, bool old, uint32_t accepted);
void probed(struct device *d, bool old);

void put(struct queue *q, unsigned i, const volatile void *p, uint32_t len, unsigned flags);
/* Makes the chain at @head available; without, and with NOTIFY. */
void publish(struct queue *q, uint16_t head);
void offer(struct queue *q, uint16_t head);
/* Sleeps until the device has returned something. */
bool wait_used(struct queue *q);

/* One request to a disk, answered: its status, 0xfe when there was no answer. The data is in @sector. */
extern struct virtio_blk_outhdr header;
extern uint8_t sector[512], outcome;
uint8_t block_request(struct device *d, uint32_t type, uint32_t lba, unsigned len);

static inline unsigned get16(volatile const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

#endif
