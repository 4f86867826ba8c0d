/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loops that a translator must not leave: each goes round a hundred thousand times, through each way that code can
 * go on. What they compute is checked here; run.py checks how often the engine took part (--exits).
 */
#include "lib/guest.h"

#define ROUNDS 100000

/*
 * In RCX what is left, in RAX a count of what was passed, 11 in a round: jumps forward and back, both ways of a
 * conditional jump, a page that is entered by a jump, left by falling off it, and entered by a call, code found by
 * address, and a block that ends because it is full.
 */
#define LOOP(name, before, after)                                                 \
	"1: " before "\n"                                                         \
	"inc %rax; jmp 3f\n"                                                      \
	"2: inc %rax; jmp 4f\n"                                                   \
	"3: inc %rax; jmp 2b\n"                                                   \
	"4: test $1, %cl; jz 5f; inc %rax\n"                                      \
	"5: test $1, %cl; jnz 6f; inc %rax\n"                                     \
	"6: jmp " #name "_next\n"                                                 \
	".skip 4096 - 2, 0xcc\n" #name "_function: inc %rax; ret\n"               \
	".balign 4096\n" #name "_next: inc %rax; jmp " #name "_end_of_page\n"     \
	".skip 4096 - 11, 0xcc\n" #name "_end_of_page: nop; nop; nop; inc %rax\n" \
	"inc %rax; call " #name "_function\n"                                     \
	"lea " #name "_function(%rip), %rdx; call *%rdx\n"                        \
	"lea 7f(%rip), %rdx; jmp *%rdx\n"                                         \
	"7: inc %rax\n"                                                           \
	".rept 40; nop; .endr\n"                                                  \
	"inc %rax; push %rax; pop %rdx\n" after "\n"                              \
	"dec %rcx; jnz 1b\n"

USER_CODE(u_loop, LOOP(u_loop, "", "") "int3");
KERNEL_CODE(k_loop, LOOP(k_loop, "", "") "int3");
KERNEL_CODE(k_stac_loop, LOOP(k_stac_loop, "stac", "clac") "int3");
KERNEL_CODE(k_stac, "1: stac; inc %rax; call 3f; clac; inc %rax; test $1, %cl; jz 2f; stac; clac\n"
		    "2: dec %rcx; jnz 1b; int3\n"
		    "3: ret");

static void check(const char *name, struct regs r, u64 per_round)
{
	r.gpr[RCX] = ROUNDS;
	r.gpr[RAX] = 0;
	run_frame(&r);
	ok(trap.vec == 3 && trap.gpr[RAX] == ROUNDS * per_round, "%s: vector %d, count %d", name, trap.vec,
	   trap.gpr[RAX]);
}

static void all(const char *name)
{
	print("# %s\n", name);
	check("user loop", user_regs(u_loop), 11);
	check("kernel loop", kernel_regs(k_loop), 11);
	if (!has7b(20)) {
		skip("no SMAP");
		return;
	}
	write_cr4(read_cr4() | CR4_SMAP);
	check("kernel loop between STAC and CLAC", kernel_regs(k_stac_loop), 11);
	check("STAC and CLAC", kernel_regs(k_stac), 2);
	write_cr4(read_cr4() & ~CR4_SMAP);
}

void test_main(void)
{
	all("pages of one address space");
	for (unsigned i = 0; i < 4; i++)
		boot_pd[i] |= PTE_G;
	write_cr4(read_cr4() | CR4_PGE);
	flush_tlb();
	all("global pages");
}
