/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the machine share; nobody else includes this.
 *
 *   machine.c   the life of a guest: from start to reset or end
 *   vcpus.c     the virtual CPUs and their threads
 *   machine_pc.c, machine_lguest.c
 *               what is around the CPUs, and what the engine asks of us
 *   devices.c   the virtio devices of the command line
 *
 * Threads: the main thread runs the event loop; each vCPU has one of its own, and so
 * has the loader as long as it has something to do (boot/loading.c).
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
#include "platform/lguest/lguest.h"
#include "platform/pc.h"
#include "virtio/device.h"
#include "virtio/lguestbus.h"

struct boot_loading;
struct engine;
struct vcpu;
struct x86_state;

enum outcome {
	RUNNING,
	POWERED_OFF,
	RESET,
	PANICKED,
	TRIPLE_FAULT,
	DIED,   /* a guest of the lguest platform broke the rules; a line was printed */
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

#define LGUEST_DOORBELLS 31 /* no more rings than interrupts */

/* A ring whose NOTIFYs an engine of the lguest platform counts in an event descriptor. */
struct machine_doorbell {
	struct machine *machine;
	struct event_source source;
	uint32_t ring; /* its address */
};

struct machine;
struct vcpu_bus;

/*
 * What is around the CPUs. All on the main thread; callbacks of the bus come
 * on the vCPU's. Functions that answer false have printed a line.
 */
struct machine_platform {
	const char *name;      /* of --platform */
	uint64_t extra_memory; /* bytes that it needs besides the guest's RAM */
	bool (*create)(struct machine *m);
	void (*destroy)(struct machine *m);
	/* Becomes the transport of @dev. 0 or -errno. */
	int (*plug)(struct machine *m, struct virtio_device *dev);
	/*
	 * Puts kernel and all into memory, which is zero; *@state: how the CPU starts. May leave
	 * m->loading behind, which goes on beside the guest.
	 */
	bool (*load)(struct machine *m, struct x86_state *state);
	/* The vCPUs are about to run. */
	void (*start)(struct machine *m);
	/* The guest was reset; no vCPU runs. */
	void (*reset)(struct machine *m);
	/* Ports, MSRs and the interrupt controller may be NULL: there are none. */
	struct vcpu_bus (*bus)(struct machine *m);
	void (*print_stats)(struct machine *m);
};

extern const struct machine_platform machine_pc, machine_lguest;

struct machine {
	const struct config *cfg;
	uint64_t started; /* see engine_config; only for the first life of the guest */
	struct guest_memory memory;
	struct boot_loading *loading; /* or NULL */
	bool load_failed; /* that is what ended the guest. Under the loader's lock, until it is gone */
	struct cpuid_table cpuid;
	struct engine *engine;
	const struct machine_platform *platform;
	union {
		struct pc pc;
		struct {
			struct lguest lguest;
			struct lguest_bus lguest_bus;
			struct machine_doorbell doorbell[LGUEST_DOORBELLS];
			unsigned doorbells;
			pthread_mutex_t doorbell_lock; /* one NOTIFY at a time */
		};
	};
	struct machine_vcpu vcpu[PC_MAX_VCPUS];
	unsigned vcpus;
	_Atomic int outcome;                /* enum outcome */
	char last_words[LGUEST_REASON_MAX]; /* of a guest of the lguest platform: why it ended */

	struct eventloop loop;
	struct console console;
	struct tty tty;
	struct event_source wake_source;
	struct host_signals signals;
	bool platform_ready, console_ready;
	bool killed;   /* the user wants an end, whatever the guest wants */
	int killed_by; /* the signal, or 0 */

	struct virtio_env env;
	struct virtio_device *device[CONFIG_MAX_DEVICES + 1]; /* the last one is the console */
	unsigned devices;
};

/* ---- machine.c ---- */

/* The guest's run is over, for this reason; the first one wins: was it this one? Any thread. */
bool machine_conclude(struct machine *m, enum outcome how);

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
/* vCPU's thread: from TSC @deadline on (UINT64_MAX: never) the engine calls service(). */
void vcpu_set_timer(struct machine *m, unsigned cpu, uint64_t deadline);
/* vCPU's thread, halted: sleeps until then, or until a kick that came after sleeper_ticket(). */
void vcpu_sleep(struct machine *m, unsigned cpu, uint32_t ticket, uint64_t deadline);
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
/* After the platform is gone. */
void devices_destroy(struct machine *m);

#endif
