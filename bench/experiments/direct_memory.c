/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The small experiments behind docs/direct-memory.md: what it costs to run
 * a guest user address space in a host process of its own that can make no
 * system call by itself. Prints medians in microseconds.
 *
 *	gcc -O2 -o /tmp/direct_memory bench/experiments/direct_memory.c && /tmp/direct_memory
 *
 * switch		to the process and back, three ways
 * fault		the process touches a page that is not mapped, somebody maps it
 * map			mapping pages ahead of time, in runs of 1, 8 and 64 pages
 * runs			(in a guest, as root) how long runs of guest-physical pages are
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define TURNS  2000
#define PAGES  2048 /* scattered over twice as many */

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const char *what, double *sample)
{
	qsort(sample, ROUNDS, sizeof(*sample), compare);
	printf("%-58s %8.2f us\n", what, sample[ROUNDS / 2]);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

/* ---- switch: futex between two processes ---- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) != value)
		syscall(SYS_futex, word, FUTEX_WAIT, value ^ 1, NULL, NULL, 0);
}

static void futex_set(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void spin_until(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) != value)
		__builtin_ia32_pause();
}

static void switch_by_word(const char *what, int other_cpu, bool spin)
{
	_Atomic uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double sample[ROUNDS];
	pid_t pid = fork();

	if (pid == 0) {
		pin(0, other_cpu);
		for (int i = 0; i < ROUNDS * TURNS; i++) {
			if (spin) {
				spin_until(word, 1);
				atomic_store(word, 0);
			} else {
				futex_wait(word, 1);
				futex_set(word, 0);
			}
		}
		_exit(0);
	}
	pin(0, 0);
	for (int r = 0; r < ROUNDS; r++) {
		double start = now_us();

		for (int i = 0; i < TURNS; i++) {
			if (spin) {
				atomic_store(word, 1);
				spin_until(word, 0);
			} else {
				futex_set(word, 1);
				futex_wait(word, 0);
			}
		}
		sample[r] = (now_us() - start) / TURNS;
	}
	waitpid(pid, NULL, 0);
	munmap(word, 4096);
	report(what, sample);
}

/* ---- switch, fault and map under ptrace ---- */

static int ram; /* a memfd in the place of guest RAM */
static uint8_t *window;

static uint64_t scatter(uint64_t i)
{
	return i * 2654435761u % (2 * PAGES);
}

/* A child that stops itself and then runs @body. */
static pid_t start_traced(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		pin(0, 0);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		body();
		_exit(0);
	}
	pin(0, 0);
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		die("traced child");
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	return pid;
}

static void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void call_for_ever(void)
{
	for (;;)
		syscall(SYS_getppid);
}

/* Each system call of the child stops it and is not executed. */
static void switch_by_ptrace(void)
{
	pid_t pid = start_traced(call_for_ever);
	double sample[ROUNDS];
	int status;

	for (int r = 0; r < ROUNDS; r++) {
		double start = now_us();

		for (int i = 0; i < TURNS; i++) {
			ptrace(PTRACE_SYSEMU, pid, 0, 0);
			waitpid(pid, &status, 0);
		}
		sample[r] = (now_us() - start) / TURNS;
	}
	finish(pid);
	report("switch: ptrace SYSEMU stop and back, same core", sample);
}

/* Makes the stopped child execute one system call; its registers stay as they were. */
static long inject(pid_t pid, uint64_t insn, long nr, const uint64_t arg[6])
{
	struct user_regs_struct saved, regs;
	int status;

	ptrace(PTRACE_GETREGS, pid, 0, &saved);
	regs = saved;
	regs.rip = insn;
	regs.rax = (uint64_t)nr;
	regs.orig_rax = ~0ull;
	regs.rdi = arg[0];
	regs.rsi = arg[1];
	regs.rdx = arg[2];
	regs.r10 = arg[3];
	regs.r8 = arg[4];
	regs.r9 = arg[5];
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
	waitpid(pid, &status, 0);
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	ptrace(PTRACE_SETREGS, pid, 0, &saved);
	return (long)regs.rax;
}

extern const char syscall_insn[];
__asm__(".text\n.globl syscall_insn\nsyscall_insn:\tsyscall\n\tud2\n");

static void touch_all(void)
{
	for (;;)
		for (uint64_t i = 0; i < PAGES; i++)
			*(volatile uint8_t *)(window + scatter(i) * 4096) += 1;
}

static void map_in_child(pid_t pid, uint64_t page, uint64_t count)
{
	const uint64_t arg[6] = { (uint64_t)window + page * 4096, count * 4096,  PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED,         (uint64_t)ram, (page ^ 1) * 4096 };

	if (inject(pid, (uint64_t)syscall_insn, SYS_mmap, arg) < 0)
		die("injected mmap");
}

