/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPU model: what stock kernels look at to decide on mitigations, that
 * nothing is offered that the host cannot execute or the engine does not
 * know, and that topology and XSAVE leaves agree with each other.
 */
#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "cpu/x86.h"

#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>
#include <cmocka.h>

enum { EAX, EBX, ECX, EDX };

#define BIT(n) (1u << (n))

static struct cpuid_table table;
static struct x86_state cpu_state;
static uint32_t out[4];

static void query(unsigned cpu, uint32_t leaf, uint32_t subleaf)
{
	cpuid_query(&table, &cpu_state, cpu, leaf, subleaf, out);
}

static bool guest_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
	query(0, leaf, subleaf);
	return out[reg] >> bit & 1;
}

static bool host_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
	uint32_t r[4] = { 0 };

	__get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
	return r[reg] >> bit & 1;
}

static void test_vendor(void **state)
{
	char name[13] = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		query(0, i ? 0x80000000 : 0, 0);
		memcpy(name, &out[EBX], 4);
		memcpy(name + 4, &out[EDX], 4);
		memcpy(name + 8, &out[ECX], 4);
		assert_string_equal(name, "AuthenticAMD");
		assert_true(out[EAX] >= (i ? 0x80000021 : 0xd));
	}
	query(0, 1, 0);
	/* family 0xf + 0xa, in the range that kernels take for Zen 3 */
	assert_int_equal(out[EAX] >> 8 & 0xf, 0xf);
	assert_int_equal(out[EAX] >> 20 & 0xff, 0xa);
	assert_int_equal((out[EAX] >> 4 & 0xf) | (out[EAX] >> 12 & 0xf0), 1);
	uint32_t signature = out[EAX];
	query(0, 0x80000001, 0);
	assert_int_equal(out[EAX], signature);
}

/* arch/x86/kernel/cpu/common.c, cpu_set_bug_bits(), and bugs.c */
static void test_no_mitigations(void **state)
{
	assert_true(guest_bit(1, 0, ECX, 31));          /* hypervisor: no microcode loading, no VMSCAPE */
	assert_true(guest_bit(0x80000021, 0, EAX, 8));  /* automatic IBRS */
	assert_true(guest_bit(0x80000021, 0, EAX, 2));  /* LFENCE serializes */
	assert_true(guest_bit(0x80000021, 0, EAX, 6));  /* null selector clears the base */
	assert_true(guest_bit(0x80000021, 0, EAX, 29)); /* SRSO_NO */
	assert_true(guest_bit(0x80000021, 0, EAX, 30)); /* SRSO_USER_KERNEL_NO */
	assert_true(guest_bit(0x80000021, 0, ECX, 1));  /* TSA_SQ_NO */
	assert_true(guest_bit(0x80000021, 0, ECX, 2));  /* TSA_L1_NO */
	assert_true(guest_bit(0x80000021, 0, ECX, 7));  /* what else 6.12.117 wants to see against TSA */
	assert_true(guest_bit(0x80000008, 0, EBX, 26)); /* SSB_NO */
	assert_true(guest_bit(0x80000008, 0, EBX, 29)); /* BTC_NO */
	assert_true(guest_bit(0x80000008, 0, EBX, 2));  /* XSAVEERPTR */
	/* what would make kernels do work at context switches and VM exits */
	assert_false(guest_bit(0x80000008, 0, EBX, 12)); /* IBPB */
	assert_false(guest_bit(0x80000008, 0, EBX, 14)); /* IBRS */
	assert_false(guest_bit(0x80000008, 0, EBX, 15)); /* STIBP */
	/* Intel's leaf of the same */
	query(0, 7, 0);
	assert_int_equal(out[EDX], BIT(14));
}

