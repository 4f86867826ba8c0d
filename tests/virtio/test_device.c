/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all devices have in common, tried on one that sends back what it gets:
 * status, features, queues, configuration, and a driver that gets it wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdlib.h>

#include "driver.h"

#define ACK         VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FAILED      VIRTIO_CONFIG_S_FAILED
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define ALL_OK      (ACK | DRIVER | FEATURES_OK | DRIVER_OK)

#define FEATURE_ECHO 3 /* echo0's own */
#define HELD         4

struct echo {
	struct virtio_device dev;
	unsigned started, stopped, notified[2], written;
	bool hold; /* keep requests, as a device whose host works on them */
	struct virtq_chain held[HELD];
	struct iovec held_iov[HELD][4];
	unsigned held_count;
};

static void echo_start(struct virtio_device *dev)
{
	struct echo *e = (struct echo *)dev;

	e->started++;
	assert_true(dev->running);
}

static void echo_stop(struct virtio_device *dev)
{
	struct echo *e = (struct echo *)dev;

	e->stopped++;
	/* "the host is done with them" */
	for (unsigned i = 0; i < e->held_count; i++)
		virtq_push(&dev->queue[0], &e->held[i], 0);
	virtio_flush(dev, 0);
	e->held_count = 0;
}

static void echo_notify(struct virtio_device *dev, unsigned queue)
{
	struct echo *e = (struct echo *)dev;
	struct iovec iov[4];
	struct virtq_chain chain = { .iov = iov, .capacity = 4 };
	uint8_t buf[256];

	e->notified[queue]++;
	assert_true(dev->running);
	while (!e->hold && virtio_pop(dev, queue, &chain) > 0) {
		size_t len = iov_read(iov, chain.out_count, 0, buf, sizeof(buf));

		if (len == 0) {
			virtio_break(dev, queue, "nothing to send back");
			break;
		}
		len = iov_write(iov + chain.out_count, chain.in_count, 0, buf, len);
		virtq_push(&dev->queue[queue], &chain, (uint32_t)len);
	}
	while (e->hold && e->held_count < HELD) {
		struct virtq_chain *held = &e->held[e->held_count];

		*held = (struct virtq_chain){ .iov = e->held_iov[e->held_count], .capacity = 4 };
		if (virtio_pop(dev, queue, held) <= 0)
			break;
		e->held_count++;
	}
	virtio_flush(dev, queue);
}

static void echo_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	struct echo *e = (struct echo *)dev;

	e->written++;
	assert_true(offset + size <= dev->config_len);
	dev->config[0] = 0x11; /* this one is read-only */
}

static void echo_destroy(struct virtio_device *dev)
{
	assert_false(dev->running);
	virtio_fini(dev);
	free(dev);
}

static const struct virtio_ops echo_ops = {
	.id = 77,
	.queues = 2,
	.start = echo_start,
	.stop = echo_stop,
	.notify = echo_notify,
	.config_written = echo_config_written,
	.destroy = echo_destroy,
};

static struct echo *begin(struct driver *d)
{
	struct echo *e = calloc(1, sizeof(*e));

	driver_init(d, 4 << 20);
	virtio_init(&e->dev, &echo_ops, &d->env, "echo0", 1ull << FEATURE_ECHO, 12, 16);
	for (unsigned i = 0; i < 12; i++)
		e->dev.config[i] = (uint8_t)(0x11 * (i + 1));
	d->dev = &e->dev;
	return e;
}

/* One round trip through @queue. */
static void assert_echoes(struct driver *d, unsigned queue)
{
	uint64_t a = driver_alloc(d, 64, 1);
	uint32_t len;

	memcpy(driver_ptr(d, a, 5), "hello", 5);
	driver_add(&d->q[queue], (struct driver_buf[]){ { a, 5, false }, { a + 16, 16, true } }, 2);
	virtio_notify(d->dev, queue);
	assert_true(driver_get_used(&d->q[queue], NULL, &len));
	assert_int_equal(len, 5);
	assert_memory_equal(driver_ptr(d, a + 16, 6), "hello", 6);
}

