/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Privilege: what user mode must not execute, UMIP, RDTSC and RDPMC switches,
 * ports and the I/O permission bitmap, flags that POPF and IRET must keep,
 * IOPL, gates, IST stacks, double fault.
 */
#include "lib/guest.h"

static void at_user(const char *name, const void *code, unsigned vec, u64 err)
{
	struct regs r = user_regs(code);

	run_frame(&r);
	expect_trap(name, vec, err);
	if (vec == 13)
		ok(trap.rip == (uintptr_t)code, "%s: RIP at the instruction", name);
}

/* clang-format off */
#define PRIVILEGED(X) \
	X(hlt, "hlt") X(cli, "cli") X(sti, "sti") X(invd, "invd") X(wbinvd, "wbinvd") X(clts, "clts") \
	X(lgdt, "lgdt (%rsp)") X(lidt, "lidt (%rsp)") X(lldt, "lldt %ax") X(ltr, "ltr %ax") \
	X(lmsw, "lmsw %ax") X(mov_cr0, "mov %cr0, %rax") X(to_cr0, "mov %rax, %cr0") \
	X(mov_cr3, "mov %cr3, %rax") X(to_cr3, "mov %rax, %cr3") X(mov_cr4, "mov %cr4, %rax") \
	X(to_cr4, "mov %rax, %cr4") X(mov_cr2, "mov %cr2, %rax") X(to_cr2, "mov %rax, %cr2") \
	X(mov_cr8, "mov %cr8, %rax") X(to_cr8, "mov %rax, %cr8") X(mov_dr7, "mov %dr7, %rax") \
	X(to_dr7, "mov %rax, %dr7") X(mov_dr0, "mov %dr0, %rax") X(to_dr6, "mov %rax, %dr6") \
	X(rdmsr, "rdmsr") X(wrmsr, "wrmsr") X(invlpg, "invlpg (%rsp)") X(swapgs, "swapgs") \
	X(in_al, "in $0x80, %al") X(in_dx, "in %dx, %eax") X(out_al, "out %al, $0x80") \
	X(out_dx, "out %ax, %dx") X(insb, "insb") X(outsl, "outsl") X(rep_insw, "rep insw") \
	X(sysretq, "sysretq") X(sysretl, "sysretl") X(int20, "int $0x20")
/* clang-format on */

#define CODE(name, text) USER_CODE(p_##name, text "; int3");
PRIVILEGED(CODE)
#undef CODE
USER_CODE(p_xsetbv, "xsetbv; int3");

static void privileged(void)
{
#define RUN(name, text)                           \
	if (!__builtin_strcmp(text, "int $0x20")) \
		tcg_is_wrong();                   \
	at_user(text, p_##name, 13, __builtin_strcmp(text, "int $0x20") ? 0 : 0x20 * 8 + 2);
	PRIVILEGED(RUN)
#undef RUN
	tcg_is_wrong();
	at_user("xsetbv without OSXSAVE", p_xsetbv, 6, 0);
	if (!has1c(26)) {
		skip("no XSAVE");
		return;
	}
	write_cr4(read_cr4() | CR4_OSXSAVE);
	at_user("xsetbv", p_xsetbv, 13, 0);
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
}

USER_CODE(u_sgdt, "sgdt -32(%rsp); int3");
USER_CODE(u_sidt, "sidt -32(%rsp); int3");
USER_CODE(u_sldt, "sldt %eax; int3");
USER_CODE(u_str, "str %eax; int3");
USER_CODE(u_smsw, "smsw %eax; int3");
KERNEL_CODE(k_smsw, "smsw %rax; int3");
KERNEL_CODE(k_str, "str %eax; int3");

static void umip(void)
{
	struct regs r = kernel_regs(k_smsw);
	u32 c[4];

	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RAX] == read_cr0(), "SMSW in the kernel gives CR0");
	r = kernel_regs(k_str);
	run_frame(&r);
	ok(trap.gpr[RAX] == TSS_SEL, "STR in the kernel");
	at_user("sgdt without UMIP", u_sgdt, 3, 0);
	at_user("str without UMIP", u_str, 3, 0);
	ok(trap.gpr[RAX] == TSS_SEL, "STR gives the selector");
	cpuid(7, 0, c);
	if (!(c[2] >> 2 & 1)) {
		skip("no UMIP");
		return;
	}
	write_cr4(read_cr4() | CR4_UMIP);
	at_user("UMIP: sgdt", u_sgdt, 13, 0);
	at_user("UMIP: sidt", u_sidt, 13, 0);
	at_user("UMIP: sldt", u_sldt, 13, 0);
	at_user("UMIP: str", u_str, 13, 0);
	at_user("UMIP: smsw", u_smsw, 13, 0);
	r = kernel_regs(k_smsw);
	run_frame(&r);
	ok(trap.vec == 3, "UMIP does not concern the kernel");
	write_cr4(read_cr4() & ~CR4_UMIP);
}

USER_CODE(u_rdtsc, "rdtsc; int3");
USER_CODE(u_rdtscp, "rdtscp; int3");
USER_CODE(u_rdpmc, "rdpmc; int3");
KERNEL_CODE(k_rdtsc, "rdtsc; int3");

