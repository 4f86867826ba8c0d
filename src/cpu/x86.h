/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names for the architectural constants of x86 (Intel SDM vol. 3 and 4, AMD
 * APM vol. 2). Only what the program uses.
 */
#ifndef LGUEST_CPU_X86_H
#define LGUEST_CPU_X86_H

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u
#define PAGE_MASK  (~(uint64_t)(PAGE_SIZE - 1))

/* RFLAGS */
#define FLAG_CF    0x00000001u
#define FLAG_ONE   0x00000002u
#define FLAG_PF    0x00000004u
#define FLAG_AF    0x00000010u
#define FLAG_ZF    0x00000040u
#define FLAG_SF    0x00000080u
#define FLAG_TF    0x00000100u
#define FLAG_IF    0x00000200u
#define FLAG_DF    0x00000400u
#define FLAG_OF    0x00000800u
#define FLAG_IOPL  0x00003000u
#define FLAG_NT    0x00004000u
#define FLAG_RF    0x00010000u
#define FLAG_VM    0x00020000u
#define FLAG_AC    0x00040000u
#define FLAG_VIF   0x00080000u
#define FLAG_VIP   0x00100000u
#define FLAG_ID    0x00200000u
#define FLAG_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)

#define EFER_SCE    (1u << 0)
#define EFER_LME    (1u << 8)
#define EFER_LMA    (1u << 10)
#define EFER_NXE    (1u << 11)
#define EFER_SVME   (1u << 12)
#define EFER_FFXSR  (1u << 14)
#define EFER_AIBRSE (1u << 21)

#define XCR0_X87 1u
#define XCR0_SSE 2u
#define XCR0_AVX 4u

/* Exception vectors */
enum x86_vector {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XM = 19,
};

/* Page-fault error code (SDM vol. 3, 4.7) */
#define PFERR_P    0x01u
#define PFERR_W    0x02u
#define PFERR_U    0x04u
#define PFERR_RSVD 0x08u
#define PFERR_I    0x10u

#endif
