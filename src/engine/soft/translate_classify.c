// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What kind of instruction is this? Most are copied; the table and switch
 * below name all that are not. An instruction that the guest's CPU does not
 * offer, or that Zydis cannot decode, is #UD.
 *
 * docs/adding-an-instruction.md walks through an example.
 */
#include "engine/soft/translate.h"

#include "cpu/cpuid.h"

unsigned gpr_number(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return (unsigned)(r - ZYDIS_REGISTER_RAX);
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return (unsigned)(r - ZYDIS_REGISTER_EAX);
	if (register_class(r) == ZYDIS_REGCLASS_GPR8) {
		/* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B...: AH's container is RAX. */
		if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
			return (unsigned)(r - ZYDIS_REGISTER_AH);
		if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_DIL)
			return (unsigned)(r - ZYDIS_REGISTER_SPL) + REG_RSP;
		if (r >= ZYDIS_REGISTER_R8B && r <= ZYDIS_REGISTER_R15B)
			return (unsigned)(r - ZYDIS_REGISTER_R8B) + REG_R8;
		return (unsigned)(r - ZYDIS_REGISTER_AL);
	}
	return (unsigned)ZydisRegisterGetId(r);
}

unsigned segment_number(ZydisRegister r)
{
	switch (r) {
	case ZYDIS_REGISTER_ES: return SEG_ES;
	case ZYDIS_REGISTER_CS: return SEG_CS;
	case ZYDIS_REGISTER_SS: return SEG_SS;
	case ZYDIS_REGISTER_FS: return SEG_FS;
	case ZYDIS_REGISTER_GS: return SEG_GS;
	default: return SEG_DS;
	}
}

unsigned segment_override(const struct insn *in, unsigned otherwise)
{
	ZydisInstructionAttributes a = in->zi.attributes;

	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
		return SEG_ES;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
		return SEG_CS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return SEG_SS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_DS)
		return SEG_DS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return SEG_FS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return SEG_GS;
	return otherwise;
}

const ZydisDecodedOperand *insn_memory(const struct insn *in)
{
	for (unsigned i = 0; i < in->op_count; i++)
		if (in->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &in->ops[i];
	return NULL;
}

unsigned insn_alignment(const struct insn *in, unsigned size)
{
	switch (in->zi.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return 0;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA: return size;
	default: break;
	}
	if (in->zi.meta.isa_set == ZYDIS_ISA_SET_SHA)
		return 0; /* AMD CPUs do not insist, and where the host's does, it says so itself */
	/* SSE demands it of all 16-byte operands, AVX of none; CMPXCHG16B does as well. */
	return in->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && size == 16 ? 16 : 0;
}

/*
 * Does the guest's CPU have it? Zydis calls the sets by names of its own;
 * what is not listed is part of x86-64 itself. FEATURE_NEVER: no such thing here.
 */
#define FEATURE_BASE  (-1)
#define FEATURE_NEVER (-2)

static int isa_feature(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.isa_set) {
	case ZYDIS_ISA_SET_ADOX_ADCX: return CPU_ADX;
	case ZYDIS_ISA_SET_AES: return CPU_AES;
	case ZYDIS_ISA_SET_AVX: return CPU_AVX;
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER: return CPU_AVX2;
	case ZYDIS_ISA_SET_AVXAES: return CPU_AES;
	case ZYDIS_ISA_SET_BMI1: return CPU_BMI1;
	case ZYDIS_ISA_SET_BMI2: return CPU_BMI2;
	case ZYDIS_ISA_SET_CLFLUSHOPT: return CPU_CLFLUSHOPT;
	case ZYDIS_ISA_SET_CLWB: return CPU_CLWB;
	case ZYDIS_ISA_SET_CMPXCHG16B: return CPU_CX16;
	case ZYDIS_ISA_SET_F16C: return CPU_F16C;
	case ZYDIS_ISA_SET_FMA: return CPU_FMA;
	case ZYDIS_ISA_SET_INVPCID: return CPU_INVPCID;
	case ZYDIS_ISA_SET_LZCNT: return CPU_LZCNT;
	case ZYDIS_ISA_SET_MOVBE: return CPU_MOVBE;
	case ZYDIS_ISA_SET_PCLMULQDQ: return CPU_PCLMUL;
	case ZYDIS_ISA_SET_POPCNT: return CPU_POPCNT;
	case ZYDIS_ISA_SET_RDPID: return CPU_RDPID;
	case ZYDIS_ISA_SET_RDRAND: return CPU_RDRAND;
	case ZYDIS_ISA_SET_RDSEED: return CPU_RDSEED;
	case ZYDIS_ISA_SET_RDTSCP: return CPU_RDTSCP;
	case ZYDIS_ISA_SET_RDWRFSGS: return CPU_FSGSBASE;
	case ZYDIS_ISA_SET_SERIALIZE: return CPU_SERIALIZE;
	case ZYDIS_ISA_SET_SHA: return CPU_SHA;
	case ZYDIS_ISA_SET_SMAP: return CPU_SMAP;
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE3X87: return CPU_SSE3;
	case ZYDIS_ISA_SET_SSE4: return CPU_SSE41;
	case ZYDIS_ISA_SET_SSE42: return CPU_SSE42;
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX: return CPU_SSSE3;
	case ZYDIS_ISA_SET_VAES: return CPU_VAES;
	case ZYDIS_ISA_SET_VPCLMULQDQ: return CPU_VPCLMUL;
	case ZYDIS_ISA_SET_XSAVE: return CPU_XSAVE;
	case ZYDIS_ISA_SET_XSAVEC: return CPU_XSAVEC;
	case ZYDIS_ISA_SET_XSAVEOPT: return CPU_XSAVEOPT;
	case ZYDIS_ISA_SET_XSAVES: return CPU_XSAVES;

	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I286PROTECTED:
	case ZYDIS_ISA_SET_I286REAL:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_AMD:
	case ZYDIS_ISA_SET_CET: /* ENDBR, RDSSP: hints without CET; the rest is sorted out below */
	case ZYDIS_ISA_SET_CLDEMOTE:
	case ZYDIS_ISA_SET_CLFSH:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_LAHF:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_MPX: /* NOPs without MPX */
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_PREFETCHWT1:
	case ZYDIS_ISA_SET_PREFETCH_NOP:
	case ZYDIS_ISA_SET_RDPMC:
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_SSE_PREFETCH:
	case ZYDIS_ISA_SET_X87: return FEATURE_BASE;
	case ZYDIS_ISA_SET_AMD3DNOW:
		/* PREFETCHW stands alone these days */
		return zi->meta.category == ZYDIS_CATEGORY_PREFETCH ? FEATURE_BASE : FEATURE_NEVER;
	default:
		if (zi->meta.category == ZYDIS_CATEGORY_PREFETCH)
			return FEATURE_BASE;
		return FEATURE_NEVER;
	}
}

