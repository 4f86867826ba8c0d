/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One virtual CPU of the soft engine.
 *
 * While translated code runs, the host's GS base points at this struct, so
 * that `gs:[offset]` reaches any field without a register. The guest's
 * registers live in the host's registers of the same name, except R9, R10 and
 * R11, which translated code keeps in s.regs[] and uses as scratch. The
 * guest's vector and x87 state is live in the host's registers.
 *
 * "Fast C" is everything that runs with that state live: it is compiled with
 * -mgeneral-regs-only and calls no libc (design.md section 3). All of
 * engine/soft is fast C but translate*.c, engine.c and signal.c. To call
 * ordinary C (the machine, the translator), fast C goes through fpu_park() and
 * fpu_unpark() (fpu.h).
 */
#ifndef LGUEST_SOFT_CPU_H
#define LGUEST_SOFT_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/state.h"
#include "cpu/x86.h"
#include "engine/engine.h"

struct soft_engine;
struct cpuid_table;

/*
 * The mode word: everything besides the bytes themselves that decides what an
 * instruction means. Blocks are keyed by (physical address, mode word).
 * cpu_update_mode() recomputes it; call it after any change to CS, SS, DS, ES,
 * FS, GS (hidden parts), CPL, CR0, CR4, XCR0, EFER, DR7, RFLAGS.{TF,DF,AC}.
 */
#define MODE_CS64       (1u << 0) /* 64-bit code (CS.L and EFER.LMA) */
#define MODE_CS32       (1u << 1) /* 32-bit code (CS.D); neither: 16-bit */
#define MODE_SS32       (1u << 2) /* 32-bit stack (SS.B); ignored in 64-bit code */
#define MODE_USER       (1u << 3) /* CPL 3 */
#define MODE_AC         (1u << 4) /* supervisor code that may touch user pages (SMAP off or RFLAGS.AC) */
#define MODE_TF         (1u << 5) /* single step: one instruction a block */
#define MODE_DF         (1u << 6) /* RFLAGS.DF is set: string instructions go down */
#define MODE_NOFPU      (1u << 7) /* CR0.EM or CR0.TS: #NM for x87 (WAIT: see MP) and, with TS, for SSE/AVX */
#define MODE_EM         (1u << 8) /* CR0.EM: SSE is #UD */
#define MODE_NOSSE      (1u << 9) /* CR4.OSFXSR clear: SSE is #UD */
#define MODE_NOAVX      (1u << 10) /* CR4.OSXSAVE clear or XCR0 lacks AVX: VEX is #UD */
#define MODE_HWBP       (1u << 11) /* an execution breakpoint or data watch is armed in DR7 */
#define MODE_CSBASE     (1u << 12) /* CS.base is not 0 */
#define MODE_BASE_SHIFT 13         /* 3 bits: SS, DS, ES have a base that is not 0 (bit order ES, SS, DS) */
#define MODE_BASE_ES    (1u << 13)
#define MODE_BASE_SS    (1u << 14)
#define MODE_BASE_DS    (1u << 15)
/* The segment does not span 4 GiB read/write: each access is checked. 6 bits, x86_segreg order. */
#define MODE_CHECK_SHIFT 16
#define MODE_CHECK(seg)  (1u << (MODE_CHECK_SHIFT + (seg)))
#define MODE_WAIT_NM     (1u << 22) /* CR0.MP and CR0.TS: WAIT raises #NM */
#define MODE_TSD         (1u << 24) /* CR4.TSD and CPL > 0: RDTSC is checked in C */
#define MODE_CPL0        (1u << 25) /* CPL 0: privileged instructions need no check */
#define MODE_SMAP        (1u << 26) /* supervisor code with CR4.SMAP: MODE_AC follows RFLAGS.AC */
/* Blocks only, never in soft_cpu.mode: each memory access is checked by itself (translate_group.c). */
#define MODE_UNGROUPED (1u << 27)
#define MODE_VM86      (1u << 23) /* RFLAGS.VM (unsupported: translation refuses) */

