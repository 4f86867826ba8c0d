/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The small benchmarks: one static program, `micro NAME [SCALE]`.
 *
 * Each does a fixed amount of work, about a third of a second on a machine of
 * 2023 when SCALE is 100, and returns a checksum which main.c prints. The
 * checksum depends on all of the work and on nothing else, so that a run whose
 * arithmetic went wrong cannot pass for a fast one.
 *
 *   cpu.c   integers: mixed loop, sort, calls, pointer chasing, string search
 *   fp.c    doubles, AVX2 and FMA, x87
 *   mem.c   memcpy, page faults, fork's copy-on-write
 *   sys.c   system calls, signals, processes, pipes, futexes
 *   jit.c   code written at run time
 */
#ifndef MICRO_H
#define MICRO_H

#include <stdint.h>

struct micro {
	const char *name;
	uint64_t (*run)(long scale);
};

uint64_t bench_int(long scale);
uint64_t bench_sort(long scale);
uint64_t bench_calls(long scale);
uint64_t bench_chase(long scale);
uint64_t bench_strings(long scale);
uint64_t bench_fp(long scale);
uint64_t bench_avx(long scale);
uint64_t bench_x87(long scale);
uint64_t bench_memcpy(long scale);
uint64_t bench_faults(long scale);
uint64_t bench_cow(long scale);
uint64_t bench_syscalls(long scale);
uint64_t bench_signals(long scale);
uint64_t bench_segv(long scale);
uint64_t bench_exec(long scale);
uint64_t bench_pipe(long scale);
uint64_t bench_futex(long scale);
uint64_t bench_yield(long scale);
uint64_t bench_jit(long scale);

/* Ends the program with a message: a benchmark that cannot run must not count. */
_Noreturn void fail(const char *what);

/* One step of a fixed pseudo-random sequence. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
