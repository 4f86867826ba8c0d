/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a guest:
 *
 *   machine_run()    sets up what lasts: RAM, console, platform, signals
 *     run_guest()    from start to reset or end: loads the kernel, creates the
 *                    engine and one thread per vCPU, waits for the outcome
 *       vcpu_main()  a vCPU's thread: hands itself to the engine, which comes
 *                    back through the vcpu_bus callbacks below
 *
 * The main thread runs the event loop: signals, terminal, and output that is
 * due. Everything else happens on the vCPU's thread, so that nothing a guest
 * does often costs a switch of threads.
 *
 * Whatever ends the guest calls conclude(). The first one wins; all vCPUs are
 * told to stop and the event loop to return.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>
#include <x86intrin.h>

#include "boot/boot.h"
#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "engine/engine.h"
#include "host/console.h"
#include "host/eventloop.h"
#include "host/signals.h"
#include "host/sleeper.h"
#include "host/timer.h"
#include "host/tty.h"
#include "memory.h"
#include "platform/acpi.h"
#include "platform/pc.h"

enum outcome {
	RUNNING,
	POWERED_OFF,
	RESET,
	PANICKED,
	TRIPLE_FAULT,
	KILLED, /* the user */
	FAILED, /* a line was printed */
};

struct machine_vcpu {
	struct machine *machine;
	unsigned index;
	struct vcpu *vcpu; /* the engine's */
	pthread_t thread;
	bool started;
	struct host_timer timer;
	struct sleeper sleeper;
	/*
	 * halt() has come back because of a pending interrupt, and nobody has
	 * taken it since: the guest halted with interrupts off.
	 */
	bool deaf;
};

struct machine {
	const struct config *cfg;
	struct guest_memory memory;
	struct cpuid_table cpuid;
	struct engine *engine;
	struct pc pc;
	struct machine_vcpu vcpu[PC_MAX_VCPUS];
	unsigned vcpus;
	_Atomic int outcome; /* enum outcome */

	struct eventloop loop;
	struct console console;
	struct tty tty;
	struct event_source wake_source;
	struct host_signals signals;
	bool pc_ready, console_ready;
	bool killed;   /* the user wants an end, whatever the guest wants */
	int killed_by; /* the signal, or 0 */
};

static const struct engine_ops *const engines[] = { &engine_soft };

/* ---- the outcome ---- */

static void kick(void *opaque, unsigned cpu)
{
	struct machine *m = opaque;
	struct machine_vcpu *v = &m->vcpu[cpu];

	if (v->vcpu)
		m->engine->vcpu_kick(v->vcpu);
	sleeper_wake(&v->sleeper);
}

static void conclude(struct machine *m, enum outcome how)
{
	int running = RUNNING;

	if (!atomic_compare_exchange_strong(&m->outcome, &running, how))
		return;
	for (unsigned i = 0; i < m->vcpus; i++)
		kick(m, i);
	eventfd_write(m->wake_source.fd, 1);
}

/* ---- what the platform asks of the host ---- */

/* A line in the middle of the run, under --verbose. A raw terminal wants a carriage return of ours. */
static void notice(void *opaque, const char *line)
{
	struct machine *m = opaque;

	if (!m->cfg->verbose)
		return;
	fprintf(stderr, "lguest: %s%s\n", line, m->tty.raw && isatty(STDERR_FILENO) ? "\r" : "");
}

static void on_power(void *opaque, enum power_event event)
{
	struct machine *m = opaque;

	switch (event) {
	case POWER_OFF: conclude(m, POWERED_OFF); break;
	case POWER_RESET: conclude(m, RESET); break;
	case POWER_PANIC: conclude(m, PANICKED); break;
	case POWER_CRASH_KERNEL: notice(m, "guest kernel panicked and starts its crash kernel"); break;
	}
}

static bool on_console_put(void *opaque, uint8_t byte)
{
	struct machine *m = opaque;

	return console_put(&m->console, byte);
}

static bool on_console_wait(void *opaque)
{
	struct machine *m = opaque;

	return console_wait(&m->console);
}

static int on_console_get(void *opaque)
{
	struct machine *m = opaque;

	return console_get(&m->console);
}

static bool on_console_ready(void *opaque)
{
	struct machine *m = opaque;

	return console_ready(&m->console);
}

