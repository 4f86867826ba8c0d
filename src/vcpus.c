/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual CPUs. Each has a thread that hands itself to the engine and
 * comes back through the vcpu_bus callbacks below: everything that a guest
 * does often happens here, on its vCPU's thread, because a switch of threads
 * costs more than most devices' work.
 */
#include "machine_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <x86intrin.h>

#include "cpu/state.h"
#include "engine/engine.h"

#define KICK_AGAIN_NS 50000000

/* The first one is --engine=auto. */
static const struct engine_ops *const engines[] = {
#ifdef LGUEST_SOFT_ENGINE
	&engine_soft,
#endif
	&engine_lguest,
};

void vcpu_kick(struct machine *m, unsigned cpu)
{
	struct machine_vcpu *v = &m->vcpu[cpu];

	if (v->vcpu)
		m->engine->vcpu_kick(v->vcpu);
	sleeper_wake(&v->sleeper);
}

/* ---- time ---- */

void vcpu_set_timer(struct machine *m, unsigned cpu, uint64_t deadline)
{
	/* Due already: no need for a signal to tell ourselves. */
	if (deadline <= __rdtsc())
		vcpu_kick(m, cpu);
	else
		host_timer_set(&m->vcpu[cpu].timer, deadline);
}

void vcpu_sleep(struct machine *m, unsigned cpu, uint32_t ticket, uint64_t deadline)
{
	/* Nothing to do: the best moment to write out what the guest has said. */
	console_flush(&m->console);
	sleeper_sleep(&m->vcpu[cpu].sleeper, ticket,
		      deadline == UINT64_MAX ? SLEEP_FOREVER
					     : host_tsc_to_ns(m->cpuid.tsc_khz, __rdtsc(), deadline),
		      &m->loop);
}

/* ---- vCPU threads ---- */

/* In a signal handler, in the middle of guest code. */
static void timer_rings(void *opaque)
{
	struct machine_vcpu *v = opaque;

	vcpu_kick(v->machine, v->index);
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
		machine_conclude(m, FAILED);
		return NULL;
	}
	switch (m->engine->vcpu_run(v->vcpu)) {
	case VCPU_EXIT_STOP: break;
	case VCPU_EXIT_TRIPLE_FAULT: machine_conclude(m, TRIPLE_FAULT); break;
	case VCPU_EXIT_ERROR: machine_conclude(m, FAILED); break;
	}
	host_timer_destroy(&v->timer);
	return NULL;
}

bool vcpus_start(struct machine *m)
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

/* A kick may have come when it was too early for the engine to notice: again, until it has an effect. */
static void join(struct machine *m, unsigned cpu)
{
	struct timespec soon;

	do {
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += KICK_AGAIN_NS;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_nsec -= 1000000000;
			soon.tv_sec++;
		}
		vcpu_kick(m, cpu);
	} while (pthread_timedjoin_np(m->vcpu[cpu].thread, NULL, &soon) == ETIMEDOUT);
}

void vcpus_join(struct machine *m)
{
	console_stop(&m->console, true);
	for (unsigned i = 0; i < m->vcpus; i++)
		if (m->vcpu[i].started)
			join(m, i);
	console_stop(&m->console, false);
}

/* ---- construction ---- */

static const struct engine_ops *find_engine(const char *name)
{
	if (strcmp(name, "auto") == 0)
		return engines[0];
	for (unsigned i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

/* What a platform without ports, MSRs and interrupt controller need not say. */
static uint32_t no_pio_read(void *machine, unsigned cpu, uint16_t port, unsigned size)
{
	return ~0u;
}

static void no_pio_write(void *machine, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
}

static bool no_msr_read(void *machine, unsigned cpu, uint32_t msr, uint64_t *val)
{
	return false;
}

static bool no_msr_write(void *machine, unsigned cpu, uint32_t msr, uint64_t val)
{
	return false;
}

static uint8_t no_tpr_read(void *machine, unsigned cpu)
{
	return 0;
}

static void no_tpr_write(void *machine, unsigned cpu, uint8_t tpr)
{
}

static bool no_interrupt_pending(void *machine, unsigned cpu)
{
	return false;
}

static int no_interrupt_accept(void *machine, unsigned cpu)
{
	return -1;
}

static struct vcpu_bus make_bus(struct machine *m)
{
	struct vcpu_bus bus = m->platform->bus(m);

	if (!bus.pio_read) {
		bus.pio_read = no_pio_read;
		bus.pio_write = no_pio_write;
	}
	if (!bus.msr_read) {
		bus.msr_read = no_msr_read;
		bus.msr_write = no_msr_write;
	}
	if (!bus.interrupt_pending) {
		bus.interrupt_pending = no_interrupt_pending;
		bus.interrupt_accept = no_interrupt_accept;
		bus.tpr_read = no_tpr_read;
		bus.tpr_write = no_tpr_write;
	}
	return bus;
}

bool vcpus_create(struct machine *m, const struct x86_state *state)
{
	const struct engine_config cfg = { .memory = &m->memory,
					   .vcpus = m->vcpus,
					   .verbose = m->cfg->verbose,
					   .perf_map = m->cfg->perf_map,
					   .soft_disable = m->cfg->soft_disable,
					   .started = m->started };
	const struct engine_ops *ops = find_engine(m->cfg->engine);
	const struct vcpu_bus bus = make_bus(m);

	if (!ops) {
		fprintf(stderr, "lguest: --engine=%s: there is no such engine (try auto)\n", m->cfg->engine);
		return false;
	}
	if (ops == &engine_lguest && m->platform != &machine_lguest) {
		fprintf(stderr,
			"lguest: --engine=lguest runs guests of the lguest platform only (add --platform=lguest)\n");
		return false;
	}
	m->started = 0; /* a guest that resets itself starts later */
	m->engine = ops->create(&cfg);
	if (!m->engine)
		return false;
	for (unsigned i = 0; i < m->vcpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];

		*v = (struct machine_vcpu){ .machine = m, .index = i };
		v->vcpu = m->engine->vcpu_create(m->engine, i, &bus, &m->cpuid);
		if (!v->vcpu)
			return false;
		m->engine->vcpu_set_state(v->vcpu, state);
	}
	return true;
}

void vcpus_destroy(struct machine *m)
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

/* ---- the end ---- */

static void print_seg(const char *name, const struct x86_seg *s)
{
	fprintf(stderr, "  %-4s %04x base %016" PRIx64 " limit %08x attr %04x\n", name, s->sel, s->base,
		s->limit, s->attr);
}

void vcpus_report_triple_fault(struct machine *m)
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
