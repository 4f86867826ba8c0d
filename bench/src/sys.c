/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways into the kernel and back: system calls, signals, faults that become
 * signals, processes, and switches between two of them through a pipe, a futex
 * and sched_yield.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "micro.h"

uint64_t bench_syscalls(long scale)
{
	int zero = open("/dev/zero", O_RDONLY);
	uint64_t sum = 0;
	char byte[16];

	if (zero < 0)
		fail("/dev/zero");
	for (long i = 0; i < scale * 5000; i++) {
		sum += (uint64_t)(syscall(SYS_getppid) > 0 || syscall(SYS_getuid) == 0);
		if (!(i & 3))
			sum += (uint64_t)read(zero, byte, sizeof(byte));
		if (!(i & 15))
			sum += (uint64_t)lseek(zero, 0, SEEK_CUR) + (uint64_t)(close(dup(zero)) == 0);
	}
	close(zero);
	return sum;
}

/* A signal handler has no other way to count. */
static volatile sig_atomic_t taken;

static void count_signal(int number)
{
	taken += number == SIGUSR1;
}

uint64_t bench_signals(long scale)
{
	struct sigaction action = { .sa_handler = count_signal };

	if (sigaction(SIGUSR1, &action, NULL))
		fail("sigaction");
	for (long i = 0; i < scale * 1500; i++)
		raise(SIGUSR1);
	return (uint64_t)taken;
}

static void open_page(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (((uintptr_t)info->si_addr & 4095) != 128)
		_exit(3);
	mprotect((uint8_t *)info->si_addr - 128, 4096, PROT_READ | PROT_WRITE);
	taken++;
}

uint64_t bench_segv(long scale)
{
	struct sigaction action = { .sa_sigaction = open_page, .sa_flags = SA_SIGINFO };
	uint8_t *guarded = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (guarded == MAP_FAILED || sigaction(SIGSEGV, &action, NULL))
		fail("mmap");
	for (long i = 0; i < scale * 500; i++) {
		mprotect(guarded, 4096, PROT_READ);
		((volatile uint8_t *)guarded)[128] = (uint8_t)i;
		sum = sum * 3 + guarded[128];
	}
	return sum + (uint64_t)taken;
}

uint64_t bench_exec(long scale)
{
	uint64_t good = 0;

	for (long i = 0; i < scale * 6; i++) {
		int status;
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			execl("/proc/self/exe", "micro", "nothing", (char *)NULL);
			_exit(1);
		}
		if (waitpid(child, &status, 0) != child)
			fail("waitpid");
		good += status == 0;
	}
	return good;
}

uint64_t bench_pipe(long scale)
{
	int there[2], back[2], status;
	uint64_t sum = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		uint32_t value;

		close(there[1]);
		while (read(there[0], &value, sizeof(value)) == sizeof(value)) {
			value = value * 3 + 1;
			if (write(back[1], &value, sizeof(value)) != sizeof(value))
				_exit(1);
		}
		_exit(0);
	}
	close(there[0]);
	for (long i = 0; i < scale * 500; i++) {
		uint32_t value = (uint32_t)(i + (long)sum);

		if (write(there[1], &value, sizeof(value)) != sizeof(value) ||
		    read(back[0], &value, sizeof(value)) != sizeof(value))
			fail("pipe");
		sum = sum * 5 + value;
	}
	close(there[1]);
	if (waitpid(child, &status, 0) != child || status)
		fail("waitpid");
	return sum;
}

struct turn {
	_Atomic uint32_t whose;
	long rounds;
	int by_yield;
	uint64_t sum[2];
};

static void take_turns(struct turn *turn, uint32_t me)
{
	for (long i = 0; i < turn->rounds; i++) {
		while (atomic_load(&turn->whose) != me) {
			if (turn->by_yield)
				sched_yield();
			else
				syscall(SYS_futex, &turn->whose, FUTEX_WAIT_PRIVATE, 1 - me, NULL, NULL, 0);
		}
		turn->sum[me] = turn->sum[1 - me] * 3 + (uint64_t)i + me;
		atomic_store(&turn->whose, 1 - me);
		if (!turn->by_yield)
			syscall(SYS_futex, &turn->whose, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void *other(void *turn)
{
	take_turns(turn, 1);
	return NULL;
}

static uint64_t two_threads(long rounds, int by_yield)
{
	struct turn turn = { .rounds = rounds, .by_yield = by_yield };
	pthread_t thread;

	if (pthread_create(&thread, NULL, other, &turn))
		fail("pthread_create");
	take_turns(&turn, 0);
	pthread_join(thread, NULL);
	return turn.sum[1];
}

uint64_t bench_futex(long scale)
{
	return two_threads(scale * 500, 0);
}

uint64_t bench_yield(long scale)
{
	return two_threads(scale * 1000, 1);
}
