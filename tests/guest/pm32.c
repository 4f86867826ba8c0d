/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 32-bit protected mode: segmentation, gates and stack switches, then paging
 * without and with PAE.
 */
#include "lib32/guest32.h"

#define SEL(n) ((u16)((8 + (n)) * 8 | 3))

CODE32(c_stop, "int3");
CODE32(c_read, "mov (%edi), %eax; int3");
CODE32(c_write, "mov %eax, (%edi); int3");
CODE32(c_rmw, "addl $1, (%edi); int3");
CODE32(c_jump, "jmp *%edi");
CODE32(c_read_ds, "mov %esi, %ds; mov (%edi), %eax; int3");
CODE32(c_write_ds, "mov %esi, %ds; mov %eax, (%edi); int3");
CODE32(c_load_ss, "mov %esi, %ss; nop; push %eax; int3");
CODE32(c_int90, "int $0x90; int3");
CODE32(c_cli, "cli; int3");
CODE32(c_hlt, "hlt; int3");
CODE32(c_popf, "push %eax; popf; pushf; pop %ebx; int3");
CODE32(c_gate, "push $0x11; push $0x22; lcall *(%edi); mov %esp, %ebx; int3");
CODE32(c_gate_target, "mov 8(%esp), %ecx; mov 12(%esp), %edx; lret $8");
CODE32(c_gate_stop, "int3");
CODE32(c_jmp_far, "ljmp *(%edi)");
CODE32(c_iret, "iret");
CODE32(c_lret_outer, "push $0x23; push %ebx; push $0x1b; push $c_stop; lret");
CODE32(c_lar, "lar %si, %eax; setz %cl; lsl %si, %edx; verr %si; setz %ch; verw %si; setz %bl; int3");
CODE32(c_sysenter, "sysenter");
CODE32(c_sysexit, "sysexit");
CODE32(c_fs, "mov %esi, %fs; mov %fs:(%edi), %eax; int3");
CODE32(c_16, ".code16\n mov $0x1234, %ax; push %ax; pop %bx; mov $0x12345678, %ecx; int3\n.code32");
CODE32(c_ud, "ud2");
CODE32(c_mov_cr3, "mov %eax, %cr3; int3");

static u32 area[1024] __attribute__((aligned(4096)));

static void user(const void *code, u32 esi, u32 edi, u32 eax)
{
	struct regs r = user_regs(code);

	r.gpr[ESI] = esi;
	r.gpr[EDI] = edi;
	r.gpr[EAX] = eax;
	run_frame(&r);
}

static void kernel(const void *code, u32 esi, u32 edi, u32 eax)
{
	struct regs r = kernel_regs(code);

	r.gpr[ESI] = esi;
	r.gpr[EDI] = edi;
	r.gpr[EAX] = eax;
	run_frame(&r);
}