static void counters(void)
{
	struct regs r = kernel_regs(k_rdtsc);
	u64 a, b;
	u32 c[4];

	a = rdtsc();
	at_user("rdtsc", u_rdtsc, 3, 0);
	b = trap.gpr[RDX] << 32 | (u32)trap.gpr[RAX];
	ok(b > a && rdtsc() > b, "the time stamp counter counts");
	ok(trap.gpr[RAX] >> 32 == 0 && trap.gpr[RDX] >> 32 == 0, "RDTSC clears the upper halves");
	write_cr4(read_cr4() | CR4_TSD);
	at_user("TSD: rdtsc", u_rdtsc, 13, 0);
	run_frame(&r);
	expect_trap("TSD does not concern the kernel", 3, 0);
	cpuid(0x80000001, 0, c);
	if (c[3] >> 27 & 1) {
		at_user("TSD: rdtscp", u_rdtscp, 13, 0);
		write_cr4(read_cr4() & ~CR4_TSD);
		wrmsr(MSR_TSC_AUX, 0x1234);
		at_user("rdtscp", u_rdtscp, 3, 0);
		ok(trap.gpr[RCX] == 0x1234, "RDTSCP gives TSC_AUX");
	}
	write_cr4(read_cr4() & ~CR4_TSD);
	at_user("rdpmc without PCE", u_rdpmc, 13, 0);
}

USER_CODE(u_in, "in %dx, %al; int3");
USER_CODE(u_in4, "in %dx, %eax; int3");

static void port(const char *name, const void *code, u64 p, unsigned vec)
{
	struct regs r = user_regs(code);

	r.gpr[RDX] = p;
	run_frame(&r);
	expect_trap(name, vec, 0);
}

static void load_tss(u32 limit)
{
	gdt[6] = descriptor((u32)(uintptr_t)&tss, limit, 0x89);
	__asm__ volatile("ltr %0" ::"r"((u16)TSS_SEL));
}

static void io_bitmap(void)
{
	struct regs r;

	tss.iomap = 0x68;
	for (unsigned i = 0; i < sizeof(tss.bitmap); i++)
		tss.bitmap[i] = 0xff;
	load_tss(0x68 + 8192);
	port("bitmap: all ports closed", u_in, 0x80, 13);
	tss.bitmap[0x80 / 8] = 0xfe;
	port("bitmap: port 0x80 open", u_in, 0x80, 3);
	port("bitmap: its neighbour is not", u_in, 0x81, 13);
	port("bitmap: four ports, one open", u_in4, 0x80, 13);
	tss.bitmap[0x80 / 8] = 0xf0;
	port("bitmap: four ports, four open", u_in4, 0x80, 3);
	tss.bitmap[0x87 / 8] = 0x70;
	port("bitmap: a port at the end of a byte", u_in, 0x87, 3);
	port("bitmap: four ports across bytes", u_in4, 0x86, 13);
	tss.bitmap[0xffff / 8] = 0;
	port("bitmap: the last port", u_in, 0xffff, 3);
	load_tss(0x68 + 0x10);
	port("bitmap: port beyond the limit of the TSS", u_in, 0x87 + 8, 13);
	load_tss(0x67);
	port("no bitmap: offset beyond the limit", u_in, 0x80, 13);
	r = user_regs(u_in);
	r.gpr[RDX] = 0x80;
	r.rflags |= 3 << 12;
	run_frame(&r);
	expect_trap("IOPL 3 opens all ports", 3, 0);
	ok((trap.rflags >> 12 & 3) == 3, "IOPL is 3 in user mode");
}

USER_CODE(u_popf, "push %rax; popfq; pushfq; pop %rbx; int3");
USER_CODE(u_cli, "cli; pushfq; pop %rbx; sti; pushfq; pop %rcx; int3");
KERNEL_CODE(k_popf, "push %rax; popfq; pushfq; pop %rbx; int3");

static void flags(void)
{
	struct regs r = user_regs(u_popf);

	r.gpr[RAX] = 0x3202; /* IOPL 3, IF */
	run_frame(&r);
	ok(trap.gpr[RBX] == 2, "POPF at CPL 3 changes neither IF nor IOPL");
	r.rflags = 0x3202;
	r.gpr[RAX] = 2;
	run_frame(&r);
	ok(trap.gpr[RBX] == 0x3002, "POPF at IOPL 3: IF changes, IOPL stays");
	r.gpr[RAX] = 0x247ed7; /* NT, AC, ID, DF and arithmetic */
	r.rflags = 2;
	run_frame(&r);
	ok(trap.gpr[RBX] == 0x244cd7, "POPF at CPL 3: NT, AC, ID, DF and arithmetic flags");
	r = kernel_regs(k_popf);
	r.gpr[RAX] = 0x3002;
	run_frame(&r);
	ok(trap.gpr[RBX] == 0x3002, "POPF in the kernel sets IOPL");
	r.gpr[RAX] = 0x1b0002 | 0x8028; /* VM, RF, VIP, VIF and reserved bits */
	run_frame(&r);
	ok((trap.gpr[RBX] & 0x30000) == 0 && (trap.gpr[RBX] & 0x802a) == 2,
	   "POPF ignores VM and RF and reserved bits");
	r = user_regs(u_cli);
	r.rflags = 0x3202;
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RBX] == 0x3002 && trap.gpr[RCX] == 0x3202, "CLI and STI at IOPL 3");
	r.rflags = 0x1202;
	run_frame(&r);
	expect_trap("CLI at IOPL 1", 13, 0);
}

