/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FPU as an operating system meets it: #NM and #UD by CR0 and CR4, #MF and
 * #XM, FXSAVE and XSAVE images and that nothing of the host leaks into them,
 * masked moves and gathers at page borders.
 */
#include "lib/guest.h"

#define VA 0x8000000000ull

USER_CODE(u_sse, "addps %xmm1, %xmm0; int3");
USER_CODE(u_x87, "fld1; int3");
USER_CODE(u_mmx, "paddb %mm1, %mm0; emms; int3");
USER_CODE(u_wait, "fwait; int3");
USER_CODE(u_avx, "vaddps %ymm1, %ymm2, %ymm0; int3");
USER_CODE(u_popcnt, "popcnt %eax, %ebx; int3");
USER_CODE(u_movnti, "movnti %eax, -8(%rsp); int3");
KERNEL_CODE(k_xsetbv, "xor %ecx, %ecx; xor %edx, %edx; xsetbv; int3");
KERNEL_CODE(k_fxsave, "fxsave64 (%rdi); int3");
KERNEL_CODE(k_fxrstor, "fxrstor64 (%rdi); int3");
KERNEL_CODE(k_xsave, "xsave64 (%rdi); int3");
KERNEL_CODE(k_xrstor, "xrstor64 (%rdi); int3");
KERNEL_CODE(k_fninit, "fninit; int3");
KERNEL_CODE(k_x87_work, "fninit; fld1; fldpi; fadd %st(1), %st; fnstenv (%rdi); int3");
USER_CODE(u_mf, "fninit; movw $0x37b, -8(%rsp); fldcw -8(%rsp); fld1; fldz; fdivrp; nop; fwait; int3");
USER_CODE(
	u_xm,
	"movl $0x1d80, -8(%rsp); ldmxcsr -8(%rsp); xorps %xmm1, %xmm1; mov $1, %eax; cvtsi2ss %eax, %xmm0; divss %xmm1, %xmm0; int3");
USER_CODE(u_ldmxcsr_bad, "movl $0x80001f80, -8(%rsp); ldmxcsr -8(%rsp); int3");
USER_CODE(u_movaps, "movaps 8(%rdi), %xmm0; int3");
USER_CODE(u_maskmov,
	  "pcmpeqd %xmm0, %xmm0; pxor %xmm1, %xmm1; psrldq $8, %xmm0; maskmovdqu %xmm0, %xmm1; int3");
USER_CODE(u_vmaskmov, "vmaskmovps %ymm1, %ymm2, (%rdi); vmaskmovps (%rdi), %ymm2, %ymm3; int3");
USER_CODE(u_gather, "vpcmpeqd %ymm3, %ymm3, %ymm3; vpgatherdd %ymm3, (%rdi,%ymm1,4), %ymm2; int3");

static u8 image[4096] __attribute__((aligned(64)));
static u8 other[4096] __attribute__((aligned(64)));

static void user(const void *code)
{
	struct regs r = user_regs(code);

	run_frame(&r);
}

static void kernel(const void *code, void *rdi, u64 rfbm)
{
	struct regs r = kernel_regs(code);

	r.gpr[RDI] = (uintptr_t)rdi;
	r.gpr[RAX] = rfbm;
	run_frame(&r);
}

static void switches(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4();

	user(u_sse);
	expect_trap("SSE", 3, 0);
	write_cr0(cr0 | CR0_TS);
	user(u_sse);
	expect_trap("CR0.TS: SSE: #NM", 7, 0);
	ok(trap.rip == (uintptr_t)u_sse, "RIP at the instruction");
	user(u_x87);
	expect_trap("CR0.TS: x87: #NM", 7, 0);
	user(u_mmx);
	expect_trap("CR0.TS: MMX: #NM", 7, 0);
	user(u_wait);
	expect_trap("CR0.TS and MP: FWAIT: #NM", 7, 0);
	user(u_popcnt);
	expect_trap("CR0.TS: POPCNT is no SSE", 3, 0);
	user(u_movnti);
	expect_trap("CR0.TS: nor is MOVNTI", 3, 0);
	write_cr0((cr0 | CR0_TS) & ~2ull);
	user(u_wait);
	expect_trap("CR0.TS without MP: FWAIT", 3, 0);
	__asm__ volatile("clts");
	ok(!(read_cr0() & CR0_TS), "CLTS");
	write_cr0(cr0 | CR0_EM);
	user(u_x87);
	expect_trap("CR0.EM: x87: #NM", 7, 0);
	user(u_sse);
	expect_trap("CR0.EM: SSE: #UD", 6, 0);
	user(u_mmx);
	expect_trap("CR0.EM: MMX: #UD", 6, 0);
	write_cr0(cr0);
	write_cr4(cr4 & ~0x200ull);
	user(u_sse);
	expect_trap("no OSFXSR: SSE: #UD", 6, 0);
	write_cr4(cr4);
	user(u_avx);
	expect_trap("no OSXSAVE: AVX: #UD", 6, 0);
}

