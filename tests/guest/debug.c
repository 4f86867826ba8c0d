/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single step, hardware breakpoints and watchpoints, RF, INT3, self-modifying
 * and cross-modifying code.
 */
#include "lib/guest.h"

#define VA 0x8000000000ull
#define TF 0x100ull
#define RF 0x10000ull

USER_CODE(
	u_steps,
	"1: nop; inc %eax; push %rax; pop %rcx; cmp %ecx, %eax; je 2f; nop; 2: call 3f; jmp 4f;"
	"3: ret; 4: mov $3, %ecx; lea -256(%rsp), %rdi; mov %rdi, %rsi; rep movsb; pushfq; pop %rdx; nop; int3");

/* Steps through @code to its INT3 and counts; the trap must be #DB with RIP moving. */
static unsigned step_all(const void *code, const char *end)
{
	struct regs r = user_regs(code);
	unsigned n = 0;

	r.rflags |= TF;
	run_frame(&r);
	for (; trap.vec == 1 && n < 100; n++) {
		if (trap.rip == (uintptr_t)end - 1)
			break;
		r = trap;
		run_frame(&r);
	}
	return n;
}

static void single_step(void)
{
	struct regs r;
	unsigned n;

	write_dr6(0xffff0ff0);
	n = step_all(u_steps, u_steps_end);
	/* nop inc push pop cmp je call ret jmp mov lea mov movsb*3 pushfq pop nop: the last stop is at INT3 */
	ok(n == 17, "single step: 18 stops");
	if (n != 17) {
		print("# %d\n", (u64)n);
		show_trap();
	}
	ok((read_dr6() & 0xe00f) == 0x4000, "DR6.BS");
	ok(trap.gpr[RCX] == 0 && trap.gpr[RAX] == 1, "registers at the end");
	ok(trap.gpr[RDX] & TF, "PUSHF under single step shows TF");
	r = user_regs(u_steps);
	run_frame(&r);
	ok(trap.vec == 3 && !(trap.gpr[RDX] & TF), "the same code at full speed again");
	/* a fault under single step: the fault wins, TF is in its frame */
	{
		extern const char u_fault[];

		r = user_regs(u_fault);
		r.rflags |= TF;
		run_frame(&r);
		ok(trap.vec == 1 && trap.rip == (uintptr_t)u_fault + 2, "step over the first");
		r = trap;
		run_frame(&r);
		ok(trap.vec == 14 && (trap.rflags & TF) && trap.rip == (uintptr_t)u_fault + 2,
		   "fault instead of the step");
	}
}
USER_CODE(u_fault, "xor %eax, %eax; mov (%rax), %ecx; int3");
USER_CODE(u_popf_tf, "pushfq; orl $0x100, (%rsp); popfq; nop; nop; int3");
USER_CODE(u_syscall, "syscall; nop; int3");
USER_CODE(u_int90, "int $0x90; nop; int3");
KERNEL_CODE(k_movss, "mov %ss, %eax; pushfq; orl $0x100, (%rsp); popfq; mov %eax, %ss; nop; nop; int3");
KERNEL_CODE(k_syscall_target, "int3");

static void step_corners(void)
{
	struct regs r = user_regs(u_popf_tf);

	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_popf_tf_end - 2,
	   "TF set by POPF: trap after the next instruction");
	r = user_regs(u_int90);
	r.rflags |= TF;
	run_frame(&r);
	ok(trap.vec == 0x90 && (trap.rflags & TF),
	   "INT n under single step: no trap before the handler, TF saved");
	wrmsr(MSR_LSTAR, (uintptr_t)k_syscall_target);
	wrmsr(MSR_STAR, (u64)0x1b << 48 | (u64)KCS << 32);
	wrmsr(MSR_FMASK, 0x100);
	r = user_regs(u_syscall);
	r.rflags |= TF;
	run_frame(&r);
	ok(trap.vec == 3 && trap.cs == KCS && trap.gpr[R11] & TF,
	   "SYSCALL with TF masked: no step in the kernel");
	if (trap.vec != 3)
		show_trap();
	r = kernel_regs(k_movss);
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)k_movss_end - 2,
	   "MOV SS holds the step back by one instruction");
	if (trap.vec != 1 || trap.rip != (uintptr_t)k_movss_end - 2)
		show_trap();
}

