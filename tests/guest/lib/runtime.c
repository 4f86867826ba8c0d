/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runtime of the guest tests: tables, traps, memory, TAP output on COM1.
 */
#include <stdarg.h>

#include "guest.h"

struct regs trap;
hook_fn *hooks[256];
bool under_tcg;
struct tss tss __attribute__((aligned(4096)));
u64 gdt[64] __attribute__((aligned(16))) = {
	[1] = 0x00af9b000000ffff, [2] = 0x00cf93000000ffff, [3] = 0x00cffb000000ffff,
	[4] = 0x00cff3000000ffff, [5] = 0x00affb000000ffff,
};

static u64 idt[512] __attribute__((aligned(4096)));
static u8 trap_stack[16384] __attribute__((aligned(16)));
static u8 kernel_stack[16384] __attribute__((aligned(16)));
static u8 user_stack[16384] __attribute__((aligned(16))) USER_DATA;
static u64 next_free = 16ull << 20;
static unsigned tests, failed, todo;
static bool next_is_todo;

extern u64 frame_return;
void leave_frame(void) __attribute__((noreturn));
void trap_entry(struct regs *r);
void runtime_main(void) __attribute__((noreturn));
void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);

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

/* ---- output ---- */

static void put(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

static void put_number(u64 v, unsigned base)
{
	char buf[24];
	unsigned n = 0;

	do
		buf[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n)
		put(buf[--n]);
}

static void vprint(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		switch (*++fmt) {
		case 'x': put_number(va_arg(ap, u64), 16); break;
		case 'd': put_number(va_arg(ap, u64), 10); break;
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		default: put(*fmt);
		}
	}
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
}

static void vok(bool good, bool is_todo, const char *fmt, va_list ap)
{
	print(good || is_todo ? "" : "not ");
	print(good ? "ok %d - " : is_todo ? "ok %d - # TODO QEMU is wrong: " : "ok %d - ", (u64)++tests);
	vprint(fmt, ap);
	print("\n");
	if (!good)
		(*(is_todo ? &todo : &failed))++;
	next_is_todo = false;
}

void ok(bool good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vok(good, next_is_todo, fmt, ap);
	va_end(ap);
}

void tcg_is_wrong(void)
{
	next_is_todo = under_tcg;
}

void skip(const char *why)
{
	print("ok %d - # SKIP %s\n", (u64)++tests, why);
}

void show_trap(void)
{
	print("# vec %d err %x rip %x cr2 %x cs %x rflags %x", trap.vec, trap.err, trap.rip, trap.cr2,
	      trap.cs, trap.rflags);
	print(" rsp %x ss %x rax %x rcx %x\n", trap.gpr[RSP], trap.ss, trap.gpr[RAX], trap.gpr[RCX]);
}

void expect_trap(const char *name, unsigned vec, u64 err)
{
	bool good = trap.vec == vec && trap.err == err;

	ok(good, "%s", name);
	if (!good) {
		print("# want vec %d err %x\n", (u64)vec, err);
		show_trap();
	}
}

void expect_pf(const char *name, u64 err, u64 cr2)
{
	bool good = trap.vec == 14 && trap.err == err && trap.cr2 == cr2;

	ok(good, "%s", name);
	if (!good) {
		print("# want #PF err %x cr2 %x\n", err, cr2);
		show_trap();
	}
}

void finish(void)
{
	print("1..%d\nSUMMARY %s: %d tests, %d failed, %d todo\n", (u64)tests, failed ? "FAIL" : "PASS",
	      (u64)tests, (u64)failed, (u64)todo);
	/* QEMU's isa-debug-exit, the ACPI PM1 control register of lguest, a reset */
	outb(0xf4, failed ? 1 : 0);
	__asm__ volatile("outw %0, %1" ::"a"((u16)(0x2000 | 5 << 10)), "d"((u16)0x604));
	outb(0x64, 0xfe);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* ---- traps ---- */

void trap_entry(struct regs *r)
{
	u64 *f = (u64 *)r + 16; /* vec err rip cs rflags rsp ss */

	if (hooks[f[0]]) {
		hooks[f[0]](r);
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		trap.gpr[i] = r->gpr[i];
	trap.vec = f[0];
	trap.err = f[1];
	trap.rip = f[2];
	trap.cs = f[3];
	trap.rflags = f[4];
	trap.gpr[RSP] = f[5];
	trap.ss = f[6];
	trap.cr2 = read_cr2();
	if (frame_return)
		leave_frame();
	print("Bail out! unexpected exception\n");
	show_trap();
	failed++;
	finish();
}

void set_gate(unsigned vec, const void *target, unsigned type_dpl, unsigned ist, u16 cs)
{
	u64 t = (uintptr_t)target;

	idt[2 * vec] = (t & 0xffff) | (u64)cs << 16 | (u64)ist << 32 | (u64)type_dpl << 40 |
		       (t >> 16 & 0xffff) << 48;
	idt[2 * vec + 1] = t >> 32;
}

void reset_idt(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) p = { sizeof(idt) - 1, (uintptr_t)idt };

	/* INT3, INTO and the vectors from 0x80 on may be used by user code. #DF has a stack of its own. */
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, isr_table + 16 * v, v == 3 || v == 4 || v >= 0x80 ? 0xee : 0x8e, v == 8, KCS);
	__asm__ volatile("lidt %0" ::"m"(p));
}

