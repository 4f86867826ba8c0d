/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port I/O, decimal adjust, PUSHA, POPA, ENTER. For decimal adjust there are
 * two references: arithmetic (adjusting the binary sum of two decimal numbers
 * must give their decimal sum), and the CPU, in 32-bit code.
 */
#include "fake_mmu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#define STACK (FAKE_BASE + 0x2000u)
#define TSS   (FAKE_BASE + 0x8000u)

static struct cpuid_table table;
static struct soft_cpu cpu;

static void faults(sysop_fn *fn, const struct sysop *op, unsigned vector, int error)
{
	struct x86_state before = cpu.s;

	assert_int_equal(fn(&cpu, op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, vector);
	assert_int_equal(cpu.fault.has_error, error >= 0);
	if (error >= 0)
		assert_int_equal(cpu.fault.error, error);
	assert_memory_equal(&before, &cpu.s, sizeof(before));
}

/* ---- decimal adjust ---- */

static void bcd(enum bcd_op kind, uint16_t ax, uint32_t flags, unsigned base)
{
	struct sysop op = { .imm2 = (uint8_t)kind, .imm = base };

	cpu.s.regs[REG_RAX] = 0xabcd0000 | ax;
	cpu_set_rflags(&cpu, FLAG_ONE | flags);
	assert_int_equal(sys_bcd(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RAX] >> 16, 0xabcd);
}

static uint16_t ax(void)
{
	return (uint16_t)cpu.s.regs[REG_RAX];
}

static bool flag(uint32_t f)
{
	return cpu_get_rflags(&cpu) & f;
}

static uint8_t packed(unsigned n)
{
	return (uint8_t)(n / 10 % 10 << 4 | n % 10);
}

static void check_result_flags(uint8_t v)
{
	assert_int_equal(flag(FLAG_ZF), v == 0);
	assert_int_equal(flag(FLAG_SF), v >> 7);
	assert_int_equal(flag(FLAG_PF), !(__builtin_popcount(v) & 1));
}

static void test_packed(void **state)
{
	fake_init(&cpu, &table, CPU_32, 3);
	for (unsigned a = 0; a < 100; a++) {
		for (unsigned b = 0; b < 100; b++) {
			uint8_t pa = packed(a), pb = packed(b);
			uint32_t f = pa + pb > 255 ? FLAG_CF : 0;

			f |= (pa & 15) + (pb & 15) > 15 ? FLAG_AF : 0;
			bcd(BCD_DAA, 0x7700 | (uint8_t)(pa + pb), f, 0);
			assert_int_equal(ax(), 0x7700 | packed(a + b));
			assert_int_equal(flag(FLAG_CF), a + b > 99);
			check_result_flags((uint8_t)ax());

			f = pa < pb ? FLAG_CF : 0;
			f |= (pa & 15) < (pb & 15) ? FLAG_AF : 0;
			bcd(BCD_DAS, 0x7700 | (uint8_t)(pa - pb), f, 0);
			assert_int_equal(ax(), 0x7700 | packed(a + 100 - b));
			assert_int_equal(flag(FLAG_CF), a < b);
			check_result_flags((uint8_t)ax());
		}
	}
	/* the examples of SDM vol. 2 */
	bcd(BCD_DAA, 0xae, FLAG_PF | FLAG_SF, 0);
	assert_int_equal(ax(), 0x14);
	assert_true(flag(FLAG_CF) && flag(FLAG_AF) && flag(FLAG_PF) && !flag(FLAG_SF));
	bcd(BCD_DAA, 0x2e, 0, 0);
	assert_int_equal(ax(), 0x34);
	assert_true(!flag(FLAG_CF) && flag(FLAG_AF));
	bcd(BCD_DAS, 0xee, FLAG_CF | FLAG_AF | FLAG_SF, 0);
	assert_int_equal(ax(), 0x88);
	assert_true(flag(FLAG_CF) && flag(FLAG_AF) && flag(FLAG_SF) && flag(FLAG_PF));
	/* a borrow in the first step alone */
	bcd(BCD_DAS, 0x03, FLAG_AF, 0);
	assert_int_equal(ax(), 0xfd);
	assert_true(flag(FLAG_CF));
}

static void test_unpacked(void **state)
{
	fake_init(&cpu, &table, CPU_32, 3);
	for (unsigned a = 0; a < 10; a++) {
		for (unsigned b = 0; b < 10; b++) {
			bcd(BCD_AAA, (uint16_t)(0x0500 | (a + b)), a + b > 15 ? FLAG_AF : 0, 0);
			assert_int_equal(ax(), (5 + (a + b) / 10) << 8 | (a + b) % 10);
			assert_int_equal(flag(FLAG_CF), a + b > 9);
			assert_int_equal(flag(FLAG_AF), a + b > 9);

			bcd(BCD_AAS, (uint16_t)(0x0500 | (uint8_t)(a - b)), a < b ? FLAG_AF | FLAG_CF : 0, 0);
			assert_int_equal(ax(), (5 - (a < b)) << 8 | (a + 10 - b) % 10);
			assert_int_equal(flag(FLAG_CF), a < b);

			bcd(BCD_AAM, (uint16_t)(0x5500 | a * b), 0, 10);
			assert_int_equal(ax(), a * b / 10 << 8 | a * b % 10);
			check_result_flags((uint8_t)(a * b % 10));
			bcd(BCD_AAD, (uint16_t)(a << 8 | b), 0, 10);
			assert_int_equal(ax(), a * 10 + b);
			check_result_flags((uint8_t)(a * 10 + b));
		}
	}
	/* AAA adds 0x106 to AX as a whole */
	bcd(BCD_AAA, 0x01fa, 0, 0);
	assert_int_equal(ax(), 0x0300);
	struct sysop op = { .imm2 = BCD_AAM, .imm = 0 };
	faults(sys_bcd, &op, VEC_DE, -1);
	fake_init(&cpu, &table, CPU_64, 3);
	faults(sys_bcd, &op, VEC_UD, -1);
}

/*
 * The CPU itself as the reference: Linux keeps a 32-bit code segment for
 * everybody, and a far call enters it. Code and stack must lie below 4 GiB.
 *
 *   CODE:      64-bit: switch stacks, far call to CODE32, back
 *   CODE32:    32-bit: popf; the instruction; pushf; far return
 */
#define CODE      (FAKE_BASE + 0xa000u)
#define CODE32    (CODE + 0x100u)
#define STACK32   (CODE + 0x800u)
#define USER32_CS 0x23

static void put_code(uint64_t where, const char *bytes, unsigned len)
{
	memcpy(at(where), bytes, len);
}

static void native_prepare(const uint8_t *insn, unsigned len)
{
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) target = { CODE32, USER32_CS };

	/* mov r8, rsp; mov esp, STACK32; push rcx; lcall [rdx]; pop rcx; mov rsp, r8; ret */
	put_code(CODE, "\x49\x89\xe0\xbc\x00\xa8\x00\x20\x51\xff\x1a\x59\x4c\x89\xc4\xc3", 16);
	assert_int_equal(STACK32, 0x2000a800);
	memcpy(at(CODE + 0x80), &target, sizeof(target));
	/* push ecx; popf; INSN; pushf; pop ecx; mov [esp + 8], ecx; retf */
	put_code(CODE32, "\x51\x9d", 2);
	memcpy(at(CODE32 + 2), insn, len);
	put_code(CODE32 + 2 + len, "\x9c\x59\x89\x4c\x24\x08\xcb", 7);
	assert_int_equal(mprotect((void *)(uintptr_t)CODE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
}

static void native_run(uint32_t *eax, uint32_t *flags)
{
	uint64_t a = *eax, c = *flags;

	/* past the red zone */
	__asm__ volatile("lea -128(%%rsp), %%rsp; call *%2; lea 128(%%rsp), %%rsp"
			 : "+a"(a), "+c"(c)
			 : "r"((uint64_t)CODE), "d"((uint64_t)CODE + 0x80)
			 : "r8", "memory", "cc");
	*eax = (uint32_t)a;
	*flags = (uint32_t)c;
}

/* Does the host's kernel have the segment, that is, does it run 32-bit programs? */
static bool has_32bit_code(void)
{
	uint32_t attr = 0;

	__asm__("lar %1, %0" : "+r"(attr) : "r"(USER32_CS) : "cc");
	/* present, DPL 3, code, 32-bit and not 64-bit */
	return (attr & 0x60f800) == 0x40f800;
}

/* Every AL with some AH and all carries; flags that the manuals leave undefined do not count. */
static void test_like_native(void **state)
{
	static const struct {
		enum bcd_op op;
		uint8_t bytes[2], len;
		uint32_t defined;
	} insns[] = {
		{ BCD_AAA, { 0x37 }, 1, FLAG_CF | FLAG_AF },
		{ BCD_AAS, { 0x3f }, 1, FLAG_CF | FLAG_AF },
		{ BCD_DAA, { 0x27 }, 1, FLAG_ARITH & ~FLAG_OF },
		{ BCD_DAS, { 0x2f }, 1, FLAG_ARITH & ~FLAG_OF },
		{ BCD_AAM, { 0xd4, 10 }, 2, FLAG_PF | FLAG_ZF | FLAG_SF },
		{ BCD_AAM, { 0xd4, 0x83 }, 2, FLAG_PF | FLAG_ZF | FLAG_SF },
		{ BCD_AAD, { 0xd5, 10 }, 2, FLAG_PF | FLAG_ZF | FLAG_SF },
		{ BCD_AAD, { 0xd5, 0xf1 }, 2, FLAG_PF | FLAG_ZF | FLAG_SF },
	};

	if (!has_32bit_code())
		skip();
	fake_init(&cpu, &table, CPU_32, 3);
	for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		native_prepare(insns[i].bytes, insns[i].len);
		for (unsigned n = 0; n < 256 * 4 * 13; n++) {
			uint32_t eax = 0xabcd0000 | (n / 1024 * 21) << 8 | (n & 255);
			uint32_t f = FLAG_ONE | FLAG_IF | (n & 256 ? FLAG_CF : 0) | (n & 512 ? FLAG_AF : 0);

			bcd(insns[i].op, (uint16_t)eax, f, insns[i].bytes[1]);
			native_run(&eax, &f);
			assert_int_equal(cpu.s.regs[REG_RAX], eax);
			assert_int_equal(cpu_get_rflags(&cpu) & insns[i].defined, f & insns[i].defined);
		}
	}
}

static void test_salc(void **state)
{
	struct sysop op = { 0 };

	fake_init(&cpu, &table, CPU_32, 3);
	cpu.s.regs[REG_RAX] = 0x12345678;
	cpu_set_rflags(&cpu, FLAG_CF);
	assert_int_equal(sys_salc(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RAX], 0x123456ff);
	cpu_set_rflags(&cpu, 0);
	assert_int_equal(sys_salc(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RAX], 0x12345600);
}

/* ---- the stack ---- */

static void test_pusha_popa(void **state)
{
	struct sysop op = { .opsize = 4 };
	uint32_t *stack = (uint32_t *)at(STACK);
	uint64_t regs[16];

	fake_init(&cpu, &table, CPU_32, 3);
	for (unsigned i = 0; i < 8; i++)
		cpu.s.regs[i] = 0x11111111u * i;
	cpu.s.regs[REG_RSP] = STACK;
	memcpy(regs, cpu.s.regs, sizeof(regs));
	assert_int_equal(sys_pusha(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RSP], STACK - 32);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(stack[-1 - (int)i], (uint32_t)regs[i]);
	for (unsigned i = 0; i < 8; i++)
		if (i != REG_RSP)
			cpu.s.regs[i] = 0;
	stack[-1 - REG_RSP] = 0xdead; /* POPA throws it away */
	assert_int_equal(sys_popa(&cpu, &op), NEXT_CONTINUE);
	assert_memory_equal(regs, cpu.s.regs, sizeof(regs));

	/* 16 bits: the upper halves stay */
	op.opsize = 2;
	memset(stack - 4, 0x77, 16);
	cpu.s.regs[REG_RSP] = STACK - 16;
	assert_int_equal(sys_popa(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RSI], 0x66667777);

	op.opsize = 4;
	cpu.s.regs[REG_RSP] = STACK + 16;
	fake.page[1] = PAGE_RO;
	faults(sys_pusha, &op, VEC_PF, PFERR_W | PFERR_P | PFERR_U);
	cpu.s.regs[REG_RSP] = STACK - 16;
	fake.page[2] = PAGE_NONE;
	faults(sys_popa, &op, VEC_PF, PFERR_U);
	fake_init(&cpu, &table, CPU_64, 3);
	faults(sys_pusha, &op, VEC_UD, -1);
	faults(sys_popa, &op, VEC_UD, -1);
}

static void native_enter(uint64_t *rsp, uint64_t *rbp)
{
	__asm__ volatile("mov %%rsp, %%r8; mov %%rbp, %%r9; mov %0, %%rsp; mov %1, %%rbp; enter $48, $3;"
			 "mov %%rsp, %0; mov %%rbp, %1; mov %%r8, %%rsp; mov %%r9, %%rbp"
			 : "+r"(*rsp), "+r"(*rbp)
			 :
			 : "r8", "r9", "memory");
}

static void test_enter(void **state)
{
	struct sysop op = { .opsize = 8, .imm = 48, .imm2 = 3 };
	uint8_t native[0x1000];
	uint64_t rsp = STACK, rbp = STACK + 64;

	fake_init(&cpu, &table, CPU_64, 3);
	for (unsigned i = 0; i < 0x1000; i++)
		at(STACK - 0x800)[i] = (uint8_t)(i * 7);
	cpu.s.regs[REG_RSP] = rsp;
	cpu.s.regs[REG_RBP] = rbp;
	assert_int_equal(sys_enter(&cpu, &op), NEXT_CONTINUE);
	memcpy(native, at(STACK - 0x800), sizeof(native));
	for (unsigned i = 0; i < 0x1000; i++)
		at(STACK - 0x800)[i] = (uint8_t)(i * 7);
	native_enter(&rsp, &rbp);
	assert_memory_equal(native, at(STACK - 0x800), sizeof(native));
	assert_int_equal(cpu.s.regs[REG_RSP], rsp);
	assert_int_equal(cpu.s.regs[REG_RBP], rbp);

	/* faults when the new top of the stack could not be written to */
	op.imm = 0x2000;
	op.imm2 = 0;
	cpu.s.regs[REG_RSP] = STACK + 0x100;
	fake.page[0] = PAGE_RO;
	faults(sys_enter, &op, VEC_PF, PFERR_W | PFERR_P | PFERR_U);
}

/* ---- ports ---- */

static void test_in_out(void **state)
{
	struct sysop op = { .opsize = 1, .adsize = 8, .imm = (int8_t)0xe4 };

	fake_init(&cpu, &table, CPU_64, 0);
	cpu.s.regs[REG_RAX] = ~0ull;
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.last_port, 0xe4);
	assert_int_equal(cpu.s.regs[REG_RAX], 0xffffffffffffff01);
	op.aux = 1;
	op.opsize = 2;
	cpu.s.regs[REG_RDX] = 0x123403f8;
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.last_port, 0x3f8);
	assert_int_equal(cpu.s.regs[REG_RAX], 0xffffffffffff0202);
	op.opsize = 4;
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(cpu.s.regs[REG_RAX], 0x03030303);
	op.opsize = 8; /* REX.W */
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.last_size, 4);
	assert_int_equal(cpu.s.regs[REG_RAX], 0x04040404);
	op.opsize = 1;
	cpu.s.regs[REG_RAX] = 0x12345678;
	fake.port_sum = 0;
	assert_int_equal(sys_out(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.port_sum, 0x78);
	assert_int_equal(fake.last_size, 1);
	assert_false(fake.bus_unparked);
	assert_int_equal(fake.parked, 0);
}