static void exceptions(void)
{
	u64 cr4 = read_cr4();

	user(u_mf);
	expect_trap("x87 division by zero: #MF", 16, 0);
	ok(trap.rip == (uintptr_t)u_mf_end - 2, "at the next x87 instruction that waits");
	kernel(k_fninit, NULL, 0);
	user(u_xm);
	tcg_is_wrong();
	expect_trap("SSE division by zero: #XM", 19, 0);
	write_cr4(cr4 & ~0x400ull);
	user(u_xm);
	tcg_is_wrong();
	expect_trap("without OSXMMEXCPT: #UD", 6, 0);
	write_cr4(cr4);
	__asm__ volatile("ldmxcsr %0" ::"m"(*(u32[]){ 0x1f80 }));
	user(u_ldmxcsr_bad);
	tcg_is_wrong();
	expect_trap("LDMXCSR with a reserved bit: #GP", 13, 0);
	{
		struct regs r = user_regs(u_movaps);

		r.gpr[RDI] = r.gpr[RSP] & ~15ull;
		run_frame(&r);
		tcg_is_wrong();
		expect_trap("MOVAPS, misaligned: #GP", 13, 0);
	}
}

static void images(void)
{
	u16 *w = (u16 *)image;
	u32 *env = (u32 *)other;

	for (unsigned i = 0; i < sizeof(image); i++)
		image[i] = 0x5a;
	kernel(k_fninit, NULL, 0);
	kernel(k_fxsave, image, 0);
	ok(trap.vec == 3 && w[0] == 0x37f && w[1] == 0 && image[4] == 0,
	   "FXSAVE after FNINIT: FCW, FSW, FTW");
	ok(image[464] == 0x5a && image[511] == 0x5a, "FXSAVE leaves the last 48 bytes alone");
	kernel(k_fxsave, image + 8, 0);
	expect_trap("FXSAVE, misaligned: #GP", 13, 0);
	/* Instruction and data pointers must be the guest's or nothing: no host addresses. */
	kernel(k_x87_work, other, 0);
	ok(trap.vec == 3, "x87 arithmetic");
	kernel(k_fxsave, image, 0);
	{
		u64 fip = *(u64 *)(image + 8), fdp = *(u64 *)(image + 16);

		ok(fip == 0 || (fip >= (uintptr_t)k_x87_work && fip < (uintptr_t)k_x87_work_end),
		   "FIP is no host address (%x)", fip);
		ok(fdp == 0, "FDP is no host address (%x)", fdp);
		ok(env[3] == 0 || (env[3] >= (uintptr_t)k_x87_work && env[3] < (uintptr_t)k_x87_work_end),
		   "nor in the FNSTENV image (%x)", (u64)env[3]);
	}
	w[0] = 0x27f;
	*(u32 *)(image + 24) = 0x1fa0;
	for (unsigned i = 0; i < 256; i++)
		image[160 + i] = (u8)i;
	kernel(k_fxrstor, image, 0);
	kernel(k_fxsave, other, 0);
	{
		bool same = true;

		for (unsigned i = 0; i < 256; i++)
			same &= other[160 + i] == (u8)i;
		ok(same && *(u16 *)other == 0x27f && *(u32 *)(other + 24) == 0x1fa0,
		   "FXRSTOR, FXSAVE: the same");
	}
	*(u32 *)(image + 24) = 0x10000;
	kernel(k_fxrstor, image, 0);
	tcg_is_wrong();
	expect_trap("FXRSTOR with a bad MXCSR: #GP", 13, 0);
}

