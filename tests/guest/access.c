/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory accesses of user code, of which a translator may remember where they
 * went: what happens when one goes elsewhere again and again, and what an
 * instruction that cannot be finished leaves behind.
 *
 * Most of these were found by a reviewer.
 */
#include "lib/guest.h"

#define VA 0x4000000000ull /* PML4 entry 0, behind the identity map */

static u64 user_page(u64 va)
{
	u64 pa = alloc_page();

	map_page(va, pa, PTE_P | PTE_W | PTE_U);
	return pa;
}

static void copy_code(u64 pa, const u8 *code, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		((volatile u8 *)phys(pa))[i] = code[i];
}

/* ---- budgets ---- */

/*
 * Loads from two pages by turns, @n times, then changes the instruction behind its store. @reg is where
 * the address of the load goes. However often it has been, the change is seen.
 */
static void two_pages_then_own_code(const char *name, const u8 *code, unsigned size, unsigned imm,
				    unsigned reg, u64 from, u64 to)
{
	static u64 next = VA + 0x10000000;
	bool good = true;

	for (u64 n = from; n < to && good; n++, next += 0x1000) {
		struct regs r;

		copy_code(user_page(next), code, size);
		for (u64 i = 0; i <= n; i++) {
			r = user_regs((const void *)next);
			r.gpr[reg] = VA + 0x100000 + i % 2 * 0x1000;
			r.gpr[RDI] = i == n ? next + imm : VA + 0x200000;
			r.gpr[RCX] = 0x77;
			run_frame(&r);
		}
		good = trap.vec == 3 && (trap.gpr[RBX] & 0xff) == 0x77;
		if (!good)
			print("# %d times: %x\n", n, trap.gpr[RBX] & 0xff);
	}
	ok(good, "%s: own code changed, %d to %d times", name, from, to - 1);
}

static void budgets(void)
{
	static const u8 load[] = {
		0x48, 0x8b, 0x06, /* mov (%rsi), %rax */
		0x88, 0x0f,       /* mov %cl, (%rdi) */
		0xb3, 0x11,       /* mov $0x11, %bl */
		0xcc,
	};
	static const u8 stack[] = {
		0x48, 0x8b, 0x04, 0x24, /* mov (%rsp), %rax */
		0x88, 0x0f,             /* mov %cl, (%rdi) */
		0xb3, 0x11,             /* mov $0x11, %bl */
		0xcc,
	};

	user_page(VA + 0x100000);
	user_page(VA + 0x101000);
	user_page(VA + 0x200000);
	two_pages_then_own_code("load", load, sizeof(load), 6, RSI, 250, 264);
	for (unsigned i = 0; i < 20; i++)
		two_pages_then_own_code("stack", stack, sizeof(stack), 7, RSP, 60, 70);
}

/* ---- what cannot be finished ---- */

/* A call to beyond what is canonical has not pushed anything. */
static void call_beyond(void)
{
	static const u8 code[] = { 0xe8, 0xf0, 0xff, 0xff, 0x7f }; /* call .+0x7ffffff0 */
	static const u8 back[] = { 0xe8, 0x00, 0x00, 0x00, 0x80 }; /* call .-0x80000000 */
	const u64 low = 0x7fffffffd000, high = 0xffff800000003000;

	copy_code(user_page(low), code, sizeof(code));
	copy_code(user_page(high), back, sizeof(back));
	for (unsigned i = 0; i < 4; i++) {
		u64 va = i & 1 ? high : low;
		struct regs r = user_regs((const void *)va);

		run_frame(&r);
		tcg_is_wrong();
		ok(trap.vec == 13 && trap.err == 0 && trap.rip == va && trap.gpr[RSP] == r.gpr[RSP],
		   "call from %x beyond the canonical: %d at %x, RSP %x", va, trap.vec, trap.rip,
		   trap.gpr[RSP] - r.gpr[RSP]);
	}
}

/* Not canonical, and what an empty entry of a cache may look like. */
#define BAD  0x8000000000000000ull
#define GOOD (VA + 0x600000)
#define GIB4 (1ull << 32)

