/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does CPUID tell the truth? An instruction whose feature bit is set executes;
 * one whose bit is clear raises #UD. And the leaves that a kernel relies on
 * agree with each other.
 */
#include "lib/guest.h"

/* name, leaf, subleaf, register (0 EAX .. 3 EDX), bit, code */
#define FEATURES(X)                                                               \
	X(sse3, 1, 0, 2, 0, "lddqu (%rdi), %xmm0")                                \
	X(pclmulqdq, 1, 0, 2, 1, "pclmulqdq $0, %xmm1, %xmm0")                    \
	X(monitor, 1, 0, 2, 3, ".byte 0x0f, 0x01, 0xc8")                          \
	X(vmx, 1, 0, 2, 5, ".byte 0x0f, 0x01, 0xc1")                              \
	X(ssse3, 1, 0, 2, 9, "pshufb %xmm1, %xmm0")                               \
	X(fma, 1, 0, 2, 12, "vfmadd132ps %ymm0, %ymm1, %ymm2")                    \
	X(cx16, 1, 0, 2, 13, "cmpxchg16b (%rdi)")                                 \
	X(sse4_1, 1, 0, 2, 19, "pminsd %xmm1, %xmm0")                             \
	X(sse4_2, 1, 0, 2, 20, "pcmpgtq %xmm1, %xmm0")                            \
	X(movbe, 1, 0, 2, 22, "movbe (%rdi), %eax")                               \
	X(popcnt, 1, 0, 2, 23, "popcnt %eax, %ebx")                               \
	X(aes, 1, 0, 2, 25, "aesenc %xmm1, %xmm0")                                \
	X(xsave, 1, 0, 2, 26, "xor %ecx, %ecx; xgetbv")                           \
	X(avx, 1, 0, 2, 28, "vaddps %ymm0, %ymm1, %ymm2")                         \
	X(f16c, 1, 0, 2, 29, "vcvtph2ps %xmm0, %ymm1")                            \
	X(rdrand, 1, 0, 2, 30, "rdrand %eax")                                     \
	X(fsgsbase, 7, 0, 1, 0, "rdfsbase %rax")                                  \
	X(bmi1, 7, 0, 1, 3, "andn %eax, %ebx, %ecx")                              \
	X(avx2, 7, 0, 1, 5, "vpaddb %ymm0, %ymm1, %ymm2")                         \
	X(bmi2, 7, 0, 1, 8, "pext %eax, %ebx, %ecx")                              \
	X(rtm, 7, 0, 1, 11, "xtest")                                              \
	X(avx512f, 7, 0, 1, 16, ".byte 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1")       \
	X(rdseed, 7, 0, 1, 18, "rdseed %eax")                                     \
	X(adx, 7, 0, 1, 19, "adcx %eax, %ebx")                                    \
	X(clflushopt, 7, 0, 1, 23, "clflushopt (%rdi)")                           \
	X(clwb, 7, 0, 1, 24, "clwb (%rdi)")                                       \
	X(sha, 7, 0, 1, 29, "sha1nexte %xmm0, %xmm1")                             \
	X(avx512vbmi, 7, 0, 2, 1, ".byte 0x62, 0xf2, 0x75, 0x48, 0x8d, 0xc0")     \
	X(waitpkg, 7, 0, 2, 5, "umonitor %rax")                                   \
	X(gfni, 7, 0, 2, 8, "gf2p8mulb %xmm0, %xmm1")                             \
	X(vaes, 7, 0, 2, 9, "vaesenc %ymm0, %ymm1, %ymm2")                        \
	X(vpclmulqdq, 7, 0, 2, 10, "vpclmulqdq $0, %ymm0, %ymm1, %ymm2")          \
	X(rdpid, 7, 0, 2, 22, "rdpid %rax")                                       \
	X(serialize, 7, 0, 3, 14, ".byte 0x0f, 0x01, 0xe8")                       \
	X(sse4a, 0x80000001, 0, 2, 6, "extrq $4, $8, %xmm0")                      \
	X(xop, 0x80000001, 0, 2, 11, ".byte 0x8f, 0xe9, 0x78, 0x81, 0xc1")        \
	X(fma4, 0x80000001, 0, 2, 16, ".byte 0xc4, 0xe3, 0xf9, 0x69, 0xd2, 0x10") \
	X(tbm, 0x80000001, 0, 2, 21, ".byte 0x8f, 0xe9, 0x78, 0x01, 0xc8")        \
	X(monitorx, 0x80000001, 0, 2, 29, ".byte 0x0f, 0x01, 0xfa")               \
	X(now3d, 0x80000001, 0, 3, 31, ".byte 0x0f, 0x0f, 0xc1, 0x9e")            \
	X(rdtscp, 0x80000001, 0, 3, 27, "rdtscp")                                 \
	X(clzero, 0x80000008, 0, 1, 0, "mov %rdi, %rax; .byte 0x0f, 0x01, 0xfc")  \
	X(rdpru, 0x80000008, 0, 1, 4, "xor %ecx, %ecx; .byte 0x0f, 0x01, 0xfd")

#define CODE(name, leaf, sub, reg, bit, text) USER_CODE(f_##name, text "; int3");
FEATURES(CODE)
#undef CODE

