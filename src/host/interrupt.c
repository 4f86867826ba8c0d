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

	return sigaction(SIGNAL, &action, NULL) ? -errno : 0;
}

void host_interrupt(pthread_t thread)
{
	pthread_kill(thread, SIGNAL);
}
