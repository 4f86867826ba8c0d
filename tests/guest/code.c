/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User code that goes from page to page, like cross.c: pages that are mapped
 * twice, written, or reached by instructions on the border; the ends of the
 * address space; other modes, breakpoints, and more pages than anybody keeps.
 */
#include "lib/scene.h"

/* ---- pages that are mapped twice ---- */

/* Both ways @n times by turns, and the first a hundred times for each of the second */
static bool both_ways(const u64 s[2], unsigned kind, u64 first, u64 second)
{
	bool good = true;

	for (unsigned i = 0; i < 12; i++)
		good = good && run(s[i & 1], kind, 1 + i / 4, i & 1 ? second : first);
	for (unsigned i = 0; i < 303; i++)
		good = good && run(s[i % 101 == 100], kind, 1, i % 101 == 100 ? second : first);
	return good;
}

static void mapped_twice(void)
{
	static const char *const name[] = { "source", "target", "source and target" };

	for (unsigned what = 1; what < 4; what++) {
		bool good = true;

		for (unsigned kind = 0; kind < KINDS; kind++) {
			struct scene c = new_scene(kind);
			u64 s[2] = { c.s, new_va() }, second = c.value[what == 1];
			u64 *tpte;

			map_page(s[1], what & 1 ? c.source : new_source(kind), RWX);
			tpte = map_page(s[1] + 0x1000, c.target[what == 1], RWX);
			for (unsigned i = 0; i < 3; i++) {
				good = good && both_ways(s, kind, c.value[0], second);
				/* One of the two is remapped, to and fro. */
				retarget(c.tpte, c.target[1]);
				invlpg(c.t);
				good = good && both_ways(s, kind, c.value[1], second);
				retarget(c.tpte, c.target[0]);
				invlpg(c.t);
				retarget(tpte, c.target[i & 1]);
				invlpg(s[1] + 0x1000);
				second = c.value[i & 1];
			}
			*c.tpte &= ~PTE_P;
			invlpg(c.t);
			good = good && faults(c.s, kind, 0x14) && run_often(s[1], kind, second) &&
			       faults(c.s, kind, 0x14);
			*c.tpte |= PTE_P;
			good = good && both_ways(s, kind, c.value[0], second);
		}
		ok(good, "%s mapped twice%s", name[what - 1], pass);
	}
}

/* ---- code that is written ---- */

static void write_target(struct regs *r)
{
	set_value(scene.target[0], scene.value[1]);
}

static void written(void)
{
	bool kernel = true, inside = true, user = true, own = true;
	struct regs r;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct scene c = new_scene(kind);
		u64 alias = new_va();

		map_page(alias, c.target[0], RWX);
		for (unsigned i = 0; i < 5; i++) {
			kernel = kernel && run_often(c.s, kind, c.value[0]);
			set_value(c.target[0], c.value[0] += 3);
		}
		for (unsigned i = 0; i < 5; i++) {
			scene = c;
			scene.value[1] += i;
			inside = inside &&
				 run_and(c.s, kind, i & 1, write_target, c.value[0], scene.value[1], 1);
			c.value[0] = scene.value[1];
		}
		for (unsigned i = 0; i < 6; i++) {
			r = user_regs(cross_store);
			r.gpr[RDI] = (i & 1 ? alias : c.t) + target_offset(kind) + 1;
			r.gpr[RAX] = 0x600 + i;
			run_frame(&r);
			user = user && trap.vec == 3 && run_often(c.s, kind, 0x600 + i);
		}
	}
	ok(kernel, "target written by the kernel%s", pass);
	ok(inside, "... in the middle%s", pass);
	ok(user, "target written by the user%s", pass);
	for (unsigned i = 0; i < 6; i++) {
		struct scene c = new_scene(CALL);
		u64 buffer = new_va();

		map_page(buffer, alloc_page(), RWX);
		for (u64 n = 1; n < 60; n += 19) {
			r = loop_regs(c.s + (i & 1 ? 0x2c0 : 0x280), CALL, n);
			r.gpr[RBP] = buffer;
			run_frame(&r);
			own = own && trap.vec == 3 && trap.gpr[RBX] == n * (n + 1) / 2;
		}
	}
	ok(own, "target written by the source, each time%s", pass);
	{
		struct scene c = new_scene(CALL);
		bool good = true;

		map_page(c.t + 0x1000, c.target[1], RWX);
		for (unsigned i = 0; i < 8; i++) {
			r = loop_regs(c.s, CALL, 30);
			run_frame(&r);
			good = good && trap.vec == 3 && trap.gpr[RBX] == 30 * c.value[i & 1];
			*(volatile u8 *)phys(c.source + 7) ^= 0x30; /* of the CALL's displacement */
		}
		ok(good, "the way out is written: another page%s", pass);
	}
}