USER_CODE(u_int90, "int $0x90; int3");
USER_CODE(u_int3, "nop; int3");
USER_CODE(u_ud2, "ud2");
USER_CODE(u_div, "xor %edx, %edx; xor %ecx, %ecx; div %ecx");
KERNEL_CODE(k_ud2, "ud2");
KERNEL_CODE(k_int90, "int $0x90");

static void gates(void)
{
	static u8 ist[4096] __attribute__((aligned(16)));
	struct regs r = user_regs(u_int90);

	run_frame(&r);
	expect_trap("INT n through a gate of DPL 3", 0x90, 0);
	ok(trap.rip == (uintptr_t)u_int90 + 2, "INT n: RIP behind it");
	at_user("INT3", u_int3, 3, 0);
	ok(trap.rip == (uintptr_t)u_int3 + 2, "INT3: RIP behind it");
	at_user("UD2", u_ud2, 6, 0);
	ok(trap.rip == (uintptr_t)u_ud2, "UD2: RIP at it");
	at_user("DIV by zero", u_div, 0, 0);
	ok(trap.rip == (uintptr_t)u_div + 4, "DIV: RIP at it");
	set_gate(0x90, isr_table + 16 * 0x90, 0x6e, 0, KCS);
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("gate not present: #NP", 11, 0x90 * 8 + 2);
	set_gate(0x90, isr_table + 16 * 0x90, 0xe5, 0, KCS);
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("gate of another type: #GP", 13, 0x90 * 8 + 2);
	set_gate(0x90, isr_table + 16 * 0x90, 0xee, 0, UDS & ~3);
	run_frame(&r);
	expect_trap("gate to a data segment: #GP(selector)", 13, UDS & ~3);
	set_gate(0x90, isr_table + 16 * 0x90, 0xee, 0, 0);
	run_frame(&r);
	expect_trap("gate to a null selector: #GP(0)", 13, 0);
	set_gate(0x90, isr_table + 16 * 0x90, 0xef, 0, KCS);
	r.rflags = 0x202;
	run_frame(&r);
	ok(trap.vec == 0x90, "trap gate");
	/* IST */
	tss.ist[2] = (uintptr_t)ist + sizeof(ist);
	set_gate(6, isr_table + 16 * 6, 0x8e, 3, KCS);
	r = kernel_regs(k_ud2);
	run_frame(&r);
	ok(trap.vec == 6 && *(u64 *)(ist + sizeof(ist) - 16) == r.gpr[RSP],
	   "IST: frame on the stack of the TSS, also without a change of privilege");
	ok(trap.gpr[RSP] == r.gpr[RSP] && trap.ss == KDS, "IST: interrupted stack in the frame");
	reset_idt();
	r = kernel_regs(k_int90);
	r.gpr[RSP] -= 3;
	run_frame(&r);
	ok(trap.vec == 0x90 && trap.gpr[RSP] == r.gpr[RSP],
	   "misaligned stack is aligned for the frame, and kept");
}

KERNEL_CODE(k_push, "push %rax; int3");

static void double_fault(void)
{
	struct regs r = kernel_regs(k_push);

	/* The push faults; so does pushing the frame of that fault; #DF has an IST stack. */
	r.gpr[RSP] = 0x8000000000;
	run_frame(&r);
	expect_trap("fault on a bad stack: #DF", 8, 0);
	ok(trap.gpr[RSP] == 0x8000000000, "#DF: RSP of the first fault");
	/* a benign exception first, a contributory behind: no #DF */
	set_gate(6, isr_table + 16 * 6, 0x0e, 0, KCS);
	r = kernel_regs(k_ud2);
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("#UD whose gate is not present: #NP with EXT", 11, 6 * 8 + 3);
	/* contributory, then contributory */
	set_gate(11, isr_table + 16 * 11, 0x0e, 0, KCS);
	r = user_regs(u_div);
	set_gate(0, isr_table, 0x0e, 0, KCS);
	run_frame(&r);
	expect_trap("#DE, then #NP, gates not present: #DF", 8, 0);
	reset_idt();
	/* TSS stack pointer not canonical: #SS while entering from user mode, and again: #DF */
	{
		u64 saved = tss.rsp[0];

		tss.rsp[0] = 0x900000000000;
		r = user_regs(u_int90);
		run_frame(&r);
		tss.rsp[0] = saved;
		expect_trap("RSP0 not canonical: #DF in the end", 8, 0);
	}
}

void test_main(void)
{
	privileged();
	umip();
	counters();
	io_bitmap();
	flags();
	gates();
	double_fault();
}
