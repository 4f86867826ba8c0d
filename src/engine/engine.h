/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line between "how guest instructions get executed" and everything else.
 *
 * An engine knows CPUs and memory and nothing of devices. What it cannot
 * answer itself (a port, an address outside RAM, an MSR of the local APIC, an
 * interrupt vector) it asks of the machine through struct vcpu_bus. The
 * machine in turn knows no engine but this interface.
 *
 * Threads: a vCPU belongs to one thread, the one that calls vcpu_run(); only
 * vcpu_kick() may be called from elsewhere, also from a signal handler.
 */
#ifndef LGUEST_ENGINE_H
#define LGUEST_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct guest_memory;
struct x86_state;
struct cpuid_table;
struct engine;
struct vcpu;

/* What vcpu_bus.service() may answer. */
enum vcpu_service { VCPU_CONTINUE, VCPU_STOP };

/*
 * An exception, or an INT n, for a platform that delivers events itself.
 * s->rip is what a CPU would push: behind the instruction for software interrupts,
 * at it for faults; s->rflags has RF as pushed; s->cr2 is set for #PF.
 */
struct vcpu_trap {
	uint8_t vector;
	bool software; /* INT n, INT3, INTO */
	bool has_error;
	uint32_t error;
	uint64_t start; /* RIP of the instruction */
};

/*
 * The machine's side, called on the vCPU's thread with the host's floating
 * point environment in force (except trap(), which has the guest's). @machine is vcpu_bus.machine; @cpu the index.
 */
struct vcpu_bus {
	void *machine;

	/*
	 * Memory outside RAM and I/O ports; size 1, 2, 4 (ports) or also 8
	 * (memory), never misaligned across its own size by more than the guest
	 * made it. Unclaimed: all ones / ignored.
	 */
	uint64_t (*mmio_read)(void *machine, unsigned cpu, uint64_t addr, unsigned size);
	void (*mmio_write)(void *machine, unsigned cpu, uint64_t addr, unsigned size, uint64_t val);
	uint32_t (*pio_read)(void *machine, unsigned cpu, uint16_t port, unsigned size);
	void (*pio_write)(void *machine, unsigned cpu, uint16_t port, unsigned size, uint32_t val);

	/*
	 * MSRs that the machine implements (local APIC base, x2APIC range,
	 * TSC deadline, KVM paravirtual clock). False: no such MSR, or a value
	 * that it refuses; the engine raises #GP(0).
	 */
	bool (*msr_read)(void *machine, unsigned cpu, uint32_t msr, uint64_t *val);
	bool (*msr_write)(void *machine, unsigned cpu, uint32_t msr, uint64_t val);

	/* CR8 and the task priority register are one. */
	uint8_t (*tpr_read)(void *machine, unsigned cpu);
	void (*tpr_write)(void *machine, unsigned cpu, uint8_t tpr);

	/*
	 * After a kick, and whenever the engine passes by: runs timers that are
	 * due and whatever else the machine has for this thread.
	 */
	enum vcpu_service (*service)(void *machine, unsigned cpu);

	/* Is there an interrupt that the local APIC would deliver now? */
	bool (*interrupt_pending)(void *machine, unsigned cpu);
	/* Acknowledges it: its vector, or -1 when there is none any more. */
	int (*interrupt_accept)(void *machine, unsigned cpu);

	/*
	 * HLT: sleeps until an interrupt is pending or service() has something
	 * to say. Costs no CPU time. May return early.
	 */
	void (*halt)(void *machine, unsigned cpu);

	/*
	 * For platforms without IDT, GDT and interrupt flag of the CPU (the lguest
	 * ABI); NULL for all others. trap() gets each event in the place of the
	 * IDT, enter() is called after service() and takes the place of
	 * interrupt_pending() and interrupt_accept(). Both may change @s, which is complete
	 * (but for @xsave), and clear s->halted; CR3 is loaded anew when it differs.
	 * trap() is fast C: compiled with fast_c_args (meson.build), calling ordinary C, the C library too,
	 * only between vcpu_park() and vcpu_unpark().
	 * @gdt: descriptors, accessed bits set, in the place of what GDTR points at; read whenever
	 * a segment register is loaded.
	 */
	void (*trap)(void *machine, unsigned cpu, struct x86_state *s, const struct vcpu_trap *trap);
	void (*enter)(void *machine, unsigned cpu, struct x86_state *s);
	const uint64_t *gdt;
	unsigned gdt_entries;

