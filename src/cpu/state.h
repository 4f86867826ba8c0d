/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The architectural state of one guest CPU, as the manuals name it, and
 * nothing else: no host pointers, no file descriptors, no engine bookkeeping.
 * An engine may keep a richer struct of its own with this one inside it; a
 * snapshot of a vCPU is a copy of this struct.
 *
 * Register numbering follows the instruction encoding (Intel SDM vol. 2,
 * table 2-2): RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.
 */
#ifndef LGUEST_CPU_STATE_H
#define LGUEST_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum x86_reg {
	/* clang-format off */
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	/* clang-format on */
};

/* Segment register numbering as in the encoding of MOV Sreg. */
enum x86_segreg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/*
 * A segment register with its hidden part. @attr has the layout of bytes 5
 * and 6 of a descriptor (SDM vol. 3, 3.4.5): type in bits 0-3, S bit 4, DPL
 * bits 5-6, P bit 7, AVL bit 12, L bit 13, D/B bit 14, G bit 15. @limit is
 * already scaled to bytes. A null selector has P clear.
 */
struct x86_seg {
	uint16_t sel;
	uint16_t attr;
	uint32_t limit;
	uint64_t base;
};

#define SEG_ATTR_TYPE      0x000f
#define SEG_ATTR_S         0x0010
#define SEG_ATTR_DPL_SHIFT 5
#define SEG_ATTR_DPL       0x0060
#define SEG_ATTR_P         0x0080
#define SEG_ATTR_L         0x2000
#define SEG_ATTR_DB        0x4000
#define SEG_ATTR_G         0x8000

struct x86_dtr {
	uint64_t base;
	uint16_t limit;
};

/* XSAVE area, standard format, for x87 | SSE | AVX: 512 + 64 + 256 bytes. */
#define X86_XSAVE_SIZE 832

struct x86_state {
	uint64_t regs[16];
	uint64_t rip;
	/*
	 * RFLAGS in the architectural layout. While translated code runs, the
	 * soft engine keeps some bits elsewhere; outside of engine code this
	 * field is complete.
	 */
	uint64_t rflags;

	struct x86_seg seg[SEG_COUNT];
	struct x86_seg ldtr, tr;
	struct x86_dtr gdtr, idtr;

	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t xcr0;
	uint64_t dr[8]; /* 4 and 5 unused */

	/* MSRs that belong to the CPU proper, not to its local APIC. */
	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux, pat, misc_enable, spec_ctrl, xss;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
	uint64_t mtrr_def_type;

	/*
	 * Interrupt shadow: the instruction before this one was STI or
	 * MOV/POP SS, so no external interrupt is taken now (SDM vol. 3,
	 * 6.8.3). @halted: HLT was executed and no event has ended it.
	 */
	bool int_shadow;
	bool halted;
	/* NMIs are blocked until IRET. */
	bool nmi_blocked;

	uint8_t xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));
};

#endif
