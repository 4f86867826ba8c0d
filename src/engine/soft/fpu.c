// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's vector and x87 state stays live in the host's registers while
 * fast C runs. Ordinary C wants those registers for itself: park, call,
 * unpark. About 60 ns for the pair.
 */
#include "engine/soft/fpu.h"

#include "cpu/cpuid.h"
#include "engine/soft/cpu.h"

#define DEFAULT_MXCSR 0x1f80u

void fpu_park(struct soft_cpu *c)
{
	uint32_t mxcsr = DEFAULT_MXCSR;
	uint32_t mask = c->cpuid->xcr0;

	if (c->fpu_depth++)
		return;
	if (mask)
		__asm__ volatile("xsave64 %0" : "+m"(c->s.xsave) : "a"(mask), "d"(0));
	else
		__asm__ volatile("fxsave64 %0" : "=m"(c->s.xsave));
	if (mask & XCR0_AVX)
		__asm__ volatile("vzeroupper");
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

void fpu_unpark(struct soft_cpu *c)
{
	uint32_t mask = c->cpuid->xcr0;

	if (--c->fpu_depth)
		return;
	if (mask)
		__asm__ volatile("xrstor64 %0" : : "m"(c->s.xsave), "a"(mask), "d"(0));
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(c->s.xsave));
}
