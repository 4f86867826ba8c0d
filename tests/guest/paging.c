/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page faults and their error codes, accessed and dirty bits, NX, SMEP, SMAP,
 * WP, accesses and instructions across page borders, INVLPG, global and large
 * pages, PCID.
 */
#include "lib/guest.h"

#define VA 0x8000000000ull /* PML4 entry 1: ours */

/* rdi: where; one instruction each, then INT3 */
USER_CODE(u_read, "mov (%rdi), %eax; int3");
USER_CODE(u_write, "mov %eax, (%rdi); int3");
USER_CODE(u_rmw, "addl $1, (%rdi); int3");
USER_CODE(u_cmpxchg, "lock cmpxchg %ecx, (%rdi); int3");
USER_CODE(u_jump, "jmp *%rdi");
USER_CODE(u_read16, "mov (%rdi), %ax; int3");
USER_CODE(u_write8, "mov %rax, (%rdi); int3");
USER_CODE(u_push, "push %rax; int3");
USER_CODE(u_movs, "rep movsb; int3");
USER_CODE(u_prefetch, "prefetcht0 (%rdi); int3");
USER_CODE(u_cmpxchg16b, "lock cmpxchg16b (%rdi); int3");
KERNEL_CODE(k_read, "mov (%rdi), %eax; int3");
KERNEL_CODE(k_write, "mov %eax, (%rdi); int3");
KERNEL_CODE(k_jump, "jmp *%rdi");
KERNEL_CODE(k_stac_read, "stac; mov (%rdi), %eax; clac; int3");

static void user(const void *code, u64 rdi)
{
	struct regs r = user_regs(code);

	r.gpr[RDI] = rdi;
	run_frame(&r);
}

static void kernel(const void *code, u64 rdi)
{
	struct regs r = kernel_regs(code);

	r.gpr[RDI] = rdi;
	run_frame(&r);
}

static void faults(void)
{
	u64 pa = alloc_page();

	user(u_read, VA + 0x10);
	expect_pf("user read, not present", 4, VA + 0x10);
	user(u_write, VA + 0x10);
	expect_pf("user write, not present", 6, VA + 0x10);
	user(u_rmw, VA + 0x10);
	tcg_is_wrong();
	expect_pf("user read-modify-write, not present: a write", 6, VA + 0x10);
	user(u_jump, VA + 0x10);
	expect_pf("user fetch, not present", 0x14, VA + 0x10);
	ok(trap.rip == VA + 0x10, "fetch fault reports the target as RIP");
	kernel(k_read, VA + 0x10);
	expect_pf("kernel read, not present", 0, VA + 0x10);
	kernel(k_write, VA + 0x10);
	expect_pf("kernel write, not present", 2, VA + 0x10);

	map_page(VA, pa, PTE_P | PTE_W);
	user(u_read, VA);
	expect_pf("user read of a supervisor page", 5, VA);
	user(u_write, VA);
	expect_pf("user write of a supervisor page", 7, VA);
	user(u_jump, VA);
	expect_pf("user fetch from a supervisor page", 0x15, VA);
	map_page(VA, pa, PTE_P | PTE_U);
	user(u_read, VA);
	expect_trap("user read of a read-only page", 3, 0);
	user(u_write, VA);
	expect_pf("user write of a read-only page", 7, VA);
	user(u_cmpxchg, VA);
	expect_pf("CMPXCHG that would not write still faults", 7, VA);
	map_page(VA, pa, PTE_P | PTE_U | PTE_W | PTE_NX);
	user(u_jump, VA);
	expect_pf("fetch from a page with NX", 0x15, VA);
	user(u_write, VA);
	expect_trap("write to a page with NX", 3, 0);
	map_page(VA, pa | 1ull << 51, PTE_P | PTE_U | PTE_W);
	user(u_read, VA);
	tcg_is_wrong();
	expect_pf("reserved bit in an entry", 0xd, VA);
	user(u_write, VA);
	tcg_is_wrong();
	expect_pf("reserved bit, write", 0xf, VA);
	map_page(VA, pa, PTE_P | PTE_U | PTE_W);
	user(u_prefetch, VA + 0x5000);
	expect_trap("PREFETCH does not fault", 3, 0);

	/* upper levels restrict */
	*pte_of(VA, 1) &= ~PTE_W;
	flush_tlb();
	user(u_write, VA);
	expect_pf("page directory entry without W", 7, VA);
	*pte_of(VA, 1) = (*pte_of(VA, 1) | PTE_W) & ~PTE_U;
	flush_tlb();
	user(u_read, VA);
	expect_pf("page directory entry without U", 5, VA);
	*pte_of(VA, 1) |= PTE_U;
	*pte_of(VA, 3) |= PTE_NX;
	flush_tlb();
	user(u_jump, VA);
	expect_pf("PML4 entry with NX", 0x15, VA);
	*pte_of(VA, 3) &= ~PTE_NX;
	flush_tlb();

	user(u_read, 0x800000000000ull);
	expect_trap("non-canonical address: #GP", 13, 0);
	{
		struct regs r = user_regs(u_push);

		r.gpr[RSP] = 0x900000000000ull;
		run_frame(&r);
		tcg_is_wrong();
		expect_trap("non-canonical stack: #SS", 12, 0);
		r.gpr[RSP] = VA + 0x5008;
		run_frame(&r);
		expect_pf("push to a page that is not there", 6, VA + 0x5000);
		ok(trap.gpr[RSP] == VA + 0x5008, "push that faults leaves RSP alone");
	}
	user(u_read, 0xffff900000000000ull);
	expect_pf("kernel half, not mapped", 4, 0xffff900000000000ull);
}

