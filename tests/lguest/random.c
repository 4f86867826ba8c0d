/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that does anything, on the true engine: hypercalls with nearly good
 * arguments, page tables and descriptors spoilt while they are in use, faults, level 3, devices.
 * The second word of the command line is the seed. How it ends is not known, but
 * it must be one of the ways in which guests end. (fuzz_lguest.c does without an engine what this does with one.)
 */
#include "driver.h"

static uint32_t state;

static uint32_t any(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

/* One in @n. */
static bool seldom(uint32_t n)
{
	return any() % n == 0;
}

static uint32_t any_address(void)
{
	switch (any() % 8) {
	case 0: return any();
	case 1: return RAM + any() % (LG_DEVICE_PAGES * 4096);
	case 2: return KERNEL + any() % RAM;
	case 3: return addr(pgdir) + 4 * (any() % 1024);
	case 4: return addr(tables) + 4 * (any() % 5120);
	case 5: return addr(&lguest_data) + any() % LG_DATA_SIZE;
	default: return any() % RAM;
	}
}

/* Faults of what is tried here are passed over; interrupts are only counted. */
static void survive(struct frame *f)
{
	trap_count++;
	if (f->vector < LG_IRQ_VECTOR || f->vector >= LG_IRQ_VECTOR + LG_IRQS)
		f->eip += skip;
}

static void any_call(uint32_t call[5])
{
	static const uint8_t numbers[] = {
		LG_FLUSH_ASYNC, LG_NEW_PGTABLE, LG_FLUSH_TLB,      LG_LOAD_IDT_ENTRY, LG_SET_STACK,
		LG_TS,          LG_SET_PMD,     LG_SET_CLOCKEVENT, LG_SET_PTE,        LG_SET_PGD,
		LG_LOAD_TLS,    LG_NOTIFY,      LG_HALT,           LG_LOAD_GDT_ENTRY, LG_SEND_INTERRUPTS,
	};
	uint32_t n;

	call[0] = numbers[any() % sizeof(numbers)];
	for (unsigned i = 1; i < 5; i++)
		call[i] = any_address();
	if (seldom(1500)) {
		if (seldom(4))
			call[0] = any() % 32;
		return;
	}
	switch (call[0]) {
	case LG_NEW_PGTABLE: call[1] = addr(pgdir); break;
	case LG_SET_STACK:
		call[1] = LG_KERNEL_DS;
		call[2] = addr(trap_stack_top);
		call[3] = 1;
		break;
	case LG_LOAD_IDT_ENTRY:
		n = any() % 256;
		call[1] = n;
		call[2] = LG_KERNEL_CS << 16 | ((addr(stubs) + 16 * n) & 0xffff);
		call[3] = (addr(stubs) + 16 * n) >> 16 << 16 | 0x8e00 | (any() & 0x6100);
		break;
	case LG_LOAD_GDT_ENTRY:
		/* Code and data of the kernel stay what they are. */
		call[1] = 14 + any() % 18;
		call[3] = seldom(4) ? any() : (any() & 0x00cf00ff) | 0x9200 | (any() & 0x7d00);
		break;
	case LG_SET_PTE:
		call[1] = addr(pgdir);
		call[2] = any() % (16u << 20);
		call[3] = tables[call[2] >> 22][call[2] >> 12 & 1023];
		break;
	case LG_SET_PGD:
		call[1] = addr(pgdir);
		call[2] = any() % 1024;
		break;
	case LG_LOAD_TLS: call[1] = any() % (RAM - 24); break;
	case LG_NOTIFY:
		/* Text would only be noise. */
		call[1] = seldom(3) ? RAM : RAM + 4096 + any() % 6 * 0x3000;
		break;
	case LG_SET_CLOCKEVENT: call[1] = 1 + any() % 2000000; break;
	default: break;
	}
}

static void one_call(void)
{
	uint32_t call[5];

	any_call(call);
	if (call[0] == LG_HALT) {
		/* Somebody has to end it, and not to come before. */
		lguest_data.blocked = 0;
		lguest_data.irq_enabled = 0;
		arm(100);
	}
	hypercall(call[0], call[1], call[2], call[3], call[4]);
}

static void fill_ring(void)
{
	static unsigned slot;

	for (unsigned i = any() % 8; i > 0; i--) {
		do
			any_call(lguest_data.call[slot]);
		while (lguest_data.call[slot][0] == LG_HALT);
		lguest_data.status[slot] = 0;
		slot = (slot + 1) % LG_RING;
	}
}

/* Pages of no importance: between the guest, which ends below 2 MiB, and RAM's end. */
static void spoil_tables(void)
{
	uint32_t page = 0x300 + any() % 0xc00, entry = any() % ((RAM >> 12) + LG_DEVICE_PAGES) << 12;

	entry |= any() & 0x67;
	if (seldom(50))
		entry = any();
	tables[page >> 10][page & 1023] = entry;
	if (!seldom(3))
		hypercall(LG_SET_PTE, addr(pgdir), page << 12, 0, 0);
	if (seldom(20))
		pgdir[6 + any() % 900] = seldom(2) ? addr(tables[any() % 4]) | 0x67 : any() & ~1u;
}

static void touch_memory(void)
{
	uint32_t at = seldom(4) ? any() : (0x300 + any() % 0xc00) << 12 | (any() & 0xffc);

	skip = 2;
	if (seldom(2))
		__asm__ volatile("movl (%%ecx), %%eax" : : "c"(at) : "eax", "memory");
	else if (at >= 0x300000 && at < RAM)
		__asm__ volatile("movl %%eax, (%%ecx)" : : "c"(at), "a"(any()) : "memory");
}

static void load_segment(void)
{
	skip = 3;
	__asm__ volatile(".byte 0x66, 0x8e, 0xe0" : : "a"(any() % 256));
	skip = 4;
	__asm__ volatile(".byte 0x64, 0x8b, 0x41, 0x04" : : "c"(any() % 4096) : "eax", "memory");
}

static void user_program(void)
{
	static char *const programs[] = { user_syscall, user_hypercall, user_cli,    user_int20,
					  user_int3,    user_peek,      user_vmcall, user_sysenter };

	lguest_data.blocked = ~0u;
	handler = leave_user;
	load_gdt(14, 0x00cffb000000ffff);
	load_gdt(15, 0x00cff3000000ffff);
	go_user(addr(programs[any() % 8]), addr(user_stack_top));
	handler = survive;
	lguest_data.blocked = 0;
}

static void abuse_device(void)
{
	volatile uint8_t *at = (volatile uint8_t *)(RAM + any() % (4096 + 6 * 0x3000));
	struct device d;

	switch (any() % 4) {
	case 0:
		for (unsigned i = any() % 16; i > 0; i--)
			*at++ = (uint8_t)any();
		break;
	case 1:
		if (find(&d, any() % 4) && d.queues <= 2 && addr(d.desc) < RAM + 4000)
			set_status(&d, (uint8_t)(1u << any() % 8), true);
		break;
	case 2:
		*(volatile uint16_t *)(RAM + 4096 + any() % 6 * 0x3000 + 4096 + 2) = (uint16_t)(any() % 16);
		break;
	default:
		at = (volatile uint8_t *)(RAM + 4096 + any() % 6 * 0x3000 + 16 * (any() % 8));
		*(volatile uint32_t *)at = any_address();
		*(volatile uint32_t *)(at + 8) = any() % 5000;
		*(volatile uint32_t *)(at + 12) = any() & 0x70007;
		break;
	}
}

static void run_random(void)
{
	const char *word = (const char *)0x1000;

	while (*word && *word++ != ' ')
		;
	for (state = 1; *word >= '0' && *word <= '9'; word++)
		state = state * 10 + (uint32_t)(*word - '0');
	state = state * 2654435761u | 1;

	begin();
	make_tables();
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	handler = survive;
	for (unsigned i = 0; i < 3000; i++) {
		switch (any() % 8) {
		case 0:
		case 1: one_call(); break;
		case 2: fill_ring(); break;
		case 3: spoil_tables(); break;
		case 4: touch_memory(); break;
		case 5: load_segment(); break;
		case 6: user_program(); break;
		case 7: abuse_device(); break;
		}
		/* The lists may have been spoilt; interrupts and the gates that matter must work. */
		lguest_data.irq_enabled = seldom(4) ? 0 : LG_IRQ_ON;
	}
	check(true, "to the end");
}

const struct scenario random_guest[] = { { "random", run_random }, { NULL, NULL } };
