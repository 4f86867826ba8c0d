/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings without a device: good ones, bad ones, and ones that change while they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "driver.h"

#define SIZE 8

struct setup {
	struct driver d;
	struct driver_queue q;
	struct virtq vq;
	struct iovec iov[VIRTQ_MAX_SIZE];
	struct virtq_chain chain;
};

static struct setup *begin(uint16_t size, bool event_idx, bool indirect)
{
	struct setup *t = calloc(1, sizeof(*t));

	driver_init(&t->d, 4 << 20);
	driver_queue_init(&t->q, &t->d, size, event_idx);
	virtq_init(&t->vq, &t->d.ram, VIRTQ_MAX_SIZE);
	t->vq.s.size = size;
	t->vq.s.desc = t->q.desc_at;
	t->vq.s.avail = t->q.avail_at;
	t->vq.s.used = t->q.used_at;
	assert_true(virtq_enable(&t->vq, event_idx, indirect));
	t->chain.iov = t->iov;
	t->chain.capacity = VIRTQ_MAX_SIZE;
	return t;
}

static void end(struct setup *t)
{
	driver_destroy(&t->d);
	free(t);
}

static int pop(struct setup *t)
{
	return virtq_pop(&t->vq, &t->chain);
}

/* The queue must break, say @why, and stay broken. */
static void assert_breaks(struct setup *t, const char *why)
{
	assert_int_equal(pop(t), -EPROTO);
	assert_non_null(t->vq.broken);
	assert_string_equal(t->vq.broken, why);
	assert_int_equal(pop(t), -EPROTO);
	assert_false(virtq_has_work(&t->vq));
	assert_false(virtq_wants_interrupt(&t->vq));
	assert_false(virtq_enable(&t->vq, false, false));
}

/* ---- what good drivers do ---- */

static void one_chain(void **state)
{
	struct setup *t = begin(SIZE, false, true);
	uint64_t a = driver_alloc(&t->d, 4096, 4096);
	uint32_t head, len;
	int added;

	assert_int_equal(pop(t), 0);
	assert_false(virtq_has_work(&t->vq));
	memcpy(driver_ptr(&t->d, a, 5), "hello", 5);
	added = driver_add(&t->q,
			   (struct driver_buf[]){ { a, 3, false },
						  { 0, 0, false }, /* empty: its address says nothing */
						  { a + 3, 2, false },
						  { a + 100, 10, true },
						  { a + 200, 20, true } },
			   5);
	assert_true(virtq_has_work(&t->vq));
	assert_int_equal(pop(t), 1);
	assert_int_equal(t->chain.head, added);
	assert_int_equal(t->chain.out_count, 2);
	assert_int_equal(t->chain.in_count, 2);
	assert_int_equal(t->chain.out_len, 5);
	assert_int_equal(t->chain.in_len, 30);
	assert_ptr_equal(t->iov[1].iov_base, driver_ptr(&t->d, a + 3, 2));
	assert_int_equal(t->iov[1].iov_len, 2);
	assert_ptr_equal(t->iov[3].iov_base, driver_ptr(&t->d, a + 200, 20));
	assert_int_equal(t->iov[3].iov_len, 20);
	assert_int_equal(pop(t), 0);

	assert_false(driver_get_used(&t->q, NULL, NULL));
	virtq_push(&t->vq, &t->chain, 12);
	assert_true(driver_get_used(&t->q, &head, &len));
	assert_int_equal(head, added);
	assert_int_equal(len, 12);
	assert_false(driver_get_used(&t->q, NULL, NULL));
	assert_int_equal(t->q.free_count, SIZE);
	end(t);
}

/* 70000 requests through each size: the indices wrap around, in all positions of the ring. */
static void indices_wrap(void **state)
{
	for (unsigned size = 1; size <= VIRTQ_MAX_SIZE; size *= 32) {
		struct setup *t = begin((uint16_t)size, size > 1, false);
		uint64_t a = driver_alloc(&t->d, 4096, 1);
		unsigned done = 0;

		while (done < 70000) {
			uint32_t head, len;
			unsigned n = 0;
			int added;

			/* One descriptor fewer each time, so that they do not stay in order. */
			while ((added = driver_add(&t->q, &(struct driver_buf){ a, 100, true }, 1)) >= 0)
				n++;
			assert_int_equal(n, size);
			for (unsigned i = 0; i < n; i++) {
				assert_int_equal(pop(t), 1);
				assert_int_equal(t->chain.in_len, 100);
				virtq_push(&t->vq, &t->chain, done + i);
			}
			assert_int_equal(pop(t), 0);
			assert_true(virtq_wants_interrupt(&t->vq));
			assert_false(virtq_wants_interrupt(&t->vq));
			for (unsigned i = 0; i < n; i++) {
				assert_true(driver_get_used(&t->q, &head, &len));
				assert_int_equal(len, done + i);
			}
			assert_false(driver_get_used(&t->q, NULL, NULL));
			done += n;
		}
		end(t);
	}
}