static void accessed_dirty(void)
{
	u64 pa = alloc_page(), va = VA + 0x10000;
	u64 *e = map_page(va, pa, PTE_P | PTE_U | PTE_W);

	ok(!(*e & (PTE_A | PTE_D)), "A and D clear at first");
	user(u_prefetch, va + 0x1000);
	user(u_read, va);
	ok((*e & (PTE_A | PTE_D)) == PTE_A, "read sets A only");
	user(u_write, va);
	ok((*e & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "write behind a read sets D");
	*e &= ~(PTE_A | PTE_D);
	invlpg(va);
	user(u_write, va);
	ok((*e & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "write sets A and D");
	*e &= ~PTE_D;
	invlpg(va);
	user(u_write, va);
	ok(*e & PTE_D, "D set again after it was cleared and INVLPG");
	*e &= ~(PTE_A | PTE_D | PTE_W);
	invlpg(va);
	user(u_write, va);
	ok(!(*e & PTE_D), "a write that faults does not set D");
	*e |= PTE_W;
	invlpg(va);
	*e &= ~(PTE_A | PTE_D);
	invlpg(va);
	user(u_rmw, va);
	ok((*e & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "read-modify-write sets A and D");
	*pte_of(va, 1) &= ~PTE_A;
	*pte_of(va, 2) &= ~PTE_A;
	*pte_of(va, 3) &= ~PTE_A;
	flush_tlb();
	user(u_read, va);
	ok(*pte_of(va, 1) & *pte_of(va, 2) & *pte_of(va, 3) & PTE_A, "A set in the upper levels");
	*(u8 *)phys(pa) = 0xcc;
	e = map_page(va, pa, PTE_P | PTE_U);
	user(u_jump, va);
	ok(trap.vec == 3 && (*e & (PTE_A | PTE_D)) == PTE_A, "fetch sets A");
}

static void write_protect(void)
{
	u64 pa = alloc_page(), va = VA + 0x20000;

	map_page(va, pa, PTE_P);
	kernel(k_write, va);
	expect_pf("WP: kernel write to a read-only page", 3, va);
	write_cr0(read_cr0() & ~CR0_WP);
	kernel(k_write, va);
	expect_trap("WP clear: kernel writes", 3, 0);
	write_cr0(read_cr0() | CR0_WP);
	kernel(k_write, va);
	expect_pf("WP set again", 3, va);
	write_cr0(read_cr0() & ~CR0_WP);
	map_page(va, pa, PTE_P | PTE_U);
	user(u_write, va);
	expect_pf("WP clear does not help user mode", 7, va);
	write_cr0(read_cr0() | CR0_WP);
}

static void smep_smap(void)
{
	u64 pa = alloc_page(), va = VA + 0x30000;

	*(u8 *)phys(pa) = 0xcc;
	map_page(va, pa, PTE_P | PTE_U | PTE_W);
	kernel(k_jump, va);
	expect_trap("kernel may execute a user page without SMEP", 3, 0);
	if (has7b(7)) {
		write_cr4(read_cr4() | CR4_SMEP);
		kernel(k_jump, va);
		expect_pf("SMEP: kernel fetch from a user page", 0x11, va);
		write_cr4(read_cr4() & ~CR4_SMEP);
		kernel(k_jump, va);
		expect_trap("SMEP off again", 3, 0);
	} else {
		skip("no SMEP");
	}
	if (!has7b(20)) {
		skip("no SMAP");
		return;
	}
	kernel(k_read, va);
	expect_trap("kernel may read a user page without SMAP", 3, 0);
	write_cr4(read_cr4() | CR4_SMAP);
	kernel(k_read, va);
	expect_pf("SMAP: kernel read of a user page", 1, va);
	kernel(k_write, va);
	expect_pf("SMAP: kernel write of a user page", 3, va);
	kernel(k_stac_read, va);
	expect_trap("SMAP: STAC opens", 3, 0);
	ok(!(trap.rflags & (1u << 18)), "CLAC closed again");
	kernel(k_read, va);
	expect_pf("SMAP: closed", 1, va);
	user(u_read, va);
	expect_trap("SMAP does not concern user mode", 3, 0);
	{
		struct regs r = kernel_regs(k_read);

		r.gpr[RDI] = va;
		r.rflags |= 1u << 18;
		run_frame(&r);
		expect_trap("SMAP: AC set by IRET", 3, 0);
	}
	write_cr4(read_cr4() & ~CR4_SMAP);
}

static void crossing(void)
{
	u64 pa = alloc_page(), pb = alloc_page(), va = VA + 0x40000;
	u8 *a = phys(pa), *b = phys(pb);
	struct regs r;

	map_page(va, pa, PTE_P | PTE_U | PTE_W);
	user(u_write8, va + 0xffc);
	expect_pf("write across into a missing page", 6, va + 0x1000);
	ok(*(u32 *)(a + 0xffc) == 0, "nothing written of it");
	user(u_read, va + 0xffe);
	expect_pf("read across into a missing page", 4, va + 0x1000);
	map_page(va + 0x1000, pb, PTE_P | PTE_U);
	r = user_regs(u_write8);
	r.gpr[RDI] = va + 0xffd;
	r.gpr[RAX] = ~0ull;
	run_frame(&r);
	expect_pf("write across into a read-only page", 7, va + 0x1000);
	ok(*(u32 *)(a + 0xffc) == 0, "nothing written of it, either");
	map_page(va + 0x1000, pb, PTE_P | PTE_U | PTE_W);
	r.gpr[RAX] = 0x1122334455667788;
	run_frame(&r);
	ok(trap.vec == 3 && a[0xffd] == 0x88 && a[0xfff] == 0x66 && b[0] == 0x55 && b[4] == 0x11,
	   "write across two pages that are not neighbours in RAM");
	r.rip = (uintptr_t)u_rmw;
	r.gpr[RDI] = va + 0xffd;
	run_frame(&r);
	ok(trap.vec == 3 && a[0xffd] == 0x89, "read-modify-write across");
	r = user_regs(u_cmpxchg);
	r.gpr[RDI] = va + 0xffe;
	r.gpr[RAX] = *(u16 *)(a + 0xffe) | (u64) * (u16 *)b << 16;
	r.gpr[RCX] = 0xcafebabe;
	run_frame(&r);
	ok(trap.vec == 3 && *(u16 *)(a + 0xffe) == 0xbabe && *(u16 *)b == 0xcafe, "locked CMPXCHG across");
	map_page(va - 0x1000, 0, 0);
	user(u_read, va - 2);
	expect_pf("first page missing: reported first", 4, va - 2);
	user(u_cmpxchg16b, va + 0x18);
	expect_trap("CMPXCHG16B wants alignment", 13, 0);
	/* rep movsb that runs into a hole stops there, with the registers telling how far it got */
	map_page(va + 0x2000, 0, 0);
	r = user_regs(u_movs);
	r.gpr[RSI] = va;
	r.gpr[RDI] = va + 0x1f00;
	r.gpr[RCX] = 0x300;
	run_frame(&r);
	expect_pf("REP MOVSB into a missing page", 6, va + 0x2000);
	ok(trap.gpr[RCX] == 0x200 && trap.gpr[RDI] == va + 0x2000 && trap.gpr[RSI] == va + 0x100,
	   "RCX, RSI and RDI tell how far it got");
}

/* An instruction on the border of two pages. */
static void straddling_code(void)
{
	static const u8 code[] = { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xcc }; /* mov $..., %rax; int3 */
	u64 pa = alloc_page(), pb = alloc_page(), va = VA + 0x50000;

	for (unsigned i = 0; i < sizeof(code); i++)
		*((u8 *)phys(i < 5 ? pa + 0xffb : pb - 5) + i) = code[i];
	map_page(va, pa, PTE_P | PTE_U);
	user(u_jump, va + 0xffb);
	expect_pf("instruction continues on a missing page", 0x14, va + 0x1000);
	ok(trap.rip == va + 0xffb, "RIP is where the instruction begins");
	map_page(va + 0x1000, pb, PTE_P | PTE_U);
	user(u_jump, va + 0xffb);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x0807060504030201, "instruction across two pages");
	map_page(va + 0x1000, pb, PTE_P | PTE_U | PTE_NX);
	user(u_jump, va + 0xffb);
	expect_pf("second page gets NX", 0x15, va + 0x1000);
	map_page(va + 0x1000, alloc_page(), PTE_P | PTE_U);
	user(u_jump, va + 0xffb);
	ok(trap.gpr[RAX] == 0x0000000000030201, "second page remapped: other bytes");
	/* A fault on the second page comes only after what stands before on the first. */
	map_page(va + 0x1000, 0, 0);
	user(u_jump, va + 0xffb);
	expect_pf("second page gone", 0x14, va + 0x1000);
}

static void remapping(void)
{
	u64 pa = alloc_page(), pb = alloc_page(), va = VA + 0x60000;
	u64 *e;

	*(u32 *)phys(pa) = 0xaaaa;
	*(u32 *)phys(pb) = 0xbbbb;
	e = map_page(va, pa, PTE_P | PTE_U | PTE_W);
	user(u_read, va);
	*e = pb | PTE_P | PTE_U | PTE_W;
	invlpg(va);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xbbbb, "INVLPG");
	*e = pa | PTE_P | PTE_U | PTE_W;
	flush_tlb();
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xaaaa, "MOV to CR3");
	/* global pages outlive MOV to CR3, not CR4.PGE */
	*e = pa | PTE_P | PTE_U | PTE_W | PTE_G;
	invlpg(va);
	user(u_read, va);
	*e = pb | PTE_P | PTE_U | PTE_W | PTE_G;
	flush_tlb();
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xaaaa || trap.gpr[RAX] == 0xbbbb,
	   "global page after MOV to CR3: either is allowed");
	write_cr4(read_cr4() & ~CR4_PGE);
	write_cr4(read_cr4() | CR4_PGE);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xbbbb, "toggling CR4.PGE flushes global pages");
	*e = pa | PTE_P | PTE_U | PTE_W | PTE_G;
	invlpg(va);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xaaaa, "INVLPG of a global page");
	/* filled anew, by a write, as a page that is not global */
	*e = pa | PTE_P | PTE_U | PTE_W | PTE_G;
	invlpg(va);
	user(u_read, va);
	*e = pa | PTE_P | PTE_U | PTE_W;
	user(u_write, va);
	*e = pb | PTE_P | PTE_U | PTE_W;
	flush_tlb();
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xbbbb, "a global page that has become local");
	*(u32 *)phys(pa) = 0xaaaa;
	/* from not present to present no flush is needed */
	*e = 0;
	invlpg(va);
	user(u_read, va);
	ok(trap.vec == 14, "unmapped");
	*e = pb | PTE_P | PTE_U | PTE_W;
	user(u_read, va);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0xbbbb, "mapped without a flush: seen");
	/* code */
	*(u8 *)phys(pa) = 0xcc;
	*(u8 *)phys(pb) = 0x90;
	*((u8 *)phys(pb) + 1) = 0xcc;
	*e = pa | PTE_P | PTE_U;
	invlpg(va);
	user(u_jump, va);
	ok(trap.vec == 3 && trap.rip == va + 1, "code on page A");
	*e = pb | PTE_P | PTE_U;
	invlpg(va);
	user(u_jump, va);
	ok(trap.vec == 3 && trap.rip == va + 2, "code on page B at the same address");
	flush_tlb();
	*e = pa | PTE_P | PTE_U;
	flush_tlb();
	user(u_jump, va);
	ok(trap.vec == 3 && trap.rip == va + 1, "code on page A again");
}