/* Which of the FPU's gates an instruction has to pass (CR0.TS, EM; CR4; XCR0). */
enum fpu_kind { FPU_NONE, FPU_X87, FPU_WAIT, FPU_SSE, FPU_AVX };

static enum fpu_kind fpu_kind(const ZydisDecodedInstruction *zi)
{
	if (zi->mnemonic == ZYDIS_MNEMONIC_FWAIT)
		return FPU_WAIT;
	switch (zi->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX: return FPU_X87;
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_SHA: break;
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ: return FPU_AVX;
	default: return FPU_NONE;
	}
	switch (zi->mnemonic) {
	/* in these sets, but without vector registers */
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_PAUSE:
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2: return FPU_NONE;
	case ZYDIS_MNEMONIC_FISTTP: return FPU_X87;
	default: break;
	}
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return FPU_AVX;
	return FPU_SSE;
}

static void set_sysop(struct insn *in, enum sysop_id id, bool ends)
{
	in->class = CLASS_SYSOP;
	in->sysop = (uint8_t)id;
	in->ends = ends;
	/* C sees and may change all flags. */
	in->reads = FLAG_ARITH;
	in->writes = FLAG_ARITH;
}

/* #UD and #NM that depend on control registers. True: the instruction became one. */
static bool check_fpu(const struct xlat *x, struct insn *in)
{
	uint32_t undefined = 0, trap = MODE_NOFPU;

	switch (fpu_kind(&in->zi)) {
	case FPU_NONE: return false;
	case FPU_X87: undefined = in->zi.meta.isa_ext == ZYDIS_ISA_EXT_MMX ? MODE_EM : 0; break;
	case FPU_WAIT: trap = MODE_WAIT_NM; break;
	case FPU_SSE: undefined = MODE_EM | MODE_NOSSE; break;
	case FPU_AVX: undefined = MODE_NOAVX; break;
	}
	if (x->mode & undefined)
		set_sysop(in, SYSOP_UD, true);
	else if (x->mode & trap)
		set_sysop(in, SYSOP_NM, true);
	else
		return false;
	return true;
}