static void fault_by_ptrace(void)
{
	pid_t pid = start_traced(touch_all);
	double sample[ROUNDS];
	siginfo_t info;
	int status;

	for (int r = 0; r < ROUNDS; r++) {
		double start = now_us();

		for (int i = 0; i < PAGES / ROUNDS; i++) {
			ptrace(PTRACE_CONT, pid, 0, 0);
			waitpid(pid, &status, 0);
			if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSEGV)
				die("expected a fault");
			ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
			map_in_child(pid, ((uint64_t)info.si_addr - (uint64_t)window) / 4096, 1);
		}
		sample[r] = (now_us() - start) / (PAGES / ROUNDS);
	}
	finish(pid);
	report("fault: stop, one page mapped by the tracer, go on, touch", sample);
}

static void map_by_ptrace(const char *what, uint64_t run)
{
	double sample[ROUNDS];

	for (int r = 0; r < ROUNDS; r++) {
		pid_t pid = start_traced(touch_all);
		double start = now_us();

		for (uint64_t page = 0; page < 512; page += run)
			map_in_child(pid, page * 2, run);
		sample[r] = (now_us() - start) / 512;
		finish(pid);
	}
	report(what, sample);
}

/* ---- fault in the process itself, for comparison ---- */

static void on_fault(int sig, siginfo_t *info, void *context)
{
	uint64_t page = ((uint64_t)info->si_addr - (uint64_t)window) / 4096;

	mmap(window + page * 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram,
	     (off_t)(page ^ 1) * 4096);
}

static void fault_by_signal(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, old;
	double sample[ROUNDS];

	sigaction(SIGSEGV, &action, &old);
	for (int r = 0; r < ROUNDS; r++) {
		double start = now_us();

		for (uint64_t i = 0; i < PAGES / ROUNDS; i++)
			*(volatile uint8_t *)(window +
					      scatter((uint64_t)r * (PAGES / ROUNDS) + i) * 4096) += 1;
		sample[r] = (now_us() - start) / (PAGES / ROUNDS);
	}
	sigaction(SIGSEGV, &old, NULL);
	mmap(window, 2 * PAGES * 4096ul, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
	     -1, 0);
	report("fault: signal handler in the process maps one page, touch", sample);
}

/* ---- runs of physical pages, inside a guest ---- */

static void count_runs(size_t mib)
{
	size_t pages = mib << 8, run = 0, runs = 0, backed = 0;
	uint64_t entry, last = 0;
	uint8_t *area = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (area == MAP_FAILED || fd < 0)
		die("runs");
	memset(area, 1, mib << 20);
	for (size_t i = 0; i < pages; i++) {
		if (pread(fd, &entry, 8, (off_t)(((uint64_t)area >> 12) + i) * 8) != 8)
			die("pagemap");
		entry &= (1ull << 55) - 1;
		if (!entry)
			continue;
		backed++;
		if (!run || entry != last + 1)
			runs++;
		run = 1;
		last = entry;
	}
	if (!backed)
		printf("runs: pagemap shows no frame numbers (be root)\n");
	else
		printf("runs: %zu MiB of heap: %zu pages in %zu physical runs, %.1f pages each\n", mib,
		       backed, runs, (double)backed / (double)runs);
	close(fd);
	munmap(area, mib << 20);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "runs") == 0) {
		for (size_t mib = 4; mib <= 64; mib *= 4)
			count_runs(mib);
		return 0;
	}
	ram = memfd_create("ram", 0);
	if (ram < 0 || ftruncate(ram, 2 * PAGES * 4096l) < 0)
		die("memfd");
	for (uint64_t i = 0; i < 2 * PAGES; i++)
		if (pwrite(ram, "x", 1, (off_t)i * 4096) != 1)
			die("memfd");
	window = mmap(NULL, 2 * PAGES * 4096ul, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		      0);
	if (window == MAP_FAILED)
		die("mmap");
	switch_by_word("switch: futex to another process and back, same core", 0, false);
	switch_by_word("switch: futex to another process and back, other core", 1, false);
	switch_by_word("switch: both spin, other core", 1, true);
	switch_by_ptrace();
	fault_by_signal();
	fault_by_ptrace();
	map_by_ptrace("map: injected mmap, runs of 1 page, per page", 1);
	map_by_ptrace("map: injected mmap, runs of 8 pages, per page", 8);
	map_by_ptrace("map: injected mmap, runs of 64 pages, per page", 64);
	return 0;
}