/* ---- instructions on the border ---- */

static void border_target(void)
{
	bool good = true;

	for (unsigned jump = 0; jump < 2; jump++) {
		struct scene c = new_scene(CALL);
		u64 at = c.s + (jump ? 0x320 : 0x300), third[2] = { alloc_page(), alloc_page() };
		u64 *pte = map_page(c.t + 0x1000, third[0], RWX);
		struct regs r;

		for (unsigned i = 0; i < 2; i++) {
			/* The upper half of an immediate, and the way back */
			const char code[] = { (char)i,    0,          (char)(jump ? 0xe9 : 0xc3),
					      (char)0x24, (char)0xe3, (char)0xff,
					      (char)0xff };

			copy_code(c.target[i] + 0xffd, i ? "\xb8\x11\x22" : "\xb8\x01\x02", 3);
			copy_code(third[i], code, 7);
		}
		for (unsigned i = 0; i < 32 && good; i++) {
			bool new_target = i & 2, new_third = i & 1;

			retarget(c.tpte, c.target[new_target]);
			retarget(pte, third[new_third]);
			if (i & 8) {
				flush_tlb();
			} else {
				invlpg(c.t);
				invlpg(c.t + 0x1000);
			}
			for (u64 n = 1; n < 40 && good; n += 18) {
				r = loop_regs(at, CALL, n);
				run_frame(&r);
				good = trap.vec == 3 && trap.gpr[RBX] == n * ((new_target ? 0x2211 : 0x0201) |
									      (u64)new_third << 16);
			}
			if (i % 3)
				continue;
			*pte &= ~PTE_P;
			invlpg(c.t + 0x1000);
			r = loop_regs(at, CALL, 5);
			for (unsigned k = 0; k < 2; k++) {
				run_frame(&r);
				good = good && trap.vec == 14 && trap.err == 0x14 &&
				       trap.cr2 == c.t + 0x1000 && trap.rip == c.t + 0xffd &&
				       trap.gpr[RCX] == 5;
			}
			*pte |= PTE_P;
		}
		if (!good)
			show_trap();
	}
	ok(good, "target across two pages%s", pass);
}