static void longest_chains(void **state)
{
	struct setup *t = begin(VIRTQ_MAX_SIZE, true, true);
	static struct driver_buf buf[VIRTQ_MAX_SIZE];
	uint64_t a = driver_alloc(&t->d, 4096, 1);
	uint64_t table = driver_alloc(&t->d, 16 * VIRTQ_MAX_SIZE + 1, 1) + 1; /* no alignment is asked for */

	for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++)
		buf[i] = (struct driver_buf){ a + i, 1 + i, i >= 1000 };
	assert_true(driver_add(&t->q, buf, VIRTQ_MAX_SIZE) >= 0);
	assert_int_equal(pop(t), 1);
	assert_int_equal(t->chain.out_count, 1000);
	assert_int_equal(t->chain.in_count, 24);
	assert_int_equal(t->chain.out_len, 1000 * 1001 / 2);
	virtq_push(&t->vq, &t->chain, 0);
	assert_true(driver_get_used(&t->q, NULL, NULL));

	assert_true(driver_add_indirect(&t->q, table, buf, VIRTQ_MAX_SIZE) >= 0);
	assert_int_equal(pop(t), 1);
	assert_int_equal(t->chain.out_count, 1000);
	assert_int_equal(t->chain.in_count, 24);
	for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++) {
		assert_ptr_equal(t->iov[i].iov_base, driver_ptr(&t->d, a + i, 1));
		assert_int_equal(t->iov[i].iov_len, i + 1);
	}

	/* More than the device can take: the caller's limit, not an overflow. */
	t->chain.capacity = 1023;
	assert_true(driver_add_indirect(&t->q, table, buf, VIRTQ_MAX_SIZE) >= 0);
	assert_breaks(t, "a chain has too many buffers");
	end(t);
}

/* 2.7.5.3.2: ordinary descriptors may come before the one that refers to a table, whose WRITE flag counts for nothing. */
static void indirect_after_direct(void **state)
{
	struct setup *t = begin(SIZE, false, true);
	uint64_t a = driver_alloc(&t->d, 4096, 16), table = driver_alloc(&t->d, 64, 16);
	struct vring_desc *desc = driver_ptr(&t->d, table, 64);

	t->q.desc[5] = (struct vring_desc){ a, 10, VRING_DESC_F_NEXT, 2 };
	t->q.desc[2] = (struct vring_desc){ table, 64, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0 };
	desc[0] = (struct vring_desc){ a + 10, 10, VRING_DESC_F_NEXT, 3 };
	desc[3] = (struct vring_desc){ a + 20, 10, VRING_DESC_F_WRITE, 77 };
	driver_publish(&t->q, 5);
	assert_int_equal(pop(t), 1);
	assert_int_equal(t->chain.head, 5);
	assert_int_equal(t->chain.out_len, 20);
	assert_int_equal(t->chain.in_len, 10);
	end(t);
}

static void unpop_and_fill_ahead(void **state)
{
	struct setup *t = begin(SIZE, false, false);
	uint64_t a = driver_alloc(&t->d, 4096, 16);
	struct iovec iov[3][1];
	struct virtq_chain chain[3];
	uint32_t head, len;

	for (unsigned i = 0; i < 3; i++)
		driver_add(&t->q, &(struct driver_buf){ a + 16 * i, 16, true }, 1);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 3; i++) {
			chain[i] = (struct virtq_chain){ .iov = iov[i], .capacity = 1 };
			assert_int_equal(virtq_pop(&t->vq, &chain[i]), 1);
			assert_ptr_equal(iov[i][0].iov_base, driver_ptr(&t->d, a + 16 * i, 16));
		}
		assert_false(virtq_has_work(&t->vq));
		if (round == 0) {
			virtq_unpop(&t->vq, 3);
			assert_true(virtq_has_work(&t->vq));
		}
	}

	/* The guest sees nothing of three entries until they appear together. */
	virtq_fill(&t->vq, &chain[0], 16, 0);
	virtq_fill(&t->vq, &chain[1], 16, 1);
	virtq_fill(&t->vq, &chain[2], 5, 2);
	assert_false(driver_get_used(&t->q, NULL, NULL));
	virtq_publish(&t->vq, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(driver_get_used(&t->q, &head, &len));
		assert_int_equal(head, chain[i].head);
		assert_int_equal(len, i < 2 ? 16 : 5);
	}
	assert_false(driver_get_used(&t->q, NULL, NULL));
	end(t);
}

