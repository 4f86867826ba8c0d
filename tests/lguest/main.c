/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first word of the command line names what to do: see run.py.
 */
#include "guest.h"

struct lguest_data lguest_data __attribute__((aligned(4096)));
uint32_t pgdir[1024] __attribute__((aligned(4096))), tables[8][1024] __attribute__((aligned(4096)));

void (*handler)(struct frame *f);
struct frame last;
volatile unsigned trap_count;
uint32_t skip;

static unsigned failures;

void say(const char *text)
{
	hypercall(LG_NOTIFY, addr(text), 0, 0, 0);
}

void say_number(uint32_t n)
{
	char text[11] = "0x00000000";

	for (unsigned i = 0; i < 8; i++)
		text[9 - i] = "0123456789abcdef"[n >> (4 * i) & 15];
	say(text);
}

void check(bool ok, const char *name)
{
	say(ok ? "ok - " : "not ok - ");
	say(name);
	say("\n");
	failures += !ok;
}

void check_equal(uint32_t got, uint32_t want, const char *name)
{
	check(got == want, name);
	if (got == want)
		return;
	say("# got ");
	say_number(got);
	say(", want ");
	say_number(want);
	say("\n");
}

void summary(void)
{
	say(failures ? "SUMMARY FAIL\n" : "SUMMARY PASS\n");
}

void power_off(const char *text)
{
	summary();
	hypercall(LG_SHUTDOWN, addr(text), LG_SHUTDOWN_POWEROFF, 0, 0);
	for (;;)
		;
}

static void prepare(uint32_t *words, uint32_t kernel)
{
	for (unsigned i = 0; i < LG_RING; i++)
		lguest_data.status[i] = LG_HCALL_DONE;
	lguest_data.blocked = 1;
	words[0] = addr(noirq_start);
	words[1] = addr(noirq_end);
	words[2] = kernel;
	words[3] = LG_SYSCALL;
}

void init(uint32_t kernel)
{
	prepare(lguest_data.word, kernel);
	hypercall(LG_INIT, addr(&lguest_data), 0, 0, 0);
}

void init_old(uint32_t kernel)
{
	prepare(lguest_data.word + 1, kernel);
	hypercall(LG_INIT, addr(&lguest_data), 0, 0, 0);
}

void set_gate(unsigned n, uint32_t offset, unsigned type, unsigned dpl)
{
	hypercall(LG_LOAD_IDT_ENTRY, n, LG_KERNEL_CS << 16 | (offset & 0xffff),
		  (offset & 0xffff0000) | 0x8000 | dpl << 13 | type << 8, 0);
}

void set_gates(void)
{
	for (unsigned n = 0; n < 256; n++) {
		bool user = n == 3 || n == 4 || n == LG_SYSCALL;

		set_gate(n, addr(stubs) + 16 * n, n == LG_SYSCALL ? 0xf : 0xe, user ? 3 : 0);
	}
	hypercall(LG_SET_STACK, LG_KERNEL_DS, addr(trap_stack_top), 1, 0);
}

void remember(struct frame *f)
{
	last = *f;
	trap_count++;
	f->eip += skip;
}

void leave_user(struct frame *f)
{
	last = *f;
	trap_count++;
	f->eip = addr((void *)back_to_kernel);
	f->cs = LG_KERNEL_CS;
	f->ds = LG_KERNEL_DS;
	/* Back on level 1 the stack pointer is what it is here; back_to_kernel() sets it. */
}

void on_trap(struct frame *f)
{
	if (handler)
		handler(f);
}

bool words_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (*a == 0 || *a == ' ') && (*b == 0 || *b == ' ');
}

void make_tables(void)
{
	for (unsigned i = 0; i < RAM >> 12; i++)
		tables[i >> 10][i & 1023] = i << 12 | 3;
	for (unsigned i = 0; i < LG_DEVICE_PAGES; i++)
		tables[RAM >> 22][i] = (RAM + (i << 12)) | 3;
	for (unsigned i = 0; i <= RAM >> 22; i++)
		pgdir[i] = addr(tables[i]) | 0x67;
	/* For level 3: its program and its stack. */
	tables[addr(user_code) >> 22][addr(user_code) >> 12 & 1023] |= 4;
	tables[addr(user_stack_top - 4) >> 22][addr(user_stack_top - 4) >> 12 & 1023] |= 4;
}

static bool try(const struct scenario *s, const char *name)
{
	for (; s->name; s++) {
		if (!words_equal(s->name, name))
			continue;
		s->run();
		return true;
	}
	return false;
}

void guest_main(void)
{
	const char *name = (const char *)0x1000;
	static const struct scenario *const lists[] = { good,    calls,  interrupts,  bad,
							devices, queues, random_guest };
	bool found = false;

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]) && !found; i++)
		found = try(lists[i], name);
	if (!found) {
		init(0xc0000000);
		say("not ok - no such scenario\n");
	}
	power_off("Power down");
}
