/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instructions may be compared, and how they are to be treated.
 *
 * Left out altogether is what must differ (time stamps, CPUID, random
 * numbers, XGETBV), what the host's kernel answers in the CPU's stead (system
 * calls, the UMIP instructions), and what a hypervisor under us answers.
 */
#include "gen.h"

static bool never(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_LSL: /* of Linux's CPU number segment */
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_XBEGIN:
	case ZYDIS_MNEMONIC_XABORT:
	case ZYDIS_MNEMONIC_XEND:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_RDPKRU:
	case ZYDIS_MNEMONIC_WRPKRU:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_FFREEP: return true;
	default: return false;
	}
}

static enum insn_class by_isa_set(const struct offered *o, const ZydisDecodedInstruction *in, bool ia32)
{
	switch (in->meta.isa_set) {
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I286REAL:
	case ZYDIS_ISA_SET_I286PROTECTED:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_LAHF:
	case ZYDIS_ISA_SET_CMPXCHG16B:
	case ZYDIS_ISA_SET_POPCNT:
	case ZYDIS_ISA_SET_LZCNT:
	case ZYDIS_ISA_SET_PREFETCH_NOP:
	case ZYDIS_ISA_SET_SSE_PREFETCH:
	case ZYDIS_ISA_SET_CLFSH:
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_RDPMC: return CLASS_INT;
	case ZYDIS_ISA_SET_MOVBE: return o->movbe ? CLASS_INT : CLASS_ABSENT;
	case ZYDIS_ISA_SET_ADOX_ADCX: return o->adx ? CLASS_INT : CLASS_ABSENT;
	case ZYDIS_ISA_SET_CLFLUSHOPT: return o->clflushopt ? CLASS_INT : CLASS_ABSENT;
	case ZYDIS_ISA_SET_RDWRFSGS: return ia32 ? CLASS_REJECT : o->fsgsbase ? CLASS_INT : CLASS_ABSENT;
	case ZYDIS_ISA_SET_BMI1:
	case ZYDIS_ISA_SET_BMI2:
		return in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? CLASS_VEX : CLASS_INT;
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_SSE3X87: return CLASS_X87;
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSSE3MMX: return CLASS_MMX;
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_SSEMXCSR: return CLASS_SSE;
	case ZYDIS_ISA_SET_AES: return o->aes ? CLASS_SSE : CLASS_ABSENT;
	case ZYDIS_ISA_SET_PCLMULQDQ: return o->pclmul ? CLASS_SSE : CLASS_ABSENT;
	case ZYDIS_ISA_SET_SHA: return o->sha ? CLASS_SSE : CLASS_ABSENT;
	case ZYDIS_ISA_SET_GFNI: return o->gfni ? CLASS_SSE : CLASS_ABSENT;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_FMA:
	case ZYDIS_ISA_SET_F16C: return CLASS_VEX;
	case ZYDIS_ISA_SET_AVXAES: return o->aes ? CLASS_VEX : CLASS_ABSENT;
	case ZYDIS_ISA_SET_VAES:
		return in->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX || !o->vaes ? CLASS_ABSENT : CLASS_VEX;
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return in->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX || !o->vpclmul ? CLASS_ABSENT
										     : CLASS_VEX;
	case ZYDIS_ISA_SET_AVX_GFNI: return o->gfni ? CLASS_VEX : CLASS_ABSENT;
	case ZYDIS_ISA_SET_AVX2GATHER: return CLASS_GATHER;
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64: return CLASS_FENV;
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_CLZERO:
	case ZYDIS_ISA_SET_AVX_VNNI: return CLASS_ABSENT;
	case ZYDIS_ISA_SET_CLWB: return o->clwb ? CLASS_INT : CLASS_ABSENT;
	default:
		if (in->meta.isa_set >= ZYDIS_ISA_SET_AVX512BW_128 &&
		    in->meta.isa_set <= ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512)
			return CLASS_ABSENT;
		return CLASS_REJECT;
	}
}

static bool privileged(const ZydisDecodedInstruction *in)
{
	if (in->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return true;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_RDPMC: return true;
	default:
		return in->meta.category == ZYDIS_CATEGORY_IO ||
		       in->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
	}
}

enum insn_class classify(const struct offered *o, const ZydisDecodedInstruction *in,
			 const ZydisDecodedOperand *op, bool ia32)
{
	enum insn_class k;

	if (never(in->mnemonic))
		return CLASS_REJECT;
	/* PREFETCHW of a register: #UD on some CPUs, a NOP on others. */
	if (in->opcode_map == ZYDIS_OPCODE_MAP_0F && in->opcode == 0x0d && in->raw.modrm.mod == 3)
		return CLASS_REJECT;
	if (ia32 && in->address_width == 16 && in->meta.category == ZYDIS_CATEGORY_COND_BR)
		return CLASS_REJECT;
	/* VPINSRD and VPEXTRD with W in 32-bit code: ignored by some CPUs, #UD on others. */
	if (ia32 && in->avx.vector_length && in->raw.vex.W &&
	    (in->mnemonic == ZYDIS_MNEMONIC_VPINSRD || in->mnemonic == ZYDIS_MNEMONIC_VPEXTRD))
		return CLASS_REJECT;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET: return CLASS_REJECT;
	default: break;
	}
	k = by_isa_set(o, in, ia32);
	if (k == CLASS_REJECT || k == CLASS_ABSENT)
		return k;
	if (privileged(in))
		return CLASS_PRIV;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FRSTOR: return CLASS_FENV;
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE: return CLASS_STACK;
	case ZYDIS_MNEMONIC_MOV:
		/* MOV to FS and GS changes bases in ways that differ between CPUs; see tests/guest for them. */
		if (op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return op[0].reg.value == ZYDIS_REGISTER_FS || op[0].reg.value == ZYDIS_REGISTER_GS
				       ? CLASS_REJECT
				       : k;
		return k;
	case ZYDIS_MNEMONIC_POP:
		if (op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return CLASS_REJECT;
		return CLASS_STACK;
	default: break;
	}
	if (in->meta.category == ZYDIS_CATEGORY_STRINGOP)
		return CLASS_STRING;
	if (in->meta.category == ZYDIS_CATEGORY_PUSH || in->meta.category == ZYDIS_CATEGORY_POP)
		return CLASS_STACK;
	return k;
}