static void set_tss(unsigned limit, uint16_t bitmap)
{
	cpu.s.tr = (struct x86_seg){ .sel = 0x40, .attr = 0x8b, .limit = limit, .base = TSS };
	memset(at(TSS), 0xff, 0x3000);
	*(uint16_t *)at(TSS + 0x66) = bitmap;
}

static void test_port_permission(void **state)
{
	struct sysop op = { .opsize = 1, .adsize = 8, .aux = 1 };

	fake_init(&cpu, &table, CPU_64, 3);
	set_tss(0x68 + 0x2000, 0x68);
	cpu.s.regs[REG_RDX] = 0x3f9;
	faults(sys_in, &op, VEC_GP, 0);
	at(TSS + 0x68)[0x3f9 / 8] = (uint8_t) ~(1 << 1);
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.system_reads > 0, true);
	op.opsize = 2; /* 0x3fa is not allowed */
	faults(sys_in, &op, VEC_GP, 0);
	faults(sys_out, &op, VEC_GP, 0);
	/* four ports across two bytes of the map */
	op.opsize = 4;
	cpu.s.regs[REG_RDX] = 0x3fe;
	at(TSS + 0x68)[0x3fe / 8] = 0x3f;
	at(TSS + 0x68)[0x3fe / 8 + 1] = 0xfc;
	assert_int_equal(sys_out(&cpu, &op), NEXT_CONTINUE);
	at(TSS + 0x68)[0x3fe / 8 + 1] = 0xfe;
	faults(sys_out, &op, VEC_GP, 0);

	/* IOPL is enough */
	cpu_set_rflags(&cpu, FLAG_IOPL);
	assert_int_equal(sys_out(&cpu, &op), NEXT_CONTINUE);
	cpu_set_rflags(&cpu, 2 << 12);
	faults(sys_out, &op, VEC_GP, 0);

	/* the map ends where the TSS does */
	op.opsize = 1;
	memset(at(TSS + 0x68), 0, 0x2000);
	cpu.s.tr.limit = 0x68 + 0x3f9 / 8;
	cpu.s.regs[REG_RDX] = 0x3f9;
	faults(sys_in, &op, VEC_GP, 0);
	cpu.s.tr.limit++;
	assert_int_equal(sys_in(&cpu, &op), NEXT_CONTINUE);
	*(uint16_t *)at(TSS + 0x66) = 0xffff;
	faults(sys_in, &op, VEC_GP, 0);
	*(uint16_t *)at(TSS + 0x66) = 0x68;
	cpu.s.tr.limit = 0x66;
	faults(sys_in, &op, VEC_GP, 0);
	cpu.s.tr.limit = 0x1000;
	cpu.s.tr.attr = 0x83; /* 16-bit */
	faults(sys_in, &op, VEC_GP, 0);
	/* a map that is not there is a page fault of the system's */
	cpu.s.tr.attr = 0x8b;
	fake.page[8] = PAGE_NONE;
	faults(sys_in, &op, VEC_PF, 0);
}