/* Instructions that C carries out, by mnemonic alone. */
static const struct {
	uint16_t mnemonic;
	uint8_t id;
	bool ends; /* the handler may go elsewhere or change the mode: end the block */
} sysops[] = {
	{ ZYDIS_MNEMONIC_LDS, SYSOP_LOAD_FAR, true },
	{ ZYDIS_MNEMONIC_LES, SYSOP_LOAD_FAR, true },
	{ ZYDIS_MNEMONIC_LFS, SYSOP_LOAD_FAR, true },
	{ ZYDIS_MNEMONIC_LGS, SYSOP_LOAD_FAR, true },
	{ ZYDIS_MNEMONIC_LSS, SYSOP_LOAD_FAR, true },
	{ ZYDIS_MNEMONIC_LAR, SYSOP_LAR, false },
	{ ZYDIS_MNEMONIC_LSL, SYSOP_LSL, false },
	{ ZYDIS_MNEMONIC_VERR, SYSOP_VERR, false },
	{ ZYDIS_MNEMONIC_VERW, SYSOP_VERW, false },
	{ ZYDIS_MNEMONIC_ARPL, SYSOP_ARPL, false },
	{ ZYDIS_MNEMONIC_LGDT, SYSOP_LGDT, false },
	{ ZYDIS_MNEMONIC_LIDT, SYSOP_LIDT, false },
	{ ZYDIS_MNEMONIC_SGDT, SYSOP_SGDT, false },
	{ ZYDIS_MNEMONIC_SIDT, SYSOP_SIDT, false },
	{ ZYDIS_MNEMONIC_LLDT, SYSOP_LLDT, false },
	{ ZYDIS_MNEMONIC_SLDT, SYSOP_SLDT, false },
	{ ZYDIS_MNEMONIC_LTR, SYSOP_LTR, false },
	{ ZYDIS_MNEMONIC_STR, SYSOP_STR, false },
	{ ZYDIS_MNEMONIC_IRET, SYSOP_IRET, true },
	{ ZYDIS_MNEMONIC_IRETD, SYSOP_IRET, true },
	{ ZYDIS_MNEMONIC_IRETQ, SYSOP_IRET, true },
	{ ZYDIS_MNEMONIC_INT, SYSOP_INT, true },
	{ ZYDIS_MNEMONIC_INT3, SYSOP_INT3, true },
	{ ZYDIS_MNEMONIC_INT1, SYSOP_INT1, true },
	{ ZYDIS_MNEMONIC_INTO, SYSOP_INTO, true },
	{ ZYDIS_MNEMONIC_BOUND, SYSOP_BOUND, true },
	{ ZYDIS_MNEMONIC_SYSCALL, SYSOP_SYSCALL, true },
	{ ZYDIS_MNEMONIC_SYSRET, SYSOP_SYSRET, true },
	{ ZYDIS_MNEMONIC_SYSENTER, SYSOP_SYSENTER, true },
	{ ZYDIS_MNEMONIC_SYSEXIT, SYSOP_SYSEXIT, true },
	{ ZYDIS_MNEMONIC_CLI, SYSOP_CLI, false },
	{ ZYDIS_MNEMONIC_STI, SYSOP_STI, false },
	{ ZYDIS_MNEMONIC_PUSHF, SYSOP_PUSHF, false },
	{ ZYDIS_MNEMONIC_PUSHFD, SYSOP_PUSHF, false },
	{ ZYDIS_MNEMONIC_PUSHFQ, SYSOP_PUSHF, false },
	{ ZYDIS_MNEMONIC_POPF, SYSOP_POPF, true },
	{ ZYDIS_MNEMONIC_POPFD, SYSOP_POPF, true },
	{ ZYDIS_MNEMONIC_POPFQ, SYSOP_POPF, true },
	{ ZYDIS_MNEMONIC_CLAC, SYSOP_CLAC, true },
	{ ZYDIS_MNEMONIC_STAC, SYSOP_STAC, true },
	{ ZYDIS_MNEMONIC_STD, SYSOP_STD, true },
	{ ZYDIS_MNEMONIC_CLD, SYSOP_CLD, true },
	{ ZYDIS_MNEMONIC_CLTS, SYSOP_CLTS, true },
	{ ZYDIS_MNEMONIC_LMSW, SYSOP_LMSW, true },
	{ ZYDIS_MNEMONIC_SMSW, SYSOP_SMSW, false },
	{ ZYDIS_MNEMONIC_RDMSR, SYSOP_RDMSR, false },
	{ ZYDIS_MNEMONIC_WRMSR, SYSOP_WRMSR, true },
	{ ZYDIS_MNEMONIC_XGETBV, SYSOP_XGETBV, false },
	{ ZYDIS_MNEMONIC_XSETBV, SYSOP_XSETBV, true },
	{ ZYDIS_MNEMONIC_SWAPGS, SYSOP_SWAPGS, false },
	{ ZYDIS_MNEMONIC_RDFSBASE, SYSOP_RDFSBASE, false },
	{ ZYDIS_MNEMONIC_RDGSBASE, SYSOP_RDGSBASE, false },
	{ ZYDIS_MNEMONIC_WRFSBASE, SYSOP_WRFSBASE, false },
	{ ZYDIS_MNEMONIC_WRGSBASE, SYSOP_WRGSBASE, false },
	{ ZYDIS_MNEMONIC_INVLPG, SYSOP_INVLPG, true },
	{ ZYDIS_MNEMONIC_INVPCID, SYSOP_INVPCID, true },
	{ ZYDIS_MNEMONIC_INVD, SYSOP_INVD, false },
	{ ZYDIS_MNEMONIC_WBINVD, SYSOP_INVD, false },
	{ ZYDIS_MNEMONIC_HLT, SYSOP_HLT, true },
	{ ZYDIS_MNEMONIC_CPUID, SYSOP_CPUID, false },
	{ ZYDIS_MNEMONIC_RDTSCP, SYSOP_RDTSCP, false },
	{ ZYDIS_MNEMONIC_RDPID, SYSOP_RDPID, false },
	{ ZYDIS_MNEMONIC_RDPMC, SYSOP_RDPMC, false },
	{ ZYDIS_MNEMONIC_IN, SYSOP_IN, false },
	{ ZYDIS_MNEMONIC_OUT, SYSOP_OUT, true },
	{ ZYDIS_MNEMONIC_INSB, SYSOP_INS, true },
	{ ZYDIS_MNEMONIC_INSW, SYSOP_INS, true },
	{ ZYDIS_MNEMONIC_INSD, SYSOP_INS, true },
	{ ZYDIS_MNEMONIC_OUTSB, SYSOP_OUTS, true },
	{ ZYDIS_MNEMONIC_OUTSW, SYSOP_OUTS, true },
	{ ZYDIS_MNEMONIC_OUTSD, SYSOP_OUTS, true },
	{ ZYDIS_MNEMONIC_FXSAVE, SYSOP_FXSAVE, false },
	{ ZYDIS_MNEMONIC_FXSAVE64, SYSOP_FXSAVE, false },
	{ ZYDIS_MNEMONIC_FXRSTOR, SYSOP_FXRSTOR, false },
	{ ZYDIS_MNEMONIC_FXRSTOR64, SYSOP_FXRSTOR, false },
	{ ZYDIS_MNEMONIC_XSAVE, SYSOP_XSAVE, false },
	{ ZYDIS_MNEMONIC_XSAVE64, SYSOP_XSAVE, false },
	{ ZYDIS_MNEMONIC_XSAVEOPT, SYSOP_XSAVEOPT, false },
	{ ZYDIS_MNEMONIC_XSAVEOPT64, SYSOP_XSAVEOPT, false },
	{ ZYDIS_MNEMONIC_XSAVEC, SYSOP_XSAVEC, false },
	{ ZYDIS_MNEMONIC_XSAVEC64, SYSOP_XSAVEC, false },
	{ ZYDIS_MNEMONIC_XSAVES, SYSOP_XSAVES, false },
	{ ZYDIS_MNEMONIC_XSAVES64, SYSOP_XSAVES, false },
	{ ZYDIS_MNEMONIC_XRSTOR, SYSOP_XRSTOR, false },
	{ ZYDIS_MNEMONIC_XRSTOR64, SYSOP_XRSTOR, false },
	{ ZYDIS_MNEMONIC_XRSTORS, SYSOP_XRSTORS, false },
	{ ZYDIS_MNEMONIC_XRSTORS64, SYSOP_XRSTORS, false },
	{ ZYDIS_MNEMONIC_FNSTENV, SYSOP_FNSTENV, false },
	{ ZYDIS_MNEMONIC_FLDENV, SYSOP_FLDENV, false },
	{ ZYDIS_MNEMONIC_FNSAVE, SYSOP_FNSAVE, false },
	{ ZYDIS_MNEMONIC_FRSTOR, SYSOP_FRSTOR, false },
	{ ZYDIS_MNEMONIC_MASKMOVQ, SYSOP_MASKMOV, false },
	{ ZYDIS_MNEMONIC_MASKMOVDQU, SYSOP_MASKMOV, false },
	{ ZYDIS_MNEMONIC_VMASKMOVDQU, SYSOP_MASKMOV, false },
	{ ZYDIS_MNEMONIC_VMASKMOVPS, SYSOP_VMASKMOV, false },
	{ ZYDIS_MNEMONIC_VMASKMOVPD, SYSOP_VMASKMOV, false },
	{ ZYDIS_MNEMONIC_VPMASKMOVD, SYSOP_VMASKMOV, false },
	{ ZYDIS_MNEMONIC_VPMASKMOVQ, SYSOP_VMASKMOV, false },
	{ ZYDIS_MNEMONIC_VGATHERDPS, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VGATHERDPD, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VGATHERQPS, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VGATHERQPD, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VPGATHERDD, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VPGATHERDQ, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VPGATHERQD, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_VPGATHERQQ, SYSOP_GATHER, false },
	{ ZYDIS_MNEMONIC_AAA, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_AAS, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_DAA, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_DAS, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_AAM, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_AAD, SYSOP_BCD, false },
	{ ZYDIS_MNEMONIC_PUSHA, SYSOP_PUSHA, false },
	{ ZYDIS_MNEMONIC_PUSHAD, SYSOP_PUSHA, false },
	{ ZYDIS_MNEMONIC_POPA, SYSOP_POPA, false },
	{ ZYDIS_MNEMONIC_POPAD, SYSOP_POPA, false },
	{ ZYDIS_MNEMONIC_ENTER, SYSOP_ENTER, false },
	{ ZYDIS_MNEMONIC_SALC, SYSOP_SALC, false },
	{ ZYDIS_MNEMONIC_UD0, SYSOP_UD, true },
	{ ZYDIS_MNEMONIC_UD1, SYSOP_UD, true },
	{ ZYDIS_MNEMONIC_UD2, SYSOP_UD, true },
};

