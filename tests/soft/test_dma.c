/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices that write over translated code (guest_wrote()).
 *
 * A guest in flat 32-bit mode without paging calls functions that a "device"
 * changes: another thread, or the guest's own while it is in a doorbell. When
 * the guest has been told, only the new code may run. The engine sees neither
 * an interrupt nor a store of the guest's that would make it look.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "cpu/x86.h"
#include "engine/engine.h"
#include "engine/soft/block.h"
#include "memory.h"

#define RAM_SIZE  (64ull << 20)
#define CODE      0x1000u
#define MAILBOX   0x8000u
#define FUNCTIONS 0x100000u /* one page each */
#define COUNT     64u
#define DOORBELL  0xd0000000u
#define PORT_BELL 0x50
#define PORT_HALT 0x51
#define PORT_END  0x52

/* What guest and device say to each other. The guest polls `go`. */
struct mailbox {
	uint32_t go;       /* number of the round; ~0: end */
	uint32_t function; /* which one to call */
	uint32_t done;     /* the round that the guest has finished */
	uint32_t result;
};

/* clang-format off */
__asm__(".section .rodata\n"
	".code32\n"
	/* Round after round: wait, call, answer. */
	"guest_poll:\n"
	"	xor	%ecx, %ecx\n"
	"1:	pause\n"
	"	mov	0x8000, %eax\n"
	"	cmp	%eax, %ecx\n"
	"	je	1b\n"
	"	mov	%eax, %ecx\n"
	"	cmp	$-1, %eax\n"
	"	je	2f\n"
	"	mov	0x8004, %eax\n"
	"	shl	$12, %eax\n"
	"	add	$0x100000, %eax\n"
	"	test	$1, %cl\n"
	"	jz	3f\n"
	/* A direct call to 0x100000; the assembler does not know that all this will lie at 0x1000. */
	"	.byte	0xe8\n"
	"4:	.long	0x100000 - 0x1000 - 4 - (4b - guest_poll)\n"
	"	mov	0x8004, %eax\n"
	"	shl	$12, %eax\n"
	"	add	$0x100000, %eax\n"
	"3:	call	*%eax\n"
	"	mov	%eax, 0x800c\n"
	"	mov	%ecx, 0x8008\n"
	"	jmp	1b\n"
	"2:	out	%al, $0x52\n"
	"guest_poll_end:\n"
	/* The device changes the very next instructions. */
	"guest_bell:\n"
	"	mov	$200, %ecx\n"
	"1:	mov	%ecx, 0xd0000000\n"
	"guest_bell_1:\n"
	"	mov	$0, %eax\n"
	"	mov	%eax, 0x8008\n"
	"	mov	%ecx, %eax\n"
	"	out	%al, $0x50\n"
	"guest_bell_2:\n"
	"	mov	$0, %edx\n"
	"	mov	%edx, 0x800c\n"
	"	out	%al, $0x51\n"
	"	loop	1b\n"
	"	out	%al, $0x52\n"
	"guest_bell_end:\n"
	/* The descriptor that MOV SS loads is the device's, which changes this code and interrupts. */
	"guest_shadow:\n"
	"	mov	$200, %ebx\n"
	"	mov	$0x10, %eax\n"
	"	sti\n"
	"1:	mov	%eax, %ss\n"
	"guest_shadow_1:\n"
	"	nop\n"
	"	dec	%ebx\n"
	"	jnz	1b\n"
	"	out	%al, $0x52\n"
	"guest_shadow_irq:\n"
	"	incl	0x8000\n"
	"	cmpl	$0x1000 + guest_shadow_1 - guest_shadow, (%esp)\n"
	"	jne	1f\n"
	"	incl	0x8004\n"
	"1:	iret\n"
	"guest_shadow_end:\n"
	/* Status of a device that has just changed what comes behind the next jump. */
	"guest_status:\n"
	"	mov	$200, %ecx\n"
	"1:	mov	0xd0000008, %ebx\n"
	"	jmp	2f\n"
	"	.balign	64\n"
	"2:	nop\n"
	"guest_status_1:\n"
	"	mov	$0, %edx\n"
	"	mov	%edx, 0x800c\n"
	"	mov	%ebx, %eax\n"
	"	out	%al, $0x51\n"
	"	loop	1b\n"
	"	out	%al, $0x52\n"
	"guest_status_end:\n"
	/* A device has written to this code, but it is the guest that changes it. */
	"guest_own:\n"
	"	mov	$200, %ecx\n"
	"1:	mov	0xd0000010, %ebx\n"
	"	lea	(%ecx, %ecx, 4), %eax\n"
	"	mov	%eax, 0x1000 + guest_own_1 + 1 - guest_own\n"
	"guest_own_1:\n"
	"	mov	$0, %edx\n"
	"	mov	%edx, 0x800c\n"
	"	mov	%ecx, %eax\n"
	"	out	%al, $0x51\n"
	"	loop	1b\n"
	"	out	%al, $0x52\n"
	"guest_own_end:\n"
	/* Hears by polling of what a device has written behind SERIALIZE. */
	"guest_serialize:\n"
	"	xor	%ecx, %ecx\n"
	"1:	.rept	8\n"
	"	pause\n"
	"	.endr\n"
	"	mov	0x8000, %eax\n"
	"	cmp	%eax, %ecx\n"
	"	je	1b\n"
	"	.byte	0x0f, 0x01, 0xe8\n"
	"guest_serialize_1:\n"
	"	mov	$0, %edx\n"
	"	mov	%edx, 0x800c\n"
	"	mov	%eax, %ecx\n"
	"	mov	%ecx, 0x8008\n"
	"	cmp	$-1, %eax\n"
	"	jne	1b\n"
	"	out	%al, $0x52\n"
	"guest_serialize_end:\n"
	".code64\n"
	/* Pushes on both sides of the edge of a page, of which the first reads a device. */
	"guest_push:\n"
	"	mov	$100, %ecx\n"
	"	mov	$0xd0000018, %edi\n"
	"1:	mov	$0x10008, %esp\n"
	"	push	(%rdi)\n"
	"	push	%rcx\n"
	"	mov	$0x10008, %esp\n"
	"	call	*(%rdi)\n"
	"guest_push_to:\n"
	"	push	%rcx\n"
	"	loop	1b\n"
	"	out	%al, $0x52\n"
	"guest_push_end:\n"
	".text\n");