static void large_pages(void)
{
	u64 big = alloc_aligned(4 << 20), va = VA + (1ull << 30);
	u64 *e;
	u32 r[4];

	map_page(va, big, PTE_P); /* makes the upper levels */
	e = pte_of(va, 1);
	*e = big | PTE_P | PTE_W | PTE_U | PTE_PS;
	flush_tlb();
	*(u32 *)phys(big + 0x12345c) = 0x1234;
	user(u_read, va + 0x12345c);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x1234 && (*e & (PTE_A | PTE_D)) == PTE_A, "2M page: read, A");
	user(u_write, va + 0x1ff000);
	ok(trap.vec == 3 && (*e & PTE_D), "2M page: write, D");
	*e = (big + (2 << 20)) | PTE_P | PTE_W | PTE_U | PTE_PS;
	invlpg(va + 0x7000);
	user(u_read, va + 0x12345c);
	ok(trap.gpr[RAX] == 0, "INVLPG anywhere in a 2M page flushes all of it");
	*e = big | PTE_P | PTE_U | PTE_PS;
	flush_tlb();
	*(u32 *)phys(big + (2 << 20) + 0x12345c) = 0x5678;
	user(u_read, va + 0x12345c);
	user(u_write, va);
	expect_pf("2M page: copy on write", 7, va);
	*e = (big + (2 << 20)) | PTE_P | PTE_W | PTE_U | PTE_PS;
	user(u_read, va + 0x12345c);
	ok(trap.gpr[RAX] == 0x5678, "... all of it is new after the fault");
	*e = big | PTE_P | PTE_W | PTE_U | PTE_PS | 1 << 13;
	flush_tlb();
	user(u_read, va);
	tcg_is_wrong();
	expect_pf("2M page with a reserved bit", 0xd, va);
	*e = big | PTE_P | PTE_U | PTE_PS | PTE_NX;
	flush_tlb();
	user(u_write, va + 8);
	expect_pf("2M page, read-only", 7, va + 8);
	user(u_jump, va);
	expect_pf("2M page, NX", 0x15, va);
	cpuid(0x80000001, 0, r);
	if (!(r[3] >> 26 & 1)) {
		skip("no 1G pages");
		return;
	}
	va = VA + (2ull << 30);
	e = pte_of(va, 2);
	*e = 0 | PTE_P | PTE_W | PTE_U | PTE_PS;
	flush_tlb();
	user(u_read, va + big + 0x12345c);
	ok(trap.vec == 3 && trap.gpr[RAX] == 0x1234 && (*e & PTE_A), "1G page");
}