/* ---- memory ---- */

u64 alloc_aligned(u64 size)
{
	u64 pa, to;

	next_free = (next_free + size - 1) & ~(size - 1);
	pa = next_free;
	next_free += size;
	to = pa;
	size /= 8;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(size) : "a"(0ull) : "memory");
	return pa;
}

u64 alloc_page(void)
{
	return alloc_aligned(4096);
}

u64 *pte_of(u64 va, unsigned level)
{
	u64 *t = phys(read_cr3() & 0x000ffffffffff000ull);

	for (unsigned l = 3;; l--) {
		u64 *e = &t[va >> (12 + 9 * l) & 511];

		if (l == level)
			return e;
		if (!(*e & PTE_P) || (l < 3 && (*e & PTE_PS)))
			return NULL;
		t = phys(*e & 0x000ffffffffff000ull);
	}
}

u64 *map_page(u64 va, u64 pa, u64 bits)
{
	u64 *e;

	for (unsigned l = 3; l > 0; l--) {
		e = pte_of(va, l);
		if (!(*e & PTE_P))
			*e = alloc_page() | PTE_P | PTE_W | PTE_U;
	}
	e = pte_of(va, 0);
	*e = pa | bits;
	invlpg(va);
	return e;
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

struct regs user_regs(const void *rip)
{
	struct regs r = { .rip = (uintptr_t)rip, .cs = UCS, .ss = UDS, .rflags = 2 };

	r.gpr[RSP] = (uintptr_t)user_stack + sizeof(user_stack) - 64;
	return r;
}

struct regs user32_regs(const void *rip)
{
	struct regs r = user_regs(rip);

	r.cs = UCS32;
	return r;
}

struct regs kernel_regs(const void *rip)
{
	struct regs r = { .rip = (uintptr_t)rip, .cs = KCS, .ss = KDS, .rflags = 2 };

	r.gpr[RSP] = (uintptr_t)kernel_stack + sizeof(kernel_stack) - 64;
	return r;
}

void runtime_main(void)
{
	static u8 df_stack[4096] __attribute__((aligned(16)));
	extern char user_start[], user_end[];
	u64 base = (uintptr_t)&tss;
	u32 r[4];

	outb(0x3fb, 3); /* 8N1 */
	outb(0x3fc, 3);
	outb(0x21, 0xff); /* the old interrupt controllers, where there are any */
	outb(0xa1, 0xff);
	tss.rsp[0] = (uintptr_t)trap_stack + sizeof(trap_stack);
	tss.ist[0] = (uintptr_t)df_stack + sizeof(df_stack);
	tss.iomap = sizeof(tss); /* beyond the limit: no port for user mode */
	gdt[6] = descriptor((u32)base, 0x67 + 0, 0x89);
	gdt[7] = base >> 32;
	__asm__ volatile("ltr %0" ::"r"((u16)TSS_SEL));
	__asm__ volatile("lldt %w0" ::"r"(0));
	reset_idt();
	for (u64 a = (uintptr_t)user_start; a < (uintptr_t)user_end; a += 2 << 20)
		boot_pd[a >> 21] |= PTE_U;
	/* The interrupt controllers and everything around them: uncached. */
	for (u64 a = 0xfe000000; a < 0x100000000; a += 2 << 20)
		boot_pd[a >> 21] |= 0x18;
	flush_tlb();
	cpuid(0x40000000, 0, r);
	under_tcg = r[1] == 0x54474354; /* TCGT */
	test_main();
	finish();
}
