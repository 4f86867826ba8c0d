/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one CPU (Intel SDM vol. 3, chapter 10; AMD APM vol. 2,
 * chapter 16): the CPU's interrupt inbox, its priorities and its timer.
 *
 * Threads: everything belongs to the vCPU's own thread, without a lock, but
 * for lapic_post() and lapic_matches(), which any thread may call. Posted
 * vectors wait in an atomic mailbox until their owner looks.
 *
 * Time is the guest's TSC, handed in by the caller: the model reads no clock
 * and arms no timer. The caller asks lapic_deadline() when to come back.
 */
#ifndef LGUEST_PLATFORM_LAPIC_H
#define LGUEST_PLATFORM_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define LAPIC_MMIO_SIZE    0x1000u
/*
 * The timer's input clock before the divider. Must agree with the frequency
 * that CPUID leaf 0x40000010 announces. 1 GHz: a tick is a nanosecond.
 */
#define LAPIC_BUS_KHZ 1000000u

#define LAPIC_NO_DEADLINE UINT64_MAX

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8ffu

#define APIC_BASE_BSP    (1u << 8)
#define APIC_BASE_X2APIC (1u << 10)
#define APIC_BASE_ENABLE (1u << 11)

/* Register offsets in the MMIO page; an x2APIC MSR is 0x800 + offset / 16. */
enum lapic_reg {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_TPR = 0x80,
	LAPIC_APR = 0x90,
	LAPIC_PPR = 0xa0,
	LAPIC_EOI = 0xb0,
	LAPIC_RRD = 0xc0,
	LAPIC_LDR = 0xd0,
	LAPIC_DFR = 0xe0,
	LAPIC_SVR = 0xf0,
	LAPIC_ISR = 0x100,
	LAPIC_TMR = 0x180,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_ICR = 0x300,
	LAPIC_ICR2 = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_THERMAL = 0x330,
	LAPIC_LVT_PERF = 0x340,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_TMICT = 0x380,
	LAPIC_TMCCT = 0x390,
	LAPIC_TDCR = 0x3e0,
	LAPIC_SELF_IPI = 0x3f0,
};

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_MASKED       (1u << 16)
#define LVT_TIMER_MODE   (3u << 17)
#define LVT_ONE_SHOT     (0u << 17)
#define LVT_PERIODIC     (1u << 17)
#define LVT_TSC_DEADLINE (2u << 17)

#define SVR_ENABLE (1u << 8)

#define ESR_SEND_ILLEGAL     (1u << 5)
#define ESR_RECEIVED_ILLEGAL (1u << 6)
#define ESR_ILLEGAL_REGISTER (1u << 7)

#define ICR_VECTOR       0xffu
#define ICR_MODE         (7u << 8)
#define ICR_MODE_FIXED   (0u << 8)
#define ICR_MODE_LOWEST  (1u << 8)
#define ICR_MODE_SMI     (2u << 8)
#define ICR_MODE_NMI     (4u << 8)
#define ICR_MODE_INIT    (5u << 8)
#define ICR_MODE_STARTUP (6u << 8)
#define ICR_LOGICAL      (1u << 11)
#define ICR_ASSERT       (1u << 14)
#define ICR_LEVEL        (1u << 15)
#define ICR_SHORTHAND    (3u << 18)
#define ICR_TO_SELF      (1u << 18)
#define ICR_TO_ALL       (2u << 18)
#define ICR_TO_OTHERS    (3u << 18)

/* What the guest can see: plain data. */
struct lapic_state {
	uint64_t apic_base;
	uint32_t id;
	uint32_t tpr, svr, ldr, dfr; /* ldr, dfr: as xAPIC has them */
	uint32_t esr, esr_pending;
	uint32_t icr, icr2;
	uint32_t lvt[LVT_COUNT];
	uint32_t tmict, tdcr;
	uint64_t irr[4], isr[4], tmr[4]; /* vector v: bit v % 64 of word v / 64 */
	uint64_t tsc_deadline;           /* 0: disarmed */
	uint64_t timer_expires;          /* TSC at which the count reaches zero; 0: not counting */
};

struct lapic_ops {
	/* EOI of a level-triggered @vector: for the I/O APICs. */
	void (*eoi)(void *opaque, uint8_t vector);
	/* An interprocessor interrupt; @dest as wide as the mode has it (x2APIC: 32 bits). */
	void (*ipi)(void *opaque, unsigned from, uint32_t icr, uint32_t dest);
};

struct lapic {
	struct lapic_state s;
	unsigned index;
	uint32_t tsc_khz;
	const struct lapic_ops *ops;
	void *opaque;
	/* The mailbox: vectors on their way in; @posted is set behind them. */
	_Atomic uint64_t post_edge[4], post_level[4];
	_Atomic bool posted;
};

/* @ops and @opaque outlive the APIC. The state is that after lapic_reset(). */
void lapic_init(struct lapic *l, unsigned index, uint32_t tsc_khz, const struct lapic_ops *ops, void *opaque);

/* Power-up state (SDM vol. 3, 10.4.7.1), mailbox empty. */
void lapic_reset(struct lapic *l);

/* Is the MMIO page in force, and does @addr lie in it? */
bool lapic_claims(const struct lapic *l, uint64_t addr);

/* Accesses to the MMIO page: @offset below LAPIC_MMIO_SIZE. */
uint64_t lapic_mmio_read(struct lapic *l, uint32_t offset, unsigned size, uint64_t now);
void lapic_mmio_write(struct lapic *l, uint32_t offset, unsigned size, uint64_t val, uint64_t now);

/*
 * MSR_APIC_BASE, MSR_TSC_DEADLINE and the x2APIC range. False: #GP(0). After
 * any write the caller looks at lapic_pending() and lapic_deadline() anew.
 */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val, uint64_t now);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val, uint64_t now);

static inline uint8_t lapic_tpr_read(const struct lapic *l)
{
	return l->s.tpr;
}

void lapic_tpr_write(struct lapic *l, uint8_t tpr);

/* Any thread: an interrupt message for this CPU. The caller wakes the vCPU. */
void lapic_post(struct lapic *l, uint8_t vector, bool level);

/* Any thread: is this CPU among the addressees (SDM vol. 3, 10.6.2)? */
bool lapic_matches(const struct lapic *l, uint32_t dest, bool logical, bool from_x2apic);

/* The vector that would be delivered now, or -1. */
int lapic_pending(struct lapic *l);

/* Takes that interrupt: moves it from IRR to ISR. Its vector, or -1. */
int lapic_accept(struct lapic *l);

/* TSC at which lapic_run_timer() has something to do, or LAPIC_NO_DEADLINE. */
uint64_t lapic_deadline(const struct lapic *l);

/* Raises the timer interrupt when it is due at TSC @now. */
void lapic_run_timer(struct lapic *l, uint64_t now);

#endif
