/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The set of blocks (block.c): who has to go from a full bucket of the hash
 * table, and when a page stops being watched.
 *
 * Blocks here have no code to speak of. Which of them share a bucket is seen
 * from where the table has them, so that the hash function may be any.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/cpuid.h"
#include "engine/engine.h"
#include "engine/soft/block.h"

#define RAM_SIZE (64ull << 20)
#define BUCKET   7
#define WANTED   (3 * HASH_BUCKET)
#define DROP_AT  (2 * HASH_BUCKET)
#define DROPPED  (DROP_AT - 5)

struct test {
	struct guest_memory mem;
	struct cpuid_table cpuid;
	struct soft_engine *e;
	struct vcpu *vcpu;
	struct block *block[WANTED]; /* all of one bucket */
};

static void start(struct test *t)
{
	struct engine_config cfg = { .memory = &t->mem, .vcpus = 1 };
	const struct vcpu_bus bus = { .machine = t };

	assert_int_equal(guest_memory_create(&t->mem, RAM_SIZE), 0);
	cpuid_build(&t->cpuid, 1, NULL);
	t->e = (struct soft_engine *)engine_soft.create(&cfg);
	assert_non_null(t->e);
	t->vcpu = t->e->e.vcpu_create(&t->e->e, 0, &bus, &t->cpuid);
	assert_non_null(t->vcpu);
}

static void end(struct test *t)
{
	t->e->e.vcpu_destroy(t->vcpu);
	t->e->e.destroy(&t->e->e);
	guest_memory_destroy(&t->mem);
	free(t);
}

static void watch(struct soft_engine *e, uint64_t phys)
{
	if (!page_has_code(e, ram_page(e, phys)))
		page_watch(e, (uint32_t)ram_page(e, phys));
}

static struct block *make(struct soft_engine *e, uint64_t phys)
{
	struct block *b = meta_alloc(e, sizeof(*b));

	assert_non_null(b);
	*b = (struct block){ .phys = phys, .dep = 1, .hot = e->hot_next, .cold = e->cold_next };
	return b;
}

static void insert(struct soft_engine *e, struct block *b)
{
	b->invalid = false;
	watch(e, b->phys);
	block_insert(e, b);
}

/* Blocks that all lie in one bucket, each in a page of its own; not inserted. */
static void find_blocks(struct test *t)
{
	struct soft_engine *e = t->e;
	struct block *b = make(e, 0);
	unsigned n = 0;

	for (uint64_t phys = 0; n < WANTED; phys += 16) {
		bool here;

		assert_true(phys < RAM_SIZE);
		b->phys = phys;
		insert(e, b);
		here = e->hash[BUCKET][0] != 0;
		block_drop(e, b);
		assert_int_equal(e->hash[BUCKET][0], 0);
		if (!here)
			continue;
		t->block[n++] = b;
		phys = (phys & PAGE_MASK) + PAGE_SIZE;
		b = make(e, 0);
	}
	assert_int_equal(e->vcpu->stats.evictions, 0);
	block_flush_all(e);
	/* They lie where the flush has made room. */
	e->meta_next = meta_off(e, b + 1);
}

static bool found(struct test *t, unsigned i)
{
	return block_find(t->e, t->block[i]->phys, 0, false, 0, ~0ull) == t->block[i];
}

static void oldest_goes_first(void **state)
{
	struct test *t = calloc(1, sizeof(*t));
	unsigned evicted = 0, oldest = 0;

	(void)state;
	start(t);
	find_blocks(t);
	for (unsigned i = 0; i < WANTED; i++) {
		insert(t->e, t->block[i]);
		/* The next one finds room, then the oldest go again. */
		if (i == DROP_AT)
			block_drop(t->e, t->block[DROPPED]);
		if (i >= HASH_BUCKET && i != DROP_AT + 1) {
			evicted++;
			oldest += 1 + (oldest + 1 == DROPPED);
		}
		assert_int_equal(t->e->vcpu->stats.evictions, evicted);
		for (unsigned k = 0; k <= i; k++) {
			if (k == DROPPED && i >= DROP_AT)
				continue;
			assert_int_equal(found(t, k), k >= oldest);
			/* Writes to the page of one that has gone are nobody's business. */
			assert_int_equal(page_has_code(t->e, ram_page(t->e, t->block[k]->phys)), k >= oldest);
		}
	}
	end(t);
}

/* A page that is watched for a translation that came to nothing. */
static void no_block(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	(void)state;
	start(t);
	watch(t->e, 0x5000);
	assert_true(page_has_code(t->e, 5));
	assert_true(t->mem.watch.code[5]);
	assert_false(block_invalidate(t->e, 0x5010, 1, NULL));
	assert_false(page_has_code(t->e, 5));
	assert_false(t->mem.watch.code[5]);
	/* One with a block stays watched, wherever the write goes. */
	watch(t->e, 0x5000);
	insert(t->e, make(t->e, 0x5000));
	assert_false(block_invalidate(t->e, 0x5800, 8, NULL));
	assert_true(page_has_code(t->e, 5));
	assert_false(block_invalidate(t->e, 0x5000, 8, NULL));
	assert_false(page_has_code(t->e, 5));
	assert_null(block_find(t->e, 0x5000, 0, false, 0, ~0ull));
	end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(oldest_goes_first), cmocka_unit_test(no_block) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
