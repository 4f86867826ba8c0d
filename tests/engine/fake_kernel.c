/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See fake_kernel.h. The environment says which kernel this is: LGUEST_FAKE=
 *	absent       has no lguest
 *	no-eventfd   is from before 2.6.31
 *	irqs=N       has only N interrupts for guests
 *	signals      interrupts every other read
 */
#include "fake_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { INITIALIZE = 0, IRQ = 2, EVENTFD = 4 };
enum event { NOTIFIED, DIED, RESTART };

#define ROUTES 32

/* What the guest's thread tells the reader. */
struct message {
	enum event event;
	uint32_t value;
};

struct fake_kernel {
	int fd; /* what the launcher has; an eventfd that is good for nothing else */
	bool initialised, no_eventfd, signals;
	unsigned irq_limit, reads;
	uint8_t *base;
	uint32_t limit;
	pthread_t owner, guest;
	int to_reader[2], to_guest[2];
	bool waiting; /* the guest, for the next read */
	enum event end;
	bool ended, told;
	char reason[200];
	struct {
		unsigned long value;
		int fd;
	} route[ROUTES];
	unsigned routes;
	pthread_mutex_t lock;
	pthread_cond_t raised;
	uint32_t pending;
};

/* The system calls that are wrapped have no other way to it. One guest at a time. */
static _Atomic(struct fake_kernel *) kernel;

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __real_pread(int fd, void *buf, size_t len, off_t offset);

static int failed(int error)
{
	errno = error;
	return -1;
}

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fake kernel: %s\n", what);
		abort();
	}
}

static struct fake_kernel *kernel_of(int fd)
{
	struct fake_kernel *k = kernel;

	return k && k->fd == fd ? k : NULL;
}

/* ---- the guest's side ---- */

void *fake_memory(struct fake_kernel *k, uint32_t phys)
{
	must(phys < k->limit, "the guest leaves its memory");
	return k->base + phys;
}

uint32_t fake_ram(const struct fake_kernel *k)
{
	return k->limit - (256u << 12);
}

static void send(struct fake_kernel *k, enum event event, uint32_t value)
{
	const struct message m = { event, value };

	must(__real_write(k->to_reader[1], &m, sizeof(m)) == sizeof(m), "write to the reader");
}

bool fake_has_eventfd(const struct fake_kernel *k, uint32_t value)
{
	for (unsigned i = 0; i < k->routes; i++)
		if (k->route[i].value == value)
			return true;
	return false;
}

/* The guest runs inside of read() only. */
static void wait_for_read(struct fake_kernel *k)
{
	char byte;

	if (read(k->to_guest[0], &byte, 1) != 1)
		pthread_exit(NULL);
}

void fake_notify(struct fake_kernel *k, uint32_t value)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < k->routes; i++) {
		if (k->route[i].value != value)
			continue;
		must(__real_write(k->route[i].fd, &one, sizeof(one)) == sizeof(one), "eventfd");
		return;
	}
	send(k, NOTIFIED, value);
	wait_for_read(k);
}

uint32_t fake_halt(struct fake_kernel *k, uint32_t irqs)
{
	struct timespec end;
	uint32_t got;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	pthread_mutex_lock(&k->lock);
	while (!(k->pending & irqs) && pthread_cond_timedwait(&k->raised, &k->lock, &end) == 0)
		;
	got = k->pending & irqs;
	k->pending &= ~irqs;
	pthread_mutex_unlock(&k->lock);
	return got;
}

void fake_die(struct fake_kernel *k, const char *reason)
{
	snprintf(k->reason, sizeof(k->reason), "%s", reason);
	send(k, DIED, 0);
	pthread_exit(NULL);
}

void fake_restart(struct fake_kernel *k)
{
	send(k, RESTART, 0);
	pthread_exit(NULL);
}

static void *guest_main(void *opaque)
{
	struct fake_kernel *k = opaque;

	wait_for_read(k);
	fake_guest(k, fake_memory(k, 0x1000));
}

/* ---- the device ---- */

static struct fake_kernel *new_kernel(void)
{
	const char *which = getenv("LGUEST_FAKE") ? getenv("LGUEST_FAKE") : "";
	struct fake_kernel *k = calloc(1, sizeof(*k));

	must(k, "calloc");
	k->fd = eventfd(0, EFD_CLOEXEC);
	must(k->fd >= 0 && pipe(k->to_reader) == 0 && pipe(k->to_guest) == 0, "pipes");
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->raised, NULL);
	k->irq_limit = 32;
	k->no_eventfd = strcmp(which, "no-eventfd") == 0;
	k->signals = strcmp(which, "signals") == 0;
	if (strncmp(which, "irqs=", 5) == 0)
		k->irq_limit = (unsigned)atoi(which + 5);
	return k;
}