USER_CODE(u_adc, "stc; adc (%rsi), %rax; int3");
USER_CODE(u_cmp_adc, "cmp $1, %rcx; mov (%rsi), %rdx; adc $0, %rax; int3");
USER_CODE(u_jmp, "jmp *8(%rsi,%rcx); int3");
USER_CODE(u_call, "call *8(%rsi,%rcx); int3");
USER_CODE(u_rmw, "lock addl $1, 4(%rsi,%rcx); int3");
USER_CODE(u_held, "mov $5, %r9d; add $7, %r9b; lea 3(%r9), %r10; mov %r10, %r11; bswap %r11;"
		  "mov (%rsi,%rcx), %r9; int3");
USER_CODE(u_fld, "fldt (%rsi,%rcx); int3");
USER_CODE(u_rbp, "mov (%rbp), %rax; int3");
USER_CODE(u_push, "push (%rsi,%rcx); int3");
USER_CODE(u_pop, "pop (%rsi,%rcx); int3");
USER_CODE(u_leave, "leave; ret");
USER_CODE(u_xchg, "mov $3, %r10; xchg %r10, (%rsi,%rcx); int3");
USER_CODE(u_fs, "mov %fs:(%rsi), %rax; int3");

/* Runs @code with RSI and RCX; the rest is the same each time. */
static void go(const char *code, u64 rsi, u64 rcx)
{
	struct regs r = user_regs(code);

	r.gpr[RSI] = rsi;
	r.gpr[RCX] = rcx;
	r.gpr[RAX] = 0x100;
	r.gpr[RBP] = BAD + 8;
	run_frame(&r);
}

/* #GP or #SS at @off of @code, and RSP and RAX are what they were. */
static void faults(const char *name, const char *code, u64 off, u64 rsi, u64 rcx, unsigned vec)
{
	go(code, rsi, rcx);
	if (vec == 12)
		tcg_is_wrong();
	ok(trap.vec == vec && trap.err == 0 && trap.rip == (u64)code + off &&
		   trap.gpr[RSP] == user_regs(code).gpr[RSP] && trap.gpr[RAX] == 0x100,
	   "%s: exception %d at %x", name, trap.vec, trap.rip - (u64)code);
}

/* Every kind of access to what is not canonical, before and after the same code has reached a page. */
static void not_canonical(void)
{
	faults("adc", u_adc, 1, BAD, 0, 13);
	ok(trap.rflags & 1, "... CF is still set");
	faults("load between CMP and ADC", u_cmp_adc, 4, BAD, 0, 13);
	ok(trap.rflags & 1, "... CF is still set");
	faults("jump through memory", u_jmp, 0, BAD, 0, 13);
	faults("call through memory", u_call, 0, BAD, 0, 13);
	faults("locked add", u_rmw, 0, BAD, 0, 13);
	go(u_held, BAD, 0);
	ok(trap.vec == 13 && trap.gpr[R9] == 12 && trap.gpr[R10] == 15 && trap.gpr[R11] == 15ull << 56,
	   "R9 to R11 at a fault: %x %x %x", trap.gpr[R9], trap.gpr[R10], trap.gpr[R11]);
	faults("fld", u_fld, 0, BAD, 0, 13);
	faults("load off RBP", u_rbp, 0, BAD, 0, 12);
	faults("push of memory", u_push, 0, BAD, 0, 13);
	faults("pop to memory", u_pop, 0, BAD, 0, 13);
	faults("leave", u_leave, 0, 0, 0, 12);
	ok(trap.gpr[RBP] == BAD + 8, "... RBP stays");
	faults("exchange at the end of a page", u_xchg, 7, BAD, 0xff8, 13);
	faults("exchange across pages", u_xchg, 7, BAD, 0xff9, 13);
	ok(trap.gpr[R10] == 3, "... R10 stays");
	faults("load off FS", u_fs, 0, BAD + 0xff0, 0, 13);
}

