/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Integer work. Five shapes that stress a translator differently: a register
 * loop with flags and few memory accesses, data-dependent branches over an
 * array, calls and indirect calls, loads that depend on each other over more
 * memory than the caches hold, byte-wise scanning.
 */
#include <stdlib.h>
#include <string.h>

#include "micro.h"

/* Multiply, rotate, divide, compare, bit counts: kept in registers. */
uint64_t bench_int(long scale)
{
	uint64_t a = 88172645463325252ull, sum = 0;

	for (long i = 0; i < scale * 600000; i++) {
		uint64_t r = next_random(&a);

		sum = (sum << 7 | sum >> 57) + r * 0x9e3779b97f4a7c15ull;
		if (r & 0x100)
			sum ^= (uint64_t)i;
		if (!(r & 0x1f))
			sum += r / (uint32_t)(i | 1);
		sum += (uint64_t)__builtin_ctzll(r | 1ull << 40) + (uint64_t)__builtin_bswap32((uint32_t)r);
	}
	return sum;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

uint64_t bench_sort(long scale)
{
	size_t count = (size_t)scale * 18000;
	uint64_t *numbers = malloc(count * sizeof(*numbers));
	uint64_t state = 42, sum = 0;

	if (!numbers)
		fail("malloc");
	for (size_t i = 0; i < count; i++)
		numbers[i] = next_random(&state);
	qsort(numbers, count, sizeof(*numbers), compare);
	for (size_t i = 0; i < count; i++)
		sum = sum * 31 + numbers[i];
	free(numbers);
	return sum;
}

/* Recursion in pairs, through a table of function pointers. */
static uint64_t call_a(unsigned int n, uint64_t x);
static uint64_t call_b(unsigned int n, uint64_t x);
static uint64_t (*const callees[])(unsigned int n, uint64_t x) = { call_a, call_b };

__attribute__((noinline)) static uint64_t call_a(unsigned int n, uint64_t x)
{
	if (n < 2)
		return x + n;
	return callees[x & 1](n - 1, x * 5 + 1) + call_b(n - 2, x >> 1);
}

__attribute__((noinline)) static uint64_t call_b(unsigned int n, uint64_t x)
{
	if (n < 2)
		return x ^ n;
	return call_a(n - 1, x + 3) ^ callees[x >> 1 & 1](n - 2, x * 3);
}

uint64_t bench_calls(long scale)
{
	uint64_t sum = 0;

	for (long i = 0; i < scale * 8; i++)
		sum = sum * 7 + call_a(24, (uint64_t)i * 12345 + sum);
	return sum;
}

/* A random cycle through 64 MiB: TLB misses of the guest and of the engine. */
uint64_t bench_chase(long scale)
{
	enum { COUNT = 1 << 20, STRIDE = 8 };
	uint64_t *next = malloc((size_t)COUNT * STRIDE * sizeof(*next));
	uint64_t state = 7, at = 0, sum = 0;

	if (!next)
		fail("malloc");
	for (uint64_t i = 0; i < COUNT; i++)
		next[i * STRIDE] = i;
	/* Sattolo's shuffle makes one cycle of all */
	for (uint64_t i = COUNT - 1; i > 0; i--) {
		uint64_t j = next_random(&state) % i;
		uint64_t old = next[i * STRIDE];

		next[i * STRIDE] = next[j * STRIDE];
		next[j * STRIDE] = old;
	}
	for (long i = 0; i < scale * 20000; i++) {
		at = next[at * STRIDE];
		sum += at;
	}
	free(next);
	return sum;
}

/* Word counting, character classes and a hash over generated text. */
uint64_t bench_strings(long scale)
{
	enum { SIZE = 1 << 16 };
	char *text = malloc(SIZE + 1);
	uint64_t state = 99, sum = 0;

	if (!text)
		fail("malloc");
	for (int i = 0; i < SIZE; i++)
		text[i] = "etaoin shrdlu,cmfwyp vbgkjqxz.\n"[next_random(&state) % 31];
	text[SIZE] = 0;
	for (long round = 0; round < scale * 30; round++) {
		uint32_t hash = 2166136261u;
		unsigned int words = 0;
		int inside = 0;

		for (const char *at = text; *at; at++) {
			int letter = *at >= 'a' && *at <= 'z';

			words += letter && !inside;
			inside = letter;
			if (letter)
				hash = (hash ^ (uint8_t)*at) * 16777619u;
		}
		for (const char *at = text; (at = strstr(at, "ea")); at++)
			hash += (uint32_t)(at - text);
		text[round % SIZE] = (char)('a' + hash % 26);
		sum = sum * 33 + hash + words;
	}
	free(text);
	return sum;
}
