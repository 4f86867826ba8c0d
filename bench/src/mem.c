/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory: block copies of many sizes, fresh pages, copy-on-write after fork. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "micro.h"

uint64_t bench_memcpy(long scale)
{
	enum { SIZE = 8 << 20 };
	uint8_t *from = malloc(SIZE), *to = malloc(SIZE);
	uint64_t sum = 0, state = 3;

	if (!from || !to)
		fail("malloc");
	for (int i = 0; i < SIZE; i++)
		from[i] = (uint8_t)(i * 7 + (i >> 8));
	for (long round = 0; round < scale * 2; round++) {
		/* few big ones, many small ones at odd addresses */
		memcpy(to, from, SIZE);
		memmove(to + 3, to, SIZE - 4096);
		memset(from + SIZE / 2, (int)round, SIZE / 4);
		for (int i = 0; i < 20000; i++) {
			uint64_t r = next_random(&state);

			memcpy(to + (r & 0xfffff), from + (r >> 20 & 0xfffff), r >> 40 & 0xff);
		}
		sum = sum * 31 + to[round * 4099 % SIZE] + to[SIZE - 5000] + to[777];
	}
	free(from);
	free(to);
	return sum;
}

uint64_t bench_faults(long scale)
{
	enum { PAGES = 1024 };
	uint64_t sum = 0;

	for (long round = 0; round < scale; round++) {
		uint8_t *area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				     -1, 0);

		if (area == MAP_FAILED)
			fail("mmap");
		/* 4 KiB pages everywhere, whatever the kernel's default is */
		madvise(area, PAGES * 4096, MADV_NOHUGEPAGE);
		for (int i = 0; i < PAGES; i++) {
			sum += area[i * 4096];
			area[i * 4096 + 8] = (uint8_t)(i + round);
		}
		for (int i = 0; i < PAGES; i += 7)
			sum = sum * 3 + area[i * 4096 + 8];
		munmap(area, PAGES * 4096);
	}
	return sum;
}

uint64_t bench_cow(long scale)
{
	enum { PAGES = 512 };
	uint8_t *area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (area == MAP_FAILED)
		fail("mmap");
	madvise(area, PAGES * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i++)
		area[i * 4096] = (uint8_t)i;
	for (long round = 0; round < scale * 4; round++) {
		int status;
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			for (int i = 0; i < PAGES; i += 4)
				area[i * 4096]++;
			_exit(area[4 * 4096]);
		}
		area[round % PAGES * 4096]++;
		if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
			fail("waitpid");
		sum = sum * 3 + (uint64_t)WEXITSTATUS(status);
	}
	munmap(area, PAGES * 4096);
	return sum;
}
