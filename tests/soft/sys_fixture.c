/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See sys_fixture.h. */
#include "sys_fixture.h"

struct fix fix;

static uint64_t fold(uint64_t lin)
{
	return lin >= FIX_HIGH ? lin - FIX_HIGH : lin;
}

static int fake_access(struct soft_cpu *c, uint64_t lin, unsigned len, unsigned how)
{
	bool user = (c->mode & MODE_USER) && !(how & MEM_SYSTEM);
	uint64_t bad = lin;
	uint32_t error = (how & MEM_WRITE ? PFERR_W : 0) | (user ? PFERR_U : 0);

	fix.last_how = how;
	fix.accesses++;
	if (fix.accesses == fix.fail_access) {
		bad = lin;
	} else if (lin >= FIX_SIZE || len > FIX_SIZE - lin) {
		bad = lin >= FIX_SIZE ? lin : FIX_SIZE;
	} else if (fix.fault_at && fix.fault_at >= lin && fix.fault_at < lin + len &&
		   (!fix.fault_writes || (how & MEM_WRITE))) {
		bad = fix.fault_at;
	} else if (user && lin < FIX_USER) {
		error |= PFERR_P;
	} else {
		return 0;
	}
	soft_raise(c, VEC_PF, true, error);
	c->fault.cr2 = bad;
	return -1;
}

int soft_read(struct soft_cpu *c, uint64_t lin, void *buf, unsigned len, unsigned how)
{
	assert_false(how & MEM_WRITE);
	if (fake_access(c, fold(lin), len, how))
		return -1;
	memcpy(buf, fix.mem + fold(lin), len);
	return 0;
}

int soft_write(struct soft_cpu *c, uint64_t lin, const void *buf, unsigned len, unsigned how)
{
	assert_true(how & MEM_WRITE);
	if (fake_access(c, fold(lin), len, how))
		return -1;
	memcpy(fix.mem + fold(lin), buf, len);
	fix.writes++;
	return 0;
}

/* There is no vector state here, and no TLB. */
void fpu_park(struct soft_cpu *c)
{
	fix.parked++;
}

void fpu_unpark(struct soft_cpu *c)
{
	fix.parked--;
}

void mmu_flush_nonglobal(struct soft_cpu *c)
{
	fix.flushes++;
}

void put(uint64_t at, uint64_t val, unsigned size)
{
	assert_true(at + size <= FIX_SIZE);
	memcpy(fix.mem + at, &val, size);
}

uint64_t get(uint64_t at, unsigned size)
{
	uint64_t val = 0;

	assert_true(at + size <= FIX_SIZE);
	memcpy(&val, fix.mem + at, size);
	return val;
}

void fix_gdt(unsigned sel, uint64_t desc)
{
	put(FIX_GDT + (sel & ~7u), desc, 8);
}

