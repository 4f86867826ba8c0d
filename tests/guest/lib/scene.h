/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenes for the tests of code that goes from page to page (cross.c, code.c).
 *
 * A scene is a source page with one loop for each kind of way out, and behind
 * it in the address space a target page that says who it is (an immediate),
 * where it is (RIP) and where it was called from. Their bytes do not depend on
 * where they are mapped.
 *
 * The program defines everything(), which is done with and without timer
 * interrupts: they tell some translators what is hot.
 */
#ifndef LGUEST_TESTS_GUEST_SCENE_H
#define LGUEST_TESTS_GUEST_SCENE_H

#include "guest.h"

#define VA   0x8000000000ull /* PML4 entry 1: each address space has its own */
#define ADDR 0x000ffffffffff000ull
#define RWX  (PTE_P | PTE_W | PTE_U)
#define KEEP (1ull << 63)

/* END: JC at the end of the page, taken, not taken. PLAIN: NOPs there. */
enum { CALL, JMP, JCC, END_TAKEN, END_NOT, PLAIN, KINDS };

/* Offsets in the source page: the loop of a kind, and where its target comes back to */
#define LOOP(kind) ((kind)*0x80)
#define BACK(kind) ((kind)*0x80 + 0x20)
/* Offset in the target page; what falls through arrives at 0 */
#define TARGET(kind) (0x100 + (kind)*0x80)

struct scene {
	unsigned kind;
	u64 s, t; /* linear */
	u64 *spte, *tpte;
	u64 source, target[2]; /* physical */
	u64 value[2];
};

/* Where the user's RFLAGS start from; what to append to the name of a test */
extern u64 user_flags;
extern const char *pass;

/* 256K of addresses that nobody has used */
u64 new_va(void);
void copy_code(u64 pa, const char *code, unsigned size);
void copy_page(u64 pa, const char *code);
extern const char cross_source[], cross_target[];
extern const char cross_store[]; /* mov %eax, (%rdi); int3 */
u64 new_source(unsigned kind);
u64 new_target(u64 value);
/* The immediate of all ways into the target */
void set_value(u64 pa, u64 value);
/* Where in the target @kind arrives */
u32 target_offset(unsigned kind);
struct scene new_scene(unsigned kind);
struct scene new_scene_at(unsigned kind, u64 va);
void retarget(u64 *pte, u64 pa);

/* What the kernel does when it is called from the loop */
typedef void action_fn(struct regs *r);
extern action_fn *action;
extern unsigned calls;

struct regs loop_regs(u64 s, unsigned kind, u64 n);
/* Has the loop at @s been through, @n times, in the target behind it, with @sum? Says what is wrong. */
bool looped(u64 s, unsigned kind, u64 n, u64 sum);
bool run(u64 s, unsigned kind, u64 n, u64 value);
/* Once, a few times and many times, in one go each */
bool run_often(u64 s, unsigned kind, u64 value);
/* @act is called when 20 rounds of 40 are left, in the source or in the target. The hooks count @want calls. */
bool run_and(u64 s, unsigned kind, bool in_target, action_fn *act, u64 before, u64 after, unsigned want);
/* The way into the target faults, with everything as it is behind the jump. */
bool faults(u64 s, unsigned kind, u64 err);

/* Ways to put another page into a present entry */
enum method {
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

extern const char *const method_name[METHODS];
void remap(u64 *pte, u64 pa, u64 va, unsigned method);
void invpcid(u64 type, u64 pcid, u64 va);
/* For actions: the scene, and a method or what the program wants */
extern struct scene scene;
extern unsigned how;
/* A scene at @va whose target is remapped by @method again and again */
bool remapped(unsigned kind, unsigned method, u64 global, u64 va);

void everything(void);

#endif
