/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes and threads: TLS and locks between threads, fork and copy-on-write,
 * a debugger's view (ptrace: single steps, breakpoints, watchpoints by the debug
 * registers, changed registers), vector state across context switches, timers.
 */
#include <errno.h>
#include <immintrin.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 20000 };

static __thread long mine;

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	long shared, sums[THREADS];
	_Atomic long atomic;
	int turn;
};

struct worker {
	struct pool *pool;
	int number;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct pool *pool = worker->pool;

	for (int i = 0; i < ROUNDS; i++) {
		mine += i * worker->number;
		pool->atomic++;
		pthread_mutex_lock(&pool->lock);
		pool->shared += worker->number;
		pthread_mutex_unlock(&pool->lock);
	}
	for (int i = 0; i < 50; i++) {
		pthread_mutex_lock(&pool->lock);
		while (pool->turn % THREADS != worker->number)
			pthread_cond_wait(&pool->changed, &pool->lock);
		pool->turn++;
		pthread_cond_broadcast(&pool->changed);
		pthread_mutex_unlock(&pool->lock);
	}
	pool->sums[worker->number] = mine;
	return NULL;
}

static void threads(void)
{
	struct pool pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct worker workers[THREADS];
	pthread_t ids[THREADS];

	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ &pool, i };
		pthread_create(&ids[i], NULL, work, &workers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	printf("threads %ld %ld turn %d sums", pool.shared, (long)pool.atomic, pool.turn);
	for (int i = 0; i < THREADS; i++)
		printf(" %ld", pool.sums[i]);
	puts("");
}

/* Busy threads keep values in vector and x87 registers while others run. */
__attribute__((target("avx2"))) static void *hold_vectors(void *argument)
{
	long number = *(int *)argument, bad = 0;
	__m256i value = _mm256_set1_epi64x(number * 0x0101010101), sum = value;
	long double x = number + 0.5L;
	struct timeval start, now;

	gettimeofday(&start, NULL);
	do {
		for (int i = 0; i < 5000; i++) {
			__asm__ volatile("" : "+x"(value), "+x"(sum), "+t"(x));
			sum = _mm256_add_epi64(sum, value);
			sum = _mm256_sub_epi64(sum, value);
			x = x * 2 - (number + 0.5L);
		}
		bad += _mm256_movemask_epi8(_mm256_cmpeq_epi64(sum, value)) != -1 || x != number + 0.5L;
		gettimeofday(&now, NULL);
	} while ((now.tv_sec - start.tv_sec) * 1000000 + now.tv_usec - start.tv_usec < 150000);
	return (void *)bad;
}

static void vectors(void)
{
	pthread_t ids[THREADS];
	int numbers[THREADS];
	long bad = 0;

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i + 1;
		pthread_create(&ids[i], NULL, hold_vectors, &numbers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(ids[i], &result);
		bad += (long)result;
	}
	printf("vectors lost %ld\n", bad);
}

static void forks(void)
{
	uint32_t *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	for (int i = 0; i < 1 << 18; i++)
		area[i] = (uint32_t)i * 2654435761u;
	for (int child = 0; child < 6; child++) {
		int status;

		fflush(stdout);
		if (!fork()) {
			for (int i = child; i < 1 << 18; i += 1000)
				area[i] += 1 + child;
			for (int i = 0; i < 1 << 18; i++)
				sum = sum * 31 + area[i];
			both[child] = (uint32_t)sum;
			raise(child == 3 ? SIGKILL : SIGCONT);
			_exit(child);
		}
		wait(&status);
		area[child * 4096] ^= 0xffff;
		sum = sum * 31 + both[child] + (uint32_t)status;
	}
	for (int i = 0; i < 1 << 18; i++)
		sum = sum * 31 + area[i];
	printf("forks %llx\n", (unsigned long long)sum);
}

static volatile sig_atomic_t ticks;

static void tick(int number)
{
	ticks += number == SIGALRM;
}

