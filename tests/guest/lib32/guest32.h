/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the 32-bit guest test program: as lib/guest.h, smaller.
 * Ring 0 and ring 3 share flat segments; code under test stands in SNIPPETs.
 */
#ifndef LGUEST_TESTS_GUEST32_H
#define LGUEST_TESTS_GUEST32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

/* start.S knows the layout up to ds. */
struct regs {
	u32 gpr[8];
	u32 eip, cs, eflags, ss, ds;
	u32 vec, err, cr2;
};

extern struct regs trap;
void run_frame(const struct regs *r);

#define KCS      0x08
#define KDS      0x10
#define UCS      0x1b
#define UDS      0x23
#define TSS_SEL  0x28
#define FREE_SEL 0x40

extern u64 gdt[64];
u64 descriptor(u32 base, u32 limit, u16 attr);

struct regs user_regs(const void *eip);
struct regs kernel_regs(const void *eip);

void set_gate(unsigned vec, u32 target, unsigned type_dpl, u16 cs);
void reset_idt(void);
extern u8 isr_table[];

struct tss {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, regs[8], segs[6], ldt;
	u16 trap, iomap;
};
extern struct tss tss;

u32 alloc_aligned(u32 size);

void ok(bool good, const char *name);
void tcg_is_wrong(void);
void skip(const char *why);
void show_trap(void);
void expect_trap(const char *name, unsigned vec, u32 err);
void expect_pf(const char *name, u32 err, u32 cr2);
void print(const char *fmt, ...); /* %x %s */

void test_main(void);

#define CODE32(name, code)                                                                           \
	extern const char name[], name##_end[];                                                      \
	__asm__(".pushsection .text\n.globl " #name ", " #name "_end\n.balign 16\n" #name ":\n" code \
		"\n" #name "_end:\n.popsection\n")

#define RD(reg)                                                             \
	static inline u32 read_##reg(void)                                  \
	{                                                                   \
		u32 v;                                                      \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v)::"memory"); \
		return v;                                                   \
	}                                                                   \
	static inline void write_##reg(u32 v)                               \
	{                                                                   \
		__asm__ volatile("mov %0, %%" #reg ::"r"(v) : "memory");    \
	}
/* clang-format off */
RD(cr0) RD(cr2) RD(cr3) RD(cr4)
/* clang-format on */
#undef RD

static inline u64 rdmsr(u32 msr)
{
	u64 v;
	__asm__ volatile("rdmsr" : "=A"(v) : "c"(msr));
	return v;
}

static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "A"(v) : "memory");
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

static inline void invlpg(u32 va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

#endif
