/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine/lguest.c and a /dev/lguest that is none: the linker turns the
 * engine's system calls into calls of __wrap_...(), which answer as the kernels of
 * 2.6.31 to 3.x do (docs/lguest-platform.md, 7), or as a broken one might.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/state.h"
#include "engine/engine.h"
#include "memory.h"

#define FAKE_FD 12345

enum { INITIALIZE = 0, IRQ = 2, EVENTFD = 4 };

/* What one pread() answers. */
struct answer {
	ssize_t ret; /* as the system call's: -errno */
	unsigned long value;
	const char *text;
	size_t text_len;
};

#define VALUE(v)  ((struct answer){ .ret = sizeof(long), .value = (v) })
#define FAILS(e)  ((struct answer){ .ret = -(e) })
#define SHORT(n)  ((struct answer){ .ret = (n) })
#define REASON(t) ((struct answer){ .ret = sizeof(t), .text = (t), .text_len = sizeof(t) })

struct request {
	unsigned long word[4];
	unsigned words;
	pthread_t thread;
};

/* The kernel's side: the wrapped calls have no other way to it. */
static struct kernel {
	int open_error, open_flags;
	const char *opened;
	unsigned opens, closes;
	struct request request[64];
	unsigned requests;
	int refuse[8];      /* errno for requests of this number; 0: they succeed */
	ssize_t init_value; /* what INITIALIZE returns */
	struct answer answer[16];
	unsigned answers, reads;
	size_t read_len[16];
	pthread_t reader;
	bool block; /* when there are no more answers: until a signal comes */
	atomic_bool blocked;
} k;

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_write(int fd, const void *buf, size_t len);

static int failed(int error)
{
	errno = error;
	return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/lguest") != 0)
		return __real_open(path, flags, 0600);
	k.opened = path;
	k.open_flags = flags;
	if (k.open_error)
		return failed(k.open_error);
	k.opens++;
	return FAKE_FD;
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags, 0600);
}

