/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a host has to do, part by part of the ABI.
 */
#include "guest.h"

#define TS      8u
#define CR2_BAD 0x09000123u

/* ---- hypercalls without devices ---- */

static void run_init(void)
{
	init(KERNEL);
	check(lguest_data.tsc_khz > 100000, "TSC frequency");
	check_equal(lguest_data.reserve_mem, LG_RESERVE_MEM, "reserved address space");
	check(lguest_data.seconds > 1600000000 && lguest_data.nanoseconds < 1000000000, "wall clock");
	check_equal(lguest_data.word[0], addr(noirq_start),
		    "nothing overwrites noirq_start (3.x has no pgdir)");
	check_equal(lguest_data.irq_pending, 0, "no interrupt pending");
	/* Those that do nothing by themselves. */
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
	hypercall(LG_SEND_INTERRUPTS, 0, 0, 0, 0);
	hypercall(LG_SET_PMD, 0, 0, 0, 0);
	hypercall(LG_NOTIFY, 0, 0, 0, 0);
	check(true, "calls without effect");
}

/* The older layout: a word for the page directory, which the host fills in, before the others. */
static void run_old_layout(void)
{
	uint32_t *dir;

	init_old(KERNEL);
	dir = (uint32_t *)lguest_data.word[0];
	check(addr(dir) && !(addr(dir) & 4095) && addr(dir) < RAM, "page directory of the host's");
	check_equal(dir[0] & ~0xfffu, dir[KERNEL >> 22] & ~0xfffu, "RAM at 0 and at PAGE_OFFSET");
	check_equal(
		*(volatile uint32_t *)(KERNEL + addr(&lguest_data) + offsetof(struct lguest_data, word[4])),
		LG_SYSCALL, "paging is on: PAGE_OFFSET can be read");
	check_equal(lguest_data.word[1], addr(noirq_start), "noirq_start is where it was");
	check(lguest_data.seconds > 1600000000 && lguest_data.nanoseconds < 1000000000, "wall clock");
	/* VMCALL, which these guests use, is replaced in place. */
	{
		static volatile uint8_t *insn;

		__asm__ volatile("movl $1f, %0; movl $0, %%eax; 1: .byte 0x0f, 0x01, 0xc1"
				 : "=m"(insn)
				 :
				 : "eax", "memory");
		check(insn[0] == 0xcd && insn[1] == LG_TRAP_HYPERCALL && insn[2] == 0x90,
		      "VMCALL becomes INT 0x1F");
	}
}

void load_gdt(unsigned n, uint64_t desc)
{
	hypercall(LG_LOAD_GDT_ENTRY, n, (uint32_t)desc, (uint32_t)(desc >> 32), 0);
}

uint64_t data_segment(uint32_t base, unsigned dpl)
{
	return 0x0040920000000000ull | 0xff | (uint64_t)(base & 0xffffff) << 16 |
	       (uint64_t)(base & 0xff000000) << 32 | (uint64_t)dpl << 45;
}

uint32_t read_fs(uint16_t sel)
{
	uint32_t val;

	__asm__ volatile("movw %1, %%fs; movl %%fs:0, %0; xorl %%ecx, %%ecx; movw %%cx, %%fs"
			 : "=r"(val)
			 : "r"(sel)
			 : "ecx");
	return val;
}