static const struct pc_host pc_host = {
	.kick = kick,
	.event = on_power,
	.console_put = on_console_put,
	.console_wait = on_console_wait,
	.console_get = on_console_get,
	.console_ready = on_console_ready,
	.notice = notice,
};

/* ---- what the engine asks of the machine (engine.h), on the vCPU's thread ---- */

/* Call after whatever may have moved the guest's next timer. */
static void set_timer(struct machine *m, unsigned cpu)
{
	uint64_t deadline = pc_deadline(&m->pc, cpu);

	/* Due already: no need for a signal to tell ourselves. */
	if (deadline <= __rdtsc())
		kick(m, cpu);
	else
		host_timer_set(&m->vcpu[cpu].timer, deadline);
}

static uint64_t bus_mmio_read(void *machine, unsigned cpu, uint64_t addr, unsigned size)
{
	struct machine *m = machine;

	return pc_mmio_read(&m->pc, cpu, addr, size);
}

static void bus_mmio_write(void *machine, unsigned cpu, uint64_t addr, unsigned size, uint64_t val)
{
	struct machine *m = machine;

	pc_mmio_write(&m->pc, cpu, addr, size, val);
	set_timer(m, cpu);
}

static uint32_t bus_pio_read(void *machine, unsigned cpu, uint16_t port, unsigned size)
{
	struct machine *m = machine;

	return pc_pio_read(&m->pc, cpu, port, size);
}

static void bus_pio_write(void *machine, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
	struct machine *m = machine;

	pc_pio_write(&m->pc, cpu, port, size, val);
}

static bool bus_msr_read(void *machine, unsigned cpu, uint32_t msr, uint64_t *val)
{
	struct machine *m = machine;

	return pc_msr_read(&m->pc, cpu, msr, val);
}

static bool bus_msr_write(void *machine, unsigned cpu, uint32_t msr, uint64_t val)
{
	struct machine *m = machine;
	bool ok = pc_msr_write(&m->pc, cpu, msr, val);

	set_timer(m, cpu);
	return ok;
}

static uint8_t bus_tpr_read(void *machine, unsigned cpu)
{
	struct machine *m = machine;

	return lapic_tpr_read(&m->pc.lapic[cpu]);
}

static void bus_tpr_write(void *machine, unsigned cpu, uint8_t tpr)
{
	struct machine *m = machine;

	pc_tpr_write(&m->pc, cpu, tpr);
}

static enum vcpu_service bus_service(void *machine, unsigned cpu)
{
	struct machine *m = machine;

	if (m->outcome != RUNNING)
		return VCPU_STOP;
	pc_run_timers(&m->pc, cpu);
	set_timer(m, cpu);
	return VCPU_CONTINUE;
}

static bool bus_interrupt_pending(void *machine, unsigned cpu)
{
	struct machine *m = machine;

	return lapic_pending(&m->pc.lapic[cpu]) >= 0;
}

static int bus_interrupt_accept(void *machine, unsigned cpu)
{
	struct machine *m = machine;

	m->vcpu[cpu].deaf = false;
	return lapic_accept(&m->pc.lapic[cpu]);
}

static void bus_halt(void *machine, unsigned cpu)
{
	struct machine *m = machine;
	struct machine_vcpu *v = &m->vcpu[cpu];
	uint32_t ticket = sleeper_ticket(&v->sleeper);
	uint64_t deadline;

	pc_run_timers(&m->pc, cpu);
	pc_idle(&m->pc, cpu);
	if (m->outcome != RUNNING)
		return;
	if (!v->deaf && lapic_pending(&m->pc.lapic[cpu]) >= 0) {
		v->deaf = true;
		return;
	}
	/* Nothing to do: the best moment to write out what the guest has said. */
	console_flush(&m->console);
	deadline = pc_deadline(&m->pc, cpu);
	sleeper_sleep(&v->sleeper, ticket,
		      deadline == LAPIC_NO_DEADLINE ? SLEEP_FOREVER
						    : host_tsc_to_ns(m->cpuid.tsc_khz, __rdtsc(), deadline));
	pc_run_timers(&m->pc, cpu);
}

