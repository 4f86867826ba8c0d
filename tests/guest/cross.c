/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User code that goes from page to page by direct jumps, calls, conditional
 * jumps and by falling off a page's end. A translator may remember where that
 * led; here the pages change behind its back in every way that a kernel has:
 * remapped, taken away, written, shared between address spaces, mapped twice.
 *
 * A scene is a source page with one loop for each kind of way out, and behind
 * it in the address space a target page that says who it is (an immediate),
 * where it is (RIP) and where it was called from. Their bytes do not depend on
 * where they are mapped. All of it is done with and without timer interrupts,
 * which tell some translators what is hot.
 */
#include "lib/guest.h"

#define VA      0x8000000000ull /* PML4 entry 1: each address space has its own */
#define ADDR    0x000ffffffffff000ull
#define RWX     (PTE_P | PTE_W | PTE_U)
#define KEEP    (1ull << 63)
#define APIC    0xfee00000ull
#define TIMER   0x40
#define SYSCALL 0x80

/* END: JC at the end of the page, taken, not taken. PLAIN: NOPs there. */
enum { CALL, JMP, JCC, END_TAKEN, END_NOT, PLAIN, KINDS };

static const char *const kind_name[] = { "CALL", "JMP", "Jcc", "Jcc at the end", "Jcc not taken", "no jump" };

/* Offsets in the source page: the loop of a kind, and where its target comes back to */
#define LOOP(kind) ((kind)*0x80)
#define BACK(kind) ((kind)*0x80 + 0x20)
/* Offset in the target page; what falls through arrives at 0 */
#define TARGET(kind) (0x100 + (kind)*0x80)

/*
 * The source: RCX times the way out, then RBX += RAX. Where RCX is R15 the kernel is called just before. The
 * target calls it where RCX is R14, and adds up addresses in R8, return addresses in R9.
 */
/* clang-format off */
__asm__(".macro source_loop kind, way\n"
	"	.org cross_source + \\kind * 0x80\n"
	"1:	cmp %r15, %rcx; je 8f\n"
	"2:	\\way\n"
	"	.org cross_source + \\kind * 0x80 + 0x20, 0x90\n"
	"	add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
	"8:	int $0x80; jmp 2b\n"
	".endm\n"
	".macro target_code at, way\n"
	"	.org cross_target + \\at\n"
	"	mov $0x11223344, %eax; cmp %r14, %rcx; je 9f\n"
	"7:	lea 7b(%rip), %rdx; add %rdx, %r8\n"
	"	\\way\n"
	"9:	int $0x80; jmp 7b\n"
	".endm\n");
KERNEL_CODE(cross_source,
	".set behind, cross_source + 0x1000\n"
	"source_loop 0, \"call behind + 0x100\"\n"
	"source_loop 1, \"jmp behind + 0x180\"\n"
	"source_loop 2, \"test %rcx, %rcx; jnz behind + 0x200; ud2\"\n"
	"source_loop 3, \"stc; jmp cross_source + 0xff0\"\n"
	"source_loop 4, \"clc; jmp cross_source + 0xff0\"\n"
	/* The target's value is RCX, written by the user; then the same by a string instruction, from RBP. */
	".org cross_source + 0x280\n"
	"1: mov %ecx, behind + 0x101(%rip); call behind + 0x100; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
	".org cross_source + 0x2c0\n"
	"1: mov %ecx, (%rbp); mov %rbp, %rsi; lea behind + 0x101(%rip), %rdi; movsl;"
	"call behind + 0x100; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
	/* To an instruction on the border of the target's page */
	".org cross_source + 0x300\n"
	"1: call behind + 0xffd; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
	".org cross_source + 0x320\n"
	"1: test %rcx, %rcx; jnz behind + 0xffd; ud2; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
	".org cross_source + 0xff0, 0x90\n"
	".org cross_source + 0xffa, 0x90\n"
	"jc behind + 0x280\n"
	".org cross_source + 0x1000");
