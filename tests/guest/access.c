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
		ok(trap.vec == 13 && trap.err == 0 && trap.rip == va && trap.gpr[RSP] == r.gpr[RSP],
		   "call from %x beyond the canonical: %d at %x, RSP %x", va, trap.vec, trap.rip,
		   trap.gpr[RSP] - r.gpr[RSP]);
	}
}

void test_main(void)
{
	call_beyond();
	budgets();
}