/* clang-format on */
extern const uint8_t guest_poll[], guest_poll_end[];
extern const uint8_t guest_bell[], guest_bell_1[], guest_bell_2[], guest_bell_end[];

extern const uint8_t guest_shadow[], guest_shadow_1[], guest_shadow_irq[], guest_shadow_end[];
extern const uint8_t guest_status[], guest_status_1[], guest_status_end[];
extern const uint8_t guest_own[], guest_own_end[];
extern const uint8_t guest_serialize[], guest_serialize_1[], guest_serialize_end[];
extern const uint8_t guest_push[], guest_push_to[], guest_push_end[];

#define GDT_DEVICE 0xd0001000u
#define IDT        0x9000u
#define SHADOW_IRQ 32

struct test {
	struct guest_memory mem;
	struct cpuid_table cpuid;
	struct engine *engine;
	struct vcpu *vcpu;
	_Atomic bool stop;
	bool irq;
	uint32_t round, wrong;
	unsigned seed;
};

static uint32_t *word(struct test *t, uint32_t addr)
{
	return guest_range(&t->mem, addr, 4);
}

/* The device: changes the immediate of the MOV at @addr, then says so. */
static void dma_immediate(struct test *t, uint32_t addr, uint32_t value)
{
	memcpy(guest_range(&t->mem, addr + 1, 4), &value, 4);
	guest_wrote(&t->mem, guest_range(&t->mem, addr + 1, 4), 4);
}

/* ---- the bus ---- */

static uint64_t mmio_read(void *o, unsigned cpu, uint64_t addr, unsigned size)
{
	struct test *t = o;

	if (addr == DOORBELL + 8) {
		uint32_t value = (uint32_t)(++t->seed & 0xff);

		dma_immediate(t, CODE + (uint32_t)(guest_status_1 - guest_status), value * 5);
		return value;
	}
	if (addr == DOORBELL + 24) {
		t->round++;
		return CODE + (uint64_t)(guest_push_to - guest_push);
	}
	if (addr == DOORBELL + 16) {
		guest_wrote(&t->mem, guest_range(&t->mem, CODE, 4096), 4096);
		return 0;
	}
	if (addr == GDT_DEVICE + 8)
		return 0x00cf9b000000ffffull;
	if (addr != GDT_DEVICE + 0x10)
		return ~0ull;
	guest_wrote(&t->mem, guest_range(&t->mem, CODE, 64), 64);
	t->irq = true;
	t->engine->vcpu_kick(t->vcpu);
	return 0x00cf93000000ffffull;
}

