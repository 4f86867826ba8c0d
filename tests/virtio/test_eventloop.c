/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources that the loop shares with whoever would sleep otherwise, and the sleeper that helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "host/eventloop.h"
#include "host/sleeper.h"

struct probe {
	struct event_source source;
	_Atomic unsigned calls;
	pthread_t caller;
};

static void ready(void *opaque, uint32_t events)
{
	struct probe *p = opaque;
	eventfd_t count;

	eventfd_read(p->source.fd, &count);
	p->caller = pthread_self();
	p->calls++;
}

static void begin(struct eventloop *loop, struct probe *p)
{
	assert_int_equal(eventloop_create(loop), 0);
	*p = (struct probe){ .source = { .fd = eventfd(0, EFD_NONBLOCK), .ready = ready, .opaque = p } };
	assert_int_equal(eventloop_add_shared(loop, &p->source, EPOLLIN), 0);
}

static void end(struct eventloop *loop, struct probe *p)
{
	eventloop_remove(loop, &p->source);
	close(p->source.fd);
	eventloop_destroy(loop);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Without a helper it is a source like others. */
static void test_loop_alone(void **state)
{
	struct eventloop loop;
	struct probe p;

	begin(&loop, &p);
	eventfd_write(p.source.fd, 1);
	assert_int_equal(eventloop_run_once(&loop, 1000), 0);
	assert_int_equal(p.calls, 1);
	eventloop_rearm(&loop, &p.source, 0);
	eventfd_write(p.source.fd, 1);
	eventloop_run_once(&loop, 20);
	assert_int_equal(p.calls, 1);
	eventloop_rearm(&loop, &p.source, EPOLLIN);
	eventloop_run_once(&loop, 1000);
	assert_int_equal(p.calls, 2);
	end(&loop, &p);
}

static void test_nothing_shared(void **state)
{
	struct eventloop loop;

	assert_int_equal(eventloop_create(&loop), 0);
	assert_false(eventloop_help(&loop, 0));
	eventloop_destroy(&loop);
}

static void test_help(void **state)
{
	struct eventloop loop;
	struct probe p;
	uint64_t start;

	begin(&loop, &p);
	eventfd_write(p.source.fd, 1);
	assert_true(eventloop_help(&loop, UINT64_MAX));
	assert_int_equal(p.calls, 1);
	/* A wake-up that comes before the wait is not lost, and counts once. */
	eventloop_wake_helper(&loop);
	assert_true(eventloop_help(&loop, UINT64_MAX));
	start = now_ms();
	assert_true(eventloop_help(&loop, 30000000));
	assert_in_range(now_ms() - start, 29, 2000);
	assert_int_equal(p.calls, 1);
	/* And the loop has it back. */
	eventfd_write(p.source.fd, 1);
	eventloop_run_once(&loop, 1000);
	assert_int_equal(p.calls, 2);
	end(&loop, &p);
}

struct helper {
	struct eventloop *loop;
	struct sleeper sleeper;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned wanted, done; /* what it is woken for */
};

static void *help(void *opaque)
{
	struct helper *h = opaque;

	while (!h->stop) {
		uint32_t ticket = sleeper_ticket(&h->sleeper);

		/* Looked at behind the ticket, as every sleeper does. */
		if (h->done != h->wanted)
			h->done++;
		else if (!h->stop)
			sleeper_sleep(&h->sleeper, ticket, SLEEP_FOREVER, h->loop);
	}
	return NULL;
}

/* While somebody helps, the loop is not woken; nothing is lost on the way to and from sleep. */
static void test_helper_thread(void **state)
{
	struct eventloop loop;
	struct helper h = { .loop = &loop };
	struct probe p;
	unsigned before;

	begin(&loop, &p);
	pthread_create(&h.thread, NULL, help, &h);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t deadline = now_ms() + 10000;

		before = p.calls;
		eventfd_write(p.source.fd, 1);
		/* Whoever it is. */
		while (p.calls == before) {
			eventloop_run_once(&loop, 1);
			assert_true(now_ms() < deadline);
		}
	}
	/* Asleep for sure now: it is the helper who gets it. */
	usleep(100000);
	before = p.calls;
	eventfd_write(p.source.fd, 1);
	for (uint64_t deadline = now_ms() + 10000; p.calls == before && now_ms() < deadline;)
		usleep(1000);
	assert_int_equal(p.calls, before + 1);
	assert_true(pthread_equal(p.caller, h.thread));
	/* Wake-ups arrive as well. */
	for (unsigned i = 0; i < 200; i++) {
		uint64_t deadline = now_ms() + 10000;

		h.wanted++;
		sleeper_wake(&h.sleeper);
		while (h.done != h.wanted)
			assert_true(now_ms() < deadline);
	}
	h.stop = true;
	sleeper_wake(&h.sleeper);
	pthread_join(h.thread, NULL);
	end(&loop, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop_alone),
		cmocka_unit_test(test_nothing_shared),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_helper_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
