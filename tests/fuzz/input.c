/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz/input.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t input_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
		val |= (uint64_t)*in->data++ << (8 * i);
	return val;
}

unsigned input_pick(struct fuzz_input *in, unsigned n)
{
	return (unsigned)input_take(in, n > 256 ? 2 : 1) % n;
}

void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

#ifndef LIBFUZZER
static int repeat(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *in = fopen(path, "rb");
	size_t len;

	if (!in) {
		perror(path);
		return 1;
	}
	len = fread(data, 1, sizeof(data), in);
	fclose(in);
	LLVMFuzzerTestOneInput(data, len);
	return 0;
}

int main(int argc, char **argv)
{
	char *rest = NULL;
	uint64_t seed = argc > 1 ? strtoull(argv[1], &rest, 0) : 1;
	unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : fuzz_bounds.runs;
	static uint8_t data[FUZZ_INPUT_MAX];

	if (rest && *rest) {
		int bad = 0;

		for (int i = 1; i < argc; i++)
			bad |= repeat(argv[i]);
		return bad;
	}
	for (unsigned run = 0; run < runs; run++) {
		uint64_t x = (seed * 1000003 + run) * 0x9e3779b97f4a7c15 + 1;

		for (size_t i = 0; i < fuzz_bounds.len; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[i] = (uint8_t)(x >> 32);
		}
		LLVMFuzzerTestOneInput(data, fuzz_bounds.len);
	}
	printf("%u inputs of %zu bytes\n", runs, fuzz_bounds.len);
	return 0;
}
#endif