static struct vcpu_bus make_bus(struct machine *m)
{
	return (struct vcpu_bus){
		.machine = m,
		.mmio_read = bus_mmio_read,
		.mmio_write = bus_mmio_write,
		.pio_read = bus_pio_read,
		.pio_write = bus_pio_write,
		.msr_read = bus_msr_read,
		.msr_write = bus_msr_write,
		.tpr_read = bus_tpr_read,
		.tpr_write = bus_tpr_write,
		.service = bus_service,
		.interrupt_pending = bus_interrupt_pending,
		.interrupt_accept = bus_interrupt_accept,
		.halt = bus_halt,
	};
}

/* ---- vCPU threads ---- */

/* In a signal handler, in the middle of guest code. */
static void timer_rings(void *opaque)
{
	struct machine_vcpu *v = opaque;

	kick(v->machine, v->index);
}

static void *vcpu_main(void *opaque)
{
	struct machine_vcpu *v = opaque;
	struct machine *m = v->machine;
	char name[16];
	int error;

	snprintf(name, sizeof(name), "vcpu%u", v->index);
	pthread_setname_np(pthread_self(), name);
	/* Else the host kernel rounds each sleep up by 50 us. */
	prctl(PR_SET_TIMERSLACK, 1);
	error = host_timer_create(&v->timer, m->cpuid.tsc_khz, timer_rings, v);
	if (error) {
		fprintf(stderr, "lguest: cannot create a timer: %s\n", strerror(-error));
		conclude(m, FAILED);
		return NULL;
	}
	switch (m->engine->vcpu_run(v->vcpu)) {
	case VCPU_EXIT_STOP: break;
	case VCPU_EXIT_TRIPLE_FAULT: conclude(m, TRIPLE_FAULT); break;
	case VCPU_EXIT_ERROR: conclude(m, FAILED); break;
	}
	host_timer_destroy(&v->timer);
	return NULL;
}

static bool start_vcpus(struct machine *m)
{
	for (unsigned i = 0; i < m->vcpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];
		int error = pthread_create(&v->thread, NULL, vcpu_main, v);

		if (error) {
			fprintf(stderr, "lguest: cannot create a thread: %s\n", strerror(error));
			return false;
		}
		v->started = true;
	}
	return true;
}

/* After conclude(). */
static void join_vcpus(struct machine *m)
{
	console_stop(&m->console, true);
	for (unsigned i = 0; i < m->vcpus; i++)
		if (m->vcpu[i].started)
			pthread_join(m->vcpu[i].thread, NULL);
	console_stop(&m->console, false);
}

/* ---- a guest from start to end ---- */

