/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See interrupt.h. */
#include "host/interrupt.h"

#include <errno.h>
#include <signal.h>

/* One that nobody else uses here: see timer.c. */
#define SIGNAL (SIGRTMIN + 3)

static void ignore(int signal)
{
}

int host_interrupt_install(void)
{
	/* Without SA_RESTART. */
	struct sigaction action = { .sa_handler = ignore };
	sigset_t set;

	if (sigaction(SIGNAL, &action, NULL))
		return -errno;
	/* Threads begin with all signals blocked: see signals.c. */
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void host_interrupt(pthread_t thread)
{
	pthread_kill(thread, SIGNAL);
}
