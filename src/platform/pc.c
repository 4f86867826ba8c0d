/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "platform/pc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

#include "memory.h"

/*
 * How fast console input comes in: a burst, as it fits into the FIFO and as the
 * guest empties it, when the guest has gone idle since the last one, but at
 * most every LINE_READY_US, ten times as fast as 115200 baud; and to a guest that
 * never goes idle every LINE_QUIET_US.
 *
 * A line as fast as the host would fill Linux's buffers (640 KiB) within a few
 * runs of its interrupt handler, before anybody had a chance to read, and the
 * rest would be lost. A guest that sleeps on while its buffers fill loses
 * input as on any serial line without flow control: that is what RTS is for.
 */
#define LINE_BURST    128
#define LINE_READY_US 1000
#define LINE_QUIET_US 10000

#define POST_PORT 0x80

/* ---- interrupts ---- */

/* Sends a message to all local APICs that it addresses. */
static void deliver(struct pc *pc, uint32_t dest, bool logical, bool wide, unsigned mode, uint8_t vector,
		    bool level)
{
	for (unsigned i = 0; i < pc->vcpus; i++) {
		if (!lapic_matches(&pc->lapic[i], dest, logical, wide))
			continue;
		lapic_post(&pc->lapic[i], vector, level);
		pc->host->kick(pc->opaque, i);
		if (mode == ICR_MODE_LOWEST >> 8)
			break;
	}
}

static bool plain(unsigned mode)
{
	return mode == ICR_MODE_FIXED >> 8 || mode == ICR_MODE_LOWEST >> 8;
}

static void ioapic_deliver(void *opaque, uint8_t dest, bool logical, unsigned mode, uint8_t vector,
			   bool level)
{
	struct pc *pc = opaque;

	/* SMI, NMI, INIT and ExtINT: no pin of this PC carries them. */
	if (plain(mode))
		deliver(pc, dest, logical, false, mode, vector, level);
}

void pc_msi(struct pc *pc, uint64_t addr, uint32_t data)
{
	unsigned mode = data >> 8 & 7;

	if ((addr & ~0xfffffull) == LAPIC_DEFAULT_BASE && plain(mode))
		deliver(pc, addr >> 12 & 0xff, addr >> 2 & 1, false, mode, data & 0xff, data >> 15 & 1);
}

/* Level-triggered EOI; vCPU thread, without the lock. */
static void lapic_eoi(void *opaque, uint8_t vector)
{
	struct pc *pc = opaque;

	pthread_mutex_lock(&pc->lock);
	ioapic_eoi(&pc->ioapic, vector);
	pthread_mutex_unlock(&pc->lock);
}

static void lapic_ipi(void *opaque, unsigned from, uint32_t icr, uint32_t dest)
{
	struct pc *pc = opaque;
	bool wide = pc->lapic[from].s.apic_base & APIC_BASE_X2APIC;
	uint32_t shorthand = icr & ICR_SHORTHAND;

	if (!plain(icr >> 8 & 7)) {
		/* INIT and SIPI have nobody to start yet, NMI and SMI no way in. */
		pc->refused_ipis++;
		return;
	}
	for (unsigned i = 0; i < pc->vcpus; i++) {
		struct lapic *l = &pc->lapic[i];

		if (shorthand == 0 && !lapic_matches(l, dest, icr & ICR_LOGICAL, wide))
			continue;
		if ((shorthand == ICR_TO_SELF && i != from) || (shorthand == ICR_TO_OTHERS && i == from))
			continue;
		lapic_post(l, icr & ICR_VECTOR, false);
		pc->host->kick(pc->opaque, i);
		if ((icr & ICR_MODE) == ICR_MODE_LOWEST)
			break;
	}
}

static const struct lapic_ops lapic_ops = { .eoi = lapic_eoi, .ipi = lapic_ipi };

/* After anything that may have made an interrupt deliverable on one's own CPU. */
static void recheck(struct pc *pc, unsigned cpu)
{
	if (lapic_pending(&pc->lapic[cpu]) >= 0)
		pc->host->kick(pc->opaque, cpu);
}

/* ---- serial port ---- */

static bool uart_put(void *opaque, uint8_t byte)
{
	struct pc *pc = opaque;

	return pc->host->console_put(pc->opaque, byte);
}