static void xsave(void)
{
	struct regs r = kernel_regs(k_xsetbv);
	u32 c[4];
	u64 *header = (u64 *)(image + 512);

	if (!has1c(26) || !has1c(28)) {
		skip("no XSAVE or no AVX");
		return;
	}
	kernel(k_xsave, image, 7);
	expect_trap("XSAVE without OSXSAVE: #UD", 6, 0);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	cpuid(1, 0, c);
	ok(c[2] >> 27 & 1, "CPUID shows OSXSAVE");
	r.gpr[RAX] = 7;
	run_frame(&r);
	expect_trap("XSETBV 7", 3, 0);
	r.gpr[RAX] = 6;
	run_frame(&r);
	expect_trap("XSETBV without x87: #GP", 13, 0);
	r.gpr[RAX] = 5;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("XSETBV with AVX but not SSE: #GP", 13, 0);
	r.gpr[RAX] = 0x8000007;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("XSETBV with a component that there is not: #GP", 13, 0);
	cpuid(13, 0, c);
	ok(c[1] == 832, "CPUID 13: 832 bytes for x87, SSE and AVX (%x)", (u64)c[1]);
	user(u_avx);
	expect_trap("AVX", 3, 0);
	for (unsigned i = 0; i < 1024; i++)
		image[i] = 0;
	kernel(k_xrstor, image, 7);
	ok(trap.vec == 3, "XRSTOR of an all-zero header: initial state");
	for (unsigned i = 0; i < 1024; i++)
		image[i] = 0x5a;
	header[0] = header[1] = 0;
	kernel(k_xsave, image, 7);
	ok(trap.vec == 3 && !(header[0] & ~7ull), "XSAVE: XSTATE_BV");
	header[1] = 1;
	kernel(k_xrstor, image, 7);
	expect_trap("XRSTOR with a bad header: #GP", 13, 0);
	header[1] = 0;
	header[0] = 8;
	kernel(k_xrstor, image, 7);
	expect_trap("XRSTOR of a component that is not enabled: #GP", 13, 0);
	kernel(k_xsave, image + 16, 7);
	expect_trap("XSAVE, misaligned: #GP", 13, 0);
	header[0] = 7;
	header[1] = header[2] = 0;
	*(u32 *)(image + 24) = 0x1f80;
	*(u16 *)image = 0x37f;
	for (unsigned i = 0; i < 256; i++)
		image[160 + i] = image[576 + i] = (u8)(i * 7);
	kernel(k_xrstor, image, 7);
	for (unsigned i = 0; i < 1024; i++)
		other[i] = 0;
	kernel(k_xsave, other, 7);
	{
		bool same = true;

		for (unsigned i = 0; i < 256; i++)
			same &= other[160 + i] == (u8)(i * 7) && other[576 + i] == (u8)(i * 7);
		ok(same && (*(u64 *)(other + 512) | 1) == 7, "XRSTOR, XSAVE: the same");
	}
	for (unsigned i = 0; i < 256; i++)
		other[160 + i] = 0xee;
	kernel(k_xsave, other, 4);
	ok(other[160] == 0xee && other[576 + 1] == 7, "XSAVE of AVX alone leaves SSE registers alone");
}

static void borders(void)
{
	u64 pa = alloc_page();
	struct regs r;

	map_page(VA, pa, PTE_P | PTE_U | PTE_W);
	r = user_regs(u_maskmov);
	r.gpr[RDI] = VA + 0xff8;
	run_frame(&r);
	/* bytes 8 to 15 masked off: whether they may fault is up to the CPU */
	ok(trap.vec == 3 || trap.vec == 14, "MASKMOVDQU whose upper half would fault");
	if (!(read_cr4() & CR4_OSXSAVE)) {
		skip("no AVX");
		return;
	}
	/* mask: lower four floats */
	for (unsigned i = 0; i < 1024; i++)
		image[i] = 0;
	*(u64 *)(image + 512) = 7;
	*(u16 *)image = 0x37f;
	*(u32 *)(image + 24) = 0x1f80;
	for (unsigned i = 0; i < 16; i++) {
		image[160 + 32 + i] = 0xff;  /* ymm2 low: the mask */
		image[160 + 16 + i] = (u8)i; /* ymm1: data */
		image[576 + 16 + i] = 0x77;
	}
	kernel(k_xrstor, image, 7);
	r = user_regs(u_vmaskmov);
	r.gpr[RDI] = VA + 0xff0;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("VMASKMOVPS: masked elements do not fault", 3, 0);
	ok(*(u64 *)phys(pa + 0xff0) == 0x0706050403020100, "and the others are stored");
	r.gpr[RDI] = VA + 0xff4;
	run_frame(&r);
	ok(trap.vec == 14 && trap.err == 6 && trap.cr2 >= VA + 0x1000 && trap.cr2 < VA + 0x1004,
	   "VMASKMOVPS: an element that is not masked does");
	tcg_is_wrong();
	ok(*(u32 *)phys(pa + 0xff4) == 0x07060504, "and nothing was stored before");
	/* gather: index register ymm1 all zero but one */
	for (unsigned i = 0; i < 32; i++)
		image[160 + 16 + (i & 15)] = image[576 + 16 + (i & 15)] = 0;
	kernel(k_xrstor, image, 7);
	r = user_regs(u_gather);
	r.gpr[RDI] = VA + 0xff0;
	run_frame(&r);
	expect_trap("VPGATHERDD", 3, 0);
	r.gpr[RDI] = VA + 0xffe;
	run_frame(&r);
	ok(trap.vec == 14 && trap.cr2 == VA + 0x1000, "VPGATHERDD across into a missing page");
}

void test_main(void)
{
	switches();
	exceptions();
	images();
	xsave();
	borders();
}