/* ---- what good drivers do ---- */

static void by_the_book(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);

	for (unsigned round = 1; round <= 10; round++) {
		assert_true(driver_start(&d, &e->dev, round & 1 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0));
		assert_int_equal(e->started, round);
		assert_int_equal(e->stopped, round - 1);
		assert_true(virtio_has(&e->dev, FEATURE_ECHO));
		assert_true(virtio_has(&e->dev, VIRTIO_F_VERSION_1));
		assert_int_equal(virtio_has(&e->dev, VIRTIO_RING_F_EVENT_IDX), !(round & 1));
		for (unsigned i = 0; i < 50; i++) {
			assert_echoes(&d, 0);
			assert_echoes(&d, 1);
		}
		assert_int_equal(d.interrupts[0], 50 * round);
		assert_int_equal(d.interrupts[1], 50 * round);
		virtio_reset(&e->dev);
		assert_int_equal(virtio_get_status(&e->dev), 0);
		assert_int_equal(e->stopped, round);
		assert_false(virtio_has(&e->dev, FEATURE_ECHO));
	}
	assert_int_equal(d.warnings, 0);
	driver_destroy(&d);
}

static void offered_features(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);

	assert_int_equal(virtio_get_device_features(&e->dev, 0),
			 1u << FEATURE_ECHO | 1u << VIRTIO_RING_F_INDIRECT_DESC |
				 1u << VIRTIO_RING_F_EVENT_IDX | 1u << VIRTIO_F_ANY_LAYOUT);
	assert_int_equal(virtio_get_device_features(&e->dev, 1), 1u << (VIRTIO_F_VERSION_1 - 32));
	assert_int_equal(virtio_get_device_features(&e->dev, 2), 0);
	assert_int_equal(virtio_get_device_features(&e->dev, 0xffffffff), 0);

	virtio_set_driver_features(&e->dev, 0, 0x12345678);
	virtio_set_driver_features(&e->dev, 1, 0x9abcdef0);
	virtio_set_driver_features(&e->dev, 2, 0xffffffff);
	virtio_set_driver_features(&e->dev, 33, 0xffffffff);
	assert_int_equal(virtio_get_driver_features(&e->dev, 0), 0x12345678);
	assert_int_equal(virtio_get_driver_features(&e->dev, 1), 0x9abcdef0);
	assert_int_equal(virtio_get_driver_features(&e->dev, 2), 0);
	assert_false(virtio_has(&e->dev, FEATURE_ECHO)); /* not settled */
	virtio_reset(&e->dev);
	assert_int_equal(virtio_get_driver_features(&e->dev, 0), 0);
	driver_destroy(&d);
}

/* Requests from before DRIVER_OK are done then, without another notification. */
static void early_requests(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	uint64_t a = driver_alloc(&d, 64, 1);
	uint32_t len;

	assert_true(driver_negotiate(&d, &e->dev, 0));
	driver_setup_queue(&d, 0, 16);
	driver_add(&d.q[0], (struct driver_buf[]){ { a, 5, false }, { a + 16, 16, true } }, 2);
	virtio_notify(&e->dev, 0);
	assert_int_equal(e->notified[0], 0);
	assert_false(driver_get_used(&d.q[0], NULL, NULL));
	virtio_set_status(&e->dev, ALL_OK, false);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, 5);
	assert_int_equal(d.interrupts[0], 1);
	driver_destroy(&d);
}

/* ---- order ---- */

static void settle(struct virtio_device *dev, uint64_t features)
{
	virtio_set_driver_features(dev, 0, (uint32_t)features);
	virtio_set_driver_features(dev, 1, (uint32_t)(features >> 32));
}

