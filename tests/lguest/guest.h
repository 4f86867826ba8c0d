/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that speaks the lguest ABI and nothing else: what the tests share.
 */
#ifndef TEST_LGUEST_GUEST_H
#define TEST_LGUEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../src/platform/lguest/abi.h"

#define RAM    (16u << 20) /* run.py gives that much */
#define KERNEL 0xc0000000u

struct lguest_data {
	uint32_t irq_enabled, blocked, cr2, seconds, nanoseconds, irq_pending;
	uint8_t status[LG_RING];
	uint32_t call[LG_RING][5];
	uint32_t reserve_mem, tsc_khz;
	uint32_t word
		[5]; /* noirq_start, noirq_end, kernel_address, syscall_vec; with pgdir before them in old guests */
	uint8_t code[16]; /* the guest's own: instructions on the same page */
};
extern struct lguest_data lguest_data;

/* As start.S leaves it on the stack. */
struct frame {
	uint32_t ds;
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
	uint32_t vector, error;
	uint32_t eip, cs, eflags, user_esp, user_ss;
};

static inline void hypercall(uint32_t n, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	__asm__ volatile("int $0x1f" : : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
}

static inline uint32_t addr(const volatile void *p)
{
	return (uint32_t)(uintptr_t)p;
}

/* Text on the early console. */
void say(const char *text);
void say_number(uint32_t n);
/* "ok - name", or "not ok - name" with what was found; counts. */
void check(bool ok, const char *name);
void check_equal(uint32_t got, uint32_t want, const char *name);

/* "SUMMARY PASS", or FAIL; power_off() begins with it. */
void summary(void);
void power_off(const char *text) __attribute__((noreturn));

/* LGUEST_INIT in the layout of 3.x, with @kernel as kernel_address. */
void init(uint32_t kernel);
/* The same in that of 2.6.3x. */
void init_old(uint32_t kernel);
void set_gate(unsigned n, uint32_t offset, unsigned type, unsigned dpl);
/* All 256 stubs; 3, 4 and 0x80 are for level 3, too. */
void set_gates(void);

/*
 * Called by the trap handler for each trap. It must change the frame (skip the
 * instruction...), or a fault comes again.
 */
extern void (*handler)(struct frame *f);
/* A handler that remembers the frame, and adds @skip to EIP. */
extern struct frame last;
extern volatile unsigned trap_count;
void remember(struct frame *f);
extern uint32_t skip;
/* One that remembers and goes to back_to_kernel(). */
void leave_user(struct frame *f);

bool words_equal(const char *a, const char *b);

/* What the scenarios share (good.c). */
void load_gdt(unsigned n, uint64_t desc);
/* A byte-granular data segment at @base, 256 bytes long; its first word, through FS. */
uint64_t data_segment(uint32_t base, unsigned dpl);
uint32_t read_fs(uint16_t sel);
/* The timer, in @us; until @count traps have come, or so many ms have gone by. */
void arm(uint32_t us);
bool wait_for(unsigned count, uint32_t ms);
uint64_t tsc(void);

/* The scenarios, by name: good.c, calls.c, interrupts.c, bad.c, devices.c, queues.c, random.c */
struct scenario {
	const char *name;
	void (*run)(void);
};
extern const struct scenario good[], calls[], interrupts[], bad[], devices[], queues[], random_guest[];

extern char stubs[], noirq_start[], noirq_end[], iret_here[], boot_stack_top[], trap_stack_top[],
	user_stack_top[];
extern char user_code[], user_syscall[], user_hypercall[], user_cli[], user_int20[], user_int3[], user_peek[],
	user_spin[], user_vmcall[], user_sysenter[];
void go_user(uint32_t eip, uint32_t esp);
void back_to_kernel(void);
void guest_main(void);
void on_trap(struct frame *f);

/* Page tables of the test's own: identity for all of RAM and the device pages, level 3 may not touch it. */
extern uint32_t pgdir[1024], tables[8][1024];
void make_tables(void);

#endif