KERNEL_CODE(k_invpcid, "invpcid (%rdi), %rax; int3");

/* mov $@value, %eax; int3 */
static void mov_int3(u64 pa, u32 value)
{
	volatile u8 *p = phys(pa);

	p[0] = 0xb8;
	for (unsigned i = 0; i < 4; i++)
		p[1 + i] = (u8)(value >> (8 * i));
	p[5] = 0xcc;
}

/*
 * Two address spaces that differ in one page of code and one of data (here by changes to the
 * only page tables, which nobody looks at while the TLB has what it needs). Each keeps its
 * own while the guest goes to and fro, and code that has been changed meanwhile runs as it is now.
 */
static void pcid_spaces(u64 cr3)
{
	const u64 keep = 1ull << 63, code_va = VA + 0x71000, data_va = VA + 0x72000,
		  rwx = PTE_P | PTE_U | PTE_W;
	u64 code_pa[2] = { alloc_page(), alloc_page() }, data_pa[2] = { alloc_page(), alloc_page() };
	u64 *code = map_page(code_va, code_pa[0], rwx), *data = map_page(data_va, data_pa[0], rwx);
	bool good = true;
	struct regs r;

	for (u32 round = 0; round < 40; round++) {
		unsigned s = round & 1;
		u32 value = round / 4 + 100 * s;

		*code = code_pa[s] | rwx;
		*data = data_pa[s] | rwx;
		write_cr3(cr3 | (1 + s) | (round < 2 ? 0 : keep));
		/* By the other mapping, while the space that has run it is the current one, or is not. */
		if (round % 4 < 2)
			mov_int3(code_pa[round % 8 < 4 ? s : !s],
				 round % 8 < 4 ? value : value + 100 - 200 * s);
		if (round >= 8)
			good &= *(volatile u32 *)phys(data_pa[s]) == round - 2;
		user(u_jump, code_va);
		if (round >= 8 && round % 8 < 2)
			good &= trap.gpr[RAX] == value;
		r = user_regs(u_write);
		r.gpr[RDI] = data_va;
		r.gpr[RAX] = round;
		run_frame(&r);
		good &= *(volatile u32 *)phys(data_pa[s]) == round;
	}
	ok(good, "address spaces keep their pages apart");

	/* A page that one space may write becomes code in the other. */
	mov_int3(data_pa[0], 1);
	for (u32 round = 1; round < 6; round++) {
		*data = data_pa[0] | rwx;
		write_cr3(cr3 | 1 | keep);
		r = user_regs(u_write8);
		r.gpr[RDI] = data_va;
		r.gpr[RAX] = 0xb8 | (u64)round << 8 | 0xccull << 40;
		run_frame(&r);
		*code = data_pa[0] | rwx;
		write_cr3(cr3 | 3 | (round == 1 ? 0 : keep));
		user(u_jump, code_va);
		ok(trap.gpr[RAX] == round, "code written in another address space: %x", trap.gpr[RAX]);
	}
}

