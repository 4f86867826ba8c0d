/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compatibility mode: 32-bit user code under the 64-bit kernel. Segment
 * limits and types, expand-down segments, null selectors, FS and GS from
 * descriptors, far jumps and calls between 32 and 64 bits, call gates, push
 * and pop sizes, INC and DEC 40-4F, the instructions that 64-bit mode lacks.
 */
#include "lib/guest.h"

#define SEL(n) ((u16)((8 + (n)) * 8 | 3))

static u32 area[1024] USER_DATA __attribute__((aligned(4096)));

/* esi: selector for DS, edi: offset */
USER_CODE32(u_read_ds, "mov %esi, %ds; mov (%edi), %eax; mov $0x23, %ecx; mov %ecx, %ds; int3");
USER_CODE32(u_write_ds, "mov %esi, %ds; mov %eax, (%edi); mov $0x23, %ecx; mov %ecx, %ds; int3");
USER_CODE32(u_read_fs, "mov %esi, %fs; mov %fs:(%edi), %eax; int3");
USER_CODE32(u_read_cs, "mov %cs:(%edi), %eax; int3");
USER_CODE32(u_write_cs, "mov %eax, %cs:(%edi); int3");
USER_CODE32(u_movs_es, "mov %edx, %es; movsl; int3");
USER_CODE32(u_load_ss, "mov %esi, %ss; push %eax; int3");
USER_CODE32(
	u_call_ss,
	"mov %edx, %ds; mov %esi, %ss; mov $3, %ecx; 1: call *(%edi); mov %eax, %ebx; call *4(%edi); loop 1b; int3");
USER_CODE32(u_call_esp, "mov %esi, %ss; nop; call *%esp");
USER_CODE32(u_one, "mov $1, %eax; ret");
USER_CODE32(u_two, "mov $2, %eax; ret");
USER_CODE32(u_esp, "mov %esp, %ebx; push $0x1234; pop %ecx; pushw $5; pop %dx; mov %esp, %esi; int3");
USER_CODE32(u_incdec, "inc %eax; inc %ecx; dec %edx; .byte 0x66; dec %ebx; inc %esp; dec %esp; int3");
USER_CODE32(u_pusha,
	    "mov $1, %eax; mov $2, %ecx; mov $8, %edi; pusha; mov (%esp), %ebp; xor %eax, %eax; popa; int3");
USER_CODE32(
	u_bcd,
	"mov $0x0a0f, %eax; aaa; mov %eax, %ebx; mov $99, %al; aam; mov %eax, %ecx; aad; mov %eax, %edx; int3");
USER_CODE32(u_int80, "int $0x80; int3");
USER_CODE32(u_into, "mov $0x7fffffff, %eax; add $1, %eax; into; int3");
USER_CODE32(u_bound, "bound %eax, (%edi); int3");
USER_CODE32(u_les, "les (%edi), %ebx; lfs (%edi), %ecx; int3");
USER_CODE32(u_far_to_64, "ljmp $0x2b, $in_64");
USER_CODE32(u_callfar, "lcall $0x2b, $in_64_ret; int3");
USER_CODE(in_64, "mov $0x1122334455667788, %rax; lea (%rax), %r9; int3");
USER_CODE(in_64_ret, "mov $0x1122334455667788, %r8; lretl");
USER_CODE32(u_salc, "stc; .byte 0xd6; int3");
USER_CODE32(u_addr16, "mov $0x12345678, %ebx; .byte 0x67; lea (%bx), %eax; int3");
USER_CODE32(u_arpl, "mov $0x10, %eax; mov $3, %ecx; arpl %cx, %ax; int3");
USER_CODE32(u_wrap, "mov $0xfffffff0, %eax; mov target32(,%eax,1), %ecx; lea 0x20(%eax), %edx; int3");
USER_CODE32(u_gate, "lcall *(%edi)");
USER_CODE32(u_enter, "mov %esp, %ebp; enter $16, $0; mov %esp, %eax; leave; int3");
USER_CODE32(u_jcxz, "mov $0x10000, %ecx; xor %eax, %eax; .byte 0x67; jcxz 1f; inc %eax; 1: int3");
USER_DATA __attribute__((used)) u32 target32[8] = { 0x89abcdef };
KERNEL_CODE(k_gate_target, "int3");
USER_CODE(u64_arpl_is_movsxd, "mov $0x80000000, %eax; movslq %eax, %rbx; int3");
USER_CODE(u64_bad, ".byte 0x06"); /* PUSH ES: #UD in 64-bit mode */