static void run_segments(void)
{
	static uint32_t mark[3] = { 0x11111111, 0x22222222, 0x33333333 };
	static uint64_t tls[3];

	init(KERNEL);
	load_gdt(27, data_segment(addr(&mark[0]), 0));
	check_equal(read_fs(27 * 8 + 1), mark[0], "a descriptor of level 0 becomes one of level 1");
	load_gdt(27, data_segment(addr(&mark[1]), 1));
	check_equal(read_fs(27 * 8 + 1), mark[1], "a changed descriptor");
	for (unsigned i = 0; i < 3; i++)
		tls[i] = data_segment(addr(&mark[i]), 3);
	hypercall(LG_LOAD_TLS, addr(tls), 0, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		check_equal(read_fs((uint16_t)((LG_GDT_TLS + i) * 8 + 3)), mark[i], "TLS descriptor");

	/* One that is in use may go: the register keeps what it has loaded, also over a trap. (The original could not.) */
	{
		static uint64_t none[3];
		uint32_t val;

		set_gates();
		handler = remember;
		skip = 2;
		__asm__ volatile(
			"movw %w1, %%fs; int $0x1f; ud2; movl %%fs:0, %0; xorl %%ecx, %%ecx; movw %%cx, %%fs"
			: "=r"(val)
			: "r"(LG_GDT_TLS * 8 + 3), "a"(LG_LOAD_TLS), "b"(none)
			: "ecx", "memory");
		check_equal(last.vector, 6, "a trap, with a descriptor gone that is in use");
		check_equal(val, mark[0], "the segment is still there");
	}

	/* The host's own entries are not for the guest: loading them is a fault. */
	set_gates();
	handler = remember;
	load_gdt(31, data_segment(addr(&mark[0]), 1));
	skip = 3; /* movw %ax, %fs; with its prefix */
	__asm__ volatile("movl $0xf9, %%eax; .byte 0x66, 0x8e, 0xe0" : : : "eax");
	check_equal(last.vector, 13, "entry 31 stays the host's");
	check_equal(last.error, 0xf8, "... with its selector as error code");
}

/* ---- traps ---- */

static void run_traps(void)
{
	uint32_t divisor = 0, eax = 5, flags;

	init(KERNEL);
	set_gates();
	handler = remember;

	skip = 2;
	__asm__ volatile("ud2");
	check_equal(last.vector, 6, "#UD");
	check_equal(last.cs, LG_KERNEL_CS, "... from the kernel's code segment");
	__asm__ volatile("divl %1" : "+a"(eax) : "r"(divisor) : "edx");
	check_equal(last.vector, 0, "#DE");

	skip = 0;
	__asm__ volatile("int3");
	check_equal(last.vector, 3, "INT3");
	__asm__ volatile("int $0x80");
	check_equal(last.vector, 0x80, "INT 0x80");

	/* A gate of level 0 is not for an INT of level 1, as on a CPU. */
	skip = 2;
	__asm__ volatile("1: int $0x30; movl $1b, %0" : "=r"(eax));
	check_equal(last.vector, 13, "INT through a gate of level 0");
	check_equal(last.error, 0x30 * 8 + 2, "... names the gate");
	check_equal(last.eip, eax, "... and stands at the instruction");

	skip = 2; /* movb %al, (%ecx) */
	__asm__ volatile("movb %%al, (%%ecx)" : : "c"(CR2_BAD));
	check_equal(last.vector, 14, "#PF");
	check_equal(last.error, 2, "... of a write to what is not there");
	check_equal(lguest_data.cr2, CR2_BAD, "... with its address in lguest_data");

	/* hlt, lgdt and their like are faults of the kernel. */
	skip = 1;
	__asm__ volatile("hlt");
	check_equal(last.vector, 13, "HLT is not emulated");
	check_equal(last.error, 0, "... #GP(0)");

	/* The interrupt flag as the guest sees it. */
	lguest_data.irq_enabled = LG_IRQ_ON;
	skip = 2;
	__asm__ volatile("ud2");
	check(last.eflags & LG_IRQ_ON, "flags in the frame: interrupts on");
	lguest_data.irq_enabled = 0;
	__asm__ volatile("ud2");
	check(!(last.eflags & LG_IRQ_ON), "flags in the frame: interrupts off");
	lguest_data.irq_enabled = 0x46; /* what an IRET may store: bit 9 is what counts */
	__asm__ volatile("ud2");
	check(!(last.eflags & LG_IRQ_ON), "only bit 9 of the flag counts");
	__asm__ volatile("pushf; popl %0" : "=r"(flags));
	check(flags & LG_IRQ_ON, "the CPU's own flag is always on");
}

static volatile uint32_t enabled_in_handler, flags_in_handler;

static void look_at_flags(struct frame *f)
{
	last = *f;
	enabled_in_handler = lguest_data.irq_enabled;
	__asm__ volatile("pushf; popl %0" : "=r"(flags_in_handler));
	f->eflags &= ~0x100u;
	f->eip += skip;
}

static void run_gates(void)
{
	init(KERNEL);
	set_gates();
	handler = look_at_flags;
	skip = 2;
	lguest_data.irq_enabled = LG_IRQ_ON;
	__asm__ volatile("ud2");
	check_equal(enabled_in_handler, 0, "an interrupt gate turns interrupts off");
	check_equal(lguest_data.irq_enabled & LG_IRQ_ON, LG_IRQ_ON, "IRET's path turns them on");
	set_gate(6, addr(stubs) + 16 * 6, 0xf, 0);
	__asm__ volatile("ud2");
	check_equal(enabled_in_handler & LG_IRQ_ON, LG_IRQ_ON, "a trap gate leaves them on");
	/* Single step: the handler must not run with TF. */
	skip = 0;
	__asm__ volatile("pushf; orl $0x100, (%esp); popf; nop; nop");
	check_equal(last.vector, 1, "single step");
	check(!(flags_in_handler & 0x4100), "TF and NT are clear in a handler");
	/* A gate that is taken back. */
	hypercall(LG_LOAD_IDT_ENTRY, 2, 0, 0x8500, 0);
	hypercall(LG_LOAD_IDT_ENTRY, 31, 0, 0x8500, 0);
	check(true, "gates of the host's are left alone");
}

static void run_emulation(void)
{
	uint32_t eax;

	init(KERNEL);
	set_gates();
	handler = remember;
	__asm__ volatile("cli");
	__asm__ volatile("movl $0x12345678, %%eax; inb $0x21, %%al" : "=a"(eax));
	check_equal(eax, 0x123456ff, "IN AL");
	__asm__ volatile("movl $0x12345678, %%eax; inw $0x21, %%ax" : "=a"(eax));
	check_equal(eax, 0x1234ffff, "IN AX");
	__asm__ volatile("movl $0x12345678, %%eax; inl %%dx, %%eax" : "=a"(eax) : "d"(0x40));
	check_equal(eax, 0xffffffff, "IN EAX");
	__asm__ volatile("outb %%al, $0x80; outb %%al, %%dx; outw %%ax, %%dx; outl %%eax, %%dx"
			 :
			 : "a"(1), "d"(0x80));
	check_equal(trap_count, 0, "CLI, IN and OUT do not reach the guest");
	skip = 2;
	__asm__ volatile("movl $1, %%ecx; rdmsr" : : : "eax", "ecx", "edx");
	check_equal(last.vector, 13, "RDMSR does");
}

/* Virtual CR0.TS. */
static void clear_ts(struct frame *f)
{
	last = *f;
	hypercall(LG_TS, 0, 0, 0, 0);
}

static void run_fpu(void)
{
	uint16_t cw = 0;

	init(KERNEL);
	set_gates();
	handler = clear_ts;
	hypercall(LG_TS, TS, 0, 0, 0);
	__asm__ volatile("fninit; fnstcw %0" : "=m"(cw));
	check_equal(last.vector, 7, "#NM under TS");
	check_equal(cw, 0x37f, "and again without");
}

/* The host works on traps with the guest's vector registers live; some of that work wants those registers. */
static const uint16_t x87_control = 0x27f;
static const uint32_t mxcsr_control = 0x7f80;

static uint32_t vector_word(unsigned i)
{
	return 0x01010101 * (i + 1);
}

static void load_vectors(void)
{
	static uint32_t val[32];

	for (unsigned i = 0; i < 32; i++)
		val[i] = vector_word(i);
	__asm__ volatile(
		"fninit; fldpi; fldcw %1; ldmxcsr %2\n\t"
		"movups (%0), %%xmm0; movups 16(%0), %%xmm1; movups 32(%0), %%xmm2; movups 48(%0), %%xmm3\n\t"
		"movups 64(%0), %%xmm4; movups 80(%0), %%xmm5; movups 96(%0), %%xmm6; movups 112(%0), %%xmm7"
		:
		: "r"(val), "m"(x87_control), "m"(mxcsr_control)
		: "memory");
}

static void check_vectors(const char *name)
{
	static uint32_t val[32];
	uint32_t mxcsr = 0, pi[3] = { 0 };
	uint16_t cw = 0;
	unsigned i;

	__asm__ volatile(
		"stmxcsr %1; fnstcw %2; fstpt %3\n\t"
		"movups %%xmm0, (%0); movups %%xmm1, 16(%0); movups %%xmm2, 32(%0); movups %%xmm3, 48(%0)\n\t"
		"movups %%xmm4, 64(%0); movups %%xmm5, 80(%0); movups %%xmm6, 96(%0); movups %%xmm7, 112(%0)"
		:
		: "r"(val), "m"(mxcsr), "m"(cw), "m"(pi)
		: "memory");
	for (i = 0; i < 32 && val[i] == vector_word(i); i++)
		;
	check(i == 32, name);
	if (i < 32)
		check_equal(val[i], vector_word(i), "... a vector register");
	check_equal(mxcsr, mxcsr_control, "... MXCSR");
	check_equal(cw, x87_control, "... x87 control word");
	check(pi[0] == 0x2168c235 && pi[1] == 0xc90fdaa2 && (pi[2] & 0xffff) == 0x4000, "... pi in the x87");
}

static void ring_call(unsigned slot, uint32_t n, uint32_t a, uint32_t b, uint32_t c)
{
	lguest_data.call[slot][0] = n;
	lguest_data.call[slot][1] = a;
	lguest_data.call[slot][2] = b;
	lguest_data.call[slot][3] = c;
	lguest_data.status[slot] = 0;
}

static void run_vectors(void)
{
	static uint64_t tls[3];

	init(KERNEL);
	set_gates();
	handler = remember;
	skip = 0;
	lguest_data.blocked = 0;

	load_vectors();
	ring_call(0, LG_LOAD_GDT_ENTRY, 20, 0x0000ffff, 0x00cff300);
	hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
	check_vectors("vector registers over a call from the ring");
	check_equal(lguest_data.status[0], LG_HCALL_DONE, "... which is done");
	load_vectors();
	hypercall(LG_LOAD_TLS, addr(tls), 0, 0, 0);
	check_vectors("vector registers over LOAD_TLS");

	load_vectors();
	say("# text, which goes to the console, and to the output behind it\n");
	hypercall(LG_SET_STACK, LG_KERNEL_DS, addr(trap_stack_top), 1, 0);
	hypercall(LG_SET_PTE, 0, 0x200000, 0, 0);
	hypercall(LG_FLUSH_TLB, 1, 0, 0, 0);
	lguest_data.irq_enabled = LG_IRQ_ON;
	arm(1000);
	check(wait_for(1, 1000), "a timer");
	__asm__ volatile("int3");
	check(last.vector == 3, "a reflected trap");
	hypercall(LG_HALT, (arm(1000), 0), 0, 0, 0);
	check_vectors("vector registers as before");
}

/* What the host writes to a page with code: lguest_data, then a frame. The engine must be told, in ordinary C. */
static void run_code_and_data(void)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	unsigned traps = 0;

	init(KERNEL);
	set_gates();
	handler = remember;
	skip = 0;
	page[0] = lguest_data.code[0] = 0xcc; /* INT3 */
	page[1] = lguest_data.code[1] = 0xc3; /* RET */
	load_vectors();
	for (unsigned i = 0; i < 3; i++) {
		lguest_data.irq_enabled = LG_IRQ_ON; /* the gate clears it */
		__asm__ volatile("call *%0" : : "r"(lguest_data.code) : "memory");
		traps += last.eip == addr(lguest_data.code) + 1;
	}
	check_vectors("vector registers over writes to lguest_data, with code on its page");
	load_vectors();
	for (unsigned i = 0; i < 3; i++) {
		__asm__ volatile("movl %%esp, %%ebx; movl %1, %%esp; call *%0; movl %%ebx, %%esp"
				 :
				 : "r"(page), "r"(page + sizeof(page))
				 : "ebx", "memory");
		traps += last.eip == addr(page) + 1;
	}
	check_vectors("vector registers over frames on a page with code");
	check_equal(traps, 6, "... traps of that code");

	/* The host's own write into code: VMCALL becomes INT 0x1F. */
	page[0] = 0x0f;
	page[1] = 0x01;
	page[2] = 0xc1;
	page[3] = 0xc3;
	load_vectors();
	__asm__ volatile("call *%0" : : "r"(page), "a"(LG_FLUSH_ASYNC) : "memory");
	check_vectors("vector registers over a VMCALL");
	check_equal(page[0], 0xcd, "... replaced");
}