static void test_copied_features(void **state)
{
	static const struct {
		enum cpu_feature f;
		uint32_t leaf, sub, reg, bit;
	} copied[] = {
		{ CPU_SSE3, 1, 0, ECX, 0 },          { CPU_PCLMUL, 1, 0, ECX, 1 },
		{ CPU_SSSE3, 1, 0, ECX, 9 },         { CPU_FMA, 1, 0, ECX, 12 },
		{ CPU_CX16, 1, 0, ECX, 13 },         { CPU_SSE41, 1, 0, ECX, 19 },
		{ CPU_SSE42, 1, 0, ECX, 20 },        { CPU_MOVBE, 1, 0, ECX, 22 },
		{ CPU_POPCNT, 1, 0, ECX, 23 },       { CPU_AES, 1, 0, ECX, 25 },
		{ CPU_AVX, 1, 0, ECX, 28 },          { CPU_F16C, 1, 0, ECX, 29 },
		{ CPU_RDRAND, 1, 0, ECX, 30 },       { CPU_BMI1, 7, 0, EBX, 3 },
		{ CPU_AVX2, 7, 0, EBX, 5 },          { CPU_BMI2, 7, 0, EBX, 8 },
		{ CPU_RDSEED, 7, 0, EBX, 18 },       { CPU_ADX, 7, 0, EBX, 19 },
		{ CPU_CLFLUSHOPT, 7, 0, EBX, 23 },   { CPU_CLWB, 7, 0, EBX, 24 },
		{ CPU_SHA, 7, 0, EBX, 29 },          { CPU_VAES, 7, 0, ECX, 9 },
		{ CPU_VPCLMUL, 7, 0, ECX, 10 },      { CPU_LZCNT, 0x80000001, 0, ECX, 5 },
		{ CPU_LAHF, 0x80000001, 0, ECX, 0 }, { CPU_PREFETCHW, 0x80000001, 0, ECX, 8 },
		{ CPU_XSAVE, 1, 0, ECX, 26 },
	};

	for (unsigned i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
		bool guest = guest_bit(copied[i].leaf, copied[i].sub, copied[i].reg, copied[i].bit);
		bool host = host_bit(copied[i].leaf, copied[i].sub, copied[i].reg, copied[i].bit);
		assert_int_equal(guest, cpuid_has(&table, copied[i].f));
		assert_true(host || !guest);
		/* This test runs on hosts whose kernels enable AVX if they have it. */
		assert_int_equal(guest, host);
	}
}

static void test_never(void **state)
{
	for (unsigned f = CPU_GFNI; f < CPU_FEATURE_COUNT; f++)
		assert_false(cpuid_has(&table, f));
	assert_false(guest_bit(1, 0, ECX, 3)); /* MONITOR */
	assert_false(guest_bit(1, 0, ECX, 5)); /* VMX */
	assert_false(guest_bit(1, 0, EDX, 1)); /* VME */
	/* leaf 7: nothing but the bits that test_copied_features() and this list name */
	query(0, 7, 0);
	assert_int_equal(out[EBX] & ~(BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) |
				      BIT(18) | BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(29)),
			 0);
	assert_int_equal(out[ECX] & ~(BIT(2) | BIT(9) | BIT(10) | BIT(22)), 0);
	query(0, 0x80000001, 0);
	assert_int_equal(out[ECX] & ~(BIT(0) | BIT(1) | BIT(5) | BIT(7) | BIT(8) | BIT(22)), 0);
	assert_false(out[EDX] & (BIT(25) | BIT(30) | BIT(31))); /* FFXSR, 3DNow */
	/* leaves that do not exist say nothing */
	static const uint32_t none[] = { 2,          3,          4,          5,          9,
					 0xa,        0xc,        0x14,       0x17,       0x1f,
					 0x12345,    0x40000002, 0x40000011, 0x80000009, 0x8000000a,
					 0x8000001f, 0x80000022, 0xc0000000 };
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		query(0, none[i], 0);
		assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	}
	query(0, 7, 1);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
}

static void test_required_by_distributions(void **state)
{
	/* x86-64 itself, as Linux's required-features.h has it */
	static const uint8_t edx[] = { 0, 3, 4, 5, 6, 8, 13, 15, 24, 25, 26 };

	for (unsigned i = 0; i < sizeof(edx); i++)
		assert_true(guest_bit(1, 0, EDX, edx[i]));
	assert_true(guest_bit(0x80000001, 0, EDX, 29)); /* LM */
	assert_true(guest_bit(0x80000001, 0, EDX, 11)); /* SYSCALL */
	assert_true(guest_bit(0x80000001, 0, EDX, 20)); /* NX */
	assert_true(guest_bit(1, 0, ECX, 24));          /* TSC deadline */
	assert_true(guest_bit(1, 0, ECX, 21));          /* x2APIC */
	assert_true(guest_bit(6, 0, EAX, 2));           /* ARAT */
	assert_true(guest_bit(0x80000007, 0, EDX, 8));  /* invariant TSC */
}