uint64_t fix_desc(uint32_t base, uint32_t limit20, uint16_t attr)
{
	return (limit20 & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 40 |
	       (uint64_t)(limit20 >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

void fix_gate(unsigned vector, uint16_t sel, uint16_t attr, unsigned ist, uint64_t offset)
{
	uint64_t lo = (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 | (uint64_t)attr << 40 |
		      (offset >> 16 & 0xffff) << 48;

	if (cpu_long_mode(&fix.c)) {
		put(FIX_IDT + 16 * vector, lo, 8);
		put(FIX_IDT + 16 * vector + 8, offset >> 32, 8);
	} else {
		put(FIX_IDT + 8 * vector, lo, 8);
	}
}

static void load(unsigned seg, uint16_t sel)
{
	struct desc d = { .lo = get(FIX_GDT + (sel & ~7u), 8) };

	seg_from_desc(&fix.c.s.seg[seg], sel, &d);
}

static void fill_gdt(void)
{
	/* attr: G D/B L - in bits 15..13, P DPL S type in bits 7..0 */
	fix_gdt(K_CODE32, fix_desc(0, 0xfffff, 0xc09b));
	fix_gdt(K_CODE, fix_desc(0, 0xfffff, 0xa09b));
	fix_gdt(K_DATA, fix_desc(0, 0xfffff, 0xc093));
	fix_gdt(U_CODE32, fix_desc(0, 0xfffff, 0xc0fb));
	fix_gdt(U_DATA, fix_desc(0, 0xfffff, 0xc0f3));
	fix_gdt(U_CODE, fix_desc(0, 0xfffff, 0xa0fb));
	fix_gdt(TSS64, fix_desc(FIX_TSS, 0x67, 0x0089));
	fix_gdt(LDT64, fix_desc(FIX_LDT, 0xff, 0x0082));
	fix_gdt(TSS32, fix_desc(FIX_TSS, 0x67, 0x0089));
	fix_gdt(LDT32, fix_desc(FIX_LDT, 0xff, 0x0082));
	fix_gdt(K_CODE16, fix_desc(0, 0xfffff, 0x809b));
	fix_gdt(U_STACK16, fix_desc(FIX_USER, 0xffff, 0x00f3));
	fix_gdt(K_DOWN, fix_desc(0, 0xfff, 0x4097));
	fix_gdt(U_RODATA, fix_desc(0, 0xfffff, 0xc0f1));
	fix_gdt(U_XONLY, fix_desc(0, 0xfffff, 0xc0f9));
	fix_gdt(CONFORMING32, fix_desc(0, 0xfffff, 0xc09f));
	fix_gdt(U_DATA_NP, fix_desc(0, 0xfffff, 0xc073));
	fix_gdt(K_CODE_NP, fix_desc(0, 0xfffff, 0x401b));
	fix_gdt(CODE1, fix_desc(0, 0xfffff, 0xc0bb));
	fix_gdt(DATA1, fix_desc(0, 0xfffff, 0xc0b3));
	fix_gdt(TASK_GATE, fix_desc(0, 0, 0x00e5));
	fix_gdt(K_STACK16, fix_desc(0, 0xffff, 0x0093));
	fix_gdt(CONFORMING, fix_desc(0, 0xfffff, 0xa09f));
	fix_gdt(K_SMALL, fix_desc(0, 0x1ffff, 0x4093));
	fix_gdt(CODE_LD, fix_desc(0, 0xfffff, 0xe09b));
	fix_gdt(U_STACK_NP, fix_desc(0, 0xfffff, 0xc073));
	fix_gdt(TSS16, fix_desc(FIX_TSS, 0x2b, 0x0081));
	fix_gdt(U_BASED, fix_desc(FIX_USER, 0xffff, 0x40f3));
}

void fix_init(enum fix_mode mode, unsigned cpl)
{
	memset(fix.mem, 0, sizeof(fix.mem));
	fix_init_cpu(mode, cpl);
}

void fix_init_cpu(enum fix_mode mode, unsigned cpl)
{
	static const uint16_t code[4][2] = {
		[LONG64] = { K_CODE, U_CODE },
		[COMPAT32] = { K_CODE32, U_CODE32 },
		[LEGACY32] = { K_CODE32, U_CODE32 },
		[LEGACY16] = { K_CODE16, U_CODE32 },
	};
	struct soft_cpu *c = &fix.c;
	bool lm = mode == LONG64 || mode == COMPAT32;

	memset(&fix.c, 0, sizeof(fix.c));
	fix.fault_at = 0;
	fix.fault_writes = false;
	fix.writes = fix.accesses = fix.fail_access = 0;
	fill_gdt();
	c->s.gdtr = (struct x86_dtr){ .base = FIX_GDT, .limit = GDT_END - 1 };
	c->s.idtr = (struct x86_dtr){ .base = FIX_IDT, .limit = (lm ? 16 : 8) * 256 - 1 };
	c->s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP;
	c->s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_SMAP;
	c->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	if (lm)
		c->s.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	c->cpl = cpl;
	load(SEG_CS, cpl == 1 ? CODE1 : code[mode][cpl == 3]);
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		if (i != SEG_CS)
			load(i, cpl == 3 ? U_DATA : cpl == 1 ? DATA1 : K_DATA);
	}
	c->s.tr = (struct x86_seg){ .sel = lm ? TSS64 : TSS32, .attr = 0x8b, .limit = 0x67, .base = FIX_TSS };
	if (lm) {
		put(FIX_TSS + 4, FIX_KSTACK, 8);
		put(FIX_TSS + 0xc, FIX_STACK1, 8);
		put(FIX_TSS + 0x24, FIX_IST1, 8);
		put(FIX_TSS + 0x24 + 6 * 8, FIX_IST7, 8);
	} else {
		put(FIX_TSS + 4, FIX_KSTACK, 4);
		put(FIX_TSS + 8, K_DATA, 2);
		put(FIX_TSS + 12, FIX_STACK1, 4);
		put(FIX_TSS + 16, DATA1, 2);
	}
	c->s.regs[REG_RSP] = cpl == 3 ? FIX_USTACK : cpl == 1 ? FIX_STACK1 - 0x100 : FIX_KSTACK - 0x100;
	c->s.rip = FIX_DATA;
	c->next_rip = FIX_DATA + 2;
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF);
	cpu_update_mode(c);
}

enum soft_next run(sysop_fn *fn, const struct sysop *op)
{
	struct soft_cpu before = fix.c;
	enum soft_next next = fn(&fix.c, op);
	uint32_t mode;

	if (next == NEXT_FAULT) {
		assert_memory_equal(&before.s, &fix.c.s, sizeof(before.s));
		assert_int_equal(before.aflags, fix.c.aflags);
		assert_int_equal(before.sysflags, fix.c.sysflags);
		assert_int_equal(before.iflag, fix.c.iflag);
		assert_int_equal(before.cpl, fix.c.cpl);
	}
	if (next != NEXT_DISPATCH) {
		assert_int_equal(before.mode, fix.c.mode);
		assert_int_equal(before.s.rip, fix.c.s.rip);
	}
	/* SS.DPL is the CPL, so that a saved state tells it. */
	assert_int_equal(attr_dpl(fix.c.s.seg[SEG_SS].attr), fix.c.cpl);
	/* The mode word is never left behind. */
	mode = fix.c.mode;
	cpu_update_mode(&fix.c);
	assert_int_equal(mode, fix.c.mode);
	return next;
}

void run_faults(sysop_fn *fn, const struct sysop *op, unsigned vector, int error)
{
	assert_int_equal(run(fn, op), NEXT_FAULT);
	assert_int_equal(fix.c.fault.vector, vector);
	assert_int_equal(fix.c.fault.has_error, error >= 0);
	if (error >= 0)
		assert_int_equal(fix.c.fault.error, error);
}

struct sysop op_none(unsigned size)
{
	return (struct sysop){
		.opsize = size,
		.adsize = fix.c.mode & MODE_CS64 ? 8 : 4,
		.len = 2,
		.rm = OPERAND_NONE,
		.seg = SEG_DS,
		.base = OPERAND_NONE,
		.index = OPERAND_NONE,
		.scale = 1,
	};
}

struct sysop op_reg(unsigned size, unsigned reg, unsigned rm)
{
	struct sysop op = op_none(size);

	op.reg = reg;
	op.rm = rm;
	return op;
}

struct sysop op_mem(unsigned size, unsigned reg, uint32_t addr)
{
	struct sysop op = op_none(size);

	op.reg = reg;
	op.disp = (int32_t)addr;
	return op;
}