#define SYSOPS (sizeof(sysops) / sizeof(sysops[0]))
_Static_assert(SYSOPS < 255, "sysop_entry[] has a byte for each");

void classify_create(struct translator *t)
{
	for (unsigned i = 0; i < SYSOPS; i++)
		t->sysop_entry[sysops[i].mnemonic] = (uint8_t)(i + 1);
}

static bool is_segment_class(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       register_class(op->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static bool is_control_class(const ZydisDecodedOperand *op, ZydisRegisterClass cl)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER && register_class(op->reg.value) == cl;
}

static void classify_mov(struct insn *in)
{
	if (in->zi.meta.category == ZYDIS_CATEGORY_DATAXFER &&
	    in->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && in->zi.opcode >= 0xa0 && in->zi.opcode <= 0xa3) {
		in->class = CLASS_MOFFS;
		return;
	}
	if (in->op_count < 2)
		return;
	if (is_segment_class(&in->ops[0])) {
		set_sysop(in, SYSOP_MOV_TO_SREG, true);
		if (in->ops[0].reg.value == ZYDIS_REGISTER_CS)
			set_sysop(in, SYSOP_UD, true);
		else if (in->ops[0].reg.value == ZYDIS_REGISTER_SS) {
			in->ends = false;
			in->shadow = true;
		}
	} else if (is_segment_class(&in->ops[1])) {
		set_sysop(in, SYSOP_MOV_FROM_SREG, false);
	} else if (is_control_class(&in->ops[0], ZYDIS_REGCLASS_CONTROL)) {
		set_sysop(in, SYSOP_MOV_TO_CR, true);
	} else if (is_control_class(&in->ops[1], ZYDIS_REGCLASS_CONTROL)) {
		set_sysop(in, SYSOP_MOV_FROM_CR, false);
	} else if (is_control_class(&in->ops[0], ZYDIS_REGCLASS_DEBUG)) {
		set_sysop(in, SYSOP_MOV_TO_DR, true);
	} else if (is_control_class(&in->ops[1], ZYDIS_REGCLASS_DEBUG)) {
		set_sysop(in, SYSOP_MOV_FROM_DR, false);
	}
}

static void set_string(struct insn *in, enum string_op op)
{
	in->class = CLASS_STRING;
	in->sysop = (uint8_t)op;
	in->reads = FLAG_ARITH;
	in->writes = FLAG_ARITH;
}

/*
 * Shifts and rotates by a count that may be 0 leave the flags alone then: they
 * need them only if somebody behind does, and overwrite none for certain.
 */
static void fix_shift_flags(struct insn *in)
{
	switch (in->zi.meta.category) {
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE: break;
	default: return;
	}
	if (in->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return; /* SARX and friends touch none */
	for (unsigned i = 0; i < in->op_count; i++)
		if (in->ops[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		    (in->ops[i].imm.value.u & (in->zi.operand_width == 64 ? 63 : 31)))
			return;
	in->maybe = true;
	in->writes = 0;
}

void insn_classify(const struct xlat *x, struct insn *in)
{
	const ZydisDecodedInstruction *zi = &in->zi;
	unsigned entry;
	int feature;

	in->class = CLASS_COPY;
	in->ends = in->shadow = in->maybe = false;
	in->aux = 0;
	in->reads = in->writes = 0;
	if (zi->cpu_flags) {
		in->reads = zi->cpu_flags->tested & FLAG_ARITH;
		in->writes = (zi->cpu_flags->modified | zi->cpu_flags->set_0 | zi->cpu_flags->set_1 |
			      zi->cpu_flags->undefined) &
			     FLAG_ARITH;
	}

	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) {
		set_sysop(in, SYSOP_UD, true);
		return;
	}
	feature = isa_feature(zi);
	if (feature == FEATURE_NEVER ||
	    (feature >= 0 && !cpuid_has(x->engine->cpuid, (enum cpu_feature)feature))) {
		set_sysop(in, SYSOP_UD, true);
		return;
	}
	if (check_fpu(x, in))
		return;

	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_JB:
	case ZYDIS_MNEMONIC_JBE:
	case ZYDIS_MNEMONIC_JL:
	case ZYDIS_MNEMONIC_JLE:
	case ZYDIS_MNEMONIC_JNB:
	case ZYDIS_MNEMONIC_JNBE:
	case ZYDIS_MNEMONIC_JNL:
	case ZYDIS_MNEMONIC_JNLE:
	case ZYDIS_MNEMONIC_JNO:
	case ZYDIS_MNEMONIC_JNP:
	case ZYDIS_MNEMONIC_JNS:
	case ZYDIS_MNEMONIC_JNZ:
	case ZYDIS_MNEMONIC_JO:
	case ZYDIS_MNEMONIC_JP:
	case ZYDIS_MNEMONIC_JS:
	case ZYDIS_MNEMONIC_JZ: in->class = CLASS_JCC; return;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ: in->class = CLASS_LOOP; return;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL: {
		bool call = zi->mnemonic == ZYDIS_MNEMONIC_CALL;

		if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
			set_sysop(in, call ? SYSOP_CALL_FAR : SYSOP_JMP_FAR, true);
			return;
		}
		in->ends = true;
		if (zi->opcode == 0xff)
			in->class = call ? CLASS_CALL_IND : CLASS_JMP_IND;
		else
			in->class = call ? CLASS_CALL : CLASS_JMP;
		return;
	}
	case ZYDIS_MNEMONIC_RET:
		in->ends = true;
		if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			set_sysop(in, SYSOP_RET_FAR, true);
		else
			in->class = CLASS_RET;
		return;
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP: {
		bool push = zi->mnemonic == ZYDIS_MNEMONIC_PUSH;

		in->class = push ? CLASS_PUSH : CLASS_POP;
		if (is_segment_class(&in->ops[0])) {
			set_sysop(in, push ? SYSOP_PUSH_SREG : SYSOP_POP_SREG, !push);
			if (!push && in->ops[0].reg.value == ZYDIS_REGISTER_SS) {
				in->ends = false;
				in->shadow = true;
			}
		}
		return;
	}
	case ZYDIS_MNEMONIC_LEAVE: in->class = CLASS_LEAVE; return;
	case ZYDIS_MNEMONIC_LEA: in->class = CLASS_LEA; return;
	case ZYDIS_MNEMONIC_XLAT: in->class = CLASS_XLAT; return;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		if (insn_memory(in) && in->op_count > 1 && in->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
			in->class = CLASS_BITSTR;
		in->writes = FLAG_CF; /* AMD and Intel leave the others unchanged or undefined */
		return;
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
		/* The others are undefined: nothing is kept for them. */
		in->writes = FLAG_ARITH;
		return;
	case ZYDIS_MNEMONIC_VPTEST:
	case ZYDIS_MNEMONIC_VTESTPS:
	case ZYDIS_MNEMONIC_VTESTPD:
		/* Zydis 4.0 forgets the four flags that these clear. */
		in->writes = FLAG_ARITH;
		return;
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
		if (!is_code64(x) && zi->opcode >= 0x40 && zi->opcode <= 0x4f)
			in->class = CLASS_INCDEC;
		return;
	case ZYDIS_MNEMONIC_MOV: classify_mov(in); return;
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSQ: set_string(in, STRING_MOVS); return;
	case ZYDIS_MNEMONIC_MOVSD:
		if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP)
			set_string(in, STRING_MOVS);
		return;
	case ZYDIS_MNEMONIC_CMPSD:
		if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP)
			set_string(in, STRING_CMPS);
		return;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ: set_string(in, STRING_STOS); return;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ: set_string(in, STRING_LODS); return;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ: set_string(in, STRING_SCAS); return;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSQ: set_string(in, STRING_CMPS); return;
	case ZYDIS_MNEMONIC_RDTSC:
		if (x->mode & MODE_TSD)
			set_sysop(in, SYSOP_RDTSC, false);
		return;
	case ZYDIS_MNEMONIC_RDTSCP:
		if (x->mode & MODE_TSD)
			break;
		in->class = CLASS_RDTSCP;
		return;
	case ZYDIS_MNEMONIC_CLD:
	case ZYDIS_MNEMONIC_STD:
		/* Each exception entry of the kernel clears DF to be sure; it is part of the mode word. */
		if (!(x->mode & MODE_DF) == (zi->mnemonic == ZYDIS_MNEMONIC_CLD)) {
			in->class = CLASS_NOP;
			return;
		}
		break;
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_RDSSPD:
	case ZYDIS_MNEMONIC_RDSSPQ: in->class = CLASS_NOP; return;
	case ZYDIS_MNEMONIC_SERIALIZE:
		/* Code that another CPU has changed counts from here on: what follows is looked up anew. */
		in->class = CLASS_NOP;
		in->ends = true;
		return;
	default: break;
	}
	if (zi->meta.isa_ext == ZYDIS_ISA_EXT_CET) {
		set_sysop(in, SYSOP_UD, true);
		return;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_PREFETCH && insn_memory(in)) {
		in->class = CLASS_PREFETCH;
		return;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_PREFETCH || zi->meta.isa_ext == ZYDIS_ISA_EXT_MPX ||
	    zi->meta.category == ZYDIS_CATEGORY_WIDENOP || zi->mnemonic == ZYDIS_MNEMONIC_CLDEMOTE) {
		in->class = CLASS_NOP;
		return;
	}
	entry = x->t->sysop_entry[zi->mnemonic];
	if (entry) {
		set_sysop(in, (enum sysop_id)sysops[entry - 1].id, sysops[entry - 1].ends);
		if (zi->mnemonic == ZYDIS_MNEMONIC_STI)
			in->shadow = true;
		return;
	}
	fix_shift_flags(in);
}