USER_CODE(u_bp, "nop; nop; inc %eax; nop; jmp 1f; 1: nop; int3");
static u64 watched[4] USER_DATA __attribute__((aligned(64)));
USER_CODE(u_watch, "mov %eax, (%rdi); nop; mov (%rdi), %ecx; nop; int3");
USER_CODE(u_watch_rep, "rep stosb; nop; int3");
USER_CODE(u_watch_rmw, "incl (%rdi); nop; int3");

static void breakpoints(void)
{
	struct regs r = user_regs(u_bp);

	write_dr6(0xffff0ff0);
	write_dr0((uintptr_t)u_bp + 2);
	write_dr7(0x401 | 1 << 0);
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_bp + 2 && trap.gpr[RAX] == 0,
	   "execution breakpoint: before");
	ok((read_dr6() & 0xe00f) == 1, "DR6.B0");
	/* The frame's RF is 0 on Intel CPUs here (SDM vol. 3, 17.3.1.1): the handler must set it. */
	r = trap;
	r.rflags |= RF;
	write_dr6(0xffff0ff0);
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RAX] == 1, "RF lets the instruction pass");
	ok(!(trap.rflags & RF), "RF is gone behind it");
	r = user_regs(u_bp);
	run_frame(&r);
	ok(trap.vec == 1, "it hits again");
	write_dr7(0x400);
	run_frame(&r);
	ok(trap.vec == 3, "disabled: no hit");
	write_dr3((uintptr_t)u_bp + 4 + 3);
	write_dr7(0x400 | 0x80);
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_bp + 7 && (read_dr6() & 15) == 8,
	   "breakpoint at a branch target, DR3");
	/* RF stays until a REP is done. */
	write_dr0((uintptr_t)u_watch_rep);
	write_dr7(0x401);
	r = user_regs(u_watch_rep);
	r.gpr[RDI] = (uintptr_t)&watched[0];
	r.gpr[RCX] = 5;
	run_frame(&r);
	ok(trap.vec == 1 && trap.gpr[RCX] == 5, "breakpoint at REP STOSB");
	r = trap;
	r.rflags |= RF;
	run_frame(&r);
	tcg_is_wrong();
	ok(trap.vec == 3 && trap.gpr[RCX] == 0, "RF lets all of it pass: %d left", trap.gpr[RCX]);
	ok(!(trap.rflags & RF), "RF is gone behind it");
	r = user_regs(u_watch_rep);
	r.gpr[RDI] = (uintptr_t)&watched[0];
	r.gpr[RCX] = 0;
	r.rflags |= RF;
	run_frame(&r);
	ok(trap.vec == 3 && !(trap.rflags & RF), "... also when there is nothing to do");
	r = user_regs(u_watch_rep);
	r.gpr[RDI] = (uintptr_t)&watched[0];
	r.gpr[RCX] = 3;
	r.rflags |= RF | TF;
	run_frame(&r);
	tcg_is_wrong();
	ok(trap.vec == 1 && trap.gpr[RCX] == 2 && !(trap.rflags & RF),
	   "a step between two elements shows no RF");
	write_dr7(0x400);

	r = user_regs(u_watch);
	r.gpr[RDI] = (uintptr_t)&watched[1];
	write_dr6(0xffff0ff0);
	write_dr1((uintptr_t)&watched[1]);
	write_dr7(0x400 | 4 | 0xd << 20); /* DR1: write, 4 bytes */
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_watch + 2 && (read_dr6() & 15) == 2,
	   "write watch: behind the write");
	r = trap;
	run_frame(&r);
	ok(trap.vec == 3, "write watch: reads pass");
	write_dr7(0x400 | 4 | 0xf << 20); /* read or write */
	r = user_regs(u_watch);
	r.gpr[RDI] = (uintptr_t)&watched[1];
	r.rip += 3;
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_watch + 5, "access watch: behind the read");
	r = user_regs(u_watch);
	r.gpr[RDI] = (uintptr_t)&watched[1] + 4;
	run_frame(&r);
	ok(trap.vec == 3, "watch of four bytes: the next four are free");
	r.gpr[RDI] = (uintptr_t)&watched[1] - 3;
	run_frame(&r);
	ok(trap.vec == 1, "watch: an access that overlaps by one byte");
	write_dr7(0x400 | 4 | 1 << 20); /* write, 1 byte */
	r = user_regs(u_watch_rep);
	r.gpr[RDI] = (uintptr_t)&watched[0];
	r.gpr[RCX] = 20;
	run_frame(&r);
	ok(trap.vec == 1 && trap.gpr[RCX] == 11 && trap.rip == (uintptr_t)u_watch_rep,
	   "watch inside REP STOSB: after the iteration");
	if (trap.vec != 1 || trap.gpr[RCX] != 11)
		show_trap();
	r = user_regs(u_watch_rmw);
	r.gpr[RDI] = (uintptr_t)&watched[1];
	run_frame(&r);
	ok(trap.vec == 1 && trap.rip == (uintptr_t)u_watch_rmw + 2, "watch: read-modify-write");
	write_dr7(0x400);
	run_frame(&r);
	ok(trap.vec == 3, "watch off");
}