static void test_xsave(void **state)
{
	if (!table.xcr0)
		skip();
	query(0, 0xd, 0);
	assert_int_equal(out[EAX], table.xcr0);
	assert_int_equal(out[ECX], table.xcr0 & XCR0_AVX ? 832 : 576);
	cpu_state.xcr0 = 1;
	query(0, 0xd, 0);
	assert_int_equal(out[EBX], 576);
	cpu_state.xcr0 = table.xcr0;
	query(0, 0xd, 0);
	assert_int_equal(out[EBX], out[ECX]);
	query(0, 0xd, 1);
	assert_int_equal(out[EAX] & 0xb, 0xb);
	assert_int_equal(out[ECX] | out[EDX], 0);
	query(0, 0xd, 3);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	if (table.xcr0 & XCR0_AVX) {
		query(0, 0xd, 2);
		assert_int_equal(out[EAX], 256);
		assert_int_equal(out[EBX], 576);
	}
	assert_false(guest_bit(1, 0, ECX, 27));
	cpu_state.cr4 = CR4_OSXSAVE;
	assert_true(guest_bit(1, 0, ECX, 27));
	cpu_state.cr4 = 0;
}

static void test_topology(void **state)
{
	static const unsigned counts[] = { 1, 2, 3, 4, 8, 13, 64 };

	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		unsigned n = counts[i], shift;

		cpuid_build(&table, n, NULL);
		query(n - 1, 0xb, 0);
		assert_int_equal(out[EAX], 0); /* one thread a core */
		assert_int_equal(out[ECX], 1 << 8);
		assert_int_equal(out[EDX], n - 1);
		query(n - 1, 0xb, 1);
		shift = out[EAX];
		assert_int_equal(out[EBX], n);
		assert_int_equal(out[ECX], 2 << 8 | 1);
		assert_int_equal(out[EDX], n - 1);
		assert_true(n <= 1u << shift && (n == 1 || n > 1u << (shift - 1)));
		query(n - 1, 0xb, 2);
		assert_int_equal(out[EAX] | out[EBX], 0);
		assert_int_equal(out[ECX], 2);

		query(n - 1, 1, 0);
		assert_int_equal(out[EBX] >> 24, n - 1);
		assert_int_equal(out[EBX] >> 16 & 0xff, n);
		assert_int_equal(out[EDX] >> 28 & 1, n > 1);
		query(0, 0x80000008, 0);
		assert_int_equal(out[ECX] & 0xff, n - 1);
		assert_int_equal(out[ECX] >> 12 & 0xf, shift);
		assert_int_equal(out[EAX], CPUID_PHYS_BITS | 48 << 8);
		query(n - 1, 0x8000001e, 0);
		assert_int_equal(out[EAX], n - 1);
		assert_int_equal(out[EBX], n - 1); /* threads a core - 1 in bits 15-8 */
		assert_int_equal(out[ECX], 0);
		query(0, 0x8000001d, 3);
		assert_int_equal(out[EAX] >> 14 & 0xfff, n - 1);
		assert_int_equal(out[EAX] & 0xff, 3 | 3 << 5);
		query(0, 0x8000001d, 4);
		assert_int_equal(out[EAX], 0);
	}
	cpuid_build(&table, 1, NULL);
}

/* Size of each cache as 0x8000001d and as the old leaves tell it. */
static void test_caches(void **state)
{
	uint32_t size[4];

	for (unsigned i = 0; i < 4; i++) {
		query(0, 0x8000001d, i);
		size[i] = ((out[EBX] >> 22) + 1) * ((out[EBX] & 0xfff) + 1) * (out[ECX] + 1);
	}
	query(0, 0x80000005, 0);
	assert_int_equal(out[ECX] >> 24, size[0] >> 10);
	assert_int_equal(out[EDX] >> 24, size[1] >> 10);
	query(0, 0x80000006, 0);
	assert_int_equal(out[ECX] >> 16, size[2] >> 10);
	assert_int_equal(out[EDX] >> 18, size[3] >> 19);
}