/* ---- notifications and interrupts ---- */

static void flags_suppress(void **state)
{
	struct setup *t = begin(SIZE, false, false);
	struct driver_buf buf = { driver_alloc(&t->d, 64, 16), 64, true };

	assert_true(driver_must_notify(&t->q, t->q.avail_idx));
	assert_false(virtq_suppress(&t->vq, true));
	assert_false(driver_must_notify(&t->q, t->q.avail_idx));
	driver_add(&t->q, &buf, 1);
	assert_true(virtq_suppress(&t->vq, false)); /* says that something came meanwhile */
	assert_true(driver_must_notify(&t->q, t->q.avail_idx));

	assert_false(virtq_wants_interrupt(&t->vq)); /* nothing was pushed */
	assert_int_equal(pop(t), 1);
	virtq_push(&t->vq, &t->chain, 1);
	assert_true(virtq_wants_interrupt(&t->vq));
	assert_false(virtq_wants_interrupt(&t->vq));
	t->q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	driver_add(&t->q, &buf, 1);
	assert_int_equal(pop(t), 1);
	virtq_push(&t->vq, &t->chain, 1);
	assert_false(virtq_wants_interrupt(&t->vq));
	end(t);
}

static void event_index(void **state)
{
	struct setup *t = begin(SIZE, true, false);
	struct driver_buf buf = { driver_alloc(&t->d, 64, 16), 64, true };
	uint16_t *used_event = &t->q.avail->ring[SIZE];
	uint16_t old;

	/* Flags do not count with an event index (2.7.7.2, 2.7.10). */
	t->q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;

	/* The first notification after the queue was found empty, none while there is work. */
	assert_int_equal(pop(t), 0);
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_true(driver_must_notify(&t->q, old));
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_false(driver_must_notify(&t->q, old));
	assert_int_equal(pop(t), 1);
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_false(driver_must_notify(&t->q, old));
	assert_int_equal(pop(t), 1);
	assert_int_equal(pop(t), 1);
	assert_int_equal(pop(t), 0);
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_true(driver_must_notify(&t->q, old));
	assert_int_equal(pop(t), 1);

	/* None at all while suppressed, although the end is seen. */
	virtq_suppress(&t->vq, true);
	assert_int_equal(pop(t), 0);
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_false(driver_must_notify(&t->q, old));
	assert_true(virtq_suppress(&t->vq, false));
	assert_int_equal(pop(t), 1);
	assert_int_equal(pop(t), 0);
	old = t->q.avail_idx;
	driver_add(&t->q, &buf, 1);
	assert_true(driver_must_notify(&t->q, old));
	assert_int_equal(pop(t), 1);

	/* Interrupt at the entry that the driver names: number 2, the third. */
	*used_event = 2;
	virtq_push(&t->vq, &t->chain, 0);
	assert_false(virtq_wants_interrupt(&t->vq));
	virtq_push(&t->vq, &t->chain, 0);
	assert_false(virtq_wants_interrupt(&t->vq));
	virtq_push(&t->vq, &t->chain, 0);
	assert_true(virtq_wants_interrupt(&t->vq));
	virtq_push(&t->vq, &t->chain, 0);
	assert_false(virtq_wants_interrupt(&t->vq));
	/* Named: 4; both 4 and 5 pushed before anybody asks. */
	*used_event = 4;
	virtq_push(&t->vq, &t->chain, 0);
	virtq_push(&t->vq, &t->chain, 0);
	assert_true(virtq_wants_interrupt(&t->vq));
	end(t);
}

/* A device that pushes all around the indices without asking must interrupt, whatever the difference looks like. */
static void asked_too_late(void **state)
{
	struct setup *t = begin(SIZE, true, false);

	t->chain.head = 0;
	t->q.avail->ring[SIZE] = 30000;
	for (unsigned i = 0; i < 65536; i++)
		virtq_push(&t->vq, &t->chain, 0);
	assert_true(virtq_wants_interrupt(&t->vq));
	assert_false(virtq_wants_interrupt(&t->vq));
	end(t);
}

/* ---- code translators ---- */

struct watched {
	unsigned told[1024]; /* pages of the 4 MiB */
};

static void on_written(void *opaque, uint64_t page)
{
	struct watched *w = opaque;

	w->told[page]++;
}