/*
 * Which of the three views of the guest's linear memory an access uses. Pages
 * enter a view's TLB only when code in that view may touch them.
 */
enum tlb_view { VIEW_KERNEL, VIEW_KERNEL_AC, VIEW_USER, VIEW_COUNT };

static inline enum tlb_view mode_view(uint32_t mode)
{
	return mode & MODE_USER ? VIEW_USER : mode & MODE_AC ? VIEW_KERNEL_AC : VIEW_KERNEL;
}

/* An exception on its way to the guest. */
struct soft_fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* VEC_PF only */
};

/* What a helper wants to happen next. */
enum soft_next {
	NEXT_CONTINUE, /* go on behind this instruction, same mode, same block */
	NEXT_DISPATCH, /* s.rip and the mode word tell where to go on */
	NEXT_FAULT,    /* deliver cpu->fault; s.rip is the faulting instruction */
};

struct soft_cpu {
	struct x86_state s;

	/*
	 * Arithmetic flags as LAHF and SETO leave them in AX: OF in bit 0, then
	 * SF ZF - AF - PF - CF in bits 15..8. Complete whenever C runs.
	 */
	uint16_t aflags;
	uint8_t iflag; /* RFLAGS.IF, 0 or 1 */
	uint8_t cpl;
	uint32_t mode; /* MODE_* */
	/*
	 * RFLAGS without the arithmetic bits and IF. s.rflags is stale while
	 * the vCPU runs: use cpu_get_rflags() and cpu_set_rflags().
	 */
	uint32_t sysflags;

	/*
	 * Not 0: leave translated code at the next block entry. Set by kicks
	 * (any thread) and by whoever makes an interrupt deliverable.
	 */
	volatile uint32_t exit_request __attribute__((aligned(8)));
	/*
	 * Right behind it, so that blocks test both at once: STI has opened the
	 * door for a waiting interrupt. Written by the vCPU's thread only.
	 */
	uint32_t irq_open;
	/* An interrupt waits for IF: when IF becomes 1, set exit_request or irq_open. */
	volatile uint8_t irq_waiting;

	uint64_t next_rip; /* helpers: s.rip is this instruction, this the next */
	struct soft_fault fault;

	unsigned index; /* which vCPU */
	struct vcpu_bus bus;
	const struct cpuid_table *cpuid;
	struct soft_engine *engine;

	unsigned fpu_depth; /* nesting of fpu_park() */

	/* The CPU shut down (triple fault), or the machine said stop. */
	bool shutdown;
	bool stop;
};

static inline uint64_t cpu_get_rflags(const struct soft_cpu *c)
{
	uint32_t lahf = c->aflags >> 8;

	return c->sysflags | FLAG_ONE | (c->iflag ? FLAG_IF : 0) |
	       (lahf & (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)) | ((c->aflags & 1) ? FLAG_OF : 0);
}

/* Sets all of RFLAGS; the caller has masked what may change. */
void cpu_set_rflags(struct soft_cpu *c, uint64_t rflags);

void cpu_update_mode(struct soft_cpu *c);

static inline enum soft_next soft_raise(struct soft_cpu *c, uint8_t vector, bool has_error, uint32_t error)
{
	c->fault = (struct soft_fault){ .vector = vector, .has_error = has_error, .error = error };
	return NEXT_FAULT;
}

static inline enum soft_next soft_gp(struct soft_cpu *c, uint32_t error)
{
	return soft_raise(c, VEC_GP, true, error);
}

static inline enum soft_next soft_ud(struct soft_cpu *c)
{
	return soft_raise(c, VEC_UD, false, 0);
}

static inline bool cpu_long_mode(const struct soft_cpu *c)
{
	return c->s.efer & EFER_LMA;
}

/* 48-bit canonical form (no LA57). */
static inline bool soft_canonical(uint64_t lin)
{
	return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}

#endif