/* ---- page tables ---- */

static void run_paging(void)
{
	volatile uint32_t *high = (uint32_t *)(KERNEL + 0x5000);
	static uint32_t high_table[1024] __attribute__((aligned(4096)));
	static uint32_t page[2][1024] __attribute__((aligned(4096)));

	init(KERNEL);
	set_gates();
	handler = remember;
	page[0][0] = 0xaaaa0000;
	page[1][0] = 0xbbbb0000;
	make_tables();
	pgdir[KERNEL >> 22] = addr(high_table) | 0x67;
	high_table[5] = addr(page[0]) | 3;
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	check_equal(*high, 0xaaaa0000, "tables of the guest's own");
	check(high_table[5] & 0x20, "accessed bit");
	check(!(high_table[5] & 0x40), "not dirty before a write");
	*high = 0xaaaa0001;
	check(high_table[5] & 0x40, "dirty bit");
	check_equal(page[0][0], 0xaaaa0001, "the write went to the page");

	high_table[5] = addr(page[1]) | 3;
	hypercall(LG_SET_PTE, addr(pgdir), addr(high), high_table[5], 0);
	check_equal(*high, 0xbbbb0000, "SET_PTE");
	high_table[5] = addr(page[0]) | 3;
	hypercall(LG_FLUSH_TLB, 1, 0, 0, 0);
	check_equal(*high, 0xaaaa0001, "FLUSH_TLB");
	high_table[5] = 0;
	hypercall(LG_SET_PTE, addr(pgdir), addr(high), 0, 0);
	skip = 2; /* movl (%ecx), %eax */
	__asm__ volatile("movl (%%ecx), %%eax" : : "c"(high) : "eax");
	check_equal(last.vector, 14, "SET_PTE of nothing: #PF");
	check_equal(last.error, 0, "... not present");

	/* CR0.WP: the test that Linux makes at boot. */
	high_table[5] = addr(page[0]) | 1;
	hypercall(LG_SET_PTE, addr(pgdir), addr(high), high_table[5], 0);
	__asm__ volatile("movl %%eax, (%%ecx)" : : "c"(high), "a"(0));
	check_equal(last.error, 3, "write protection holds for the kernel");
	check_equal(page[0][0], 0xaaaa0001, "... and nothing was written");

	pgdir[KERNEL >> 22] = 0;
	hypercall(LG_SET_PGD, addr(pgdir), KERNEL >> 22, 0, 0);
	__asm__ volatile("movl (%%ecx), %%eax" : : "c"(high) : "eax");
	check_equal(last.error, 0, "SET_PGD");
	check_equal(lguest_data.cr2, addr(high), "... address");
	/* Guests of 2.6.3x write the host's entry. */
	hypercall(LG_SET_PGD, addr(pgdir), 1023, 0, 0);
	check(true, "SET_PGD of the host's entry is ignored");
}