static int uart_get(void *opaque)
{
	struct pc *pc = opaque;

	if (pc->line_burst == 0)
		return -1;
	pc->line_burst--;
	return pc->host->console_get(pc->opaque);
}

static void uart_irq(void *opaque, bool high)
{
	struct pc *pc = opaque;

	ioapic_set_line(&pc->ioapic, UART_COM1_GSI, high);
}

/* Asks vCPU 0 to come back for input at TSC @when. */
static void fetch_at(struct pc *pc, uint64_t when)
{
	pc->input_due = when ? when : 1;
	pc->host->kick(pc->opaque, 0);
}

/* Fetches input when it is time, else says when that will be. */
static void feed(struct pc *pc, uint64_t not_before)
{
	uint64_t now = __rdtsc();

	pc->input_due = 0;
	if (!pc->host->console_ready(pc->opaque))
		return;
	if (now < not_before) {
		fetch_at(pc, not_before);
		return;
	}
	pc->line_ready = now + (uint64_t)pc->tsc_khz * LINE_READY_US / 1000;
	pc->line_quiet = now + (uint64_t)pc->tsc_khz * LINE_QUIET_US / 1000;
	pc->line_burst = LINE_BURST;
	uart_fill(&pc->uart);
}

static void uart_room(void *opaque)
{
	struct pc *pc = opaque;

	if (!pc->host->console_ready(pc->opaque))
		return;
	if (pc->line_burst)
		uart_fill(&pc->uart);
	else
		fetch_at(pc, pc->line_quiet);
}

static void uart_listen(void *opaque, bool listens)
{
	struct pc *pc = opaque;

	if (pc->host->console_listen)
		pc->host->console_listen(pc->opaque, listens);
}

static const struct uart_ops uart_ops = {
	.put = uart_put, .get = uart_get, .room = uart_room, .irq = uart_irq, .listen = uart_listen
};

void pc_console_input(struct pc *pc)
{
	pthread_mutex_lock(&pc->lock);
	feed(pc, pc->line_quiet);
	pthread_mutex_unlock(&pc->lock);
}

void pc_idle(struct pc *pc, unsigned cpu)
{
	if (cpu != 0 || !pc->input_due)
		return;
	pthread_mutex_lock(&pc->lock);
	if (pc->input_due > pc->line_ready)
		feed(pc, pc->line_ready);
	pthread_mutex_unlock(&pc->lock);
}

/* The host takes no more: this vCPU waits, so that no output is lost. */
static void drain(struct pc *pc)
{
	bool done;

	do {
		pthread_mutex_unlock(&pc->lock);
		done = !pc->host->console_wait(pc->opaque);
		pthread_mutex_lock(&pc->lock);
	} while (!uart_drain(&pc->uart) && !done);
}

/* ---- power ---- */

static void power_happened(void *opaque, enum power_event event)
{
	struct pc *pc = opaque;

	pc->host->event(pc->opaque, event);
}

static void reset_control(void *opaque, uint8_t val)
{
	struct pc *pc = opaque;

	power_write_reset(&pc->power, val);
}

/* ---- PCI ---- */

static void pci_line(void *opaque, unsigned gsi, bool high)
{
	struct pc *pc = opaque;

	ioapic_set_line(&pc->ioapic, gsi, high);
}

static void pci_message(void *opaque, uint64_t addr, uint32_t data)
{
	pc_msi(opaque, addr, data);
}

/* ---- the engine's side ---- */

uint64_t pc_mmio_read(struct pc *pc, unsigned cpu, uint64_t addr, unsigned size)
{
	struct lapic *l = &pc->lapic[cpu];
	struct bus_hit hit;
	uint64_t val;

	if (lapic_claims(l, addr))
		return lapic_mmio_read(l, addr & (LAPIC_MMIO_SIZE - 1), size, __rdtsc());
	pthread_mutex_lock(&pc->lock);
	hit = bus_find(&pc->memory, addr, size, false);
	if (hit.ops->unlocked) {
		pthread_mutex_unlock(&pc->lock);
		return bus_hit_read(&hit, size);
	}
	val = bus_hit_read(&hit, size);
	pthread_mutex_unlock(&pc->lock);
	return val;
}

