/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a guest:
 *
 *   machine_run()    sets up what lasts: RAM, console, platform, devices, signals
 *     run_guest()    from start to reset or end: loads the kernel, creates the
 *                    engine and one thread per vCPU (vcpus.c), waits for the
 *                    outcome
 *
 * The main thread runs the event loop: signals, terminal, and what comes from
 * files and networks. The loader's thread brings kernel and initrd in the first moments
 * (boot/loading.c). Everything else happens on the vCPU's thread.
 *
 * Whatever ends the guest calls machine_conclude(). The first one wins; all
 * vCPUs are told to stop and the event loop to return. Then, in this order:
 * vCPUs joined, the loader told that nobody waits for the rest, output written
 * out, devices reset, engine destroyed (nobody touches guest memory any more, and
 * nobody has a copy of struct guest_memory), loading ended; and, unless the guest
 * starts again, PC, devices, console, memory, event loop.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boot/boot.h"
#include "cpu/state.h"
#include "engine/engine.h"
#include "machine_internal.h"

/* ---- the outcome ---- */

bool machine_conclude(struct machine *m, enum outcome how)
{
	int running = RUNNING;

	if (!atomic_compare_exchange_strong(&m->outcome, &running, how))
		return false;
	for (unsigned i = 0; i < m->vcpus; i++)
		vcpu_kick(m, i);
	eventfd_write(m->wake_source.fd, 1);
	return true;
}

/* ---- lines in the middle of the run ---- */

void machine_warn(struct machine *m, const char *line)
{
	/* In raw mode the terminal wants a carriage return of ours. */
	fprintf(stderr, "lguest: %s%s\n", line, m->tty.raw && isatty(STDERR_FILENO) ? "\r" : "");
}

void machine_notice(struct machine *m, const char *line)
{
	if (m->cfg->verbose)
		machine_warn(m, line);
}

/* ---- a guest from start to end ---- */

/* The last output is on its way and the reader slow: a signal ends the wait. */
static bool hurried(void *opaque)
{
	struct machine *m = opaque;

	eventloop_run_once(&m->loop, 0);
	return m->killed;
}

/* A part of the kernel or the initrd cannot be read. Any thread. */
static void on_load_failed(void *opaque)
{
	struct machine *m = opaque;

	m->load_failed = machine_conclude(m, FAILED);
}

/*
 * Nobody looks at guest memory any more. Why loading failed is said here, when the terminal can be
 * written on, and only if that is what ended the guest: one that has powered off got all that it wanted.
 */
static void stop_loading(struct machine *m)
{
	char err[512];

	if (!boot_load_stop(&m->memory, m->loading, err, sizeof(err)) && m->load_failed)
		fprintf(stderr, "lguest: %s\n", err);
	m->loading = NULL;
}

static enum outcome run_guest(struct machine *m)
{
	struct x86_state state;
	int error = 0;

	m->outcome = RUNNING;
	m->load_failed = false;
	if (!m->platform->load(m, &state) || !vcpus_create(m, &state)) {
		vcpus_destroy(m);
		stop_loading(m);
		return FAILED;
	}
	/* A failure kicks vCPUs, so they exist; and it is known before one can look at what is missing. */
	if (m->loading)
		boot_load_run(m->loading, on_load_failed, m);
	tty_make_raw(&m->tty);
	m->platform->start(m);
	if (!vcpus_start(m))
		machine_conclude(m, FAILED);
	while (m->outcome == RUNNING && !error)
		error = eventloop_run_once(&m->loop, -1);
	if (error) {
		fprintf(stderr, "lguest: waiting for events: %s\n", strerror(-error));
		machine_conclude(m, FAILED);
	}
	vcpus_join(m);
	if (m->loading)
		boot_load_relax(m->loading);
	/* All of the guest's output before the terminal gets its old modes back. */
	if (m->outcome == KILLED)
		console_flush(&m->console);
	else
		console_finish(&m->console, hurried, m);
	devices_reset(m);
	tty_restore(&m->tty);
	if (m->outcome == TRIPLE_FAULT)
		vcpus_report_triple_fault(m);
	if (m->cfg->verbose) {
		m->engine->print_stats(m->engine, stderr);
		m->platform->print_stats(m);
	}
	vcpus_destroy(m);
	stop_loading(m);
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
	machine_conclude(m, KILLED);
}

/* The shell has used the terminal meanwhile. */
static void on_resume(void *opaque)
{
	struct machine *m = opaque;

	if (m->outcome == RUNNING)
		tty_make_raw(&m->tty);
	if (m->console_ready) {
		console_resume(&m->console);
		console_resized(&m->console);
	}
}

static void on_window(void *opaque)
{
	struct machine *m = opaque;

	if (m->console_ready)
		console_resized(&m->console);
}

static void on_escape(void *opaque)
{
	struct machine *m = opaque;

	m->killed = true;
	machine_conclude(m, KILLED);
}

static void on_console_warning(void *opaque, const char *line)
{
	machine_warn(opaque, line);
}

static const struct host_signals_ops signal_ops = { .terminate = on_terminate,
						    .resume = on_resume,
						    .window = on_window };
static const struct console_ops console_ops = { .escape = on_escape, .warn = on_console_warning };

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
	if (complain(what, guest_memory_create(&m->memory, m->cfg->memory + m->platform->extra_memory)))
		return false;
	cpuid_build(&m->cpuid, m->vcpus, &m->cfg->first);
	if (complain("console", console_create(&m->console, &m->loop, STDIN_FILENO, STDOUT_FILENO, &m->tty,
					       &console_ops, m)))
		return false;
	m->console_ready = true;
	if (!m->platform->create(m))
		return false;
	m->platform_ready = true;
	return devices_create(m);
}

static void tear_down(struct machine *m)
{
	if (m->platform_ready)
		m->platform->destroy(m);
	devices_destroy(m);
	if (m->console_ready)
		console_destroy(&m->console);
	if (m->memory.base)
		guest_memory_destroy(&m->memory);
	host_signals_restore(&m->signals);
	if (m->wake_source.fd >= 0)
		close(m->wake_source.fd);
	eventloop_destroy(&m->loop);
}

static enum exit_status report(struct machine *m, enum outcome how)
{
	if (m->last_words[0])
		fprintf(stderr, "lguest: %s\n", m->last_words);
	switch (how) {
	/* Whoever reads only the status must learn that he has not seen everything. */
	case POWERED_OFF: return console_lost(&m->console) ? EXIT_HOST : EXIT_POWER_OFF;
	case RESET: fprintf(stderr, "lguest: the guest reset itself (--no-reboot)\n"); return EXIT_RESET;
	case PANICKED: fprintf(stderr, "lguest: the guest's kernel panicked\n"); return EXIT_GUEST_PANIC;
	case DIED:
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
	m->started = cfg->started;
	m->platform = strcmp(cfg->platform, machine_lguest.name) == 0 ? &machine_lguest : &machine_pc;
	m->vcpus = 1;
	m->memory.fd = m->loop.epoll = m->wake_source.fd = -1;
	tty_open(&m->tty, STDIN_FILENO);
	tty_set_escapes(&m->tty, cfg->escape == ESCAPE_BOTH || cfg->escape == ESCAPE_CTRL_A,
			cfg->escape == ESCAPE_BOTH || cfg->escape == ESCAPE_INTERRUPTS);
	if (set_up(m)) {
		for (;;) {
			how = run_guest(m);
			if (how == RESET && m->killed)
				how = KILLED;
			if (how != RESET || cfg->no_reboot)
				break;
			m->platform->reset(m);
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