KERNEL_CODE(cross_target,
	"target_code 0, \"jmp cross_target - 0x1000 + 0x220\"\n"
	"target_code 0x100, \"mov (%rsp), %rsi; add %rsi, %r9; ret\"\n"
	"target_code 0x180, \"jmp cross_target - 0x1000 + 0xa0\"\n"
	"target_code 0x200, \"jmp cross_target - 0x1000 + 0x120\"\n"
	"target_code 0x280, \"jmp cross_target - 0x1000 + 0x1a0\"\n"
	".org cross_target + 0x1000");
/* clang-format on */

static u64 user_flags = 2;
static const char *pass = "";

struct scene {
	unsigned kind;
	u64 s, t; /* linear */
	u64 *spte, *tpte;
	u64 source, target[2]; /* physical */
	u64 value[2];
};

/* ---- pages ---- */

static u64 new_va(void)
{
	static u64 next = VA;

	return next += 0x40000;
}

static void copy_code(u64 pa, const char *code, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		((volatile char *)phys(pa))[i] = code[i];
}

static void copy_page(u64 pa, const char *code)
{
	copy_code(pa, code, 4096);
}

static u64 new_source(unsigned kind)
{
	u64 pa = alloc_page();

	copy_page(pa, cross_source);
	if (kind == PLAIN)
		copy_code(pa + 0xffa, "\x90\x90\x90\x90\x90\x90", 6);
	return pa;
}

static u32 target_offset(unsigned kind)
{
	return kind < END_NOT ? TARGET(kind) : 0;
}

/* The immediate of all ways into the target */
static void set_value(u64 pa, u64 value)
{
	static const u16 at[] = { 0, TARGET(CALL), TARGET(JMP), TARGET(JCC), TARGET(END_TAKEN) };

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		*(volatile u32 *)phys(pa + at[i] + 1) = (u32)value;
}

static u64 new_target(u64 value)
{
	u64 pa = alloc_page();

	copy_page(pa, cross_target);
	set_value(pa, value);
	return pa;
}

static struct scene new_scene_at(unsigned kind, u64 va)
{
	static u64 next_value = 0x1000;
	struct scene c = { .kind = kind, .s = va };

	c.t = c.s + 0x1000;
	c.source = new_source(kind);
	for (unsigned i = 0; i < 2; i++) {
		c.value[i] = next_value += 7;
		c.target[i] = new_target(c.value[i]);
	}
	c.spte = map_page(c.s, c.source, RWX);
	c.tpte = map_page(c.t, c.target[0], RWX);
	return c;
}

static struct scene new_scene(unsigned kind)
{
	return new_scene_at(kind, new_va());
}

static void retarget(u64 *pte, u64 pa)
{
	*pte = (*pte & ~ADDR) | pa;
}

/* ---- running ---- */

/* What the kernel does when it is called from the loop */
typedef void action_fn(struct regs *r);
static action_fn *action;
static unsigned calls;

static void on_syscall(struct regs *r)
{
	calls++;
	action(r);
}

static volatile unsigned ticks;

static void on_timer(struct regs *r)
{
	ticks++;
	*(volatile u32 *)phys(APIC + 0xb0) = 0;
}

static struct regs loop_regs(u64 s, unsigned kind, u64 n)
{
	struct regs r = user_regs((void *)(s + LOOP(kind == PLAIN ? END_NOT : kind)));

	r.gpr[RCX] = n;
	r.rflags = user_flags;
	return r;
}

/* Has the loop at @s been through, @n times, in the target behind it, with @sum? */
static bool looped(u64 s, unsigned kind, u64 n, u64 sum)
{
	u64 back = s + BACK(kind == PLAIN ? END_NOT : kind), at = s + 0x1000 + target_offset(kind) + 10;
	bool good = trap.vec == 3 && trap.rip == back + 9 && trap.gpr[RBX] == sum && trap.gpr[R8] == n * at &&
		    trap.gpr[R9] == (kind == CALL ? n * (s + 10) : 0) &&
		    trap.gpr[RSP] == loop_regs(s, kind, n).gpr[RSP];

	if (!good) {
		print("# %s at %x, %d times: sum %x, want %x", kind_name[kind], s, n, trap.gpr[RBX], sum);
		print("; addresses %x, want %x; return addresses %x\n", trap.gpr[R8], n * at, trap.gpr[R9]);
		show_trap();
	}
	return good;
}

