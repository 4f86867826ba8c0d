/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests that break the rules, one rule each. Whoever gets to the end says so:
 * run.py expects that none does.
 */
#include "guest.h"

static void before_init(void)
{
	hypercall(LG_FLUSH_TLB, 0, 0, 0, 0);
}

static void init_twice(void)
{
	init(KERNEL);
	init(KERNEL);
}

static void init_in_ring(void)
{
	init(KERNEL);
	lguest_data.call[0][0] = LG_INIT;
	lguest_data.call[0][1] = addr(&lguest_data);
	lguest_data.status[0] = 0;
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

static void bad_number(void)
{
	init(KERNEL);
	hypercall(3, 0, 0, 0, 0);
}

static void huge_number(void)
{
	init(KERNEL);
	hypercall(0xffffffff, 0, 0, 0, 0);
}

static void data_outside(void)
{
	hypercall(LG_INIT, RAM + LG_DEVICE_PAGES * 4096 - 8, 0, 0, 0);
}

static void data_wraps(void)
{
	hypercall(LG_INIT, 0xfffffffc, 0, 0, 0);
}

static void kernel_in_host(void)
{
	init(0xffc00000);
}

static void syscall_vector(void)
{
	for (unsigned i = 0; i < 5; i++)
		lguest_data.word[i] = 0x81;
	hypercall(LG_INIT, addr(&lguest_data), 0, 0, 0);
}

static void gate_type(void)
{
	init(KERNEL);
	set_gate(6, addr(stubs), 0xc, 0);
}

static void gate_index(void)
{
	init(KERNEL);
	hypercall(LG_LOAD_IDT_ENTRY, 256, 0, 0x8e00, 0);
}

static void gdt_index(void)
{
	init(KERNEL);
	hypercall(LG_LOAD_GDT_ENTRY, 32, 0, 0, 0);
}

static void tls_address(void)
{
	init(KERNEL);
	hypercall(LG_LOAD_TLS, 0xfffffff0, 0, 0, 0);
}

static void stack_segment(void)
{
	init(KERNEL);
	hypercall(LG_SET_STACK, 0x68, addr(trap_stack_top), 1, 0);
}

static void stack_pages(void)
{
	init(KERNEL);
	hypercall(LG_SET_STACK, LG_KERNEL_DS, addr(trap_stack_top), 3, 0);
}

static void user_with_stack(uint32_t selector)
{
	init(KERNEL);
	set_gates();
	make_tables();
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	hypercall(LG_LOAD_GDT_ENTRY, 14, 0x0000ffff, 0x00cffb00, 0);
	hypercall(LG_LOAD_GDT_ENTRY, 15, 0x0000ffff, 0x00cff300, 0);
	hypercall(LG_SET_STACK, selector, addr(trap_stack_top), 1, 0);
	go_user(addr(user_syscall), addr(user_stack_top));
}

/* An empty descriptor: not a way to level 0. */
static void stack_empty(void)
{
	user_with_stack(20 * 8 + 1);
}

static void stack_code(void)
{
	user_with_stack(LG_KERNEL_CS);
}

/* Level 3 code where the kernel's was. */
static void code_level(void)
{
	init(KERNEL);
	set_gates();
	hypercall(LG_LOAD_GDT_ENTRY, LG_KERNEL_CS >> 3, 0x0000ffff, 0x00cffb00, 0);
	__asm__ volatile("ud2");
}

static void pgdir_outside(void)
{
	init(KERNEL);
	hypercall(LG_NEW_PGTABLE, 0x40000000, 0, 0, 0);
}

static void pgdir_unaligned(void)
{
	init(KERNEL);
	hypercall(LG_NEW_PGTABLE, addr(pgdir) + 4, 0, 0, 0);
}

static void pte_frame(void)
{
	init(KERNEL);
	hypercall(LG_SET_PTE, addr(pgdir), 0x200000, 0x40000003, 0);
}

static void pte_large(void)
{
	init(KERNEL);
	hypercall(LG_SET_PTE, addr(pgdir), 0x200000, 0x00200083, 0);
}

static void pte_reserved(void)
{
	init(KERNEL);
	hypercall(LG_SET_PTE, addr(pgdir), 0xffc00000, 0x00200003, 0);
}

static void pgd_frame(void)
{
	init(KERNEL);
	pgdir[5] = 0x40000067;
	hypercall(LG_SET_PGD, addr(pgdir), 5, 0, 0);
}

static void pgd_flags(void)
{
	init(KERNEL);
	pgdir[5] = addr(tables[0]) | 0xe7;
	hypercall(LG_SET_PGD, addr(pgdir), 5, 0, 0);
}

/* Without a word to the host: found out when it is used. */
static void page_outside(void)
{
	init(KERNEL);
	make_tables();
	tables[0][0x3f0] = 0x80000003;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	*(volatile uint32_t *)0x3f0000 = 1;
	for (volatile int i = 0; i < 1000; i++)
		;
}

static void table_outside(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	pgdir[8] = 0x7ffff067;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	*(volatile uint32_t *)(8u << 22) = 1;
	for (volatile int i = 0; i < 1000; i++)
		;
}

/* Executed, not read: beyond memory there are no instructions. */
static void code_outside(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	tables[0][0x3f0] = 0x80000003;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	((void (*)(void))0x3f0010)();
}

static void code_table_outside(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	pgdir[8] = 0x7ffff067;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	((void (*)(void))(8u << 22))();
}

static void no_gate(void)
{
	init(KERNEL);
	__asm__ volatile("ud2");
}

static void trap_first(void)
{
	__asm__ volatile("ud2");
}

static void jump_to_nothing(void)
{
	init(KERNEL);
	((void (*)(void))0x9000000)();
}

static void no_stack(void)
{
	init(KERNEL);
	set_gates();
	__asm__ volatile("movl $0x9000000, %esp; ud2");
}

static void stack_outside(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	tables[0][0x3f0] = 0x80000003;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	__asm__ volatile("movl $0x3f1000, %esp; ud2");
}

static void notify_limit(void)
{
	init(KERNEL);
	hypercall(LG_NOTIFY, RAM + LG_DEVICE_PAGES * 4096, 0, 0, 0);
}

static void notify_nothing(void)
{
	init(KERNEL);
	hypercall(LG_NOTIFY, RAM + 4095, 0, 0, 0);
}

static void shutdown_address(void)
{
	init(KERNEL);
	hypercall(LG_SHUTDOWN, 0x40000000, LG_SHUTDOWN_POWEROFF, 0, 0);
}

static void halt_instruction(void)
{
	init(KERNEL);
	__asm__ volatile("hlt");
}

/* Ring calls that call for ring calls: one round, and no more. */
static void ring_for_ever(void)
{
	init(KERNEL);
	for (unsigned i = 0; i < LG_RING; i++) {
		lguest_data.call[i][0] = LG_SET_STACK;
		lguest_data.call[i][1] = LG_KERNEL_DS;
		lguest_data.call[i][3] = i == LG_RING - 1 ? 9 : 1;
		lguest_data.status[i] = 0;
	}
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

/* ---- more of the same, through the ring or at odd places ---- */

static void ring_call(unsigned slot, uint32_t n, uint32_t a, uint32_t b, uint32_t c)
{
	lguest_data.call[slot][0] = n;
	lguest_data.call[slot][1] = a;
	lguest_data.call[slot][2] = b;
	lguest_data.call[slot][3] = c;
	lguest_data.status[slot] = 0;
}

static void ring_number(void)
{
	init(KERNEL);
	ring_call(0, 12, 0, 0, 0);
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

static void ring_notify_limit(void)
{
	init(KERNEL);
	ring_call(0, LG_NOTIFY, 0xfffffff0, 0, 0);
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

static void ring_on_itself(void)
{
	init(KERNEL);
	/* All statuses waiting, all calls 0: FLUSH_ASYNC, which must not empty the ring from inside the ring. */
	for (unsigned i = 0; i < LG_RING; i++)
		ring_call(i, i == LG_RING - 1 ? 11 : LG_FLUSH_ASYNC, 0, 0, 0);
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
}

/* The first reason is the one that is told. */
static void ring_two_reasons(void)
{
	init(KERNEL);
	ring_call(0, LG_SET_STACK, LG_KERNEL_DS, 0, 4);
	ring_call(1, 12, 0, 0, 0);
	hypercall(99, 0, 0, 0, 0);
}

static void data_unaligned(void)
{
	hypercall(LG_INIT, addr(&lguest_data) + 2, 0, 0, 0);
}

/* Room for the layout of 3.x, in which it is not, but not for that of 2.6.3x. */
static void data_at_end(void)
{
	hypercall(LG_INIT, RAM + LG_DEVICE_PAGES * 4096 - LG_DATA_SIZE, 0, 0, 0);
}

static void stack_local(void)
{
	init(KERNEL);
	hypercall(LG_SET_STACK, LG_KERNEL_DS | 4, addr(trap_stack_top), 1, 0);
}

static void stack_index(void)
{
	init(KERNEL);
	hypercall(LG_SET_STACK, 32 * 8 + 1, addr(trap_stack_top), 1, 0);
}

static void stack_unset(void)
{
	init(KERNEL);
	set_gates();
	make_tables();
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	hypercall(LG_LOAD_GDT_ENTRY, 14, 0x0000ffff, 0x00cffb00, 0);
	hypercall(LG_LOAD_GDT_ENTRY, 15, 0x0000ffff, 0x00cff300, 0);
	hypercall(LG_SET_STACK, LG_KERNEL_DS, 0, 1, 0);
	go_user(addr(user_syscall), addr(user_stack_top));
}

/* A stack that only level 0 may write. */
static void stack_read_only(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	tables[0][0x3f0] = 0x3f0001;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	__asm__ volatile("movl $0x3f1000, %esp; ud2");
}

/* Each fault of the handler's own leads to the next. */
static void gate_nowhere(void)
{
	init(KERNEL);
	set_gates();
	set_gate(14, 0x9000000, 0xe, 0);
	__asm__ volatile("movl %%eax, 0x9000000" : : : "memory");
}

static void gate_gone(void)
{
	init(KERNEL);
	set_gates();
	hypercall(LG_LOAD_IDT_ENTRY, 6, 0, 0, 0);
	__asm__ volatile("ud2");
}

static void gate_level4(void)
{
	init(KERNEL);
	hypercall(LG_LOAD_IDT_ENTRY, 0x80000006, 0, 0x8e00, 0);
}

static void no_code(void)
{
	init(KERNEL);
	set_gates();
	hypercall(LG_LOAD_GDT_ENTRY, LG_KERNEL_CS >> 3, 0, 0, 0);
	__asm__ volatile("ud2");
}

static void pgdir_wraps(void)
{
	init(KERNEL);
	hypercall(LG_NEW_PGTABLE, 0xfffff000, 0, 0, 0);
}

/* Tables that map nothing at all, not even the code that goes on. */
static void pgdir_empty(void)
{
	static uint32_t empty[1024] __attribute__((aligned(4096)));

	init(KERNEL);
	set_gates();
	hypercall(LG_NEW_PGTABLE, addr(empty), 0, 0, 0);
}

static void pgd_outside(void)
{
	init(KERNEL);
	hypercall(LG_SET_PGD, 0x40000000, 5, 0, 0);
}

/* A directory that is its own table, as some kernels have it, and then leads outside. */
static void pgdir_self(void)
{
	init(KERNEL);
	make_tables();
	set_gates();
	pgdir[1000] = addr(pgdir) | 3;
	pgdir[900] = 0x40000003;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	if (*(volatile uint32_t *)(1000u << 22) != pgdir[0])
		say("not ok - the directory as a table\n");
	*(volatile uint32_t *)((1000u << 22) + 4096 * 900) = 1;
	for (volatile int i = 0; i < 1000; i++)
		;
}

static void notify_inside(void)
{
	init(KERNEL);
	hypercall(LG_NOTIFY, RAM + 1, 0, 0, 0);
}

static void notify_ring_inside(void)
{
	init(KERNEL);
	hypercall(LG_NOTIFY, RAM + 4096 + 4, 0, 0, 0);
}

static void notify_end(void)
{
	init(KERNEL);
	hypercall(LG_NOTIFY, RAM + LG_DEVICE_PAGES * 4096 - 4096, 0, 0, 0);
}

static void tls_end(void)
{
	init(KERNEL);
	hypercall(LG_LOAD_TLS, RAM + LG_DEVICE_PAGES * 4096 - 20, 0, 0, 0);
}

const struct scenario bad[] = {
	{ "before-init", before_init },
	{ "init-twice", init_twice },
	{ "init-in-ring", init_in_ring },
	{ "bad-number", bad_number },
	{ "huge-number", huge_number },
	{ "data-outside", data_outside },
	{ "data-wraps", data_wraps },
	{ "kernel-in-host", kernel_in_host },
	{ "syscall-vector", syscall_vector },
	{ "gate-type", gate_type },
	{ "gate-index", gate_index },
	{ "gdt-index", gdt_index },
	{ "tls-address", tls_address },
	{ "stack-segment", stack_segment },
	{ "stack-pages", stack_pages },
	{ "stack-empty", stack_empty },
	{ "stack-code", stack_code },
	{ "code-level", code_level },
	{ "pgdir-outside", pgdir_outside },
	{ "pgdir-unaligned", pgdir_unaligned },
	{ "pte-frame", pte_frame },
	{ "pte-large", pte_large },
	{ "pte-reserved", pte_reserved },
	{ "pgd-frame", pgd_frame },
	{ "pgd-flags", pgd_flags },
	{ "page-outside", page_outside },
	{ "table-outside", table_outside },
	{ "code-outside", code_outside },
	{ "code-table-outside", code_table_outside },
	{ "no-gate", no_gate },
	{ "trap-first", trap_first },
	{ "jump-to-nothing", jump_to_nothing },
	{ "no-stack", no_stack },
	{ "stack-outside", stack_outside },
	{ "notify-limit", notify_limit },
	{ "notify-nothing", notify_nothing },
	{ "shutdown-address", shutdown_address },
	{ "halt-instruction", halt_instruction },
	{ "ring-for-ever", ring_for_ever },
	{ "ring-number", ring_number },
	{ "ring-notify-limit", ring_notify_limit },
	{ "ring-on-itself", ring_on_itself },
	{ "ring-two-reasons", ring_two_reasons },
	{ "data-unaligned", data_unaligned },
	{ "data-at-end", data_at_end },
	{ "stack-local", stack_local },
	{ "stack-index", stack_index },
	{ "stack-unset", stack_unset },
	{ "stack-read-only", stack_read_only },
	{ "gate-nowhere", gate_nowhere },
	{ "gate-gone", gate_gone },
	{ "gate-level4", gate_level4 },
	{ "no-code", no_code },
	{ "pgdir-wraps", pgdir_wraps },
	{ "pgdir-empty", pgdir_empty },
	{ "pgd-outside", pgd_outside },
	{ "pgdir-self", pgdir_self },
	{ "notify-inside", notify_inside },
	{ "notify-ring-inside", notify_ring_inside },
	{ "notify-end", notify_end },
	{ "tls-end", tls_end },
	{ NULL, NULL },
};
