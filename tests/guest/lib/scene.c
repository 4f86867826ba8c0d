/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenes: two pages of user code, how to run them, and how to tell where they went. See scene.h.
 */
#include "scene.h"

#define APIC    0xfee00000ull
#define TIMER   0x40
#define SYSCALL 0x80

static const char *const kind_name[] = { "CALL", "JMP", "Jcc", "Jcc at the end", "Jcc not taken", "no jump" };

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
USER_CODE(cross_store, "mov %eax, (%rdi); int3");
u64 user_flags = 2;
const char *pass = "";

/* ---- pages ---- */

u64 new_va(void)
{
	static u64 next = VA;

	return next += 0x40000;
}

void copy_code(u64 pa, const char *code, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		((volatile char *)phys(pa))[i] = code[i];
}

void copy_page(u64 pa, const char *code)
{
	copy_code(pa, code, 4096);
}

u64 new_source(unsigned kind)
{
	u64 pa = alloc_page();

	copy_page(pa, cross_source);
	if (kind == PLAIN)
		copy_code(pa + 0xffa, "\x90\x90\x90\x90\x90\x90", 6);
	return pa;
}

u32 target_offset(unsigned kind)
{
	return kind < END_NOT ? TARGET(kind) : 0;
}

/* The immediate of all ways into the target */
void set_value(u64 pa, u64 value)
{
	static const u16 at[] = { 0, TARGET(CALL), TARGET(JMP), TARGET(JCC), TARGET(END_TAKEN) };

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		*(volatile u32 *)phys(pa + at[i] + 1) = (u32)value;
}

u64 new_target(u64 value)
{
	u64 pa = alloc_page();

	copy_page(pa, cross_target);
	set_value(pa, value);
	return pa;
}

struct scene new_scene_at(unsigned kind, u64 va)
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

struct scene new_scene(unsigned kind)
{
	return new_scene_at(kind, new_va());
}

void retarget(u64 *pte, u64 pa)
{
	*pte = (*pte & ~ADDR) | pa;
}

/* ---- running ---- */

/* What the kernel does when it is called from the loop */
action_fn *action;
unsigned calls;

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

struct regs loop_regs(u64 s, unsigned kind, u64 n)
{
	struct regs r = user_regs((void *)(s + LOOP(kind == PLAIN ? END_NOT : kind)));

	r.gpr[RCX] = n;
	r.rflags = user_flags;
	return r;
}

/* Has the loop at @s been through, @n times, in the target behind it, with @sum? */
bool looped(u64 s, unsigned kind, u64 n, u64 sum)
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

bool run(u64 s, unsigned kind, u64 n, u64 value)
{
	struct regs r = loop_regs(s, kind, n);

	run_frame(&r);
	return looped(s, kind, n, n * value);
}

/* Once, a few times and many times, in one go each */
bool run_often(u64 s, unsigned kind, u64 value)
{
	return run(s, kind, 1, value) && run(s, kind, 3, value) && run(s, kind, 1, value) &&
	       run(s, kind, 60, value);
}

/* @act is called when 20 rounds of 40 are left, in the source or in the target. The hooks count @want calls. */
bool run_and(u64 s, unsigned kind, bool in_target, action_fn *act, u64 before, u64 after, unsigned want)
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
bool faults(u64 s, unsigned kind, u64 err)
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

void invpcid(u64 type, u64 pcid, u64 va)
{
	const u64 desc[2] = { pcid, va };

	__asm__ volatile("invpcid %0, %1" ::"m"(desc), "r"(type) : "memory");
}

const char *const method_name[METHODS] = {
	"INVLPG",         "INVLPG, twice",  "INVLPG of both pages", "INVLPG in between",
	"MOV to CR3",     "CR4.PGE",        "INVLPG with PCIDs",    "MOV to CR3 with bit 63 clear",
	"CR4.PCIDE",      "INVPCID type 0", "INVPCID type 1",       "INVPCID type 2",
	"INVPCID type 3",
};

void remap(u64 *pte, u64 pa, u64 va, unsigned method)
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
struct scene scene;
unsigned how;

static void swap_target(struct regs *r)
{
	remap(scene.tpte, (*scene.tpte & ADDR) == scene.target[0] ? scene.target[1] : scene.target[0],
	      scene.t, how);
}

bool remapped(unsigned kind, unsigned method, u64 global, u64 va)
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
