/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a translator's caches must not remember, and what must not be mistaken
 * for an entry of theirs: addresses that look like empty entries, pages that
 * were remapped after a cache overflowed, modes that change without a jump,
 * code that straddles pages, the shadow of STI at the end of a page.
 *
 * Most of these were bugs once, found by a reviewer or by tests/diff.
 */
#include "lib/guest.h"

#define VA   0x4000000000ull /* PML4 entry 0, behind the identity map */
#define APIC 0xfee00000ull
#define VEC  0x40

typedef u64 fn(void);

/* Calls @va by a pointer that the compiler cannot see through. */
static u64 call(u64 va)
{
	fn *volatile f = (fn *)va;

	return f();
}

/* mov $v, %eax; ret */
static void return_code(u64 pa, u8 v)
{
	volatile u8 *p = phys(pa);

	p[0] = 0xb8;
	p[1] = v;
	p[2] = p[3] = p[4] = 0;
	p[5] = 0xc3;
}

static void retarget(u64 *pte, u64 pa)
{
	*pte = (*pte & ~0x000ffffffffff000ull) | pa;
}

/* ---- addresses ---- */

USER_CODE(u_jump, "jmp *%rax; int3");
USER_CODE(u_read, "mov (%rax), %ecx; int3");
USER_CODE(u_write, "mov %ecx, (%rax); int3");
USER_CODE(u_ret, "push %rax; ret");

static void not_canonical(void)
{
	static const u64 bad[] = {
		0x8000000000000000, 0x8000000000000001, 0x8000000000000002, 0x8000000000000008,
		0x8000000000001000, 0x8000000000001001, 0x8000000000000ff8, 0x0001000000000000,
		0xfffefffffffff000, 0x7fffffffffffffff,
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		static const char *const code[] = { u_jump, u_ret, u_read, u_write };
		bool good = true;

		for (unsigned k = 0; k < 4; k++) {
			struct regs r = user_regs(code[k]);

			r.gpr[RAX] = bad[i];
			run_frame(&r);
			good &= trap.vec == 13 && trap.err == 0;
		}
		ok(good, "jump, return, read and write at %x: #GP", bad[i]);
	}
}

/*
 * Two accesses off one value, of which the first has a displacement at the edge of what fits: a check for both
 * must not wrap to a page 4 GiB away.
 */
KERNEL_CODE(k_edge_low, "mov %rbx, %rax; add $0x7fffffff, %rax; inc %rax; mov -0x80000000(%rax), %rcx;"
			"mov -512(%rbx), %rdx; int3");
KERNEL_CODE(k_edge_high, "mov %rbx, %rax; sub $0x7fffffff, %rax; mov 0x7fffffff(%rax), %rcx;"
			 "mov 512(%rbx), %rdx; int3");

static void displacement_edges(void)
{
	static const char *const code[] = { k_edge_low, k_edge_high };
	const u64 page = VA + 0x300000000ull, v = page + 0x800, gib4 = 1ull << 32;
	u64 here = alloc_page();

	map_page(page + gib4, alloc_page(), PTE_P | PTE_W);
	map_page(page - gib4, alloc_page(), PTE_P | PTE_W);
	*(volatile u64 *)phys(here + 0x800) = 0x1111;
	*(volatile u64 *)phys(here + 0x600) = 0x2222;
	*(volatile u64 *)phys(here + 0xa00) = 0x2222;
	for (unsigned k = 0; k < 2; k++) {
		struct regs r = kernel_regs(code[k]);

		r.gpr[RBX] = v;
		run_frame(&r);
		expect_pf("displacement at the edge, page not present", 0, v);
	}
	map_page(page, here, PTE_P | PTE_W);
	for (unsigned k = 0; k < 2; k++) {
		struct regs r = kernel_regs(code[k]);

		r.gpr[RBX] = v;
		run_frame(&r);
		ok(trap.vec == 3 && trap.gpr[RCX] == 0x1111 && trap.gpr[RDX] == 0x2222,
		   "displacement at the edge: %x %x", trap.gpr[RCX], trap.gpr[RDX]);
	}
}

/* ---- remapping ---- */

