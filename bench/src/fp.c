/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Floating point: scalar doubles (a small solar system), AVX2 with FMA (matrix
 * product and a byte-wise integer part), x87 (long double, with its slow
 * instructions). No library calls, so that the checksum is exact everywhere.
 */
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "micro.h"

static uint64_t bits(double value)
{
	uint64_t out;

	memcpy(&out, &value, sizeof(out));
	return out;
}

struct body {
	double x[3], v[3], mass;
};

uint64_t bench_fp(long scale)
{
	enum { BODIES = 5 };
	struct body body[BODIES];
	double energy = 0;

	for (int i = 0; i < BODIES; i++)
		for (int k = 0; k < 3; k++) {
			body[i].x[k] = (i + 1) * 1.5 - k * 0.7;
			body[i].v[k] = (k - 1) * 0.3 + i * 0.05;
			body[i].mass = 1.0 / (1 + i);
		}
	for (long step = 0; step < scale * 20000; step++) {
		for (int i = 0; i < BODIES; i++)
			for (int j = i + 1; j < BODIES; j++) {
				double d[3], square = 0.01, root, force;

				for (int k = 0; k < 3; k++) {
					d[k] = body[i].x[k] - body[j].x[k];
					square += d[k] * d[k];
				}
				root = __builtin_sqrt(square);
				force = 0.0001 / (square * root);
				for (int k = 0; k < 3; k++) {
					body[i].v[k] -= d[k] * body[j].mass * force;
					body[j].v[k] += d[k] * body[i].mass * force;
				}
			}
		for (int i = 0; i < BODIES; i++)
			for (int k = 0; k < 3; k++)
				body[i].x[k] += 0.0001 * body[i].v[k];
	}
	for (int i = 0; i < BODIES; i++)
		energy += body[i].x[0] + body[i].v[1] * body[i].mass;
	return bits(energy);
}

__attribute__((target("avx2,fma"))) static uint64_t avx_work(long scale)
{
	enum { N = 128 };
	float *a = aligned_alloc(32, 3 * N * N * sizeof(float)), *b = a + N * N, *c = b + N * N;
	__m256i mixed = _mm256_set1_epi64x(0x0123456789abcdef);
	const __m256i order = _mm256_setr_epi32(7, 3, 0, 5, 1, 6, 2, 4);
	uint64_t sum = 0, lanes[4];

	if (!a)
		fail("aligned_alloc");
	for (int i = 0; i < N * N; i++) {
		a[i] = (float)(i % 17) * 0.25f;
		b[i] = (float)(i % 13) * 0.5f - 2;
	}
	for (long round = 0; round < scale * 4; round++) {
		memset(c, 0, N * N * sizeof(float));
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				__m256 left = _mm256_broadcast_ss(&a[i * N + k]);

				for (int j = 0; j < N; j += 8) {
					__m256 acc = _mm256_load_ps(&c[i * N + j]);

					acc = _mm256_fmadd_ps(left, _mm256_load_ps(&b[k * N + j]), acc);
					_mm256_store_ps(&c[i * N + j], acc);
				}
			}
		a[round % (N * N)] += 0.5f;
		for (int i = 0; i < N * N; i += 8) {
			__m256i bytes = _mm256_castps_si256(_mm256_load_ps(&c[i]));

			mixed = _mm256_add_epi32(_mm256_permutevar8x32_epi32(mixed, order), bytes);
			mixed = _mm256_xor_si256(mixed, _mm256_slli_epi32(mixed, 13));
			mixed = _mm256_shuffle_epi8(mixed, _mm256_srli_epi32(bytes, 4));
		}
	}
	_mm256_storeu_si256((__m256i *)lanes, mixed);
	for (int i = 0; i < 4; i++)
		sum = sum * 1000003 + lanes[i];
	free(a);
	return sum;
}

uint64_t bench_avx(long scale)
{
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		fail("no AVX2 and FMA");
	return avx_work(scale);
}

uint64_t bench_x87(long scale)
{
	long double sum = 0, x = 0.5L;

	for (long i = 1; i < scale * 40000; i++) {
		long double s;

		x = x * 3.57L * (1 - x);
		__asm__("fsin" : "=t"(s) : "0"(x));
		sum += s / (long double)i + __builtin_sqrtl(x);
		if (!(i & 7))
			__asm__("frndint" : "+t"(x));
		if (x <= 0 || x >= 1)
			x = 0.31L + (long double)(i % 100) / 300;
	}
	return bits((double)sum);
}
