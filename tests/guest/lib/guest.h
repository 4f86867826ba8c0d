/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the guest test programs: 64-bit, bare metal, one CPU.
 *
 * The tool that nearly all tests are made of is run_frame(): execute code at
 * any privilege level from a given register state, until it raises an
 * exception or a software interrupt; the state at that moment is then in
 * `trap`. run_frame(&trap) goes on from there. Code under test stands in
 * SNIPPETs: in .utext, which user mode may execute, or in .text.
 *
 *   r = user_regs(snippet);
 *   run_frame(&r);
 *   ok(trap.vec == 14 && trap.cr2 == 0x1234, "...");
 *
 * Identity mapping of the first 4 GiB by 2M pages, supervisor only but for
 * .utext and .udata; more through map_page(). Interrupts stay disabled in the
 * runtime itself.
 */
#ifndef LGUEST_TESTS_GUEST_H
#define LGUEST_TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* run_frame() and isr_common in start.S know the layout up to ss. */
struct regs {
	u64 gpr[16];
	u64 rip, cs, rflags, ss;
	u64 vec, err, cr2;
};

extern struct regs trap;
void run_frame(const struct regs *r);

#define KCS      0x08
#define KDS      0x10
#define UCS32    0x1b
#define UDS      0x23
#define UCS      0x2b
#define TSS_SEL  0x30
#define FREE_SEL 0x40 /* descriptors from here on are for the tests */

extern u64 gdt[64];
/* Builds a descriptor; @attr as bytes 5 and 6 (access in bits 0-7, flags in 12-15). */
u64 descriptor(u32 base, u32 limit, u16 attr);

#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_A  0x20ull
#define PTE_D  0x40ull
#define PTE_PS 0x80ull
#define PTE_G  0x100ull
#define PTE_NX (1ull << 63)

extern u64 boot_pml4[512], boot_pdpt[512], boot_pd[2048];

/* Zeroed physical pages, and a run of them aligned to its size (a power of two). */
u64 alloc_page(void);
u64 alloc_aligned(u64 size);
/* Maps one 4K page in the current tables; upper levels get P|W|U. Returns the entry. */
u64 *map_page(u64 va, u64 pa, u64 bits);
/* The entry that maps @va at level 0 (4K) to 3; NULL when there is none. */
u64 *pte_of(u64 va, unsigned level);

static inline void *phys(u64 pa)
{
	return (void *)(uintptr_t)pa;
}

/* Register states to start from: interrupts off, a stack of their own. */
struct regs user_regs(const void *rip);
struct regs user32_regs(const void *rip);
struct regs kernel_regs(const void *rip);

/* Handlers that return to the interrupted code instead of ending run_frame(). */
typedef void hook_fn(struct regs *r); /* only gpr, vec and err are valid in r; see hook_frame() */
extern hook_fn *hooks[256];
/* The IRET frame behind the registers: rip cs rflags rsp ss. */
static inline u64 *hook_frame(struct regs *r)
{
	return (u64 *)r + 18;
}

void set_gate(unsigned vec, const void *target, unsigned type_dpl, unsigned ist, u16 cs);
void reset_idt(void);
extern u8 isr_table[];

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap;
	u8 bitmap[8193];
} __attribute__((packed));
extern struct tss tss;

/* ---- reporting ---- */

void print(const char *fmt, ...); /* %x (u64, hex) %d (u64, decimal) %s */
/* One TAP line; what went wrong is told from @fmt's arguments. */
void ok(bool good, const char *fmt, ...);
/* QEMU TCG is known to fail what the next line checks: there a failure is a TODO. */
void tcg_is_wrong(void);
void skip(const char *why);
/* Prints `trap` as a diagnostic. */
void show_trap(void);
/* ok() with a diagnostic: an exception @vec with error code @err (and CR2). */
void expect_trap(const char *name, unsigned vec, u64 err);
void expect_pf(const char *name, u64 err, u64 cr2);
void finish(void) __attribute__((noreturn));

extern bool under_tcg;

void test_main(void);

/* ---- instructions ---- */

#define SNIPPET_IN(section, name, code)                                                                    \
	extern const char name[], name##_end[];                                                            \
	__asm__(".pushsection " section "\n.globl " #name ", " #name "_end\n.balign 16\n" #name ":\n" code \
		"\n" #name "_end:\n.popsection\n")
#define USER_CODE(name, code)   SNIPPET_IN(".utext, \"ax\"", name, code)
#define KERNEL_CODE(name, code) SNIPPET_IN(".text", name, code)
#define USER_CODE32(name, code) USER_CODE(name, ".code32\n" code "\n.code64")
#define USER_DATA               __attribute__((section(".udata")))

#define RD(reg)                                                             \
	static inline u64 read_##reg(void)                                  \
	{                                                                   \
		u64 v;                                                      \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v)::"memory"); \
		return v;                                                   \
	}                                                                   \
	static inline void write_##reg(u64 v)                               \
	{                                                                   \
		__asm__ volatile("mov %0, %%" #reg ::"r"(v) : "memory");    \
	}
/* clang-format off */
RD(cr0) RD(cr2) RD(cr3) RD(cr4) RD(dr0) RD(dr1) RD(dr2) RD(dr3) RD(dr6) RD(dr7)
/* clang-format on */
#undef RD

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void invlpg(u64 va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline void flush_tlb(void)
{
	write_cr3(read_cr3());
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

#define MSR_EFER    0xc0000080
#define MSR_STAR    0xc0000081
#define MSR_LSTAR   0xc0000082
#define MSR_CSTAR   0xc0000083
#define MSR_FMASK   0xc0000084
#define MSR_FSBASE  0xc0000100
#define MSR_GSBASE  0xc0000101
#define MSR_KGSBASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103

#define CR0_WP       (1ull << 16)
#define CR0_TS       8ull
#define CR0_EM       4ull
#define CR4_TSD      4ull
#define CR4_DE       8ull
#define CR4_PGE      0x80ull
#define CR4_UMIP     (1ull << 11)
#define CR4_FSGSBASE (1ull << 16)
#define CR4_PCIDE    (1ull << 17)
#define CR4_OSXSAVE  (1ull << 18)
#define CR4_SMEP     (1ull << 20)
#define CR4_SMAP     (1ull << 21)

/* CPUID(7,0).EBX and CPUID(1).ECX bits */
static inline bool has7b(unsigned bit)
{
	u32 r[4];
	cpuid(7, 0, r);
	return r[1] >> bit & 1;
}

static inline bool has1c(unsigned bit)
{
	u32 r[4];
	cpuid(1, 0, r);
	return r[2] >> bit & 1;
}

#endif
