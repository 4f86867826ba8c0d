/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine as the host of an old lguest guest: connects
 * platform/lguest/lguest.h and the lguest bus with the engine, the console and
 * the loader. There are no ports, no MSRs, no interrupt controller: the guest asks for
 * everything by trapping.
 *
 * Compiled as fast C for bus_trap() and on_flush_*(), which run with the guest's vector registers
 * live (vcpu_bus.trap). All else runs with them parked, or on other threads.
 */
#include "machine_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boot/boot.h"
#include "cpu/state.h"
#include "engine/engine.h"

/* Page tables of 32 bits without PAE, and a kernel that maps all of it at PAGE_OFFSET. */
#define RAM_MAX (2ull << 30)

/* ---- what the guest's host wants of us; vCPU's thread unless said otherwise ---- */

/* Any thread. */
static void on_kick(void *opaque)
{
	vcpu_kick(opaque, 0);
}

static void on_park(void *opaque)
{
	struct machine *m = opaque;

	if (m->engine->vcpu_park)
		m->engine->vcpu_park(m->vcpu[0].vcpu);
}

static void on_unpark(void *opaque)
{
	struct machine *m = opaque;

	if (m->engine->vcpu_unpark)
		m->engine->vcpu_unpark(m->vcpu[0].vcpu);
}

static void on_flush_page(void *opaque, uint32_t lin)
{
	struct machine *m = opaque;

	m->engine->vcpu_flush_page(m->vcpu[0].vcpu, lin);
}

static void on_flush_tlb(void *opaque)
{
	struct machine *m = opaque;

	m->engine->vcpu_flush_tlb(m->vcpu[0].vcpu);
}

static void on_end(void *opaque, enum lguest_end how, const char *reason)
{
	static const enum outcome outcome[] = { [LGUEST_POWER_OFF] = POWERED_OFF,
						[LGUEST_RESTART] = RESET,
						[LGUEST_PANIC] = PANICKED,
						[LGUEST_DIED] = DIED };
	struct machine *m = opaque;

	if (!machine_conclude(m, outcome[how]))
		return;
	/* The main thread reads them when it has waited for this one. */
	if (how == LGUEST_RESTART)
		machine_notice(m, "the guest restarts");
	else
		snprintf(m->last_words, sizeof(m->last_words), "%s", reason);
}

static void on_early_console(void *opaque, const char *text, unsigned len)
{
	struct machine *m = opaque;

	for (unsigned i = 0; i < len; i++)
		while (!console_put(&m->console, (uint8_t)text[i]))
			if (!console_wait(&m->console))
				return;
}

/* ---- doorbells that ring on the main thread, where the engine has them (EVENTFD) ---- */

static void answer(struct machine *m, struct machine_doorbell *bell)
{
	eventfd_t count;

	if (eventfd_read(bell->source.fd, &count) == 0)
		lguest_bus_notify(&m->lguest_bus, bell->ring);
}

/* Main thread. */
static void on_doorbell(void *opaque, uint32_t events)
{
	struct machine_doorbell *bell = opaque;
	struct machine *m = bell->machine;

	pthread_mutex_lock(&m->doorbell_lock);
	answer(m, bell);
	pthread_mutex_unlock(&m->doorbell_lock);
}

static bool on_notify(void *opaque, uint32_t addr)
{
	struct machine *m = opaque;
	bool ok;

	pthread_mutex_lock(&m->doorbell_lock);
	/* In the guest's order: a doorbell from before a reset must not start the device again behind it. */
	for (unsigned i = 0; i < m->doorbells; i++)
		answer(m, &m->doorbell[i]);
	ok = lguest_bus_notify(&m->lguest_bus, addr);
	pthread_mutex_unlock(&m->doorbell_lock);
	return ok;
}

static void remove_doorbells(struct machine *m)
{
	for (unsigned i = 0; i < m->doorbells; i++) {
		eventloop_remove(&m->loop, &m->doorbell[i].source);
		close(m->doorbell[i].source.fd);
	}
	m->doorbells = 0;
}

/*
 * Any that fails does without: its NOTIFYs come by on_notify(). So do the console's: its driver spins
 * until a line is out, and keeps this thread from the host's only CPU meanwhile (43 KiB of output on
 * a 3.12 host in QEMU: 26 s with doorbells, 2 s without).
 */
static void add_doorbells(struct machine *m)
{
	uint32_t ring;
	bool polled;

	remove_doorbells(m);
	for (unsigned i = 0; i < LGUEST_DOORBELLS && lguest_bus_ring(&m->lguest_bus, i, &ring, &polled);
	     i++) {
		struct machine_doorbell *bell = &m->doorbell[m->doorbells];

		if (polled)
			continue;
		*bell = (struct machine_doorbell){ .machine = m, .ring = ring };
		bell->source = (struct event_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						      .ready = on_doorbell,
						      .opaque = bell };
		if (bell->source.fd < 0)
			continue;
		if (eventloop_add(&m->loop, &bell->source, EPOLLIN) != 0) {
			close(bell->source.fd);
			continue;
		}
		m->doorbells++;
		m->engine->vcpu_route_notify(m->vcpu[0].vcpu, ring, bell->source.fd);
	}
}

static const struct lguest_host lguest_host = {
	.park = on_park,
	.unpark = on_unpark,
	.kick = on_kick,
	.flush_page = on_flush_page,
	.flush_tlb = on_flush_tlb,
	.end = on_end,
	.early_console = on_early_console,
	.notify = on_notify,
};