static void translators_are_told(void **state)
{
	struct setup *t = begin(SIZE, false, false);
	struct watched *w = calloc(1, sizeof(*w));
	uint64_t out = driver_alloc(&t->d, 4096, 4096), in = driver_alloc(&t->d, 5 * 4096, 4096);

	memset((void *)t->d.ram.watch.code, 1, 1024);
	guest_memory_watch(&t->d.ram, on_written, w);

	driver_add(
		&t->q,
		(struct driver_buf[]){ { out, 4096, false }, { in, 4096, true }, { in + 4096, 16384, true } },
		3);
	assert_int_equal(pop(t), 1);
	virtq_push(&t->vq, &t->chain, 4096 + 4097);
	assert_int_equal(w->told[out >> 12], 0);
	assert_int_equal(w->told[in >> 12], 1);
	assert_int_equal(w->told[(in >> 12) + 1], 1);
	assert_int_equal(w->told[(in >> 12) + 2], 1);
	assert_int_equal(w->told[(in >> 12) + 3], 0);
	/* The ring is memory like any other. */
	assert_true(w->told[t->q.used_at >> 12] > 0);
	free(w);
	end(t);
}

/* ---- set-up ---- */

static void enable_checks(void **state)
{
	struct setup *t = begin(SIZE, false, false);
	struct virtq_state good = t->vq.s;
	const uint64_t ram = t->d.ram.size;
	static const uint16_t bad_sizes[] = { 0, 3, 6, 1023, 1025, 2048, 32768, 65535 };
	const struct {
		uint64_t desc, avail, used;
		uint16_t size;
		const char *why; /* NULL: fine */
	} cases[] = {
		{ good.desc + 8, good.avail, good.used, SIZE, "a ring is not aligned" },
		{ good.desc, good.avail + 1, good.used, SIZE, "a ring is not aligned" },
		{ good.desc, good.avail, good.used + 2, SIZE, "a ring is not aligned" },
		{ ram, good.avail, good.used, SIZE, "a ring is outside of RAM" },
		{ UINT64_MAX - 15, good.avail, good.used, SIZE, "a ring is outside of RAM" },
		{ ram - 16 * SIZE, good.avail, good.used, SIZE, NULL },
		{ ram - 16 * SIZE + 16, good.avail, good.used, SIZE, "a ring is outside of RAM" },
		/* without an event index the rings end before it */
		{ good.desc, ram - 4 - 2 * SIZE, good.used, SIZE, NULL },
		{ good.desc, ram - 4 - 2 * SIZE + 2, good.used, SIZE, "a ring is outside of RAM" },
		{ good.desc, good.avail, ram - 4 - 8 * SIZE, SIZE, NULL },
		{ good.desc, good.avail, ram - 8 * SIZE, SIZE, "a ring is outside of RAM" },
		{ good.desc, good.avail, UINT64_MAX - 3, SIZE, "a ring is outside of RAM" },
		/* any layout: used before available before descriptors, or all at one place */
		{ 0x2000, 0x1000, 0x0, VIRTQ_MAX_SIZE, NULL },
		{ 0, 0, 0, VIRTQ_MAX_SIZE, NULL },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		virtq_reset(&t->vq);
		assert_int_equal(t->vq.s.size, VIRTQ_MAX_SIZE);
		t->vq.s.size = cases[i].size;
		t->vq.s.desc = cases[i].desc;
		t->vq.s.avail = cases[i].avail;
		t->vq.s.used = cases[i].used;
		assert_int_equal(virtq_enable(&t->vq, false, false), !cases[i].why);
		assert_int_equal(t->vq.s.enabled, !cases[i].why);
		if (cases[i].why)
			assert_string_equal(t->vq.broken, cases[i].why);
	}
	for (unsigned i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++) {
		virtq_reset(&t->vq);
		t->vq.s = good;
		t->vq.s.enabled = false;
		t->vq.s.size = bad_sizes[i];
		assert_false(virtq_enable(&t->vq, false, false));
		assert_string_equal(t->vq.broken, "bad queue size");
	}

	/* The event indices behind the rings count when they are in use. */
	virtq_reset(&t->vq);
	t->vq.s = good;
	t->vq.s.used = ram - 4 - 8 * SIZE;
	assert_false(virtq_enable(&t->vq, true, false));

	/* No queue, no work; and nothing is written anywhere. */
	virtq_reset(&t->vq);
	assert_int_equal(pop(t), 0);
	assert_false(virtq_has_work(&t->vq));
	assert_false(virtq_suppress(&t->vq, true));
	assert_false(virtq_suppress(&t->vq, false));
	virtq_push(&t->vq, &t->chain, 1);
	assert_false(virtq_wants_interrupt(&t->vq));
	assert_null(t->vq.broken);
	end(t);
}