static void addresses(void)
{
	user_page(GOOD);
	user_page(GOOD + GIB4);
	for (unsigned i = 0; i < 3; i++) {
		not_canonical();
		go(u_fs, GOOD, 0);
		ok(trap.vec == 3, "load off FS that is there");
		go(u_rmw, GOOD, 0);
		ok(trap.vec == 3, "locked add that is there");
		go(u_rmw, GOOD + GIB4, 0);
		ok(trap.vec == 3, "... 4 GiB above");
		go(u_rmw, GOOD + 2 * GIB4, 0);
		tcg_is_wrong(); /* which takes the read first */
		expect_pf("... 8 GiB above, where nothing is", 6, GOOD + 2 * GIB4 + 4);
		flush_tlb();
	}
}

/* ---- one access to the stack, by itself ---- */

USER_CODE(u_push_one, "push %rax; int3");
USER_CODE(u_pop_one, "pop %rax; int3");
USER_CODE(u_ret_one, "ret");
USER_CODE(u_call_one, "call 1f; 1: int3");

/* The RSP of the second is not that of the group before. */
#define CMP_0_1 "mov $0, %ecx; cmp $1, %rcx;"
#define OTHERS  "mov (%rsp), %rdx; mov 8(%rsp), %rdx; mov %rsi, %rsp;"
USER_CODE(u_push_flags, OTHERS CMP_0_1 "push %rax; int3");
USER_CODE(u_ret_flags, OTHERS CMP_0_1 "ret");
USER_CODE(u_call_flags, OTHERS CMP_0_1 "call 1f; 1: int3");
USER_CODE(u_pop_flags, OTHERS CMP_0_1 "pop %rax; int3");
USER_CODE(u_pop_sp, OTHERS CMP_0_1 ".byte 0x66, 0x5c; int3"); /* pop %sp */

static void go_rsp(const char *code, u64 rsp)
{
	struct regs r = user_regs(code);

	r.gpr[RAX] = 0x100;
	r.gpr[RSP] = rsp;
	run_frame(&r);
}

/* Is the exception at the instruction, with all as it was? */
static bool untouched(const char *code, unsigned vec, u64 rsp)
{
	return trap.vec == vec && trap.rip == (u64)code && trap.gpr[RSP] == rsp && trap.gpr[RAX] == 0x100;
}

static void alone(void)
{
	static const char *const code[] = { u_push_one, u_pop_one, u_ret_one, u_call_one };
	static const char *const name[] = { "push", "pop", "ret", "call" };
	const u64 where[] = { VA + 0xd00000, VA + 0xd00000 + GIB4 }, nowhere = VA + 0xd00800 + 2 * GIB4;
	const u64 pa[] = { user_page(where[0]), user_page(where[1]) };

	for (unsigned i = 0; i < 4; i++) {
		bool works = true, bad = true, absent = true;

		for (unsigned n = 0; n < 6; n++) {
			bool push = code[i] == u_push_one || code[i] == u_call_one;
			u64 rsp = where[n & 1] + 0x800;
			volatile u64 *slot = (volatile u64 *)phys(pa[n & 1] + (push ? 0x7f8 : 0x800));

			go_rsp(code[i], BAD + 8);
			bad &= untouched(code[i], 12, BAD + 8);
			*slot = (u64)u_push_one + 1;
			go_rsp(code[i], rsp);
			works &= trap.vec == 3 && trap.gpr[RSP] == (push ? rsp - 8 : rsp + 8);
			if (push)
				works &= *slot == (code[i] == u_push_one ? 0x100 : (u64)u_call_one + 5);
			go_rsp(code[i], nowhere);
			absent &= untouched(code[i], 14, nowhere);
		}
		ok(works, "%s in two pages by turns", name[i]);
		tcg_is_wrong();
		ok(bad, "%s: #SS where RSP is not canonical", name[i]);
		ok(absent, "%s: #PF where nothing is", name[i]);
	}
}