static void remap_after_overflow(unsigned pages)
{
	u64 x = alloc_page(), y = alloc_page(), z = alloc_page(), w = alloc_page();
	u64 *pte = map_page(VA, x, PTE_P | PTE_W), *written;
	volatile u8 sum = 0;

	return_code(x, 1);
	return_code(y, 2);
	return_code(z, 3);
	written = map_page(VA + 0x100000, z, PTE_P | PTE_W);
	map_page(VA + 0x200000, z, PTE_P | PTE_W);
	*(volatile u8 *)(VA + 0x100000) = 0xb8;
	*(volatile u8 *)(VA + 0x200000) = 0xb8;
	ok(call(VA) == 1 && call(VA) == 1, "code at its first place");
	/* more translations than any table of a TLB's contents is likely to hold */
	for (u64 i = 0; i < pages; i++)
		map_page(VA + 0x10000000 + i * 4096, w, PTE_P | PTE_W);
	for (u64 i = 0; i < pages; i++)
		sum += *(volatile u8 *)(VA + 0x10000000 + i * 4096);
	ok(call(VA + 0x100000) == 3, "code on a page that was written through two addresses");
	retarget(written, y);
	invlpg(VA + 0x100000);
	ok(call(VA + 0x100000) == 2, "the same page remapped");
	retarget(pte, y);
	invlpg(VA);
	ok(call(VA) == 2, "remapped behind %d other pages", (u64)pages);
}

/* A jumps to the next page, which is then remapped. */
static void remap_target(u64 base, u64 global)
{
	u64 x = alloc_page(), y = alloc_page(), z = alloc_page();
	volatile u8 *j = phys(z);
	u64 *pte;

	return_code(x, 1);
	return_code(y, 2);
	j[0] = 0xe9; /* jmp base + 4096 */
	j[1] = 0xfb;
	j[2] = 0x0f;
	j[3] = j[4] = 0;
	map_page(base, z, PTE_P | PTE_W | global);
	pte = map_page(base + 4096, x, PTE_P | PTE_W | global);
	ok(call(base) == 1 && call(base) == 1 && call(base) == 1, "jump to the next page");
	retarget(pte, y);
	invlpg(base + 4096);
	ok(call(base) == 2, "the same after INVLPG of the target, at %x%s", base, global ? ", global" : "");
	if (global)
		return;
	retarget(pte, x);
	flush_tlb();
	ok(call(base) == 1, "and after MOV to CR3");
}

static void huge_page(void)
{
	u64 pd = alloc_page(), big = alloc_aligned(4 << 20);
	volatile u64 *through = (volatile u64 *)(VA + (1ull << 30) + big);
	u64 *e;
	u32 r[4];

	cpuid(0x80000001, 0, r);
	if (!(r[3] >> 26 & 1)) {
		skip("no 1G pages");
		return;
	}
	map_page(VA + (1ull << 30), 0, 0);
	e = pte_of(VA + (1ull << 30), 2);
	*e = 0 | PTE_P | PTE_W | PTE_PS;
	flush_tlb();
	*(volatile u64 *)phys(big) = 111;
	*(volatile u64 *)phys(big + (2 << 20)) = 222;
	ok(*through == 111, "through a 1G page");
	((u64 *)phys(pd))[big >> 21] = (big + (2 << 20)) | PTE_P | PTE_W | PTE_PS;
	*e = pd | PTE_P | PTE_W;
	invlpg(VA + (1ull << 30)); /* another 2M of it */
	ok(*through == 222, "INVLPG anywhere in a 1G page flushes all of it");
	*e = 0;
	flush_tlb();
}

/* ---- straddling ---- */