static void segments(void)
{
	u32 base = (u32)(uintptr_t)area;
	static const u8 prefixes[] = { 0x26, 0x67, 0xf2, 0xf3 };
	static const char *const names[] = { "16-bit code, ES 12 times", "16-bit code, 67 12 times",
					     "16-bit code, F2 12 times", "16-bit code, F3 12 times" };
	struct regs r;

	area[0] = 0x1111;
	area[1] = 0x2222;
	area[1023] = 0x3333;
	gdt[8] = descriptor(base, 4095, 0x40f3);
	gdt[9] = descriptor(base, 0x7ff, 0x40f7);
	gdt[10] = descriptor(base, 4095, 0x40f1);
	gdt[11] = descriptor(base, 4095, 0x4073);
	gdt[12] = descriptor(base, 4095, 0x4093);
	gdt[13] = descriptor(base, 4095, 0x40f9);
	gdt[14] = descriptor(base + 4, 0xffffffff, 0xc0f3);

	user(c_stop, 0, 0, 0);
	ok(trap.vec == 3 && trap.cs == UCS && trap.ss == UDS, "ring 3 and back");
	user(c_read_ds, SEL(0), 4, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x2222, "segment with a base");
	user(c_read_ds, SEL(0), 4092, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x3333, "last word below the limit");
	user(c_read_ds, SEL(0), 4093, 0);
	tcg_is_wrong();
	expect_trap("beyond the limit", 13, 0);
	user(c_read_ds, SEL(1), 0x7fc, 0);
	tcg_is_wrong();
	expect_trap("expand-down: below", 13, 0);
	user(c_read_ds, SEL(1), 0x800, 0);
	ok(trap.vec == 3, "expand-down: inside");
	user(c_write_ds, SEL(2), 4, 0);
	tcg_is_wrong();
	expect_trap("read-only segment", 13, 0);
	kernel(c_write_ds, SEL(2), 4, 0);
	tcg_is_wrong();
	expect_trap("read-only segment, ring 0", 13, 0);
	user(c_read_ds, SEL(3), 4, 0);
	expect_trap("not present: #NP", 11, SEL(3) & ~3u);
	user(c_read_ds, SEL(4), 4, 0);
	expect_trap("DPL 0", 13, SEL(4) & ~3u);
	kernel(c_read_ds, SEL(4), 4, 0);
	expect_trap("DPL 0 with RPL 3 from ring 0", 13, SEL(4) & ~3u);
	kernel(c_read_ds, SEL(4) & ~3u, 4, 0);
	tcg_is_wrong(); /* the write to the read-only segment has changed it */
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x2222, "DPL 0 with RPL 0 from ring 0");
	user(c_read_ds, SEL(5), 4, 0);
	expect_trap("execute-only code", 13, SEL(5) & ~3u);
	user(c_read_ds, 0, 4, 0);
	tcg_is_wrong();
	expect_trap("null selector", 13, 0);
	user(c_fs, SEL(6), 0xfffffffc, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x1111, "FS with a base: offsets wrap");
	user(c_load_ss, SEL(3), 4, 0);
	expect_trap("SS not present: #SS", 12, SEL(3) & ~3u);
	r = user_regs(c_load_ss);
	r.gpr[ESI] = SEL(0);
	r.gpr[ESP] = 0x1004;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("push beyond the limit: #SS", 12, 0);
	r.gpr[ESP] = 0x1000;
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[ESP] == 0xffc, "push below the limit");
	user(c_lar, SEL(0), 0, 0);
	ok(trap.gpr[EAX] == 0x40f300 && trap.gpr[EDX] == 4095 && trap.gpr[ECX] == 0x101 &&
		   (trap.gpr[EBX] & 255) == 1,
	   "LAR, LSL, VERR, VERW");
	if (trap.gpr[EDX] != 4095)
		show_trap();
	user(c_lar, SEL(4), 0, 0x77);
	ok(trap.gpr[EAX] == 0x77 && trap.gpr[ECX] == 0 && (trap.gpr[EBX] & 255) == 0,
	   "of a segment out of reach");
	/* code segment with a limit */
	gdt[16] = descriptor(base, 0x1f, 0x40fb);
	((u8 *)area)[0x10] = 0x90;
	((u8 *)area)[0x11] = 0xcc;
	for (unsigned i = 0x12; i < 0x30; i++)
		((u8 *)area)[i] = i < 0x20 ? 0x90 : 0xcc;
	r = user_regs((void *)0x10);
	r.cs = SEL(8);
	run_frame(&r);
	ok(trap.vec == 3 && trap.eip == 0x12 && trap.cs == SEL(8), "code segment with a base");
	r.eip = 0x12;
	run_frame(&r);
	tcg_is_wrong();
	expect_trap("running over the limit of CS", 13, 0);
	ok(trap.vec != 13 || trap.eip == 0x20, "EIP at the limit");
	if (trap.eip != 0x20)
		show_trap();
	/* 16-bit code */
	gdt[17] = descriptor((u32)(uintptr_t)c_16, 0xffff, 0x00fb);
	r = user_regs((void *)0);
	r.cs = SEL(9);
	run_frame(&r);
	ok(trap.vec == 3 && (trap.gpr[EAX] & 0xffff) == 0x1234 && (trap.gpr[EBX] & 0xffff) == 0x1234 &&
		   trap.gpr[ECX] == 0x12345678,
	   "16-bit code segment");
	/* MOV of 16 bits with as many prefixes as fit: the same with 66, in 64-bit code, would be one too many. */
	for (unsigned k = 0; k < sizeof(prefixes); k++) {
		u8 *at = (u8 *)area + 0x10;

		for (unsigned i = 0; i < 12; i++)
			at[i] = prefixes[k];
		at[12] = 0xb8;
		at[13] = 0x78;
		at[14] = 0x56;
		at[15] = 0xcc;
		gdt[17] = descriptor((u32)(uintptr_t)at, 0xffff, 0x00fb);
		r = user_regs((void *)0);
		r.cs = SEL(9);
		r.gpr[EAX] = 0x12345555;
		run_frame(&r);
		ok(trap.vec == 3 && trap.gpr[EAX] == 0x12345678, names[k]);
	}
}

