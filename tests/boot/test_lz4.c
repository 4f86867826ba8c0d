/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot/lz4.c against the library, which packs what it unpacks here: contents with short and long repeats,
 * pieces larger than its window and than its buffers, beginnings of blocks, and bytes that are broken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lz4.h>
#include <lz4hc.h>

#include "boot/lz4.h"

#define SIZE  (1u << 20)
#define ROUND 60

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Runs of new bytes and of old ones, from all distances, of all lengths. */
static void fill(uint8_t *p, size_t size, uint32_t seed)
{
	uint32_t kind = next(&seed) % 4;

	for (size_t done = 0; done < size;) {
		size_t n = 1 + next(&seed) % (next(&seed) % 16 ? 24 : kind == 3 ? 300000 : 700);
		size_t far = 1 + next(&seed) % (kind == 0 ? 20 : kind == 1 ? 5000 : 70000);

		if (n > size - done)
			n = size - done;
		for (size_t i = 0; i < n; i++, done++)
			p[done] = (n ^ far) & 1 && done >= far ? p[done - far] : (uint8_t)next(&seed);
	}
}

struct io {
	const uint8_t *packed;
	size_t len;
	uint8_t *out;
	uint64_t taken;
	int read_fails, take_fails; /* after so many calls, if not 0 */
};

static int read_packed(void *opaque, uint64_t off, uint8_t *buf, size_t len)
{
	struct io *io = opaque;

	assert_true(off + len <= io->len);
	memcpy(buf, io->packed + off, len);
	return io->read_fails && --io->read_fails == 0 ? -5 : 0;
}

/* In order, without gaps */
static int take(void *opaque, uint64_t off, const uint8_t *bytes, size_t len)
{
	struct io *io = opaque;

	assert_int_equal(off, io->taken);
	assert_true(len && len <= LZ4_ROOM);
	memcpy(io->out + off, bytes, len);
	io->taken += len;
	return io->take_fails && --io->take_fails == 0 ? -7 : 0;
}

struct bench {
	struct lz4_buffers *buffers;
	uint8_t *plain, *packed, *out, *theirs;
	int len;
};

static int unpack(struct bench *b, size_t len, uint64_t want, struct lz4_end *end)
{
	struct io io = { .packed = b->packed, .len = len, .out = b->out };
	const struct lz4_io ops = { read_packed, take, &io };
	int error;

	memset(b->out, 0xee, SIZE);
	*end = (struct lz4_end){ 0 };
	error = lz4_unpack(b->buffers, &ops, 0, len, want, end);
	assert_true(io.taken <= want);
	if (!error)
		assert_int_equal(io.taken, end->taken);
	return error;
}

static struct bench *setup(uint32_t seed, size_t size)
{
	struct bench *b = malloc(sizeof(*b));
	size_t room = (size_t)LZ4_compressBound((int)size);

	*b = (struct bench){ .buffers = malloc(sizeof(*b->buffers)),
			     .plain = malloc(size + 1),
			     .packed = malloc(room),
			     .out = malloc(SIZE),
			     .theirs = malloc(SIZE) };
	fill(b->plain, size, seed);
	b->len = seed % 2 ? LZ4_compress_HC((char *)b->plain, (char *)b->packed, (int)size, (int)room, 9)
			  : LZ4_compress_default((char *)b->plain, (char *)b->packed, (int)size, (int)room);
	assert_true(b->len > 0);
	return b;
}

static void teardown(struct bench *b)
{
	free(b->buffers);
	free(b->plain);
	free(b->packed);
	free(b->out);
	free(b->theirs);
	free(b);
}

static void whole_and_beginnings(void **unused)
{
	for (uint32_t seed = 0; seed < ROUND; seed++) {
		uint32_t random = seed;
		size_t size = seed < 10 ? seed : 1 + next(&random) * 7 % SIZE;
		struct bench *b = setup(seed, size);
		struct lz4_end end;

		assert_int_equal(unpack(b, (size_t)b->len, size, &end), 0);
		assert_true(end.whole && end.taken == size);
		assert_memory_equal(b->out, b->plain, size);
		/* More is wanted than there is. */
		assert_int_equal(unpack(b, (size_t)b->len, SIZE, &end), 0);
		assert_true(end.whole && end.taken == size);
		for (unsigned i = 0; i < 20 && size; i++) {
			uint64_t want = i < 3 ? i % size : next(&random) % size;

			assert_int_equal(unpack(b, (size_t)b->len, want, &end), 0);
			assert_true(!end.whole && end.taken == want);
			assert_memory_equal(b->out, b->plain, want);
			assert_true(want == SIZE || b->out[want] == 0xee);
		}
		teardown(b);
	}
}

/* Never beyond a buffer (sanitizers, valgrind); and what the library takes is taken. */
static void broken(void **unused)
{
	for (uint32_t seed = 1; seed < ROUND; seed++) {
		uint32_t random = seed;
		struct bench *b = setup(seed, 1 + next(&random) % 200000);

		for (unsigned i = 0; i < 40; i++) {
			size_t at = next(&random) % (size_t)b->len, len = (size_t)b->len;
			uint8_t old = b->packed[at];
			struct lz4_end end;
			int n, error;

			if (i % 4)
				b->packed[at] = i % 4 == 1 ? (uint8_t)next(&random) : i % 4 == 2 ? 0xff : 0;
			else
				len = at;
			error = unpack(b, len, SIZE, &end);
			n = LZ4_decompress_safe((char *)b->packed, (char *)b->theirs, (int)len, SIZE);
			assert_true(error == 0 || error == LZ4_CORRUPT);
			/* But a distance of 0, which the format forbids. */
			if (n >= 0 && len && (!error || b->packed[at])) {
				assert_int_equal(error, 0);
				assert_true(end.whole && end.taken == (uint64_t)n);
				assert_memory_equal(b->out, b->theirs, n);
			}
			b->packed[at] = old;
		}
		teardown(b);
	}
}

static void callbacks_fail(void **unused)
{
	struct bench *b = setup(3, SIZE);
	struct io io = { .packed = b->packed, .len = (size_t)b->len, .out = b->out, .read_fails = 2 };
	const struct lz4_io ops = { read_packed, take, &io };
	struct lz4_end end;

	assert_int_equal(lz4_unpack(b->buffers, &ops, 0, (uint64_t)b->len, SIZE, &end), -5);
	io = (struct io){ .packed = b->packed, .len = (size_t)b->len, .out = b->out, .take_fails = 2 };
	assert_int_equal(lz4_unpack(b->buffers, &ops, 0, (uint64_t)b->len, SIZE, &end), -7);
	assert_int_equal(lz4_unpack(b->buffers, &ops, 0, 0, SIZE, &end), LZ4_CORRUPT);
	teardown(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_and_beginnings),
		cmocka_unit_test(broken),
		cmocka_unit_test(callbacks_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
