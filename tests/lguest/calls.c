/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every hypercall once, each with an effect that can be seen: made directly, and then all of them
 * again through the ring. run.py compares the names with those in abi.h.
 */
#include "guest.h"

#define TS 8u

static unsigned slot;

static void queue_call(uint32_t n, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	uint32_t *call = lguest_data.call[slot];

	call[0] = n;
	call[1] = a;
	call[2] = b;
	call[3] = c;
	call[4] = d;
	__asm__ volatile("" : : : "memory");
	lguest_data.status[slot] = 0;
	slot = (slot + 1) % LG_RING;
}

static void through_ring(uint32_t n, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	queue_call(n, a, b, c, d);
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

typedef void call_fn(uint32_t n, uint32_t a, uint32_t b, uint32_t c, uint32_t d);

static uint32_t mark[2] = { 0x44444444, 0x55555555 };
static uint32_t high_table[1024] __attribute__((aligned(4096)));
static uint32_t page[2][1024] __attribute__((aligned(4096)));
static uint32_t other_stack[1024] __attribute__((aligned(4096)));

#define HIGH ((volatile uint32_t *)(KERNEL + 0x5000))
#define LOW  ((volatile uint32_t *)0x3f0000)

static void clear_ts(struct frame *f)
{
	last = *f;
	hypercall(LG_TS, 0, 0, 0, 0);
}

static void descriptors(call_fn *call)
{
	uint64_t desc[2] = { data_segment(addr(&mark[0]), 1), data_segment(addr(&mark[1]), 1) };
	uint64_t tls[3] = { desc[0], desc[1], desc[0] };

	queue_call(LG_LOAD_GDT_ENTRY, 20, (uint32_t)desc[0], (uint32_t)(desc[0] >> 32), 0);
	call(LG_FLUSH_ASYNC, 0, 0, 0, 0);
	check_equal(read_fs(20 * 8 + 1), mark[0], "FLUSH_ASYNC: what waited in the ring is done");
	call(LG_LOAD_GDT_ENTRY, 20, (uint32_t)desc[1], (uint32_t)(desc[1] >> 32), 0);
	check_equal(read_fs(20 * 8 + 1), mark[1], "LOAD_GDT_ENTRY: a descriptor");
	call(LG_LOAD_TLS, addr(tls), 0, 0, 0);
	check_equal(read_fs((LG_GDT_TLS + 1) * 8 + 1), mark[1], "LOAD_TLS: a descriptor");

	/* The trap then comes as another one: the gate is in use. */
	call(LG_LOAD_IDT_ENTRY, 6, LG_KERNEL_CS << 16 | ((addr(stubs) + 16 * 5) & 0xffff),
	     (addr(stubs) & 0xffff0000) | 0x8e00, 0);
	handler = remember;
	skip = 2;
	__asm__ volatile("ud2");
	check_equal(last.vector, 5, "LOAD_IDT_ENTRY: a gate");
	set_gate(6, addr(stubs) + 16 * 6, 0xe, 0);
}

static void page_tables(call_fn *call)
{
	make_tables();
	pgdir[KERNEL >> 22] = addr(high_table) | 0x67;
	page[0][0] = 0xaaaa0000;
	page[1][0] = 0xbbbb0000;
	high_table[5] = addr(page[0]) | 3;
	tables[0][0x3f0] = addr(page[0]) | 3;
	call(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	check_equal(*HIGH, page[0][0], "NEW_PGTABLE: the guest's own tables");
	check_equal(*LOW, page[0][0], "NEW_PGTABLE: below the kernel, too");

	tables[0][0x3f0] = addr(page[1]) | 3;
	call(LG_FLUSH_TLB, 0, 0, 0, 0);
	check_equal(*LOW, page[1][0], "FLUSH_TLB: of user addresses");
	high_table[5] = addr(page[1]) | 3;
	call(LG_FLUSH_TLB, 1, 0, 0, 0);
	check_equal(*HIGH, page[1][0], "FLUSH_TLB: of all");
	high_table[5] = addr(page[0]) | 3;
	call(LG_SET_PTE, addr(pgdir), addr(HIGH), high_table[5], 0);
	check_equal(*HIGH, page[0][0], "SET_PTE: an entry");
	high_table[5] = addr(page[1]) | 3;
	call(LG_SET_PMD, 0, 0, 0, 0);
	check_equal(*HIGH, page[1][0], "SET_PMD: forgets everything");
	pgdir[KERNEL >> 22] = addr(tables[1]) | 0x67;
	call(LG_SET_PGD, addr(pgdir), KERNEL >> 22, 0, 0);
	check_equal(*HIGH, *(volatile uint32_t *)0x405000, "SET_PGD: another table");
}

static void cpu(call_fn *call)
{
	load_gdt(14, 0x00cffb000000ffff);
	load_gdt(15, 0x00cff3000000ffff);
	call(LG_SET_STACK, LG_KERNEL_DS, addr(other_stack + 1024), 1, 0);
	handler = leave_user;
	go_user(addr(user_syscall), addr(user_stack_top));
	check(last.esp > addr(other_stack) && last.esp < addr(other_stack + 1024),
	      "SET_STACK: a system call comes there");
	handler = clear_ts;
	call(LG_TS, TS, 0, 0, 0);
	__asm__ volatile("fninit");
	check_equal(last.vector, 7, "TS: the FPU traps");
}

static void time_and_sleep(call_fn *call)
{
	handler = remember;
	skip = 0;
	trap_count = 0;
	lguest_data.blocked = 0;
	lguest_data.irq_enabled = LG_IRQ_ON;
	call(LG_SET_CLOCKEVENT, 100000, 0, 0, 0);
	check(wait_for(1, 1000), "SET_CLOCKEVENT: the timer interrupts");
	hypercall(LG_SET_CLOCKEVENT, 20000000, 0, 0, 0);
	call(LG_HALT, 0, 0, 0, 0);
	check_equal(trap_count, 2, "HALT: until the timer comes");
	lguest_data.irq_enabled = 0;
	arm(100);
	check(!wait_for(3, 10), "SEND_INTERRUPTS: not before");
	lguest_data.irq_enabled = LG_IRQ_ON;
	call(LG_SEND_INTERRUPTS, 0, 0, 0, 0);
	check_equal(trap_count, 3, "SEND_INTERRUPTS: what was pending comes");
}

static void every_call(call_fn *call)
{
	init(KERNEL);
	check_equal(lguest_data.reserve_mem, LG_RESERVE_MEM, "INIT: the host has filled in its part");
	set_gates();
	descriptors(call);
	page_tables(call);
	cpu(call);
	time_and_sleep(call);
	/* run.py sees that it comes once. */
	call(LG_NOTIFY, addr("ok - NOTIFY: this line\n"), 0, 0, 0);
	summary();
	call(LG_SHUTDOWN, addr("Power down"), LG_SHUTDOWN_POWEROFF, 0, 0);
	say("not ok - alive after SHUTDOWN\n");
}

static void run_calls(void)
{
	every_call(hypercall);
}

static void run_calls_ring(void)
{
	every_call(through_ring);
}

/* ---- calls that wait in the ring, and end or delay things ---- */

static void run_ring_text(void)
{
	init(KERNEL);
	queue_call(LG_NOTIFY, addr("ok - first\n"), 0, 0, 0);
	queue_call(LG_NOTIFY, 0, 0, 0, 0);
	queue_call(LG_NOTIFY, addr("ok - second\n"), 0, 0, 0);
	hypercall(LG_NOTIFY, addr("ok - third\n"), 0, 0, 0);
}

/* What follows a HALT in the ring is still done, the direct call as well; then the guest sleeps. */
static void run_ring_halt(void)
{
	init(KERNEL);
	set_gates();
	handler = remember;
	lguest_data.blocked = 0;
	arm(30000);
	queue_call(LG_HALT, 0, 0, 0, 0);
	queue_call(LG_NOTIFY, addr("ok - behind HALT in the ring\n"), 0, 0, 0);
	hypercall(LG_NOTIFY, addr("ok - the direct call\n"), 0, 0, 0);
	check_equal(trap_count, 1, "slept until the timer");
	check_equal(lguest_data.status[1], LG_HCALL_DONE, "the ring is empty");
}

static void run_ring_shutdown(void)
{
	init(KERNEL);
	queue_call(LG_NOTIFY, addr("ok - before\n"), 0, 0, 0);
	queue_call(LG_SHUTDOWN, addr("by the ring"), LG_SHUTDOWN_POWEROFF, 0, 0);
	queue_call(LG_NOTIFY, addr("not ok - behind SHUTDOWN\n"), 0, 0, 0);
	hypercall(LG_NOTIFY, addr("not ok - the direct call\n"), 0, 0, 0);
}

static void run_ring_restart(void)
{
	init(KERNEL);
	queue_call(LG_SHUTDOWN, 0x40000000, LG_SHUTDOWN_RESTART, 0, 0);
	hypercall(3, 0, 0, 0, 0);
}

/* Any value but that of a restart is the end. */
static void run_shutdown_other(void)
{
	init(KERNEL);
	hypercall(LG_SHUTDOWN, addr("neither"), 77, 0, 0);
}

const struct scenario calls[] = {
	{ "calls", run_calls },
	{ "calls-ring", run_calls_ring },
	{ "ring-text", run_ring_text },
	{ "ring-halt", run_ring_halt },
	{ "ring-shutdown", run_ring_shutdown },
	{ "ring-restart", run_ring_restart },
	{ "shutdown-other", run_shutdown_other },
	{ NULL, NULL },
};
