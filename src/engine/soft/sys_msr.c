/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers: RDMSR, WRMSR, and the instructions that reach the
 * FS and GS bases without them.
 *
 * What belongs to the CPU proper is here; what the machine implements (local
 * APIC, TSC deadline, kvm-clock) is asked of it over the bus. A register that
 * neither knows raises #GP(0), which Linux takes for "not there".
 *
 * The guest's time stamp counter is the host's, since RDTSC is copied: it
 * cannot be set. Writes to IA32_TSC are ignored, as other hypervisors do for
 * guests with a native TSC, and IA32_TSC_ADJUST holds 0 and nothing else.
 * Linux writes neither when they read as an invariant, synchronized TSC does.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

#include "cpu/cpuid.h"

enum {
	MSR_TSC = 0x10,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_PRED_CMD = 0x49,
	MSR_PATCH_LEVEL = 0x8b,
	MSR_MTRR_CAP = 0xfe,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800, /* to 0x8ff */
	MSR_XSS = 0xda0,
	MSR_EFER = (int)0xc0000080,
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_FMASK,
	MSR_FS_BASE = (int)0xc0000100,
	MSR_GS_BASE,
	MSR_KERNEL_GS_BASE,
	MSR_TSC_AUX,
	MSR_AMD_SYSCFG = (int)0xc0010010,
	MSR_AMD_HWCR = (int)0xc0010015,
	MSR_AMD_NB_CFG = (int)0xc001001f,
	MSR_AMD_INT_PENDING = (int)0xc0010055,
	MSR_AMD_LS_CFG = (int)0xc0011020,
	MSR_AMD_DC_CFG = (int)0xc0011022,
	MSR_AMD_DE_CFG = (int)0xc0011029,
	MSR_AMD_BU_CFG2 = (int)0xc001102a,
};

#define SPEC_CTRL_KNOWN 0x87ull /* IBRS, STIBP, SSBD, PSFD */

#define MTRR_DEF_TYPE_ENABLE (1u << 11)

/* A microcode revision as a Zen 3 has it; nothing depends on it. */
#define PATCH_LEVEL 0x0a0011d1u

/* The TSC counts at a constant rate in all P states: Linux looks at this. */
#define HWCR_TSC_FREQ_SEL (1ull << 24)
/* Configuration through port 0xcf8 reaches the extended registers. */
#define NB_CFG_CF8_EXT (1ull << 46)
#define DE_CFG_LFENCE  (1ull << 1)

/*
 * AMD's configuration registers that kernels look at without asking CPUID
 * first. They keep what the firmware set: reads answer it, a write must not
 * change any bit beyond @ignored, in which nothing is implemented.
 */
static const struct fixed_msr {
	uint32_t msr;
	uint64_t value, ignored;
} fixed_msrs[] = {
	{ (uint32_t)MSR_AMD_SYSCFG, 0, 0 },
	{ (uint32_t)MSR_AMD_HWCR, HWCR_TSC_FREQ_SEL, 0x1ull | 0x8 | 0x40 | 0x100 },
	{ (uint32_t)MSR_AMD_NB_CFG, NB_CFG_CF8_EXT, ~0ull },
	{ (uint32_t)MSR_AMD_INT_PENDING, 0, 0 },
	{ (uint32_t)MSR_AMD_LS_CFG, 0, ~0ull },
	{ (uint32_t)MSR_AMD_DC_CFG, 0, ~0ull },
	{ (uint32_t)MSR_AMD_DE_CFG, DE_CFG_LFENCE, ~DE_CFG_LFENCE },
	{ (uint32_t)MSR_AMD_BU_CFG2, 0, ~0ull },
	{ MSR_PATCH_LEVEL, PATCH_LEVEL, ~0ull },
	{ MSR_MTRR_CAP, 0, 0 }, /* neither fixed nor variable ranges */
	{ MSR_MCG_CAP, 0, 0 },  /* no banks, no MCG_CTL */
	{ MSR_MCG_STATUS, 0, 0 },
	{ MSR_DEBUGCTL, 0, 0 },
	{ MSR_TSC_ADJUST, 0, 0 },
	{ MSR_XSS, 0, 0 }, /* no supervisor state components */
};

static const struct fixed_msr *find_fixed(uint32_t msr)
{
	for (unsigned i = 0; i < sizeof(fixed_msrs) / sizeof(fixed_msrs[0]); i++)
		if (fixed_msrs[i].msr == msr)
			return &fixed_msrs[i];
	return NULL;
}