/* A CALL or JMP of which the upper half of the displacement is in the next page */
static void border_source(void)
{
	bool good = true;

	for (unsigned jump = 0; jump < 2; jump++) {
		u64 s = new_va(), source = alloc_page(), next[2] = { alloc_page(), alloc_page() };
		u64 *pte;

		map_page(s, source, RWX);
		pte = map_page(s + 0x1000, next[0], RWX);
		copy_code(source + 0xffd, jump ? "\xe9\xfe\x30" : "\xe8\xfe\x30", 3);
		for (unsigned i = 0; i < 2; i++) {
			u64 target = alloc_page();
			u32 back = 0x1002 - 0x410a - 0x10000 * i;

			/* 1, 0; add %rax, %rbx; dec %rcx; jnz to the CALL; int3 */
			copy_code(next[i], i ? "\1\0" : "\0\0", 2);
			copy_code(next[i] + 2, "\x48\x01\xc3\x48\xff\xc9\x75\xf3\xcc", 9);
			/* mov $5 or $6, %eax; ret or jmp */
			map_page(s + 0x4000 + i * 0x10000, target, RWX);
			copy_code(target + 0x100, i ? "\xb8\6\0\0\0" : "\xb8\5\0\0\0", 5);
			copy_code(target + 0x105, jump ? "\xe9" : "\xc3", 1);
			for (unsigned k = 0; k < 4; k++)
				((volatile u8 *)phys(target))[0x106 + k] = (u8)(back >> (8 * k));
		}
		for (unsigned i = 0; i < 16; i++) {
			retarget(pte, next[i & 1]);
			if (i & 2)
				flush_tlb();
			else
				invlpg(s + 0x1000);
			for (u64 n = 1; n < 40; n += 18) {
				struct regs r = user_regs((void *)(s + 0xffd));

				r.gpr[RCX] = n;
				r.rflags = user_flags;
				run_frame(&r);
				good = good && trap.vec == 3 && trap.gpr[RBX] == n * (5 + (i & 1));
			}
		}
		if (!good)
			show_trap();
	}
	ok(good, "source across two pages%s", pass);
}

/* ---- the ends of the address space ---- */

static void edges(void)
{
	static const u64 at[] = { 0x7fffffffe000, 0xffff800000000000 };

	for (unsigned i = 0; i < 2; i++) {
		bool good = true;

		for (unsigned kind = 0; kind < KINDS; kind++) {
			good = good && remapped(kind, INVLPG, 0, at[i]) && remapped(kind, MOV_CR3, 0, at[i]);
			good = good && remapped(kind, INVLPG, PTE_G, at[i]);
		}
		ok(good, "target remapped, at %x%s", at[i], pass);
	}
}

/* Around a few times by the code at @va, then to where no address is: #GP of the branch, RSP as before. */
static bool refused(u64 va, u64 rip, bool kernel)
{
	bool good = true;

	for (unsigned i = 0; i < 4; i++) {
		struct regs r = loop_regs(va, CALL, 1 + 20 * i);

		if (kernel) {
			r.cs = KCS;
			r.ss = KDS;
		}
		run_frame(&r);
		good = good && trap.vec == 13 && trap.err == 0 && trap.rip == rip &&
		       trap.gpr[RSP] == r.gpr[RSP] && trap.gpr[RCX] == 0;
		if (!good) {
			print("# want #GP at %x, rsp %x\n", rip, r.gpr[RSP]);
			show_trap();
		}
	}
	return good;
}

static void not_canonical(void)
{
	static const u64 page[] = { 0x7ffffffff000, 0xffff800000000000 };
	static const u64 bits[] = { RWX, PTE_P | PTE_W, PTE_P | PTE_W | PTE_G };
	static const char *const from[] = { "user code", "kernel code", "global kernel code" };
	/* 1: dec %rcx; jnz 1b; then a CALL or JMP; or dec %rcx; jz away; jmp 1b */
	static const char call[] = "\x48\xff\xc9\x75\xfb\xe8", jmp[] = "\x48\xff\xc9\x75\xfb\xe9",
			  jz[] = "\x48\xff\xc9\x0f\x84....\xeb\xf5";

	for (unsigned i = 0; i < 6; i++) {
		u64 pa = alloc_page(), va = page[i & 1];
		u32 away = i & 1 ? -0x800 : 0x1800;
		unsigned who = i / 2;

		map_page(va, pa, bits[who]);
		copy_code(pa + 0x100, call, 6);
		copy_code(pa + 0x200, jmp, 6);
		copy_code(pa + 0x300, jz, 11);
		for (unsigned k = 0; k < 4; k++) {
			((volatile u8 *)phys(pa))[0x106 + k] = (u8)(away >> (8 * k));
			((volatile u8 *)phys(pa))[0x206 + k] = (u8)(away >> (8 * k));
			((volatile u8 *)phys(pa))[0x305 + k] = (u8)(away >> (8 * k));
		}
		tcg_is_wrong();
		ok(refused(va + 0x100, va + 0x105, who), "CALL to what is not canonical, %s at %x%s",
		   from[who], va, pass);
		tcg_is_wrong();
		ok(refused(va + 0x200, va + 0x205, who), "JMP to what is not canonical, %s at %x%s",
		   from[who], va, pass);
		tcg_is_wrong();
		ok(refused(va + 0x300, va + 0x303, who), "Jcc to what is not canonical, %s at %x%s",
		   from[who], va, pass);
		map_page(va, 0, 0);
	}
}

