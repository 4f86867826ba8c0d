/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest sees besides its CPUs' instructions: local APICs, I/O APIC,
 * serial port, clock, PCI bus, power. Wires them to the two address spaces and
 * to each other; knows neither engine nor host resources. The machine gives it
 * a struct pc_host to talk to.
 *
 * Locks: devices are serialised by @lock, but for those that have one of their
 * own (virtio): they are called without it, and take it after theirs, for a
 * moment, when they raise an interrupt. Local APICs belong to their vCPU's
 * thread and are not under it (lapic.h). Callbacks of pc_host are made with the
 * lock held unless said otherwise, so they must not call back into the PC.
 */
#ifndef LGUEST_PLATFORM_PC_H
#define LGUEST_PLATFORM_PC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/bus.h"
#include "platform/ioapic.h"
#include "platform/lapic.h"
#include "platform/pci.h"
#include "platform/power.h"
#include "platform/pvclock.h"
#include "platform/rtc.h"
#include "platform/uart.h"

struct guest_memory;

#define PC_MAX_VCPUS 1 /* until INIT and SIPI start others */

struct pc_host {
	/* @cpu may have an interrupt: make it look. Any thread. */
	void (*kick)(void *opaque, unsigned cpu);
	void (*event)(void *opaque, enum power_event event);
	/* Console output: false when there is no room. */
	bool (*console_put)(void *opaque, uint8_t byte);
	/* Waits for room, or until the machine stops (false). Called without the lock. */
	bool (*console_wait)(void *opaque);
	/* Console input: the next byte or -1; and whether there is one. */
	int (*console_get)(void *opaque);
	bool (*console_ready)(void *opaque);
	/* The guest listens to its serial port, or no longer; may be NULL. */
	void (*console_listen)(void *opaque, bool listens);
	/* A line, without newline, about something odd that the guest does; NULL: not wanted. */
	void (*notice)(void *opaque, const char *line);
};

struct pc {
	pthread_mutex_t lock;
	struct bus ports, memory;
	unsigned vcpus;
	struct lapic lapic[PC_MAX_VCPUS];
	struct ioapic ioapic;
	struct uart uart;
	struct rtc rtc;
	struct pci_bus pci;
	struct power power;
	struct pvclock_state clock;
	struct pvclock_cpu_state clock_cpu[PC_MAX_VCPUS];
	struct pvclock_scale scale;
	uint32_t tsc_khz;
	/*
	 * Pacing of console input, see feed(). TSC values: when the line may
	 * bring more to a guest that has gone idle, when to any guest; and when
	 * vCPU 0 should fetch some (0: nothing waits).
	 */
	uint64_t line_ready, line_quiet;
	unsigned line_burst; /* bytes that may still come before that */
	_Atomic uint64_t input_due;
	const struct guest_memory *ram;
	const struct pc_host *host;
	void *opaque;
	/* For the statistics */
	_Atomic uint64_t refused_ipis;
};

/*
 * Builds the PC around @ram, in the state after power-up. @host, @opaque and
 * @ram outlive it. 0 or a negative errno.
 */
int pc_init(struct pc *pc, const struct guest_memory *ram, unsigned vcpus, uint32_t tsc_khz,
	    const struct pc_host *host, void *opaque);
/* With all that is plugged into the PCI bus; what those serve (virtio devices) is not its to destroy. */
void pc_destroy(struct pc *pc);

/* Power-up state again, for everything plugged into the PCI bus, too. No vCPU may run. */
void pc_reset(struct pc *pc);

/* Guest time is zero now: call it just before the vCPUs start. */
void pc_start_clock(struct pc *pc);

/* The engine's accesses, on the thread of vCPU @cpu (engine.h tells the meaning). */
uint64_t pc_mmio_read(struct pc *pc, unsigned cpu, uint64_t addr, unsigned size);
void pc_mmio_write(struct pc *pc, unsigned cpu, uint64_t addr, unsigned size, uint64_t val);
uint32_t pc_pio_read(struct pc *pc, unsigned cpu, uint16_t port, unsigned size);
void pc_pio_write(struct pc *pc, unsigned cpu, uint16_t port, unsigned size, uint32_t val);
bool pc_msr_read(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t *val);
bool pc_msr_write(struct pc *pc, unsigned cpu, uint32_t msr, uint64_t val);
void pc_tpr_write(struct pc *pc, unsigned cpu, uint8_t tpr);

/* Runs what is due on this vCPU's thread. */
void pc_run_timers(struct pc *pc, unsigned cpu);

/* TSC at which pc_run_timers() has work again; LAPIC_NO_DEADLINE for never. */
uint64_t pc_deadline(const struct pc *pc, unsigned cpu);

/* The vCPU is about to sleep: it has dealt with all that it got so far. */
void pc_idle(struct pc *pc, unsigned cpu);

/* Any thread but with no lock of the host's held: console input has come. */
void pc_console_input(struct pc *pc);

/* Any thread: a message-signalled interrupt (SDM vol. 3, 10.11). */
void pc_msi(struct pc *pc, uint64_t addr, uint32_t data);

#endif
