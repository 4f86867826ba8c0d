/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the loader tests share: a guest, and checks on the loader's answer. */
#ifndef TESTS_BOOT_FIXTURE_H
#define TESTS_BOOT_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/boot.h"
#include "cpu/state.h"
#include "cpu/x86.h"
#include "image.h"
#include "memory.h"

struct guest {
	struct guest_memory mem;
	struct boot_input in;
	struct x86_state state;
	char err[512];
};

static inline void guest_new(struct guest *g, uint64_t mib)
{
	memset(g, 0, sizeof(*g));
	assert_int_equal(guest_memory_create(&g->mem, mib << 20), 0);
	g->in.kernel = "vmlinuz";
	g->in.initrd = "initrd.img";
	g->in.cmdline = "console=ttyS0";
	g->in.host_decompress = true;
}

static inline void guest_free(struct guest *g)
{
	guest_memory_destroy(&g->mem);
}

static inline int guest_load(struct guest *g, const struct image *img)
{
	g->err[0] = '\0';
	return boot_load_bytes(&g->mem, &g->in, img->data, img->len, NULL, 0, &g->state, g->err,
			       sizeof(g->err));
}

/* The same from the files that g->in names, as a launcher does it whose guest looks at everything at once. */
static inline int guest_load_files(struct guest *g)
{
	struct boot_loading *loading = NULL;
	int error;

	g->err[0] = '\0';
	error = boot_load_start(&g->mem, &g->in, &g->state, &loading, g->err, sizeof(g->err));
	if (error)
		return error;
	assert_non_null(guest_range(&g->mem, 0, g->mem.low_size));
	assert_false(guest_loading(&g->mem));
	return boot_load_stop(&g->mem, loading, g->err, sizeof(g->err)) ? 0 : -EIO;
}

/* @part must be in the message, which must be one line. */
static inline void check_error(struct guest *g, int ret, int error, const char *part)
{
	if (ret != -error || !strstr(g->err, part) || strchr(g->err, '\n'))
		fail_msg("got %d \"%s\", wanted %d \"...%s...\"", ret, g->err, -error, part);
}

static inline void check_ok(struct guest *g, int ret)
{
	if (ret)
		fail_msg("got %d \"%s\", wanted success", ret, g->err);
}

/* Loads @img into a fresh guest of 32 MiB, wants an error. */
static inline void expect_bad(const struct image *img, int error, const char *part)
{
	struct guest g;

	guest_new(&g, 32);
	check_error(&g, guest_load(&g, img), error, part);
	guest_free(&g);
}

static inline void *guest_at(struct guest *g, uint64_t addr, uint64_t len)
{
	void *p = guest_range(&g->mem, addr, len);

	assert_non_null(p);
	return p;
}

/* The two segments of image.h are in place. */
static inline void check_segments(struct guest *g)
{
	const uint8_t *code = guest_at(g, IMAGE_CODE_ADDR, IMAGE_CODE_SIZE);
	const uint8_t *data = guest_at(g, IMAGE_DATA_ADDR, IMAGE_DATA_SIZE + IMAGE_BSS_SIZE);

	for (size_t i = 0; i < IMAGE_CODE_SIZE; i++)
		assert_int_equal(code[i], image_code_byte(i));
	for (size_t i = 0; i < IMAGE_DATA_SIZE; i++)
		assert_int_equal(data[i], 0xda);
	for (size_t i = 0; i < IMAGE_BSS_SIZE; i++)
		assert_int_equal(data[IMAGE_DATA_SIZE + i], 0);
}

#endif
