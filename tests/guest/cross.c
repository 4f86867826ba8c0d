/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User code that goes from page to page by direct jumps, calls, conditional
 * jumps and by falling off a page's end. A translator may remember where that
 * led; here the page tables change behind its back in every way that a kernel
 * has: pages remapped, taken away, and others in another address space.
 * What happens to the code itself is in code.c.
 */
#include "lib/scene.h"

static void swap_source(struct regs *r)
{
	remap(scene.spte, (*scene.spte & ADDR) == scene.source ? scene.source + 0x1000 : scene.source,
	      scene.s, how);
}

static void remapping(void)
{
	u64 cr3 = read_cr3() & ADDR;

	for (unsigned method = 0; method < METHODS; method++) {
		bool good = true;

		if (method >= PCID_METHODS && !has1c(17)) {
			skip("no PCID");
			continue;
		}
		if (method >= INVPCID0 && !has7b(10)) {
			skip("no INVPCID");
			continue;
		}
		if (method == PCID_METHODS) {
			write_cr4(read_cr4() | CR4_PCIDE);
			write_cr3(cr3 | 5);
		}
		for (unsigned kind = 0; kind < KINDS; kind++) {
			good = good && remapped(kind, method, 0, new_va());
			if (method <= NOT_PRESENT || method == TOGGLE_PGE || method == PCID_INVLPG ||
			    method == INVPCID2)
				good = good && remapped(kind, method, PTE_G, new_va());
		}
		ok(good, "target remapped: %s%s", method_name[method], pass);
	}
	if (has1c(17)) {
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
	}
}

/* Another source page, which counts differently, leads to the same target. */
static void source_remapped(void)
{
	bool good = true;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct scene c = new_scene(kind);
		u64 both = alloc_aligned(0x2000);

		/* The second source adds RCX as well, or subtracts. */
		copy_page(both, phys(c.source));
		copy_page(both + 0x1000, phys(c.source));
		if (kind == PLAIN || kind == END_NOT)
			copy_code(both + 0x1ff0, "\x48\x01\xcb\x90\x90\x90\x90\x90\x90\x90",
				  10); /* add %rcx, %rbx */
		else
			*(volatile u8 *)phys(both + 0x1000 + BACK(kind) + 1) = 0x29; /* sub %rax, %rbx */
		c.source = both;
		retarget(c.spte, both);
		invlpg(c.s);
		scene = c;
		for (unsigned i = 0; i < 8 && good; i++) {
			bool second = i & 1;
			struct regs r;

			how = i & 2 ? MOV_CR3 : INVLPG;
			for (u64 n = 1; n < 80; n += 39) {
				r = loop_regs(c.s, kind, n);
				run_frame(&r);
				/* ADD RCX changes the carry: JC is not taken all the same. */
				good = good && looped(c.s, kind, n,
						      !second ? n * c.value[0]
						      : kind == PLAIN || kind == END_NOT
							      ? n * c.value[0] + n * (n + 1) / 2
							      : -n * c.value[0]);
			}
			swap_source(NULL);
		}
	}
	ok(good, "source remapped%s", pass);
}

/* Pages of 2M, of which all is new */
static void large(void)
{
	u64 big = alloc_aligned(4 << 20), va = (new_va() + 0x3fffff) & ~0x1fffffull;
	bool good = true;
	u64 *e;

	for (unsigned i = 0; i < 2; i++) {
		copy_page(big + (i << 21), cross_source);
		copy_page(big + (i << 21) + 0x1000, cross_target);
		set_value(big + (i << 21) + 0x1000, 100 + i);
	}
	map_page(va, 0, 0);
	e = pte_of(va, 1);
	for (unsigned i = 0; i < 6; i++) {
		*e = (big + ((i & 1) << 21)) | RWX | PTE_PS;
		if (i & 2)
			flush_tlb();
		else
			invlpg(va + 0x1f0000);
		for (unsigned kind = 0; kind < PLAIN; kind++)
			good = good && run_often(va, kind, 100 + (i & 1));
	}
	tcg_is_wrong(); /* it finds translated code by what INVLPG does not take of a large page */
	ok(good, "2M page remapped%s", pass);
	*e = 0;
	invlpg(va);
}

/* ---- the target's page is not there ---- */

static u64 allowed;

static void on_fault(struct regs *r)
{
	calls++;
	*scene.tpte = allowed;
}

static void take_away(struct regs *r)
{
	*scene.tpte ^= how == 0 ? PTE_P : how == 1 ? PTE_NX : PTE_U;
	invlpg(scene.t);
}