static u64 scratch[16] USER_DATA __attribute__((aligned(64)));

static void check(const char *name, u32 leaf, u32 sub, unsigned reg, unsigned bit, const void *code)
{
	struct regs r = user_regs(code);
	u32 max[4], c[4] = { 0 };
	bool offered;

	cpuid(leaf & 0x80000000, 0, max);
	if (max[0] >= leaf)
		cpuid(leaf, sub, c);
	offered = c[reg] >> bit & 1;
	r.gpr[RDI] = (uintptr_t)scratch;
	r.gpr[RAX] = (uintptr_t)scratch;
	run_frame(&r);
	tcg_is_wrong(); /* executes some that it does not announce, and the other way round */
	/* MONITOR in user mode is #UD either way. */
	ok(offered ? trap.vec != 6 || (reg == 2 && bit == 3 && leaf == 1) : trap.vec == 6, "%s: %s", name,
	   offered ? "offered" : "not offered: #UD");
	if (trap.vec != 3 && trap.vec != 6)
		show_trap();
}

static void leaves(void)
{
	u32 r[4], s[4];

	cpuid(0, 0, r);
	print("# vendor %x %x %x, highest leaf %x\n", (u64)r[1], (u64)r[3], (u64)r[2], (u64)r[0]);
	ok(r[0] >= 13, "leaves up to 13");
	cpuid(0x80000000, 0, s);
	ok(s[0] >= 0x80000008, "extended leaves up to 8");
	cpuid(0x80000008, 0, s);
	tcg_is_wrong(); /* or right: it offers 57 */
	ok((s[0] >> 8 & 255) == 48, "48 bits of linear address");
	ok((s[0] & 255) >= 36 && (s[0] & 255) <= 52, "physical address size");
	cpuid(1, 0, r);
	ok(r[2] >> 31 & 1, "hypervisor bit");
	ok((r[3] & 0x07008179) == 0x07008179, "x86-64 baseline in leaf 1");
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
	cpuid(1, 0, r);
	ok(!(r[2] >> 27 & 1), "OSXSAVE follows CR4");
	write_cr4(read_cr4() | CR4_OSXSAVE);
	cpuid(1, 0, r);
	ok(r[2] >> 27 & 1, "OSXSAVE follows CR4");
	cpuid(13, 0, r);
	tcg_is_wrong();
	ok(r[0] == 7 && r[3] == 0, "XCR0 may have x87, SSE and AVX");
	cpuid(13, 2, r);
	ok(r[0] == 256 && r[1] == 576, "AVX state: 256 bytes at 576");
	__asm__ volatile("xsetbv" ::"c"(0), "a"(3), "d"(0));
	cpuid(13, 0, r);
	ok(r[1] == 576, "size of the area without AVX");
	__asm__ volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
	cpuid(13, 0, r);
	ok(r[1] == 832, "size of the area with AVX");
}

/* CR4 and CR0 refuse what is not there. */
KERNEL_CODE(k_cr4, "mov %rax, %cr4; int3");
KERNEL_CODE(k_cr0, "mov %rax, %cr0; int3");
KERNEL_CODE(k_cr3, "mov %rax, %cr3; int3");
KERNEL_CODE(k_cr8, "mov %rax, %cr8; int3");
KERNEL_CODE(k_cr1, ".byte 0x0f, 0x20, 0xc8; int3");

static void set(const char *name, const void *code, u64 val, unsigned vec)
{
	struct regs r = kernel_regs(code);

	r.gpr[RAX] = val;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap(name, vec, 0);
}

static void control_registers(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4(), cr3 = read_cr3();

	if (under_tcg) {
		skip("QEMU TCG accepts nearly everything, and suffers for it");
		return;
	}

	set("CR4: reserved bit", k_cr4, cr4 | 1ull << 15, 13);
	set("CR4: upper half", k_cr4, cr4 | 1ull << 32, 13);
	set("CR4: PAE off in long mode", k_cr4, cr4 & ~0x20ull, 13);
	set("CR4: VMXE where there is no VMX", k_cr4, cr4 | 1ull << 13, has1c(5) ? 3 : 13);
	set("CR0: PG without PE", k_cr0, cr0 & ~1ull, 13);
	set("CR0: NW without CD", k_cr0, cr0 | 1ull << 29, 13);
	set("CR0: upper half", k_cr0, cr0 | 1ull << 32, 13);
	set("CR0: PG off in 64-bit code", k_cr0, cr0 & ~0x80000000ull, 13);
	set("CR3: beyond the physical address size", k_cr3, cr3 | 1ull << 60, 13);
	set("CR8: more than four bits", k_cr8, 0x10, 13);
	set("CR1: #UD", k_cr1, 0, 6);
	ok(read_cr0() == cr0 && read_cr4() == cr4 && read_cr3() == cr3, "nothing of it stuck");
}

void test_main(void)
{
	write_cr4(read_cr4() | CR4_OSXSAVE | (has7b(0) ? CR4_FSGSBASE : 0));
	__asm__ volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
#define CHECK(name, leaf, sub, reg, bit, text) check(#name, leaf, sub, reg, bit, f_##name);
	FEATURES(CHECK)
#undef CHECK
	leaves();
	control_registers();
}