static void mmio_write(void *o, unsigned cpu, uint64_t addr, unsigned size, uint64_t val)
{
	struct test *t = o;

	assert_int_equal(addr, DOORBELL);
	dma_immediate(t, CODE + (uint32_t)(guest_bell_1 - guest_bell), (uint32_t)val * 3);
}

static uint32_t pio_read(void *o, unsigned cpu, uint16_t port, unsigned size)
{
	return ~0u;
}

static void pio_write(void *o, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
	struct test *t = o;

	switch (port) {
	case PORT_BELL:
		if (*word(t, MAILBOX + 8) != val * 3)
			t->wrong++;
		dma_immediate(t, CODE + (uint32_t)(guest_bell_2 - guest_bell), val * 5);
		break;
	case PORT_HALT:
		if (*word(t, MAILBOX + 12) != (val & 0xff) * 5)
			t->wrong++;
		t->round++;
		break;
	case PORT_END:
		t->stop = true;
		t->engine->vcpu_kick(t->vcpu);
		break;
	}
}

static bool msr_read(void *o, unsigned cpu, uint32_t msr, uint64_t *val)
{
	return false;
}

static bool msr_write(void *o, unsigned cpu, uint32_t msr, uint64_t val)
{
	return false;
}

static uint8_t tpr_read(void *o, unsigned cpu)
{
	return 0;
}

static void tpr_write(void *o, unsigned cpu, uint8_t tpr)
{
}

static enum vcpu_service service(void *o, unsigned cpu)
{
	struct test *t = o;

	return t->stop ? VCPU_STOP : VCPU_CONTINUE;
}

static bool interrupt_pending(void *o, unsigned cpu)
{
	return ((struct test *)o)->irq;
}

static int interrupt_accept(void *o, unsigned cpu)
{
	struct test *t = o;
	int vector = t->irq ? SHADOW_IRQ : -1;

	t->irq = false;
	return vector;
}

static void halt(void *o, unsigned cpu)
{
}

static const struct vcpu_bus bus = {
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.pio_read = pio_read,
	.pio_write = pio_write,
	.msr_read = msr_read,
	.msr_write = msr_write,
	.tpr_read = tpr_read,
	.tpr_write = tpr_write,
	.service = service,
	.interrupt_pending = interrupt_pending,
	.interrupt_accept = interrupt_accept,
	.halt = halt,
};

/* ---- the guest ---- */

static struct test *new_test(void)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_int_equal(guest_memory_create(&t->mem, RAM_SIZE), 0);
	return t;
}

static void free_test(struct test *t)
{
	guest_memory_destroy(&t->mem);
	free(t);
}

static void start(struct test *t, const uint8_t *code, const uint8_t *end)
{
	struct engine_config cfg = { .memory = &t->mem, .vcpus = 1 };
	struct vcpu_bus b = bus;
	struct x86_state *s = aligned_alloc(64, (sizeof(*s) + 63) & ~63ul);

	memset(s, 0, sizeof(*s));
	cpuid_build(&t->cpuid, 1, NULL);
	t->engine = engine_soft.create(&cfg);
	assert_non_null(t->engine);
	b.machine = t;
	t->vcpu = t->engine->vcpu_create(t->engine, 0, &b, &t->cpuid);
	assert_non_null(t->vcpu);
	memcpy(guest_range(&t->mem, CODE, 4096), code, (size_t)(end - code));

	s->rip = CODE;
	s->regs[REG_RSP] = 0x10000;
	s->rflags = 2;
	s->cr0 = CR0_PE | CR0_ET;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = (struct x86_seg){ .sel = 0x10, .limit = ~0u, .attr = 0xc093 };
	s->seg[SEG_CS] = (struct x86_seg){ .sel = 0x08, .limit = ~0u, .attr = 0xc09b };
	s->gdtr = (struct x86_dtr){ .base = GDT_DEVICE, .limit = 0xff };
	s->idtr = (struct x86_dtr){ .base = IDT, .limit = 0x7ff };
	t->engine->vcpu_set_state(t->vcpu, s);
	free(s);
}

