/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake-guest SCENARIO: machine.c, the platform and the host side as in lguest,
 * around an engine that executes no instructions: the "guest" is a C function
 * that reads and writes ports through struct vcpu_bus, as a driver would.
 * test_machine.py runs it on pipes and pseudo terminals.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "boot/boot.h"
#include "config.h"
#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "engine/engine.h"
#include "machine.h"
#include "memory.h"
#include "platform/ioapic.h"
#include "platform/lapic.h"
#include "platform/power.h"
#include "platform/uart.h"

#define VEC_UART  0x41
#define VEC_TIMER 0x51

struct vcpu {
	struct vcpu_bus bus;
	_Atomic uint32_t exit_request;
	const struct guest_memory *memory;
	bool stop;
	unsigned uart_interrupts, timer_interrupts;
	uint64_t timer_at; /* TSC when the timer interrupt was taken */
};

static const char *scenario;
static const char *load_fails = ""; /* "first", "meanwhile", "last", "create" (and no engine) */
static unsigned boots;

static unsigned tsc_khz_of(const struct vcpu *v)
{
	static struct cpuid_table t;

	if (!t.tsc_khz)
		cpuid_build(&t, 1, NULL);
	return t.tsc_khz;
}

/* ---- the machine's view: boot and engine ---- */

/* The fake engine knows nothing of lguest's hypercalls. */
int boot_load_lguest(const struct guest_memory *mem, uint64_t ram, const struct boot_input *in,
		     struct boot_lguest *out, char *err, size_t errlen)
{
	snprintf(err, errlen, "%s: not a guest of the lguest platform", in->kernel);
	return -ENOEXEC;
}

/* A loader that fails at a moment of the test's choice. */
static struct boot_loading {
	void (*failed)(void *opaque);
	void *opaque;
} fake_loading;

static void fail_load_if(const char *when)
{
	if (strcmp(load_fails, when) == 0)
		fake_loading.failed(fake_loading.opaque);
}

void boot_load_run(struct boot_loading *loading, void (*failed)(void *opaque), void *opaque)
{
	*loading = (struct boot_loading){ failed, opaque };
	fail_load_if("first");
}

void boot_load_relax(struct boot_loading *loading)
{
	fail_load_if("last");
}

bool boot_load_stop(struct guest_memory *mem, struct boot_loading *loading, char *err, size_t errlen)
{
	if (!loading)
		return true;
	snprintf(err, errlen, "vmlinuz: file shrank");
	return false;
}

int boot_load_start(struct guest_memory *mem, const struct boot_input *in, struct x86_state *state,
		    struct boot_loading **loading, char *err, size_t errlen)
{
	const uint8_t *byte = guest_range(mem, 0x200000, 1);

	if (strcmp(in->kernel, "unloadable") == 0) {
		snprintf(err, errlen, "unloadable: no kernel in it");
		return -ENOEXEC;
	}
	/* Scenario "reset" leaves a mark in RAM: a clean machine has none. */
	if (*byte) {
		snprintf(err, errlen, "memory is not clean");
		return -EIO;
	}
	boots++;
	if (*load_fails)
		*loading = &fake_loading;
	memset(state, 0, sizeof(*state));
	state->rip = 0x1000;
	return 0;
}

static uint32_t inb(struct vcpu *v, uint16_t port)
{
	return v->bus.pio_read(v->bus.machine, 0, port, 1);
}

static void outb(struct vcpu *v, uint16_t port, uint8_t val)
{
	v->bus.pio_write(v->bus.machine, 0, port, 1, val);
}

static void wrmsr(struct vcpu *v, uint32_t msr, uint64_t val)
{
	if (!v->bus.msr_write(v->bus.machine, 0, msr, val)) {
		fprintf(stderr, "fake guest: #GP in WRMSR 0x%x\n", msr);
		abort();
	}
}

static void uart_interrupt(struct vcpu *v);

/* What an engine does between two blocks. False: the machine wants to stop. */
static bool pass(struct vcpu *v)
{
	int vector;

	if (!v->exit_request)
		return !v->stop;
	v->exit_request = 0;
	if (v->bus.service(v->bus.machine, 0) == VCPU_STOP) {
		v->stop = true;
		return false;
	}
	while (v->bus.interrupt_pending(v->bus.machine, 0)) {
		vector = v->bus.interrupt_accept(v->bus.machine, 0);
		if (vector == VEC_UART) {
			v->uart_interrupts++;
			uart_interrupt(v);
		} else if (vector == VEC_TIMER) {
			v->timer_interrupts++;
			v->timer_at = __rdtsc();
		}
		wrmsr(v, MSR_X2APIC_FIRST + (LAPIC_EOI >> 4), 0);
	}
	return true;
}

static bool halt(struct vcpu *v)
{
	v->bus.halt(v->bus.machine, 0);
	v->exit_request = 1;
	return pass(v);
}

/* ---- the guest's drivers ---- */

static void ioapic_write(struct vcpu *v, uint32_t reg, uint32_t val)
{
	v->bus.mmio_write(v->bus.machine, 0, IOAPIC_BASE, 4, reg);
	v->bus.mmio_write(v->bus.machine, 0, IOAPIC_BASE + 0x10, 4, val);
}