static void straddling(void)
{
	u64 p = alloc_page(), q = alloc_page(), q2 = alloc_page();
	volatile u8 *a = (volatile u8 *)(VA + 0x300000);
	struct regs r = kernel_regs((const void *)(VA + 0x300fff));
	u64 *pte;

	map_page(VA + 0x300000, p, PTE_P | PTE_W);
	pte = map_page(VA + 0x301000, q, PTE_P | PTE_W);
	a[0xfff] = 0x0f;
	a[0x1000] = 0x04;
	a[0x1001] = 0x90;
	a[0x1002] = 0xcc;
	run_frame(&r);
	expect_trap("undefined instruction across two pages", 6, 0);
	a[0x1000] = 0x31; /* RDTSC */
	run_frame(&r);
	expect_trap("the second page makes RDTSC of it", 3, 0);
	*(volatile u8 *)phys(q2) = 0x0b; /* UD2 */
	retarget(pte, q2);
	invlpg(VA + 0x301000);
	run_frame(&r);
	expect_trap("another second page makes UD2 of it", 6, 0);
	*(volatile u8 *)phys(q2) = 0x31;
	*(volatile u8 *)phys(q2 + 1) = 0xcc;
	run_frame(&r);
	expect_trap("which is changed through another address", 3, 0);
}

/* Bytes that are no instruction are watched as well, not only the first, wherever they end. */
static void undefined_becomes_defined(void)
{
	static const u16 offsets[] = { 0x20, 0x3f, 0xffe };
	u64 p = alloc_page();
	volatile u8 *a = phys(p);
	struct regs r;

	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		unsigned at = offsets[i];

		r = kernel_regs(phys(p + at));
		a[at] = 0x0f;
		a[at + 1] = 0x04;
		if (at != 0xffe)
			a[at + 2] = 0xcc;
		run_frame(&r);
		expect_trap("undefined instruction", 6, 0);
		a[at + 1] = 0x0b; /* UD2: still undefined */
		run_frame(&r);
		expect_trap("another undefined instruction", 6, 0);
		a[at + 1] = 0x04;
		run_frame(&r);
		a[at] = 0x90;
		a[at + 1] = 0xcc;
		run_frame(&r);
		expect_trap("its first byte replaced", 3, 0);
		a[at] = 0x0f;
		a[at + 1] = 0x04;
		run_frame(&r);
		expect_trap("undefined again", 6, 0);
		if (at == 0xffe)
			continue;
		a[at + 1] = 0x31; /* RDTSC */
		run_frame(&r);
		expect_trap("its second byte makes RDTSC of it", 3, 0);
	}
	/* Sixteen bytes of one instruction, of which the last are in the next 64 bytes of the page. */
	r = kernel_regs(phys(p + 0x3a));
	for (unsigned i = 0; i < 15; i++)
		a[0x3a + i] = 0x66;
	a[0x3a + 15] = 0x90;
	a[0x3a + 16] = 0xcc;
	run_frame(&r);
	expect_trap("an instruction of 16 bytes", 13, 0);
	a[0x3a + 14] = 0x90;
	run_frame(&r);
	expect_trap("its fifteenth byte makes a NOP of it", 3, 0);
}

/* ---- modes ---- */

static volatile unsigned nm;

static void on_nm(struct regs *r)
{
	nm++;
	__asm__ volatile("clts");
}

KERNEL_CODE(k_sse, "movups %xmm0, %xmm0; ret");
KERNEL_CODE(k_stac_call, "stac; nop; call *%rdi; clac; ret");
KERNEL_CODE(k_plain_call, "nop; call *%rdi; ret");

static void modes(void)
{
	void (*volatile stac_call)(const void *) = (void (*)(const void *))k_stac_call;
	void (*volatile plain_call)(const void *) = (void (*)(const void *))k_plain_call;
	bool good = true;

	hooks[7] = on_nm;
	if (has7b(20))
		write_cr4(read_cr4() | CR4_SMAP);
	for (unsigned i = 0; i < 12; i++) {
		bool ts = i & 1;

		if (ts)
			write_cr0(read_cr0() | CR0_TS);
		else
			__asm__ volatile("clts");
		nm = 0;
		if (has7b(20) && i % 3)
			stac_call(k_sse);
		else
			plain_call(k_sse);
		good &= nm == ts;
		__asm__ volatile("clts");
	}
	ok(good, "#NM exactly when CR0.TS is set, also behind STAC");
	write_cr4(read_cr4() & ~CR4_SMAP);
	hooks[7] = NULL;
}

/* ---- the shadow of STI ---- */

static volatile u64 hit_rip;

static void on_interrupt(struct regs *r)
{
	hit_rip = *hook_frame(r);
	*(volatile u32 *)phys(APIC + 0xb0) = 0;
}