/* All is as it was, flags that had to be put aside for the check too. */
static void flags_at_ss(void)
{
	static const char *const code[] = { u_push_flags, u_ret_flags, u_call_flags, u_pop_flags, u_pop_sp };
	static const char *const name[] = { "push", "ret", "call", "pop", "pop sp" };

	user_page(VA + 0xe00000);
	for (unsigned i = 0; i < 5; i++) {
		struct regs r = user_regs(code[i]);

		r.gpr[RSP] = VA + 0xe00800;
		r.gpr[RSI] = BAD + 0x18;
		run_frame(&r);
		tcg_is_wrong();
		ok(trap.vec == 12 && trap.gpr[RSP] == BAD + 0x18 && (trap.rflags & 0x8d5) == 0x95,
		   "%s: #SS finds RSP %x and flags %x", name[i], trap.gpr[RSP], trap.rflags & 0x8d5);
	}
}

/* ---- prefetches; CF behind DEC ---- */

USER_CODE(u_prefetch, "stc; prefetcht0 (%rsi,%rcx); prefetchw 0xfff(%rsi); prefetchnta (%rsi); adc $0, %rax;"
		      "mov %rsi, %r10; mov %rcx, %r11; prefetcht1 (%r10,%r11); prefetcht2 %fs:-8(%r10);"
		      "cmp %r10, %rsi; int3");
USER_CODE(u_dec, "jmp 1f; 1: dec %rcx; mov (%rsi), %rdx; int3");

static void no_effect(void)
{
	static const u64 at[] = { GOOD, GOOD + 0xfff, GOOD + 2 * GIB4, BAD, ~0ull, 0, GOOD + GIB4 };

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		go(u_prefetch, at[i], 8);
		ok(trap.vec == 3 && trap.gpr[RAX] == 0x101 && (trap.rflags & 0x41) == 0x40,
		   "prefetch of %x: %d", at[i], trap.vec);
	}
	for (unsigned i = 0; i < 6; i++) {
		struct regs r = user_regs(u_dec);

		r.gpr[RSI] = GOOD;
		r.gpr[RCX] = i / 2;
		r.rflags |= i & 1;
		run_frame(&r);
		ok(trap.vec == 3 && (trap.rflags & 0xc1) == ((i & 1) | (i / 2 == 1 ? 0x40
									: i / 2    ? 0
										   : 0x80)),
		   "dec of %d with CF %d: %x", i / 2, i & 1, trap.rflags & 0xc1);
	}
}

/* ---- what is taken away ---- */

#define SRC (VA + 0x800000)
#define DST (VA + 0x900000)

/* Two single accesses: what stands between them keeps them from sharing anything. */
USER_CODE(u_copy, "mov (%rsi), %rax; nop; mov %rax, (%rdi,%rcx); int3");
USER_CODE(u_run, "call *%rsi; int3");

struct taken {
	u64 *src, *dst;             /* entries of SRC and DST */
	u64 a, b, x, y;             /* pages: SRC is a or b, DST is x or y */
	volatile u64 *pa, *px, *py; /* in them */
};

static void copy(u64 from, u64 to)
{
	struct regs r = user_regs(u_copy);

	r.gpr[RSI] = from;
	r.gpr[RDI] = to;
	r.gpr[RCX] = 0;
	run_frame(&r);
}

static u64 run_user(u64 va)
{
	struct regs r = user_regs(u_run);

	r.gpr[RSI] = va;
	run_frame(&r);
	return trap.gpr[RAX];
}

static void retarget(u64 *pte, u64 pa)
{
	*pte = (*pte & ~0x000ffffffffff000ull) | pa;
}

static void invpcid(u64 type, u64 pcid, u64 lin)
{
	u64 d[2] = { pcid, lin };

	__asm__ volatile("invpcid %0, %1" ::"m"(d), "r"(type) : "memory");
}

