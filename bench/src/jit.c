/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code written at run time, as a compiler in a browser or node does it: a
 * function is generated into a page, called a few times, and written over.
 * Two patterns: the same page again and again with a changed constant, and a
 * walk over many pages of which each has been executed before.
 */
#include <string.h>
#include <sys/mman.h>

#include "micro.h"

typedef uint32_t (*generated)(uint32_t);

/* Writes: imul eax, edi, factor; add eax, term; xor eax, edi (repeated); ret */
static size_t generate(uint8_t *at, uint32_t factor, uint32_t term, int repeats)
{
	size_t n = 0;

	at[n++] = 0x69;
	at[n++] = 0xc7;
	memcpy(at + n, &factor, 4);
	n += 4;
	for (int i = 0; i < repeats; i++) {
		at[n++] = 0x05;
		memcpy(at + n, &term, 4);
		n += 4;
		at[n++] = 0x31;
		at[n++] = 0xf8;
	}
	at[n++] = 0xc3;
	return n;
}

uint64_t bench_jit(long scale)
{
	enum { PAGES = 64 };
	uint8_t *code = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (code == MAP_FAILED)
		fail("mmap");
	for (long i = 0; i < scale * 1500; i++) {
		uint8_t *at = i & 1 ? code : code + (size_t)(i / 2 % PAGES) * 4096 + (size_t)(i % 31) * 64;
		uint32_t value = (uint32_t)sum;
		generated function;

		generate(at, (uint32_t)i * 2 + 1, (uint32_t)i ^ 0x5a5a, (int)(i % 6) + 1);
		memcpy(&function, &at, sizeof(function));
		for (int k = 0; k < 20; k++)
			value = function(value + (uint32_t)k);
		sum = sum * 3 + value;
	}
	munmap(code, PAGES * 4096);
	return sum;
}
