/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFLAGS, the mode word, operands. */
#include "sys_fixture.h"

/* The mode word of fresh 64-bit code at CPL 0; the fixture turns SMAP on. */
#define KERNEL64 (MODE_CS64 | MODE_CPL0 | MODE_SMAP)

static struct soft_cpu *const c = &fix.c;

static void flags_round_trip(void **state)
{
	static const uint32_t bits[] = { FLAG_CF, FLAG_PF, FLAG_AF,  FLAG_ZF,   FLAG_SF, FLAG_TF,
					 FLAG_IF, FLAG_DF, FLAG_OF,  FLAG_IOPL, FLAG_NT, FLAG_RF,
					 FLAG_VM, FLAG_AC, FLAG_VIF, FLAG_VIP,  FLAG_ID };

	fix_init(LONG64, 0);
	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		cpu_set_rflags(c, bits[i]);
		assert_int_equal(cpu_get_rflags(c), bits[i] | FLAG_ONE);
	}
	cpu_set_rflags(c, ~0ull);
	assert_int_equal(cpu_get_rflags(c), 0x3f7fd7);
	/* the layout that translated code restores flags from */
	cpu_set_rflags(c, FLAG_OF | FLAG_SF | FLAG_CF);
	assert_int_equal(c->aflags & 0xff01, 0x8301);

	c->irq_waiting = 1;
	c->exit_request = 0;
	cpu_set_rflags(c, FLAG_ONE);
	assert_int_equal(c->exit_request, 0);
	cpu_set_rflags(c, FLAG_IF);
	assert_int_equal(c->exit_request, 1);
}

/*
 * POPF against a table: for each CPL and IOPL, and each operand size, all
 * ones and all zeroes popped over all zeroes and all ones.
 */
static void popf_matrix(void **state)
{
	const uint64_t all = FLAG_ONE | FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT |
			     FLAG_AC | FLAG_ID;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		for (unsigned iopl = 0; iopl <= 3; iopl += 3) {
			for (unsigned size = 2; size <= 8; size += 6) {
				uint64_t may = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
				struct sysop op;

				if (size == 8)
					may |= FLAG_AC | FLAG_ID;
				if (cpl == 0)
					may |= FLAG_IOPL;
				if (cpl <= iopl)
					may |= FLAG_IF;

				for (unsigned ones = 0; ones < 2; ones++) {
					uint64_t old = ones ? FLAG_ONE : all;
					uint64_t want;

					fix_init(LONG64, cpl);
					op = op_none(size);
					old = (old & ~(uint64_t)FLAG_IOPL) | iopl << 12;
					cpu_set_rflags(c, old | FLAG_RF);
					cpu_update_mode(c);
					put(c->s.regs[REG_RSP], ones ? ~0ull : 0, size);
					want = FLAG_ONE | (old & ~may) | (ones ? may : 0);
					assert_int_equal(run(sys_popf, &op), NEXT_DISPATCH);
					assert_int_equal(cpu_get_rflags(c), want);
					assert_int_equal(c->s.rip, FIX_DATA + 2);
					assert_int_equal(c->s.regs[REG_RSP],
							 (cpl ? FIX_USTACK : FIX_KSTACK - 0x100) + size);
				}
			}
		}
	}
}