static void run(const void *code, u32 esi, u32 edi, u32 eax)
{
	struct regs r = user32_regs(code);

	r.gpr[RSI] = esi;
	r.gpr[RDI] = edi;
	r.gpr[RAX] = eax;
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(UDS));
	run_frame(&r);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(0));
}

static void limits(void)
{
	u32 base = (u32)(uintptr_t)area;

	area[0] = 0x1111;
	area[1] = 0x2222;
	area[1023] = 0x3333;
	gdt[8] = descriptor(base, 4095, 0x40f3);  /* data, 4096 bytes */
	gdt[9] = descriptor(base, 0x7ff, 0x40f7); /* expand-down: 0x800 .. 4G */
	gdt[10] = descriptor(base, 4095, 0x40f1); /* read-only */
	gdt[11] = descriptor(base, 4095, 0x4073); /* not present */
	gdt[12] = descriptor(base, 4095, 0x4093); /* DPL 0 */
	gdt[13] = descriptor(base, 4095, 0x40f9); /* execute-only code */
	gdt[14] = descriptor(base + 4, 0xffffffff, 0xc0f3);
	gdt[15] = descriptor(base, 0x7ff, 0x00f7); /* expand-down, 16-bit: 0x800 .. 0xffff */

	run(u_read_ds, SEL(0), 4, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x2222, "segment with a base");
	run(u_read_ds, SEL(0), 4092, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x3333, "last word below the limit");
	tcg_is_wrong();
	run(u_read_ds, SEL(0), 4093, 0);
	expect_trap("one byte beyond the limit", 13, 0);
	run(u_read_ds, SEL(0), 0x10000, 0);
	tcg_is_wrong();
	expect_trap("far beyond the limit", 13, 0);
	run(u_read_ds, SEL(0), 0xffffffff, 0);
	tcg_is_wrong();
	expect_trap("offset that wraps", 13, 0);
	run(u_read_ds, SEL(1), 0x7fc, 0);
	tcg_is_wrong();
	expect_trap("expand-down: below", 13, 0);
	run(u_read_ds, SEL(1), 0x800, 0);
	ok(trap.vec == 3, "expand-down: inside");
	run(u_read_ds, SEL(1), 0x7fe, 0);
	tcg_is_wrong();
	expect_trap("expand-down: across the limit", 13, 0);
	run(u_read_ds, SEL(7), 0x800, 0);
	ok(trap.vec == 3, "expand-down of 64K: inside");
	run(u_read_ds, SEL(7), 0x10000, 0);
	tcg_is_wrong();
	expect_trap("expand-down of 64K: above", 13, 0);
	run(u_read_ds, SEL(2), 4, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x2222, "read-only segment: read");
	run(u_write_ds, SEL(2), 4, 0);
	tcg_is_wrong();
	expect_trap("read-only segment: write", 13, 0);
	run(u_read_ds, SEL(3), 4, 0);
	expect_trap("load of a segment that is not present: #NP", 11, SEL(3) & ~3u);
	run(u_read_ds, SEL(4), 4, 0);
	expect_trap("load of a DPL 0 segment", 13, SEL(4) & ~3u);
	run(u_read_ds, SEL(5), 4, 0);
	expect_trap("load of execute-only code into DS", 13, SEL(5) & ~3u);
	run(u_read_ds, 0x7ff8 | 3, 4, 0);
	expect_trap("selector beyond the GDT", 13, 0x7ff8);
	run(u_read_ds, 0x0c | 3, 4, 0);
	expect_trap("selector of an LDT that there is not", 13, 0x0c);
	run(u_read_ds, 0, 4, 0);
	tcg_is_wrong();
	expect_trap("access through a null selector", 13, 0);
	run(u_read_fs, 3, 4, 0);
	tcg_is_wrong();
	expect_trap("null selector with RPL 3 in FS", 13, 0);
	run(u_read_fs, SEL(6), 0, 0);
	tcg_is_wrong();
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x2222, "FS with a base");
	run(u_read_fs, SEL(6), 0xfffffffc, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x1111, "FS with a base: a negative offset wraps");
	run(u_read_cs, 0, base, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x1111, "read through CS");
	run(u_write_cs, 0, base, 0);
	tcg_is_wrong();
	expect_trap("write through CS", 13, 0);
	run(u_load_ss, SEL(0), 0, 0);
	ok(trap.vec == 12 || trap.vec == 3 || trap.vec == 14, "SS with a limit");
	{
		struct regs r = user32_regs(u_load_ss);

		r.gpr[RSI] = SEL(0);
		r.gpr[RSP] = 0x1004;
		run_frame(&r);
		tcg_is_wrong();
		expect_trap("push beyond the limit of SS: #SS", 12, 0);
		r.gpr[RSP] = 0x1000;
		run_frame(&r);
		ok(trap.vec == 3 && trap.ss == SEL(0) && trap.gpr[RSP] == 0xffc &&
			   area[1023] == (u32)r.gpr[RAX],
		   "push just below the limit");
		area[6] = (u32)(uintptr_t)u_one;
		area[7] = (u32)(uintptr_t)u_two;
		r = user32_regs(u_call_ss);
		r.gpr[RSI] = SEL(0);
		r.gpr[RDI] = base + 24;
		r.gpr[RDX] = UDS;
		r.gpr[RSP] = 0x800;
		run_frame(&r);
		ok(trap.vec == 3 && trap.gpr[RBX] == 1 && trap.gpr[RAX] == 2 && trap.gpr[RSP] == 0x800,
		   "calls by memory, on a stack with a limit");
		if (trap.vec != 3)
			show_trap();
		r.rip = (uintptr_t)u_call_esp;
		run_frame(&r);
		ok(trap.vec == 14 && trap.rip == 0x800 && trap.gpr[RSP] == 0x7fc, "call to ESP");
		r = user32_regs(u_load_ss);
		r.gpr[RSI] = 0;
		run_frame(&r);
		expect_trap("null SS in 32-bit code", 13, 0);
		r.gpr[RSI] = SEL(2);
		run_frame(&r);
		expect_trap("read-only SS", 13, SEL(2) & ~3u);
	}
	area[4] = base;
	area[5] = SEL(6);
	run(u_les, 0, base + 16, 0);
	ok(trap.vec == 3 && trap.gpr[RBX] == base && trap.gpr[RCX] == base, "LES, LFS");
}

