/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control, debug and model-specific registers: what is refused, what takes
 * effect, what is flushed, and when the block has to end.
 */
#include "fake_mmu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct cpuid_table table;
static struct soft_cpu cpu;

/* Runs it; the state of a CPU that faults must be as before, and the mode word is never stale. */
static enum soft_next run(sysop_fn *fn, const struct sysop *op)
{
	struct soft_cpu before;
	enum soft_next next;
	uint32_t mode;

	cpu_update_mode(&cpu); /* the test may have changed anything */
	before = cpu;
	fake.flush_all = fake.flush_nonglobal = fake.invlpg = 0;
	next = fn(&cpu, op);
	if (next == NEXT_FAULT)
		assert_memory_equal(&before.s, &cpu.s, sizeof(before.s));
	if (next == NEXT_CONTINUE) {
		assert_int_equal(cpu.mode, before.mode);
		assert_int_equal(fake.flush_all + fake.flush_nonglobal + fake.invlpg, 0);
	}
	assert_int_equal(cpu.s.rip, next == NEXT_DISPATCH ? before.next_rip : before.s.rip);
	mode = cpu.mode;
	cpu_update_mode(&cpu);
	assert_int_equal(mode, cpu.mode);
	assert_int_equal(fake.parked, 0);
	assert_false(fake.bus_unparked);
	cpu.s.rip = before.s.rip;
	return next;
}