/* sti; nop; nop; cli; ret at @at, entered at @from with an interrupt pending: where is it taken? */
static u64 sti_at(u64 from, u64 at)
{
	static const u8 code[] = { 0xfb, 0x90, 0x90, 0xfa, 0xc3 };

	for (unsigned i = 0; i < sizeof(code); i++)
		((volatile u8 *)at)[i] = code[i];
	hit_rip = 0;
	*(volatile u32 *)phys(APIC + 0x300) = 0x40000 | VEC;
	call(from);
	return hit_rip - at;
}

static void shadows(void)
{
	u64 p = alloc_aligned(0x4000);

	hooks[VEC] = on_interrupt;
	*(volatile u32 *)phys(APIC + 0xf0) = 0x1ff;
	ok(sti_at(p + 0x100, p + 0x100) == 2, "STI in the middle of a page");
	ok(sti_at(p + 0xfff, p + 0xfff) == 2, "STI at the end of a page");
	for (unsigned n = 1; n < 130; n += 1) {
		u64 from = p + 0x2000;

		for (unsigned i = 0; i < n; i++)
			((volatile u8 *)from)[i] = 0x90;
		if (sti_at(from, from + n) != 2) {
			ok(false, "STI behind %d other instructions: taken at %d", (u64)n,
			   hit_rip - from - n);
			return;
		}
	}
	ok(true, "STI behind 1 to 129 other instructions");
}

/* ---- the user's stack ---- */

USER_CODE(u_stack, "push %rax; push %rbx; mov (%rsp), %rcx; pop %rdx; mov (%rsp), %rdx; int3");
USER_CODE(u_stack_code, "push %rax; call *%rsi; push %rbx; call *%rsi; int3");
USER_CODE(u_stack_read, "mov (%rsp), %rcx; mov 8(%rsp), %rdx; int3");

static struct regs run_stack(const char *code, u64 sp, u64 v)
{
	struct regs r = user_regs(code);

	r.gpr[RSP] = sp;
	r.gpr[RAX] = v;
	r.gpr[RBX] = v + 1;
	run_frame(&r);
	return trap;
}

/* Pushes @v at @sp, and says whether it arrived in both pages' right places, physical @high and @low. */
static bool pushed(u64 sp, u64 v, u64 high, u64 low)
{
	struct regs r = run_stack(u_stack, sp, v);

	return r.vec == 3 && r.gpr[RCX] == v + 1 && r.gpr[RDX] == v && r.gpr[RSP] == sp - 8 &&
	       *(volatile u64 *)phys(high) == v && *(volatile u64 *)phys(low) == v + 1;
}

