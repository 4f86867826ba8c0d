/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst): the
 * guest names a place in its memory, and finds there how to turn TSC into
 * nanoseconds since its start. So it has nothing to calibrate.
 *
 * Guest TSC and host TSC tick alike for ever, so one scale holds for the whole
 * run: the page is written when the guest asks and never again.
 */
#ifndef LGUEST_PLATFORM_PVCLOCK_H
#define LGUEST_PLATFORM_PVCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct guest_memory;

#define MSR_KVM_WALL_CLOCK      0x11u /* the old numbers of the same two */
#define MSR_KVM_SYSTEM_TIME     0x12u
#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u

/* ns = ((tsc shifted left by @shift, right if negative) * @mul) >> 32 */
struct pvclock_scale {
	uint32_t mul;
	int8_t shift;
};

struct pvclock_state {
	uint64_t start_tsc; /* guest time zero */
	uint64_t wall;      /* last value of the wall clock MSR */
	uint32_t wall_version;
};

struct pvclock_cpu_state {
	uint64_t system_time; /* last value of the system time MSR */
	uint32_t version;
};

struct pvclock_scale pvclock_make_scale(uint32_t tsc_khz);
uint64_t pvclock_to_ns(struct pvclock_scale scale, uint64_t tsc);

/*
 * The guest's WRMSR. An address outside RAM is kept, and nothing written. @now
 * is the guest's TSC.
 */
void pvclock_write_system_time(struct pvclock_cpu_state *cpu, const struct pvclock_state *clock,
			       struct pvclock_scale scale, const struct guest_memory *mem, uint64_t val,
			       uint64_t now);
void pvclock_write_wall(struct pvclock_state *clock, struct pvclock_scale scale,
			const struct guest_memory *mem, uint64_t val, uint64_t now);

#endif
