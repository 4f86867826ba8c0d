/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng, driven from the guest's side: requests of all shapes, the cap, what the rules forbid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "driver.h"
#include "virtio/devices.h"

#define CAP 4096

static void start(struct driver *d)
{
	struct virtio_device *dev;
	char err[100];

	driver_init(d, 8 << 20);
	dev = virtio_rng_create(3, &d->env, err, sizeof(err));
	assert_non_null(dev);
	assert_int_equal(dev->ops->id, VIRTIO_ID_RNG);
	assert_string_equal(dev->name, "rng3");
	assert_true(driver_start(d, dev, 0));
}

static unsigned bits(const uint8_t *p, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += (unsigned)__builtin_popcount(p[i]);
	return n;
}

/* 2048 of 4096 bits, give or take 8 standard deviations. */
static void assert_random(const void *p, size_t len)
{
	unsigned n = bits(p, len), half = (unsigned)len * 4, slack = (unsigned)len / 2 + 64;

	assert_in_range(n, half > slack ? half - slack : 0, half + slack);
}

static void test_request(void **state)
{
	struct driver d;
	uint64_t a, b;
	uint32_t head, len;
	int first, second;

	start(&d);
	a = driver_alloc(&d, 512, 1);
	b = driver_alloc(&d, 512, 1);
	first = driver_add(&d.q[0], &(struct driver_buf){ a, 512, true }, 1);
	second = driver_add(&d.q[0], &(struct driver_buf){ b, 512, true }, 1);
	virtio_notify(d.dev, 0);

	assert_true(driver_get_used(&d.q[0], &head, &len));
	assert_int_equal(head, first);
	assert_int_equal(len, 512);
	assert_true(driver_get_used(&d.q[0], &head, &len));
	assert_int_equal(head, second);
	assert_int_equal(len, 512);
	assert_false(driver_get_used(&d.q[0], NULL, NULL));
	assert_int_equal(d.interrupts[0], 1);

	assert_random(driver_ptr(&d, a, 512), 512);
	assert_random(driver_ptr(&d, b, 512), 512);
	assert_memory_not_equal(driver_ptr(&d, a, 512), driver_ptr(&d, b, 512), 512);
	driver_destroy(&d);
}

/* A piece of each length, with a guard byte behind each. */
static void test_pieces(void **state)
{
	struct driver_buf buf[60];
	struct driver d;
	uint32_t len, sum = 0;
	uint64_t table;

	start(&d);
	for (unsigned i = 0; i < 60; i++) {
		buf[i] = (struct driver_buf){ driver_alloc(&d, i + 2, 1), i + 1, true };
		sum += i + 1;
	}
	assert_true(driver_add(&d.q[0], buf, 60) >= 0);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, sum);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(*(uint8_t *)driver_ptr(&d, buf[i].addr + buf[i].len, 1), 0);
	assert_random(driver_ptr(&d, buf[59].addr, 60), 60);

	table = driver_alloc(&d, 16 * 60, 16);
	assert_true(driver_add_indirect(&d.q[0], table, buf, 60) >= 0);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, sum);
	driver_destroy(&d);
}

/* A long request gets a part, which is allowed, and not a byte more than it is told. */
static void test_cap(void **state)
{
	struct driver d;
	uint64_t a;
	uint32_t len;

	start(&d);
	a = driver_alloc(&d, 1 << 20, 1);
	driver_add(&d.q[0], (struct driver_buf[]){ { a, 1000, true }, { a + 1000, (1 << 20) - 1000, true } },
		   2);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, CAP);
	assert_random(driver_ptr(&d, a, CAP), CAP);
	assert_int_equal(bits(driver_ptr(&d, a + CAP, 65536), 65536), 0);
	driver_destroy(&d);
}

static void test_many(void **state)
{
	struct driver d;
	uint64_t a;
	uint32_t len;

	start(&d);
	a = driver_alloc(&d, 64, 1);
	/* Round the ring and round the indices. */
	for (unsigned i = 0; i < 70000; i++) {
		assert_true(driver_add(&d.q[0], &(struct driver_buf){ a, 8, true }, 1) >= 0);
		virtio_notify(d.dev, 0);
		assert_true(driver_get_used(&d.q[0], NULL, &len));
		assert_int_equal(len, 8);
	}
	assert_int_equal(d.warnings, 0);
	driver_destroy(&d);
}

/* 5.4.6.1: no readable part. One warning, then nothing until the reset, then all is well. */
static void test_readable(void **state)
{
	struct driver d;
	uint64_t a;
	uint32_t len;

	start(&d);
	a = driver_alloc(&d, 64, 1);
	driver_add(&d.q[0], (struct driver_buf[]){ { a, 8, false }, { a + 8, 8, true } }, 2);
	virtio_notify(d.dev, 0);
	assert_true(virtio_get_status(d.dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(d.warnings, 1);
	assert_non_null(strstr(d.warning, "rng3: queue 0: a request that is not all writable"));
	driver_add(&d.q[0], &(struct driver_buf){ a, 8, true }, 1);
	virtio_notify(d.dev, 0);
	assert_false(driver_get_used(&d.q[0], NULL, NULL));
	assert_int_equal(bits(driver_ptr(&d, a, 64), 64), 0);

	assert_true(driver_start(&d, d.dev, 0));
	driver_add(&d.q[0], &(struct driver_buf){ a, 64, true }, 1);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, 64);
	assert_int_equal(d.warnings, 1);
	driver_destroy(&d);
}

/* Without event index and indirect descriptors; requests that wait at DRIVER_OK. */
static void test_plain_features(void **state)
{
	uint64_t without = 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	struct driver d;
	uint64_t a;
	uint32_t len;

	start(&d);
	a = driver_alloc(&d, 64, 1);
	assert_true(driver_start(&d, d.dev, without));
	driver_add(&d.q[0], &(struct driver_buf){ a, 64, true }, 1);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(len, 64);
	assert_int_equal(d.interrupts[0], 1);
	d.q[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	driver_add(&d.q[0], &(struct driver_buf){ a, 64, true }, 1);
	virtio_notify(d.dev, 0);
	assert_true(driver_get_used(&d.q[0], NULL, &len));
	assert_int_equal(d.interrupts[0], 1);

	/* No configuration space at all */
	virtio_config_write(d.dev, 0, 4, 0x12345678);
	assert_int_equal(virtio_config_read(d.dev, 0, 4), 0);
	driver_destroy(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),  cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_cap),      cmocka_unit_test(test_many),
		cmocka_unit_test(test_readable), cmocka_unit_test(test_plain_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