static void steps_left_out(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;
	static const struct {
		unsigned writes;
		uint8_t write[4], status;
	} steps[] = {
		{ 1, { DRIVER_OK }, 0 },
		{ 1, { FEATURES_OK }, 0 },
		{ 3, { ACK, DRIVER, FEATURES_OK }, ACK | DRIVER | FEATURES_OK }, /* bits add up */
		{ 1, { ACK | FEATURES_OK }, ACK },
		{ 1, { DRIVER | FEATURES_OK | DRIVER_OK }, DRIVER },
		{ 1, { ACK | DRIVER | DRIVER_OK }, ACK | DRIVER },
		{ 1, { ALL_OK }, ALL_OK },
		{ 2, { ALL_OK, ACK }, ALL_OK }, /* cannot be taken back */
		{ 2, { ALL_OK, 0 }, 0 },
		{ 3, { ALL_OK, 0, ACK }, ACK },
		{ 2, { ACK, NEEDS_RESET }, ACK }, /* not the driver's to set */
		{ 1, { ACK | 0x30 }, ACK },       /* reserved */
		{ 1, { ALL_OK | FAILED }, ALL_OK | FAILED },
		{ 2, { FAILED, ALL_OK }, ALL_OK | FAILED },
		{ 2, { ALL_OK, FAILED }, ALL_OK | FAILED },
	};

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		virtio_set_status(dev, 0, false);
		settle(dev, 1ull << VIRTIO_F_VERSION_1 | 1ull << FEATURE_ECHO);
		for (unsigned k = 0; k < steps[i].writes; k++)
			virtio_set_status(dev, steps[i].write[k], false);
		assert_int_equal(virtio_get_status(dev), steps[i].status);
		assert_int_equal(dev->running, steps[i].status == ALL_OK);
		assert_int_equal(e->started - e->stopped, dev->running);
	}
	assert_int_equal(d.warnings, 0);
	driver_destroy(&d);
}

static void refused_features(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;
	const uint64_t v1 = 1ull << VIRTIO_F_VERSION_1;
	static const uint64_t not_offered[] = { 1ull << 0, 1ull << 24, 1ull << 33, 1ull << 34, 1ull << 63 };

	for (unsigned i = 0; i < sizeof(not_offered) / sizeof(not_offered[0]); i++) {
		virtio_reset(dev);
		settle(dev, v1 | not_offered[i]);
		virtio_set_status(dev, ALL_OK, false);
		assert_int_equal(virtio_get_status(dev), ACK | DRIVER);
		assert_false(virtio_has(dev, VIRTIO_F_VERSION_1));
		/* It may try again without (3.1.1 lets it). */
		settle(dev, v1);
		virtio_set_status(dev, ALL_OK, false);
		assert_int_equal(virtio_get_status(dev), ALL_OK);
	}

	/* Version 1 is for modern transports only. */
	virtio_reset(dev);
	settle(dev, 1ull << FEATURE_ECHO);
	virtio_set_status(dev, ACK | DRIVER | FEATURES_OK, false);
	assert_int_equal(virtio_get_status(dev), ACK | DRIVER);
	virtio_set_status(dev, ACK | DRIVER | FEATURES_OK, true);
	assert_int_equal(virtio_get_status(dev), ACK | DRIVER | FEATURES_OK);

	/* Locked from FEATURES_OK to the reset. */
	settle(dev, v1);
	assert_int_equal(virtio_get_driver_features(dev, 0), 1u << FEATURE_ECHO);
	assert_int_equal(virtio_get_driver_features(dev, 1), 0);
	virtio_set_status(dev, DRIVER_OK, true);
	settle(dev, v1);
	assert_int_equal(virtio_get_driver_features(dev, 1), 0);

	/* The oldest drivers know no FEATURES_OK; what was not offered is left out. */
	virtio_reset(dev);
	settle(dev, 1ull << FEATURE_ECHO | 1);
	virtio_set_status(dev, ACK | DRIVER | DRIVER_OK, true);
	assert_true(dev->running);
	assert_true(virtio_has(dev, FEATURE_ECHO));
	assert_false(virtio_has(dev, 0));
	driver_destroy(&d);
}

