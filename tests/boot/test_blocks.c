/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks of lz4 as boot_file_unpack() and boot_file_read() get them: whole ones, beginnings of any length, of
 * which no more is read of the file than they can need, and bytes that are broken. The contents
 * have short and long repeats, and literals that go on for longer than what is tried first.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <lz4hc.h>

#include "boot/job.h"

#define SIZE  (BOOT_BLOCK + (1u << 20)) /* two blocks */
#define ROUND 12

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Runs of new bytes and of old ones, from all distances, of all lengths. */
static void fill(uint8_t *p, size_t size, uint32_t seed)
{
	uint32_t kind = seed % 4;

	for (size_t done = 0; done < size;) {
		size_t n = 1 + next(&seed) % (next(&seed) % 16 ? 24 : kind == 3 ? 3000000 : 70000);
		size_t far = 1 + next(&seed) % (kind == 0 ? 20 : kind == 1 ? 5000 : 70000);

		if (n > size - done)
			n = size - done;
		for (size_t i = 0; i < n; i++, done++)
			p[done] = (n ^ far) & 1 && done >= far ? p[done - far] : (uint8_t)next(&seed);
	}
}

struct bench {
	struct guest_memory mem;
	struct boot_job job;
	char err[256];
	struct boot_file f;
	struct boot_block block[2];
	struct boot_space *space;
	uint8_t *plain, *packed, *out;
	size_t len;
};

/* @by_fd: the blocks are in a file; else they are in memory. */
static struct bench *setup(uint32_t seed, bool by_fd)
{
	struct bench *b = calloc(1, sizeof(*b));
	size_t room = 2 * BOOT_PACKED_MAX;

	b->plain = malloc(SIZE);
	b->out = malloc(SIZE);
	b->packed = malloc(room);
	fill(b->plain, SIZE, seed);
	for (unsigned i = 0; i < 2; i++) {
		int n = (int)(i ? SIZE - BOOT_BLOCK : BOOT_BLOCK);
		int packed = LZ4_compress_HC((char *)b->plain + (size_t)i * BOOT_BLOCK,
					     (char *)b->packed + b->len, n, (int)(room - b->len), 3);

		assert_true(packed > 0);
		b->block[i] = (struct boot_block){ b->len, (uint32_t)packed };
		b->len += (size_t)packed;
	}
	b->f = (struct boot_file){
		.name = "test", .fd = -1, .data = b->packed, .size = SIZE, .block = b->block, .blocks = 2
	};
	if (by_fd) {
		b->f.fd = memfd_create("test", MFD_CLOEXEC);
		b->f.data = NULL;
		assert_int_equal(write(b->f.fd, b->packed, b->len), b->len);
	}
	b->job = (struct boot_job){ .loading = boot_loading_new(&b->mem),
				    .err = b->err,
				    .errlen = sizeof(b->err) };
	b->space = boot_space_get(&b->job);
	assert_non_null(b->space);
	return b;
}

static void teardown(struct bench *b)
{
	if (b->f.fd >= 0)
		close(b->f.fd);
	boot_space_put(&b->job, b->space);
	boot_loading_free(b->job.loading);
	free(b->plain);
	free(b->out);
	free(b->packed);
	free(b);
}

static void whole_and_beginnings(void **unused)
{
	for (uint32_t seed = 0; seed < ROUND; seed++) {
		struct bench *b = setup(seed, seed / 4 % 2);
		uint32_t random = seed;

		for (unsigned i = 0; i < 12; i++) {
			unsigned which = i % 2;
			size_t size = which ? SIZE - BOOT_BLOCK : BOOT_BLOCK, want;

			want = i < 4 ? size - i / 2 : i < 6 ? 1 : 1 + next(&random) % (size >> i % 8);
			assert_int_equal(boot_file_unpack(&b->job, &b->f, which, want, b->space), 0);
			assert_memory_equal(b->space->bytes, b->plain + (size_t)which * BOOT_BLOCK, want);
		}
		/* Across the border, and all. */
		assert_int_equal(boot_file_read(&b->job, &b->f, BOOT_BLOCK - 7, b->out, 5000, "part"), 0);
		assert_memory_equal(b->out, b->plain + BOOT_BLOCK - 7, 5000);
		assert_int_equal(boot_file_read(&b->job, &b->f, 0, b->out, SIZE, "part"), 0);
		assert_memory_equal(b->out, b->plain, SIZE);
		teardown(b);
	}
}

/* The beginning is there when the end of the file is not. */
static void no_more_than_needed(void **unused)
{
	/* Three quarters of it cannot be packed. */
	struct bench *b = setup(3, true);

	assert_true(b->block[0].packed_len > 2000000);
	for (size_t want = 600000; want; want /= 2) {
		assert_int_equal(ftruncate(b->f.fd, (off_t)(want + want / 255 + 65536)), 0);
		assert_int_equal(boot_file_unpack(&b->job, &b->f, 0, want, b->space), 0);
		assert_memory_equal(b->space->bytes, b->plain, want);
	}
	assert_int_equal(boot_file_unpack(&b->job, &b->f, 0, BOOT_BLOCK, b->space), -EIO);
	assert_string_equal(b->err, "test: file shrank while being read");
	teardown(b);
}

/* Never beyond a buffer (sanitizers, valgrind), and never the end of a block that is not its end. */
static void broken(void **unused)
{
	for (uint32_t seed = 0; seed < ROUND; seed++) {
		struct bench *b = setup(seed, false);
		uint32_t len = b->block[1].packed_len, random = seed;
		uint8_t *packed = b->packed + b->block[1].packed_off;

		for (unsigned i = 0; i < 40; i++) {
			size_t at = next(&random) % len, want = 1 + next(&random) % (SIZE - BOOT_BLOCK - 1);
			uint8_t old = packed[at];
			int error;

			if (i % 2)
				packed[at] = i % 4 == 1 ? (uint8_t)next(&random) : 0xff;
			else
				b->block[1].packed_len = (uint32_t)at;
			error = boot_file_unpack(&b->job, &b->f, 1, want, b->space);
			assert_true(error == 0 || error == -EINVAL);
			error = boot_file_unpack(&b->job, &b->f, 1, BOOT_BLOCK, b->space);
			assert_true(error == -EINVAL || (i % 2 && !error));
			if (error)
				assert_string_equal(b->err, "test: corrupt payload (lz4)");
			packed[at] = old;
			b->block[1].packed_len = len;
		}
		teardown(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_and_beginnings),
		cmocka_unit_test(no_more_than_needed),
		cmocka_unit_test(broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