static void taken_away(void)
{
	static const char *const name[] = { "not present", "NX", "the supervisor's" };

	for (unsigned what = 0; what < 3; what++) {
		bool good = true;

		how = what;
		for (unsigned kind = 0; kind < KINDS; kind++) {
			struct scene c = new_scene(kind);
			u64 err = what ? 0x15 : 0x14;

			scene = c;
			good = good && run_often(c.s, kind, c.value[0]);
			allowed = *c.tpte;
			for (unsigned i = 0; i < 4; i++) {
				take_away(NULL);
				good = good && faults(c.s, kind, err) && faults(c.s, kind, err);
				*c.tpte = allowed;
				if (i & 1)
					invlpg(c.t); /* not needed: the fault took what was remembered */
				good = good && run_often(c.s, kind, c.value[0]);
			}
			/* The handler brings it back, and the loop goes on; then with other code. */
			hooks[14] = on_fault;
			for (unsigned i = 0; i < 6; i++) {
				allowed = (*c.tpte & ~ADDR) | c.target[!(i & 1)];
				good = good && run_and(c.s, kind, false, take_away, c.value[i & 1],
						       c.value[!(i & 1)], 2);
			}
			hooks[14] = NULL;
		}
		ok(good, "target becomes %s%s", name[what], pass);
	}
}

/* ---- what else a page table does ---- */

/* Another page table; the accessed bit, which a walk sets again; what a fault takes without INVLPG. */
static void page_tables(void)
{
	bool tables = true, accessed = true, copied = true;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct scene c = new_scene(kind);
		u64 *pde = pte_of(c.t, 1), old = *pde, other = alloc_page();
		struct regs r = user_regs(cross_store);

		copy_page(other, phys(old & ADDR));
		*(u64 *)phys(other + (c.t >> 12 & 511) * 8) = c.target[1] | RWX;
		for (unsigned i = 0; i < 6; i++) {
			tables = tables && run_often(c.s, kind, c.value[i & 1]);
			*pde = i & 1 ? old : (old & ~ADDR) | other;
			if (i & 2)
				flush_tlb();
			else
				invlpg(c.t);
		}
		for (unsigned i = 0; i < 6; i++) {
			*c.tpte &= ~PTE_A;
			if (i & 1)
				flush_tlb();
			else
				invlpg(c.t);
			accessed = accessed && run(c.s, kind, 1, c.value[0]) && (*c.tpte & PTE_A) &&
				   run_often(c.s, kind, c.value[0]);
		}
		for (unsigned i = 0; i < 6; i++) {
			*c.tpte &= ~PTE_W;
			invlpg(c.t);
			copied = copied && run_often(c.s, kind, c.value[i & 1]);
			r = i & 2 ? kernel_regs(cross_store) : user_regs(cross_store);
			r.gpr[RDI] = c.t + 0xff0;
			run_frame(&r);
			copied = copied && trap.vec == 14 && trap.err == (i & 2 ? 3 : 7);
			*c.tpte = c.target[!(i & 1)] | RWX;
			copied = copied && run_often(c.s, kind, c.value[!(i & 1)]);
		}
	}
	ok(tables, "another page table%s", pass);
	ok(accessed, "accessed bit of the target%s", pass);
	tcg_is_wrong();
	ok(copied, "target copied on write%s", pass);
}

/* ---- address spaces ---- */

static u64 spaces[2];
static unsigned current, period, turn;

/* Another address space, with the same low 512G */
static u64 new_space(void)
{
	u64 pa = alloc_page();

	*(u64 *)phys(pa) = boot_pml4[0];
	return pa;
}

static void go_to_space(unsigned which)
{
	current = which;
	write_cr3(spaces[which]);
}

static void switch_space(struct regs *r)
{
	go_to_space(!current);
}

/* At each way out of the loop: @period times in the first space, once in the second */
static void switch_by_turns(struct regs *r)
{
	unsigned which = turn++ % (period + 1) == period;

	r->gpr[R15]--;
	if (which != current)
		go_to_space(which);
}

static bool by_turns(struct scene *c, unsigned p)
{
	struct regs r = loop_regs(c->s, c->kind, 10 * (p + 1));

	r.gpr[R15] = 10 * (p + 1);
	action = switch_by_turns;
	period = p;
	turn = 0;
	run_frame(&r);
	return looped(c->s, c->kind, 10 * (p + 1), 10 * (p * c->value[0] + c->value[1]));
}

/* The same source, at the same address, in two spaces that differ in the target */
static bool shared_source(unsigned kind, unsigned p, bool pcid)
{
	struct scene c;
	bool good = true;
	u64 *pte[2];

	go_to_space(0);
	c = new_scene(kind);
	pte[0] = c.tpte;
	go_to_space(1);
	map_page(c.s, c.source, RWX);
	pte[1] = map_page(c.t, c.target[1], RWX);
	for (unsigned i = 0; i < 202; i++) {
		go_to_space(i % (p + 1) == p);
		good = good && run(c.s, kind, i % 50 == 0 ? 60 : 1 + i % 3, c.value[current]);
	}
	for (unsigned i = 0; i < 12; i++) {
		unsigned from = current;

		good = good && run_and(c.s, kind, i % 3 == 0, switch_space, c.value[from], c.value[!from], 1);
	}
	good = good && by_turns(&c, p) && by_turns(&c, p);
	/* The kernel changes the second space's target from the first: its code, then its page. */
	for (unsigned i = 0; i < 6; i++) {
		go_to_space(1);
		good = good && run_often(c.s, kind, c.value[1]);
		go_to_space(0);
		good = good && run_often(c.s, kind, c.value[0]);
		c.value[1] += 0x100000;
		if (i & 1) {
			c.target[1] = new_target(c.value[1]);
			retarget(pte[1], c.target[1]);
			if (pcid && i == 1)
				invpcid(0, spaces[1] & 0xfff, c.t);
			else if (pcid && i == 3)
				invpcid(1, spaces[1] & 0xfff, 0);
			else if (pcid)
				write_cr3(spaces[1] & ~KEEP);
		} else {
			set_value(c.target[1], c.value[1]);
		}
	}
	go_to_space(1);
	return good && run_often(c.s, kind, c.value[1]);
}

