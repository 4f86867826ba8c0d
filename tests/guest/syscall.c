/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL, SYSRET, SWAPGS, FSGSBASE, IRET in its variants, and the MSRs around
 * them.
 */
#include "lib/guest.h"

USER_CODE(u_syscall, "syscall; int3");
USER_CODE32(u_syscall32, "syscall; int3");
KERNEL_CODE(k_entry, "int3");
KERNEL_CODE(k_sysretq, "sysretq");
KERNEL_CODE(k_sysretl, "sysretl");
KERNEL_CODE(k_iretq, "iretq");
KERNEL_CODE(k_iretl, "iretl");
KERNEL_CODE(k_swapgs, "swapgs; int3");
USER_CODE(u_stop, "int3");
USER_CODE32(u_stop32, "mov %esp, %eax; inc %ecx; int3");
USER_CODE(u_fsbase,
	  "rdfsbase %rax; wrfsbase %rbx; rdfsbase %rcx; mov %fs:0, %rdx; wrgsbase %rsi; rdgsbase %rdi; int3");
USER_CODE(u_wrfs_bad, "wrfsbase %rax; int3");
USER_CODE(u_wrfs32, "wrfsbase %eax; rdfsbase %rbx; int3");
USER_CODE(u_movfs, "mov %fs:8, %rax; int3");

static u64 data[4] USER_DATA = { 0x1111, 0x2222, 0x3333, 0x4444 };