/* ---- what bad drivers do ---- */

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define A     0x100000 /* in RAM */
#define TABLE 0x200000
#define RAM   0x400000 /* its end */

static const struct bad {
	const char *why;
	uint16_t head;
	struct vring_desc desc[SIZE];
	struct vring_desc table[4]; /* at TABLE */
	bool no_indirect;
} bad[] = {
	{ "a descriptor's index is outside of the queue", SIZE, { { 0 } } },
	{ "a descriptor's index is outside of the queue", 0xffff, { { 0 } } },
	{ "a descriptor's index is outside of the queue", 0, { { A, 1, NEXT, SIZE } } },
	{ "a descriptor's index is outside of the queue", 0, { { A, 1, NEXT, 1 }, { A, 1, NEXT, 0xffff } } },
	{ "a chain is too long or a loop", 0, { { A, 1, NEXT, 0 } } },
	{ "a chain is too long or a loop", 2, { { A, 1, NEXT, 1 }, { A, 1, NEXT, 2 }, { A, 1, NEXT, 0 } } },
	{ "a chain is too long or a loop", 0, { { 0, 0, NEXT, 0 } } },
	{ "a chain is too long or a loop", 0, { { A, 1, NEXT | WRITE, 1 }, { A, 1, NEXT | WRITE, 0 } } },
	{ "a readable descriptor behind a writable one", 0, { { A, 1, NEXT | WRITE, 1 }, { A, 1, 0, 0 } } },
	{ "a readable descriptor behind a writable one", 0, { { A, 0, NEXT | WRITE, 1 }, { A, 1, 0, 0 } } },
	{ "a buffer is outside of RAM", 0, { { RAM, 1, 0, 0 } } },
	{ "a buffer is outside of RAM", 0, { { RAM - 1, 2, 0, 0 } } },
	{ "a buffer is outside of RAM", 0, { { 0, 0xffffffff, 0, 0 } } },
	{ "a buffer is outside of RAM", 0, { { UINT64_MAX, 1, 0, 0 } } },
	{ "a buffer is outside of RAM", 0, { { UINT64_MAX - 5, 7, 0, 0 } } }, /* wraps to 0 */
	{ "a buffer is outside of RAM", 0, { { UINT64_MAX, 0xffffffff, WRITE, 0 } } },
	{ "a buffer is outside of RAM", 0, { { 0x100000000, 1, WRITE, 0 } } },
	{ "a buffer is outside of RAM", 0, { { 1ull << 63, 1, WRITE, 0 } } },
	{ "a chain without a byte", 0, { { A, 0, 0, 0 } } },
	{ "a chain without a byte", 0, { { A, 0, NEXT, 1 }, { A, 0, WRITE, 0 } } },
	{ "an indirect descriptor without the feature",
	  0,
	  { { TABLE, 16, INDIRECT, 0 } },
	  { { A, 1, 0, 0 } },
	  true },
	{ "an indirect descriptor has a successor",
	  0,
	  { { TABLE, 16, INDIRECT | NEXT, 1 }, { A, 1, 0, 0 } },
	  { { A, 1, 0, 0 } } },
	{ "a table of descriptors has a bad length", 0, { { TABLE, 0, INDIRECT, 0 } }, { { A, 1, 0, 0 } } },
	{ "a table of descriptors has a bad length", 0, { { TABLE, 15, INDIRECT, 0 } }, { { A, 1, 0, 0 } } },
	{ "a table of descriptors has a bad length", 0, { { TABLE, 33, INDIRECT, 0 } }, { { A, 1, 0, 0 } } },
	{ "a table of descriptors has a bad length",
	  0,
	  { { TABLE, 0xffffffff, INDIRECT, 0 } },
	  { { A, 1, 0, 0 } } },
	{ "a table of descriptors is outside of RAM",
	  0,
	  { { TABLE, 0xfffffff0, INDIRECT, 0 } },
	  { { A, 1, 0, 0 } } },
	{ "a table of descriptors is outside of RAM", 0, { { RAM - 16, 32, INDIRECT, 0 } } },
	{ "a table of descriptors is outside of RAM", 0, { { UINT64_MAX - 15, 16, INDIRECT, 0 } } },
	{ "a table of descriptors is outside of RAM", 0, { { UINT64_MAX - 15, 32, INDIRECT, 0 } } },
	{ "a table of descriptors in a table",
	  0,
	  { { TABLE, 32, INDIRECT, 0 } },
	  { { TABLE, 32, INDIRECT, 0 } } },
	{ "a table of descriptors in a table",
	  0,
	  { { TABLE, 32, INDIRECT, 0 } },
	  { { A, 1, NEXT, 1 }, { A, 16, INDIRECT | WRITE, 0 } } },
	{ "a descriptor's successor is outside of its table",
	  0,
	  { { TABLE, 32, INDIRECT, 0 } },
	  { { A, 1, NEXT, 2 } } },
	{ "a descriptor's successor is outside of its table",
	  0,
	  { { TABLE, 16, INDIRECT, 0 } },
	  { { A, 1, NEXT, 0xffff } } },
	{ "a chain is too long or a loop",
	  0,
	  { { TABLE, 32, INDIRECT, 0 } },
	  { { 0, 0, NEXT, 1 }, { 0, 0, NEXT, 0 } } },
	{ "a readable descriptor behind a writable one",
	  0,
	  { { A, 1, WRITE | NEXT, 1 }, { TABLE, 16, INDIRECT, 0 } },
	  { { A, 1, 0, 0 } } },
	{ "a buffer is outside of RAM",
	  0,
	  { { TABLE, 64, INDIRECT, 0 } },
	  { { A, 1, NEXT, 3 }, { 0 }, { 0 }, { RAM, 1, WRITE, 0 } } },
};

