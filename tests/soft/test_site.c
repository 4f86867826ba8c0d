/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sites (site.c): what is packed behind a block comes out again, whatever kinds
 * of sites lie before it; and so do the block's other parts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/soft/block.h"
#include "engine/soft/sysop.h"

#define SITES   100
#define ROUNDS  3000
#define META    65536
#define SYSOPS  24
#define HOT     0x123450u
#define PHYS    0xabcdef23ull
#define EXITS   7
#define OTHER   0x40u /* bytes in front of the block */
#define EXIT_OF 3

static uint32_t random_bits(unsigned n)
{
	return (uint32_t)(random() ^ random() << 16) & (n == 32 ? ~0u : (1u << n) - 1);
}

static void random_site(struct desc *d)
{
	static const uint8_t kinds[] = { DESC_JUMP,  DESC_ACCESS, DESC_SEGMENT,
					 DESC_SYSOP, DESC_STRING, DESC_GROUP };

	*d = (struct desc){
		.kind = kinds[random_bits(16) % sizeof(kinds)],
		.len = (uint8_t)random_bits(4),
		.group = (uint8_t)random_bits(4),
		.off = (uint16_t)random_bits(12),
		.resume = HOT,
	};
	if (d->kind != DESC_JUMP)
		d->resume = HOT + random_bits(16);
	switch ((enum desc_kind)d->kind) {
	case DESC_JUMP: d->jump.undo = (int32_t)random_bits(32); break;
	case DESC_ACCESS:
	case DESC_SEGMENT:
		d->access.size = (uint8_t)random_bits(8);
		d->access.write = (uint8_t)(random_bits(16) % 3);
		d->access.seg = (uint8_t)random_bits(3);
		d->access.align = random_bits(1);
		d->access.stay = random_bits(1);
		if (d->kind == DESC_ACCESS && d->access.write != ACCESS_READ) {
			d->access.op_len = (uint8_t)random_bits(8);
			d->access.host_flags = (uint8_t)random_bits(8);
		}
		break;
	case DESC_GROUP:
		d->check.size = (uint8_t)random_bits(8);
		d->check.write = (uint8_t)(random_bits(16) % 3);
		d->check.all_write = random_bits(1);
		d->check.stack = random_bits(1);
		d->check.exit = (uint8_t)random_bits(8);
		d->check.span = (uint16_t)random_bits(16);
		d->check.own = (uint16_t)random_bits(16);
		break;
	default: break;
	}
}

static void compare(const struct desc *want, const struct desc *got)
{
	assert_int_equal(got->kind, want->kind);
	assert_int_equal(got->len, want->len);
	assert_int_equal(got->group, want->group);
	assert_int_equal(got->off, want->off);
	switch ((enum desc_kind)want->kind) {
	case DESC_JUMP: assert_int_equal(got->jump.undo, want->jump.undo); return;
	case DESC_ACCESS:
	case DESC_SEGMENT:
		assert_int_equal(got->access.size, want->access.size);
		assert_int_equal(got->access.write, want->access.write);
		assert_int_equal(got->access.seg, want->access.seg);
		assert_int_equal(got->access.align, want->access.align);
		assert_int_equal(got->access.stay, want->access.stay);
		assert_int_equal(got->access.op_len, want->access.op_len);
		assert_int_equal(got->access.host_flags, want->access.host_flags);
		break;
	case DESC_GROUP:
		assert_int_equal(got->check.size, want->check.size);
		assert_int_equal(got->check.write, want->check.write);
		assert_int_equal(got->check.all_write, want->check.all_write);
		assert_int_equal(got->check.stack, want->check.stack);
		assert_int_equal(got->check.exit, want->check.exit);
		assert_int_equal(got->check.span, want->check.span);
		assert_int_equal(got->check.own, want->check.own);
		break;
	default: break;
	}
	assert_int_equal(got->resume, want->resume);
}

/* As the translator lays it out. */
static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