static void transfers(void)
{
	u32 base = (u32)(uintptr_t)area, t = (u32)(uintptr_t)c_gate_target;
	struct regs r = user_regs(c_gate);

	user(c_int90, 0, 0, 0);
	ok(trap.vec == 0x90 && trap.eip == (u32)(uintptr_t)c_int90 + 2, "INT n");
	set_gate(0x90, 0, 0x6e, KCS);
	user(c_int90, 0, 0, 0);
	tcg_is_wrong();
	expect_trap("gate not present", 11, 0x90 * 8 + 2);
	set_gate(0x90, 0, 0x8e, KCS);
	user(c_int90, 0, 0, 0);
	expect_trap("gate of DPL 0", 13, 0x90 * 8 + 2);
	reset_idt();
	user(c_cli, 0, 0, 0);
	expect_trap("CLI", 13, 0);
	user(c_hlt, 0, 0, 0);
	expect_trap("HLT", 13, 0);
	user(c_popf, 0, 0, 0x3202);
	ok(trap.gpr[EBX] == 2, "POPF in ring 3");
	kernel(c_popf, 0, 0, 0x3002);
	ok(trap.gpr[EBX] == 0x3002, "POPF in ring 0");

	/* a call gate with two parameters, to ring 0 and back */
	gdt[20] = (t & 0xffff) | (u64)KCS << 16 | 0xec02ull << 32 | (u64)(t >> 16) << 48;
	area[0] = 0;
	area[1] = SEL(12);
	r.gpr[EDI] = base;
	run_frame(&r);
	ok(trap.vec == 3 && trap.cs == UCS && trap.gpr[ECX] == 0x22 && trap.gpr[EDX] == 0x11 &&
		   trap.gpr[EBX] == r.gpr[ESP],
	   "call gate copies parameters; LRET n releases them on both stacks");
	if (trap.vec != 3)
		show_trap();
	t = (u32)(uintptr_t)c_gate_stop;
	gdt[20] = (t & 0xffff) | (u64)KCS << 16 | 0xec02ull << 32 | (u64)(t >> 16) << 48;
	run_frame(&r);
	{
		u32 *f = (u32 *)(uintptr_t)trap.gpr[ESP];

		ok(trap.vec == 3 && trap.cs == KCS && f[0] == (u32)(uintptr_t)c_gate + 6 && f[1] == UCS &&
			   f[2] == 0x22 && f[3] == 0x11 && f[4] == r.gpr[ESP] - 8 && f[5] == UDS,
		   "call gate: the frame on the inner stack");
	}
	area[1] = KCS;
	area[0] = (u32)(uintptr_t)c_stop;
	user(c_jmp_far, 0, base, 0);
	expect_trap("far jump to ring 0 code", 13, KCS);
	area[1] = UCS;
	user(c_jmp_far, 0, base, 0);
	ok(trap.vec == 3 && trap.cs == UCS, "far jump to ring 3 code");
	gdt[21] = descriptor(0, 0xffffffff, 0xc09f); /* conforming, DPL 0 */
	area[1] = SEL(13);
	user(c_jmp_far, 0, base, 0);
	ok(trap.vec == 3 && trap.cs == SEL(13), "far jump to conforming code of ring 0: stays in ring 3");
	{
		struct regs k = kernel_regs(c_lret_outer);

		k.gpr[EBX] = 0x1234;
		run_frame(&k);
		ok(trap.vec == 3 && trap.cs == UCS && trap.ss == UDS && trap.gpr[ESP] == 0x1234,
		   "LRET to ring 3");
	}
	{
		struct regs k = kernel_regs(c_iret);
		u32 *f = (u32 *)(uintptr_t)(k.gpr[ESP] -= 20);

		f[0] = (u32)(uintptr_t)c_stop;
		f[1] = UCS;
		f[2] = 2;
		f[3] = 0x1234;
		f[4] = KDS;
		run_frame(&k);
		expect_trap("IRET to ring 3 with a ring 0 SS", 13, KDS);
	}
	wrmsr(0x174, KCS);
	wrmsr(0x175, base + 4096);
	wrmsr(0x176, (u32)(uintptr_t)c_stop);
	user(c_sysenter, 0, 0, 0);
	ok(trap.vec == 3 && trap.cs == KCS && trap.gpr[ESP] == base + 4096, "SYSENTER");
	{
		struct regs k = kernel_regs(c_sysexit);

		k.gpr[ECX] = 0x4321;
		k.gpr[EDX] = (u32)(uintptr_t)c_stop;
		run_frame(&k);
		ok(trap.vec == 3 && trap.cs == UCS && trap.ss == UDS && trap.gpr[ESP] == 0x4321, "SYSEXIT");
	}
	set_gate(6, 0, 0x0e, KCS);
	kernel(c_ud, 0, 0, 0);
	tcg_is_wrong();
	expect_trap("#UD whose gate is not present", 11, 6 * 8 + 3);
	reset_idt();
}

