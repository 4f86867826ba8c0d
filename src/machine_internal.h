/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the machine share; nobody else includes this.
 *
 *   machine.c   the life of a guest: from start to reset or end
 *   vcpus.c     the virtual CPUs: their threads, and what the engine asks of us
 *   devices.c   the virtio devices of the command line
 *
 * Threads: the main thread runs the event loop; each vCPU has one of its own.
 */
#ifndef LGUEST_MACHINE_INTERNAL_H
#define LGUEST_MACHINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "cpu/cpuid.h"
#include "host/console.h"
#include "host/eventloop.h"
#include "host/signals.h"
#include "host/sleeper.h"
#include "host/timer.h"
#include "host/tty.h"
#include "memory.h"
#include "platform/pc.h"
#include "virtio/device.h"

struct engine;
struct vcpu;
struct x86_state;

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

	struct virtio_env env;
	struct virtio_device *device[CONFIG_MAX_DEVICES + 1]; /* the last one is the console */
	unsigned devices;
};

/* ---- machine.c ---- */

/* The guest's run is over, for this reason; the first one wins. Any thread. */
void machine_conclude(struct machine *m, enum outcome how);

/* A line on standard error in the middle of the run. Any thread. */
void machine_warn(struct machine *m, const char *line);
/* The same, but only under --verbose. */
void machine_notice(struct machine *m, const char *line);

/* ---- vcpus.c; main thread ---- */

/* Creates the engine and its vCPUs, which will start in @state. False: a line was printed. */
bool vcpus_create(struct machine *m, const struct x86_state *state);
void vcpus_destroy(struct machine *m);
/* False: a line was printed; those that did start run. */
bool vcpus_start(struct machine *m);
/* After machine_conclude(): waits for their end. */
void vcpus_join(struct machine *m);
/* Makes vCPU @cpu look at interrupts and at the outcome. Any thread, signal handlers too. */
void vcpu_kick(struct machine *m, unsigned cpu);
/* Why and where the CPU shut down, on standard error. */
void vcpus_report_triple_fault(struct machine *m);

/* ---- devices.c; main thread ---- */

/*
 * Creates all devices that the command line asked for, in its order, then the
 * console, and plugs them into the PC. False: a line was printed.
 */
bool devices_create(struct machine *m);
/*
 * The guest is reset or gone, no vCPU runs: the devices forget all requests
 * and touch its memory no more. What they have on the host stays open.
 */
void devices_reset(struct machine *m);
/* After the PC is gone. */
void devices_destroy(struct machine *m);

#endif