static void round_trip(struct soft_engine *e, bool absolute, bool second)
{
	struct block *b = meta_at(e, OTHER);
	struct desc want[SITES], got;
	struct sysop ops[SYSOPS];
	uint64_t page_va = 0xffffffff81234000ull;
	const struct block_second part = { .phys = 0x77777000, .dep = 5 };
	const struct insn_map map = { .host = 12, .guest = 34, .host_flags = 56 };
	unsigned sysops = 0, words = 0;
	uint8_t *p = (uint8_t *)(b + 1);
	uint32_t packed[SITES * SITE_WORDS];

	*b = (struct block){ .phys = PHYS, .hot = HOT, .absolute = absolute, .second = second };
	b->exit_count = EXITS;
	for (unsigned i = 0; i < EXITS; i++) {
		struct block_exit x = { .index = i & 127, .target = (int32_t)i };

		p = put(p, &x, sizeof(x));
	}
	p = (uint8_t *)(b + 1) + exits_size(EXITS);
	for (unsigned i = 1; i < SITES; i++) {
		do
			random_site(&want[i]);
		while ((want[i].kind == DESC_SYSOP || want[i].kind == DESC_STRING) && sysops == SYSOPS);
		if (want[i].kind == DESC_SYSOP || want[i].kind == DESC_STRING)
			ops[sysops++] = (struct sysop){ .disp = (int32_t)i };
		words += site_pack(b, &want[i], packed + words);
	}
	b->sysop_count = sysops & 31;
	b->site_words = words & 1023;
	b->map_count = 1;
	if (absolute)
		p = put(p, &page_va, sizeof(page_va));
	if (second)
		p = put(p, &part, sizeof(part));
	p = put(p, ops, sizeof(*ops) * sysops);
	p = put(p, packed, sizeof(*packed) * words);
	put(p, &map, sizeof(map));

	for (unsigned i = 1; i < SITES; i++) {
		uint32_t id = site_id(OTHER, i);

		site_read(e, id, &got);
		assert_int_equal(got.block, OTHER);
		assert_int_equal(got.id, id);
		compare(&want[i], &got);
		if (want[i].kind == DESC_SYSOP || want[i].kind == DESC_STRING)
			assert_int_equal(got.sys.op->disp, i);
		if (want[i].kind == DESC_ACCESS) {
			site_read(e, id | SITE_STORED, &got);
			assert_int_equal(got.kind, DESC_STORED);
			got.kind = DESC_ACCESS;
			compare(&want[i], &got);
			assert_int_equal(got.id, id);
		}
	}
	site_read(e, site_id(OTHER, SITE_POLL), &got);
	assert_int_equal(got.kind, DESC_POLL);
	assert_int_equal(got.off, PHYS & (PAGE_SIZE - 1));
	site_read(e, site_id(OTHER, SITE_EXIT - EXIT_OF), &got);
	assert_int_equal(got.kind, DESC_EXIT);
	assert_int_equal(block_exits(b)[got.exit.exit].target, EXIT_OF);
	assert_ptr_equal(exit_block(&block_exits(b)[EXIT_OF]), b);
	assert_int_equal(block_page_va(b), absolute ? page_va : 0);
	assert_int_equal(block_phys2(b), second ? part.phys : ~0ull);
	assert_memory_equal(block_map(b), &map, sizeof(map));
}

static void all_kinds(void **state)
{
	struct soft_engine *e = calloc(1, sizeof(*e));

	(void)state;
	assert_non_null(e);
	e->meta = aligned_alloc(64, META);
	assert_non_null(e->meta);
	srandom(1);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_trip(e, i & 1, i & 2);
	free(e->meta);
	free(e);
}

static void of_no_block(void **state)
{
	struct soft_engine *e = calloc(1, sizeof(*e));
	struct desc d;

	(void)state;
	assert_non_null(e);
	site_read(e, DESC_STALE, &d);
	assert_int_equal(d.kind, DESC_STALE);
	site_read(e, DESC_HOST_FAULT, &d);
	assert_int_equal(d.kind, DESC_HOST_FAULT);
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all_kinds), cmocka_unit_test(of_no_block) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