/* What is remembered of the page of the stack follows all that happens to it. */
static void user_stack(void)
{
	const u64 va = VA + 0x700000, top = va + 0x1000;
	u64 x = alloc_page(), y = alloc_page(), z = alloc_page();
	u64 *pte = map_page(va, x, PTE_P | PTE_W | PTE_U), *next;
	bool good = true;
	struct regs r;

	next = map_page(va + 0x1000, z, PTE_P | PTE_W | PTE_U);
	ok(pushed(top, 10, x + 0xff8, x + 0xff0) && pushed(top, 20, x + 0xff8, x + 0xff0), "user stack");
	retarget(pte, y);
	invlpg(va);
	ok(pushed(top, 30, y + 0xff8, y + 0xff0), "remapped, INVLPG");
	retarget(pte, x);
	flush_tlb();
	ok(pushed(top, 40, x + 0xff8, x + 0xff0), "remapped, MOV to CR3");
	for (u64 i = 0; i < 200; i++)
		good &= pushed(top + (i % 3) * 8, i, (i % 3 ? z - 0x1000 : x) + 0xff8 + (i % 3) * 8,
			       (i % 3 == 2 ? z - 0x1000 : x) + 0xff0 + (i % 3) * 8);
	ok(good, "pushes in two pages by turns, and across the edge");

	*pte &= ~PTE_W;
	invlpg(va);
	run_stack(u_stack, top, 50);
	expect_pf("push to a page that has become read-only", 7, top - 8);
	r = run_stack(u_stack_read, top - 16, 0);
	ok(r.vec == 3 && r.gpr[RCX] == *(volatile u64 *)phys(x + 0xff0), "... which can be read");
	run_stack(u_stack, top, 50);
	expect_pf("... but still not written", 7, top - 8);
	*pte = (*pte | PTE_W) & ~PTE_U;
	invlpg(va);
	run_stack(u_stack_read, top - 16, 0);
	expect_pf("a stack that has become the supervisor's", 5, top - 16);
	*pte = (*pte | PTE_U) & ~(u64)PTE_D;
	invlpg(va);
	run_stack(u_stack_read, top - 16, 0);
	ok(!(*pte & PTE_D), "reads leave the dirty bit alone");
	ok(pushed(top, 60, x + 0xff8, x + 0xff0) && (*pte & PTE_D), "pushes set it");
	*next &= ~PTE_P;
	invlpg(va + 0x1000);
	run_stack(u_stack_read, top - 8, 0);
	expect_pf("the second of two loads in a page that is not there", 4, top);

	/* The pushes overwrite code in the stack's page: mov $v, %eax; ret */
	*(volatile u64 *)phys(x + 0xf00) = 0xc300000005b8;
	r = user_regs(u_stack_code);
	r.gpr[RSP] = va + 0xf08;
	r.gpr[RAX] = 0xc300000006b8;
	r.gpr[RBX] = 0xc300000007b8;
	r.gpr[RSI] = va + 0xf00;
	run_frame(&r);
	ok(trap.vec == 3 && (u32)trap.gpr[RAX] == 6, "code pushed on the stack: %x", trap.gpr[RAX]);
	for (u64 v = 1; v < 5; v++) {
		r.gpr[RAX] = 0xc300000000b8 | v << 8;
		run_frame(&r);
		ok(trap.vec == 3 && trap.gpr[RAX] == v, "and again: %x", trap.gpr[RAX]);
	}
}

/* ---- single accesses, each with a TLB entry of its own perhaps ---- */

USER_CODE(u_slots, "mov (%rsi,%rcx,8), %rax; mov %rax, (%rdi,%rcx,8); int3");

USER_CODE(u_call, "call *%rsi; int3");

static u64 call_user(u64 va)
{
	struct regs r = user_regs(u_call);

	r.gpr[RSI] = va;
	run_frame(&r);
	return trap.gpr[RAX];
}

static struct regs copy_word(u64 from, u64 to)
{
	struct regs r = user_regs(u_slots);

	r.gpr[RSI] = from;
	r.gpr[RDI] = to;
	r.gpr[RCX] = 0;
	run_frame(&r);
	return trap;
}

static void slots(void)
{
	const u64 from = VA + 0xc00000, to = VA + 0xd00000;
	u64 x = alloc_page(), y = alloc_page(), z = alloc_page();
	u64 *src = map_page(from, x, PTE_P | PTE_W | PTE_U), *dst = map_page(to, y, PTE_P | PTE_W | PTE_U);
	volatile u64 *px = phys(x), *py = phys(y), *pz = phys(z);
	bool good = true;

	map_page(from + 0x1000, z, PTE_P | PTE_W | PTE_U);
	for (u64 i = 0; i < 2000; i++) {
		*px = i;
		*pz = ~i;
		copy_word(from + i % 2 * 0x1000, to);
		good &= trap.vec == 3 && *py == (i % 2 ? ~i : i);
	}
	ok(good, "a load from two pages by turns");
	*px = 5;
	copy_word(from, to);
	retarget(src, z);
	invlpg(from);
	*pz = 6;
	copy_word(from, to);
	ok(trap.vec == 3 && *py == 6, "page of the load remapped");
	retarget(src, x);
	flush_tlb();
	copy_word(from, to);
	ok(trap.vec == 3 && *py == 5, "... and back, by MOV to CR3");
	retarget(dst, z);
	invlpg(to);
	copy_word(from, to);
	ok(trap.vec == 3 && *pz == 5, "page of the store remapped");
	*dst &= ~PTE_W;
	invlpg(to);
	copy_word(from, to);
	expect_pf("store to what has become read-only", 7, to);
	copy_word(to, from);
	ok(trap.vec == 3 && *px == 5, "... which can still be read");
	copy_word(from, to);
	expect_pf("... and still not be written", 7, to);
	*src &= ~PTE_U;
	invlpg(from);
	copy_word(from, to);
	expect_pf("load from what has become the supervisor's", 5, from);
	*src |= PTE_U;
	invlpg(from);
	*dst |= PTE_W;
	invlpg(to);
	*px = 0xc300000009b8; /* mov $9, %eax; ret */
	for (u64 i = 0; i < 4; i++) {
		((volatile u8 *)phys(x))[1] = (u8)(9 + i);
		copy_word(from, to);
		good = trap.vec == 3 && call_user(to) == 9 + i;
		ok(good, "code written, run and written again: %d", trap.gpr[RAX]);
	}
	copy_word(from + 0xffc, to + 0x800);
	ok(trap.vec == 3, "load across pages");
	copy_word(0x8000000000000000, to);
	ok(trap.vec == 13, "load from what is not canonical");
	copy_word(from, 0x8000000000000ff8);
	ok(trap.vec == 13, "store to what is not canonical");
}