int __wrap_close(int fd)
{
	if (fd != FAKE_FD)
		return __real_close(fd);
	k.closes++;
	return 0;
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	struct request *r = &k.request[k.requests];

	if (fd != FAKE_FD)
		return __real_write(fd, buf, len);
	assert_true(k.requests < 64);
	assert_true(len <= sizeof(r->word) && len % sizeof(long) == 0);
	memcpy(r->word, buf, len);
	r->words = (unsigned)(len / sizeof(long));
	r->thread = pthread_self();
	k.requests++;
	assert_in_range(r->word[0], 0, 7);
	if (k.refuse[r->word[0]])
		return failed(k.refuse[r->word[0]]);
	return r->word[0] == INITIALIZE ? k.init_value : 0;
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
{
	const struct answer *a = &k.answer[k.reads];

	assert_int_equal(fd, FAKE_FD);
	assert_int_equal(offset, 0); /* the number of the CPU */
	k.reader = pthread_self();
	if (k.reads == k.answers) {
		const struct timespec for_ever = { 10, 0 };

		/* A test that reads on without end would hang here. */
		assert_true(k.block);
		k.blocked = true;
		assert_int_equal(nanosleep(&for_ever, NULL), -1);
		return failed(errno);
	}
	k.read_len[k.reads++] = len;
	if (a->ret < 0)
		return failed((int)-a->ret);
	if (a->text) {
		size_t n = a->text_len < len ? a->text_len : len;

		memcpy(buf, a->text, n);
		return (ssize_t)n;
	}
	memcpy(buf, &a->value, (size_t)a->ret < len ? (size_t)a->ret : len);
	return a->ret;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	return __wrap_pread(fd, buf, len, offset);
}

/* ---- the machine's side ---- */

struct world {
	struct engine *engine;
	struct vcpu *vcpu;
	struct guest_memory memory;
	unsigned services,
		stop_after; /* service() says stop after so many calls; 0: when the guest has ended */
	uint32_t notified[16];
	unsigned notifies;
	unsigned ends;
	bool restart;
	char reason[512];
	atomic_bool stop;
	/* Standard error, while it is turned away */
	int saved;
	FILE *err;
	char text[2000];
};

static enum vcpu_service service(void *machine, unsigned cpu)
{
	struct world *w = machine;

	assert_int_equal(cpu, 0);
	w->services++;
	if (w->ends || w->stop)
		return VCPU_STOP;
	return w->stop_after && w->services > w->stop_after ? VCPU_STOP : VCPU_CONTINUE;
}

static void notify(void *machine, unsigned cpu, uint32_t value)
{
	struct world *w = machine;

	assert_int_equal(cpu, 0);
	w->notified[w->notifies++] = value;
}

static void ended(void *machine, unsigned cpu, bool restart, const char *reason)
{
	struct world *w = machine;

	w->ends++;
	w->restart = restart;
	snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

static void catch_errors(struct world *w)
{
	fflush(stderr);
	w->saved = dup(STDERR_FILENO);
	w->err = tmpfile();
	dup2(fileno(w->err), STDERR_FILENO);
}

static const char *caught(struct world *w)
{
	size_t n;

	fflush(stderr);
	dup2(w->saved, STDERR_FILENO);
	__real_close(w->saved);
	rewind(w->err);
	n = fread(w->text, 1, sizeof(w->text) - 1, w->err);
	w->text[n] = 0;
	fclose(w->err);
	return w->text;
}

static bool make_vcpu(struct world *w)
{
	const struct vcpu_bus bus = { .machine = w, .service = service, .notify = notify, .ended = ended };
	const struct engine_config cfg = { .memory = &w->memory, .vcpus = 1 };
	const struct x86_state state = { .rip = 0x123000 };

	w->engine = engine_lguest.create(&cfg);
	assert_non_null(w->engine);
	w->vcpu = w->engine->vcpu_create(w->engine, 0, &bus, NULL);
	if (w->vcpu)
		w->engine->vcpu_set_state(w->vcpu, &state);
	return w->vcpu;
}

static void free_vcpu(struct world *w)
{
	if (w->vcpu)
		w->engine->vcpu_destroy(w->vcpu);
	w->engine->destroy(w->engine);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	k = (struct kernel){ .init_value = 12 };
	/* Only its address and its size count. */
	w->memory = (struct guest_memory){ .base = (void *)0x40000000, .size = (64u << 20) + (256u << 12) };
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static enum vcpu_exit run(struct world *w)
{
	return w->engine->vcpu_run(w->vcpu);
}

static void answers(const struct answer *a, unsigned n)
{
	memcpy(k.answer, a, n * sizeof(*a));
	k.answers = n;
}

#define ANSWERS(...)                              \
	answers((struct answer[]){ __VA_ARGS__ }, \
		sizeof((struct answer[]){ __VA_ARGS__ }) / sizeof(struct answer))

/* ---- opening, INITIALIZE, EVENTFD ---- */

static void no_device(void **state)
{
	static const int errors[] = { ENOENT, ENODEV, EACCES };
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++) {
		k.open_error = errors[i];
		catch_errors(w);
		assert_false(make_vcpu(w));
		caught(w);
		assert_non_null(strstr(w->text, "lguest: /dev/lguest: "));
		assert_non_null(strstr(w->text, strerror(errors[i])));
		assert_non_null(strstr(w->text, "(the host's kernel needs lguest"));
		free_vcpu(w);
	}
	assert_int_equal(k.closes, 0);
}

static void initialize(void **state)
{
	/* 12 since 2.6.31, of three arguments; the whole of it would be 16. Success is what is not negative. */
	static const ssize_t values[] = { 12, 16, 24, 0 };
	struct world *w = *state;

	for (unsigned i = 0; i < 4; i++) {
		k.init_value = values[i];
		k.requests = 0;
		assert_true(make_vcpu(w));
		assert_string_equal(k.opened, "/dev/lguest");
		assert_int_equal(k.open_flags & O_ACCMODE, O_RDWR);
		assert_true(k.open_flags & O_CLOEXEC);
		/* Not before the vCPU's thread runs: only that one may read later. */
		assert_int_equal(k.requests, 0);
		w->services = 0;
		w->stop = true;
		assert_int_equal(run(w), VCPU_EXIT_STOP);
		assert_int_equal(k.requests, 1);
		assert_int_equal(k.request[0].words, 4);
		assert_int_equal(k.request[0].word[0], INITIALIZE);
		assert_int_equal(k.request[0].word[1], 0x40000000);
		/* The first page that the guest may not use: the device area is its own. */
		assert_int_equal(k.request[0].word[2], (64 << 8) + 256);
		assert_int_equal(k.request[0].word[3], 0x123000);
		free_vcpu(w);
		assert_int_equal(k.closes, i + 1);
	}
	assert_int_equal(k.reads, 0);
}

static void initialize_refused(void **state)
{
	static const int errors[] = { EINVAL, EBUSY, ENOMEM };
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++) {
		k.refuse[INITIALIZE] = errors[i];
		assert_true(make_vcpu(w));
		catch_errors(w);
		assert_int_equal(run(w), VCPU_EXIT_ERROR);
		caught(w);
		assert_non_null(strstr(w->text, "/dev/lguest: cannot create a guest: "));
		assert_non_null(strstr(w->text, strerror(errors[i])));
		free_vcpu(w);
	}
	assert_int_equal(k.reads, 0);
	assert_int_equal(w->services, 0);
}

static void eventfds(void **state)
{
	struct world *w = *state;

	assert_true(make_vcpu(w));
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(
			w->engine->vcpu_route_notify(w->vcpu, 0x4001000 + i * 0x3000, (int)(100 + i)), 0);
	assert_int_equal(w->engine->vcpu_route_notify(w->vcpu, 0x5000000, 200), -ENOSPC);
	/* The kernel takes none before INITIALIZE. */
	assert_int_equal(k.requests, 0);
	w->stop = true;
	assert_int_equal(run(w), VCPU_EXIT_STOP);
	assert_int_equal(k.requests, 33);
	assert_int_equal(k.request[0].word[0], INITIALIZE);
	for (unsigned i = 0; i < 32; i++) {
		assert_int_equal(k.request[i + 1].words, 3);
		assert_int_equal(k.request[i + 1].word[0], EVENTFD);
		assert_int_equal(k.request[i + 1].word[1], 0x4001000 + i * 0x3000);
		assert_int_equal(k.request[i + 1].word[2], 100 + i);
	}
	free_vcpu(w);
}

/* A kernel before 2.6.31 has no EVENTFD: what it would count comes by read then. */
static void eventfds_refused(void **state)
{
	struct world *w = *state;

	k.refuse[EVENTFD] = EINVAL;
	assert_true(make_vcpu(w));
	w->engine->vcpu_route_notify(w->vcpu, 0x4001000, 100);
	w->engine->vcpu_route_notify(w->vcpu, 0x4004000, 101);
	ANSWERS(VALUE(0x4001000), FAILS(ERESTART));
	catch_errors(w);
	assert_int_equal(run(w), VCPU_EXIT_STOP);
	assert_string_equal(caught(w), "");
	assert_int_equal(k.requests, 3);
	assert_int_equal(w->notifies, 1);
	assert_int_equal(w->notified[0], 0x4001000);
	free_vcpu(w);
}

/* ---- interrupts ---- */

static void irqs(void **state)
{
	struct world *w = *state;

	assert_true(make_vcpu(w));
	for (unsigned i = 1; i < 32; i++) {
		assert_int_equal(w->engine->vcpu_raise(w->vcpu, i), 0);
		assert_int_equal(k.request[i - 1].words, 2);
		assert_int_equal(k.request[i - 1].word[0], IRQ);
		assert_int_equal(k.request[i - 1].word[1], i);
	}
	/* Only the first complaint is told, and a guest that is dead by now is no reason for one. */
	k.requests = 0;
	catch_errors(w);
	k.refuse[IRQ] = ENOENT;
	assert_int_equal(w->engine->vcpu_raise(w->vcpu, 3), -ENOENT);
	k.refuse[IRQ] = EINVAL;
	assert_int_equal(w->engine->vcpu_raise(w->vcpu, 16), -EINVAL);
	assert_int_equal(w->engine->vcpu_raise(w->vcpu, 17), -EINVAL);
	caught(w);
	assert_string_equal(
		w->text,
		"lguest: /dev/lguest: the host's kernel has no interrupt 16 for guests (fewer devices will do)\n");
	free_vcpu(w);
}

/* ---- running ---- */

static void notifications(void **state)
{
	struct world *w = *state;

	assert_true(make_vcpu(w));
	ANSWERS(VALUE(0x4000000), VALUE(0x4001000), VALUE(4), VALUE(0xfffffffc), FAILS(ERESTART));
	assert_int_equal(run(w), VCPU_EXIT_STOP);
	assert_int_equal(w->notifies, 4);
	assert_int_equal(w->notified[0], 0x4000000);
	assert_int_equal(w->notified[1], 0x4001000);
	assert_int_equal(w->notified[2], 4);
	assert_int_equal(w->notified[3], 0xfffffffc);
	/* service() before each, and once more to hear that it is over. */
	assert_int_equal(w->services, 6);
	assert_int_equal(k.read_len[0], sizeof(long));
	/* The kernel has one thread for both. */
	assert_true(pthread_equal(k.reader, k.request[0].thread));
	assert_int_equal(w->ends, 1);
	assert_true(w->restart);
	assert_string_equal(w->reason, "");
	free_vcpu(w);
}

static void interrupted(void **state)
{
	struct world *w = *state;

	assert_true(make_vcpu(w));
	ANSWERS(FAILS(EINTR), VALUE(0x4001000), FAILS(EAGAIN), FAILS(EINTR), VALUE(0x4004000), FAILS(EINTR));
	w->stop_after = 6;
	catch_errors(w);
	assert_int_equal(run(w), VCPU_EXIT_STOP);
	assert_string_equal(caught(w), "");
	assert_int_equal(w->notifies, 2);
	assert_int_equal(w->services, 7);
	assert_int_equal(w->ends, 0);
	free_vcpu(w);
}

static void dead(void **state)
{
	static char longest[300];
	static const char silent[] = "the guest is dead, and the host's kernel does not say why";
	static const char unterminated[] = { 'o', 'd', 'd' };
	struct world *w = *state;

	memset(longest, 'x', sizeof(longest));
	longest[0] = 'L';
	const struct {
		struct answer answer;
		const char *reason;
	} cases[] = {
		{ REASON("CRASH: Power down"), "CRASH: Power down" },
		{ REASON("bad page table entry"), "bad page table entry" },
		{ REASON(""), silent },
		/* The kernel cuts it to the buffer, then without the NUL. */
		{ { .ret = sizeof(longest), .text = longest, .text_len = sizeof(longest) }, NULL },
		{ { .ret = 3, .text = unterminated, .text_len = 3 }, "odd" },
		{ FAILS(ENOENT), silent },
		{ SHORT(0), silent },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		k.reads = 0;
		w->ends = 0;
		assert_true(make_vcpu(w));
		ANSWERS(VALUE(0x4001000), FAILS(ENOENT), cases[i].answer);
		catch_errors(w);
		assert_int_equal(run(w), VCPU_EXIT_STOP);
		assert_string_equal(caught(w), "");
		assert_int_equal(k.reads, 3);
		assert_int_equal(w->ends, 1);
		assert_false(w->restart);
		assert_true(k.read_len[2] > 128 + 8);
		if (cases[i].reason) {
			assert_string_equal(w->reason, cases[i].reason);
		} else {
			assert_int_equal(strlen(w->reason), k.read_len[2]);
			assert_memory_equal(w->reason, longest, k.read_len[2]);
		}
		free_vcpu(w);
	}
}

static void broken_kernel(void **state)
{
	static const struct {
		struct answer answer;
		const char *line;
	} cases[] = {
		{ { .ret = 0 }, "short read" },
		{ { .ret = 1 }, "short read" },
		{ { .ret = sizeof(long) - 1 }, "short read" },
		{ { .ret = -EPERM }, "Operation not permitted" },
		{ { .ret = -EINVAL }, "Invalid argument" },
		{ { .ret = -EFAULT }, "Bad address" },
	};
	struct world *w = *state;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		k.reads = 0;
		assert_true(make_vcpu(w));
		ANSWERS(cases[i].answer);
		catch_errors(w);
		assert_int_equal(run(w), VCPU_EXIT_ERROR);
		caught(w);
		assert_non_null(strstr(w->text, "lguest: /dev/lguest: running the guest: "));
		assert_non_null(strstr(w->text, cases[i].line));
		assert_int_equal(w->ends, 0);
		assert_int_equal(w->notifies, 0);
		free_vcpu(w);
	}
}

