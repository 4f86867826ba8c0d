/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that translated code hands to C: everything privileged, what
 * touches segments, and the few that cannot be copied. The translator decodes
 * them once into a struct sysop; the handler finds all registers in c->s.regs,
 * s.rip at the instruction, next_rip behind it.
 *
 * One line per operation, in one place: X(NAME, handler).
 */
#ifndef LGUEST_SOFT_SYSOP_H
#define LGUEST_SOFT_SYSOP_H

#include "engine/soft/cpu.h"

/* clang-format off */
#define SYSOP_LIST(X) \
	/* segments: sys_segment.c */ \
	X(MOV_TO_SREG, sys_mov_to_sreg)      /* reg = segreg; operand rm */ \
	X(MOV_FROM_SREG, sys_mov_from_sreg)  /* reg = segreg; operand rm */ \
	X(PUSH_SREG, sys_push_sreg)          /* reg = segreg */ \
	X(POP_SREG, sys_pop_sreg)            /* reg = segreg */ \
	X(LOAD_FAR, sys_load_far)            /* LDS LES LFS LGS LSS: aux = segreg, reg = gpr, mem */ \
	X(LAR, sys_lar) X(LSL, sys_lsl) X(VERR, sys_verr) X(VERW, sys_verw) X(ARPL, sys_arpl) \
	X(LGDT, sys_lgdt) X(LIDT, sys_lidt) X(SGDT, sys_sgdt) X(SIDT, sys_sidt) \
	X(LLDT, sys_lldt) X(SLDT, sys_sldt) X(LTR, sys_ltr) X(STR, sys_str) \
	/* control transfers: sys_transfer.c */ \
	X(JMP_FAR, sys_jmp_far)              /* mem; ptr16:32 is read from bytes[] */ \
	X(CALL_FAR, sys_call_far) \
	X(RET_FAR, sys_ret_far)              /* imm = bytes to release */ \
	X(IRET, sys_iret) \
	X(INT, sys_int)                      /* imm = vector */ \
	X(INT3, sys_int3) X(INT1, sys_int1) X(INTO, sys_into) X(BOUND, sys_bound) \
	X(SYSCALL, sys_syscall) X(SYSRET, sys_sysret) \
	X(SYSENTER, sys_sysenter) X(SYSEXIT, sys_sysexit) \
	/* flags: sys_flags.c */ \
	X(CLI, sys_cli) X(STI, sys_sti) X(PUSHF, sys_pushf) X(POPF, sys_popf) \
	X(CLAC, sys_clac) X(STAC, sys_stac) X(STD, sys_std) X(CLD, sys_cld) \
	/* control, debug and model-specific registers: sys_control.c */ \
	X(MOV_FROM_CR, sys_mov_from_cr)      /* reg = CR, rm = gpr */ \
	X(MOV_TO_CR, sys_mov_to_cr) \
	X(MOV_FROM_DR, sys_mov_from_dr) X(MOV_TO_DR, sys_mov_to_dr) \
	X(CLTS, sys_clts) X(LMSW, sys_lmsw) X(SMSW, sys_smsw) \
	X(RDMSR, sys_rdmsr) X(WRMSR, sys_wrmsr) X(XGETBV, sys_xgetbv) X(XSETBV, sys_xsetbv) \
	X(SWAPGS, sys_swapgs) \
	X(RDFSBASE, sys_rdfsbase) X(RDGSBASE, sys_rdgsbase) \
	X(WRFSBASE, sys_wrfsbase) X(WRGSBASE, sys_wrgsbase) \
	X(INVLPG, sys_invlpg) X(INVPCID, sys_invpcid) X(INVD, sys_invd) \
	X(HLT, sys_hlt) X(CPUID, sys_cpuid) \
	X(RDTSC, sys_rdtsc) X(RDTSCP, sys_rdtscp) X(RDPID, sys_rdpid) X(RDPMC, sys_rdpmc) \
	/* ports: sys_io.c */ \
	X(IN, sys_in) X(OUT, sys_out)        /* imm = port, or aux = 1: DX */ \
	X(INS, sys_ins) X(OUTS, sys_outs) \
	/* FPU state images: sys_fpu.c */ \
	X(FXSAVE, sys_fxsave) X(FXRSTOR, sys_fxrstor) \
	X(XSAVE, sys_xsave) X(XSAVEOPT, sys_xsaveopt) X(XSAVEC, sys_xsavec) X(XSAVES, sys_xsaves) \
	X(XRSTOR, sys_xrstor) X(XRSTORS, sys_xrstors) \
	X(FNSTENV, sys_fnstenv) X(FLDENV, sys_fldenv) X(FNSAVE, sys_fnsave) X(FRSTOR, sys_frstor) \
	/* what cannot be copied: sys_misc.c */ \
	X(STRING, sys_string)                /* one of MOVS STOS LODS SCAS CMPS; imm = enum string_op */ \
	X(MASKMOV, sys_maskmov)              /* MASKMOVQ/MASKMOVDQU/VMASKMOVDQU: reg, rm = vector registers; aux = 8 (mmx) or 16 */ \
	X(VMASKMOV, sys_vmaskmov)            /* VMASKMOVPS/PD, VPMASKMOVD/Q: see struct sysop.vec */ \
	X(GATHER, sys_gather)                /* VGATHER*, VPGATHER*: VSIB */ \
	X(BCD, sys_bcd)                      /* AAA AAS DAA DAS AAM AAD: imm2 = enum bcd_op, imm = base */ \
	X(PUSHA, sys_pusha) X(POPA, sys_popa) X(ENTER, sys_enter) \
	X(SALC, sys_salc) \
	X(UD, sys_ud)                        /* #UD */ \
	X(NM, sys_nm)                        /* #NM */ \
	X(GP0, sys_gp0)                      /* #GP(0) */

