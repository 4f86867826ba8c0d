/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers share: an input that is eaten up piece by piece, and a
 * main() for builds without libFuzzer.
 *
 * With clang and -fsanitize=fuzzer -DLIBFUZZER each target is a libFuzzer target.
 * Otherwise main() of input.c feeds it from a seeded generator, or with files:
 *
 *	fuzz-rng [SEED [RUNS]]
 *	fuzz-rng FILE...
 */
#ifndef LGUEST_TESTS_FUZZ_INPUT_H
#define LGUEST_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
	const uint8_t *data; /* what is left */
	size_t left;
};

/* The next @bytes (1 to 8) as a number; zeroes behind the end. */
uint64_t input_take(struct fuzz_input *in, unsigned bytes);
/* One of 0 .. @n - 1. */
unsigned input_pick(struct fuzz_input *in, unsigned n);

/* The target's, and how it is run without libFuzzer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
struct fuzz_bounds {
	size_t len;    /* bytes of each input, at most FUZZ_INPUT_MAX */
	unsigned runs; /* by default */
};
extern const struct fuzz_bounds fuzz_bounds;
#define FUZZ_INPUT_MAX 16384

/* Ends the program, so that the fuzzer keeps the input. */
#define FUZZ_CHECK(x)                                      \
	do {                                               \
		if (!(x))                                  \
			fuzz_fail(__FILE__, __LINE__, #x); \
	} while (0)
void fuzz_fail(const char *file, int line, const char *what) __attribute__((noreturn));

#endif