static uint8_t far_segment(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_LDS: return SEG_DS;
	case ZYDIS_MNEMONIC_LES: return SEG_ES;
	case ZYDIS_MNEMONIC_LFS: return SEG_FS;
	case ZYDIS_MNEMONIC_LGS: return SEG_GS;
	default: return SEG_SS;
	}
}

static uint8_t bcd_kind(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_AAA: return BCD_AAA;
	case ZYDIS_MNEMONIC_AAS: return BCD_AAS;
	case ZYDIS_MNEMONIC_DAA: return BCD_DAA;
	case ZYDIS_MNEMONIC_DAS: return BCD_DAS;
	case ZYDIS_MNEMONIC_AAM: return BCD_AAM;
	default: return BCD_AAD;
	}
}

static uint8_t string_size(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_OUTSB: return 1;
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_OUTSW: return 2;
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_STOSQ:
	case ZYDIS_MNEMONIC_LODSQ:
	case ZYDIS_MNEMONIC_SCASQ:
	case ZYDIS_MNEMONIC_CMPSQ: return 8;
	default: return 4;
	}
}

static uint8_t register_or_none(ZydisRegister r)
{
	if (r == ZYDIS_REGISTER_NONE)
		return OPERAND_NONE;
	if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
		return BASE_RIP;
	return (uint8_t)(register_class(r) == ZYDIS_REGCLASS_XMM || register_class(r) == ZYDIS_REGCLASS_YMM
				 ? ZydisRegisterGetId(r)
				 : (int)gpr_number(r));
}

