/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random descriptors, gates, frames and registers through every system
 * instruction of this half of the engine. There is no reference to compare
 * with, but much that must hold whatever a guest has set up:
 *
 * - a fault leaves the guest's registers as they were (run() checks that),
 * - the code segment that is entered is present code of the right level,
 *   and RIP lies in it; the stack segment is of that level too,
 * - 64-bit code alone has a null SS, and only below CPL 3,
 * - privilege rises only through gates and system calls,
 * - data segments that CPL 3 holds are ones it may use,
 * - nothing but a stack, a named memory operand or an accessed or busy bit is
 *   written.
 *
 * With --fuzz=N: N rounds, from a seed that is printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sys_fixture.h"

static struct soft_cpu *const c = &fix.c;
static uint64_t rng_state;
static unsigned rounds = 60000;

static uint64_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * 0x2545f4914f6cdd1dull;
}

static unsigned pick(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

static bool chance(unsigned one_in)
{
	return !pick(one_in);
}

static uint64_t random_address(void)
{
	static const uint32_t where[] = { FIX_KSTACK, FIX_STACK1, FIX_IST1, FIX_DATA, FIX_USTACK, FIX_UDATA };
	uint64_t a = where[pick(6)] - 64 + pick(128);

	switch (pick(24)) {
	case 0: return rnd();
	case 1: return FIX_SIZE - pick(16);
	case 2: return 0x800000000000 - pick(64);
	case 3: return 0xffff800000000000 - 32 + pick(64);
	case 4: return FIX_HIGH + a;
	case 5: return 0xffffffff - pick(16);
	case 6: return a & 0xffff;
	default: return a;
	}
}

static uint16_t random_selector(void)
{
	if (chance(12))
		return (uint16_t)rnd();
	if (chance(10))
		return pick(4);
	return (uint16_t)(pick(GDT_END / 8) * 8 | (chance(6) ? 4 : 0) | (chance(2) ? 3 : pick(4)));
}

static uint16_t random_attr(void)
{
	/* mostly present segments of every type, some system types */
	uint16_t attr = (uint16_t)(rnd() & 0xe00f);

	attr |= (chance(2) ? 3 : pick(4)) << SEG_ATTR_DPL_SHIFT;
	if (!chance(4))
		attr |= SEG_ATTR_S;
	if (!chance(8))
		attr |= SEG_ATTR_P;
	return attr;
}

static void random_tables(void)
{
	for (unsigned sel = 8; sel < GDT_END; sel += 8) {
		if (chance(3))
			fix_gdt(sel,
				fix_desc(chance(4) ? (uint32_t)rnd() : 0,
					 chance(2) ? 0xfffff : (uint32_t)rnd() & 0xfffff, random_attr()));
		else if (chance(6)) /* a call gate, or something like one */
			fix_gdt(sel, (rnd() & 0xffff) | (uint64_t)random_selector() << 16 |
					     (uint64_t)pick(32) << 32 |
					     (uint64_t)(0x80 | (chance(2) ? 0x60 : 0) | (chance(2) ? 0xc : 4))
						     << 40);
	}
	for (unsigned i = 0; i < 32; i++)
		put(FIX_LDT + 8 * i,
		    fix_desc(chance(4) ? (uint32_t)rnd() : 0, (uint32_t)rnd() & 0xfffff, random_attr()), 8);
	for (unsigned i = 0; i < 256; i++)
		fix_gate(i, random_selector(),
			 (uint16_t)((chance(8) ? 0 : 0x80) | (chance(3) ? 0x60 : 0) |
				    (chance(8) ? pick(32) : 0xe | pick(2))),
			 chance(3) ? pick(8) : 0, chance(16) ? rnd() : rnd() & 0xffff);
	for (unsigned i = 0; i < 0x68; i += 4)
		if (chance(6))
			put(FIX_TSS + i, chance(2) ? random_address() : random_selector(), 4);
}

static void random_frame(void)
{
	unsigned size = 2u << pick(3);
	uint64_t at = c->s.regs[REG_RSP];

	for (unsigned i = 0; i < 6; i++, at += size) {
		uint64_t lin = at >= FIX_HIGH ? at - FIX_HIGH : at;
		uint64_t val;

		switch (i) {
		case 0:
		case 3: val = random_address(); break;
		case 2: val = rnd(); break;
		default: val = random_selector(); break;
		}
		if (lin < FIX_SIZE - 8)
			put(lin, val, size);
	}
}

static void random_cpu(void)
{
	enum fix_mode mode = (enum fix_mode)pick(4);
	unsigned cpl = chance(2) ? 3 : chance(8) ? 1 : 0;

	fix_init_cpu(mode, mode == LONG64 && cpl == 1 ? 0 : cpl);
	random_tables();
	for (unsigned i = 0; i < 16; i++)
		c->s.regs[i] = chance(3) ? random_selector() : random_address();
	c->s.rip = random_address();
	if (mode != LONG64) {
		for (unsigned i = 0; i < 16; i++)
			c->s.regs[i] = (uint32_t)c->s.regs[i];
		c->s.rip = (uint32_t)c->s.rip;
	}
	c->next_rip = c->s.rip + 2;
	if (chance(3)) {
		c->s.ldtr =
			(struct x86_seg){ .sel = 0x50, .attr = 0x82, .limit = pick(256), .base = FIX_LDT };
	}
	if (chance(16))
		c->s.gdtr.limit = pick(GDT_END);
	if (chance(16))
		c->s.idtr.limit = pick(4096);
	if (chance(16))
		c->s.tr.limit = pick(0x68);
	c->s.star = rnd();
	c->s.lstar = random_address();
	c->s.cstar = random_address();
	c->s.fmask = rnd();
	c->s.sysenter_cs = random_selector();
	c->s.sysenter_eip = random_address();
	c->s.sysenter_esp = random_address();
	if (mode >= LEGACY32 && chance(2))
		c->s.efer |= EFER_SCE;
	if (chance(2))
		c->s.cr4 ^= CR4_SMAP;
	if (chance(2))
		c->s.cr4 ^= CR4_UMIP;
	/* Somewhere in what is about to be read or written a page is missing. */
	if (chance(3)) {
		static const uint32_t where[] = { FIX_GDT, FIX_GDT, FIX_IDT, FIX_LDT, FIX_TSS };

		fix.fault_writes = chance(2);
		fix.fault_at = chance(3) ? random_address() : where[pick(5)] + 5 + 8 * pick(GDT_END / 8);
	}
	/* VM cannot get set here */
	cpu_set_rflags(c, rnd() & ~(uint64_t)(FLAG_VM | (chance(4) ? 0 : FLAG_NT)));
	cpu_update_mode(c);
	random_frame();
}

static void check_state(const struct soft_cpu *before, bool flat)
{
	const struct x86_seg *cs = &c->s.seg[SEG_CS];
	const struct x86_seg *ss = &c->s.seg[SEG_SS];
	bool code64 = c->mode & MODE_CS64;

	assert_true(attr_is_code(cs->attr));
	assert_true(cs->attr & SEG_ATTR_P);
	assert_int_equal(cs->sel & 3, c->cpl);
	if (attr_is_conforming(cs->attr))
		assert_true(attr_dpl(cs->attr) <= c->cpl);
	else
		assert_int_equal(attr_dpl(cs->attr), c->cpl);
	if (!flat && c->s.rip != before->s.rip && c->s.rip != before->next_rip)
		assert_true(code64 ? soft_canonical(c->s.rip) : c->s.rip <= cs->limit);
	if (cpu_long_mode(c))
		assert_false((cs->attr & SEG_ATTR_L) && (cs->attr & SEG_ATTR_DB));

	assert_int_equal(attr_dpl(ss->attr), c->cpl);
	if (!(ss->attr & SEG_ATTR_P)) {
		assert_true(sel_is_null(ss->sel));
		assert_true(c->cpl < 3);
	} else {
		assert_true(attr_is_writable(ss->attr));
	}

	for (unsigned i = 0; i < SEG_COUNT; i++) {
		const struct x86_seg *seg = &c->s.seg[i];

		if (i == SEG_CS || i == SEG_SS || !(seg->attr & SEG_ATTR_P))
			continue;
		assert_true(attr_is_readable(seg->attr));
		/* Going out drops what an inner level had. */
		if (c->cpl > before->cpl && !flat && !attr_is_conforming(seg->attr))
			assert_true(attr_dpl(seg->attr) >= c->cpl);
	}
	assert_false(c->sysflags & FLAG_VM);
	if (c->mode & MODE_USER)
		assert_false(c->mode & MODE_AC);
}

static const struct {
	sysop_fn *fn;
	bool inwards; /* may lower the CPL */
	bool flat;    /* loads flat segments, whatever the tables say, and RIP unchecked */
} ops[] = {
	{ sys_mov_to_sreg },
	{ sys_mov_from_sreg },
	{ sys_push_sreg },
	{ sys_pop_sreg },
	{ sys_load_far },
	{ sys_lar },
	{ sys_lsl },
	{ sys_verr },
	{ sys_verw },
	{ sys_arpl },
	{ sys_lgdt },
	{ sys_lidt },
	{ sys_sgdt },
	{ sys_sidt },
	{ sys_lldt },
	{ sys_sldt },
	{ sys_ltr },
	{ sys_str },
	{ sys_jmp_far },
	{ sys_call_far, true },
	{ sys_ret_far },
	{ sys_iret },
	{ sys_jmp_far },
	{ sys_call_far, true },
	{ sys_ret_far },
	{ sys_iret },
	{ sys_iret },
	{ sys_int, true },
	{ sys_int3, true },
	{ sys_int1, true },
	{ sys_into, true },
	{ sys_bound },
	{ sys_syscall, true, true },
	{ sys_sysret, false, true },
	{ sys_sysenter, true, true },
	{ sys_sysexit, false, true },
	{ sys_cli },
	{ sys_sti },
	{ sys_pushf },
	{ sys_popf },
	{ sys_clac },
	{ sys_stac },
	{ sys_std },
	{ sys_cld },
};

static struct sysop random_op(void)
{
	static const uint8_t sreg[] = { SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
	struct sysop op = op_none(c->mode & MODE_CS64 ? 2u << pick(3) : 2u << pick(2));

	op.reg = sreg[pick(5)];
	op.aux = sreg[pick(5)];
	op.seg = sreg[pick(5)];
	op.imm = (int64_t)(rnd() & 0xffff);
	if (chance(2)) {
		op.rm = pick(c->mode & MODE_CS64 ? 16 : 8);
	} else {
		op.base = chance(3) ? OPERAND_NONE : pick(8);
		op.disp = op.base == OPERAND_NONE ? (int32_t)random_address() : (int32_t)pick(64) - 32;
	}
	for (unsigned i = 1; i < sizeof(op.bytes); i++)
		op.bytes[i] = (uint8_t)rnd();
	op.bytes[0] = chance(2) ? 0xea : 0xff;
	op.len = op.bytes[0] == 0xea ? (op.opsize == 2 ? 5 : 7) : 2;
	if (op.bytes[0] == 0xea) {
		uint16_t sel = random_selector();

		memcpy(op.bytes + op.len - 2, &sel, 2);
	}
	return op;
}

static void system_instructions(void **state)
{
	for (unsigned i = 0; i < rounds; i++) {
		unsigned which = pick(sizeof(ops) / sizeof(ops[0]));
		struct soft_cpu before;
		struct sysop op;

		random_cpu();
		op = random_op();
		before = *c;
		run(ops[which].fn, &op);
		check_state(&before, ops[which].flat);
		if (!ops[which].inwards)
			assert_true(c->cpl >= before.cpl);
		if (ops[which].fn != sys_sysret && ops[which].fn != sys_sysexit &&
		    ops[which].fn != sys_iret && ops[which].fn != sys_ret_far)
			assert_true(c->cpl <= before.cpl);
	}
}

static void events(void **state)
{
	for (unsigned i = 0; i < rounds; i++) {
		struct soft_cpu before;
		uint8_t vector = chance(2) ? pick(32) : (uint8_t)rnd();

		random_cpu();
		before = *c;
		if (chance(3)) {
			event_interrupt(c, vector);
		} else {
			soft_raise(c, vector, vector == 8 || (vector >= 10 && vector <= 14) || vector == 17,
				   pick(32));
			event_fault(c);
		}
		if (c->shutdown) {
			before.s.cr2 = c->s.cr2;
			assert_memory_equal(&before.s, &c->s, sizeof(before.s));
			continue;
		}
		check_state(&before, false);
		assert_true(c->cpl <= before.cpl);
		assert_int_equal(c->sysflags & (FLAG_TF | FLAG_NT | FLAG_RF), 0);
		if (cpu_long_mode(c))
			assert_true(c->mode & MODE_CS64);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_instructions),
		cmocka_unit_test(events),
	};

	rng_state = 0x9e3779b97f4a7c15;
	if (argc > 1 && !strncmp(argv[1], "--fuzz=", 7)) {
		rounds = (unsigned)strtoul(argv[1] + 7, NULL, 10);
		rng_state = (uint64_t)time(NULL) << 20 | 1;
		printf("seed %#llx\n", (unsigned long long)rng_state);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
