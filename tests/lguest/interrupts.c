/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * More of traps and interrupts: time, gates that are not there, what level 3 must not
 * do, and the frames of guests of 2.6.3x.
 */
#include "guest.h"

static void start(void)
{
	init(KERNEL);
	set_gates();
	handler = remember;
	lguest_data.blocked = 0;
	lguest_data.irq_enabled = LG_IRQ_ON;
}

static void run_time(void)
{
	uint32_t s, ns, later, ms;

	start();
	lguest_data.seconds = lguest_data.nanoseconds = 0;
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
	check_equal(lguest_data.seconds, 0, "the clock stands between interrupts");
	arm(1000);
	check(wait_for(1, 1000), "an interrupt");
	s = lguest_data.seconds;
	ns = lguest_data.nanoseconds;
	check(s > 1600000000 && ns < 1000000000, "its delivery sets the clock");
	arm(50000);
	check(wait_for(2, 1000), "another one");
	later = lguest_data.seconds - s;
	ms = later * 1000 + lguest_data.nanoseconds / 1000000 - ns / 1000000;
	check(later < 60 && ms >= 49 && ms < 10000, "the clock has gone on by the time between");
}

/* An interrupt without a gate stays pending, and ends a HALT all the same. */
static void run_absent_gate(void)
{
	start();
	hypercall(LG_LOAD_IDT_ENTRY, LG_IRQ_VECTOR, 0, 0, 0);
	arm(1000);
	check(!wait_for(1, 30), "no gate, no interrupt");
	set_gate(LG_IRQ_VECTOR, addr(stubs) + 16 * LG_IRQ_VECTOR, 0xe, 0);
	check(wait_for(1, 1000), "it was still pending");
	check_equal(last.vector, LG_IRQ_VECTOR, "... the same one");

	hypercall(LG_LOAD_IDT_ENTRY, LG_IRQ_VECTOR, 0, 0, 0);
	lguest_data.irq_enabled = 0;
	arm(10000);
	hypercall(LG_HALT, 0, 0, 0, 0);
	check_equal(trap_count, 1, "HALT ends without a gate");
	check_equal(lguest_data.irq_enabled, LG_IRQ_ON, "... with interrupts on");
	set_gate(LG_IRQ_VECTOR, addr(stubs) + 16 * LG_IRQ_VECTOR, 0xe, 0);
	check(wait_for(2, 1000), "... and the interrupt comes when it can");
}

static void user_memory(void)
{
	make_tables();
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	load_gdt(14, 0x00cffb000000ffff);
	load_gdt(15, 0x00cff3000000ffff);
	handler = leave_user;
}

/* What only a kernel may do, and what nobody may: SYSENTER would lead to level 0. */
static void run_level3(void)
{
	volatile uint8_t *insn = (volatile uint8_t *)user_vmcall;

	start();
	user_memory();
	go_user(addr(user_vmcall), addr(user_stack_top));
	check_equal(last.vector, 6, "VMCALL at level 3 is #UD");
	check_equal(last.cs, 0x73, "... of the program");
	check_equal(last.eip, addr(user_vmcall), "... at the instruction");
	check(insn[0] == 0x0f && insn[1] == 0x01 && insn[2] == 0xc1, "... and stays what it is");
	go_user(addr(user_sysenter), addr(user_stack_top));
	check(last.vector == 13 || last.vector == 6, "SYSENTER at level 3 is a fault");
	check_equal(last.eip, addr(user_sysenter), "... at the instruction");
	check_equal(last.cs, 0x73, "... of the program");
	handler = remember;
	skip = 2;
	__asm__ volatile("sysenter");
	check(last.vector == 13 || last.vector == 6, "SYSENTER at level 1 is a fault");
	check_equal(last.cs, LG_KERNEL_CS, "... of the kernel");
}

/* Whichever of its words the guest leaves in EFLAGS, a handler does not start with TF or NT. */
static volatile uint32_t flags_in_handler;

static void look_at_flags(struct frame *f)
{
	last = *f;
	__asm__ volatile("pushf; popl %0" : "=r"(flags_in_handler));
	f->eflags &= ~0x4100u;
	f->eip += skip;
}

static void check_flags(void)
{
	set_gates();
	handler = look_at_flags;
	skip = 2;
	__asm__ volatile("pushf; orl $0x4000, (%esp); popf; ud2");
	check_equal(last.vector, 6, "a trap under NT");
	check(last.eflags & 0x4000, "NT is in the frame");
	check(!(flags_in_handler & 0x4000), "NT is clear in the handler");
	skip = 0;
	__asm__ volatile("pushf; orl $0x100, (%esp); popf; nop; nop");
	check_equal(last.vector, 1, "single step");
	check(!(flags_in_handler & 0x100), "TF is clear in the handler");
}

static void run_frame_flags(void)
{
	start();
	check_flags();
}

/* The original of 2.6.32 did not clear them; nor did it know CLI, and IN of a byte changed more. */
static void run_old_frames(void)
{
	uint32_t eax;

	init_old(KERNEL);
	check_flags();
	trap_count = 0;
	handler = remember;
	skip = 1;
	__asm__ volatile("cli");
	check_equal(trap_count, 0, "CLI does nothing");
	__asm__ volatile("movl $0x12345678, %%eax; inb %%dx, %%al" : "=a"(eax) : "d"(0x40));
	check_equal(eax, 0x123456ff, "IN AL changes AL only");
	__asm__ volatile("movl $0x12345678, %%eax; inw %%dx, %%ax" : "=a"(eax) : "d"(0x40));
	check_equal(eax, 0x1234ffff, "IN AX changes AX only");
	/* noirq_start and what follows it stand a word later. */
	lguest_data.blocked = 0;
	lguest_data.irq_enabled = LG_IRQ_ON;
	skip = 0;
	arm(1000);
	check(wait_for(1, 1000), "an interrupt");
}

/* The entries that the original's switcher needed are remembered by nobody. */
static void run_host_descriptors(void)
{
	static const uint8_t kept[] = { 10, 11, 16, 31 };
	static uint32_t mark = 0x12121212;

	start();
	skip = 3; /* movw %ax, %fs; with its prefix */
	for (unsigned i = 0; i < sizeof(kept); i++) {
		uint32_t sel = kept[i] * 8u + 1;

		load_gdt(kept[i], data_segment(addr(&mark), 1));
		trap_count = 0;
		__asm__ volatile(".byte 0x66, 0x8e, 0xe0" : : "a"(sel));
		check_equal(trap_count, 1, "a descriptor of the host's cannot be had");
		check_equal(last.error, sel & ~3u, "... error code");
	}
}

const struct scenario interrupts[] = {
	{ "time", run_time },
	{ "absent-gate", run_absent_gate },
	{ "level3", run_level3 },
	{ "frame-flags", run_frame_flags },
	{ "old-frames", run_old_frames },
	{ "host-descriptors", run_host_descriptors },
	{ NULL, NULL },
};