static void syscalls(void)
{
	struct regs r = user_regs(u_syscall);

	wrmsr(MSR_STAR, 0x001b0008ull << 32);
	wrmsr(MSR_LSTAR, (uintptr_t)k_entry);
	wrmsr(MSR_CSTAR, (uintptr_t)k_entry);
	wrmsr(MSR_FMASK, 0x4701);
	r.rflags = 0xed7 | 0x3000;
	run_frame(&r);
	ok(trap.vec == 3 && trap.rip == (uintptr_t)k_entry + 1 && trap.cs == KCS && trap.ss == KDS,
	   "SYSCALL enters");
	ok(trap.gpr[RCX] == (uintptr_t)u_syscall + 2, "RCX is the return address");
	ok(trap.gpr[R11] == r.rflags, "R11 is RFLAGS");
	tcg_is_wrong();
	ok((trap.rflags & ~0x10000ull) == (r.rflags & ~0x4701ull), "RFLAGS are masked");
	ok(trap.gpr[RSP] == r.gpr[RSP], "RSP stays");
	if (trap.vec != 3)
		show_trap();

	r = kernel_regs(k_sysretq);
	r.gpr[RCX] = (uintptr_t)u_stop;
	r.gpr[R11] = 0x3246d7 | 0x10028;
	run_frame(&r);
	ok(trap.vec == 3 && trap.cs == UCS && trap.ss == UDS && trap.rip == (uintptr_t)u_stop + 1, "SYSRETQ");
	tcg_is_wrong();
	ok((trap.rflags & ~0x10000ull) == 0x3046d7, "SYSRETQ loads RFLAGS from R11 without RF and VM (%x)",
	   trap.rflags);
	r = kernel_regs(k_sysretl);
	r.gpr[RCX] = 0xabcd00000000 | (uintptr_t)u_stop32;
	r.gpr[R11] = 2;
	r.gpr[RSP] = 0x40000000;
	run_frame(&r);
	ok(trap.vec == 3 && trap.cs == UCS32 && trap.ss == UDS && trap.rip == (uintptr_t)u_stop32_end,
	   "SYSRETL to 32-bit code, ECX only");
	ok(trap.gpr[RAX] == 0x40000000, "SYSRETL keeps RSP");
	r = kernel_regs(k_sysretq);
	r.gpr[RCX] = 0x800000000000ull;
	r.gpr[R11] = 2;
	run_frame(&r);
	/* Intel: #GP in the kernel at SYSRET. AMD: at the first fetch in user mode. */
	ok(trap.vec == 13 && trap.err == 0 &&
		   ((trap.cs == UCS && trap.rip == 0x800000000000ull) ||
		    (trap.cs == KCS && trap.rip == (uintptr_t)k_sysretq)),
	   "SYSRETQ to a non-canonical address: #GP");
	if (trap.vec != 13)
		show_trap();
	r = user32_regs(u_syscall32);
	run_frame(&r);
	/* AMD: through CSTAR. Intel: #UD. */
	ok((trap.vec == 3 && trap.rip == (uintptr_t)k_entry + 1 &&
	    trap.gpr[RCX] == (uintptr_t)u_syscall32 + 2) ||
		   trap.vec == 6,
	   "SYSCALL from 32-bit code: CSTAR or #UD");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
	r = user_regs(u_syscall);
	run_frame(&r);
	expect_trap("SYSCALL without EFER.SCE: #UD", 6, 0);
	r = kernel_regs(k_sysretq);
	run_frame(&r);
	expect_trap("SYSRET without EFER.SCE: #UD", 6, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
}

static void swapgs(void)
{
	struct regs r = kernel_regs(k_swapgs);

	wrmsr(MSR_GSBASE, 0x1000);
	wrmsr(MSR_KGSBASE, 0xffff800000002000ull);
	run_frame(&r);
	ok(rdmsr(MSR_GSBASE) == 0xffff800000002000ull && rdmsr(MSR_KGSBASE) == 0x1000, "SWAPGS");
}

KERNEL_CODE(k_wrmsr, "wrmsr; int3");
KERNEL_CODE(k_rdmsr, "rdmsr; int3");

static void try_wrmsr(const char *name, u32 msr, u64 val, unsigned vec)
{
	struct regs r = kernel_regs(k_wrmsr);

	r.gpr[RCX] = msr;
	r.gpr[RAX] = (u32)val;
	r.gpr[RDX] = val >> 32;
	run_frame(&r);
	if (vec == 13)
		tcg_is_wrong(); /* accepts nearly everything */
	expect_trap(name, vec, 0);
}

static void msrs(void)
{
	struct regs r = kernel_regs(k_rdmsr);

	r.gpr[RCX] = 0x12345678;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("RDMSR of an unknown MSR: #GP", 13, 0);
	try_wrmsr("WRMSR to an unknown MSR: #GP", 0x12345678, 0, 13);
	try_wrmsr("LSTAR takes canonical addresses only", MSR_LSTAR, 0x800000000000ull, 13);
	try_wrmsr("FS.base takes canonical addresses only", MSR_FSBASE, 0x800000000000ull, 13);
	try_wrmsr("KernelGSbase takes canonical addresses only", MSR_KGSBASE, 0xffff000000000000ull, 13);
	try_wrmsr("EFER: reserved bit", MSR_EFER, rdmsr(MSR_EFER) | 2, 13);
	try_wrmsr("EFER: LME while paging", MSR_EFER, rdmsr(MSR_EFER) & ~0x100ull, 13);
	tcg_is_wrong();
	ok((rdmsr(MSR_EFER) & 0xd01) == 0xd01, "EFER is as it was");
	try_wrmsr("TSC_AUX", MSR_TSC_AUX, 7, 3);
	try_wrmsr("PAT: reserved type", 0x277, 2, 13);
	r.gpr[RCX] = 0x277;
	run_frame(&r);
	ok(trap.vec == 3, "RDMSR of PAT");
	wrmsr(0x10, 0x123456789a);
	/* Whether that changes anything is left open: lguest's guests have one TSC, the host's. */
	ok(true, "WRMSR to the TSC is accepted");
}

static void bases(void)
{
	struct regs r = user_regs(u_fsbase);

	wrmsr(MSR_FSBASE, (uintptr_t)data);
	r = user_regs(u_movfs);
	run_frame(&r);
	ok(trap.gpr[RAX] == 0x2222, "FS.base from the MSR");
	if (!has7b(0)) {
		skip("no FSGSBASE");
		return;
	}
	r = user_regs(u_fsbase);
	run_frame(&r);
	expect_trap("RDFSBASE without CR4.FSGSBASE: #UD", 6, 0);
	write_cr4(read_cr4() | CR4_FSGSBASE);
	r.gpr[RBX] = (uintptr_t)&data[2];
	r.gpr[RSI] = 0xffff800000001234ull;
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RAX] == (uintptr_t)data && trap.gpr[RCX] == (uintptr_t)&data[2] &&
		   trap.gpr[RDX] == 0x3333 && trap.gpr[RDI] == 0xffff800000001234ull,
	   "RDFSBASE, WRFSBASE, WRGSBASE, RDGSBASE");
	ok(rdmsr(MSR_FSBASE) == (uintptr_t)&data[2] && rdmsr(MSR_GSBASE) == 0xffff800000001234ull,
	   "the MSRs agree");
	r = user_regs(u_wrfs_bad);
	r.gpr[RAX] = 0x800000000000ull;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("WRFSBASE, not canonical: #GP", 13, 0);
	r = user_regs(u_wrfs32);
	r.gpr[RAX] = 0x1234567890ull;
	run_frame(&r);
	ok(trap.gpr[RBX] == 0x34567890, "WRFSBASE of 32 bits clears the upper half");
	write_cr4(read_cr4() & ~CR4_FSGSBASE);
}