int __wrap_open(const char *path, int flags, ...)
{
	const char *which = getenv("LGUEST_FAKE");
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (strcmp(path, "/dev/lguest") != 0)
		return __real_open(path, flags, mode);
	if (which && strcmp(which, "absent") == 0)
		return failed(ENOENT);
	must(!kernel, "two guests at once");
	kernel = new_kernel();
	return ((struct fake_kernel *)kernel)->fd;
}

int __wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	return __wrap_open(path, flags, mode);
}

int __wrap_close(int fd)
{
	struct fake_kernel *k = kernel_of(fd);

	if (!k)
		return __real_close(fd);
	kernel = NULL;
	/* A guest that is asleep in HALT ends there. */
	if (k->initialised) {
		__real_close(k->to_guest[1]);
		pthread_cancel(k->guest);
		pthread_join(k->guest, NULL);
		__real_close(k->to_guest[0]);
	} else {
		__real_close(k->to_guest[0]);
		__real_close(k->to_guest[1]);
	}
	__real_close(k->to_reader[0]);
	__real_close(k->to_reader[1]);
	/* The kernel has had references of its own: the launcher may have closed these. */
	for (unsigned i = 0; i < k->routes; i++)
		__real_close(k->route[i].fd);
	free(k);
	return __real_close(fd);
}

static ssize_t initialize(struct fake_kernel *k, const unsigned long *word, size_t len)
{
	must(len == 4 * sizeof(long), "INITIALIZE has three arguments");
	if (k->initialised)
		return failed(EBUSY);
	k->base = (uint8_t *)word[1];
	k->limit = (uint32_t)(word[2] << 12);
	must(word[3] == 0x100000, "the entry of the test's kernel");
	k->owner = pthread_self();
	k->initialised = true;
	must(pthread_create(&k->guest, NULL, guest_main, k) == 0, "thread");
	k->waiting = true;
	return 3 * sizeof(long);
}

static ssize_t request(struct fake_kernel *k, const unsigned long *word, size_t len)
{
	if (word[0] == INITIALIZE)
		return initialize(k, word, len);
	if (!k->initialised)
		return failed(EINVAL);
	if (k->ended)
		return failed(ENOENT);
	switch (word[0]) {
	case IRQ:
		if (word[1] >= k->irq_limit)
			return failed(EINVAL);
		pthread_mutex_lock(&k->lock);
		k->pending |= 1u << word[1];
		pthread_cond_broadcast(&k->raised);
		pthread_mutex_unlock(&k->lock);
		return 0;
	case EVENTFD:
		if (k->no_eventfd || !word[1])
			return failed(EINVAL);
		must(k->routes < ROUTES, "eventfds");
		k->route[k->routes].value = word[1];
		k->route[k->routes].fd = dup((int)word[2]);
		must(k->route[k->routes++].fd >= 0, "a good eventfd");
		return 0;
	default: return failed(EINVAL);
	}
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	struct fake_kernel *k = kernel_of(fd);
	unsigned long word[4] = { 0 };

	if (!k)
		return __real_write(fd, buf, len);
	must(len <= sizeof(word) && len % sizeof(long) == 0, "words");
	memcpy(word, buf, len);
	return request(k, word, len);
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
{
	struct fake_kernel *k = kernel_of(fd);
	struct message m;
	ssize_t n;

	if (!k)
		return __real_pread(fd, buf, len, offset);
	if (!k->initialised || offset != 0)
		return failed(EINVAL);
	if (!pthread_equal(k->owner, pthread_self()))
		return failed(EPERM);
	if (k->signals && !k->ended && k->reads++ % 2 == 0)
		return failed(k->reads % 4 == 1 ? EINTR : EAGAIN);
	if (k->ended && k->end == RESTART)
		return failed(ERESTART);
	if (k->ended) {
		n = (ssize_t)strlen(k->reason) + 1;
		n = n < (ssize_t)len ? n : (ssize_t)len;
		memcpy(buf, k->reason, (size_t)n);
		return n;
	}
	if (k->waiting)
		must(__real_write(k->to_guest[1], "", 1) == 1, "write to the guest");
	k->waiting = false;
	n = read(k->to_reader[0], &m, sizeof(m));
	if (n != sizeof(m))
		return -1; /* a signal */
	if (m.event == NOTIFIED) {
		const unsigned long value = m.value;

		must(len == sizeof(value), "a word");
		memcpy(buf, &value, sizeof(value));
		k->waiting = true;
		return sizeof(value);
	}
	k->ended = true;
	k->end = m.event;
	return failed(m.event == RESTART ? ERESTART : ENOENT);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	return __wrap_pread(fd, buf, len, offset);
}