static const struct engine_ops *find_engine(const char *name)
{
	if (strcmp(name, "auto") == 0)
		return engines[0];
	for (unsigned i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

static bool load_guest(struct machine *m, struct x86_state *state)
{
	/* Interrupt controllers and what a PC keeps above them: never PCI's. */
	static const struct boot_range reserved[] = {
		{ PCI_MEM_END, GUEST_HIGH_BASE - PCI_MEM_END, BOOT_RESERVED },
	};
	uint8_t seed[BOOT_SEED_SIZE];
	struct boot_input in = {
		.kernel = m->cfg->kernel,
		.initrd = m->cfg->initrd,
		.cmdline = m->cfg->cmdline,
		.host_decompress = m->cfg->host_decompress,
		.reserved = reserved,
		.nr_reserved = 1,
	};
	char err[512];

	if (getrandom(seed, sizeof(seed), 0) == sizeof(seed))
		in.rng_seed = seed;
	/* 0 when the memory is too small for tables; boot_load() says so better. */
	in.acpi_rsdp = acpi_build(&m->memory, m->vcpus);
	if (boot_load(&m->memory, &in, state, err, sizeof(err)) == 0)
		return true;
	fprintf(stderr, "lguest: %s\n", err);
	return false;
}

static bool create_engine(struct machine *m, const struct x86_state *state)
{
	const struct engine_config cfg = { .memory = &m->memory,
					   .vcpus = m->vcpus,
					   .verbose = m->cfg->verbose,
					   .perf_map = m->cfg->perf_map };
	const struct engine_ops *ops = find_engine(m->cfg->engine);
	const struct vcpu_bus bus = make_bus(m);

	if (!ops) {
		fprintf(stderr, "lguest: --engine=%s: there is no such engine (try auto)\n", m->cfg->engine);
		return false;
	}
	m->engine = ops->create(&cfg);
	if (!m->engine)
		return false;
	for (unsigned i = 0; i < m->vcpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];

		*v = (struct machine_vcpu){ .machine = m, .index = i };
		v->vcpu = m->engine->vcpu_create(m->engine, i, &bus, &m->cpuid);
		if (!v->vcpu) {
			fprintf(stderr, "lguest: cannot create virtual CPU %u\n", i);
			return false;
		}
		m->engine->vcpu_set_state(v->vcpu, state);
	}
	return true;
}

static void destroy_engine(struct machine *m)
{
	if (!m->engine)
		return;
	for (unsigned i = 0; i < m->vcpus; i++) {
		if (m->vcpu[i].vcpu)
			m->engine->vcpu_destroy(m->vcpu[i].vcpu);
		m->vcpu[i].vcpu = NULL;
	}
	m->engine->destroy(m->engine);
	m->engine = NULL;
}

static void print_seg(const char *name, const struct x86_seg *s)
{
	fprintf(stderr, "  %-4s %04x base %016" PRIx64 " limit %08x attr %04x\n", name, s->sel, s->base,
		s->limit, s->attr);
}

static void report_triple_fault(struct machine *m)
{
	static const char *const name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	static const char *const seg_name[SEG_COUNT] = { "es", "cs", "ss", "ds", "fs", "gs" };
	struct x86_state s;

	m->engine->vcpu_get_state(m->vcpu[0].vcpu, &s);
	fprintf(stderr, "lguest: the guest's CPU shut down (triple fault) at RIP 0x%" PRIx64 "\n", s.rip);
	for (unsigned i = 0; i < 16; i++)
		fprintf(stderr, "  %-3s %016" PRIx64 "%s", name[i], s.regs[i], i % 4 == 3 ? "\n" : "");
	fprintf(stderr, "  rflags %08" PRIx64 "  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "\n",
		s.rflags, s.cr0, s.cr2, s.cr3);
	fprintf(stderr,
		"  cr4 %08" PRIx64 "  efer %04" PRIx64 "  gdt %016" PRIx64 "+%04x  idt %016" PRIx64 "+%04x\n",
		s.cr4, s.efer, s.gdtr.base, s.gdtr.limit, s.idtr.base, s.idtr.limit);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		print_seg(seg_name[i], &s.seg[i]);
	print_seg("tr", &s.tr);
}

/* The last output is on its way and the reader slow: a signal ends the wait. */
static bool hurried(void *opaque)
{
	struct machine *m = opaque;

	eventloop_run_once(&m->loop, 0);
	return m->killed;
}

static enum outcome run_guest(struct machine *m)
{
	struct x86_state state;
	int error = 0;

	m->outcome = RUNNING;
	if (!load_guest(m, &state) || !create_engine(m, &state)) {
		destroy_engine(m);
		return FAILED;
	}
	tty_make_raw(&m->tty);
	pc_start_clock(&m->pc);
	if (!start_vcpus(m))
		conclude(m, FAILED);
	while (m->outcome == RUNNING && !error)
		error = eventloop_run_once(&m->loop, -1);
	if (error) {
		fprintf(stderr, "lguest: waiting for events: %s\n", strerror(-error));
		conclude(m, FAILED);
	}
	join_vcpus(m);
	/* All of the guest's output before the terminal gets its old modes back. */
	if (m->outcome == KILLED)
		console_flush(&m->console);
	else
		console_finish(&m->console, hurried, m);
	tty_restore(&m->tty);
	if (m->outcome == TRIPLE_FAULT)
		report_triple_fault(m);
	if (m->cfg->verbose) {
		m->engine->print_stats(m->engine, stderr);
		fprintf(stderr,
			"lguest: platform: unclaimed accesses: ports %" PRIu64 ", memory %" PRIu64 "\n",
			m->pc.ports.unclaimed, m->pc.memory.unclaimed);
	}
	destroy_engine(m);
	return m->outcome;
}

/* ---- signals and events of the main thread ---- */

static void on_wake(void *opaque, uint32_t events)
{
	struct machine *m = opaque;
	eventfd_t count;

	eventfd_read(m->wake_source.fd, &count);
}

static void on_terminate(void *opaque, int signal)
{
	struct machine *m = opaque;

	m->killed = true;
	m->killed_by = signal;
	conclude(m, KILLED);
}

/* The shell has used the terminal meanwhile. */
static void on_resume(void *opaque)
{
	struct machine *m = opaque;

	if (m->outcome == RUNNING)
		tty_make_raw(&m->tty);
	if (m->console_ready)
		console_resume(&m->console);
}

static const struct host_signals_ops signal_ops = { .terminate = on_terminate, .resume = on_resume };

static void on_input(void *opaque)
{
	struct machine *m = opaque;

	pc_console_input(&m->pc);
}

static void on_escape(void *opaque)
{
	struct machine *m = opaque;

	m->killed = true;
	conclude(m, KILLED);
}

static const struct console_ops console_ops = { .input = on_input, .escape = on_escape };

/* ---- from beginning to end ---- */

static bool complain(const char *what, int error)
{
	if (error)
		fprintf(stderr, "lguest: %s: %s\n", what, strerror(-error));
	return error != 0;
}

/* Else our own descriptors would take the numbers of closed standard ones. */
static bool open_standard_files(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

static bool set_up(struct machine *m)
{
	char what[64];

	if (complain("event loop", eventloop_create(&m->loop)))
		return false;
	m->wake_source = (struct event_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						.ready = on_wake,
						.opaque = m };
	if (m->wake_source.fd < 0) {
		complain("event descriptor", -errno);
		return false;
	}
	if (complain("event loop", eventloop_add(&m->loop, &m->wake_source, EPOLLIN)) ||
	    complain("signals", host_signals_block(&m->signals, &m->loop, &signal_ops, m)) ||
	    complain("signals", host_timer_install()))
		return false;
	snprintf(what, sizeof(what), "%" PRIu64 " MiB of guest memory", m->cfg->memory >> 20);
	if (complain(what, guest_memory_create(&m->memory, m->cfg->memory)))
		return false;
	cpuid_build(&m->cpuid, m->vcpus);
	if (complain("platform", pc_init(&m->pc, &m->memory, m->vcpus, m->cpuid.tsc_khz, &pc_host, m)))
		return false;
	m->pc_ready = true;
	if (complain("console", console_create(&m->console, &m->loop, STDIN_FILENO, STDOUT_FILENO, &m->tty,
					       &console_ops, m)))
		return false;
	m->console_ready = true;
	return true;
}

static void tear_down(struct machine *m)
{
	if (m->console_ready)
		console_destroy(&m->console);
	if (m->pc_ready)
		pc_destroy(&m->pc);
	if (m->memory.base)
		guest_memory_destroy(&m->memory);
	host_signals_restore(&m->signals);
	if (m->wake_source.fd >= 0)
		close(m->wake_source.fd);
	eventloop_destroy(&m->loop);
}

static enum exit_status report(struct machine *m, enum outcome how)
{
	switch (how) {
	case POWERED_OFF: return EXIT_POWER_OFF;
	case RESET: fprintf(stderr, "lguest: the guest reset itself (--no-reboot)\n"); return EXIT_RESET;
	case PANICKED: fprintf(stderr, "lguest: the guest's kernel panicked\n"); return EXIT_GUEST_PANIC;
	case TRIPLE_FAULT: return EXIT_TRIPLE_FAULT;
	case KILLED:
		if (m->killed_by)
			fprintf(stderr, "lguest: ended by signal %d (%s)\n", m->killed_by,
				strsignal(m->killed_by));
		else
			fprintf(stderr, "lguest: ended by the user\n");
		return EXIT_KILLED;
	default: return EXIT_HOST;
	}
}

enum exit_status machine_run(const struct config *cfg)
{
	struct machine *m = calloc(1, sizeof(*m));
	enum exit_status status = EXIT_HOST;
	enum outcome how = FAILED;

	if (!m || !open_standard_files()) {
		free(m);
		fprintf(stderr, "lguest: out of memory\n");
		return EXIT_HOST;
	}
	m->cfg = cfg;
	m->vcpus = 1;
	m->memory.fd = m->loop.epoll = m->wake_source.fd = -1;
	tty_open(&m->tty, STDIN_FILENO);
	if (set_up(m)) {
		for (;;) {
			how = run_guest(m);
			if (how == RESET && m->killed)
				how = KILLED;
			if (how != RESET || cfg->no_reboot)
				break;
			pc_reset(&m->pc);
			if (complain("guest memory", guest_memory_clear(&m->memory))) {
				how = FAILED;
				break;
			}
		}
		status = report(m, how);
	}
	tty_close(&m->tty);
	tear_down(m);
	free(m);
	return status;
}