#define VA 0x80000000u

static void paging32(void)
{
	u32 *pd = (u32 *)(uintptr_t)alloc_aligned(4096), *pt = (u32 *)(uintptr_t)alloc_aligned(4096);
	u32 page = alloc_aligned(4096), big = alloc_aligned(8u << 20);

	write_cr4(read_cr4() | 0x10); /* PSE */
	for (u32 i = 0; i < 64; i++)
		pd[i] = i << 22 | 0x87;
	pd[VA >> 22] = (u32)(uintptr_t)pt | 7;
	write_cr3((u32)(uintptr_t)pd);
	write_cr0(read_cr0() | 0x80010000);
	user(c_read, 0, VA, 0);
	expect_pf("32-bit paging: not present", 4, VA);
	pt[0] = page | 7;
	*(u32 *)(uintptr_t)page = 0x1234;
	user(c_read, 0, VA, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x1234 && (pt[0] & 0x60) == 0x20, "read sets A");
	user(c_write, 0, VA, 5);
	ok(trap.vec == 3 && (pt[0] & 0x60) == 0x60 && *(u32 *)(uintptr_t)page == 5, "write sets D");
	pt[0] = page | 5;
	invlpg(VA);
	user(c_write, 0, VA, 5);
	expect_pf("read-only", 7, VA);
	kernel(c_write, 0, VA, 5);
	expect_pf("read-only, ring 0, WP", 3, VA);
	write_cr0(read_cr0() & ~0x10000u);
	kernel(c_write, 0, VA, 6);
	ok(trap.vec == 3 && *(u32 *)(uintptr_t)page == 6, "without WP");
	write_cr0(read_cr0() | 0x10000);
	pt[0] = page | 3;
	invlpg(VA);
	user(c_read, 0, VA, 0);
	expect_pf("supervisor page", 5, VA);
	pt[0] = page | 7;
	*(u8 *)(uintptr_t)page = 0xcc;
	invlpg(VA);
	user(c_jump, 0, VA, 0);
	expect_trap("execute: there is no NX", 3, 0);
	user(c_jump, 0, VA + 0x1000, 0);
	expect_pf("fetch fault without NX: no I bit", 4, VA + 0x1000);
	pd[(VA >> 22) + 1] = big | 0x87;
	*(u32 *)(uintptr_t)(big + 0x345678) = 0x9999;
	user(c_read, 0, VA + 0x400000 + 0x345678, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x9999 && (pd[(VA >> 22) + 1] & 0x60) == 0x20, "4M page");
	user(c_rmw, 0, VA + 0x400000, 0);
	ok(trap.vec == 3 && (pd[(VA >> 22) + 1] & 0x40), "4M page: D");
	user(c_write, 0, VA + 0xffe, 0x11223344);
	expect_pf("write across into a missing page", 6, VA + 0x1000);
	write_cr0(read_cr0() & 0x7fffffff);
}