static bool run(u64 s, unsigned kind, u64 n, u64 value)
{
	struct regs r = loop_regs(s, kind, n);

	run_frame(&r);
	return looped(s, kind, n, n * value);
}

/* Once, a few times and many times, in one go each */
static bool run_often(u64 s, unsigned kind, u64 value)
{
	return run(s, kind, 1, value) && run(s, kind, 3, value) && run(s, kind, 1, value) &&
	       run(s, kind, 60, value);
}

/* @act is called when 20 rounds of 40 are left, in the source or in the target. The hooks count @want calls. */
static bool run_and(u64 s, unsigned kind, bool in_target, action_fn *act, u64 before, u64 after,
		    unsigned want)
{
	struct regs r = loop_regs(s, kind, 40);
	u64 new = in_target ? 19 : 20;

	r.gpr[in_target ? R14 : R15] = 20;
	action = act;
	calls = 0;
	run_frame(&r);
	return looped(s, kind, 40, (40 - new) * before + new *after) && calls == want;
}

/* The way into the target faults, with everything as it is behind the jump. */
static bool faults(u64 s, unsigned kind, u64 err)
{
	struct regs r = loop_regs(s, kind, 5);
	u64 to = s + 0x1000 + target_offset(kind), sp = r.gpr[RSP] - (kind == CALL ? 8 : 0);
	bool good;

	run_frame(&r);
	good = trap.vec == 14 && trap.err == err && trap.cr2 == to && trap.rip == to && trap.gpr[RSP] == sp &&
	       trap.gpr[RCX] == 5 && (kind != CALL || *(volatile u64 *)sp == s + 10);
	if (!good) {
		print("# %s at %x: want #PF err %x at %x, rsp %x\n", kind_name[kind], s, err, to, sp);
		show_trap();
	}
	return good;
}

/* ---- the target's page is another one ---- */

static void invpcid(u64 type, u64 pcid, u64 va)
{
	const u64 desc[2] = { pcid, va };

	__asm__ volatile("invpcid %0, %1" ::"m"(desc), "r"(type) : "memory");
}

enum {
	INVLPG,
	INVLPG_TWICE, /* before the change, too; elsewhere in the page */
	INVLPG_OTHER, /* the source's first */
	NOT_PRESENT,  /* which nobody may remember */
	MOV_CR3,
	TOGGLE_PGE,
	PCID_METHODS,
	PCID_INVLPG = PCID_METHODS,
	PCID_CR3,
	PCID_TOGGLE, /* CR4.PCIDE 1 to 0 */
	INVPCID0,
	INVPCID1,
	INVPCID2,
	INVPCID3,
	METHODS
};

static const char *const method_name[] = {
	"INVLPG",         "INVLPG, twice",  "INVLPG of both pages", "INVLPG in between",
	"MOV to CR3",     "CR4.PGE",        "INVLPG with PCIDs",    "MOV to CR3 with bit 63 clear",
	"CR4.PCIDE",      "INVPCID type 0", "INVPCID type 1",       "INVPCID type 2",
	"INVPCID type 3",
};