/* ---- what a page fault takes away (SDM vol. 3, 4.10.4.1) ---- */

/* Reads and writes two words of the stack, by code in two pieces of 256 bytes: each has a stack entry of its own. */
USER_CODE(u_two_sides,
	  "test %edi, %edi; jnz 2f; jmp 1f; .balign 256, 0x90; 1: mov (%rsp), %rcx; mov 8(%rsp), %rdx;"
	  "int3; .balign 256, 0x90; 2: mov %rax, (%rsp); mov %rbx, 8(%rsp); int3");

static struct regs two_sides(u64 sp, bool write, u64 v)
{
	struct regs r = user_regs(u_two_sides);

	r.gpr[RSP] = sp;
	r.gpr[RDI] = write;
	r.gpr[RAX] = v;
	r.gpr[RBX] = v + 1;
	run_frame(&r);
	return trap;
}

static bool stack_holds(u64 sp, u64 v)
{
	struct regs r = two_sides(sp, false, 0);

	return r.vec == 3 && r.gpr[RCX] == v && r.gpr[RDX] == v + 1;
}

/*
 * A write to a page that is read-only faults; the kernel maps a copy that is
 * writable, without INVLPG. Nobody may see the old page any more.
 */
static void copy_on_write(u64 va)
{
	u64 x = alloc_page(), y = alloc_page(), other = alloc_page(), sp = va + 0x800;
	u64 *pte = map_page(va, x, PTE_P | PTE_U);
	volatile u64 *px = phys(x + 0x800), *py = phys(y + 0x800), *through = (volatile u64 *)sp;

	px[0] = 10;
	px[1] = 11;
	ok(stack_holds(sp, 10) && *through == 10, "copy on write: the old page, at %x", va);
	two_sides(sp, true, 20);
	expect_pf("... a write to it", 7, sp);
	*pte = y | PTE_P | PTE_W | PTE_U;
	tcg_is_wrong();
	ok(*through == 0, "... the kernel sees the new one");
	two_sides(sp, true, 20);
	ok(py[0] == 20 && px[0] == 10, "... it is written");
	ok(stack_holds(sp, 20), "... the user sees it");

	/* The same by accesses of another kind. */
	*pte = x | PTE_P | PTE_U;
	invlpg(va);
	map_page(va + 0x100000, other, PTE_P | PTE_U | PTE_W);
	copy_word(sp, va + 0x100000);
	copy_word(va + 0x100000, sp);
	expect_pf("copy on write by single accesses", 7, sp);
	*pte = y | PTE_P | PTE_W | PTE_U;
	copy_word(va + 0x100000, sp);
	py[0] = 30;
	copy_word(sp, va + 0x100000);
	ok(trap.vec == 3 && *(volatile u64 *)phys(other) == 30, "... the user sees the new page");

	/* Taken away without INVLPG; and when another page is in its place in the TLB. */
	map_page(va + (1ull << 32), other, PTE_P | PTE_U);
	for (unsigned n = 0; n < 2; n++) {
		*pte = x | PTE_P | PTE_U;
		invlpg(va);
		ok(stack_holds(sp, 10), "a page that can be read");
		if (n) /* evicts it */
			copy_word(va + (1ull << 32), va + 0x100000);
		*pte = 0;
		two_sides(sp, true, 40);
		ok(trap.vec == 14 && trap.cr2 == sp, "... is gone when it is written");
		*pte = y | PTE_P | PTE_W | PTE_U;
		two_sides(sp, true, 40 + n);
		ok(stack_holds(sp, 40 + n), "... and another one is there");
	}

	/* Code. */
	return_code(x, 1);
	return_code(y, 2);
	*pte = x | PTE_P | PTE_U;
	invlpg(va);
	ok(call_user(va) == 1 && call_user(va) == 1, "code that can only be read");
	two_sides(sp, true, 50);
	expect_pf("... is written", 7, sp);
	*pte = y | PTE_P | PTE_W | PTE_U;
	tcg_is_wrong();
	ok(call_user(va) == 2, "... and its copy runs: %d", trap.gpr[RAX]);
}