static void paging_pae(void)
{
	u64 *pdpt = (u64 *)(uintptr_t)alloc_aligned(4096), *pt = (u64 *)(uintptr_t)alloc_aligned(4096);
	u64 *low = (u64 *)(uintptr_t)alloc_aligned(4096), *high = (u64 *)(uintptr_t)alloc_aligned(4096);
	u32 page = alloc_aligned(4096), big = alloc_aligned(4u << 20);

	for (u32 i = 0; i < 128; i++)
		low[i] = (u64)i << 21 | 0x87;
	pdpt[0] = (u32)(uintptr_t)low | 1;
	pdpt[2] = (u32)(uintptr_t)high | 1;
	high[0] = (u32)(uintptr_t)pt | 7;
	write_cr4(read_cr4() | 0x20);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	write_cr3((u32)(uintptr_t)pdpt);
	write_cr0(read_cr0() | 0x80010000);
	user(c_read, 0, VA, 0);
	expect_pf("PAE: not present", 4, VA);
	pt[0] = page | 7;
	*(u32 *)(uintptr_t)page = 0x1234;
	user(c_read, 0, VA, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x1234 && (pt[0] & 0x60) == 0x20, "read");
	user(c_rmw, 0, VA, 0);
	ok(trap.vec == 3 && (pt[0] & 0x60) == 0x60, "write");
	*(u8 *)(uintptr_t)page = 0xcc;
	pt[0] |= 1ull << 63;
	invlpg(VA);
	user(c_jump, 0, VA, 0);
	expect_pf("NX", 0x15, VA);
	pt[0] = page | 7 | 1ull << 51;
	invlpg(VA);
	user(c_read, 0, VA, 0);
	tcg_is_wrong();
	expect_pf("reserved bit", 0xd, VA);
	high[1] = big | 0x87;
	*(u32 *)(uintptr_t)(big + 0x12345c) = 0x77;
	user(c_read, 0, VA + (2 << 20) + 0x12345c, 0);
	ok(trap.vec == 3 && trap.gpr[EAX] == 0x77, "2M page");
	user(c_read, 0, 0x40000000, 0);
	expect_pf("PDPTE not present", 4, 0x40000000);
	/* PDPTEs are loaded by MOV to CR3 only. */
	pdpt[1] = (u32)(uintptr_t)high | 1;
	pt[0] = page | 7;
	write_cr3((u32)(uintptr_t)pdpt);
	user(c_read, 0, 0x40000000, 0);
	ok(trap.vec == 3, "PDPTE after MOV to CR3");
	pdpt[3] = (u32)(uintptr_t)high | 1 | 1ull << 8 | 1ull << 51;
	kernel(c_mov_cr3, 0, 0, (u32)(uintptr_t)pdpt);
	/* Intel CPUs check them here, AMD's when they walk the tables. */
	if (trap.vec == 3)
		user(c_read, 0, 0xc0000000, 0);
	tcg_is_wrong();
	ok((trap.vec == 13 && trap.err == 0) || (trap.vec == 14 && (trap.err & 8)),
	   "reserved bits in a PDPTE");
	pdpt[3] = 0;
	write_cr3((u32)(uintptr_t)pdpt);
	write_cr0(read_cr0() & 0x7fffffff);
	kernel(c_stop, 0, 0, 0);
	ok(trap.vec == 3, "paging off again");
}

void test_main(void)
{
	segments();
	transfers();
	paging32();
	paging_pae();
}