/* INVLPG takes a global page from all PCIDs (SDM vol. 3, 4.10.4.1): also one that was only executed, in user space. */
static void pcid_global_code(u64 cr3, u64 va)
{
	const u64 keep = 1ull << 63, flags = PTE_P | PTE_U | PTE_G;
	u64 pa[2] = { alloc_page(), alloc_page() };
	u64 *e = map_page(va, pa[0], flags);

	mov_int3(pa[0], 1);
	mov_int3(pa[1], 2);
	write_cr4(read_cr4() | CR4_PGE);
	write_cr3(cr3 | 2);
	write_cr3(cr3 | 1);
	for (u32 i = 0; i < 4; i++)
		user(u_jump, va);
	ok(trap.gpr[RAX] == 1, "global code of user space");
	write_cr3(cr3 | 2 | keep);
	*e = pa[1] | flags;
	invlpg(va);
	write_cr3(cr3 | 1 | keep);
	user(u_jump, va);
	ok(trap.gpr[RAX] == 2, "... taken by INVLPG in another PCID: %x", trap.gpr[RAX]);
	*e = 0;
	invlpg(va);
}

static void pcid(void)
{
	u64 pa = alloc_page(), pb = alloc_page(), va = VA + 0x70000, cr3 = read_cr3() & ~0xfffull;
	struct {
		u64 pcid, addr;
	} desc = { 1, va };
	struct regs r = kernel_regs(k_invpcid);
	u64 *e;

	if (!has1c(17)) {
		skip("no PCID");
		return;
	}
	*(u32 *)phys(pa) = 0xaaaa;
	*(u32 *)phys(pb) = 0xbbbb;
	e = map_page(va, pa, PTE_P | PTE_U | PTE_W);
	write_cr4(read_cr4() | CR4_PCIDE);
	write_cr3(cr3 | 1);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xaaaa, "PCID 1");
	*e = pb | PTE_P | PTE_U | PTE_W;
	write_cr3(cr3 | 2);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xbbbb, "PCID 2, flushed by MOV to CR3: sees the new page");
	write_cr3(cr3 | 1); /* flushes PCID 1 */
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xbbbb, "back to PCID 1 with a flush");
	*e = pa | PTE_P | PTE_U | PTE_W;
	write_cr3(cr3 | 1 | 1ull << 63);
	invlpg(va);
	user(u_read, va);
	ok(trap.gpr[RAX] == 0xaaaa, "INVLPG in the current PCID");
	if (has7b(10)) {
		*e = pb | PTE_P | PTE_U | PTE_W;
		write_cr3(cr3 | 2 | 1ull << 63);
		r.gpr[RDI] = (uintptr_t)&desc;
		r.gpr[RAX] = 0;
		run_frame(&r);
		expect_trap("INVPCID type 0", 3, 0);
		write_cr3(cr3 | 1 | 1ull << 63);
		user(u_read, va);
		ok(trap.gpr[RAX] == 0xbbbb, "INVPCID flushed one address of PCID 1");
		*e = pa | PTE_P | PTE_U | PTE_W;
		r.gpr[RAX] = 2;
		run_frame(&r);
		user(u_read, va);
		ok(trap.gpr[RAX] == 0xaaaa, "INVPCID type 2 flushes everything");
		r.gpr[RAX] = 4;
		run_frame(&r);
		expect_trap("INVPCID type 4: #GP", 13, 0);
	}
	pcid_spaces(cr3);
	pcid_global_code(cr3, VA + 0x78000);
	pcid_global_code(cr3, ~0ull << 47 | (VA + 0x79000));
	write_cr3(cr3);
	write_cr4(read_cr4() & ~CR4_PCIDE);
}

void test_main(void)
{
	faults();
	accessed_dirty();
	write_protect();
	smep_smap();
	crossing();
	straddling_code();
	remapping();
	large_pages();
	pcid();
}