/* ---- what a PCID has kept ---- */

/* INVLPG takes a global page from all PCIDs. */
static bool global_elsewhere(unsigned kind, u64 va)
{
	struct scene c;
	bool good = true;

	go_to_space(0);
	c = new_scene_at(kind, va);
	*c.tpte |= PTE_G;
	for (unsigned i = 0; i < 6; i++) {
		go_to_space(0);
		good = good && run_often(c.s, kind, c.value[i & 1]);
		go_to_space(1);
		retarget(c.tpte, c.target[!(i & 1)]);
		invlpg(c.t);
	}
	*c.tpte = 0;
	invlpg(c.t);
	return good;
}

/*
 * While the second space is current, the first's target is written, so that nothing remembered of it is worth
 * anything, and other pages are executed for the first time, which may get its place in tables; one of them
 * where the first space has its own.
 */
static bool recycled(unsigned kind)
{
	struct scene c;
	bool good = true;
	u64 *pte;

	go_to_space(0);
	c = new_scene(kind);
	go_to_space(1);
	map_page(c.s, c.source, RWX);
	pte = map_page(c.t, c.target[1], RWX);
	for (unsigned i = 0; i < 6; i++) {
		go_to_space(0);
		good = good && run_often(c.s, kind, c.value[0]);
		go_to_space(1);
		copy_page(c.target[0], cross_source);
		copy_page(c.target[0], cross_target);
		set_value(c.target[0], c.value[0] += 0x100000);
		c.value[1] += 0x200000;
		retarget(pte, new_target(c.value[1]));
		invlpg(c.t);
		good = good && run_often(c.s, kind, c.value[1]);
	}
	return good;
}

static void address_spaces(bool pcid)
{
	u64 cr3 = read_cr3() & ADDR;

	if (pcid && (!has1c(17) || !has7b(10))) {
		skip("no PCID");
		return;
	}
	spaces[0] = new_space();
	spaces[1] = new_space();
	if (pcid) {
		write_cr4(read_cr4() | CR4_PCIDE);
		spaces[0] |= 1;
		spaces[1] |= 2;
		write_cr3(spaces[0]);
		write_cr3(spaces[1]);
		spaces[0] |= KEEP;
		spaces[1] |= KEEP;
	}
	for (unsigned p = 1; p <= 100; p += 99) {
		bool good = true;

		for (unsigned kind = 0; kind < KINDS; kind++)
			good = good && shared_source(kind, p, pcid);
		ok(good, "two address spaces%s, %d:1%s", pcid ? " with PCIDs" : "", (u64)p, pass);
	}
	if (pcid) {
		bool good = true;

		/* A PCID that another space gets, with bit 63 clear */
		for (unsigned kind = 0; kind < KINDS; kind++) {
			struct scene c;

			write_cr3((spaces[0] & ADDR) | 7);
			c = new_scene(kind);
			write_cr3((spaces[1] & ADDR) | 7);
			map_page(c.s, c.source, RWX);
			map_page(c.t, c.target[1], RWX);
			for (unsigned i = 0; i < 20; i++) {
				write_cr3((spaces[i & 1] & ADDR) | 7);
				good = good && run_often(c.s, kind, c.value[i & 1]);
			}
		}
		ok(good, "two address spaces with one PCID%s", pass);
		good = true;
		for (unsigned kind = 0; kind < KINDS; kind++)
			good = good && recycled(kind);
		ok(good, "code that is new, while a PCID is kept%s", pass);
		spaces[1] = (spaces[0] & ~0xfffull) | 3 | KEEP;
		invpcid(2, 0, 0);
		write_cr3(spaces[1] & ~KEEP);
		good = true;
		for (unsigned kind = 0; kind < KINDS; kind++)
			good = good && global_elsewhere(kind, ~0ull << 47 | new_va());
		for (unsigned kind = 0; kind < KINDS; kind++)
			good = good && global_elsewhere(kind, new_va());
		ok(good, "global target, INVLPG in another PCID%s", pass);
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
	}
	write_cr3(cr3);
}

void everything(void)
{
	remapping();
	source_remapped();
	large();
	taken_away();
	page_tables();
	address_spaces(false);
	address_spaces(true);
}