static void set_up(struct vcpu *v)
{
	wrmsr(v, MSR_APIC_BASE, LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP | APIC_BASE_X2APIC);
	wrmsr(v, MSR_X2APIC_FIRST + (LAPIC_SVR >> 4), SVR_ENABLE | 0xff);
	wrmsr(v, MSR_X2APIC_FIRST + (LAPIC_LVT_TIMER >> 4), LVT_TSC_DEADLINE | VEC_TIMER);
	ioapic_write(v, 0x10 + 2 * UART_COM1_GSI + 1, 0);
	ioapic_write(v, 0x10 + 2 * UART_COM1_GSI, IOAPIC_LEVEL | VEC_UART);
	outb(v, UART_COM1_PORT + UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX | 0x80);
	outb(v, UART_COM1_PORT + UART_LCR, 3);
}

static void listen(struct vcpu *v)
{
	outb(v, UART_COM1_PORT + UART_IER, IER_RDI);
	outb(v, UART_COM1_PORT + UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
}

static void say(struct vcpu *v, const char *text)
{
	for (; *text && !v->stop; text++) {
		while (!(inb(v, UART_COM1_PORT + UART_LSR) & LSR_THRE) && pass(v))
			;
		outb(v, UART_COM1_PORT + UART_THR, (uint8_t)*text);
	}
}

static void power_off(struct vcpu *v)
{
	v->bus.pio_write(v->bus.machine, 0, PM1_CONTROL_PORT, 2,
			 PM1_SLEEP_ENABLE | PM1_SLEEP_TYPE(POWER_SLEEP_OFF));
	while (halt(v))
		;
}

static uint64_t received, sum;
static bool quit;

static void uart_interrupt(struct vcpu *v)
{
	bool echo = strcmp(scenario, "echo") == 0;

	while (inb(v, UART_COM1_PORT + UART_LSR) & LSR_DR) {
		uint8_t c = (uint8_t)inb(v, UART_COM1_PORT + UART_RBR);

		received++;
		sum = sum * 31 + c;
		if (!echo)
			continue;
		if (c == 'q')
			quit = true;
		/* Control characters visibly */
		char text[4] = { c < 32 ? '^' : (char)c, c < 32 ? (char)(c + 64) : 0 };

		say(v, text);
	}
}

/* ---- scenarios ---- */

static void run_echo(struct vcpu *v)
{
	say(v, "ready\r\n");
	listen(v);
	while (!quit && halt(v))
		;
	say(v, "\r\nbye\r\n");
	power_off(v);
}

/* Counts input until, after the first byte, nothing has come for 300 ms. */
static void run_count(struct vcpu *v)
{
	uint64_t khz = tsc_khz_of(v), seen = 0;
	char text[80];

	say(v, "ready\r\n");
	listen(v);
	do {
		seen = received;
		v->timer_interrupts = 0;
		wrmsr(v, MSR_TSC_DEADLINE, __rdtsc() + khz * 300);
		while (v->timer_interrupts == 0 && halt(v))
			;
	} while ((received == 0 || seen != received) && !v->stop);
	snprintf(text, sizeof(text), "received %" PRIu64 " sum %" PRIu64 "\r\n", received, sum);
	say(v, text);
	power_off(v);
}

/* 8 MiB of lines, as fast as they go. */
static void run_flood(struct vcpu *v)
{
	char line[80];

	for (unsigned i = 0; i < 131072 && !v->stop; i++) {
		snprintf(line, sizeof(line), "%07u %055u\n", i, i * 2654435761u);
		say(v, line);
	}
	power_off(v);
}

/* The timer: asleep, and in the middle of "guest code" that never calls the machine. */
static void run_timer(struct vcpu *v)
{
	uint64_t khz = tsc_khz_of(v), worst[2] = { 0 }, late, due;
	char text[80];

	for (unsigned mode = 0; mode < 2; mode++) {
		for (unsigned i = 0; i < 100 && !v->stop; i++) {
			v->timer_interrupts = 0;
			due = __rdtsc() + khz; /* one millisecond */
			wrmsr(v, MSR_TSC_DEADLINE, due);
			while (v->timer_interrupts == 0 && (mode ? pass(v) : halt(v)))
				;
			late = v->timer_at - due;
			if ((int64_t)late < 0) {
				say(v, "early!\r\n");
				break;
			}
			worst[mode] += late;
		}
	}
	snprintf(text, sizeof(text), "late on average: halted %" PRIu64 " us, running %" PRIu64 " us\r\n",
		 worst[0] / 100 * 1000 / khz, worst[1] / 100 * 1000 / khz);
	say(v, text);
	power_off(v);
}

/* Resets itself in three ways, each time with RAM dirty. */
static void run_reset(struct vcpu *v)
{
	char text[32];

	snprintf(text, sizeof(text), "boot %u\r\n", boots);
	say(v, text);
	*(uint8_t *)guest_range(v->memory, 0x200000, 1) = 1;
	switch (boots) {
	case 1: outb(v, POWER_RESET_PORT, POWER_RESET_VALUE); break;
	case 2: outb(v, I8042_COMMAND_PORT, 0xfe); break;
	case 3:
		outb(v, I8042_COMMAND_PORT, 0xd1);
		outb(v, I8042_DATA_PORT, 0xfe);
		break;
	default: power_off(v);
	}
	while (halt(v))
		;
}

static void run_panic(struct vcpu *v)
{
	say(v, "about to panic\r\n");
	outb(v, PVPANIC_PORT, PVPANIC_PANICKED);
	while (pass(v))
		;
}

/* Never ends by itself; crashes with the launcher on top when asked to. */
static void run_spin(struct vcpu *v)
{
	say(v, "spinning\r\n");
	while (pass(v))
		;
}

static void run_crash(struct vcpu *v)
{
	say(v, "crashing\r\n");
	wrmsr(v, MSR_TSC_DEADLINE, __rdtsc() + tsc_khz_of(v) * 200);
	while (v->timer_interrupts == 0 && halt(v))
		;
	__builtin_trap();
}

/* cli; hlt with a timer interrupt pending: must sleep, not spin. */
static void run_deaf(struct vcpu *v)
{
	say(v, "deaf\r\n");
	wrmsr(v, MSR_TSC_DEADLINE, __rdtsc() + tsc_khz_of(v));
	for (;;) {
		v->bus.halt(v->bus.machine, 0);
		if (v->exit_request) {
			v->exit_request = 0;
			if (v->bus.service(v->bus.machine, 0) == VCPU_STOP)
				return;
		}
	}
}

static enum vcpu_exit fake_run(struct vcpu *v)
{
	static const struct {
		const char *name;
		void (*run)(struct vcpu *v);
	} list[] = {
		{ "echo", run_echo },   { "count", run_count }, { "flood", run_flood },
		{ "timer", run_timer }, { "reset", run_reset }, { "panic", run_panic },
		{ "spin", run_spin },   { "crash", run_crash }, { "deaf", run_deaf },
	};

	fail_load_if("meanwhile");
	set_up(v);
	if (strcmp(scenario, "triple") == 0)
		return VCPU_EXIT_TRIPLE_FAULT;
	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (strcmp(list[i].name, scenario) == 0)
			list[i].run(v);
	return VCPU_EXIT_STOP;
}

/* ---- the engine ---- */

struct fake_engine {
	struct engine e;
	const struct guest_memory *memory;
};

static struct vcpu *fake_vcpu_create(struct engine *e, unsigned index, const struct vcpu_bus *bus,
				     const struct cpuid_table *cpuid)
{
	struct vcpu *v = calloc(1, sizeof(*v));

	v->bus = *bus;
	v->memory = ((struct fake_engine *)e)->memory;
	return v;
}

static void fake_vcpu_destroy(struct vcpu *v)
{
	free(v);
}

static void fake_set_state(struct vcpu *v, const struct x86_state *s)
{
}

static void fake_get_state(struct vcpu *v, struct x86_state *s)
{
	memset(s, 0, sizeof(*s));
	s->rip = 0xffffffff81234567;
}

static void fake_kick(struct vcpu *v)
{
	v->exit_request = 1;
}

static void fake_stats(struct engine *e, FILE *out)
{
}

static void fake_destroy(struct engine *e)
{
	free(e);
}

static struct engine *fake_create(const struct engine_config *cfg)
{
	struct fake_engine *f;

	if (strcmp(load_fails, "create") == 0) {
		fprintf(stderr, "lguest: no engine\n");
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	f->e = (struct engine){ .ops = &engine_soft,
				.vcpu_create = fake_vcpu_create,
				.vcpu_destroy = fake_vcpu_destroy,
				.vcpu_set_state = fake_set_state,
				.vcpu_get_state = fake_get_state,
				.vcpu_run = fake_run,
				.vcpu_kick = fake_kick,
				.print_stats = fake_stats,
				.destroy = fake_destroy };
	f->memory = cfg->memory;
	return &f->e;
}

const struct engine_ops engine_soft = { .name = "soft", .help = "", .create = fake_create };

int main(int argc, char **argv)
{
	struct config cfg = { .memory = 16 << 20, .cmdline = "", .engine = "auto", .platform = "pc" };

	if (argc < 2)
		return EXIT_USAGE;
	scenario = cfg.kernel = argv[1];
	for (int i = 2; i < argc; i++) {
		cfg.no_reboot |= strcmp(argv[i], "--no-reboot") == 0;
		cfg.verbose |= strcmp(argv[i], "--verbose") == 0;
		if (strncmp(argv[i], "--load-fails=", 13) == 0)
			load_fails = argv[i] + 13;
		if (strcmp(argv[i], "--escape=ctrl-a") == 0)
			cfg.escape = ESCAPE_CTRL_A;
		if (strcmp(argv[i], "--escape=interrupts") == 0)
			cfg.escape = ESCAPE_INTERRUPTS;
		if (strcmp(argv[i], "--escape=none") == 0)
			cfg.escape = ESCAPE_NONE;
	}
	return machine_run(&cfg);
}
