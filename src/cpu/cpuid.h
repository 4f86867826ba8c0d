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
};

/* Builds the table for a guest of @vcpus CPUs on this host. */
void cpuid_build(struct cpuid_table *t, unsigned vcpus);

/*
 * Executes CPUID for @leaf/@subleaf: out[] = EAX EBX ECX EDX. The bits that
 * mirror state (OSXSAVE, APIC id, size of the enabled XSAVE area) are filled
 * from @s and @cpu. Unknown basic leaves answer as the highest basic leaf of
 * an AMD CPU does: all zero.
 */
void cpuid_query(const struct cpuid_table *t, const struct x86_state *s, unsigned cpu, uint32_t leaf,
		 uint32_t subleaf, uint32_t out[4]);

#endif