/* ---- the ring ---- */

static void run_ring(void)
{
	static uint32_t mark[2] = { 0x44444444, 0x55555555 };
	uint64_t desc[2] = { data_segment(addr(&mark[0]), 1), data_segment(addr(&mark[1]), 1) };
	unsigned done = 0, next = 0;

	init(KERNEL);
	/* Twice around, in groups: order, and where the host goes on. */
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 37; i++) {
			uint32_t *call = lguest_data.call[next];
			unsigned which = (round + i) & 1;

			call[0] = LG_LOAD_GDT_ENTRY;
			call[1] = 20 + round;
			call[2] = (uint32_t)desc[which];
			call[3] = (uint32_t)(desc[which] >> 32);
			lguest_data.status[next] = 0;
			next = (next + 1) % LG_RING;
		}
		hypercall(LG_FLUSH_ASYNC, 0, 0, 0, 0);
		for (unsigned i = 0; i < LG_RING; i++)
			done += lguest_data.status[i] == LG_HCALL_DONE;
		check_equal(read_fs((uint16_t)((20 + round) * 8 + 1)), mark[(round + 36) & 1],
			    "the last call of a batch counts");
	}
	check_equal(done, 4 * LG_RING, "all calls are marked done");

	/* A full ring, emptied before a direct call that contradicts it. */
	for (unsigned i = 0; i < LG_RING; i++) {
		lguest_data.call[i][0] = LG_LOAD_GDT_ENTRY;
		lguest_data.call[i][1] = 25;
		lguest_data.call[i][2] = (uint32_t)desc[0];
		lguest_data.call[i][3] = (uint32_t)(desc[0] >> 32);
		lguest_data.status[i] = 0;
	}
	load_gdt(25, desc[1]);
	check_equal(read_fs(25 * 8 + 1), mark[1], "the ring comes before the direct call");

	/* Faults do not empty it. */
	set_gates();
	handler = remember;
	lguest_data.call[next][0] = LG_LOAD_GDT_ENTRY;
	lguest_data.call[next][1] = 25;
	lguest_data.status[next] = 0;
	skip = 2;
	__asm__ volatile("ud2");
	check_equal(lguest_data.status[next], 0, "a trap leaves the ring alone");
}