/* ---- other modes ---- */

/*
 * The same bytes as 64-bit and as 32-bit code: call; add %eax, %ebx; loop; int3 and mov $v, %eax; inc %eax; ret,
 * of which INC is a REX prefix in 64-bit mode.
 */
static void compatibility(void)
{
	const u64 s = 0x30000000;
	u64 source = alloc_page(), target[2] = { alloc_page(), alloc_page() };
	bool good = true;
	u64 *pte;

	boot_pd[s >> 21] = 0;
	flush_tlb();
	map_page(s, source, RWX);
	pte = map_page(s + 0x1000, target[0], RWX);
	copy_code(source, "\xe8\xfb\x0f\0\0\x01\xc3\xe2\xf7\xcc", 10);
	copy_code(target[0], "\xb8\x10\0\0\0\x40\xc3", 7);
	copy_code(target[1], "\xb8\x20\0\0\0\x40\xc3", 7);
	for (unsigned i = 0; i < 64; i++) {
		bool is32 = i % 3 == 1 || i % 8 > 5;
		struct regs r = is32 ? user32_regs((void *)s) : user_regs((void *)s);

		if (i % 4 == 0) {
			retarget(pte, target[i / 4 & 1]);
			if (i & 8)
				flush_tlb();
			else
				invlpg(s + 0x1000);
		}
		r.rflags = user_flags;
		r.gpr[RCX] = 1 + i % 5 * 9;
		run_frame(&r);
		good = good && trap.vec == 3 && trap.rip == s + 10 && trap.gpr[RSP] == r.gpr[RSP] &&
		       trap.gpr[RBX] == r.gpr[RCX] * ((i / 4 & 1 ? 0x20u : 0x10u) + is32);
	}
	if (!good)
		show_trap();
	ok(good, "64-bit and 32-bit code by turns%s", pass);

	/* The last to have been in the page, before it is remapped, is code with a segment base. */
	good = true;
	remap(pte, target[1], s + 0x1000, INVLPG);
	gdt[FREE_SEL / 8] = descriptor(0x1000, 0xffffffff, 0xc0fb);
	for (unsigned i = 0; i < 16; i++) {
		struct regs wide = user_regs((void *)s), based = user32_regs((void *)(s - 0x1000));

		wide.gpr[RCX] = based.gpr[RCX] = 10;
		wide.rflags = based.rflags = user_flags;
		based.cs = FREE_SEL | 3;
		run_frame(&wide);
		good = good && trap.vec == 3 && trap.gpr[RBX] == 10u * (i & 1 ? 0x10 : 0x20);
		remap(pte, target[!(i & 1)], s + 0x1000, i & 2 ? MOV_CR3 : INVLPG_OTHER);
		run_frame(&based);
		good = good && trap.vec == 3 && trap.gpr[RBX] == 10u * (i & 1 ? 0x11 : 0x21);
		remap(pte, target[i & 1], s + 0x1000, i & 4 ? MOV_CR3 : INVLPG);
	}
	if (!good)
		show_trap();
	ok(good, "code with a segment base, in between%s", pass);
}