static void bad_descriptors(void **state)
{
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct setup *t = begin(SIZE, i & 1, !bad[i].no_indirect);

		assert_int_equal(t->d.ram.size, RAM);
		memcpy(t->q.desc, bad[i].desc, sizeof(bad[i].desc));
		memcpy(driver_ptr(&t->d, TABLE, 64), bad[i].table, sizeof(bad[i].table));
		driver_publish(&t->q, bad[i].head);
		assert_breaks(t, bad[i].why);

		/* The driver's reset brings it back. */
		virtq_reset(&t->vq);
		assert_null(t->vq.broken);
		assert_false(t->vq.s.enabled);
		end(t);
	}
}

static void no_wait(struct guest_memory_loading *loading, uint64_t addr, uint64_t len)
{
	atomic_store(&loading->failed, true);
}

/* Kernel and initrd are still on their way, and will not come: what a chain points to may lack something. */
static void loading_failed(void **state)
{
	struct guest_memory_loading loading = { .wait = no_wait };
	struct setup *t = begin(SIZE, false, false);

	t->d.ram.loading = &loading;
	t->q.desc[0] = (struct vring_desc){ A, 1, 0, 0 };
	driver_publish(&t->q, 0);
	assert_int_equal(pop(t), 1);
	/* It is found out on the way to the buffer. */
	atomic_store(&loading.busy, true);
	driver_publish(&t->q, 0);
	assert_breaks(t, "the kernel or the initrd could not be loaded");
	/* And holds for good. */
	atomic_store(&loading.busy, false);
	virtq_reset(&t->vq);
	t->d.ram.loading = NULL;
	end(t);
}

static void four_gigabytes(void **state)
{
	struct setup *t = begin(SIZE, false, false);
	struct guest_memory ram;
	struct vring_desc half = { 0, 0x80000000, NEXT | WRITE, 1 };

	/* Lazily filled, so it costs nothing. */
	assert_int_equal(guest_memory_create(&ram, 0x80000000), 0);
	t->vq.ram = &ram;
	t->q.desc[0] = half;
	t->q.desc[1] = (struct vring_desc){ 0, 0x80000000, WRITE, 0 };
	driver_publish(&t->q, 0);
	assert_int_equal(pop(t), 1);
	assert_true(t->chain.in_len == 1ull << 32);
	t->q.desc[1] = (struct vring_desc){ 0, 0x80000000, NEXT | WRITE, 2 };
	t->q.desc[2] = (struct vring_desc){ 0, 1, WRITE, 2 };
	driver_publish(&t->q, 0);
	assert_breaks(t, "a chain has more than 4 GiB");
	guest_memory_destroy(&ram);
	end(t);
}