static void refused(sysop_fn *fn, const struct sysop *op, unsigned vector)
{
	assert_int_equal(run(fn, op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, vector);
	assert_int_equal(cpu.fault.has_error, vector == VEC_GP);
	assert_int_equal(cpu.fault.error, 0);
}

static struct sysop cr(unsigned n)
{
	return (struct sysop){ .opsize = 8, .adsize = 8, .reg = (uint8_t)n, .rm = REG_RBX };
}

static void set_cr(unsigned n, uint64_t val)
{
	struct sysop op = cr(n);

	cpu.s.regs[REG_RBX] = val;
	assert_int_equal(run(sys_mov_to_cr, &op), NEXT_DISPATCH);
}

static void refuse_cr(unsigned n, uint64_t val)
{
	struct sysop op = cr(n);

	cpu.s.regs[REG_RBX] = val;
	refused(sys_mov_to_cr, &op, VEC_GP);
}

static void test_cr0(void **state)
{
	const uint64_t on = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;

	fake_init(&cpu, &table, CPU_64, 0);
	refuse_cr(0, on | 1ull << 32);
	refuse_cr(0, on & ~(uint64_t)CR0_PE);
	refuse_cr(0, on | CR0_NW);
	refuse_cr(0, on & ~(uint64_t)CR0_PG); /* in 64-bit code */
	set_cr(0, on | CR0_TS | 1 << 7);
	assert_int_equal(cpu.s.cr0, on | CR0_TS);
	assert_true(cpu.mode & MODE_NOFPU);
	assert_int_equal(fake.flush_all, 0);
	set_cr(0, on & ~(uint64_t)(CR0_WP | CR0_ET));
	assert_int_equal(cpu.s.cr0, on & ~(uint64_t)CR0_WP);
	assert_int_equal(fake.flush_all, 1);
}

/* The way a kernel's start-up code goes: 32-bit, PAE, LME, PG. */
static void test_long_mode_entry(void **state)
{
	fake_init(&cpu, &table, CPU_32, 0);
	cpu.s.cr0 = CR0_PE | CR0_ET;
	cpu.s.cr4 = 0;
	cpu.s.efer = EFER_LME;
	refuse_cr(0, CR0_PE | CR0_PG); /* without PAE */
	set_cr(4, CR4_PAE);
	cpu.s.seg[SEG_CS].attr |= SEG_ATTR_L;
	refuse_cr(0, CR0_PE | CR0_PG);
	cpu.s.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	set_cr(0, CR0_PE | CR0_PG);
	assert_int_equal(cpu.s.efer, EFER_LME | EFER_LMA);
	assert_int_equal(fake.flush_all, 1);
	refuse_cr(4, 0); /* PAE is needed now */
	set_cr(0, CR0_PE);
	assert_int_equal(cpu.s.efer, EFER_LME);
}

static void test_cr3(void **state)
{
	fake_init(&cpu, &table, CPU_64, 0);
	set_cr(3, 0x12345018);
	assert_int_equal(cpu.s.cr3, 0x12345018);
	assert_int_equal(fake.flush_nonglobal, 1);
	refuse_cr(3, 1ull << CPUID_PHYS_BITS);
	refuse_cr(3, 1ull << 63 | 0x1000);
	set_cr(3, 0x1000);
	set_cr(4, cpu.s.cr4 | CR4_PCIDE);
	set_cr(3, 1ull << 63 | 0x2005);
	assert_int_equal(cpu.s.cr3, 0x2005);
	assert_true(fake.switches == 1 && fake.old_pcid == 0 && fake.new_pcid == 5 && fake.keep);
	set_cr(3, 0x3006);
	assert_true(fake.switches == 2 && fake.old_pcid == 5 && fake.new_pcid == 6 && !fake.keep);
	fake.flush_nonglobal = 0;
	set_cr(3, 1ull << 63 | 0x4006);
	assert_int_equal(fake.switches, 2);
	assert_int_equal(fake.flush_nonglobal, 1);
	refuse_cr(3, 1ull << 62);
}

static void test_cr4(void **state)
{
	static const uint32_t flushing[] = { CR4_PGE, CR4_PSE, CR4_SMEP, CR4_SMAP };

	fake_init(&cpu, &table, CPU_64, 0);
	refuse_cr(4, cpu.s.cr4 | CR4_LA57);
	refuse_cr(4, cpu.s.cr4 | CR4_VME);
	refuse_cr(4, cpu.s.cr4 | 1u << 22); /* PKE */
	refuse_cr(4, cpu.s.cr4 | 1u << 23); /* CET */
	refuse_cr(4, cpu.s.cr4 | 1ull << 40);
	set_cr(4,
	       cpu.s.cr4 | CR4_TSD | CR4_DE | CR4_MCE | CR4_PCE | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE);
	assert_int_equal(fake.flush_all, 0);
	for (unsigned i = 0; i < 4; i++) {
		set_cr(4, cpu.s.cr4 | flushing[i]);
		assert_int_equal(fake.flush_all, 1);
	}
	set_cr(4, cpu.s.cr4 & ~(uint64_t)CR4_OSXSAVE);
	assert_true(cpu.mode & MODE_NOAVX);
	/* PCIDE: not while CR3 has a PCID, not outside of long mode */
	cpu.s.cr3 = 0x1001;
	refuse_cr(4, cpu.s.cr4 | CR4_PCIDE);
	cpu.s.cr3 = 0x1000;
	set_cr(4, cpu.s.cr4 | CR4_PCIDE);
	fake_init(&cpu, &table, CPU_32, 0);
	refuse_cr(4, cpu.s.cr4 | CR4_PCIDE);

	struct cpuid_table none = table;
	none.features[CPU_XSAVE / 64] &= ~(1ull << CPU_XSAVE % 64);
	fake_init(&cpu, &none, CPU_64, 0);
	refuse_cr(4, cpu.s.cr4 | CR4_OSXSAVE);
}

static void test_cr8(void **state)
{
	struct sysop op = cr(8);

	fake_init(&cpu, &table, CPU_64, 0);
	set_cr(8, 5);
	assert_int_equal(fake.tpr, 0x50);
	assert_int_equal(cpu.exit_request, 1);
	fake.tpr = 0xa3;
	assert_int_equal(run(sys_mov_from_cr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 10);
	refuse_cr(8, 16);
}

static void test_cr_access(void **state)
{
	struct sysop op;

	for (unsigned n = 0; n < 16; n++) {
		bool exists = n == 0 || n == 2 || n == 3 || n == 4 || n == 8;
		op = cr(n);
		fake_init(&cpu, &table, CPU_64, 3);
		refused(sys_mov_from_cr, &op, exists ? VEC_GP : VEC_UD);
		refused(sys_mov_to_cr, &op, exists ? VEC_GP : VEC_UD);
	}
	/* 32-bit code reads and writes 32 bits */
	fake_init(&cpu, &table, CPU_32, 0);
	op = cr(2);
	cpu.s.regs[REG_RBX] = 0xffffffff12345678;
	assert_int_equal(run(sys_mov_to_cr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.cr2, 0x12345678);
	cpu.s.cr2 = 0x1122334455667788;
	assert_int_equal(run(sys_mov_from_cr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 0x55667788);
}

static void test_machine_status_word(void **state)
{
	struct sysop op = { .opsize = 8, .adsize = 8, .rm = REG_RBX };
	struct sysop none = { .opsize = 8, .adsize = 8 };

	fake_init(&cpu, &table, CPU_64, 0);
	cpu.s.regs[REG_RBX] = 0xfff8; /* sets TS, cannot clear PE */
	assert_int_equal(run(sys_lmsw, &op), NEXT_DISPATCH);
	assert_int_equal(cpu.s.cr0, CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP | CR0_TS);
	assert_int_equal(run(sys_smsw, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], cpu.s.cr0);
	assert_int_equal(run(sys_clts, &none), NEXT_DISPATCH);
	assert_int_equal(run(sys_clts, &none), NEXT_CONTINUE);
	op = op_at(FAKE_BASE, 8);
	memset(at(FAKE_BASE), 0x11, 8);
	assert_int_equal(run(sys_smsw, &op), NEXT_CONTINUE);
	assert_int_equal(*(uint64_t *)at(FAKE_BASE), 0x1111111111110000 | (cpu.s.cr0 & 0xffff));
	fake_init(&cpu, &table, CPU_64, 3);
	refused(sys_clts, &none, VEC_GP);
	refused(sys_lmsw, &op, VEC_GP);
	assert_int_equal(run(sys_smsw, &op), NEXT_CONTINUE);
	cpu.s.cr4 |= CR4_UMIP;
	refused(sys_smsw, &op, VEC_GP);
}

static void test_debug_registers(void **state)
{
	struct sysop op = cr(7);

	fake_init(&cpu, &table, CPU_64, 0);
	cpu.s.regs[REG_RBX] = 0xffffdc01; /* reserved bits, GD off, L0 */
	assert_int_equal(run(sys_mov_to_dr, &op), NEXT_DISPATCH);
	assert_int_equal(cpu.s.dr[7], 0xffff0401);
	assert_true(cpu.mode & MODE_HWBP);
	assert_int_equal(fake.flush_all, 1);
	op = cr(2); /* a new address for an armed breakpoint */
	assert_int_equal(run(sys_mov_to_dr, &op), NEXT_DISPATCH);
	assert_int_equal(fake.flush_all, 1);
	op = cr(7);
	assert_int_equal(run(sys_mov_from_dr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 0xffff0401);
	cpu.s.regs[REG_RBX] = 1ull << 32;
	refused(sys_mov_to_dr, &op, VEC_GP);
	op = cr(6);
	refused(sys_mov_to_dr, &op, VEC_GP);
	cpu.s.regs[REG_RBX] = 0;
	assert_int_equal(run(sys_mov_to_dr, &op), NEXT_CONTINUE);
	assert_int_equal(run(sys_mov_from_dr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 0xffff0ff0);

	/* DR4 is DR6 until CR4.DE says otherwise */
	op = cr(4);
	cpu.s.regs[REG_RBX] = 0xf;
	assert_int_equal(run(sys_mov_to_dr, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.dr[6], 0xffff0fff);
	cpu.s.cr4 |= CR4_DE;
	refused(sys_mov_to_dr, &op, VEC_UD);
	refused(sys_mov_from_dr, &op, VEC_UD);

	/* general detect */
	op = cr(0);
	cpu.s.dr[7] = 0x2400;
	assert_int_equal(sys_mov_from_dr(&cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_DB);
	assert_false(cpu.fault.has_error);
	assert_true(cpu.s.dr[6] & 1 << 13);
	assert_int_equal(cpu.s.dr[7], 0x400);

	fake_init(&cpu, &table, CPU_64, 3);
	refused(sys_mov_from_dr, &op, VEC_GP);
	refused(sys_mov_to_dr, &op, VEC_GP);
}

static void test_xcr0(void **state)
{
	struct sysop op = { .opsize = 4 };

	fake_init(&cpu, &table, CPU_64, 0);
#define XSETBV(val)                                                                          \
	(cpu.s.regs[REG_RAX] = (uint32_t)(val), cpu.s.regs[REG_RDX] = (uint64_t)(val) >> 32, \
	 cpu.s.regs[REG_RCX] = 0)
	XSETBV(3);
	assert_int_equal(run(sys_xsetbv, &op), NEXT_DISPATCH);
	assert_true(cpu.mode & MODE_NOAVX);
	XSETBV(7);
	assert_int_equal(run(sys_xsetbv, &op), NEXT_DISPATCH);
	assert_false(cpu.mode & MODE_NOAVX);
	static const uint64_t bad[] = { 0, 2, 5, 6, 0xf, 0xe7, 0x207, 1ull << 62 | 7 };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		XSETBV(bad[i]);
		refused(sys_xsetbv, &op, VEC_GP);
	}
	XSETBV(7);
	cpu.s.regs[REG_RCX] = 1;
	refused(sys_xsetbv, &op, VEC_GP);
	cpu.s.regs[REG_RCX] = 2;
	refused(sys_xgetbv, &op, VEC_GP);
	cpu.s.regs[REG_RCX] = 0xffffffff00000000;
	cpu.s.regs[REG_RDX] = ~0ull;
	assert_int_equal(run(sys_xgetbv, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RAX], 7);
	assert_int_equal(cpu.s.regs[REG_RDX], 0);
	cpu.s.cr4 &= ~(uint64_t)CR4_OSXSAVE;
	refused(sys_xgetbv, &op, VEC_UD);
	refused(sys_xsetbv, &op, VEC_UD);
	fake_init(&cpu, &table, CPU_64, 3);
	XSETBV(7);
	refused(sys_xsetbv, &op, VEC_GP);
}

static void test_tlb_instructions(void **state)
{
	struct sysop op = op_at(FAKE_BASE + 0x123, 8);
	uint64_t *desc = (uint64_t *)at(FAKE_BASE);

	fake_init(&cpu, &table, CPU_64, 0);
	assert_int_equal(run(sys_invlpg, &op), NEXT_DISPATCH);
	assert_int_equal(fake.invlpg_lin, FAKE_BASE + 0x123);
	op.seg = SEG_GS;
	cpu.s.seg[SEG_GS].base = 0x1000;
	assert_int_equal(run(sys_invlpg, &op), NEXT_DISPATCH);
	assert_int_equal(fake.invlpg_lin, FAKE_BASE + 0x1123);
	cpu.s.seg[SEG_GS].base = 1ull << 50; /* not canonical: nothing */
	assert_int_equal(run(sys_invlpg, &op), NEXT_DISPATCH);
	assert_int_equal(fake.invlpg, 0);

	op = op_at(FAKE_BASE, 8);
	op.reg = REG_RBX;
	desc[0] = 0, desc[1] = 0xffffffff81000000;
	cpu.s.regs[REG_RBX] = 0;
	assert_int_equal(run(sys_invpcid, &op), NEXT_DISPATCH);
	assert_int_equal(fake.invlpg_lin, 0xffffffff81000000);
	for (unsigned type = 1; type < 4; type++) {
		cpu.s.regs[REG_RBX] = type;
		assert_int_equal(run(sys_invpcid, &op), NEXT_DISPATCH);
		assert_int_equal(fake.flush_all, type == 2);
		assert_int_equal(fake.flush_nonglobal, type != 2);
	}
	cpu.s.regs[REG_RBX] = 4;
	refused(sys_invpcid, &op, VEC_GP);
	cpu.s.regs[REG_RBX] = 1;
	desc[0] = 3; /* a PCID, but CR4.PCIDE is clear */
	refused(sys_invpcid, &op, VEC_GP);
	cpu.s.cr4 |= CR4_PCIDE;
	fake.flush_nonglobal = fake.forgets = 0;
	assert_int_equal(run(sys_invpcid, &op), NEXT_DISPATCH);
	assert_true(fake.forgets == 1 && fake.forgotten == 3 && !fake.flush_nonglobal);
	cpu.s.regs[REG_RBX] = 3;
	assert_int_equal(run(sys_invpcid, &op), NEXT_DISPATCH);
	assert_true(fake.forgets == 2 && fake.forgotten == MMU_ALL_PCIDS && fake.flush_nonglobal == 1);
	cpu.s.regs[REG_RBX] = 1;
	desc[0] = 0x1000;
	refused(sys_invpcid, &op, VEC_GP);
	cpu.s.regs[REG_RBX] = 0;
	desc[0] = 3, desc[1] = 1ull << 47;
	refused(sys_invpcid, &op, VEC_GP);
	fake.page[0] = PAGE_NONE;
	assert_int_equal(run(sys_invpcid, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_PF);

	fake_init(&cpu, &table, CPU_64, 3);
	refused(sys_invlpg, &op, VEC_GP);
	refused(sys_invpcid, &op, VEC_GP);
	refused(sys_invd, &op, VEC_GP);
}

static void test_hlt(void **state)
{
	struct sysop op = { 0 };

	fake_init(&cpu, &table, CPU_64, 0);
	assert_int_equal(run(sys_hlt, &op), NEXT_DISPATCH);
	assert_true(cpu.s.halted);
	fake_init(&cpu, &table, CPU_64, 3);
	refused(sys_hlt, &op, VEC_GP);
	assert_false(cpu.s.halted);
}

static void test_time_stamp(void **state)
{
	struct sysop op = { .opsize = 8, .rm = REG_RBX };
	uint64_t a, b;

	fake_init(&cpu, &table, CPU_64, 3);
	cpu.s.tsc_aux = 0x1003;
	assert_int_equal(run(sys_rdtsc, &op), NEXT_CONTINUE);
	a = cpu.s.regs[REG_RDX] << 32 | cpu.s.regs[REG_RAX];
	assert_int_equal(run(sys_rdtscp, &op), NEXT_CONTINUE);
	b = cpu.s.regs[REG_RDX] << 32 | cpu.s.regs[REG_RAX];
	assert_true(b > a && b - a < 1000000000);
	assert_int_equal(cpu.s.regs[REG_RCX], 0x1003);
	assert_int_equal(run(sys_rdpid, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 0x1003);
	cpu.s.cr4 |= CR4_TSD;
	cpu_update_mode(&cpu);
	refused(sys_rdtsc, &op, VEC_GP);
	refused(sys_rdtscp, &op, VEC_GP);
	fake_init(&cpu, &table, CPU_64, 0);
	cpu.s.cr4 |= CR4_TSD;
	cpu_update_mode(&cpu);
	assert_int_equal(run(sys_rdtsc, &op), NEXT_CONTINUE);
	refused(sys_rdpmc, &op, VEC_GP);
}

static void test_cpuid(void **state)
{
	struct sysop op = { 0 };

	fake_init(&cpu, &table, CPU_64, 3);
	cpu.index = 3;
	cpu.s.regs[REG_RAX] = 0xffffffff00000001;
	assert_int_equal(run(sys_cpuid, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX] >> 24, 3);
	assert_true(cpu.s.regs[REG_RCX] & 1u << 27);
	assert_true(fake.park_calls);
}

/* ---- MSRs ---- */

static bool rdmsr(uint32_t msr, uint64_t *val)
{
	struct sysop op = { 0 };

	cpu.s.regs[REG_RCX] = msr;
	if (run(sys_rdmsr, &op) == NEXT_FAULT) {
		assert_int_equal(cpu.fault.vector, VEC_GP);
		return false;
	}
	*val = cpu.s.regs[REG_RDX] << 32 | cpu.s.regs[REG_RAX];
	return true;
}

static bool wrmsr(uint32_t msr, uint64_t val)
{
	struct sysop op = { 0 };

	cpu.s.regs[REG_RCX] = msr;
	cpu.s.regs[REG_RAX] = (uint32_t)val | 0xabull << 32;
	cpu.s.regs[REG_RDX] = val >> 32;
	if (run(sys_wrmsr, &op) == NEXT_FAULT) {
		assert_int_equal(cpu.fault.vector, VEC_GP);
		return false;
	}
	return true;
}

static void test_msr_storage(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t good, bad;
	} msrs[] = {
		{ 0xc0000081, 0x0023001000000000, 0 },
		{ 0xc0000082, 0xffffffff81a00000, 1ull << 47 },
		{ 0xc0000083, 0xffffffff81a00010, 1ull << 63 },
		{ 0xc0000084, 0x47700, 1ull << 32 },
		{ 0xc0000100, 0x00007f0012345678, 0x0000800000000000 },
		{ 0xc0000101, 0xffff888000000000, 0x8000000000000000 },
		{ 0xc0000102, 0xffff888000000000, 0x8000000000000000 },
		{ 0xc0000103, 0x1001, 1ull << 32 },
		{ 0x174, 0x10, 1ull << 32 },
		{ 0x175, 0xfffffe0000000000, 1ull << 48 },
		{ 0x176, 0xffffffff81a00020, 1ull << 48 },
		{ 0x277, 0x0007040600070406, 0x0007040600070402 },
		{ 0x277, 0x0407050600070106, 0x0807040600070406 },
		{ 0x2ff, 0x806, 0x802 },
		{ 0x2ff, 0x800, 0xc06 },
		{ 0x48, 1, 8 },
	};

	fake_init(&cpu, &table, CPU_64, 0);
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		uint64_t val;
		assert_true(wrmsr(msrs[i].msr, msrs[i].good));
		assert_true(rdmsr(msrs[i].msr, &val));
		assert_int_equal(val, msrs[i].good);
		if (msrs[i].bad)
			assert_false(wrmsr(msrs[i].msr, msrs[i].bad));
		assert_true(rdmsr(msrs[i].msr, &val));
		assert_int_equal(val, msrs[i].good);
	}
	assert_int_equal(cpu.s.seg[SEG_FS].base, 0x00007f0012345678);
	assert_int_equal(cpu.s.lstar, 0xffffffff81a00000);
}

static void test_efer(void **state)
{
	uint64_t val;

	fake_init(&cpu, &table, CPU_64, 0);
	assert_true(wrmsr(0xc0000080, EFER_SCE | EFER_LME | EFER_NXE | EFER_AIBRSE));
	assert_int_equal(fake.flush_all, 1);
	assert_true(rdmsr(0xc0000080, &val));
	assert_int_equal(val, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_AIBRSE);
	assert_true(wrmsr(0xc0000080, val));
	assert_int_equal(fake.flush_all, 0);
	assert_false(wrmsr(0xc0000080, EFER_NXE)); /* LME, while paging */
	assert_false(wrmsr(0xc0000080, val | EFER_SVME));
	assert_false(wrmsr(0xc0000080, val | EFER_FFXSR));
	assert_false(wrmsr(0xc0000080, val | 1ull << 40));
	fake_init(&cpu, &table, CPU_32, 0);
	cpu.s.cr0 &= ~(uint64_t)CR0_PG;
	assert_true(wrmsr(0xc0000080, EFER_LME | EFER_LMA)); /* LMA is not software's */
	assert_int_equal(cpu.s.efer, EFER_LME);
}

/* What Linux looks at on an AMD, and may write back. */
static void test_msr_configuration(void **state)
{
	uint64_t val;

	fake_init(&cpu, &table, CPU_64, 0);
	assert_true(rdmsr(0xc0010015, &val) && (val & 1 << 24));
	assert_true(wrmsr(0xc0010015, val));
	assert_false(wrmsr(0xc0010015, 0));
	assert_true(rdmsr(0xc0011029, &val) && (val & 2));
	assert_true(wrmsr(0xc0011029, val | 1 << 9));
	assert_true(rdmsr(0xc001001f, &val) && (val & 1ull << 46));
	assert_true(rdmsr(0xc0010010, &val) && val == 0);
	assert_true(rdmsr(0x8b, &val) && val != 0);
	assert_true(rdmsr(0xfe, &val) && val == 0);
	assert_false(wrmsr(0xfe, 8));
	assert_true(rdmsr(0x179, &val) && val == 0);
	assert_true(rdmsr(0x17a, &val) && val == 0);
	assert_true(wrmsr(0x17a, 0));
	assert_false(wrmsr(0x17b, ~0ull)); /* MCG_CTL */
	assert_false(rdmsr(0x400, &val));  /* no banks */
	assert_true(wrmsr(0xda0, 0));
	assert_false(wrmsr(0xda0, 1 << 8));
	assert_true(wrmsr(0x49, 1));
	assert_false(wrmsr(0x49, 2));
	assert_false(rdmsr(0x49, &val));
}

static void test_msr_tsc(void **state)
{
	uint64_t a, b;

	fake_init(&cpu, &table, CPU_64, 0);
	assert_true(rdmsr(0x10, &a));
	assert_true(wrmsr(0x10, 0));
	assert_true(rdmsr(0x10, &b));
	assert_true(b > a);
	assert_true(rdmsr(0x3b, &a) && a == 0);
	assert_true(wrmsr(0x3b, 0));
	assert_false(wrmsr(0x3b, 1));
}

static void test_msr_machine(void **state)
{
	struct sysop op = { 0 };
	uint64_t val;

	fake_init(&cpu, &table, CPU_64, 0);
	fake.msr_accepted = 0x4b564d01;
	assert_true(wrmsr(0x4b564d01, 0x123456789a));
	assert_true(rdmsr(0x4b564d01, &val));
	assert_int_equal(val, 0x123456789a);
	assert_false(rdmsr(0x4b564d02, &val));
	assert_false(wrmsr(0x4b564d02, 0));
	assert_int_equal(fake.park_calls, 4);
	fake_init(&cpu, &table, CPU_64, 3);
	cpu.s.regs[REG_RCX] = 0xc0000080;
	refused(sys_rdmsr, &op, VEC_GP);
	refused(sys_wrmsr, &op, VEC_GP);
}

static void test_bases(void **state)
{
	struct sysop op = { .opsize = 8, .rm = REG_RBX };

	fake_init(&cpu, &table, CPU_64, 0);
	refused(sys_rdfsbase, &op, VEC_UD);
	cpu.s.cr4 |= CR4_FSGSBASE;
	cpu.s.regs[REG_RBX] = 0xffff800012345678;
	assert_int_equal(run(sys_wrgsbase, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.seg[SEG_GS].base, 0xffff800012345678);
	cpu.s.kernel_gs_base = 0x1000;
	assert_int_equal(run(sys_swapgs, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.seg[SEG_GS].base, 0x1000);
	assert_int_equal(cpu.s.kernel_gs_base, 0xffff800012345678);
	op.opsize = 4;
	assert_int_equal(run(sys_wrfsbase, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.seg[SEG_FS].base, 0x12345678);
	assert_int_equal(run(sys_rdgsbase, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RBX], 0x1000);
	op.opsize = 8;
	cpu.s.regs[REG_RBX] = 1ull << 47;
	refused(sys_wrfsbase, &op, VEC_GP);
	cpu.cpl = 3;
	cpu_update_mode(&cpu);
	refused(sys_swapgs, &op, VEC_GP);
	assert_int_equal(run(sys_rdfsbase, &op), NEXT_CONTINUE);
	fake_init(&cpu, &table, CPU_32, 0);
	cpu.s.cr4 |= CR4_FSGSBASE;
	refused(sys_swapgs, &op, VEC_UD);
	refused(sys_wrgsbase, &op, VEC_UD);
}

static int setup(void **state)
{
	cpuid_build(&table, 4, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cr0),
		cmocka_unit_test(test_long_mode_entry),
		cmocka_unit_test(test_cr3),
		cmocka_unit_test(test_cr4),
		cmocka_unit_test(test_cr8),
		cmocka_unit_test(test_cr_access),
		cmocka_unit_test(test_machine_status_word),
		cmocka_unit_test(test_debug_registers),
		cmocka_unit_test(test_xcr0),
		cmocka_unit_test(test_tlb_instructions),
		cmocka_unit_test(test_hlt),
		cmocka_unit_test(test_time_stamp),
		cmocka_unit_test(test_cpuid),
		cmocka_unit_test(test_msr_storage),
		cmocka_unit_test(test_efer),
		cmocka_unit_test(test_msr_configuration),
		cmocka_unit_test(test_msr_tsc),
		cmocka_unit_test(test_msr_machine),
		cmocka_unit_test(test_bases),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