/* ---- time and interrupts ---- */

void arm(uint32_t us)
{
	hypercall(LG_SET_CLOCKEVENT, us * 1000, 0, 0, 0);
}

uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

bool wait_for(unsigned count, uint32_t ms)
{
	uint64_t end = tsc() + (uint64_t)lguest_data.tsc_khz * ms;

	while (trap_count < count && tsc() < end)
		;
	return trap_count >= count;
}

static void run_timer(void)
{
	uint64_t start;
	uint32_t ms;

	init(KERNEL);
	set_gates();
	handler = remember;
	skip = 0;
	lguest_data.blocked = 0;

	lguest_data.irq_enabled = LG_IRQ_ON;
	start = tsc();
	arm(20000);
	hypercall(LG_HALT, 0, 0, 0, 0);
	ms = (uint32_t)(tsc() - start) / lguest_data.tsc_khz;
	check_equal(last.vector, LG_IRQ_VECTOR, "the timer is irq 0");
	check_equal(trap_count, 1, "one interrupt");
	check(ms >= 20 && ms < 1000, "in time");

	/* HALT with interrupts off: it implies turning them on. */
	lguest_data.irq_enabled = 0;
	arm(1000);
	hypercall(LG_HALT, 0, 0, 0, 0);
	check_equal(trap_count, 2, "HALT turns interrupts on");

	/* Without HALT: in the middle of a loop. */
	lguest_data.irq_enabled = LG_IRQ_ON;
	arm(1000);
	check(wait_for(3, 1000), "an interrupt in a loop");
	check_equal(last.eflags & LG_IRQ_ON, LG_IRQ_ON, "... frame says that interrupts were on");

	/* 0 cancels, a new one replaces the old. */
	arm(5000);
	hypercall(LG_SET_CLOCKEVENT, 0, 0, 0, 0);
	check(!wait_for(4, 30), "a cancelled timer");
	arm(2000000);
	arm(1000);
	check(wait_for(4, 1000), "a replaced timer");
}

