/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUID tells the guest: a CPU model that stock kernels need no
 * mitigations for, cut down to what the host CPU has and the engines support.
 * See cpuid.c for which leaf says what and why.
 */
#ifndef LGUEST_CPU_CPUID_H
#define LGUEST_CPU_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct x86_state;

/* The local APIC's timer clock that leaves 0x15 and 0x40000010 announce. */
#define CPUID_APIC_BUS_KHZ 1000000u

/* Physical address bits (leaf 0x80000008): what CR3 and page tables may use. */
#define CPUID_PHYS_BITS 46u

/*
 * What the KVM leaf 0x40000001 offers. The platform implements exactly these:
 * port 0x80 needs no delay, kvm-clock by the MSRs 0x4b564d00 and 0x4b564d01,
 * and its clock is stable (one offset and scale for all vCPUs).
 */
#define KVM_FEATURE_NOP_IO_DELAY       (1u << 1)
#define KVM_FEATURE_CLOCKSOURCE2       (1u << 3)
#define KVM_FEATURE_CLOCKSOURCE_STABLE (1u << 24)
#define CPUID_KVM_FEATURES \
	(KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_CLOCKSOURCE_STABLE)

/*
 * Groups of instructions that a CPU may lack. Those that the soft engine
 * copies are offered when the host has them, the ones it emulates always, and
 * the last block never. What is not offered raises #UD.
 */
/* clang-format off */
enum cpu_feature {
	/* copied: the host decides */
	CPU_SSE3, CPU_PCLMUL, CPU_SSSE3, CPU_FMA, CPU_CX16, CPU_SSE41, CPU_SSE42, CPU_MOVBE, CPU_POPCNT,
	CPU_AES, CPU_XSAVE, CPU_AVX, CPU_F16C, CPU_RDRAND, CPU_LAHF, CPU_LZCNT, CPU_PREFETCHW, CPU_BMI1,
	CPU_AVX2, CPU_BMI2, CPU_RDSEED, CPU_ADX, CPU_CLFLUSHOPT, CPU_CLWB, CPU_SHA, CPU_VAES, CPU_VPCLMUL,
	CPU_XGETBV1, CPU_MISALIGNSSE,
	/* emulated: always there, those about XSAVE with CPU_XSAVE */
	CPU_FSGSBASE, CPU_INVPCID, CPU_RDTSCP, CPU_RDPID, CPU_SMAP, CPU_SERIALIZE, CPU_XSAVEOPT,
	CPU_XSAVEC, CPU_XSAVES,
	/* never offered */
	CPU_GFNI, CPU_SSE4A, CPU_XOP, CPU_FMA4, CPU_TBM, CPU_LWP, CPU_3DNOW, CPU_AVX512, CPU_AVX_VNNI,
	CPU_RTM, CPU_MPX, CPU_PKU, CPU_AMX, CPU_SVM, CPU_VMX, CPU_MONITOR, CPU_MONITORX, CPU_CLZERO,
	CPU_RDPRU, CPU_WBNOINVD, CPU_MCOMMIT, CPU_INVLPGB, CPU_WAITPKG, CPU_MOVDIRI, CPU_MOVDIR64B,
	CPU_ENQCMD, CPU_PTWRITE, CPU_UINTR, CPU_KEYLOCKER, CPU_HRESET,
	CPU_FEATURE_COUNT
};
/* clang-format on */

struct cpuid_entry {
	uint32_t leaf, subleaf;
	bool per_subleaf; /* @subleaf counts; else the leaf ignores ECX */
	uint32_t eax, ebx, ecx, edx;
};

#define CPUID_MAX_ENTRIES 64

struct cpuid_table {
	unsigned count;
	struct cpuid_entry entry[CPUID_MAX_ENTRIES];
	uint32_t tsc_khz; /* frequency of the host's, and so the guest's, TSC */
	uint32_t xcr0;    /* the bits that XCR0 may have; 0: no XSAVE */
	uint64_t features[(CPU_FEATURE_COUNT + 63) / 64];
};

/* Is this group of instructions offered? Callable from fast C. */
static inline bool cpuid_has(const struct cpuid_table *t, enum cpu_feature f)
{
	return t->features[f / 64] >> (f % 64) & 1;
}

struct tsc_moment;

/*
 * Builds the table for a guest of @vcpus CPUs on this host. @since: see tsc_frequency_khz().
 */
void cpuid_build(struct cpuid_table *t, unsigned vcpus, const struct tsc_moment *since);

/*
 * The same in two steps, for tests of other hosts than this one. Registers in
 * the order EAX EBX ECX EDX; leaves that the host lacks are zero; xcr0 as its
 * kernel has set it, 0 without OSXSAVE.
 */
struct host_cpu {
	uint32_t leaf1[4], leaf7[4], leafd1[4], ext1[4];
	uint64_t xcr0;
};
void cpuid_read_host(struct host_cpu *h);
void cpuid_build_for(struct cpuid_table *t, unsigned vcpus, const struct host_cpu *host, uint32_t tsc_khz);

/*
 * Executes CPUID for @leaf/@subleaf: out[] = EAX EBX ECX EDX. The bits that
 * mirror state (OSXSAVE, APIC id, size of the enabled XSAVE area) are filled
 * from @s and @cpu. Unknown basic leaves answer as the highest basic leaf of
 * an AMD CPU does: all zero.
 */
void cpuid_query(const struct cpuid_table *t, const struct x86_state *s, unsigned cpu, uint32_t leaf,
		 uint32_t subleaf, uint32_t out[4]);

#endif