	/*
	 * For engines that do the lguest ABI themselves: the guest made a NOTIFY with
	 * @value that nobody else got; the guest asks for a restart, or is dead for @reason.
	 */
	void (*notify)(void *machine, unsigned cpu, uint32_t value);
	void (*ended)(void *machine, unsigned cpu, bool restart, const char *reason);
};

enum vcpu_exit {
	VCPU_EXIT_STOP,         /* service() said VCPU_STOP */
	VCPU_EXIT_TRIPLE_FAULT, /* the CPU shut down; state tells where */
	VCPU_EXIT_ERROR,        /* the engine cannot go on; a line was printed */
};

struct engine_config {
	struct guest_memory *memory; /* outlives the engine, which watches it: guest_wrote() */
	unsigned vcpus;
	bool verbose;
	bool perf_map; /* write /tmp/perf-PID.map for perf(1) */
	/* Optimizations of the soft engine to do without, as in --soft-disable, or NULL */
	const char *soft_disable;
	uint64_t started; /* CLOCK_MONOTONIC, ns: when the program began, 0: not known. For statistics */
};

/*
 * One table entry per engine; engine_list ends with a NULL name. create()
 * returns NULL after printing one line that says what the host lacks.
 */
struct engine_ops {
	const char *name;
	const char *help;
	struct engine *(*create)(const struct engine_config *cfg);
};

extern const struct engine_ops engine_soft, engine_lguest;

/*
 * The first member of each engine's own struct. vcpu_create: @bus is copied;
 * @cpuid outlives the vCPU. The state starts zeroed; call vcpu_set_state().
 */
struct engine {
	const struct engine_ops *ops;
	/* NULL after printing one line. */
	struct vcpu *(*vcpu_create)(struct engine *e, unsigned index, const struct vcpu_bus *bus,
				    const struct cpuid_table *cpuid);
	void (*vcpu_destroy)(struct vcpu *v);
	void (*vcpu_set_state)(struct vcpu *v, const struct x86_state *s);
	void (*vcpu_get_state)(struct vcpu *v, struct x86_state *s);
	enum vcpu_exit (*vcpu_run)(struct vcpu *v);
	/*
	 * Page tables have changed: forgets the translation of the page at @lin, or of
	 * all but global pages. From inside the callbacks of struct vcpu_bus only.
	 */
	void (*vcpu_flush_page)(struct vcpu *v, uint64_t lin);
	void (*vcpu_flush_tlb)(struct vcpu *v);
	/*
	 * Inside vcpu_bus.trap(): saves the guest's vector and x87 registers, so that ordinary C
	 * may have them, and gives them back. Nests. All four are fast C, and NULL in engines without trap().
	 */
	void (*vcpu_park)(struct vcpu *v);
	void (*vcpu_unpark)(struct vcpu *v);
	/*
	 * Only engines that do the lguest ABI themselves have these (else NULL): raises
	 * virtual interrupt @irq; before vcpu_run(): will count NOTIFYs with @value in @eventfd, when it can,
	 * instead of calling notify(). 0 or -errno.
	 */
	int (*vcpu_raise)(struct vcpu *v, unsigned irq);
	int (*vcpu_route_notify)(struct vcpu *v, uint32_t value, int eventfd);
	/*
	 * Makes vcpu_run() call service() soon. Any thread, any signal handler. May
	 * come too early to be noticed in engine_lguest: repeat it when it matters.
	 */
	void (*vcpu_kick)(struct vcpu *v);
	void (*print_stats)(struct engine *e, FILE *out);
	void (*destroy)(struct engine *e);
};

#endif
