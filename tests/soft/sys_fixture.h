/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A soft_cpu without an engine, for tests of the system instructions: its
 * linear memory is one flat array behind fake versions of soft_read() and
 * soft_write(), so a test sees exactly what a handler touches and with which
 * rights. Supervisor pages come first, user pages from FIX_USER on; beyond
 * FIX_SIZE nothing is mapped.
 */
#ifndef LGUEST_TEST_SYS_FIXTURE_H
#define LGUEST_TEST_SYS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "engine/soft/event.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

#define FIX_GDT    0x1000u
#define FIX_IDT    0x2000u
#define FIX_LDT    0x3000u
#define FIX_TSS    0x4000u
#define FIX_KSTACK 0x9000u /* tops of stacks */
#define FIX_STACK1 0xa000u
#define FIX_IST1   0xb000u
#define FIX_IST7   0xc000u
#define FIX_DATA   0x10000u
#define FIX_USER   0x20000u
#define FIX_USTACK 0x24000u
#define FIX_UDATA  0x28000u
#define FIX_SIZE   0x40000u
#define FIX_HIGH   0xffff888000000000ull /* the same memory again */

/* Selectors in the GDT; 1 to 6 as Linux has them. */
enum {
	K_CODE32 = 0x08,
	K_CODE = 0x10,
	K_DATA = 0x18,
	U_CODE32 = 0x20 | 3,
	U_DATA = 0x28 | 3,
	U_CODE = 0x30 | 3,
	TSS64 = 0x40,
	LDT64 = 0x50,
	TSS32 = 0x60,
	LDT32 = 0x68,
	K_CODE16 = 0x70,
	U_STACK16 = 0x78 | 3,
	K_DOWN = 0x80,
	U_RODATA = 0x88 | 3,
	U_XONLY = 0x90 | 3,
	CONFORMING32 = 0x98,
	U_DATA_NP = 0xa0 | 3,
	K_CODE_NP = 0xa8,
	GATE = 0xb0,
	CODE1 = 0xc0 | 1,
	DATA1 = 0xc8 | 1,
	TASK_GATE = 0xd0,
	K_STACK16 = 0xd8,
	CONFORMING = 0xe0,
	K_SMALL = 0xe8,
	CODE_LD = 0xf0,
	U_STACK_NP = 0xf8 | 3,
	TSS16 = 0x100,
	U_BASED = 0x108 | 3,
	GDT_END = 0x110,
};

/* Mode of a fresh CPU. */
enum fix_mode { LONG64, COMPAT32, LEGACY32, LEGACY16 };

struct fix {
	struct soft_cpu c;
	uint8_t mem[FIX_SIZE];
	uint64_t fault_at;    /* accesses that include this address fault; 0: none */
	bool fault_writes;    /* only writes do */
	int parked;           /* depth of fpu_park() */
	unsigned flushes;     /* calls of mmu_flush_nonglobal() */
	unsigned accesses;    /* calls of soft_read() and soft_write() */
	unsigned fail_access; /* the call that faults, counted from 1; 0: none */
	unsigned writes;      /* calls of soft_write() that succeeded */
	uint32_t last_how;
};

extern struct fix fix;

/* All tables in place, RIP at FIX_DATA, next_rip 2 behind it, RSP at the stack of the level. */
void fix_init(enum fix_mode mode, unsigned cpl);
/* The same, with memory other than the GDT and the TSS stacks left as it was. */
void fix_init_cpu(enum fix_mode mode, unsigned cpl);

void fix_gdt(unsigned sel, uint64_t desc);
uint64_t fix_desc(uint32_t base, uint32_t limit20, uint16_t attr);
/* An IDT entry in the format of the current mode; @type with P and DPL in the attr layout. */
void fix_gate(unsigned vector, uint16_t sel, uint16_t attr, unsigned ist, uint64_t offset);

void put(uint64_t at, uint64_t val, unsigned size);
uint64_t get(uint64_t at, unsigned size);

/* Runs a handler; when it faults, checks that no guest register has changed. */
enum soft_next run(sysop_fn *fn, const struct sysop *op);

/* Runs @fn, which must raise this; @error < 0: without an error code. */
void run_faults(sysop_fn *fn, const struct sysop *op, unsigned vector, int error);

/* Operands */
struct sysop op_none(unsigned size);
struct sysop op_reg(unsigned size, unsigned reg, unsigned rm);
struct sysop op_mem(unsigned size, unsigned reg, uint32_t addr);

#endif