/* ---- the stack, and what empties a TLB ---- */

KERNEL_CODE(k_invpcid, "invpcid (%rdi), %rax; int3");

static bool invpcid(u64 type, u64 pcid, u64 va)
{
	const u64 desc[2] = { pcid, va };
	struct regs r = kernel_regs(k_invpcid);

	r.gpr[RDI] = (uintptr_t)desc;
	r.gpr[RAX] = type;
	run_frame(&r);
	return trap.vec == 3;
}

static void stack_flushes(void)
{
	const u64 va = VA + 0x1400000, sp = va + 0x800, rw = PTE_P | PTE_W | PTE_U, keep = 1ull << 63,
		  cr3 = read_cr3() & ~0xfffull;
	u64 pa[2] = { alloc_page(), alloc_page() }, big = alloc_aligned(4 << 20);
	u64 *pte = map_page(va, pa[0], rw);
	bool good = true;

	for (unsigned i = 0; i < 2; i++) {
		((volatile u64 *)phys(pa[i]))[0x100] = 10 + i * 10;
		((volatile u64 *)phys(pa[i]))[0x101] = 11 + i * 10;
		((volatile u64 *)phys(big + (i << 21)))[0x100] = 10 + i * 10;
		((volatile u64 *)phys(big + (i << 21)))[0x101] = 11 + i * 10;
	}
	if (has1c(17)) {
		write_cr4(read_cr4() | CR4_PCIDE);
		for (unsigned round = 0; round < 20; round++) {
			retarget(pte, pa[round & 1]);
			write_cr3(cr3 | (1 + (round & 1)) | (round < 2 ? 0 : keep));
			good &= stack_holds(sp, 10 + (round & 1) * 10);
		}
		ok(good, "stacks of two PCIDs that are kept");
		for (unsigned type = 0; has7b(10) && type < 3; type++) {
			write_cr3(cr3 | 1);
			retarget(pte, pa[0]);
			invlpg(va);
			good = stack_holds(sp, 10);
			retarget(pte, pa[1]);
			good &= invpcid(type, type == 2 ? 0 : 1, type ? 0 : va);
			ok(good && stack_holds(sp, 20), "stack behind INVPCID type %d", (u64)type);
		}
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
	}

	*pte = pa[0] | rw | PTE_G;
	flush_tlb();
	good = stack_holds(sp, 10);
	retarget(pte, pa[1]);
	write_cr4(read_cr4() ^ CR4_PGE);
	write_cr4(read_cr4() ^ CR4_PGE);
	ok(good && stack_holds(sp, 20), "stack in a global page, CR4.PGE toggled");
	retarget(pte, pa[0]);
	invlpg(va);
	ok(stack_holds(sp, 10), "... and behind INVLPG");
	*pte = pa[0] | rw;
	invlpg(va);

	map_page(va + 0x200000, 0, 0);
	pte = pte_of(va + 0x200000, 1);
	*pte = big | rw | PTE_PS;
	flush_tlb();
	good = stack_holds(va + 0x200800, 10);
	*pte = (big + (2 << 20)) | rw | PTE_PS;
	invlpg(va + 0x3f0000);
	ok(good && stack_holds(va + 0x200800, 20), "stack in a 2M page, INVLPG elsewhere in it");

	good = stack_holds(sp, 10);
	write_dr0(sp + 8);
	write_dr7(0x400 | 1 | 0xbu << 16); /* read or write, 8 bytes */
	two_sides(sp, false, 0);
	ok(good && trap.vec == 1 && trap.gpr[RDX] == 11, "watch armed on the stack's page");
	write_dr7(0x400);
	ok(stack_holds(sp, 10), "... and off");
}

