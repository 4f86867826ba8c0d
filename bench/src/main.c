/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of the small benchmarks and its command line; see micro.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "micro.h"

static const struct micro micros[] = {
	{ "int", bench_int },         { "sort", bench_sort },       { "calls", bench_calls },
	{ "chase", bench_chase },     { "strings", bench_strings }, { "fp", bench_fp },
	{ "avx", bench_avx },         { "x87", bench_x87 },         { "memcpy", bench_memcpy },
	{ "faults", bench_faults },   { "cow", bench_cow },         { "syscalls", bench_syscalls },
	{ "signals", bench_signals }, { "segv", bench_segv },       { "exec", bench_exec },
	{ "pipe", bench_pipe },       { "futex", bench_futex },     { "yield", bench_yield },
	{ "jit", bench_jit },
};

_Noreturn void fail(const char *what)
{
	fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	long scale = argc > 2 ? atol(argv[2]) : 100;

	/* what bench_exec runs */
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	for (size_t i = 0; argc > 1 && i < sizeof(micros) / sizeof(micros[0]); i++) {
		if (strcmp(argv[1], micros[i].name))
			continue;
		printf("%s %016llx\n", argv[1], (unsigned long long)micros[i].run(scale));
		return 0;
	}
	fprintf(stderr, "usage: micro NAME [SCALE]; the names are in bench/src/main.c\n");
	return 2;
}
