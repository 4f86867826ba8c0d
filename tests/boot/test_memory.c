/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM: sizes, the hole, the one door, laziness. */
#include "fixture.h"

#include <unistd.h>
#include <sys/stat.h>

static void sizes(void **unused)
{
	static const uint64_t bad[] = { 0, 1, 4095, 4097, GUEST_RAM_MAX + 4096, ~0ull & ~4095ull, ~0ull };
	static const struct {
		uint64_t size, low, high;
	} good[] = {
		{ 4096, 4096, 0 },
		{ 1ull << 30, 1ull << 30, 0 },
		{ GUEST_LOW_MAX, GUEST_LOW_MAX, 0 },
		{ GUEST_LOW_MAX + 4096, GUEST_LOW_MAX, 4096 },
		{ GUEST_RAM_MAX, GUEST_LOW_MAX, GUEST_RAM_MAX - GUEST_LOW_MAX },
	};
	struct guest_memory mem;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(guest_memory_create(&mem, bad[i]), -EINVAL);
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(guest_memory_create(&mem, good[i].size), 0);
		assert_int_equal(mem.size, good[i].size);
		assert_int_equal(mem.low_size, good[i].low);
		assert_int_equal(mem.high_size, good[i].high);
		guest_memory_destroy(&mem);
		assert_null(mem.base);
		assert_null(guest_range(&mem, 0, 1));
		/* Once more does no harm. */
		guest_memory_destroy(&mem);
	}
}

static void one_door(void **unused)
{
	static const struct {
		uint64_t addr, len;
		bool ok;
	} cases[] = {
		{ 0, 0, true },
		{ 0, GUEST_LOW_MAX, true },
		{ 0, GUEST_LOW_MAX + 1, false },
		{ GUEST_LOW_MAX - 1, 1, true },
		{ GUEST_LOW_MAX - 1, 2, false },
		{ GUEST_LOW_MAX, 1, false },
		{ GUEST_LOW_MAX, 0, false },
		{ GUEST_HIGH_BASE - 1, 1, false },
		{ GUEST_HIGH_BASE - 1, 2, false },
		{ GUEST_HIGH_BASE, 1ull << 30, true },
		{ GUEST_HIGH_BASE, (1ull << 30) + 1, false },
		{ GUEST_HIGH_BASE + (1ull << 30) - 8, 8, true },
		{ GUEST_HIGH_BASE + (1ull << 30) - 8, 9, false },
		{ GUEST_HIGH_BASE + (1ull << 30), 0, false },
		{ 4096, ~0ull, false },
		{ 4096, ~0ull - 4095, false },
		{ GUEST_HIGH_BASE + 4096, ~0ull - 4095, false },
		{ ~0ull, 1, false },
		{ ~0ull, ~0ull, false },
	};
	struct guest_memory mem;

	assert_int_equal(guest_memory_create(&mem, 4ull << 30), 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *p = guest_range(&mem, cases[i].addr, cases[i].len);

		assert_int_equal(p != NULL, cases[i].ok);
		if (p)
			assert_true(p >= mem.base && p + cases[i].len <= mem.base + mem.size);
	}
	/* High memory follows low memory without a gap in the file. */
	assert_ptr_equal(guest_range(&mem, GUEST_HIGH_BASE, 1), mem.base + GUEST_LOW_MAX);
	guest_memory_destroy(&mem);
}

static uint64_t host_bytes(const struct guest_memory *mem)
{
	struct stat st;

	assert_int_equal(fstat(mem->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void lazy_and_cleared(void **unused)
{
	struct guest_memory mem;
	uint8_t *low, *high;

	assert_int_equal(guest_memory_create(&mem, GUEST_RAM_MAX), 0);
	assert_int_equal(host_bytes(&mem), 0);
	low = guest_range(&mem, 0x123456, 1);
	high = guest_range(&mem, GUEST_HIGH_BASE + (40ull << 30), 1);
	assert_int_equal(*low | *high, 0);
	*low = *high = 0xa5;
	assert_in_range(host_bytes(&mem), 8192, 4 << 20);
	assert_int_equal(guest_memory_clear(&mem), 0);
	assert_int_equal(host_bytes(&mem), 0);
	assert_int_equal(*low | *high, 0);
	*low = 1;
	assert_int_equal(*low, 1);
	guest_memory_destroy(&mem);
}

/* Shared, and no mapping of it may be executed. Nobody can cut it off. */
static void mapping(void **unused)
{
	struct guest_memory mem;
	char line[512], perms[5];
	unsigned seen = 0;
	FILE *maps;

	assert_int_equal(guest_memory_create(&mem, 64 << 20), 0);
	maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "memfd:lguest-ram"))
			continue;
		assert_int_equal(sscanf(line, "%*s %4s", perms), 1);
		assert_string_equal(perms, "rw-s");
		seen++;
	}
	fclose(maps);
	assert_int_equal(seen, 1);
	assert_int_equal(ftruncate(mem.fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	guest_memory_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(one_door),
		cmocka_unit_test(lazy_and_cleared),
		cmocka_unit_test(mapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
