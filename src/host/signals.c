/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
static const int watched[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCONT, SIGWINCH };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void on_signal(void *opaque, uint32_t events)
{
	struct host_signals *s = opaque;
	struct signalfd_siginfo info;

	while (read(s->source.fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCONT)
			s->ops->resume(s->opaque);
		else if (info.ssi_signo == SIGWINCH)
			s->ops->window(s->opaque);
		else
			s->ops->terminate(s->opaque, (int)info.ssi_signo);
	}
}

int host_signals_block(struct host_signals *s, struct eventloop *loop, const struct host_signals_ops *ops,
		       void *opaque)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction old;
	sigset_t block, watch;

	*s = (struct host_signals){ .loop = loop, .ops = ops, .opaque = opaque };
	sigfillset(&block);
	for (unsigned i = 0; i < COUNT(synchronous); i++)
		sigdelset(&block, synchronous[i]);
	sigemptyset(&watch);
	for (unsigned i = 0; i < COUNT(watched); i++)
		sigaddset(&watch, watched[i]);
	pthread_sigmask(SIG_BLOCK, &block, &s->old_mask);
	sigaction(SIGPIPE, &ignore, &old);
	s->old_sigpipe = old.sa_handler;
	s->blocked = true;
	s->source = (struct event_source){ .fd = signalfd(-1, &watch, SFD_CLOEXEC | SFD_NONBLOCK),
					   .ready = on_signal,
					   .opaque = s };
	if (s->source.fd < 0)
		return -errno;
	return eventloop_add(loop, &s->source, EPOLLIN);
}

void host_signals_restore(struct host_signals *s)
{
	struct sigaction sa = { .sa_handler = s->old_sigpipe };

	if (!s->blocked)
		return;
	if (s->source.fd >= 0) {
		eventloop_remove(s->loop, &s->source);
		close(s->source.fd);
	}
	/* In this order: a SIGPIPE that waits behind the mask must still find itself ignored. */
	pthread_sigmask(SIG_SETMASK, &s->old_mask, NULL);
	sigaction(SIGPIPE, &sa, NULL);
	s->blocked = false;
}