static void local_table(void)
{
	static u64 ldt[4] __attribute__((aligned(16)));
	u32 base = (u32)(uintptr_t)area;
	u64 at = (uintptr_t)ldt;

	area[0] = 0x1111;
	area[1] = 0x2222;
	ldt[1] = descriptor(base + 4, 0xfff, 0x40f3);
	gdt[22] = descriptor((u32)at, sizeof(ldt) - 1, 0x82);
	gdt[23] = at >> 32;
	__asm__ volatile("lldt %w0" ::"r"(22 * 8));
	run(u_read_ds, 0x0c | 3, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x2222, "segment of the LDT");
	run(u_read_fs, 0x0c | 3, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x2222, "FS from the LDT");
	run(u_read_ds, 0x04 | 3, 0, 0);
	expect_trap("entry 0 of the LDT is no null selector, but this one is empty", 13, 4);
	run(u_read_ds, 0x24 | 3, 0, 0);
	expect_trap("beyond the LDT", 13, 0x24);
	__asm__ volatile("lldt %w0" ::"r"(0));
	run(u_read_ds, 0x0c | 3, 0, 0);
	expect_trap("no LDT again", 13, 0x0c);
}

static void operations(void)
{
	struct regs r;
	u32 base = (u32)(uintptr_t)area;

	run(u_esp, 0, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RBX] == trap.gpr[RSI] && trap.gpr[RCX] == 0x1234 &&
		   (trap.gpr[RDX] & 0xffff) == 5,
	   "push and pop of 32 and 16 bits");
	r = user32_regs(u_incdec);
	r.gpr[RAX] = 0xffffffff;
	r.gpr[RDX] = 0;
	r.gpr[RBX] = 0x10000;
	r.rflags |= 1;
	run_frame(&r);
	ok(trap.gpr[RAX] == 0 && trap.gpr[RCX] == 1 && trap.gpr[RDX] == 0xffffffff &&
		   trap.gpr[RBX] == 0x1ffff && (trap.rflags & 1),
	   "INC and DEC of one byte; CF stays");
	run(u_pusha, 0, 0, 0);
	ok(trap.gpr[RAX] == 1 && trap.gpr[RCX] == 2 && trap.gpr[RDI] == 8, "PUSHA, POPA");
	run(u_bcd, 0, 0, 0);
	ok((trap.gpr[RBX] & 0xffff) == 0x0b05 && (trap.gpr[RCX] & 0xffff) == 0x0909 &&
		   (trap.gpr[RDX] & 0xffff) == 99,
	   "AAA, AAM, AAD");
	run(u_int80, 0, 0, 0);
	ok(trap.vec == 0x80 && trap.rip == (uintptr_t)u_int80 + 2, "INT 80h");
	run(u_into, 0, 0, 0);
	ok(trap.vec == 4 && trap.rip == (uintptr_t)u_into_end - 1, "INTO");
	area[8] = 5;
	area[9] = 10;
	run(u_bound, 0, base + 32, 7);
	ok(trap.vec == 3, "BOUND: inside");
	run(u_bound, 0, base + 32, 11);
	expect_trap("BOUND: outside", 5, 0);
	run(u_far_to_64, 0, 0, 0);
	ok(trap.vec == 3 && trap.cs == UCS && trap.gpr[RAX] == 0x1122334455667788 &&
		   trap.gpr[R9] == 0x1122334455667788,
	   "far jump to 64-bit code");
	run(u_callfar, 0, 0, 0);
	ok(trap.vec == 3 && trap.cs == UCS32 && trap.rip == (uintptr_t)u_callfar_end,
	   "far call to 64-bit code and LRET back");
	run(u_salc, 0, 0, 0);
	ok((trap.gpr[RAX] & 0xff) == 0xff, "SALC");
	run(u_addr16, 0, 0, 0);
	ok(trap.gpr[RAX] == 0x5678, "LEA with 16-bit addressing");
	run(u_arpl, 0, 0, 0);
	ok((trap.gpr[RAX] & 0xffff) == 0x13 && (trap.rflags & 0x40), "ARPL");
	run(u_wrap, 0, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RDX] == 0x10, "addresses wrap at 4 GiB");
	run(u_enter, 0, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RBP] == trap.gpr[RSP] && trap.gpr[RAX] == trap.gpr[RSP] - 20,
	   "ENTER, LEAVE");
	run(u_jcxz, 0, 0, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0, "JCXZ looks at 16 bits");
	run(u_read_ds, UDS, 0x8000000, 0);
	ok(trap.vec == 14, "supervisor page from 32-bit code");
	r = user_regs(u64_bad);
	run_frame(&r);
	expect_trap("PUSH ES in 64-bit code: #UD", 6, 0);
	r = user_regs(u64_arpl_is_movsxd);
	run_frame(&r);
	ok(trap.gpr[RBX] == 0xffffffff80000000, "MOVSXD");
}