static void end(struct test *t)
{
	t->engine->vcpu_destroy(t->vcpu);
	t->engine->destroy(t->engine);
	t->engine = NULL;
	/* Nobody watches any more; this must reach nobody. */
	guest_wrote(&t->mem, t->mem.base, t->mem.size);
}

static void *run(void *o)
{
	struct test *t = o;

	assert_int_equal(t->engine->vcpu_run(t->vcpu), VCPU_EXIT_STOP);
	return NULL;
}

static uint32_t rnd(struct test *t, uint32_t n)
{
	return (uint32_t)rand_r(&t->seed) % n;
}

static void wait_for(struct test *t, uint32_t round)
{
	for (unsigned i = 0; __atomic_load_n(word(t, MAILBOX + 8), __ATOMIC_ACQUIRE) != round; i++)
		if (i % 64 == 63)
			sched_yield();
}

/* One round: new code for one function, of which the guest hears by polling memory. */
static void one_round(struct test *t, uint32_t round, bool flood)
{
	uint32_t f = rnd(t, COUNT), value = (uint32_t)rand_r(&t->seed);

	for (volatile uint32_t i = rnd(t, 2000); i; i--)
		;
	dma_immediate(t, FUNCTIONS + f * 4096, value);
	/* All of RAM at once; more than anybody keeps a list of, if all of it has code. */
	if (flood)
		guest_wrote(&t->mem, t->mem.base, t->mem.size);
	*word(t, MAILBOX + 4) = f;
	__atomic_store_n(word(t, MAILBOX), round, __ATOMIC_RELEASE);
	wait_for(t, round);
	if (*word(t, MAILBOX + 12) != value)
		t->wrong++;
}

