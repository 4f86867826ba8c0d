/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine as a PC: connects platform/pc.h with the engine, the console and
 * the loader. What the guest's CPU asks for comes in through the vcpu_bus callbacks, on the
 * vCPU's thread; what the PC wants of the host goes out through pc_host.
 */
#include "machine_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <x86intrin.h>

#include "boot/boot.h"
#include "engine/engine.h"
#include "platform/acpi.h"
#include "virtio/pci.h"

/* ---- what the platform asks of the host ---- */

static void on_kick(void *opaque, unsigned cpu)
{
	vcpu_kick(opaque, cpu);
}

static void on_notice(void *opaque, const char *line)
{
	machine_notice(opaque, line);
}

static void on_power(void *opaque, enum power_event event)
{
	struct machine *m = opaque;

	switch (event) {
	case POWER_OFF: machine_conclude(m, POWERED_OFF); break;
	case POWER_RESET: machine_conclude(m, RESET); break;
	case POWER_PANIC: machine_conclude(m, PANICKED); break;
	case POWER_CRASH_KERNEL:
		machine_notice(m, "guest kernel panicked and starts its crash kernel");
		break;
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

	return console_get(&m->console, CONSOLE_UART);
}

static bool on_console_ready(void *opaque)
{
	struct machine *m = opaque;

	return console_ready(&m->console, CONSOLE_UART);
}

static void on_console_listen(void *opaque, bool listens)
{
	struct machine *m = opaque;

	console_listen(&m->console, CONSOLE_UART, listens);
}

static const struct pc_host pc_host = {
	.kick = on_kick,
	.event = on_power,
	.console_put = on_console_put,
	.console_wait = on_console_wait,
	.console_get = on_console_get,
	.console_ready = on_console_ready,
	.console_listen = on_console_listen,
	.notice = on_notice,
};

static void on_uart_input(void *opaque)
{
	struct machine *m = opaque;

	pc_console_input(&m->pc);
}

static const struct console_port_ops uart_port_ops = { .input = on_uart_input };

/* Who gets what is typed: the last console= that names one of ours. Behind "--" the words are init's. */
static enum console_port preferred_console(const char *cmdline)
{
	enum console_port port = CONSOLE_UART;

	for (const char *word = cmdline; *word; word += strcspn(word, " ")) {
		word += strspn(word, " ");
		if (strncmp(word, "-- ", 3) == 0 || strcmp(word, "--") == 0)
			break;
		if (strncmp(word, "console=ttyS", 12) == 0)
			port = CONSOLE_UART;
		else if (strncmp(word, "console=hvc", 11) == 0)
			port = CONSOLE_HVC;
	}
	return port;
}

/* ---- what the engine asks of the machine (engine.h), on the vCPU's thread ---- */

/* Call after whatever may have moved the guest's next timer. */
static void set_timer(struct machine *m, unsigned cpu)
{
	vcpu_set_timer(m, cpu, pc_deadline(&m->pc, cpu));
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

	pc_run_timers(&m->pc, cpu);
	pc_idle(&m->pc, cpu);
	if (m->outcome != RUNNING)
		return;
	if (!v->deaf && lapic_pending(&m->pc.lapic[cpu]) >= 0) {
		v->deaf = true;
		return;
	}
	vcpu_sleep(m, cpu, ticket, pc_deadline(&m->pc, cpu));
	pc_run_timers(&m->pc, cpu);
}

static struct vcpu_bus pc_bus(struct machine *m)
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

/* ---- construction ---- */

static bool create(struct machine *m)
{
	int error = pc_init(&m->pc, &m->memory, m->vcpus, m->cpuid.tsc_khz, &pc_host, m);

	if (error) {
		fprintf(stderr, "lguest: platform: %s\n", strerror(-error));
		return false;
	}
	console_prefer(&m->console, preferred_console(m->cfg->cmdline));
	console_attach(&m->console, CONSOLE_UART, &uart_port_ops, m);
	return true;
}

static void destroy(struct machine *m)
{
	pc_destroy(&m->pc);
}

static int plug(struct machine *m, struct virtio_device *dev)
{
	return virtio_pci_create(dev, &m->pc.pci);
}

static bool load(struct machine *m, struct x86_state *state)
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
	/* 0 when the memory is too small for tables; boot_load_start() says so better. */
	in.acpi_rsdp = acpi_build(&m->memory, m->vcpus);
	if (boot_load_start(&m->memory, &in, state, &m->loading, err, sizeof(err)) == 0)
		return true;
	fprintf(stderr, "lguest: %s\n", err);
	return false;
}

static void start(struct machine *m)
{
	pc_start_clock(&m->pc);
}

static void reset(struct machine *m)
{
	pc_reset(&m->pc);
}

static void print_stats(struct machine *m)
{
	fprintf(stderr, "lguest: platform: unclaimed accesses: ports %" PRIu64 ", memory %" PRIu64 "\n",
		m->pc.ports.unclaimed, m->pc.memory.unclaimed);
}

const struct machine_platform machine_pc = {
	.name = "pc",
	.create = create,
	.destroy = destroy,
	.plug = plug,
	.load = load,
	.start = start,
	.reset = reset,
	.bus = pc_bus,
	.print_stats = print_stats,
};