static void popf_more(void **state)
{
	struct sysop op;

	/* what local_irq_restore() does: no change of mode, the block goes on */
	fix_init(LONG64, 0);
	op = op_none(8);
	cpu_set_rflags(c, FLAG_ONE);
	c->irq_waiting = 1;
	put(c->s.regs[REG_RSP], FLAG_ONE | FLAG_IF, 8);
	assert_int_equal(run(sys_popf, &op), NEXT_CONTINUE);
	assert_int_equal(c->exit_request, 1);

	/* VIF and VIP do not survive at CPL 0 */
	cpu_set_rflags(c, FLAG_ONE | FLAG_VIF | FLAG_VIP);
	put(c->s.regs[REG_RSP], ~0ull & ~FLAG_TF & ~FLAG_DF & ~FLAG_AC, 8);
	assert_int_equal(run(sys_popf, &op), NEXT_CONTINUE);
	assert_int_equal(cpu_get_rflags(c) & (FLAG_VIF | FLAG_VIP | FLAG_VM | FLAG_RF), 0);

	c->s.regs[REG_RSP] = FIX_SIZE;
	run_faults(sys_popf, &op, VEC_PF, 0);
	c->s.regs[REG_RSP] = 1ull << 50;
	run_faults(sys_popf, &op, VEC_SS, 0);

	/* 32-bit code */
	fix_init(LEGACY32, 3);
	op = op_none(4);
	put(FIX_USTACK, FLAG_CF, 4);
	assert_int_equal(run(sys_popf, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK + 4);
	assert_int_equal(cpu_get_rflags(c), FLAG_ONE | FLAG_CF | FLAG_IF);
}

static void pushf(void **state)
{
	struct sysop op;

	fix_init(LONG64, 3);
	op = op_none(8);
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF | FLAG_OF | FLAG_ZF | FLAG_DF | FLAG_RF | FLAG_ID);
	cpu_update_mode(c);
	put(FIX_USTACK - 8, ~0ull, 8);
	assert_int_equal(run(sys_pushf, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 8);
	assert_int_equal(get(FIX_USTACK - 8, 8), FLAG_ONE | FLAG_IF | FLAG_OF | FLAG_ZF | FLAG_DF | FLAG_ID);
	op.opsize = 2;
	assert_int_equal(run(sys_pushf, &op), NEXT_CONTINUE);
	assert_int_equal(c->s.regs[REG_RSP], FIX_USTACK - 10);
	assert_int_equal(get(FIX_USTACK - 10, 2), FLAG_ONE | FLAG_IF | FLAG_OF | FLAG_ZF | FLAG_DF);
	c->s.regs[REG_RSP] = FIX_USER;
	run_faults(sys_pushf, &op, VEC_PF, PFERR_P | PFERR_W | PFERR_U);
}

static void cli_sti(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	op = op_none(8);
	c->irq_waiting = 1;
	assert_int_equal(run(sys_cli, &op), NEXT_CONTINUE);
	assert_int_equal(c->iflag, 0);
	assert_int_equal(c->exit_request, 0);
	assert_int_equal(run(sys_sti, &op), NEXT_CONTINUE);
	assert_int_equal(c->iflag, 1);
	assert_int_equal(c->exit_request, 1);
	assert_false(c->s.int_shadow);

	/* single steps: the shadow must outlive the block, if STI casts one */
	cpu_set_rflags(c, FLAG_ONE | FLAG_TF);
	cpu_update_mode(c);
	assert_int_equal(run(sys_sti, &op), NEXT_CONTINUE);
	assert_true(c->s.int_shadow);
	c->s.int_shadow = false;
	assert_int_equal(run(sys_sti, &op), NEXT_CONTINUE);
	assert_false(c->s.int_shadow);

	fix_init(LONG64, 3);
	run_faults(sys_cli, &op, VEC_GP, 0);
	run_faults(sys_sti, &op, VEC_GP, 0);
	cpu_set_rflags(c, FLAG_IOPL | FLAG_IF);
	assert_int_equal(run(sys_cli, &op), NEXT_CONTINUE);
	assert_int_equal(c->iflag, 0);

	fix_init(LEGACY32, 1);
	cpu_set_rflags(c, FLAG_ONE | 1 << 12);
	assert_int_equal(run(sys_sti, &op), NEXT_CONTINUE);
	cpu_set_rflags(c, FLAG_ONE);
	run_faults(sys_sti, &op, VEC_GP, 0);
}

static void mode_flags(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	op = op_none(8);
	assert_int_equal(c->mode, KERNEL64);
	assert_int_equal(run(sys_stac, &op), NEXT_DISPATCH);
	assert_int_equal(c->mode, KERNEL64 | MODE_AC);
	assert_int_equal(c->s.rip, FIX_DATA + 2);
	assert_int_equal(run(sys_clac, &op), NEXT_DISPATCH);
	assert_int_equal(c->mode, KERNEL64);
	c->s.rip = FIX_DATA;
	assert_int_equal(run(sys_clac, &op), NEXT_CONTINUE);
	assert_int_equal(run(sys_std, &op), NEXT_DISPATCH);
	assert_int_equal(c->mode, KERNEL64 | MODE_DF);
	assert_int_equal(run(sys_cld, &op), NEXT_DISPATCH);
	assert_int_equal(c->mode, KERNEL64);

	/* without SMAP AC makes no difference, and the mode word says so */
	c->s.cr4 &= ~CR4_SMAP;
	cpu_update_mode(c);
	c->s.rip = FIX_DATA;
	assert_int_equal(c->mode, MODE_CS64 | MODE_CPL0 | MODE_AC);
	assert_int_equal(run(sys_stac, &op), NEXT_CONTINUE);

	fix_init(LONG64, 3);
	run_faults(sys_stac, &op, VEC_UD, -1);
	run_faults(sys_clac, &op, VEC_UD, -1);
	cpu_set_rflags(c, FLAG_AC);
	cpu_update_mode(c);
	assert_int_equal(c->mode, MODE_CS64 | MODE_USER);
}

static void mode_control(void **state)
{
	static const struct {
		uint32_t cr0, cr4;
		uint64_t xcr0, dr7;
		uint32_t mode;
	} t[] = {
		{ 0, CR4_OSFXSR | CR4_OSXSAVE, 7, 0x400, 0 },
		{ CR0_TS, CR4_OSFXSR | CR4_OSXSAVE, 7, 0, MODE_NOFPU },
		{ CR0_MP, CR4_OSFXSR | CR4_OSXSAVE, 7, 0, 0 },
		{ CR0_MP | CR0_TS, CR4_OSFXSR | CR4_OSXSAVE, 7, 0, MODE_NOFPU | MODE_WAIT_NM },
		{ CR0_EM, CR4_OSFXSR | CR4_OSXSAVE, 7, 0, MODE_NOFPU | MODE_EM },
		{ 0, CR4_OSXSAVE, 7, 0, MODE_NOSSE },
		{ 0, CR4_OSFXSR, 7, 0, MODE_NOAVX },
		{ 0, CR4_OSFXSR | CR4_OSXSAVE, 3, 0, MODE_NOAVX },
		{ 0, CR4_OSFXSR | CR4_OSXSAVE, 7, 0x401, MODE_HWBP },
		{ 0, CR4_OSFXSR | CR4_OSXSAVE, 7, 0x480, MODE_HWBP },
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fix_init(LONG64, 3);
		c->s.cr0 = CR0_PE | CR0_PG | t[i].cr0;
		c->s.cr4 = t[i].cr4;
		c->s.xcr0 = t[i].xcr0;
		c->s.dr[7] = t[i].dr7;
		cpu_update_mode(c);
		assert_int_equal(c->mode, MODE_CS64 | MODE_USER | t[i].mode);
	}
	fix_init(LONG64, 3);
	c->s.cr4 |= CR4_TSD;
	cpu_update_mode(c);
	assert_int_equal(c->mode, MODE_CS64 | MODE_USER | MODE_TSD);
	fix_init(LONG64, 0);
	c->s.cr4 |= CR4_TSD;
	cpu_update_mode(c);
	assert_int_equal(c->mode, KERNEL64);
	fix_init(LEGACY16, 0);
	assert_int_equal(c->mode, MODE_SS32 | MODE_CPL0 | MODE_SMAP);
	fix_init(COMPAT32, 3);
	assert_int_equal(c->mode, MODE_CS32 | MODE_SS32 | MODE_USER);
	/* the bit of CS is about fetches and reads */
	c->s.seg[SEG_CS].limit--;
	cpu_update_mode(c);
	assert_int_equal(c->mode, MODE_CS32 | MODE_SS32 | MODE_USER | MODE_CHECK(SEG_CS));
	c->s.seg[SEG_CS].limit++;
	c->s.seg[SEG_CS].attr &= ~TYPE_READ;
	cpu_update_mode(c);
	assert_int_equal(c->mode, MODE_CS32 | MODE_SS32 | MODE_USER | MODE_CHECK(SEG_CS));
	/* L means nothing outside of long mode */
	fix_init(LEGACY32, 0);
	c->s.seg[SEG_CS].attr |= SEG_ATTR_L;
	cpu_update_mode(c);
	assert_int_equal(c->mode, MODE_CS32 | MODE_SS32 | MODE_CPL0 | MODE_SMAP);
}

static void addresses(void **state)
{
	struct sysop op;

	fix_init(LONG64, 0);
	op = op_mem(8, 0, 0);
	op.base = REG_RBX;
	op.index = REG_R9;
	op.scale = 8;
	op.disp = -16;
	c->s.regs[REG_RBX] = 0x100001000;
	c->s.regs[REG_R9] = 3;
	assert_true(sysop_ea(c, &op) == 0x100001008);
	op.adsize = 4;
	assert_true(sysop_ea(c, &op) == 0x1008);
	op.adsize = 2;
	op.disp = -0x1020;
	assert_true(sysop_ea(c, &op) == 0xfff8);
	op = op_mem(8, 0, 0x10);
	op.base = BASE_RIP;
	assert_true(sysop_ea(c, &op) == FIX_DATA + 2 + 0x10);
	op = op_mem(8, 0, (uint32_t)-1);
	assert_true(sysop_ea(c, &op) == ~0ull);
}

static void operands(void **state)
{
	struct sysop op;
	uint64_t val;

	fix_init(LONG64, 3);
	c->s.regs[REG_RAX] = 0x1122334455667788;
	op = op_reg(8, 0, REG_RAX);
	assert_int_equal(sysop_get_rm(c, &op, 2, &val), 0);
	assert_int_equal(val, 0x7788);
	assert_int_equal(sysop_set_rm(c, &op, 2, 0xabcdef), 0);
	assert_true(c->s.regs[REG_RAX] == 0x112233445566cdef);
	cpu_set_reg(c, REG_RAX, 1, 0x1ff);
	assert_true(c->s.regs[REG_RAX] == 0x112233445566cdff);
	cpu_set_reg(c, REG_RAX, 4, ~0ull);
	assert_int_equal(c->s.regs[REG_RAX], 0xffffffff);
	cpu_set_reg(c, REG_RAX, 8, ~0ull);
	assert_true(c->s.regs[REG_RAX] == ~0ull);

	op = op_mem(8, 0, FIX_UDATA);
	assert_int_equal(sysop_set_rm(c, &op, 4, 0x1234567890), 0);
	assert_int_equal(get(FIX_UDATA, 8), 0x34567890);
	assert_int_equal(sysop_get_rm(c, &op, 8, &val), 0);
	assert_int_equal(val, 0x34567890);
	op = op_mem(8, 0, FIX_DATA); /* a supervisor page */
	assert_int_equal(sysop_get_rm(c, &op, 8, &val), -1);
	assert_int_equal(c->fault.vector, VEC_PF);
	assert_int_equal(c->fault.error, PFERR_P | PFERR_U);
	assert_int_equal(sysop_set_rm(c, &op, 8, val), -1);

	cpu_set_sp(c, 0x123456789abc);
	assert_true(c->s.regs[REG_RSP] == 0x123456789abc);
	fix_init(LEGACY32, 0);
	cpu_set_sp(c, 0x123456789abc);
	assert_int_equal(c->s.regs[REG_RSP], 0x56789abc);
	c->s.seg[SEG_SS].attr &= ~SEG_ATTR_DB;
	cpu_update_mode(c);
	cpu_set_sp(c, 0x11111111);
	assert_int_equal(c->s.regs[REG_RSP], 0x56781111);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_round_trip), cmocka_unit_test(popf_matrix),
		cmocka_unit_test(popf_more),        cmocka_unit_test(pushf),
		cmocka_unit_test(cli_sti),          cmocka_unit_test(mode_flags),
		cmocka_unit_test(mode_control),     cmocka_unit_test(addresses),
		cmocka_unit_test(operands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
