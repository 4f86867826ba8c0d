/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control and debug registers, XCR0, TLB maintenance, HLT, CPUID and the time
 * stamp counter. The model-specific registers are next door in sys_msr.c.
 *
 * A handler here that changes what an instruction means (mode word) or what an
 * address means (paging) ends the block; one that only reads goes on in it.
 * The consistency rules are those of SDM vol. 3, 2.5 and 4.1; what is reserved
 * follows from the CPU model in cpu/cpuid.c.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/fpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

#include "cpu/cpuid.h"

#define CR0_KNOWN \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR4_KNOWN                                                                                           \
	(CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | \
	 CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

#define CR3_NOFLUSH   (1ull << 63)
#define CR3_PCID_MASK 0xfffull

#define DR6_ONES     0xffff0ff0u
#define DR6_WRITABLE 0x0000e00fu
#define DR6_BD       (1u << 13)
#define DR7_ONES     0x00000400u
#define DR7_WRITABLE 0xffff23ffu
#define DR7_ENABLES  0x000000ffu
#define DR7_GD       (1u << 13)

/* The state changed in a way that the rest of the block does not know of. */
static enum soft_next go_on_elsewhere(struct soft_cpu *c)
{
	cpu_update_mode(c);
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

static bool in_64bit_code(const struct soft_cpu *c)
{
	return c->mode & MODE_CS64;
}

/* Moves between general and system registers are as wide as the code segment says, whatever the prefixes. */
static uint64_t get_full_reg(const struct soft_cpu *c, unsigned reg)
{
	return in_64bit_code(c) ? c->s.regs[reg] : (uint32_t)c->s.regs[reg];
}

static void set_full_reg(struct soft_cpu *c, unsigned reg, uint64_t val)
{
	cpu_set_reg(c, reg, in_64bit_code(c) ? 8 : 4, val);
}

/* ---- control registers ---- */

static enum soft_next set_cr0(struct soft_cpu *c, uint64_t val)
{
	struct x86_state *s = &c->s;
	uint64_t old = s->cr0, efer = s->efer;

	if (val >> 32)
		return soft_gp(c, 0);
	if ((val & CR0_PG) && !(val & CR0_PE))
		return soft_gp(c, 0);
	if ((val & CR0_NW) && !(val & CR0_CD))
		return soft_gp(c, 0);
	/* The other reserved bits are ignored; ET is hardwired. */
	val = (val & CR0_KNOWN) | CR0_ET;

	if ((val & ~old & CR0_PG) && (efer & EFER_LME)) {
		/* Activates IA-32e mode. */
		if (!(s->cr4 & CR4_PAE) || (s->seg[SEG_CS].attr & SEG_ATTR_L))
			return soft_gp(c, 0);
		efer |= EFER_LMA;
	}
	if (old & ~val & CR0_PG) {
		if (in_64bit_code(c) || (s->cr4 & CR4_PCIDE))
			return soft_gp(c, 0);
		efer &= ~(uint64_t)EFER_LMA;
	}

	s->cr0 = val;
	s->efer = efer;
	if ((old ^ val) & (CR0_PG | CR0_WP | CR0_PE))
		mmu_flush_all(c);
	return go_on_elsewhere(c);
}

static enum soft_next set_cr3(struct soft_cpu *c, uint64_t val)
{
	bool pcids = c->s.cr4 & CR4_PCIDE, keep = pcids && (val & CR3_NOFLUSH);
	unsigned old = c->s.cr3 & CR3_PCID_MASK, new = val &CR3_PCID_MASK;

	if (in_64bit_code(c)) {
		/* With PCIDs, bit 63 asks to keep this PCID's translations, and is not stored. */
		if (pcids)
			val &= ~CR3_NOFLUSH;
		if (val >> CPUID_PHYS_BITS)
			return soft_gp(c, 0);
	}
	c->s.cr3 = val;
	/* The same PCID: flushing more than asked for is always allowed (SDM vol. 3, 4.10.4.1). */
	if (pcids && old != new)
		mmu_switch_pcid(c, old, new, keep);
	else
		mmu_flush_nonglobal(c);
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

static enum soft_next set_cr4(struct soft_cpu *c, uint64_t val)
{
	struct x86_state *s = &c->s;
	uint64_t old = s->cr4, allowed = CR4_KNOWN;

	if (cpuid_has(c->cpuid, CPU_XSAVE))
		allowed |= CR4_OSXSAVE;
	if (val & ~allowed)
		return soft_gp(c, 0);
	if (cpu_long_mode(c) && !(val & CR4_PAE))
		return soft_gp(c, 0);
	if ((val & ~old & CR4_PCIDE) && (!cpu_long_mode(c) || (s->cr3 & CR3_PCID_MASK)))
		return soft_gp(c, 0);

	s->cr4 = val;
	if ((old ^ val) & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
		mmu_flush_all(c);
	return go_on_elsewhere(c);
}

/* CR8 is bits 7-4 of the local APIC's task priority register. */
static enum soft_next set_cr8(struct soft_cpu *c, uint64_t val)
{
	if (val >> 4)
		return soft_gp(c, 0);
	c->s.cr8 = val;
	fpu_park(c);
	c->bus.tpr_write(c->bus.machine, c->index, (uint8_t)(val << 4));
	fpu_unpark(c);
	/* A lower priority may let an interrupt through that waits. */
	c->exit_request = 1;
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

static uint64_t get_cr8(struct soft_cpu *c)
{
	fpu_park(c);
	c->s.cr8 = c->bus.tpr_read(c->bus.machine, c->index) >> 4;
	fpu_unpark(c);
	return c->s.cr8;
}

enum soft_next sys_mov_from_cr(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val;

	switch (op->reg) {
	case 0: val = c->s.cr0; break;
	case 2: val = c->s.cr2; break;
	case 3: val = c->s.cr3; break;
	case 4: val = c->s.cr4; break;
	case 8: val = 0; break;
	default: return soft_ud(c);
	}
	if (op->lock)
		return soft_ud(c);
	if (c->cpl)
		return soft_gp(c, 0);
	if (op->reg == 8)
		val = get_cr8(c);
	set_full_reg(c, op->rm, val);
	return NEXT_CONTINUE;
}

enum soft_next sys_mov_to_cr(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val = get_full_reg(c, op->rm);

	if (op->lock || (op->reg > 4 && op->reg != 8) || op->reg == 1)
		return soft_ud(c);
	if (c->cpl)
		return soft_gp(c, 0);
	switch (op->reg) {
	case 0: return set_cr0(c, val);
	case 2: c->s.cr2 = val; return NEXT_CONTINUE;
	case 3: return set_cr3(c, val);
	case 4: return set_cr4(c, val);
	default: return set_cr8(c, val);
	}
}

enum soft_next sys_clts(struct soft_cpu *c, const struct sysop *op)
{
	if (c->cpl)
		return soft_gp(c, 0);
	if (!(c->s.cr0 & CR0_TS))
		return NEXT_CONTINUE;
	c->s.cr0 &= ~(uint64_t)CR0_TS;
	return go_on_elsewhere(c);
}

enum soft_next sys_lmsw(struct soft_cpu *c, const struct sysop *op)
{
	const uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
	uint64_t val;

	if (c->cpl)
		return soft_gp(c, 0);
	if (sysop_get_rm(c, op, 2, &val))
		return NEXT_FAULT;
	/* LMSW can set PE, but not clear it. */
	return set_cr0(c, (c->s.cr0 & ~(low & ~(uint64_t)CR0_PE)) | (val & low));
}

enum soft_next sys_smsw(struct soft_cpu *c, const struct sysop *op)
{
	if (sysop_umip(c))
		return soft_gp(c, 0);
	if (op->rm != OPERAND_NONE) {
		cpu_set_reg(c, op->rm, op->opsize, c->s.cr0);
		return NEXT_CONTINUE;
	}
	return sysop_set_rm(c, op, 2, c->s.cr0 & 0xffff) ? NEXT_FAULT : NEXT_CONTINUE;
}

/* ---- debug registers ---- */

/* Resolves DR4 and DR5 and the reasons not to be here. Negative: a fault is set. */
static int debug_reg(struct soft_cpu *c, const struct sysop *op)
{
	unsigned reg = op->reg;

	if (reg > 7 || ((reg == 4 || reg == 5) && (c->s.cr4 & CR4_DE))) {
		soft_ud(c);
		return -1;
	}
	if (c->cpl) {
		soft_gp(c, 0);
		return -1;
	}
	if (c->s.dr[7] & DR7_GD) {
		/* General detect; delivery clears DR7.GD so that the handler may look. */
		c->s.dr[6] |= DR6_BD;
		c->s.dr[7] &= ~(uint64_t)DR7_GD;
		soft_raise(c, VEC_DB, false, 0);
		return -1;
	}
	return (int)(reg == 4 || reg == 5 ? reg + 2 : reg);
}

enum soft_next sys_mov_from_dr(struct soft_cpu *c, const struct sysop *op)
{
	int reg = debug_reg(c, op);

	if (reg < 0)
		return NEXT_FAULT;
	set_full_reg(c, op->rm,
		     reg == 6   ? c->s.dr[6] | DR6_ONES
		     : reg == 7 ? c->s.dr[7] | DR7_ONES
				: c->s.dr[reg]);
	return NEXT_CONTINUE;
}

enum soft_next sys_mov_to_dr(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val = get_full_reg(c, op->rm);
	int reg = debug_reg(c, op);

	if (reg < 0)
		return NEXT_FAULT;
	if (reg >= 6 && val >> 32)
		return soft_gp(c, 0);
	switch (reg) {
	case 6: c->s.dr[6] = (val & DR6_WRITABLE) | DR6_ONES; return NEXT_CONTINUE;
	case 7: c->s.dr[7] = (val & DR7_WRITABLE) | DR7_ONES; break;
	default: c->s.dr[reg] = val; break;
	}
	/* A page with a data breakpoint must not be in the TLB: its accesses are looked at one by one. */
	if (c->s.dr[7] & DR7_ENABLES)
		mmu_flush_all(c);
	return go_on_elsewhere(c);
}

/* ---- XCR0 ---- */

enum soft_next sys_xgetbv(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val = c->s.xcr0;
	uint32_t index = (uint32_t)c->s.regs[REG_RCX];

	if (!(c->s.cr4 & CR4_OSXSAVE))
		return soft_ud(c);
	if (index == 1 && cpuid_has(c->cpuid, CPU_XGETBV1)) {
		/* Which components are in use: the guest's are live, so the host knows. */
		uint32_t lo, hi;
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(1));
		val &= lo;
	} else if (index != 0) {
		return soft_gp(c, 0);
	}
	c->s.regs[REG_RAX] = (uint32_t)val;
	c->s.regs[REG_RDX] = val >> 32;
	return NEXT_CONTINUE;
}

enum soft_next sys_xsetbv(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t val = c->s.regs[REG_RDX] << 32 | (uint32_t)c->s.regs[REG_RAX];

	if (!(c->s.cr4 & CR4_OSXSAVE))
		return soft_ud(c);
	if (c->cpl || (uint32_t)c->s.regs[REG_RCX] != 0)
		return soft_gp(c, 0);
	if (!(val & XCR0_X87) || (val & ~(uint64_t)c->cpuid->xcr0))
		return soft_gp(c, 0);
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		return soft_gp(c, 0);
	c->s.xcr0 = val;
	return go_on_elsewhere(c);
}

/* ---- TLB and caches ---- */

enum soft_next sys_invlpg(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t lin;

	if (c->cpl)
		return soft_gp(c, 0);
	/* No access, so no segment checks; a non-canonical address does nothing. */
	lin = sysop_ea(c, op);
	if (!in_64bit_code(c))
		lin = (uint32_t)(lin + c->s.seg[op->seg].base);
	else if (op->seg == SEG_FS || op->seg == SEG_GS)
		lin += c->s.seg[op->seg].base;
	if (soft_canonical(lin))
		mmu_invlpg(c, lin);
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

enum soft_next sys_invpcid(struct soft_cpu *c, const struct sysop *op)
{
	uint64_t type = get_full_reg(c, op->reg), lin, desc[2], current;

	if (c->cpl || type > 3)
		return soft_gp(c, 0);
	if (soft_linear(c, op->seg, sysop_ea(c, op), sizeof(desc), false, &lin) ||
	    soft_read(c, lin, desc, sizeof(desc), MEM_READ))
		return NEXT_FAULT;

	if (type < 2 && ((desc[0] >> 12) || (desc[0] && !(c->s.cr4 & CR4_PCIDE))))
		return soft_gp(c, 0);
	if (type == 0 && !soft_canonical(desc[1]))
		return soft_gp(c, 0);

	current = c->s.cr4 & CR4_PCIDE ? c->s.cr3 & CR3_PCID_MASK : 0;
	switch (type) {
	case 0:
		if (desc[0] == current)
			mmu_invlpg(c, desc[1]);
		else
			mmu_forget_pcid(c, (unsigned)desc[0]);
		break;
	case 1:
		if (desc[0] == current)
			mmu_flush_nonglobal(c);
		else
			mmu_forget_pcid(c, (unsigned)desc[0]);
		break;
	case 2: mmu_flush_all(c); break;
	case 3:
		mmu_forget_pcid(c, MMU_ALL_PCIDS);
		mmu_flush_nonglobal(c);
		break;
	}
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

/* INVD, WBINVD: memory is coherent, there is nothing to write back. */
enum soft_next sys_invd(struct soft_cpu *c, const struct sysop *op)
{
	return c->cpl ? soft_gp(c, 0) : NEXT_CONTINUE;
}

/* ---- the rest ---- */

enum soft_next sys_hlt(struct soft_cpu *c, const struct sysop *op)
{
	if (c->cpl)
		return soft_gp(c, 0);
	c->s.halted = true;
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}

enum soft_next sys_cpuid(struct soft_cpu *c, const struct sysop *op)
{
	uint32_t out[4];

	fpu_park(c);
	cpuid_query(c->cpuid, &c->s, c->index, (uint32_t)c->s.regs[REG_RAX], (uint32_t)c->s.regs[REG_RCX],
		    out);
	fpu_unpark(c);
	c->s.regs[REG_RAX] = out[0];
	c->s.regs[REG_RBX] = out[1];
	c->s.regs[REG_RCX] = out[2];
	c->s.regs[REG_RDX] = out[3];
	return NEXT_CONTINUE;
}

static void read_tsc(struct soft_cpu *c)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	uint64_t tsc = ((uint64_t)hi << 32 | lo) + c->s.tsc_offset;
	c->s.regs[REG_RAX] = (uint32_t)tsc;
	c->s.regs[REG_RDX] = tsc >> 32;
}

static bool tsc_denied(const struct soft_cpu *c)
{
	return (c->s.cr4 & CR4_TSD) && c->cpl;
}

enum soft_next sys_rdtsc(struct soft_cpu *c, const struct sysop *op)
{
	if (tsc_denied(c))
		return soft_gp(c, 0);
	read_tsc(c);
	return NEXT_CONTINUE;
}

enum soft_next sys_rdtscp(struct soft_cpu *c, const struct sysop *op)
{
	if (!cpuid_has(c->cpuid, CPU_RDTSCP))
		return soft_ud(c);
	if (tsc_denied(c))
		return soft_gp(c, 0);
	/* All earlier instructions have executed, all earlier loads are visible. */
	__asm__ volatile("lfence" : : : "memory");
	read_tsc(c);
	c->s.regs[REG_RCX] = (uint32_t)c->s.tsc_aux;
	return NEXT_CONTINUE;
}

enum soft_next sys_rdpid(struct soft_cpu *c, const struct sysop *op)
{
	if (!cpuid_has(c->cpuid, CPU_RDPID))
		return soft_ud(c);
	set_full_reg(c, op->rm, c->s.tsc_aux);
	return NEXT_CONTINUE;
}

/* There are no performance counters, so any index is one too high. */
enum soft_next sys_rdpmc(struct soft_cpu *c, const struct sysop *op)
{
	return soft_gp(c, 0);
}