static void run_interrupt_flag(void)
{
	init(KERNEL);
	set_gates();
	handler = remember;
	lguest_data.blocked = 0;

	/* Off: the host asks to be called. */
	lguest_data.irq_enabled = 0;
	arm(100);
	check(!wait_for(1, 30), "no interrupt while they are off");
	check_equal(lguest_data.irq_pending, LG_IRQ_ON, "the host has set irq_pending");
	lguest_data.irq_enabled = LG_IRQ_ON;
	hypercall(LG_SEND_INTERRUPTS, 0, 0, 0, 0);
	check_equal(trap_count, 1, "SEND_INTERRUPTS");
	check_equal(lguest_data.irq_pending, 0, "irq_pending is clear again (the original's never was)");

	/* A value that is not zero, but without bit 9. */
	lguest_data.irq_enabled = 0x46;
	arm(100);
	check(!wait_for(2, 30), "interrupts are off without bit 9");
	lguest_data.irq_enabled = 0x246;
	check(wait_for(2, 1000), "enabling without a call is noticed soon");

	/* Blocked: pending, but no reason to call. */
	lguest_data.irq_enabled = LG_IRQ_ON;
	lguest_data.blocked = 1;
	arm(100);
	check(!wait_for(3, 30), "a blocked interrupt");
	check_equal(lguest_data.irq_pending, 0, "... is nothing to call for");
	lguest_data.blocked = 0;
	check(wait_for(3, 1000), "unblocking without a call is noticed soon");

	/* Pending and to be called for, then blocked: nothing to call for any more. */
	lguest_data.irq_enabled = 0;
	arm(100);
	check(!wait_for(4, 30), "off again");
	check_equal(lguest_data.irq_pending, LG_IRQ_ON, "... irq_pending");
	lguest_data.blocked = 1;
	check(!wait_for(4, 30), "blocked as well");
	check_equal(lguest_data.irq_pending, 0, "... irq_pending is clear");
	lguest_data.irq_enabled = LG_IRQ_ON;
	lguest_data.blocked = 0;
	check(wait_for(4, 1000), "all on");
}