/* ---- REP MOVS and REP STOS ---- */

USER_CODE(u_stos, "rep stosq; int3");
USER_CODE(u_movs, "rep movsb; int3");

static void run_string(const char *code, u64 src, u64 dst, u64 n)
{
	struct regs r = user_regs(code);

	r.gpr[RAX] = 0x5a5a;
	r.gpr[RSI] = src;
	r.gpr[RDI] = dst;
	r.gpr[RCX] = n;
	run_frame(&r);
}

/* Counts that wrap, and ranges that only end in the page that is there. */
static void strings(void)
{
	static const u64 huge[] = { 0x2000000000000000, 0x2000000000000001, 0x1fffffffffffffff, ~0ull, 513 };
	const u64 va = VA + 0x900000, end = va + 0x1000;
	u64 x = alloc_page(), y = alloc_page();
	u64 *pte = map_page(va, x, PTE_P | PTE_W | PTE_U);

	map_page(va + 0x100000, y, PTE_P | PTE_W | PTE_U);
	run_string(u_stos, 0, va, 512);
	ok(trap.vec == 3 && trap.gpr[RDI] == end && trap.gpr[RCX] == 0 &&
		   *(volatile u64 *)phys(x + 0xff8) == 0x5a5a,
	   "REP STOS of a page");
	for (unsigned i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		run_string(u_stos, 0, va, huge[i]);
		expect_pf("REP STOS with a huge count", 6, end);
		ok(trap.gpr[RDI] == end && trap.gpr[RCX] == huge[i] - 512, "... stops at the page's end: %x",
		   trap.gpr[RCX]);
	}
	*(volatile u64 *)phys(x) = 1;
	run_string(u_stos, 0, va - 8, 2);
	expect_pf("REP STOS from below the page", 6, va - 8);
	ok(trap.gpr[RCX] == 2 && *(volatile u64 *)phys(x) == 1, "... writes nothing");
	run_string(u_movs, va - 1, va + 0x100000, 2);
	expect_pf("REP MOVS from below the page", 4, va - 1);
	run_string(u_movs, va, va + 0x100fff, 2);
	expect_pf("REP MOVS beyond the end", 6, va + 0x101000);
	ok(trap.gpr[RCX] == 1 && trap.gpr[RSI] == va + 1 && *(volatile u8 *)phys(y + 0xfff) == 1,
	   "... has moved one");
	run_string(u_movs, va, va + 0x100000, 0);
	ok(trap.vec == 3 && trap.gpr[RSI] == va && trap.gpr[RDI] == va + 0x100000, "REP MOVS of nothing");
	for (unsigned i = 0; i < 16; i++)
		((volatile u8 *)phys(x))[i] = (u8)i;
	run_string(u_movs, va, va + 1, 15);
	ok(trap.vec == 3 && ((volatile u8 *)phys(x))[15] == 0, "REP MOVS within a page repeats its pattern");
	*pte &= ~PTE_W;
	invlpg(va);
	run_string(u_movs, va + 0x100000, va, 4);
	expect_pf("REP MOVS to a page that has become read-only", 7, va);
}

void test_main(void)
{
	not_canonical();
	displacement_edges();
	remap_after_overflow(200);
	remap_after_overflow(20000);
	remap_target(VA + 0x400000, 0);
	remap_target(VA + 0x500000, PTE_G);
	remap_target(0xffffc00000000000, 0);
	remap_target(0xffffc00000100000, PTE_G);
	huge_page();
	straddling();
	undefined_becomes_defined();
	modes();
	shadows();
	user_stack();
	slots();
	copy_on_write(VA + 0x1000000);
	copy_on_write(VA + (8ull << 30)); /* entry 0 of the TLB */
	stack_flushes();
	strings();
}