/* Where a register that is nothing but storage lives, and what it may hold. */
enum msr_check { ANY, CANONICAL, LOW32, MEMORY_TYPES };

static uint64_t *find_plain(struct soft_cpu *c, uint32_t msr, enum msr_check *check)
{
	struct x86_state *s = &c->s;

	*check = ANY;
	switch ((int)msr) {
	case MSR_STAR: return &s->star;
	case MSR_MISC_ENABLE: return &s->misc_enable;
	}
	*check = CANONICAL;
	switch ((int)msr) {
	case MSR_LSTAR: return &s->lstar;
	case MSR_CSTAR: return &s->cstar;
	case MSR_FS_BASE: return &s->seg[SEG_FS].base;
	case MSR_GS_BASE: return &s->seg[SEG_GS].base;
	case MSR_KERNEL_GS_BASE: return &s->kernel_gs_base;
	case MSR_SYSENTER_ESP: return &s->sysenter_esp;
	case MSR_SYSENTER_EIP: return &s->sysenter_eip;
	}
	*check = LOW32;
	switch ((int)msr) {
	case MSR_FMASK: return &s->fmask;
	case MSR_TSC_AUX: return &s->tsc_aux;
	case MSR_SYSENTER_CS: return &s->sysenter_cs;
	}
	*check = MEMORY_TYPES;
	switch ((int)msr) {
	case MSR_PAT: return &s->pat;
	}
	return NULL;
}

/* Eight memory types, of which 2, 3 and above 7 do not exist (SDM vol. 3, 12.12.2). */
static bool valid_memory_types(uint64_t val)
{
	for (; val; val >>= 8)
		if ((val & 0xff) > 7 || (val & 0xfe) == 2)
			return false;
	return true;
}

static bool plain_value_ok(enum msr_check check, uint64_t val)
{
	switch (check) {
	case CANONICAL: return soft_canonical(val);
	case LOW32: return !(val >> 32);
	case MEMORY_TYPES: return valid_memory_types(val);
	default: return true;
	}
}

static bool machine_msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *val)
{
	fpu_park(c);
	bool ok = c->bus.msr_read(c->bus.machine, c->index, msr, val);
	fpu_unpark(c);
	return ok;
}

static bool machine_msr_write(struct soft_cpu *c, uint32_t msr, uint64_t val)
{
	fpu_park(c);
	bool ok = c->bus.msr_write(c->bus.machine, c->index, msr, val);
	fpu_unpark(c);
	return ok;
}

/* Each timer interrupt writes two of these; they need not be looked for in the lists first. */
static bool is_apic_msr(uint32_t msr)
{
	return msr == MSR_TSC_DEADLINE || (msr & ~0xffu) == MSR_X2APIC;
}

static bool msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *val)
{
	const struct fixed_msr *fixed;
	enum msr_check check;
	uint64_t *plain = find_plain(c, msr, &check);

	if (plain) {
		*val = *plain;
		return true;
	}
	switch ((int)msr) {
	case MSR_EFER: *val = c->s.efer; return true;
	case MSR_MTRR_DEF_TYPE: *val = c->s.mtrr_def_type; return true;
	case MSR_SPEC_CTRL: *val = c->s.spec_ctrl; return true;
	case MSR_PRED_CMD: return false; /* write-only */
	case MSR_TSC: {
		uint32_t lo, hi;
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		*val = ((uint64_t)hi << 32 | lo) + c->s.tsc_offset;
		return true;
	}
	}
	fixed = find_fixed(msr);
	if (fixed) {
		*val = fixed->value;
		return true;
	}
	return machine_msr_read(c, msr, val);
}

enum soft_next sys_rdmsr(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val;

	if (c->cpl || !msr_read(c, (uint32_t)c->s.regs[REG_RCX], &val))
		return soft_gp(c, 0);
	c->s.regs[REG_RAX] = (uint32_t)val;
	c->s.regs[REG_RDX] = val >> 32;
	return NEXT_CONTINUE;
}

static enum soft_next write_efer(struct soft_cpu *c, uint64_t val)
{
	uint64_t old = c->s.efer;

