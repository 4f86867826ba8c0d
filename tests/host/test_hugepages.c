// SPDX-License-Identifier: GPL-2.0-or-later
/* host/hugepages.h: memory moves to huge pages, as far as it is full, and nobody notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/hugepages.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define CHUNKS 4

struct memory {
	uint8_t *p, *alias; /* one memory object, mapped twice */
};

static struct memory make_memory(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct memory m = { .p = huge_reserve(CHUNKS * HUGE_SIZE, PROT_NONE) };

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, CHUNKS * HUGE_SIZE), 0);
	assert_non_null(m.p);
	assert_int_equal((uintptr_t)m.p % HUGE_SIZE, 0);
	assert_ptr_equal(mmap(m.p, CHUNKS * HUGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), m.p);
	m.alias = mmap(NULL, CHUNKS * HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(m.alias != MAP_FAILED);
	close(fd);
	for (size_t i = 0; i < CHUNKS * HUGE_SIZE; i += 8)
		memcpy(m.alias + i, &i, 8);
	return m;
}

static void check_and_free(struct memory m)
{
	for (size_t i = 0; i < CHUNKS * HUGE_SIZE; i += 8)
		if (memcmp(m.p + i, &i, 8))
			fail_msg("offset %zx has changed", i);
	munmap(m.p, CHUNKS * HUGE_SIZE);
	munmap(m.alias, CHUNKS * HUGE_SIZE);
}

/* KiB of the mapping at @p that lie in huge pages */
static unsigned long huge_kib(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256];
	unsigned long from, to, n, sum = 0;
	bool here = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (unsigned long)p && (unsigned long)p < to;
		else if (here && (sscanf(line, "ShmemPmdMapped: %lu", &n) == 1 ||
				  sscanf(line, "AnonHugePages: %lu", &n) == 1))
			sum += n;
	}
	fclose(f);
	return sum;
}

/* Waits until it is so much, or five seconds. */
static unsigned long wait_huge_kib(const void *p, unsigned long wanted)
{
	unsigned long n;

	for (unsigned i = 0; (n = huge_kib(p)) != wanted && i < 500; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return n;
}

/* Asks the host itself, of memory of another kind of owner. */
static bool host_can(void)
{
	struct memory m = make_memory();
	bool can = madvise(m.p, HUGE_SIZE, MADV_COLLAPSE) == 0;

	check_and_free(m);
	return can;
}

static void moves_what_is_full(void **state)
{
	struct memory m = make_memory();
	struct hugepages *h = hugepages_create();
	unsigned long full = 0;

	(void)state;
	if (!host_can())
		print_message("this host has no MADV_COLLAPSE: only that nothing breaks is tested\n");
	else
		full = HUGE_SIZE / 1024;
	assert_non_null(h);
	assert_int_equal(hugepages_add(h, m.p), 0);
	assert_false(hugepages_due(h));

	hugepages_filled(h, 0, HUGE_SIZE - 1);
	assert_true(hugepages_due(h));
	hugepages_wake(h);
	assert_false(hugepages_due(h));
	hugepages_filled(h, 0, HUGE_SIZE / 2); /* less than before: nothing new */
	assert_false(hugepages_due(h));
	hugepages_filled(h, 0, 2 * HUGE_SIZE + HUGE_SIZE / 2);
	hugepages_wake(h);
	assert_int_equal(wait_huge_kib(m.p, 2 * full), 2 * full);
	hugepages_filled(h, 0, 3 * HUGE_SIZE);
	hugepages_wake(h);
	assert_int_equal(wait_huge_kib(m.p, 3 * full), 3 * full);
	hugepages_destroy(h);
	assert_int_equal(huge_kib(m.p), 3 * full);
	check_and_free(m);
}

struct writer {
	struct memory m;
	_Atomic bool stop;
	uint64_t rounds;
};

/* Writes to every page again and again, and reads by the other mapping. */
static void *write_pages(void *opaque)
{
	struct writer *w = opaque;

	while (!w->stop) {
		w->rounds++;
		for (size_t i = 0; i < CHUNKS * HUGE_SIZE; i += 4096) {
			uint64_t seen;

			memcpy(w->m.alias + i, &w->rounds, 8);
			memcpy(&seen, w->m.p + i, 8);
			if (seen != w->rounds)
				return (void *)1;
		}
	}
	for (size_t i = 0; i < CHUNKS * HUGE_SIZE; i += 4096)
		memcpy(w->m.alias + i, &i, 8);
	return NULL;
}

static void under_a_writer(void **state)
{
	for (unsigned n = 0; n < 5; n++) {
		struct writer w = { .m = make_memory() };
		struct hugepages *h = hugepages_create();
		pthread_t thread;
		void *wrong;

		(void)state;
		assert_non_null(h);
		hugepages_add(h, w.m.p);
		assert_int_equal(pthread_create(&thread, NULL, write_pages, &w), 0);
		for (unsigned i = 1; i <= CHUNKS; i++) {
			hugepages_filled(h, 0, i * HUGE_SIZE);
			hugepages_wake(h);
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 * n }, NULL);
		}
		hugepages_destroy(h); /* whether it is done or not */
		w.stop = true;
		pthread_join(thread, &wrong);
		assert_null(wrong);
		check_and_free(w.m);
	}
}

/* Private memory as well, and several areas. */
static void areas(void **state)
{
	struct hugepages *h = hugepages_create();
	uint8_t *p = huge_reserve(2 * HUGE_SIZE, PROT_READ | PROT_WRITE);
	struct memory m = make_memory();
	unsigned long full = host_can() ? HUGE_SIZE / 1024 : 0, private_full;

	(void)state;
	assert_non_null(h);
	assert_non_null(p);
	memset(p, 0x5a, 2 * HUGE_SIZE);
	private_full = huge_kib(p) ? 2 * full : full; /* by itself, where the host's setting is always */
	assert_int_equal(hugepages_add(h, m.p), 0);
	assert_int_equal(hugepages_add(h, p), 1);
	hugepages_filled(h, 1, HUGE_SIZE);
	hugepages_filled(h, 0, 2 * HUGE_SIZE);
	hugepages_wake(h);
	assert_int_equal(wait_huge_kib(p, private_full), private_full);
	assert_int_equal(wait_huge_kib(m.p, 2 * full), 2 * full);
	hugepages_destroy(h);
	for (size_t i = 0; i < 2 * HUGE_SIZE; i++)
		if (p[i] != 0x5a)
			fail_msg("byte %zx has changed", i);
	munmap(p, 2 * HUGE_SIZE);
	check_and_free(m);
}

/* A host that refuses (here: that has been told to) is asked once. */
static void refused(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (!pid) {
		struct memory m = make_memory();
		struct hugepages *h = hugepages_create();
		unsigned long n;

		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
		hugepages_add(h, m.p);
		hugepages_filled(h, 0, HUGE_SIZE);
		hugepages_wake(h);
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
		hugepages_filled(h, 0, CHUNKS * HUGE_SIZE);
		hugepages_wake(h);
		hugepages_destroy(h);
		n = huge_kib(m.p);
		check_and_free(m);
		_exit(n != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void idle(void **state)
{
	struct hugepages *h = hugepages_create();

	(void)state;
	assert_non_null(h);
	hugepages_destroy(h); /* never woken: there is no thread */
	h = hugepages_create();
	hugepages_wake(h); /* nothing to do */
	hugepages_destroy(h);
	hugepages_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_what_is_full),
		cmocka_unit_test(under_a_writer),
		cmocka_unit_test(areas),
		cmocka_unit_test(refused),
		cmocka_unit_test(idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
