/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runtime of the 32-bit guest test program.
 */
#include <stdarg.h>

#include "guest32.h"

struct regs trap;
struct tss tss __attribute__((aligned(128)));
u64 gdt[64] __attribute__((aligned(16))) = {
	[1] = 0x00cf9b000000ffff,
	[2] = 0x00cf93000000ffff,
	[3] = 0x00cffb000000ffff,
	[4] = 0x00cff3000000ffff,
};

static u64 idt[256] __attribute__((aligned(16)));
static u8 trap_stack[16384] __attribute__((aligned(16)));
static u8 kernel_stack[16384] __attribute__((aligned(16)));
static u8 user_stack[16384] __attribute__((aligned(16)));
static u32 next_free = 16u << 20;
static u32 tests, failed, todo;
static bool under_tcg, next_is_todo;

extern u32 frame_return;
void leave_frame(void) __attribute__((noreturn));
void trap_entry(u32 *f) __attribute__((noreturn));
void runtime_main(void) __attribute__((noreturn));
void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
static void finish(void) __attribute__((noreturn));

void *memset(void *p, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)p)[i] = (u8)c;
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}

static void put(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

static void put_number(u32 v, unsigned base)
{
	char buf[12];
	unsigned n = 0;

	do
		buf[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n)
		put(buf[--n]);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		switch (*++fmt) {
		case 'x': put_number(va_arg(ap, u32), 16); break;
		case 'd': put_number(va_arg(ap, u32), 10); break;
		default:
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
		}
	}
	va_end(ap);
}

void ok(bool good, const char *name)
{
	bool is_todo = next_is_todo;

	next_is_todo = false;
	print("%s %d - %s%s\n", good || is_todo ? "ok" : "not ok", ++tests,
	      good || !is_todo ? "" : "# TODO QEMU is wrong: ", name);
	if (!good)
		(*(is_todo ? &todo : &failed))++;
}

void tcg_is_wrong(void)
{
	next_is_todo = under_tcg;
}

void skip(const char *why)
{
	print("ok %d - # SKIP %s\n", ++tests, why);
}

void show_trap(void)
{
	print("# vec %d err %x eip %x cr2 %x cs %x eflags %x esp %x ss %x eax %x ecx %x\n", trap.vec,
	      trap.err, trap.eip, trap.cr2, trap.cs, trap.eflags, trap.gpr[ESP], trap.ss, trap.gpr[EAX],
	      trap.gpr[ECX]);
}

void expect_trap(const char *name, unsigned vec, u32 err)
{
	bool good = trap.vec == vec && trap.err == err;

	ok(good, name);
	if (!good) {
		print("# want vec %d err %x\n", vec, err);
		show_trap();
	}
}

void expect_pf(const char *name, u32 err, u32 cr2)
{
	bool good = trap.vec == 14 && trap.err == err && trap.cr2 == cr2;

	ok(good, name);
	if (!good) {
		print("# want #PF err %x cr2 %x\n", err, cr2);
		show_trap();
	}
}

static void finish(void)
{
	print("1..%d\nSUMMARY %s: %d tests, %d failed, %d todo\n", tests, failed ? "FAIL" : "PASS", tests,
	      failed, todo);
	/* As lib/runtime.c */
	outb(0xf4, failed ? 1 : 0);
	__asm__ volatile("outw %0, %1" ::"a"((u16)(0x2000 | 5 << 10)), "d"((u16)0x604));
	outb(0x64, 0xfe);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* ds, edi esi ebp esp ebx edx ecx eax, vec, err, eip, cs, eflags [, esp, ss] */
void trap_entry(u32 *f)
{
	for (unsigned i = 0; i < 8; i++)
		trap.gpr[i] = f[8 - i];
	trap.ds = (u16)f[0];
	trap.vec = f[9];
	trap.err = f[10];
	trap.eip = f[11];
	trap.cs = (u16)f[12];
	trap.eflags = f[13];
	if (trap.cs & 3) {
		trap.gpr[ESP] = f[14];
		trap.ss = (u16)f[15];
	} else {
		trap.gpr[ESP] = (u32)(uintptr_t)(f + 14);
		trap.ss = KDS;
	}
	trap.cr2 = read_cr2();
	if (frame_return)
		leave_frame();
	print("Bail out! unexpected exception\n");
	show_trap();
	failed++;
	finish();
}

void set_gate(unsigned vec, u32 target, unsigned type_dpl, u16 cs)
{
	idt[vec] = (target & 0xffff) | (u64)cs << 16 | (u64)type_dpl << 40 | (u64)(target >> 16) << 48;
}

void reset_idt(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) p = { sizeof(idt) - 1, (u32)(uintptr_t)idt };

	for (unsigned v = 0; v < 256; v++)
		set_gate(v, (u32)(uintptr_t)isr_table + 16 * v, v == 3 || v == 4 || v >= 0x80 ? 0xee : 0x8e,
			 KCS);
	__asm__ volatile("lidt %0" ::"m"(p));
}

u32 alloc_aligned(u32 size)
{
	u32 pa;

	next_free = (next_free + size - 1) & ~(size - 1);
	pa = next_free;
	next_free += size;
	memset((void *)(uintptr_t)pa, 0, size);
	return pa;
}

u64 descriptor(u32 base, u32 limit, u16 attr)
{
	if (limit > 0xfffff) {
		limit >>= 12;
		attr |= 0x8000;
	}
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(attr >> 12) << 52 | (u64)(base >> 24) << 56;
}

struct regs user_regs(const void *eip)
{
	struct regs r = { .eip = (u32)(uintptr_t)eip, .cs = UCS, .ss = UDS, .ds = UDS, .eflags = 2 };

	r.gpr[ESP] = (u32)(uintptr_t)user_stack + sizeof(user_stack) - 64;
	return r;
}

struct regs kernel_regs(const void *eip)
{
	struct regs r = { .eip = (u32)(uintptr_t)eip, .cs = KCS, .ss = KDS, .ds = KDS, .eflags = 2 };

	r.gpr[ESP] = (u32)(uintptr_t)kernel_stack + sizeof(kernel_stack) - 64;
	return r;
}

void runtime_main(void)
{
	u32 r[4];

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	outb(0x3fb, 3);
	outb(0x3fc, 3);
	tss.ss0 = KDS;
	tss.esp0 = (u32)(uintptr_t)trap_stack + sizeof(trap_stack);
	tss.iomap = sizeof(tss);
	gdt[5] = descriptor((u32)(uintptr_t)&tss, sizeof(tss) - 1, 0x89);
	__asm__ volatile("ltr %w0; lldt %w1" ::"r"(TSS_SEL), "r"(0));
	reset_idt();
	cpuid(0x40000000, 0, r);
	under_tcg = r[1] == 0x54474354;
	test_main();
	finish();
}
