/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Getting a thread out of a system call that it waits in: by a signal whose
 * handler does nothing, so that the call ends with EINTR. A call that begins
 * only after the signal is not interrupted: repeat it when it matters.
 */
#ifndef LGUEST_HOST_INTERRUPT_H
#define LGUEST_HOST_INTERRUPT_H

#include <pthread.h>

/* By the thread that is to be interrupted. 0 or -errno. */
int host_interrupt_install(void);
/* Any thread, any signal handler. @thread must not have been joined. */
void host_interrupt(pthread_t thread);

#endif