static void test_ins_outs(void **state)
{
	struct sysop op = { .opsize = 4, .adsize = 8, .rep = 0xf3, .seg = SEG_DS };
	const uint64_t page = FAKE_BASE + 3 * PAGE_SIZE;

	fake_init(&cpu, &table, CPU_64, 0);
	cpu.s.regs[REG_RDX] = 0x1f0;
	cpu.s.regs[REG_RCX] = 10;
	cpu.s.regs[REG_RDI] = page - 16;
	fake.page[3] = PAGE_RO;
	/* No port is read for an element that cannot be stored. */
	assert_int_equal(sys_ins(&cpu, &op), NEXT_FAULT);
	assert_int_equal(cpu.fault.vector, VEC_PF);
	assert_int_equal(fake.port_reads, 4);
	assert_int_equal(cpu.s.regs[REG_RCX], 6);
	assert_int_equal(cpu.s.regs[REG_RDI], page);
	fake.page[3] = PAGE_RW;
	assert_int_equal(sys_ins(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.port_reads, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(((uint32_t *)at(page - 16))[i], 0x01010101 * (i + 1));

	/* and out again, downwards */
	uint32_t sum = 0;
	for (unsigned i = 10; i-- > 0;)
		sum = sum * 31 + 0x01010101 * (i + 1);
	cpu_set_rflags(&cpu, FLAG_DF);
	cpu_update_mode(&cpu);
	cpu.s.regs[REG_RSI] = page - 16 + 36;
	cpu.s.regs[REG_RCX] = 10;
	fake.port_sum = 0;
	assert_int_equal(sys_outs(&cpu, &op), NEXT_CONTINUE);
	assert_int_equal(fake.port_writes, 10);
	assert_int_equal(fake.port_sum, sum);
	assert_int_equal(cpu.s.regs[REG_RSI], page - 20);

	/* long ones let go */
	cpu_set_rflags(&cpu, 0);
	cpu_update_mode(&cpu);
	op.opsize = 1;
	cpu.s.regs[REG_RCX] = 5000;
	cpu.s.regs[REG_RDI] = FAKE_BASE;
	unsigned calls = 1;
	while (sys_ins(&cpu, &op) == NEXT_DISPATCH)
		calls++;
	assert_int_equal(calls, 5);
	assert_int_equal(cpu.s.regs[REG_RDI], FAKE_BASE + 5000);
	assert_false(fake.bus_unparked);
	assert_int_equal(fake.parked, 0);
}

static void test_exceptions(void **state)
{
	struct sysop op = { 0 };

	fake_init(&cpu, &table, CPU_64, 3);
	faults(sys_ud, &op, VEC_UD, -1);
	faults(sys_nm, &op, VEC_NM, -1);
	faults(sys_gp0, &op, VEC_GP, 0);
}

static int setup(void **state)
{
	cpuid_build(&table, 1, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packed),      cmocka_unit_test(test_unpacked),
		cmocka_unit_test(test_like_native), cmocka_unit_test(test_salc),
		cmocka_unit_test(test_pusha_popa),  cmocka_unit_test(test_enter),
		cmocka_unit_test(test_in_out),      cmocka_unit_test(test_port_permission),
		cmocka_unit_test(test_ins_outs),    cmocka_unit_test(test_exceptions),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