static void queues_are_locked(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;
	struct virtq_state s = virtio_queue_get(dev, 0);

	assert_int_equal(s.size, 16);
	assert_false(s.enabled);
	assert_int_equal(virtio_queue_get(dev, 2).size, 0);
	assert_int_equal(virtio_queue_get(dev, 0xffffffff).size, 0);

	/* None of these exist. */
	virtio_queue_set(dev, 2, VIRTIO_QUEUE_SIZE, 4);
	virtio_queue_set(dev, 0xffffffff, VIRTIO_QUEUE_SIZE, 4);
	virtio_queue_enable(dev, 2);
	virtio_queue_enable(dev, 0xffffffff);
	virtio_notify(dev, 2);
	virtio_notify(dev, 0xffffffff);

	assert_true(driver_start(&d, dev, 0));
	virtio_notify(dev, 2);
	virtio_notify(dev, 0xffffffff);
	s = virtio_queue_get(dev, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_SIZE, 4);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_AVAIL, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_USED, 0);
	virtio_queue_enable(dev, 0);
	assert_int_equal(virtio_queue_get(dev, 0).size, s.size);
	assert_true(virtio_queue_get(dev, 0).desc == s.desc);
	assert_true(virtio_queue_get(dev, 0).avail == s.avail);
	assert_true(virtio_queue_get(dev, 0).used == s.used);
	assert_echoes(&d, 0);

	/* A queue that was left out stays out, and its doorbell is dead. */
	assert_true(driver_negotiate(&d, dev, 0));
	driver_setup_queue(&d, 1, 8);
	virtio_set_status(dev, ALL_OK, false);
	assert_echoes(&d, 1);
	e->notified[0] = 0;
	virtio_notify(dev, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC, 0x1000);
	virtio_queue_enable(dev, 0);
	virtio_notify(dev, 0);
	assert_false(virtio_queue_get(dev, 0).enabled);
	assert_int_equal(e->notified[0], 0);
	assert_int_equal(virtio_get_status(dev), ALL_OK);
	driver_destroy(&d);
}

/* ---- a driver that breaks it ---- */

static void bad_queue(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;

	assert_true(driver_negotiate(&d, dev, 0));
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_SIZE, 0x10008); /* not 8 */
	virtio_queue_enable(dev, 1);
	assert_int_equal(virtio_get_status(dev), ACK | DRIVER | FEATURES_OK | NEEDS_RESET);
	assert_int_equal(d.warnings, 1);
	assert_string_equal(d.warning,
			    "echo0: queue 1: bad queue size (the device waits for the guest to reset it)");
	assert_int_equal(d.config_changes, 0); /* nobody is told before DRIVER_OK */
	virtio_set_status(dev, ALL_OK, false);
	assert_false(dev->running);
	assert_int_equal(e->started, 0);

	/* Larger than offered. */
	assert_true(driver_negotiate(&d, dev, 0));
	driver_setup_queue(&d, 0, 32);
	assert_true(virtio_get_status(dev) & NEEDS_RESET);

	/* Fits without an event index, which is negotiated only afterwards: found at DRIVER_OK. */
	virtio_reset(dev);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_AVAIL, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_USED, d.ram.size - 4 - 8 * 16);
	virtio_queue_enable(dev, 0);
	assert_int_equal(virtio_get_status(dev), 0);
	settle(dev, 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
	virtio_set_status(dev, ALL_OK, false);
	assert_int_equal(virtio_get_status(dev), ALL_OK | NEEDS_RESET);
	assert_int_equal(e->started, 0);
	assert_false(dev->running);

	assert_true(driver_start(&d, dev, 0));
	assert_echoes(&d, 0);
	driver_destroy(&d);
}