void pc_mmio_write(struct pc *pc, unsigned cpu, uint64_t addr, unsigned size, uint64_t val)
{
	struct lapic *l = &pc->lapic[cpu];
	struct bus_hit hit;

	if (lapic_claims(l, addr)) {
		lapic_mmio_write(l, addr & (LAPIC_MMIO_SIZE - 1), size, val, __rdtsc());
		recheck(pc, cpu);
		return;
	}
	pthread_mutex_lock(&pc->lock);
	hit = bus_find(&pc->memory, addr, size, true);
	if (hit.ops->unlocked) {
		pthread_mutex_unlock(&pc->lock);
		bus_hit_write(&hit, size, val);
		return;
	}
	bus_hit_write(&hit, size, val);
	pthread_mutex_unlock(&pc->lock);
}

uint32_t pc_pio_read(struct pc *pc, unsigned cpu, uint16_t port, unsigned size)
{
	struct bus_hit hit;
	uint32_t val;

	pthread_mutex_lock(&pc->lock);
	hit = bus_find(&pc->ports, port, size, false);
	if (hit.ops->unlocked) {
		pthread_mutex_unlock(&pc->lock);
		return (uint32_t)bus_hit_read(&hit, size);
	}
	val = (uint32_t)bus_hit_read(&hit, size);
	pthread_mutex_unlock(&pc->lock);
	return val;
}

void pc_pio_write(struct pc *pc, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
	struct bus_hit hit;

	pthread_mutex_lock(&pc->lock);
	hit = bus_find(&pc->ports, port, size, true);
	if (hit.ops->unlocked) {
		pthread_mutex_unlock(&pc->lock);
		bus_hit_write(&hit, size, val);
		return;
	}
	bus_hit_write(&hit, size, val);
	if (pc->uart.s.tx.count)
		drain(pc);
	pthread_mutex_unlock(&pc->lock);
}

static bool clock_msr_read(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW: *val = pc->clock.wall; return true;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW: *val = pc->clock_cpu[cpu].system_time; return true;
	}
	return false;
}

static bool clock_msr_write(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		pthread_mutex_lock(&pc->lock);
		pvclock_write_wall(&pc->clock, pc->scale, pc->ram, val, __rdtsc());
		pthread_mutex_unlock(&pc->lock);
		return true;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		pvclock_write_system_time(&pc->clock_cpu[cpu], &pc->clock, pc->scale, pc->ram, val,
					  __rdtsc());
		return true;
	}
	return false;
}

bool pc_msr_read(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t *val)
{
	return lapic_msr_read(&pc->lapic[cpu], msr, val, __rdtsc()) || clock_msr_read(pc, cpu, msr, val);
}

bool pc_msr_write(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t val)
{
	if (!lapic_msr_write(&pc->lapic[cpu], msr, val, __rdtsc()))
		return clock_msr_write(pc, cpu, msr, val);
	recheck(pc, cpu);
	return true;
}

void pc_tpr_write(struct pc *pc, unsigned cpu, uint8_t tpr)
{
	lapic_tpr_write(&pc->lapic[cpu], tpr);
	recheck(pc, cpu);
}

void pc_run_timers(struct pc *pc, unsigned cpu)
{
	uint64_t now = __rdtsc(), due;

	lapic_run_timer(&pc->lapic[cpu], now);
	if (cpu != 0)
		return;
	due = atomic_load_explicit(&pc->input_due, memory_order_relaxed);
	if (due && now >= due) {
		pthread_mutex_lock(&pc->lock);
		feed(pc, due);
		pthread_mutex_unlock(&pc->lock);
	}
}

uint64_t pc_deadline(const struct pc *pc, unsigned cpu)
{
	uint64_t timer = lapic_deadline(&pc->lapic[cpu]);
	uint64_t input = cpu == 0 ? atomic_load_explicit(&pc->input_due, memory_order_relaxed) : 0;

	return input && input < timer ? input : timer;
}

/* ---- construction ---- */

