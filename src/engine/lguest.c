/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine that the original Launcher had: a host kernel with lguest in it
 * (32-bit Linux, 2.6.31 to 3.x) runs the guest, and we talk to it through
 * /dev/lguest. Requests are written, as native words; running the guest is a
 * read, which returns when the guest has something to say:
 *
 *   a word            the guest notified somebody of that address
 *   ENOENT            the guest is dead, the next read tells why
 *   ERESTART          it wants to be restarted
 *
 * The kernel takes requests to run from the thread that has initialised it, so all of that
 * happens in vcpu_run(). CPU state, page tables, timers and interrupts are the
 * kernel's: of struct vcpu_bus only service(), notify() and ended() are called.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/state.h"
#include "engine/engine.h"
#include "host/interrupt.h"
#include "memory.h"

#define DEVICE "/dev/lguest"
/* Requests are words of the host's. A test that plays the kernel has those of its own host. */
#ifndef LGUEST_HOST_WORD
#define LGUEST_HOST_WORD 4
#endif

enum request { REQUEST_INITIALIZE = 0, REQUEST_IRQ = 2, REQUEST_EVENTFD = 4 };

/* More than devices of one guest can have queues: each has an interrupt of its own. */
#define MAX_ROUTES 32

struct lguest_vcpu {
	const struct guest_memory *memory;
	struct vcpu_bus bus;
	int fd;
	unsigned long start; /* first instruction, guest-physical */
	pthread_t thread;
	volatile bool running;
	struct {
		uint32_t value;
		int eventfd;
	} route[MAX_ROUTES];
	unsigned routes;
	atomic_bool complained;
};

struct lguest_engine {
	struct engine e;
	const struct guest_memory *memory;
};

static struct lguest_vcpu *to_lguest(struct vcpu *v)
{
	return (struct lguest_vcpu *)v;
}

static int request(const struct lguest_vcpu *v, const unsigned long *words, unsigned count)
{
	return write(v->fd, words, count * sizeof(*words)) < 0 ? -errno : 0;
}

/* ---- running ---- */

static bool initialise(struct lguest_vcpu *v)
{
	unsigned long words[] = { REQUEST_INITIALIZE, (unsigned long)(uintptr_t)v->memory->base,
				  (unsigned long)(v->memory->size >> 12), v->start };
	int error = host_interrupt_install();

	if (!error)
		error = request(v, words, 4);
	if (error) {
		fprintf(stderr, "lguest: " DEVICE ": cannot create a guest: %s\n", strerror(-error));
		return false;
	}
	/* Only now does the kernel take them. What it refuses comes back to run_once(). */
	for (unsigned i = 0; i < v->routes; i++) {
		words[0] = REQUEST_EVENTFD;
		words[1] = v->route[i].value;
		words[2] = (unsigned long)v->route[i].eventfd;
		request(v, words, 3);
	}
	return true;
}

/* False: something that should not happen, a line was printed. */
static bool run_once(struct lguest_vcpu *v)
{
	unsigned long value;
	char reason[256];
	ssize_t n = pread(v->fd, &value, sizeof(value), 0);

	if (n == sizeof(value)) {
		v->bus.notify(v->bus.machine, 0, (uint32_t)value);
		return true;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n < 0 && errno == ERESTART) {
		v->bus.ended(v->bus.machine, 0, true, "");
		return true;
	}
	if (n < 0 && errno == ENOENT) {
		n = pread(v->fd, reason, sizeof(reason) - 1, 0);
		reason[n > 0 ? n : 0] = 0;
		v->bus.ended(v->bus.machine, 0, false,
			     *reason ? reason : "the guest is dead, and the host's kernel does not say why");
		return true;
	}
	fprintf(stderr, "lguest: " DEVICE ": running the guest: %s\n",
		n < 0 ? strerror(errno) : "short read");
	return false;
}

static enum vcpu_exit lguest_vcpu_run(struct vcpu *vcpu)
{
	struct lguest_vcpu *v = to_lguest(vcpu);
	enum vcpu_exit ret = VCPU_EXIT_STOP;

	if (!initialise(v))
		return VCPU_EXIT_ERROR;
	v->thread = pthread_self();
	v->running = true;
	while (v->bus.service(v->bus.machine, 0) == VCPU_CONTINUE) {
		if (!run_once(v)) {
			ret = VCPU_EXIT_ERROR;
			break;
		}
	}
	v->running = false;
	return ret;
}