/* The kernel executes the same pages; a breakpoint and single steps of what was linked */
static void modes(void)
{
	bool good = true, breaks = true, steps = true;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct scene c = new_scene(kind);
		u64 to = c.t + target_offset(kind);
		struct regs r;

		for (unsigned i = 0; i < 20; i++) {
			r = loop_regs(c.s, kind, 1 + i);
			if (i & 1) {
				r.cs = KCS;
				r.ss = KDS;
			}
			run_frame(&r);
			good = good && looped(c.s, kind, 1 + i, (1 + i) * c.value[0]);
		}
		r = loop_regs(c.s, kind, 5);
		for (unsigned i = 0; i < 3; i++) {
			write_dr0(to);
			write_dr7(0x401);
			run_frame(&r);
			breaks = breaks && trap.vec == 1 && trap.rip == to && trap.gpr[RCX] == 5;
			write_dr7(0x400);
			breaks = breaks && run_often(c.s, kind, c.value[0]);
		}
		/* Steps into the target's second instruction */
		r.rflags |= 0x100;
		run_frame(&r);
		for (unsigned i = 0; i < 40 && trap.vec == 1 && trap.rip != to; i++)
			run_frame(&trap);
		steps = steps && trap.vec == 1 && trap.rip == to && trap.gpr[RCX] == 5;
		trap.rflags &= ~0x100ull;
		run_frame(&trap);
		steps = steps && looped(c.s, kind, 5, 5 * c.value[0]) && run_often(c.s, kind, c.value[0]);
	}
	ok(good, "the kernel and the user by turns%s", pass);
	ok(breaks, "breakpoint at the target%s", pass);
	ok(steps, "single steps into the target%s", pass);
}

/* ---- many ---- */

#define CHAIN 2000

/* add $n, %ebx; jmp to the next page */
static void chain_link(u64 pa, u64 n)
{
	copy_code(pa, "\x81\xc3....\xe9\xf5\x0f\0\0", 11);
	for (unsigned k = 0; k < 4; k++)
		((volatile u8 *)phys(pa))[2 + k] = (u8)(n >> (8 * k));
}

/* Jumps from page to page to page, of which one at a time is replaced by another. */
static void chain(void)
{
	const u64 va = VA + (4ull << 30), end = va + (CHAIN - 1) * 0x1000;
	static u64 first;
	u64 other, sum = 0;
	bool good = true;
	struct regs r;

	if (!first)
		first = alloc_aligned(1 << 23);
	other = first + CHAIN * 0x1000;
	for (u64 i = 0; i < CHAIN - 1; i++) {
		chain_link(first + i * 0x1000, i);
		map_page(va + i * 0x1000, first + i * 0x1000, RWX);
		sum += i;
	}
	chain_link(other, CHAIN);
	copy_code(other - 0x1000, "\xcc", 1);
	map_page(end, other - 0x1000, RWX);
	r = user_regs((void *)va);
	r.rflags = user_flags;
	for (u64 i = 0; i < 20; i++) {
		u64 n = (i * 397 + 1) % (CHAIN - 1), at = va + n * 0x1000, *pte = pte_of(at, 0);

		for (unsigned k = 0; k < 3; k++) {
			run_frame(&r);
			good = good && trap.vec == 3 && trap.gpr[RBX] == sum && trap.rip == end + 1;
		}
		remap(pte, other, at, i % 4 == 3 ? MOV_CR3 : INVLPG);
		run_frame(&r);
		good = good && trap.vec == 3 && trap.gpr[RBX] == sum - n + CHAIN;
		remap(pte, first + n * 0x1000, at, i % 4 == 2 ? MOV_CR3 : INVLPG);
	}
	if (!good)
		show_trap();
	ok(good, "a chain of %d pages%s", (u64)CHAIN, pass);
}

void everything(void)
{
	mapped_twice();
	written();
	border_target();
	border_source();
	edges();
	not_canonical();
	compatibility();
	modes();
	chain();
}