static void absurd_index(void **state)
{
	static const uint16_t wrong[] = { SIZE + 1, 100, 32768, 65535 };
	struct setup *t;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		t = begin(SIZE, false, false);
		t->q.desc[0] = (struct vring_desc){ A, 1, 0, 0 };
		t->q.avail->idx = wrong[i];
		assert_breaks(t, "the available index is absurd");
		end(t);
	}

	/* As many as there are: fine. And then one more that was made available twice. */
	t = begin(SIZE, false, false);
	t->q.desc[0] = (struct vring_desc){ A, 1, 0, 0 };
	for (unsigned i = 0; i < SIZE; i++)
		driver_publish(&t->q, 0);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(pop(t), 1);
	assert_int_equal(pop(t), 0);
	driver_publish(&t->q, 0);
	assert_breaks(t, "the available index is absurd");
	end(t);

	/* Backwards. */
	t = begin(SIZE, false, false);
	t->q.desc[0] = (struct vring_desc){ A, 1, 0, 0 };
	driver_publish(&t->q, 0);
	driver_publish(&t->q, 0);
	assert_int_equal(pop(t), 1);
	assert_int_equal(pop(t), 1);
	t->q.avail->idx = 1;
	assert_breaks(t, "the available index is absurd");
	end(t);
}

/* ---- while the other side is at it ---- */

struct race {
	struct setup *t;
	_Atomic bool stop;
};

/* Rewrites one chain between good and bad all the time. */
static void *scribble(void *arg)
{
	struct race *r = arg;
	volatile struct vring_desc *desc = r->t->q.desc;
	volatile struct vring_desc *table = driver_ptr(&r->t->d, TABLE, 64);

	while (!r->stop) {
		desc[0].addr = A;
		desc[0].len = 16;
		desc[0].flags = WRITE;
		desc[0].addr = TABLE;
		desc[0].flags = INDIRECT;
		desc[0].len = 64;
		table[0].len = 0xfffffff0;
		table[0].addr = UINT64_MAX - 100;
		table[0].next = 0xffff;
		table[0].flags = NEXT;
		table[0].next = 1;
		table[0].len = 100;
		table[0].addr = RAM - 100;
		desc[0].flags = 0;
		desc[0].addr = RAM - 1;
		desc[0].len = 0x10000;
		desc[0].len = 1;
	}
	return NULL;
}

/* Whatever pop() lets through must be RAM: what was checked is what is used. */
static void changed_while_read(void **state)
{
	struct race r = { .t = begin(SIZE, false, true) };
	struct setup *t = r.t;
	struct virtq_state good = t->vq.s;
	unsigned good_chains = 0, bad_chains = 0;
	pthread_t thread;

	((struct vring_desc *)driver_ptr(&t->d, TABLE, 64))[1] = (struct vring_desc){ A, 1, WRITE, 0 };
	assert_int_equal(pthread_create(&thread, NULL, scribble, &r), 0);
	for (unsigned i = 0; i < 300000; i++) {
		t->vq.broken = NULL;
		t->vq.s = good;
		t->q.avail->ring[0] = 0;
		t->q.avail->idx = 1;
		if (pop(t) < 0) {
			bad_chains++;
			continue;
		}
		good_chains++;
		for (unsigned k = 0; k < t->chain.out_count + t->chain.in_count; k++) {
			uint64_t at = (uint64_t)((uint8_t *)t->iov[k].iov_base - t->d.ram.base);

			assert_true(at < RAM && t->iov[k].iov_len <= RAM - at);
		}
	}
	r.stop = true;
	pthread_join(thread, NULL);
	/* On one CPU both need not happen; mostly they do. */
	print_message("%u good, %u bad\n", good_chains, bad_chains);
	assert_int_equal(good_chains + bad_chains, 300000);
	end(t);
}

#define MESSAGES 200000

struct talk {
	struct setup *t;
	sem_t notified, interrupted;
	unsigned notifications, interrupts;
};

/* The device: sleeps until notified, answers everything with the number that it finds. */
static void *device_thread(void *arg)
{
	struct talk *c = arg;
	struct setup *t = c->t;
	unsigned done = 0;

	while (done < MESSAGES) {
		uint32_t val;

		sem_wait(&c->notified);
		virtq_suppress(&t->vq, true);
		do {
			while (pop(t) > 0) {
				iov_read(t->chain.iov, t->chain.out_count, 0, &val, 4);
				val = ~val;
				iov_write(t->chain.iov + t->chain.out_count, t->chain.in_count, 0, &val, 4);
				virtq_push(&t->vq, &t->chain, 4);
				done++;
				if (done % 3 == 0 && virtq_wants_interrupt(&t->vq)) {
					c->interrupts++;
					sem_post(&c->interrupted);
				}
			}
		} while (virtq_suppress(&t->vq, false));
		if (virtq_wants_interrupt(&t->vq)) {
			c->interrupts++;
			sem_post(&c->interrupted);
		}
	}
	return NULL;
}