	if (val & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_AIBRSE))
		return soft_gp(c, 0);
	if (((old ^ val) & EFER_LME) && (c->s.cr0 & CR0_PG))
		return soft_gp(c, 0);
	/* LMA follows from CR0.PG and LME; writes to it are ignored. */
	c->s.efer = (val & ~(uint64_t)EFER_LMA) | (old & EFER_LMA);
	if ((old ^ val) & EFER_NXE)
		mmu_flush_all(c);
	cpu_update_mode(c);
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

enum soft_next sys_wrmsr(struct soft_cpu *c, const struct sysop *op)
{
	uint32_t msr = (uint32_t)c->s.regs[REG_RCX];
	uint64_t val = c->s.regs[REG_RDX] << 32 | (uint32_t)c->s.regs[REG_RAX];
	const struct fixed_msr *fixed;
	enum msr_check check;
	uint64_t *plain;

	if (c->cpl)
		return soft_gp(c, 0);
	if (is_apic_msr(msr))
		return machine_msr_write(c, msr, val) ? NEXT_CONTINUE : soft_gp(c, 0);
	plain = find_plain(c, msr, &check);
	if (plain) {
		if (!plain_value_ok(check, val))
			return soft_gp(c, 0);
		*plain = val;
		return NEXT_CONTINUE;
	}
	switch ((int)msr) {
	case MSR_EFER: return write_efer(c, val);
	case MSR_MTRR_DEF_TYPE:
		/* The fixed-range enable (bit 10) needs fixed ranges. */
		if ((val & ~(uint64_t)(MTRR_DEF_TYPE_ENABLE | 0xff)) || !valid_memory_types(val & 0xff) ||
		    (val & 0xff) == 7)
			return soft_gp(c, 0);
		c->s.mtrr_def_type = val;
		return NEXT_CONTINUE;
	case MSR_SPEC_CTRL:
		if (val & ~SPEC_CTRL_KNOWN)
			return soft_gp(c, 0);
		c->s.spec_ctrl = val;
		return NEXT_CONTINUE;
	case MSR_PRED_CMD: return val & ~1ull ? soft_gp(c, 0) : NEXT_CONTINUE;
	case MSR_TSC: return NEXT_CONTINUE; /* see the top of this file */
	}
	fixed = find_fixed(msr);
	if (fixed)
		return (val ^ fixed->value) & ~fixed->ignored ? soft_gp(c, 0) : NEXT_CONTINUE;
	return machine_msr_write(c, msr, val) ? NEXT_CONTINUE : soft_gp(c, 0);
}

/* ---- FS and GS bases ---- */

enum soft_next sys_swapgs(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t base = c->s.seg[SEG_GS].base;

	if (!(c->mode & MODE_CS64))
		return soft_ud(c);
	if (c->cpl)
		return soft_gp(c, 0);
	c->s.seg[SEG_GS].base = c->s.kernel_gs_base;
	c->s.kernel_gs_base = base;
	return NEXT_CONTINUE;
}

static bool fsgsbase_allowed(const struct soft_cpu *c)
{
	return (c->mode & MODE_CS64) && (c->s.cr4 & CR4_FSGSBASE);
}

static enum soft_next read_base(struct soft_cpu *c, const struct sysop *op, unsigned seg)
{
	if (!fsgsbase_allowed(c))
		return soft_ud(c);
	cpu_set_reg(c, op->rm, op->opsize == 8 ? 8 : 4, c->s.seg[seg].base);
	return NEXT_CONTINUE;
}

static enum soft_next write_base(struct soft_cpu *c, const struct sysop *op, unsigned seg)
{
	uint64_t val = c->s.regs[op->rm];

	if (!fsgsbase_allowed(c))
		return soft_ud(c);
	if (op->opsize != 8)
		val = (uint32_t)val;
	if (!soft_canonical(val))
		return soft_gp(c, 0);
	c->s.seg[seg].base = val;
	return NEXT_CONTINUE;
}

enum soft_next sys_rdfsbase(struct soft_cpu *c, const struct sysop *op)
{
	return read_base(c, op, SEG_FS);
}

enum soft_next sys_rdgsbase(struct soft_cpu *c, const struct sysop *op)
{
	return read_base(c, op, SEG_GS);
}

enum soft_next sys_wrfsbase(struct soft_cpu *c, const struct sysop *op)
{
	return write_base(c, op, SEG_FS);
}

enum soft_next sys_wrgsbase(struct soft_cpu *c, const struct sysop *op)
{
	return write_base(c, op, SEG_GS);
}