/* A blocked interrupt does not end a HALT, another one does. */
static void run_halt(void)
{
	init(KERNEL);
	set_gates();
	handler = remember;
	lguest_data.irq_enabled = LG_IRQ_ON;
	lguest_data.blocked = 1;
	arm(1000);
	say("ok - halting with the timer blocked: nothing may come after this\n");
	hypercall(LG_HALT, 0, 0, 0, 0);
	say("not ok - a blocked interrupt ended HALT\n");
}

static volatile unsigned taken_inside;

static void note_place(struct frame *f)
{
	trap_count++;
	taken_inside += f->eip >= lguest_data.word[0] && f->eip < lguest_data.word[1];
}

/* Nothing is delivered between noirq_start and noirq_end. */
static void run_noirq(void)
{
	extern char spin_start[], spin_end[];
	uint32_t turns;

	for (unsigned i = 0; i < LG_RING; i++)
		lguest_data.status[i] = LG_HCALL_DONE;
	lguest_data.word[0] = addr(spin_start);
	lguest_data.word[1] = addr(spin_end);
	lguest_data.word[2] = KERNEL;
	lguest_data.word[3] = LG_SYSCALL;
	hypercall(LG_INIT, addr(&lguest_data), 0, 0, 0);
	set_gates();
	handler = note_place;
	lguest_data.irq_enabled = LG_IRQ_ON;
	arm(1000);
	turns = 30000000;
	__asm__ volatile(".globl spin_start, spin_end\nspin_start: decl %0; jnz spin_start\nspin_end:"
			 : "+r"(turns));
	check(wait_for(1, 1000), "delivered behind the range");
	check_equal(taken_inside, 0, "and not inside");
}

/* ---- level 3 ---- */