KERNEL_CODE(k_dr4, "mov %dr4, %rax; int3");
KERNEL_CODE(k_dr7_gd, "mov %rax, %dr7; nop; mov %dr0, %rcx; int3");
KERNEL_CODE(k_dr7_high, "bts $32, %rax; mov %rax, %dr7; int3");

static void debug_registers(void)
{
	struct regs r = kernel_regs(k_dr4);

	write_dr6(0xffff0ff0);
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RAX] == read_dr6(), "DR4 is DR6 without CR4.DE");
	write_cr4(read_cr4() | CR4_DE);
	run_frame(&r);
	expect_trap("DR4 with CR4.DE: #UD", 6, 0);
	write_cr4(read_cr4() & ~CR4_DE);
	r = kernel_regs(k_dr7_gd);
	r.gpr[RAX] = 0x2400;
	run_frame(&r);
	tcg_is_wrong();
	ok(trap.vec == 1 && trap.rip == (uintptr_t)k_dr7_gd + 4 && (read_dr6() & 0x2000),
	   "DR7.GD: #DB at the access");
	if (trap.vec != 1)
		show_trap();
	tcg_is_wrong();
	ok(!(read_dr7() & 0x2000), "GD is clear in the handler");
	write_dr7(0x400);
	r = kernel_regs(k_dr7_high);
	r.gpr[RAX] = 0x400;
	run_frame(&r);
	expect_trap("upper half of DR7: #GP", 13, 0);
}

/* ---- code that changes ---- */

USER_CODE(u_jump, "jmp *%rdi");

static u64 emit(u64 pa, const u8 *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((volatile u8 *)phys(pa))[i] = b[i];
	return pa + n;
}

static void run_at(u64 va, u64 rax)
{
	struct regs r = user_regs(u_jump);

	r.gpr[RDI] = va;
	r.gpr[RAX] = rax;
	r.gpr[RSI] = va;
	run_frame(&r);
}