static void test_other_thread(void **state)
{
	struct test *t = new_test();
	pthread_t thread;

	t->seed = 4711;
	/* Twice: a machine that resets has a new engine on the same memory. */
	for (unsigned life = 0; life < 2; life++) {
		t->stop = false;
		memset(guest_range(&t->mem, MAILBOX, 16), 0, 16);
		for (uint32_t f = 0; f < COUNT; f++) {
			static const uint8_t mov_ret[] = { 0xb8, 0, 0, 0, 0, 0xc3 };

			memcpy(guest_range(&t->mem, FUNCTIONS + f * 4096, 8), mov_ret, sizeof(mov_ret));
		}
		start(t, guest_poll, guest_poll_end);
		assert_int_equal(pthread_create(&thread, NULL, run, t), 0);
		for (uint32_t round = 1; round <= 3000; round++)
			one_round(t, round, round % 100 == 0);
		__atomic_store_n(word(t, MAILBOX), ~0u, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		end(t);
	}
	assert_int_equal(t->wrong, 0);
	free_test(t);
}

/* More pages with code than the engine keeps count of. */
static void test_overflow(void **state)
{
	enum { PAGES = 5000 };
	struct test *t = new_test();
	pthread_t thread;
	uint32_t round = 0;

	t->seed = 42;
	for (uint32_t f = 0; f < PAGES; f++) {
		uint8_t mov_ret[] = { 0xb8, (uint8_t)f, (uint8_t)(f >> 8), 0, 0, 0xc3 };

		memcpy(guest_range(&t->mem, FUNCTIONS + f * 4096, 8), mov_ret, sizeof(mov_ret));
	}
	start(t, guest_poll, guest_poll_end);
	assert_int_equal(pthread_create(&thread, NULL, run, t), 0);
	for (unsigned pass = 0; pass < 2; pass++) {
		for (uint32_t f = 0; f < PAGES; f++) {
			*word(t, MAILBOX + 4) = f;
			__atomic_store_n(word(t, MAILBOX), ++round, __ATOMIC_RELEASE);
			wait_for(t, round);
			if (*word(t, MAILBOX + 12) != f + pass * 0x10000)
				t->wrong++;
		}
		/* The operand of MOV EAX, behind its opcode. */
		for (uint32_t f = 0; f < PAGES; f++) {
			uint32_t result = f + (pass + 1) * 0x10000;

			memcpy(guest_range(&t->mem, FUNCTIONS + f * 4096 + 1, 4), &result, 4);
		}
		guest_wrote(&t->mem, guest_range(&t->mem, FUNCTIONS, PAGES * 4096), PAGES * 4096);
	}
	__atomic_store_n(word(t, MAILBOX), ~0u, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	end(t);
	assert_int_equal(t->wrong, 0);
	free_test(t);
}

/*
 * A device that goes on writing while its bytes are decoded: LAHF, which wants
 * the flags of the SUB before the jump, or a NOP. Whatever was seen in between,
 * the code as it is in the end must get its flags.
 */
static void test_while_decoding(void **state)
{
	enum { ROUNDS = 4000, LAHF = 0x9f, NOP = 0x90, AT = 12, SERIAL = 17 };
	/* mov $5, %eax; sub $6, %eax; jmp 1f; 1: lahf; test %eax, %eax; jmp 2f; 4 bytes; 2: ret */
	static const uint8_t code[] = {
		0xb8, 5, 0, 0, 0, 0x83, 0xe8, 6, 0xeb, 2, 0, 0, NOP, 0x85, 0xc0, 0xeb, 4, 0, 0, 0, 0, 0xc3,
	};
	struct test *t = new_test();
	volatile uint8_t *f;
	uint32_t round = 0;
	pthread_t thread;

	(void)state;
	f = guest_range(&t->mem, FUNCTIONS, 64);
	memcpy(guest_range(&t->mem, FUNCTIONS, 64), code, sizeof(code));
	start(t, guest_poll, guest_poll_end);
	assert_int_equal(pthread_create(&thread, NULL, run, t), 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		/* Bytes that nobody runs, but nobody has decoded before either. */
		memcpy(guest_range(&t->mem, FUNCTIONS + SERIAL, 4), &i, 4);
		guest_wrote(&t->mem, guest_range(&t->mem, FUNCTIONS, 64), 64);
		__atomic_store_n(word(t, MAILBOX), ++round, __ATOMIC_RELEASE);
		while (__atomic_load_n(word(t, MAILBOX + 8), __ATOMIC_ACQUIRE) != round) {
			f[AT] = LAHF;
			f[AT] = NOP;
		}
		f[AT] = LAHF;
		guest_wrote(&t->mem, guest_range(&t->mem, FUNCTIONS, 64), 64);
		__atomic_store_n(word(t, MAILBOX), ++round, __ATOMIC_RELEASE);
		wait_for(t, round);
		/* SF, AF, PF, CF and the bit that is always set */
		if (*word(t, MAILBOX + 12) != 0xffff97ff)
			t->wrong++;
	}
	__atomic_store_n(word(t, MAILBOX), ~0u, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	end(t);
	assert_int_equal(t->wrong, 0);
	free_test(t);
}

/* A guest that changes its code by way of the device, 200 times, and counts what it runs wrongly. */
static void run_rounds(const uint8_t *code, const uint8_t *code_end)
{
	struct test *t = new_test();

	start(t, code, code_end);
	run(t);
	assert_int_equal(t->round, 200);
	assert_int_equal(t->wrong, 0);
	end(t);
	free_test(t);
}

/* In the middle of the guest's own access, on its own thread, to the code right behind. */
static void test_doorbell(void **state)
{
	run_rounds(guest_bell, guest_bell_end);
}

/* MOV SS keeps interrupts away from the next instruction, also when its block has changed meanwhile. */
static void test_shadow(void **state)
{
	struct test *t = new_test();
	uint32_t handler = CODE + (uint32_t)(guest_shadow_irq - guest_shadow);

	*word(t, IDT + SHADOW_IRQ * 8) = 0x08u << 16 | (handler & 0xffff);
	*word(t, IDT + SHADOW_IRQ * 8 + 4) = (handler & 0xffff0000) | 0x8e00;
	start(t, guest_shadow, guest_shadow_end);
	run(t);
	assert_int_equal(*word(t, MAILBOX), 200);
	assert_int_equal(*word(t, MAILBOX + 4), 0);
	end(t);
	free_test(t);
}

/* What a device has written before it lets its status be read runs behind the next jump. */
static void test_status(void **state)
{
	run_rounds(guest_status, guest_status_end);
}

/* A store to the code behind it is seen even if a device has made that forgotten already. */
static void test_own(void **state)
{
	run_rounds(guest_own, guest_own_end);
}

/* 64-bit code, all identity: page tables at 1 MiB. */
static void start_long(struct test *t, const uint8_t *code, const uint8_t *end)
{
	struct x86_state *s = aligned_alloc(64, (sizeof(*s) + 63) & ~63ul);
	uint64_t *table = guest_range(&t->mem, 0x100000, 6 * 4096);

	start(t, code, end);
	table[0] = 0x101003;
	for (unsigned i = 0; i < 4; i++)
		table[512 + i] = 0x102003 + i * 4096ull;
	for (unsigned i = 0; i < 4 * 512; i++)
		table[1024 + i] = (uint64_t)i << 21 | 0x83;
	t->engine->vcpu_get_state(t->vcpu, s);
	s->cr3 = 0x100000;
	s->cr4 = CR4_PAE;
	s->cr0 |= CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
	s->seg[SEG_CS].attr = 0xa09b;
	t->engine->vcpu_set_state(t->vcpu, s);
	free(s);
}

/* A device's register is read once, also where the stack's other page makes a check for several pushes fail. */
static void test_push(void **state)
{
	struct test *t = new_test();

	start_long(t, guest_push, guest_push_end);
	run(t);
	assert_int_equal(t->round, 200);
	end(t);
	free_test(t);
}

/* Making a place hot is no write to code; and it is forgotten with all code, or when too much is believed hot. */
static void test_hot(void **state)
{
	struct test *t = new_test();
	uint64_t bit, *word;
	struct soft_engine *e;
	uint64_t writes;

	start(t, guest_own, guest_own_end);
	run(t);
	e = (struct soft_engine *)t->engine;
	writes = e->vcpu->stats.smc_writes;
	assert_true(page_has_code(e, ram_page(e, CODE)));
	block_forget(e, CODE, 256);
	assert_false(page_has_code(e, ram_page(e, CODE)));
	assert_int_equal(e->vcpu->stats.smc_writes, writes);
	for (unsigned refused = 0; refused < 2; refused++) {
		word = refused ? slot_refused(e, CODE, &bit) : slot_hot(e, CODE, &bit);
		*word |= bit;
		e->hints = HINTS_MAX;
		for (unsigned n = 0; n < 2 * CODE_REGIONS; n++) {
			block_next_region(e);
			assert_true(*word & bit);
		}
		/* One too many. */
		e->hints++;
		block_next_region(e);
		assert_false(*word & bit);
		assert_int_equal(e->hints, 0);
		*word |= bit;
		block_flush_all(e);
		assert_false(*word & bit);
	}
	end(t);
	free_test(t);
}

/*
 * The guest finds the news in RAM, in a block that has polled before they came, and
 * executes SERIALIZE. Only every other round changes code: the others link what was translated anew.
 */
static void test_serialize(void **state)
{
	struct test *t = new_test();
	pthread_t thread;
	uint32_t value = 0;

	t->seed = 5;
	start(t, guest_serialize, guest_serialize_end);
	assert_int_equal(pthread_create(&thread, NULL, run, t), 0);
	for (uint32_t round = 1; round <= 8000; round++) {
		for (volatile uint32_t i = rnd(t, 500); i; i--)
			;
		if (round % 2)
			dma_immediate(t, CODE + (uint32_t)(guest_serialize_1 - guest_serialize),
				      value = round);
		__atomic_store_n(word(t, MAILBOX), round, __ATOMIC_RELEASE);
		wait_for(t, round);
		if (*word(t, MAILBOX + 12) != value)
			t->wrong++;
	}
	__atomic_store_n(word(t, MAILBOX), ~0u, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	end(t);
	assert_int_equal(t->wrong, 0);
	free_test(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doorbell), cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_status),   cmocka_unit_test(test_other_thread),
		cmocka_unit_test(test_overflow), cmocka_unit_test(test_own),
		cmocka_unit_test(test_hot),      cmocka_unit_test(test_serialize),
		cmocka_unit_test(test_push),     cmocka_unit_test(test_while_decoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
