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

#define VA           0x8000000000ull /* PML4 entry 1: each address space has its own */
#define ADDR         0x000ffffffffff000ull
#define RWX          (PTE_P | PTE_W | PTE_U)
#define KEEP         (1ull << 63)
#define APIC         0xfee00000ull
#define TIMER        0x40
#define SYSCALL      0x80
#define STRINGIFY(x) #x
#define STR(x)       STRINGIFY(x)

/* END: JC at the end of the page, taken, not taken. PLAIN: NOPs there. */
enum { CALL, JMP, JCC, END_TAKEN, END_NOT, PLAIN, KINDS };

static const char *const kind_name[] = { "CALL", "JMP", "Jcc", "Jcc at the end", "Jcc not taken", "no jump" };

/* Offsets in the source page: the loop of a kind, and where its target comes back to */
#define LOOP(kind) ((kind)*0x80)
#define BACK(kind) ((kind)*0x80 + 0x20)
/* Offset in the target page; what falls through arrives at 0 */
#define TARGET(kind) (0x100 + (kind)*0x80)

/* RCX times: RBX += RAX. Where RCX is R15 the kernel is called just before the way out. */
#define SOURCE_LOOP(kind, way)                                                                    \
	".org cross_source + " STR(kind) " * 0x80\n"                                              \
					 "1: cmp %r15, %rcx; je 8f\n"                             \
					 "2: " way "\n"                                           \
					 ".org cross_source + " STR(                              \
						 kind) " * 0x80 + 0x20, 0x90\n"                   \
						       "add %rax, %rbx; dec %rcx; jnz 1b; int3\n" \
						       "8: int $0x80; jmp 2b\n"

/* Where RCX is R14 the kernel is called in the target. R8: sum of addresses, R9: of return addresses. */
#define TARGET_CODE(at, way)                                                             \
	".org cross_target + " STR(at) "\n"                                              \
				       "mov $0x11223344, %eax; cmp %r14, %rcx; je 9f\n"  \
				       "7: lea 7b(%rip), %rdx; add %rdx, %r8\n" way "\n" \
				       "9: int $0x80; jmp 7b\n"

#define BEHIND(at)   "cross_source + 0x1000 + " STR(at)
#define BEFORE(kind) "jmp cross_target - 0x1000 + " STR(kind) " * 0x80 + 0x20"

KERNEL_CODE(
	cross_source, SOURCE_LOOP(0, "call " BEHIND(0x100)) SOURCE_LOOP(1, "jmp " BEHIND(0x180))
			      SOURCE_LOOP(2, "test %rcx, %rcx; jnz " BEHIND(0x200) "; ud2")
				      SOURCE_LOOP(3, "stc; jmp cross_source + 0xff0")
					      SOURCE_LOOP(4, "clc; jmp cross_source + 0xff0")
	/* The target is changed by the user: sum of all RCX */
	".org cross_source + 0x280\n"
	"1: mov %ecx, " BEHIND(0x101) "(%rip); call " BEHIND(
		0x100) "; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
		       /* The same by string instructions from RBP */
		       ".org cross_source + 0x2c0\n"
		       "1: mov %ecx, (%rbp); mov %rbp, %rsi; lea " BEHIND(
			       0x101) "(%rip), %rdi; movsl;"
				      "call " BEHIND(
					      0x100) "; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
						     /* To the border of the target and the page behind it */
						     ".org cross_source + 0x300\n"
						     "1: call " BEHIND(
							     0xffd) "; add %rax, %rbx; dec %rcx; jnz 1b; int3\n"
								    ".org cross_source + 0x320\n"
								    "1: test %rcx, %rcx; jnz " BEHIND(
									    0xffd) "; ud2\n"
										   ".org cross_source + 0xff0, 0x90\n"
										   ".org cross_source + 0xffa, 0x90\n"
										   "jc " BEHIND(
											   0x280) "\n"
												  ".org cross_source + 0x1000");
KERNEL_CODE(cross_target, TARGET_CODE(0, BEFORE(4)) TARGET_CODE(0x100, "mov (%rsp), %rsi; add %rsi, %r9; ret")
				  TARGET_CODE(0x180, BEFORE(1)) TARGET_CODE(0x200, BEFORE(2))
					  TARGET_CODE(0x280, BEFORE(3)) ".org cross_target + 0x1000");

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

	return next += 0x10000;
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

static struct scene new_scene(unsigned kind)
{
	static u64 next_value = 0x1000;
	struct scene c = { .kind = kind, .s = new_va() };

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

static bool remapped(unsigned kind, unsigned method, u64 global)
{
	struct scene c = new_scene(kind);
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
			good = good && remapped(kind, method, 0);
			if (method <= NOT_PRESENT || method == TOGGLE_PGE || method == PCID_INVLPG ||
			    method == INVPCID2)
				good = good && remapped(kind, method, PTE_G);
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
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
	}
	write_cr3(cr3);
}

static void everything(void)
{
	remapping();
	source_remapped();
	large();
	taken_away();
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