/* Any thread. */
static void raise_irq(void *opaque, unsigned irq)
{
	struct machine *m = opaque;

	if (m->engine->vcpu_raise)
		m->engine->vcpu_raise(m->vcpu[0].vcpu, irq);
	else
		lguest_raise_irq(&m->lguest, irq);
}

/* ---- what the engine asks of us ---- */

static uint64_t bus_mmio_read(void *machine, unsigned cpu, uint64_t addr, unsigned size)
{
	struct machine *m = machine;

	lguest_bad_address(&m->lguest, addr);
	return ~0ull;
}

static void bus_mmio_write(void *machine, unsigned cpu, uint64_t addr, unsigned size, uint64_t val)
{
	struct machine *m = machine;

	lguest_bad_address(&m->lguest, addr);
}

static enum vcpu_service bus_service(void *machine, unsigned cpu)
{
	struct machine *m = machine;

	return m->outcome == RUNNING ? VCPU_CONTINUE : VCPU_STOP;
}

static void bus_halt(void *machine, unsigned cpu)
{
	struct machine *m = machine;
	uint32_t ticket = sleeper_ticket(&m->vcpu[cpu].sleeper);

	if (m->outcome != RUNNING || lguest_wakes(&m->lguest))
		return;
	vcpu_sleep(m, cpu, ticket, lguest_deadline(&m->lguest));
}

static void bus_enter(void *machine, unsigned cpu, struct x86_state *s)
{
	struct machine *m = machine;

	lguest_enter(&m->lguest, s);
	vcpu_set_timer(m, cpu, lguest_deadline(&m->lguest));
}

static void bus_trap(void *machine, unsigned cpu, struct x86_state *s, const struct vcpu_trap *trap)
{
	struct machine *m = machine;
	uint64_t before = lguest_deadline(&m->lguest), after;

	lguest_trap(&m->lguest, s, trap);
	after = lguest_deadline(&m->lguest);
	if (after == before)
		return;
	on_park(m);
	vcpu_set_timer(m, cpu, after);
	on_unpark(m);
}

static void bus_notify(void *machine, unsigned cpu, uint32_t value)
{
	struct machine *m = machine;

	lguest_notify(&m->lguest, value);
}

static void bus_ended(void *machine, unsigned cpu, bool restart, const char *reason)
{
	struct machine *m = machine;

	lguest_ended(&m->lguest, restart, reason);
}

/* Level 1 with IOPL 0 may not touch ports and MSRs, and enter() is asked in the place of an interrupt controller. */
static struct vcpu_bus lguest_vcpu_bus(struct machine *m)
{
	return (struct vcpu_bus){
		.machine = m,
		.mmio_read = bus_mmio_read,
		.mmio_write = bus_mmio_write,
		.service = bus_service,
		.halt = bus_halt,
		.trap = bus_trap,
		.enter = bus_enter,
		.notify = bus_notify,
		.ended = bus_ended,
		.gdt = m->lguest.s.gdt,
		.gdt_entries = LG_GDT_ENTRIES,
	};
}

/* ---- construction ---- */

static bool create(struct machine *m)
{
	uint64_t ram = m->cfg->memory;

	if (ram > RAM_MAX) {
		fprintf(stderr, "lguest: memory: guests of the lguest platform can have at most %llu MiB\n",
			RAM_MAX >> 20);
		return false;
	}
	lguest_init(&m->lguest, &m->memory, (uint32_t)ram, m->cpuid.tsc_khz, &lguest_host, m);
	lguest_bus_init(&m->lguest_bus, &m->memory, m->lguest.ram, m->lguest.limit, raise_irq, m);
	console_prefer(&m->console, CONSOLE_HVC);
	pthread_mutex_init(&m->doorbell_lock, NULL);
	return true;
}

static void destroy(struct machine *m)
{
	remove_doorbells(m);
}

static int plug(struct machine *m, struct virtio_device *dev)
{
	return lguest_bus_attach(&m->lguest_bus, dev);
}

static bool load(struct machine *m, struct x86_state *state)
{
	const struct boot_input in = {
		.kernel = m->cfg->kernel,
		.initrd = m->cfg->initrd,
		.cmdline = m->cfg->cmdline,
		.host_decompress = m->cfg->host_decompress,
	};
	struct boot_lguest start;
	char err[512];

	if (boot_load_lguest(&m->memory, m->lguest.ram, &in, &start, err, sizeof(err)) != 0) {
		fprintf(stderr, "lguest: %s\n", err);
		return false;
	}
	lguest_start(&m->lguest, start.entry, start.pgdir, state);
	lguest_bus_start(&m->lguest_bus);
	return true;
}

static void start(struct machine *m)
{
	if (m->engine->vcpu_route_notify)
		add_doorbells(m);
}

static void reset(struct machine *m)
{
	lguest_reset(&m->lguest);
}

static void print_stats(struct machine *m)
{
	const struct lguest_stats *s = &m->lguest.stats;

	/* The host's kernel has done it all. */
	if (m->engine->vcpu_raise)
		return;
	fprintf(stderr,
		"lguest: platform: hypercalls %" PRIu64 " (from the ring %" PRIu64 "), traps %" PRIu64
		" (page faults %" PRIu64 "), interrupts %" PRIu64 ", emulated instructions %" PRIu64 "\n",
		s->hypercalls, s->ring_calls, s->traps, s->page_faults, s->interrupts, s->emulated);
}

const struct machine_platform machine_lguest = {
	.name = "lguest",
	.extra_memory = LG_DEVICE_PAGES * 4096ull,
	.create = create,
	.destroy = destroy,
	.plug = plug,
	.load = load,
	.start = start,
	.reset = reset,
	.bus = lguest_vcpu_bus,
	.print_stats = print_stats,
};