void sysop_fill(const struct xlat *x, const struct insn *in, struct sysop *op)
{
	const ZydisDecodedInstruction *zi = &in->zi;
	const ZydisDecodedOperand *mem = NULL;

	memset(op, 0, sizeof(*op));
	op->id = in->sysop;
	op->len = in->len;
	op->rm = OPERAND_NONE;
	op->base = op->index = OPERAND_NONE;
	op->scale = 1;
	memcpy(op->bytes, in->bytes, in->len);
	op->aux = in->aux;
	if (in->sysop == SYSOP_UD && in->class == CLASS_SYSOP)
		return; /* possibly not even decoded */

	op->opsize = (uint8_t)(zi->operand_width / 8);
	op->adsize = (uint8_t)(zi->address_width / 8);
	if (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		op->lock = 1;
	if (zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		op->rep = 0xf3;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		op->rep = 0xf2;
	op->rex_w = zi->raw.rex.W;

	for (unsigned i = 0; i < in->op_count; i++) {
		const ZydisDecodedOperand *o = &in->ops[i];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			mem = o;
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			ZydisRegisterClass cl = register_class(o->reg.value);
			uint8_t n;

			if (cl == ZYDIS_REGCLASS_SEGMENT)
				n = (uint8_t)segment_number(o->reg.value);
			else if (cl == ZYDIS_REGCLASS_GPR8 || cl == ZYDIS_REGCLASS_GPR16 ||
				 cl == ZYDIS_REGCLASS_GPR32 || cl == ZYDIS_REGCLASS_GPR64)
				n = (uint8_t)gpr_number(o->reg.value);
			else
				n = (uint8_t)ZydisRegisterGetId(o->reg.value);
			switch (o->encoding) {
			case ZYDIS_OPERAND_ENCODING_MODRM_RM: op->rm = n; break;
			case ZYDIS_OPERAND_ENCODING_NDSNDD: op->vec = n; break;
			default: op->reg = n; break;
			}
			if (cl == ZYDIS_REGCLASS_YMM)
				op->opsize = 32;
			else if (cl == ZYDIS_REGCLASS_XMM)
				op->opsize = op->opsize == 32 ? 32 : 16;
		} else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
			op->imm = o->imm.is_signed ? o->imm.value.s : (int64_t)o->imm.value.u;
		} else if (o->type == ZYDIS_OPERAND_TYPE_POINTER) {
			op->imm = o->ptr.offset;
		}
	}
	if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
		for (unsigned i = 0; i < in->op_count; i++)
			if (in->ops[i].type == ZYDIS_OPERAND_TYPE_POINTER)
				op->aux = 0;
	}
	if (mem) {
		op->seg = (uint8_t)segment_number(mem->mem.segment);
		op->base = register_or_none(mem->mem.base);
		op->index = register_or_none(mem->mem.index);
		op->scale = mem->mem.scale ? mem->mem.scale : 1;
		op->disp = mem->mem.disp.has_displacement ? (int32_t)mem->mem.disp.value : 0;
	}

	switch (in->class == CLASS_STRING ? (enum sysop_id)SYSOP_STRING : (enum sysop_id)in->sysop) {
	case SYSOP_STRING:
		op->id = SYSOP_STRING;
		op->imm = in->sysop;
		op->opsize = string_size(zi->mnemonic);
		op->seg = (uint8_t)segment_override(in, SEG_DS);
		break;
	case SYSOP_INS:
	case SYSOP_OUTS:
		op->opsize = string_size(zi->mnemonic);
		op->seg = (uint8_t)segment_override(in, SEG_DS);
		break;
	case SYSOP_IN:
	case SYSOP_OUT: {
		const ZydisDecodedOperand *acc = &in->ops[in->sysop == SYSOP_IN ? 0 : 1];
		const ZydisDecodedOperand *port = &in->ops[in->sysop == SYSOP_IN ? 1 : 0];

		op->opsize = (uint8_t)(acc->size / 8);
		op->aux = port->type == ZYDIS_OPERAND_TYPE_REGISTER;
		if (!op->aux)
			op->imm = (int64_t)(port->imm.value.u & 0xff);
		break;
	}
	case SYSOP_LOAD_FAR: op->aux = far_segment(zi->mnemonic); break;
	case SYSOP_BCD:
		op->imm2 = bcd_kind(zi->mnemonic);
		if (zi->raw.imm[0].size)
			op->imm = (int64_t)(zi->raw.imm[0].value.u & 0xff);
		break;
	case SYSOP_ENTER:
		op->imm = (int64_t)(zi->raw.imm[0].value.u & 0xffff);
		op->imm2 = (uint8_t)zi->raw.imm[1].value.u;
		break;
	case SYSOP_RET_FAR:
		op->imm = zi->raw.imm[0].size ? (int64_t)(zi->raw.imm[0].value.u & 0xffff) : 0;
		break;
	case SYSOP_INT: op->imm = (int64_t)(zi->raw.imm[0].value.u & 0xff); break;
	case SYSOP_JMP_FAR:
	case SYSOP_CALL_FAR:
		/* Direct: the selector does not fit into aux; it stands behind the offset in the bytes. */
		break;
	case SYSOP_MASKMOV:
		op->aux = zi->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ? 8 : 16;
		op->seg = (uint8_t)segment_override(in, SEG_DS);
		break;
	default: break;
	}
}
