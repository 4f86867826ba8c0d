/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arming costs a system call (0.2 us), a signal about 2 us. So a timer that
 * is armed for an earlier time than asked stays as it is: guests move their
 * deadline to and fro all the time (Linux at every idle entry and exit), and
 * one early ring, at which the machine looks and arms anew, is cheaper.
 */
#include "host/timer.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "scale.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* A guest may ask for the year 3000; nobody notices when we look once an hour. */
#define MAX_SLEEP_NS (3600ull * 1000000000)

static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct host_timer *t = info->si_value.sival_ptr;
	int saved = errno;

	if (info->si_code != SI_TIMER)
		return;
	t->armed_for = UINT64_MAX;
	t->ring(t->opaque);
	errno = saved;
}

int host_timer_install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigfillset(&sa.sa_mask);
	return sigaction(SIGRTMIN, &sa, NULL) < 0 ? -errno : 0;
}

int host_timer_create(struct host_timer *t, uint32_t tsc_khz, void (*ring)(void *opaque), void *opaque)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID,
			       .sigev_signo = SIGRTMIN,
			       .sigev_value.sival_ptr = t };
	sigset_t set;

	*t = (struct host_timer){
		.tsc_khz = tsc_khz, .armed_for = UINT64_MAX, .ring = ring, .opaque = opaque
	};
	ev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &t->id) < 0)
		return -errno;
	t->created = true;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void host_timer_destroy(struct host_timer *t)
{
	sigset_t set;

	if (!t->created)
		return;
	/* A signal that is on its way finds *t still there: it is ours until we return. */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	timer_delete(t->id);
	t->created = false;
}

uint64_t host_tsc_to_ns(uint32_t tsc_khz, uint64_t now, uint64_t deadline)
{
	uint64_t left = deadline > now ? deadline - now : 0;
	uint64_t ns = scale(left, 1000000, tsc_khz);

	/* Rounded up: a sleep must not end too early. */
	return ns < MAX_SLEEP_NS ? ns + (left != 0) : MAX_SLEEP_NS;
}

void host_timer_set(struct host_timer *t, uint64_t deadline)
{
	struct itimerspec when = { 0 };
	uint64_t ns;

	if (deadline >= t->armed_for || !t->created)
		return;
	t->armed_for = deadline;
	ns = host_tsc_to_ns(t->tsc_khz, __rdtsc(), deadline);
	/* Zero would disarm. */
	ns += ns == 0;
	when.it_value.tv_sec = (time_t)(ns / 1000000000);
	when.it_value.tv_nsec = (long)(ns % 1000000000);
	timer_settime(t->id, 0, &when, NULL);
}