/* The pages 4 GiB above take the TLB's entries, so nothing there says any more what else has been remembered. */
static void evicted(struct taken *t)
{
	for (unsigned i = 0; i < 3; i++) {
		*t->px = *t->py = 0;
		copy(SRC, DST);
		copy(SRC, DST);
		ok(trap.vec == 3 && *t->px == 1, "copied");
		copy(SRC, DST + GIB4);
		copy(SRC + GIB4, DST + 8 + GIB4);
		*t->px = 0;
		copy(SRC, DST);
		copy(SRC, DST);
		run_user(DST + GIB4);
		retarget(t->src, t->b);
		invlpg(SRC);
		copy(SRC, DST);
		ok(*t->px == 2, "source remapped behind evictions: %x", *t->px);
		retarget(t->dst, t->y);
		invlpg(DST);
		copy(SRC, DST);
		ok(*t->py == 2, "destination remapped behind evictions: %x", *t->py);
		retarget(t->src, t->a);
		retarget(t->dst, t->x);
		flush_tlb();
		copy(SRC, DST);
		ok(*t->px == 1, "both back: %x", *t->px);
	}
}

/* The page that is written becomes code, by another address. */
static void code_by_alias(struct taken *t)
{
	map_page(VA + 0xa00000, t->x, PTE_P | PTE_W | PTE_U);
	for (u64 i = 1; i < 5; i++) {
		*t->pa = 0xc300000000b8 | i << 8; /* mov $i, %eax; ret */
		copy(SRC, DST);
		copy(SRC, DST);
		copy(SRC, DST + GIB4);
		ok(run_user(VA + 0xa00000) == i, "code by an alias: %x, not %x", trap.gpr[RAX], i);
	}
	*t->pa = 1;
}

static void watched(void)
{
	copy(SRC, DST);
	copy(SRC, DST);
	write_dr0(DST);
	write_dr7(0x000d0401); /* writes of 8 bytes */
	copy(SRC, DST);
	ok(trap.vec == 1, "watchpoint where there was none: %d", trap.vec);
	write_dr7(0x400);
	copy(SRC, DST);
	ok(trap.vec == 3, "... and none again");
}

static void pcids(struct taken *t)
{
	u64 cr3 = read_cr3(), noflush = 1ull << 63;
	u32 r[4];

	cpuid(1, 0, r);
	if (!(r[2] >> 17 & 1) || !has7b(10)) {
		skip("no PCID or no INVPCID");
		return;
	}
	flush_tlb();
	write_cr4(read_cr4() | CR4_PCIDE);
	copy(SRC, DST);
	for (unsigned i = 0; i < 4; i++) {
		static const u64 type[] = { 0, 1, 3, 2 };

		write_cr3(cr3 | 1);
		copy(SRC, DST);
		retarget(t->src, t->b);
		write_cr3(cr3 | 2);
		copy(SRC, DST);
		ok(*t->px == 2, "a new PCID sees the new page: %x", *t->px);
		invpcid(type[i], i < 2 ? 1 : 0, i ? 0 : SRC);
		*t->px = 0;
		write_cr3(cr3 | 1 | noflush);
		copy(SRC, DST);
		ok(*t->px == 2, "INVPCID %d of another PCID: %x", type[i], *t->px);
		retarget(t->src, t->a);
		if (i & 1)
			invpcid(0, 1, SRC);
		else
			invlpg(SRC);
		copy(SRC, DST);
		ok(*t->px == 1, "... and of this one: %x", *t->px);
		write_cr3(cr3 | 2 | noflush);
		invlpg(SRC);
		copy(SRC, DST);
		ok(*t->px == 1, "... and of the first: %x", *t->px);
	}
	*t->src &= ~PTE_U;
	write_cr3(cr3 | 2);
	copy(SRC, DST);
	expect_pf("supervisor's since MOV to CR3", 5, SRC);
	*t->src |= PTE_U;
	write_cr3(cr3 | 2);
	copy(SRC, DST);
	*t->dst &= ~PTE_W;
	write_cr4(read_cr4() ^ CR4_PGE);
	copy(SRC, DST);
	expect_pf("read-only since a change of CR4.PGE", 7, DST);
	*t->dst |= PTE_W;
	write_cr3(cr3);
	write_cr4(read_cr4() & ~CR4_PCIDE);
}