/* A lost notification or interrupt makes this hang (the test's time limit ends it), a lost fence makes numbers wrong. */
static void talk(bool event_idx)
{
	struct talk c = { .t = begin(64, event_idx, false) };
	struct setup *t = c.t;
	uint64_t a = driver_alloc(&t->d, 64 * 8, 8);
	uint32_t *slot = driver_ptr(&t->d, a, 64 * 8);
	unsigned sent = 0, received = 0;
	uint32_t expect[64], slot_of[64];
	bool busy[64] = { false };
	pthread_t thread;

	sem_init(&c.notified, 0, 0);
	sem_init(&c.interrupted, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &c), 0);
	while (received < MESSAGES) {
		uint16_t old = t->q.avail_idx;
		uint32_t head, len;

		for (unsigned i = 0; i < 64 && sent < MESSAGES && t->q.free_count >= 2; i++) {
			uint64_t at = a + 8 * i;
			int added;

			if (busy[i])
				continue;
			slot[2 * i] = sent;
			slot[2 * i + 1] = 0;
			added = driver_add(&t->q,
					   (struct driver_buf[]){ { at, 4, false }, { at + 4, 4, true } }, 2);
			busy[i] = true;
			slot_of[added] = i;
			expect[added] = ~sent;
			sent++;
		}
		if (t->q.avail_idx != old && driver_must_notify(&t->q, old)) {
			c.notifications++;
			sem_post(&c.notified);
		}
		while (driver_get_used(&t->q, &head, &len)) {
			assert_int_equal(len, 4);
			assert_int_equal(((volatile uint32_t *)slot)[2 * slot_of[head] + 1], expect[head]);
			busy[slot_of[head]] = false;
			received++;
		}
		/* get_used() has asked for an interrupt at the next one, and then found none. */
		if (t->q.free_count < 2 || sent == MESSAGES) {
			if (received < MESSAGES)
				sem_wait(&c.interrupted);
		}
	}
	sem_post(&c.notified);
	pthread_join(thread, NULL);
	print_message("event index %d: %u notifications, %u interrupts for %u requests\n", event_idx,
		      c.notifications, c.interrupts, MESSAGES);
	assert_null(t->vq.broken);
	assert_true(c.notifications < MESSAGES && c.interrupts < MESSAGES);
	end(t);
}

static void talk_with_flags(void **state)
{
	talk(false);
}

static void talk_with_events(void **state)
{
	talk(true);
}

/* ---- pieces ---- */

static void pieces(void **state)
{
	uint8_t flat[300], pieces[300], buf[300];
	unsigned seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		struct iovec iov[9], *left;
		unsigned count = 0, kept;
		size_t total = 0, offset, len, want;

		while (count < 9) {
			size_t piece = rand_r(&seed) % 30;

			iov[count++] = (struct iovec){ pieces + total, piece };
			total += piece;
		}
		for (unsigned i = 0; i < sizeof(flat); i++)
			flat[i] = pieces[i] = (uint8_t)rand_r(&seed);
		offset = rand_r(&seed) % 300;
		len = rand_r(&seed) % 300;
		want = offset >= total ? 0 : len < total - offset ? len : total - offset;

		memset(buf, 0x55, sizeof(buf));
		assert_int_equal(iov_read(iov, count, offset, buf, len), want);
		assert_memory_equal(buf, flat + offset, want);
		for (size_t i = want; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x55);

		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)rand_r(&seed);
		assert_int_equal(iov_write(iov, count, offset, buf, len), want);
		memcpy(flat + offset, buf, want);
		assert_memory_equal(pieces, flat, sizeof(flat));

		kept = count;
		left = iov_skip(iov, &kept, offset);
		assert_int_equal(iov_read(left, kept, 0, buf, sizeof(buf)),
				 offset >= total ? 0 : total - offset);
		assert_memory_equal(buf, flat + offset, offset >= total ? 0 : total - offset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_chain),
		cmocka_unit_test(indices_wrap),
		cmocka_unit_test(longest_chains),
		cmocka_unit_test(indirect_after_direct),
		cmocka_unit_test(unpop_and_fill_ahead),
		cmocka_unit_test(flags_suppress),
		cmocka_unit_test(event_index),
		cmocka_unit_test(asked_too_late),
		cmocka_unit_test(translators_are_told),
		cmocka_unit_test(enable_checks),
		cmocka_unit_test(bad_descriptors),
		cmocka_unit_test(loading_failed),
		cmocka_unit_test(four_gigabytes),
		cmocka_unit_test(absurd_index),
		cmocka_unit_test(changed_while_read),
		cmocka_unit_test(talk_with_flags),
		cmocka_unit_test(talk_with_events),
		cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