static void broken_ring(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;

	assert_true(driver_start(&d, dev, 0));
	assert_echoes(&d, 1);
	driver_publish(&d.q[1], 99);
	virtio_notify(dev, 1);
	assert_int_equal(virtio_get_status(dev), ALL_OK | NEEDS_RESET);
	assert_int_equal(e->stopped, 1);
	assert_int_equal(d.config_changes, 1);
	assert_int_equal(d.warnings, 1);
	assert_string_equal(d.warning, "echo0: queue 1: a descriptor's index is outside of the queue "
				       "(the device waits for the guest to reset it)");

	/* Dead, the other queue too, and silent. */
	e->notified[0] = e->notified[1] = 0;
	virtio_notify(dev, 0);
	virtio_notify(dev, 1);
	virtio_set_status(dev, ALL_OK, false);
	assert_int_equal(e->notified[0] + e->notified[1], 0);
	assert_int_equal(virtio_get_status(dev), ALL_OK | NEEDS_RESET);
	assert_int_equal(d.warnings, 1);
	virtio_lock(dev);
	virtio_break(dev, 0, "again");
	virtio_unlock(dev);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(e->stopped, 1);

	virtio_reset(dev);
	assert_int_equal(e->stopped, 1); /* it was already */
	assert_true(driver_start(&d, dev, 0));
	assert_echoes(&d, 1);

	/* The device's own complaint. */
	driver_add(&d.q[0], &(struct driver_buf){ 0x1000, 1, true }, 1);
	virtio_notify(dev, 0);
	assert_int_equal(virtio_get_status(dev), ALL_OK | NEEDS_RESET);
	assert_string_equal(
		d.warning,
		"echo0: queue 0: nothing to send back (the device waits for the guest to reset it)");
	driver_destroy(&d);
}

static void warnings_end(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);

	for (unsigned i = 0; i < 300; i++) {
		d.next = 4096;
		assert_true(driver_start(&d, &e->dev, 0));
		driver_publish(&d.q[0], 99);
		virtio_notify(&e->dev, 0);
		assert_true(virtio_get_status(&e->dev) & NEEDS_RESET);
	}
	assert_int_equal(d.warnings, 6);
	assert_string_equal(d.warning, "echo0: further warnings are left out");
	assert_int_equal(e->stopped, 300);
	driver_destroy(&d);
}

static void reset_in_flight(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;
	uint64_t a = driver_alloc(&d, 64, 1);

	for (unsigned how = 0; how < 3; how++) {
		unsigned before = d.interrupts[0];

		e->hold = true;
		assert_true(driver_start(&d, dev, 0));
		for (unsigned i = 0; i < HELD; i++)
			driver_add(&d.q[0], &(struct driver_buf){ a, 1, true }, 1);
		virtio_notify(dev, 0);
		assert_int_equal(e->held_count, HELD);
		switch (how) {
		case 0: virtio_reset(dev); break;
		case 1: virtio_set_status(dev, FAILED, false); break;
		case 2:
			driver_publish(&d.q[1], 99);
			e->hold = false;
			virtio_notify(dev, 1);
			break;
		}
		assert_int_equal(e->held_count, 0);
		assert_int_equal(e->stopped, how + 1);
		assert_false(dev->running);
		assert_int_equal(d.interrupts[0], before);
		virtio_notify(dev, 0);
		assert_int_equal(e->held_count, 0);
	}
	e->hold = false;
	assert_true(driver_start(&d, dev, 0));
	assert_echoes(&d, 0);
	driver_destroy(&d);
}

/* ---- configuration ---- */

static const struct virtio_ops read_only_ops = { .id = 78,
						 .queues = 0,
						 .start = echo_start,
						 .stop = echo_stop,
						 .notify = echo_notify,
						 .destroy = echo_destroy };