static void accessed_and_dirty(struct taken *t)
{
	*t->dst &= ~(PTE_A | PTE_D);
	invlpg(DST);
	copy(SRC, DST);
	ok((*t->dst & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "A and D are set again");
	*t->dst &= ~PTE_D;
	invlpg(DST);
	copy(DST, SRC);
	ok(!(*t->dst & PTE_D), "a load leaves D alone");
	copy(SRC, DST);
	ok(*t->dst & PTE_D, "a store sets it");
}

static void taken(void)
{
	struct taken t = { .a = alloc_page(), .b = alloc_page(), .x = alloc_page(), .y = alloc_page() };

	t.src = map_page(SRC, t.a, PTE_P | PTE_W | PTE_U);
	t.dst = map_page(DST, t.x, PTE_P | PTE_W | PTE_U);
	user_page(SRC + GIB4);
	user_page(DST + GIB4);
	t.pa = phys(t.a);
	t.px = phys(t.x);
	t.py = phys(t.y);
	*t.pa = 1;
	*(volatile u64 *)phys(t.b) = 2;
	evicted(&t);
	code_by_alias(&t);
	watched();
	pcids(&t);
	accessed_and_dirty(&t);
}

/* ---- loops ---- */

#define LOOP (VA + 0xa00000)

USER_CODE(u_fill, "1: mov %rax, (%rdi); add (%rdi), %rbx; lea 8(%rdi), %rdi; dec %rcx; jne 1b; int3");
USER_CODE(u_search, "1: cmp %al, (%rdi); je 2f; add $1, %rdi; jmp 1b; 2: int3");
USER_CODE(u_above, "jmp 2f; 1: add $4, %rdi; cmp %rsi, %rdi; je 3f; 2: add (%rdi), %ebx; jmp 1b; 3: int3");

/* A loop goes over a page, and beyond its end: whatever round it is in, the fault finds the registers of that round. */
static void rounds(void)
{
	u64 pa = user_page(LOOP);
	bool filled = true, found = true, above = true;

	for (u64 n = 1; n < 70; n++) {
		struct regs r = user_regs(u_fill);

		r.gpr[RDI] = LOOP + 0x1000 - 8 * n;
		r.gpr[RCX] = 100;
		r.gpr[RAX] = n;
		r.gpr[RBX] = 0;
		run_frame(&r);
		filled &= trap.vec == 14 && trap.err == 6 && trap.cr2 == LOOP + 0x1000 &&
			  trap.rip == (u64)u_fill && trap.gpr[RDI] == LOOP + 0x1000 &&
			  trap.gpr[RCX] == 100 - n && trap.gpr[RBX] == n * n && (trap.rflags & 0x40) == 0;
		r.gpr[RDI] = LOOP;
		r.gpr[RCX] = n;
		run_frame(&r);
		filled &= trap.vec == 3 && trap.gpr[RDI] == LOOP + 8 * n && trap.gpr[RBX] == n * n &&
			  *(volatile u64 *)phys(pa + 8 * n - 8) == n;
		r = user_regs(u_search);
		r.gpr[RDI] = LOOP + 0x1000 - n;
		r.gpr[RAX] = 0xee;
		run_frame(&r);
		found &= trap.vec == 14 && trap.err == 4 && trap.cr2 == LOOP + 0x1000 &&
			 trap.rip == (u64)u_search;
		((volatile u8 *)phys(pa))[0xfff] = 0xee;
		run_frame(&r);
		found &= trap.vec == 3 && trap.gpr[RDI] == LOOP + 0xfff;
		((volatile u8 *)phys(pa))[0xfff] = 0;
		r = user_regs(u_above);
		r.gpr[RDI] = LOOP;
		r.gpr[RSI] = LOOP + 4 * n;
		r.gpr[RBX] = 0;
		run_frame(&r);
		/* Every other of these words is N, or half of the 64-bit N. */
		above &= trap.vec == 3 && trap.gpr[RDI] == LOOP + 4 * n && trap.gpr[RBX] == (n + 1) / 2 * n;
	}
	ok(filled, "a loop that fills meets the end of the page in any round");
	ok(found, "a loop that searches does");
	ok(above, "a loop that is entered in its middle");
}

void test_main(void)
{
	rounds();
	call_beyond();
	addresses();
	flags_at_ss();
	alone();
	no_effect();
	taken();
	budgets();
}
