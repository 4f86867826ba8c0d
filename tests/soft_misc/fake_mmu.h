/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A soft_cpu without an engine, for tests of the instructions that work on
 * vector state, ports and system registers.
 *
 * Its linear memory is a few pages at a fixed low address of this very
 * process, so that the CPU itself can run the same instruction on the same
 * addresses. Each page can be read-only or not present for the handlers.
 * The fakes are fast C: they may run with a guest's vector state live.
 */
#ifndef LGUEST_TEST_FAKE_MMU_H
#define LGUEST_TEST_FAKE_MMU_H

#include "cpu/cpuid.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

#define FAKE_BASE  0x20000000u
#define FAKE_PAGES 16u
#define FAKE_SIZE  (FAKE_PAGES * PAGE_SIZE)

enum { PAGE_NONE, PAGE_RO, PAGE_RW };

/* What the fakes saw; the state of the fake machine. */
struct fake {
	uint8_t page[FAKE_PAGES];
	unsigned flush_all, flush_nonglobal, invlpg;
	uint64_t invlpg_lin;
	unsigned switches, old_pcid, new_pcid, forgets, forgotten;
	bool keep;
	unsigned parked; /* depth now */
	unsigned park_calls;
	unsigned reads, writes, system_reads;

	/* ports: 0x1000 up are a log of writes; reads count up */
	unsigned port_reads, port_writes;
	uint16_t last_port;
	unsigned last_size;
	uint32_t port_sum, next_in;
	uint8_t tpr;
	uint32_t msr_accepted; /* the one MSR that the machine has */
	uint64_t msr_value;
	bool bus_unparked; /* a bus call came without fpu_park() */
};

extern struct fake fake;

/* Maps the pages (zeroed, all writable) and makes a CPU of the kind. */
enum cpu_kind { CPU_64, CPU_32, CPU_16 };
void fake_init(struct soft_cpu *c, const struct cpuid_table *t, enum cpu_kind kind, unsigned cpl);
void fake_machine(struct vcpu_bus *bus);

static inline uint8_t *at(uint64_t lin)
{
	uint8_t *p = (uint8_t *)(uintptr_t)lin;

	/* No object that the compiler knows of lives there. */
	__asm__("" : "+r"(p));
	return p;
}

/* An operand [base register @base + @disp], and one that is no more than an address. */
static inline struct sysop op_at(uint64_t lin, unsigned opsize)
{
	return (struct sysop){ .opsize = (uint8_t)opsize,
			       .adsize = 8,
			       .len = 4,
			       .rm = OPERAND_NONE,
			       .seg = SEG_DS,
			       .base = OPERAND_NONE,
			       .index = OPERAND_NONE,
			       .scale = 1,
			       .disp = (int32_t)lin };
}

/* x87, SSE and AVX state as XSAVE has it. */
struct vstate {
	uint8_t legacy[512];
	uint64_t xstate_bv, xcomp_bv, reserved[6];
	uint8_t ymmh[256];
} __attribute__((aligned(64)));

/*
 * Loads @v into the CPU, runs the handler, and puts what the CPU then holds
 * into @v: standard format, XSTATE_BV says what is not in its initial state.
 */
enum soft_next run_live(struct vstate *v, sysop_fn *fn, struct soft_cpu *c, const struct sysop *op);
/* The same for a function of the test's own. */
void run_native(struct vstate *v, void (*fn)(void *), void *arg);

#endif