/*
 * A kick between service() and the read comes too early to end that; the
 * machine repeats it while it waits for the thread.
 */
static void lguest_kick(struct vcpu *vcpu)
{
	struct lguest_vcpu *v = to_lguest(vcpu);

	if (v->running && !pthread_equal(v->thread, pthread_self()))
		host_interrupt(v->thread);
}

static int lguest_raise(struct vcpu *vcpu, unsigned irq)
{
	struct lguest_vcpu *v = to_lguest(vcpu);
	const unsigned long words[] = { REQUEST_IRQ, irq };
	int error = request(v, words, 2);

	/* As many as the host has of its own: 16 on a uniprocessor kernel without IO-APIC. */
	if (error == -EINVAL && !atomic_exchange(&v->complained, true))
		fprintf(stderr,
			"lguest: " DEVICE
			": the host's kernel has no interrupt %u for guests (fewer devices will do)\n",
			irq);
	return error;
}

static int lguest_route_notify(struct vcpu *vcpu, uint32_t value, int eventfd)
{
	struct lguest_vcpu *v = to_lguest(vcpu);

	if (v->routes == MAX_ROUTES)
		return -ENOSPC;
	v->route[v->routes].value = value;
	v->route[v->routes++].eventfd = eventfd;
	return 0;
}

/* ---- construction ---- */

static void lguest_set_state(struct vcpu *vcpu, const struct x86_state *s)
{
	to_lguest(vcpu)->start = (unsigned long)s->rip;
}

/* The kernel does not tell. */
static void lguest_get_state(struct vcpu *vcpu, struct x86_state *s)
{
	memset(s, 0, sizeof(*s));
}

static struct vcpu *lguest_vcpu_create(struct engine *engine, unsigned index, const struct vcpu_bus *bus,
				       const struct cpuid_table *cpuid)
{
	struct lguest_engine *e = (struct lguest_engine *)engine;
	struct lguest_vcpu *v = calloc(1, sizeof(*v));

	if (!v) {
		fprintf(stderr, "lguest: out of memory\n");
		return NULL;
	}
	v->memory = e->memory;
	v->bus = *bus;
	v->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (v->fd < 0) {
		fprintf(stderr,
			"lguest: " DEVICE
			": %s (the host's kernel needs lguest, which Linux had from 2.6.23 to 4.13)\n",
			strerror(errno));
		free(v);
		return NULL;
	}
	return (struct vcpu *)v;
}

/* Closing the device is the end of the guest. */
static void lguest_vcpu_destroy(struct vcpu *vcpu)
{
	close(to_lguest(vcpu)->fd);
	free(vcpu);
}

static void lguest_print_stats(struct engine *e, FILE *out)
{
	fprintf(out, "lguest: engine: the host's kernel, which keeps no statistics\n");
}

static void lguest_destroy(struct engine *e)
{
	free(e);
}

static struct engine *lguest_create(const struct engine_config *cfg)
{
	struct lguest_engine *e;

	if (sizeof(long) != LGUEST_HOST_WORD) {
		fprintf(stderr,
			"lguest: --engine=lguest: only for 32-bit hosts (build with -m32; see README.md)\n");
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		fprintf(stderr, "lguest: out of memory\n");
		return NULL;
	}
	e->memory = cfg->memory;
	e->e = (struct engine){
		.ops = &engine_lguest,
		.vcpu_create = lguest_vcpu_create,
		.vcpu_destroy = lguest_vcpu_destroy,
		.vcpu_set_state = lguest_set_state,
		.vcpu_get_state = lguest_get_state,
		.vcpu_run = lguest_vcpu_run,
		.vcpu_kick = lguest_kick,
		.vcpu_raise = lguest_raise,
		.vcpu_route_notify = lguest_route_notify,
		.print_stats = lguest_print_stats,
		.destroy = lguest_destroy,
	};
	return &e->e;
}

const struct engine_ops engine_lguest = {
	.name = "lguest",
	.help = "the host kernel's /dev/lguest (32-bit hosts, Linux 2.6.31 to 3.x)",
	.create = lguest_create,
};