enum sysop_id {
#define X(name, fn) SYSOP_##name,
	SYSOP_LIST(X)
#undef X
	SYSOP_COUNT
};
/* clang-format on */

enum string_op { STRING_MOVS, STRING_STOS, STRING_LODS, STRING_SCAS, STRING_CMPS };
enum bcd_op { BCD_AAA, BCD_AAS, BCD_DAA, BCD_DAS, BCD_AAM, BCD_AAD };

#define OPERAND_NONE 0xff
#define BASE_RIP     0x10

struct sysop {
	uint8_t id;     /* enum sysop_id */
	uint8_t opsize; /* operand size in bytes: 1 2 4 8 (16/32: vector length) */
	uint8_t adsize; /* address size in bytes: 2 4 8 */
	uint8_t len;    /* instruction length */
	uint8_t reg;    /* ModRM.reg or the like, see the list */
	uint8_t rm;     /* register operand of ModRM.rm; OPERAND_NONE: memory (or none) */
	uint8_t rep;    /* 0, 0xf3 or 0xf2 */
	uint8_t lock;
	uint8_t aux;
	/* the memory operand */
	uint8_t seg;   /* enum x86_segreg, default already resolved */
	uint8_t base;  /* gpr number, BASE_RIP or OPERAND_NONE */
	uint8_t index; /* gpr (or vector, for VSIB) number or OPERAND_NONE */
	uint8_t scale; /* 1 2 4 8 */
	uint8_t rex_w;
	uint8_t imm2;
	int32_t disp;
	int64_t imm;
	uint8_t vec;       /* VEX.vvvv register number */
	uint8_t bytes[15]; /* the instruction itself, all @len bytes */
};

typedef enum soft_next sysop_fn(struct soft_cpu *c, const struct sysop *op);

#define X(name, fn) sysop_fn fn;
SYSOP_LIST(X)
#undef X

extern sysop_fn *const sysop_table[SYSOP_COUNT];

/* ---- shared by the handlers: sys_operand.c ---- */

/* Effective address of the memory operand, truncated to the address size. */
uint64_t sysop_ea(const struct soft_cpu *c, const struct sysop *op);

/*
 * Segmentation: turns @seg:@ea into a linear address, with the checks of the
 * current mode (limits, type, null selector, canonical form). 0, or -1 with
 * c->fault = #GP(0) or #SS(0).
 */
int soft_linear(struct soft_cpu *c, unsigned seg, uint64_t ea, unsigned len, bool write, uint64_t *lin);

/* The r/m operand, register or memory, zero-extended. 0 or -1 with the fault set. */
int sysop_get_rm(struct soft_cpu *c, const struct sysop *op, unsigned size, uint64_t *val);
int sysop_set_rm(struct soft_cpu *c, const struct sysop *op, unsigned size, uint64_t val);

/* Register write with the width rules of 64-bit mode (32-bit writes zero-extend). */
void cpu_set_reg(struct soft_cpu *c, unsigned reg, unsigned size, uint64_t val);

/* Pushes and pops on the current stack. The caller commits *sp to RSP when all has gone well. */
int soft_push(struct soft_cpu *c, uint64_t *sp, unsigned size, uint64_t val);
int soft_pop(struct soft_cpu *c, uint64_t *sp, unsigned size, uint64_t *val);
/* An x87 exception that waits comes before an x87 or MMX instruction: raises #MF. */
static inline bool x87_pending(struct soft_cpu *c)
{
	uint16_t fsw;

	__asm__ volatile("fnstsw %0" : "=m"(fsw));
	if (!(fsw & 0x80))
		return false;
	soft_raise(c, VEC_MF, false, 0);
	return true;
}

/* Writes RSP with the width of the current stack segment. */
void cpu_set_sp(struct soft_cpu *c, uint64_t sp);

/*
 * A handler is done and may have changed the mode word: recomputes it, and
 * if it did change ends the block behind this instruction.
 */
enum soft_next sysop_mode_changed(struct soft_cpu *c);

/* Modes in which each instruction is a block of its own. */
#define MODE_SINGLE (MODE_TF | MODE_HWBP)

/* SGDT, SIDT, SLDT, STR, SMSW outside of CPL 0 (SDM vol. 3, 2.5, CR4.UMIP). */
static inline bool sysop_umip(const struct soft_cpu *c)
{
	return c->cpl && (c->s.cr4 & CR4_UMIP);
}

#endif