static void configuration(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	struct virtio_device *dev = &e->dev;

	assert_int_equal(virtio_config_read(dev, 0, 1), 0x11);
	assert_int_equal(virtio_config_read(dev, 1, 2), 0x3322);
	assert_int_equal(virtio_config_read(dev, 8, 4), 0xccbbaa99);
	assert_true(virtio_config_read(dev, 4, 8) == 0xccbbaa9988776655);
	assert_int_equal(virtio_config_read(dev, 11, 1), 0xcc);
	/* over the end and far away */
	assert_int_equal(virtio_config_read(dev, 11, 2), 0);
	assert_int_equal(virtio_config_read(dev, 12, 1), 0);
	assert_int_equal(virtio_config_read(dev, 5, 8), 0);
	assert_int_equal(virtio_config_read(dev, 0xffffffff, 1), 0);
	assert_int_equal(virtio_config_read(dev, 0xfffffff8, 8), 0);

	virtio_config_write(dev, 0, 4, 0xffeeddcc);
	assert_int_equal(e->written, 1);
	assert_int_equal(virtio_config_read(dev, 0, 4), 0xffeedd11);
	virtio_config_write(dev, 12, 1, 1);
	virtio_config_write(dev, 9, 4, 1);
	virtio_config_write(dev, 0xffffffff, 2, 1);
	assert_int_equal(e->written, 1);
	assert_int_equal(virtio_config_read(dev, 8, 4), 0xccbbaa99);

	/* Generations change with the configuration; only a driver that is ready is told (3.1.1). */
	assert_int_equal(virtio_config_generation(dev), 0);
	virtio_lock(dev);
	virtio_config_change(dev);
	virtio_unlock(dev);
	assert_int_equal(virtio_config_generation(dev), 1);
	assert_int_equal(d.config_changes, 0);
	assert_true(driver_start(&d, dev, 0));
	virtio_lock(dev);
	virtio_config_change(dev);
	virtio_unlock(dev);
	assert_int_equal(virtio_config_generation(dev), 1);
	assert_int_equal(d.config_changes, 1);

	/* A device that takes no writes. */
	dev->ops = &read_only_ops;
	virtio_config_write(dev, 1, 1, 0x77);
	assert_int_equal(virtio_config_read(dev, 1, 1), 0xdd);
	dev->ops = &echo_ops;
	driver_destroy(&d);
}

/* ---- two threads ---- */

static void *resets(void *arg)
{
	struct echo *e = arg;

	for (unsigned i = 0; i < 3000; i++) {
		virtio_set_status(&e->dev, 0, false);
		settle(&e->dev, 1ull << VIRTIO_F_VERSION_1);
		for (unsigned q = 0; q < 2; q++) {
			virtio_queue_set(&e->dev, q, VIRTIO_QUEUE_DESC, 0x10000);
			virtio_queue_set(&e->dev, q, VIRTIO_QUEUE_AVAIL, 0x20000);
			virtio_queue_set(&e->dev, q, VIRTIO_QUEUE_USED, 0x30000);
			virtio_queue_enable(&e->dev, q);
		}
		virtio_set_status(&e->dev, ALL_OK, false);
	}
	return NULL;
}

static void reset_while_notified(void **state)
{
	struct driver d;
	struct echo *e = begin(&d);
	pthread_t thread;

	for (unsigned i = 0; i < 16; i++)
		((struct vring_desc *)driver_ptr(&d, 0x10000, 256))[i] = (struct vring_desc){ 0x1000, 16, 0,
											      0 };
	assert_int_equal(pthread_create(&thread, NULL, resets, e), 0);
	for (unsigned i = 0; i < 30000; i++) {
		uint16_t *index = driver_ptr(&d, 0x20002, 2);

		__atomic_store_n(index, (uint16_t)(*index + 1), __ATOMIC_RELAXED);
		virtio_notify(&e->dev, i & 1);
		virtio_get_status(&e->dev);
		virtio_queue_get(&e->dev, 0);
	}
	pthread_join(thread, NULL);
	assert_true(d.warnings <= 6);
	driver_destroy(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_the_book),      cmocka_unit_test(offered_features),
		cmocka_unit_test(early_requests),   cmocka_unit_test(steps_left_out),
		cmocka_unit_test(refused_features), cmocka_unit_test(queues_are_locked),
		cmocka_unit_test(bad_queue),        cmocka_unit_test(broken_ring),
		cmocka_unit_test(warnings_end),     cmocka_unit_test(reset_in_flight),
		cmocka_unit_test(configuration),    cmocka_unit_test(reset_while_notified),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