static void do_iret(const char *name, u64 rip, u64 cs, u64 flags, u64 rsp, u64 ss, unsigned vec, u64 err)
{
	struct regs r = kernel_regs(k_iretq);
	u64 *f = (u64 *)(r.gpr[RSP] -= 40);

	f[0] = rip;
	f[1] = cs;
	f[2] = flags;
	f[3] = rsp;
	f[4] = ss;
	run_frame(&r);
	expect_trap(name, vec, err);
}

static void irets(void)
{
	u64 stop = (uintptr_t)u_stop, stop32 = (uintptr_t)u_stop32;
	u64 sp = user_regs(u_stop).gpr[RSP];

	do_iret("IRETQ to user mode", stop, UCS, 2, sp, UDS, 3, 0);
	ok(trap.cs == UCS && trap.gpr[RSP] == sp, "with its stack");
	do_iret("IRETQ to 32-bit user mode", stop32, UCS32, 2, 0x12345678, UDS, 3, 0);
	ok(trap.cs == UCS32 && trap.gpr[RAX] == 0x12345678, "with its stack");
	do_iret("IRETQ within the kernel, null SS", (uintptr_t)k_entry, KCS, 2, sp, 0, 3, 0);
	ok(trap.ss == 0, "null SS stays");
	do_iret("IRETQ within the kernel switches stacks, too", (uintptr_t)k_entry, KCS, 2, sp - 8, KDS, 3,
		0);
	ok(trap.gpr[RSP] == sp - 8, "RSP from the frame");
	do_iret("IRETQ to CS 0", stop, 0, 2, sp, UDS, 13, 0);
	do_iret("IRETQ to CS 3", stop, 3, 2, sp, UDS, 13, 0);
	do_iret("IRETQ to a data segment", stop, UDS, 2, sp, UDS, 13, UDS & ~3);
	do_iret("IRETQ with CS.RPL 3 to a DPL 0 segment", stop, KCS | 3, 2, sp, UDS, 13, KCS);
	do_iret("IRETQ beyond the GDT", stop, 0x803, 2, sp, UDS, 13, 0x800);
	do_iret("IRETQ to user mode with SS 0", stop, UCS, 2, sp, 0, 13, 0);
	do_iret("IRETQ to user mode with a kernel SS", stop, UCS, 2, sp, KDS, 13, KDS);
	do_iret("IRETQ to user mode with SS.RPL 0", stop, UCS, 2, sp, UDS & ~3, 13, UDS & ~3);
	do_iret("IRETQ to a non-canonical RIP", 0x800000000000ull, UCS, 2, sp, UDS, 13, 0);
	gdt[8] = descriptor(0, 0xffffffff, 0xc073); /* data, DPL 3, not present */
	tcg_is_wrong();
	do_iret("IRETQ with an SS that is not present: #SS", stop, UCS, 2, sp, FREE_SEL | 3, 12, FREE_SEL);
	gdt[8] = descriptor(0, 0xffffffff, 0xc07b); /* code, not present */
	do_iret("IRETQ to a CS that is not present: #NP", stop, FREE_SEL | 3, 2, sp, UDS, 11, FREE_SEL);
	gdt[8] = descriptor(0, 0xffffffff, 0xe0fb); /* L and D */
	tcg_is_wrong();
	do_iret("IRETQ to a CS with L and D", stop, FREE_SEL | 3, 2, sp, UDS, 13, FREE_SEL);
	do_iret("IRETQ with NT: #GP", stop, UCS, 2, sp, UDS, 3, 0);
	{
		struct regs r = kernel_regs(k_iretq);
		u64 *f = (u64 *)(r.gpr[RSP] -= 40);

		f[0] = stop;
		f[1] = UCS;
		f[2] = 2;
		f[3] = sp;
		f[4] = UDS;
		r.rflags |= 0x4000;
		run_frame(&r);
		expect_trap("IRETQ while NT is set: #GP", 13, 0);
	}
	{
		struct regs r = kernel_regs(k_iretl);
		u32 *f = (u32 *)(r.gpr[RSP] -= 20);

		f[0] = (u32)stop32;
		f[1] = UCS32;
		f[2] = 2;
		f[3] = 0x1000;
		f[4] = UDS;
		run_frame(&r);
		expect_trap("IRETL takes a frame of 32-bit words", 3, 0);
		ok(trap.gpr[RAX] == 0x1000, "IRETL: ESP");
	}
	do_iret("IRETQ sets all flags that it may", stop, UCS, 0x244ed7 | 0x3000, sp, UDS, 3, 0);
	ok((trap.rflags & ~0x10000ull) == (0x244ed7 | 0x3000), "flags (%x)", trap.rflags);
}

void test_main(void)
{
	syscalls();
	swapgs();
	msrs();
	bases();
	irets();
}