static int claim_ports(struct pc *pc)
{
	static const struct bus_ops absent = { 0 };
	const struct {
		uint16_t base, len;
		const struct bus_ops *ops;
		void *device;
	} claims[] = {
		{ UART_COM1_PORT, UART_PORTS, &uart_bus_ops, &pc->uart },
		{ RTC_PORT, RTC_PORTS, &rtc_bus_ops, &pc->rtc },
		{ PCI_PORT, PCI_PORTS, &pci_bus_ops, &pc->pci },
		{ PM1_EVENT_PORT, PM1_EVENT_PORTS, &power_pm1_event_ops, &pc->power },
		{ PM1_CONTROL_PORT, PM1_CONTROL_PORTS, &power_pm1_control_ops, &pc->power },
		{ PVPANIC_PORT, 1, &power_pvpanic_ops, &pc->power },
		{ I8042_DATA_PORT, 1, &power_i8042_data_ops, &pc->power },
		{ I8042_COMMAND_PORT, 1, &power_i8042_command_ops, &pc->power },
		/* Power-on self test codes; Linux writes there to pass time. */
		{ POST_PORT, 1, &absent, NULL },
		/* What everybody looks for on a PC, and we know that it is not there: 8259, PIT, COM2 to COM4 */
		{ 0x20, 2, &absent, NULL },
		{ 0xa0, 2, &absent, NULL },
		{ 0x40, 4, &absent, NULL },
		{ 0x61, 1, &absent, NULL },
		{ 0x2f8, UART_PORTS, &absent, NULL },
		{ 0x3e8, UART_PORTS, &absent, NULL },
		{ 0x2e8, UART_PORTS, &absent, NULL },
	};

	for (unsigned i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		int error = bus_add(&pc->ports, claims[i].base, claims[i].len, claims[i].ops,
				    claims[i].device);

		if (error)
			return error;
	}
	return bus_add(&pc->memory, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_bus_ops, &pc->ioapic);
}

int pc_init(struct pc *pc, const struct guest_memory *ram, unsigned vcpus, uint32_t tsc_khz,
	    const struct pc_host *host, void *opaque)
{
	int error;

	if (vcpus == 0 || vcpus > PC_MAX_VCPUS || tsc_khz == 0)
		return -EINVAL;
	memset(pc, 0, sizeof(*pc));
	pc->vcpus = vcpus;
	pc->tsc_khz = tsc_khz;
	pc->scale = pvclock_make_scale(tsc_khz);
	pc->ram = ram;
	pc->host = host;
	pc->opaque = opaque;
	bus_init(&pc->ports, "port", host->notice, opaque);
	bus_init(&pc->memory, "address", host->notice, opaque);
	for (unsigned i = 0; i < vcpus; i++)
		lapic_init(&pc->lapic[i], i, tsc_khz, &lapic_ops, pc);
	pc->ioapic.deliver = ioapic_deliver;
	pc->ioapic.opaque = pc;
	pc->uart.ops = &uart_ops;
	pc->uart.opaque = pc;
	pc->power.event = power_happened;
	pc->power.opaque = pc;
	pci_init(&pc->pci, &pc->ports, &pc->memory);
	pc->pci.lock = &pc->lock;
	pc->pci.set_line = pci_line;
	pc->pci.message = pci_message;
	pc->pci.reset_control = reset_control;
	pc->pci.opaque = pc;
	error = claim_ports(pc);
	if (error)
		return error;
	error = pthread_mutex_init(&pc->lock, NULL);
	if (error)
		return -error;
	pc_reset(pc);
	return 0;
}

void pc_destroy(struct pc *pc)
{
	pci_destroy(&pc->pci);
	pthread_mutex_destroy(&pc->lock);
}

void pc_reset(struct pc *pc)
{
	/* First of all: once devices are reset, no thread of theirs raises an interrupt any more. */
	pci_reset(&pc->pci);
	for (unsigned i = 0; i < pc->vcpus; i++)
		lapic_reset(&pc->lapic[i]);
	ioapic_reset(&pc->ioapic);
	uart_reset(&pc->uart);
	rtc_reset(&pc->rtc);
	power_reset(&pc->power);
	pc->line_ready = pc->line_quiet = 0;
	pc->line_burst = 0;
	pc->input_due = 0;
	memset(pc->clock_cpu, 0, sizeof(pc->clock_cpu));
	pc_start_clock(pc);
}

void pc_start_clock(struct pc *pc)
{
	pc->clock = (struct pvclock_state){ .start_tsc = __rdtsc() };
}