static void remap(u64 *pte, u64 pa, u64 va, unsigned method)
{
	if (method == INVLPG_TWICE)
		invlpg(va);
	if (method == NOT_PRESENT) {
		*pte &= ~PTE_P;
		invlpg(va);
		*pte |= PTE_P;
	}
	retarget(pte, pa);
	switch (method) {
	case INVLPG:
	case PCID_INVLPG: invlpg(va); break;
	case INVLPG_TWICE: invlpg(va + 0xabc); break;
	case INVLPG_OTHER:
		invlpg(va - 0x1000);
		invlpg(va);
		break;
	case NOT_PRESENT: break;
	case MOV_CR3:
	case PCID_CR3: write_cr3(read_cr3()); break;
	case TOGGLE_PGE:
		write_cr4(read_cr4() ^ CR4_PGE);
		write_cr4(read_cr4() ^ CR4_PGE);
		break;
	case PCID_TOGGLE: {
		u64 cr3 = read_cr3();

		write_cr3((cr3 & ADDR) | KEEP);
		write_cr4(read_cr4() & ~CR4_PCIDE);
		write_cr4(read_cr4() | CR4_PCIDE);
		write_cr3(cr3 | KEEP);
		break;
	}
	case INVPCID0: invpcid(0, read_cr3() & 0xfff, va); break;
	case INVPCID1: invpcid(1, read_cr3() & 0xfff, 0); break;
	case INVPCID2: invpcid(2, 0, 0); break;
	case INVPCID3: invpcid(3, 0, 0); break;
	}
}

/* For the actions in the loop */
static struct scene scene;
static unsigned how;

static void swap_target(struct regs *r)
{
	remap(scene.tpte, (*scene.tpte & ADDR) == scene.target[0] ? scene.target[1] : scene.target[0],
	      scene.t, how);
}

static void swap_source(struct regs *r)
{
	remap(scene.spte, (*scene.spte & ADDR) == scene.source ? scene.source + 0x1000 : scene.source,
	      scene.s, how);
}

static bool remapped(unsigned kind, unsigned method, u64 global, u64 va)
{
	struct scene c = new_scene_at(kind, va);
	bool good = run_often(c.s, kind, c.value[0]);

	*c.tpte |= global;
	scene = c;
	how = method;
	for (unsigned i = 1; i < 7; i++) {
		remap(c.tpte, c.target[i & 1], c.t, method);
		good = good && run_often(c.s, kind, c.value[i & 1]);
	}
	for (unsigned i = 0; i < 12; i++)
		good = good &&
		       run_and(c.s, kind, i % 3 == 0, swap_target, c.value[i & 1], c.value[!(i & 1)], 1);
	return good;
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

/* What the source's page shows is another one, whose target is the same page at another offset. */
static void source_remapped(void)
{
	bool good = true;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct scene c = new_scene(kind);
		u64 both = alloc_aligned(0x2000);

		/* The second source adds RAX twice. */
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
static bool global_elsewhere(unsigned kind)
{
	struct scene c;
	bool good = true;

	go_to_space(0);
	c = new_scene(kind);
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
		write_cr3(spaces[1] & ~KEEP);
		good = true;
		for (unsigned kind = 0; kind < KINDS; kind++)
			good = good && global_elsewhere(kind);
		ok(good, "global target, INVLPG in another PCID%s", pass);
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
	}
	write_cr3(cr3);
}

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

USER_CODE(cross_store, "mov %eax, (%rdi); int3");

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

	/* What is left out is global kernel code in the upper half: there the soft engine is late. */
	for (unsigned i = 0; i < 5; i++) {
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

static void everything(void)
{
	remapping();
	source_remapped();
	large();
	taken_away();
	mapped_twice();
	written();
	border_target();
	border_source();
	edges();
	not_canonical();
	compatibility();
	modes();
	chain();
	address_spaces(false);
	address_spaces(true);
}

static void apic_write(u32 reg, u32 v)
{
	*(volatile u32 *)phys(APIC + reg) = v;
}

void test_main(void)
{
	hooks[SYSCALL] = on_syscall;
	hooks[TIMER] = on_timer;
	everything();
	pass = ", timer on";
	wrmsr(0x1b, rdmsr(0x1b) | 0x800);
	apic_write(0xf0, 0x1ff);
	apic_write(0x3e0, 0xb);
	apic_write(0x320, TIMER | 0x20000);
	apic_write(0x380, 100000);
	user_flags |= 0x200;
	everything();
	ok(ticks != 0, "the timer has interrupted");
	print("# %d timer interrupts\n", (u64)ticks);
}