static void run_user(void)
{
	init(KERNEL);
	set_gates();
	make_tables();
	hypercall(LG_NEW_PGTABLE, addr(pgdir), 0, 0, 0);
	load_gdt(14, 0x00cffb000000ffff);
	load_gdt(15, 0x00cff3000000ffff);
	lguest_data.irq_enabled = LG_IRQ_ON;
	handler = leave_user;

	go_user(addr(user_syscall), addr(user_stack_top));
	check_equal(last.vector, 0x80, "system call");
	check_equal(last.eax, 0x1234, "... registers");
	check_equal(last.cs, 0x73, "... from level 3");
	check_equal(last.user_ss, 0x7b, "... stack segment");
	check_equal(last.user_esp, addr(user_stack_top), "... stack pointer");
	check(last.esp < addr(trap_stack_top) && last.esp > addr(trap_stack_top) - 4096,
	      "on the stack of SET_STACK");
	check_equal(last.eip, addr(user_syscall) + 7, "... behind INT 0x80");

	go_user(addr(user_hypercall), addr(user_stack_top));
	check_equal(last.vector, 13, "a hypercall from level 3");
	check_equal(last.error, LG_TRAP_HYPERCALL * 8 + 2, "... is #GP with the gate's number");
	check_equal(last.eip, addr(user_hypercall) + 2, "... at the instruction");

	go_user(addr(user_cli), addr(user_stack_top));
	check_equal(last.vector, 13, "CLI at level 3 is not emulated");
	check_equal(last.error, 0, "... #GP(0)");

	go_user(addr(user_int20), addr(user_stack_top));
	check_equal(last.error, 0x20 * 8 + 2, "INT through a kernel's gate");

	go_user(addr(user_int3), addr(user_stack_top));
	check_equal(last.vector, 3, "INT3 from level 3");

	go_user(addr(user_peek), addr(user_stack_top));
	check_equal(last.vector, 14, "reading the kernel's memory");
	check_equal(last.error, 5, "... a protection fault of level 3");
	check_equal(lguest_data.cr2, 0x100000, "... address");

	/* Long enough to be there in time. */
	lguest_data.blocked = 0;
	arm(100000);
	go_user(addr(user_spin), addr(user_stack_top));
	check_equal(last.vector, LG_IRQ_VECTOR, "an interrupt at level 3");
	check_equal(last.cs, 0x73, "... comes from there");
	check_equal(last.eip, addr(user_spin), "... at the loop");
	check(last.esp < addr(trap_stack_top) && last.esp > addr(trap_stack_top) - 4096,
	      "... on the stack of SET_STACK");
}

/* ---- ends ---- */

static void run_panic(void)
{
	init(KERNEL);
	power_off("it is enough\nof this");
}

static void run_long_text(void)
{
	static char text[300];

	init(KERNEL);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = 'x';
	power_off(text);
}

static void run_escape_text(void)
{
	init(KERNEL);
	power_off("\x1b[31mred\x07");
}

/* The layout of the restart text is not looked at. */
static void run_restart(void)
{
	init(KERNEL);
	hypercall(LG_SHUTDOWN, 0x40000000, LG_SHUTDOWN_RESTART, 0, 0);
}

const struct scenario good[] = {
	{ "init", run_init },
	{ "old-layout", run_old_layout },
	{ "segments", run_segments },
	{ "traps", run_traps },
	{ "gates", run_gates },
	{ "emulation", run_emulation },
	{ "fpu", run_fpu },
	{ "vectors", run_vectors },
	{ "code-and-data", run_code_and_data },
	{ "paging", run_paging },
	{ "ring", run_ring },
	{ "timer", run_timer },
	{ "interrupt-flag", run_interrupt_flag },
	{ "halt", run_halt },
	{ "noirq", run_noirq },
	{ "user", run_user },
	{ "panic", run_panic },
	{ "long-text", run_long_text },
	{ "escape-text", run_escape_text },
	{ "restart", run_restart },
	{ NULL, NULL },
};