static void self_modifying(void)
{
	/* movb $0x41, 7(rip): patches the immediate of the next instruction's successor */
	static const u8 next[] = { 0xc6, 0x05, 0x01, 0, 0, 0, 0x77, 0xb8, 0x11, 0, 0, 0, 0xcc };
	/* a loop that patches an instruction in front of itself: mov $0, %eax; incb -x(rip); dec ecx... */
	static const u8 loop[] = {
		0xb9, 5,    0,    0,    0,          /* 0: mov $5, %ecx */
		0x83, 0xc0, 0x01,                   /* 5: add $1, %eax */
		0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, /* 8: incb 7(5): the immediate of ADD */
		0xff, 0xc9,                         /* 14: dec %ecx */
		0x75, 0xf3,                         /* 16: jnz 5 */
		0xcc,
	};
	u64 pa = alloc_page(), pb = alloc_page(), va = VA;

	map_page(va, pa, PTE_P | PTE_U | PTE_W);
	map_page(va + 0x1000, pb, PTE_P | PTE_U | PTE_W);
	emit(pa, next, sizeof(next));
	run_at(va, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x77, "store into the next instruction");
	if (trap.gpr[RAX] != 0x77)
		show_trap();
	emit(pa + 0x100, loop, sizeof(loop));
	run_at(va + 0x100, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 1 + 2 + 3 + 4 + 5, "loop that patches its own immediate");
	if (trap.gpr[RAX] != 15)
		show_trap();
	/* the same across a page border: next[] with the patched instruction on page two */
	for (unsigned i = 0; i < sizeof(next); i++)
		((volatile u8 *)phys(i < 8 ? pa + 0xff8 : pb - 8))[i] = next[i];
	run_at(va + 0xff8, 0);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x77, "store into an instruction that straddles two pages");
	if (trap.gpr[RAX] != 0x77)
		show_trap();
	/* from outside */
	emit(pa, (const u8[]){ 0xb8, 1, 0, 0, 0, 0xcc }, 6);
	run_at(va, 0);
	ok(trap.gpr[RAX] == 1, "code written through the identity mapping");
	for (u64 i = 2; i < 40; i++) {
		*(volatile u8 *)phys(pa + 1) = (u8)i;
		run_at(va, 0);
		if (trap.gpr[RAX] != i)
			break;
		ok(true, "patched through the alias, %d", i);
	}
	/* string store and big store over code */
	emit(pa + 0x200, (const u8[]){ 0xb8, 1, 0, 0, 0, 0xcc }, 6);
	run_at(va + 0x200, 0);
	__asm__ volatile("rep stosb" ::"D"(pa + 0x200), "c"(16ull), "a"(0xcc) : "memory");
	run_at(va + 0x200, 0);
	ok(trap.vec == 3 && trap.rip == va + 0x201, "REP STOSB over code");
	/* a neighbour on the same page is written, the code must survive */
	emit(pa + 0x300, (const u8[]){ 0xff, 0x46, 0x80, 0xff, 0xc8, 0x75, 0xf9, 0xcc }, 8);
	/* incl -128(rsi); dec eax; jnz: data and code on one page */
	run_at(va + 0x300, 1000);
	ok(trap.vec == 3 && *(u32 *)phys(pa + 0x280) == 1000, "code that writes data beside itself");
	if (trap.vec != 3)
		show_trap();
	/* kernel code that patches user code and returns, many times over */
	emit(pa + 0x400, (const u8[]){ 0x90, 0x90, 0x90, 0xcc }, 4);
	for (unsigned i = 0; i < 3; i++) {
		((volatile u8 *)phys(pa + 0x400))[i] = 0xcc;
		run_at(va + 0x400, 0);
		ok(trap.rip == va + 0x401 + i, "INT3 poked in");
		((volatile u8 *)phys(pa + 0x400))[i] = 0x90;
		run_at(va + 0x400, 0);
		ok(trap.rip == va + 0x404, "INT3 poked out");
	}
}

void test_main(void)
{
	single_step();
	step_corners();
	breakpoints();
	debug_registers();
	self_modifying();
}