/* A 64-bit call gate: to ring 0, with a stack switch (APM vol. 2, 4.8.4). */
static void call_gate(void)
{
	u64 t = (uintptr_t)k_gate_target;
	u32 base = (u32)(uintptr_t)area;

	gdt[20] = (t & 0xffff) | (u64)KCS << 16 | 0xecull << 40 | (t >> 16 & 0xffff) << 48;
	gdt[21] = t >> 32;
	area[20] = 0;
	area[21] = SEL(12);
	run(u_gate, 0, base + 80, 0);
	ok(trap.vec == 3 && trap.rip == t + 1 && trap.cs == KCS, "call gate to ring 0");
	if (trap.vec != 3)
		show_trap();
	else {
		u64 *f = phys(trap.gpr[RSP]);

		ok(f[0] == (uintptr_t)u_gate_end && f[1] == UCS32 && f[3] == UDS,
		   "call gate: frame on the new stack");
	}
	gdt[20] = (t & 0xffff) | (u64)KCS << 16 | 0x8cull << 40 | (t >> 16 & 0xffff) << 48;
	run(u_gate, 0, base + 80, 0);
	expect_trap("call gate of DPL 0: #GP", 13, SEL(12) & ~3u);
	gdt[20] = (t & 0xffff) | (u64)KCS << 16 | 0x6cull << 40 | (t >> 16 & 0xffff) << 48;
	run(u_gate, 0, base + 80, 0);
	expect_trap("call gate not present: #NP", 11, SEL(12) & ~3u);
}

void test_main(void)
{
	limits();
	local_table();
	operations();
	call_gate();
}