static void timers(void)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct timeval start, now;
	uint64_t work = 1;

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &every, NULL);
	gettimeofday(&start, NULL);
	do {
		for (int i = 0; i < 1000; i++)
			work = work * 6364136223846793005ull + 1;
		gettimeofday(&now, NULL);
	} while (ticks < 20 && now.tv_sec - start.tv_sec < 10);
	setitimer(ITIMER_REAL, &never, NULL);
	usleep(20000);
	printf("timer ticks %s\n", ticks >= 20 && work ? "came" : "did not come");
}

static volatile int watched[2];

/* Outside of any function, so that it exists once. */
__asm__(".text; .globl passing, here; passing: nop; here: nop; ret");
extern char here[];
void passing(void);

static void debuggee(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (int i = 0; i < 10; i++) {
		passing();
		if (i == 4)
			watched[0] = 7;
		if (i == 6)
			watched[1] = watched[0];
	}
	_exit(watched[0]);
}

static long where(pid_t child)
{
	struct user_regs_struct registers;

	ptrace(PTRACE_GETREGS, child, 0, &registers);
	return (long)registers.rip;
}

static void set_debug(pid_t child, int number, unsigned long value)
{
	if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg) + (size_t)number * 8, value))
		printf("debug register %d: %s\n", number, strerror(errno));
}

static void debugger(void)
{
	int status, stops = 0, at_here = 0;
	struct user_regs_struct registers;
	unsigned long hits = 0, word, dr6;
	pid_t child = fork();

	if (!child)
		debuggee();
	waitpid(child, &status, 0);
	/* some steps, each must move */
	for (int i = 0; i < 25; i++) {
		long before = where(child);

		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
		waitpid(child, &status, 0);
		stops += WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && where(child) != before;
	}
	/* execution breakpoint in DR0, write watchpoint in DR1, access watchpoint in DR2 */
	set_debug(child, 0, (unsigned long)here);
	set_debug(child, 1, (unsigned long)&watched[0]);
	set_debug(child, 2, (unsigned long)&watched[1]);
	set_debug(child, 7, 0x15 | 0xd << 20 | 0xful << 24);
	for (;;) {
		ptrace(PTRACE_CONT, child, 0, 0);
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		dr6 = (unsigned long)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg) + 48,
					    0);
		set_debug(child, 6, 0);
		hits = hits * 16 + (dr6 & 15);
		at_here += where(child) == (long)here;
	}
	printf("debugger: %s, hits %lx, at breakpoint %d, exit %d\n", stops > 15 ? "steps" : "no steps", hits,
	       at_here, WEXITSTATUS(status));

	/* a software breakpoint, put there and taken away by the debugger */
	child = fork();
	if (!child)
		debuggee();
	waitpid(child, &status, 0);
	word = (unsigned long)ptrace(PTRACE_PEEKTEXT, child, here, 0);
	hits = 0;
	for (;;) {
		ptrace(PTRACE_POKETEXT, child, here, (word & ~0xfful) | 0xcc);
		ptrace(PTRACE_CONT, child, 0, 0);
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		hits += WSTOPSIG(status) == SIGTRAP && where(child) == (long)here + 1;
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		registers.rip = (unsigned long)here;
		ptrace(PTRACE_SETREGS, child, 0, &registers);
		ptrace(PTRACE_POKETEXT, child, here, word);
		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
		waitpid(child, &status, 0);
	}
	printf("int3 hits %lu, exit %d\n", hits, WEXITSTATUS(status));
}

static void jumps(void)
{
	jmp_buf buffer;
	volatile int count = 0;
	volatile long sum = 0;

	if (setjmp(buffer) < 1000) {
		count++;
		sum += count * 3;
		longjmp(buffer, count);
	}
	printf("longjmp %d %ld\n", count, sum);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	jumps();
	threads();
	vectors();
	forks();
	timers();
	debugger();
	return 0;
}