static void *run_thread(void *opaque)
{
	return (void *)(uintptr_t)run(opaque);
}

/* A kick ends the read, once it has begun; it may be repeated, and come after the end. */
static void kick(void **state)
{
	const struct timespec a_moment = { 0, 1000000 };
	struct world *w = *state;
	pthread_t thread;
	void *ret;

	assert_true(make_vcpu(w));
	w->engine->vcpu_kick(w->vcpu); /* nothing runs yet */
	k.block = true;
	assert_int_equal(pthread_create(&thread, NULL, run_thread, w), 0);
	while (!k.blocked)
		nanosleep(&a_moment, NULL);
	w->stop = true;
	for (unsigned i = 0; i < 5; i++) {
		nanosleep(&a_moment, NULL);
		w->engine->vcpu_kick(w->vcpu);
	}
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_int_equal((uintptr_t)ret, VCPU_EXIT_STOP);
	assert_int_equal(w->services, 2);
	free_vcpu(w);
}

/* A restart: another guest, by another opening of the device. */
static void again(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++) {
		k.reads = k.requests = 0;
		w->ends = 0;
		assert_true(make_vcpu(w));
		w->engine->vcpu_route_notify(w->vcpu, 0x4001000, 100);
		ANSWERS(FAILS(ERESTART));
		assert_int_equal(run(w), VCPU_EXIT_STOP);
		assert_int_equal(k.requests, 2);
		free_vcpu(w);
		assert_int_equal(k.opens, i + 1);
		assert_int_equal(k.closes, i + 1);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(no_device),
		TEST(initialize),
		TEST(initialize_refused),
		TEST(eventfds),
		TEST(eventfds_refused),
		TEST(irqs),
		TEST(notifications),
		TEST(interrupted),
		TEST(dead),
		TEST(broken_kernel),
		TEST(kick),
		TEST(again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