static void test_hypervisor(void **state)
{
	query(0, 0x40000000, 0);
	assert_memory_equal(&out[EBX], "KVMKVMKVM\0\0\0", 12);
	assert_true(out[EAX] >= 0x40000010);
	query(0, 0x40000001, 0);
	assert_int_equal(out[EAX], BIT(1) | BIT(3) | BIT(24));
	query(0, 0x40000010, 0);
	assert_int_equal(out[EAX], table.tsc_khz);
	assert_int_equal(out[EBX], CPUID_APIC_BUS_KHZ);
	/* 0x15 must say the same */
	query(0, 0x15, 0);
	assert_int_equal((uint64_t)out[ECX] * out[EBX] / out[EAX] / 1000, table.tsc_khz);
}

/* Right to a thousandth, over a time that is long against a scheduling hiccup. */
static void test_tsc_frequency(void **state)
{
	struct timespec a, b, nap = { .tv_nsec = 100000000 };
	uint64_t t0, t1, ns;

	clock_gettime(CLOCK_MONOTONIC_RAW, &a);
	t0 = __rdtsc();
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC_RAW, &b);
	t1 = __rdtsc();
	ns = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000 + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
	double khz = (double)(t1 - t0) * 1e6 / (double)ns;
	assert_true(khz > table.tsc_khz * 0.999 && khz < table.tsc_khz * 1.001);
}

/* A host without AVX, or whose kernel does not enable it; one without XSAVE at all; the plainest x86-64. */
static void test_lesser_hosts(void **state)
{
	static const enum cpu_feature avx[] = { CPU_AVX, CPU_AVX2, CPU_FMA, CPU_F16C, CPU_VAES, CPU_VPCLMUL };
	struct host_cpu host;

	cpuid_read_host(&host);
	host.xcr0 = XCR0_X87 | XCR0_SSE;
	cpuid_build_for(&table, 1, &host, 2000000);
	for (unsigned i = 0; i < sizeof(avx) / sizeof(avx[0]); i++)
		assert_false(cpuid_has(&table, avx[i]));
	assert_true(cpuid_has(&table, CPU_XSAVE) && cpuid_has(&table, CPU_XSAVES));
	assert_int_equal(table.xcr0, XCR0_X87 | XCR0_SSE);
	assert_false(guest_bit(1, 0, ECX, 28));
	assert_false(guest_bit(7, 0, EBX, 5));
	query(0, 0xd, 0);
	assert_int_equal(out[EAX], 3);
	assert_int_equal(out[ECX], 576);
	query(0, 0xd, 2);
	assert_int_equal(out[EAX], 0);

	host.xcr0 = 0;
	cpuid_build_for(&table, 1, &host, 2000000);
	assert_int_equal(table.xcr0, 0);
	for (unsigned f = 0; f < 4; f++) {
		static const enum cpu_feature xsave[] = { CPU_XSAVE, CPU_XSAVEOPT, CPU_XSAVEC, CPU_XSAVES };
		assert_false(cpuid_has(&table, xsave[f]));
	}
	assert_false(guest_bit(1, 0, ECX, 26));
	query(0, 0xd, 0);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	query(0, 0xd, 1);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);

	memset(&host, 0, sizeof(host));
	cpuid_build_for(&table, 1, &host, 2000000);
	for (unsigned f = 0; f < CPU_FSGSBASE; f++)
		assert_false(cpuid_has(&table, f));
	for (unsigned f = CPU_FSGSBASE; f <= CPU_SERIALIZE; f++)
		assert_true(cpuid_has(&table, f));
	test_required_by_distributions(state);
	test_no_mitigations(state);
	cpuid_build(&table, 1, NULL);
}

static int setup(void **state)
{
	cpuid_build(&table, 1, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vendor),
		cmocka_unit_test(test_no_mitigations),
		cmocka_unit_test(test_copied_features),
		cmocka_unit_test(test_never),
		cmocka_unit_test(test_required_by_distributions),
		cmocka_unit_test(test_xsave),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_caches),
		cmocka_unit_test(test_hypervisor),
		cmocka_unit_test(test_tsc_frequency),
		cmocka_unit_test(test_lesser_hosts),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
