// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See signal.h. A handler knows the vCPU of its thread by a thread-local
 * pointer (FS stays the host's), and that the fault is the guest's by the
 * program counter: only translated code lies in the code cache.
 *
 * The alternate stack is registered with SS_AUTODISARM. Without it, the
 * kernel would look at RSP to see whether the thread is on that stack
 * already, and while translated code runs RSP is what the guest says.
 */
#include "engine/soft/signal.h"

#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define HWCAP2_FSGSBASE_BIT 2

static const int caught[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
#define CAUGHT (sizeof(caught) / sizeof(caught[0]))

/*
 * Signal dispositions belong to the process, so what was there before does
 * too: this is the one place where the engine keeps process-wide state.
 */
static struct sigaction previous[CAUGHT];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int install_error;
static __thread struct signal_target *current_target;

static void pass_on(int sig, siginfo_t *si, void *ctx)
{
	for (unsigned i = 0; i < CAUGHT; i++) {
		struct sigaction *p = &previous[i];

		if (caught[i] != sig)
			continue;
		if (p->sa_flags & SA_SIGINFO) {
			p->sa_sigaction(sig, si, ctx);
		} else if (p->sa_handler != SIG_DFL && p->sa_handler != SIG_IGN) {
			p->sa_handler(sig);
		} else {
			/* Back to the default; the instruction faults again and ends us. What kill() sent needs a second push. */
			signal(sig, SIG_DFL);
			if (si->si_code <= 0)
				raise(sig);
		}
	}
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	struct signal_target *t = current_target;
	uint64_t pc = (uint64_t)g[REG_RIP];

	/* From a process (kill), not from an instruction, whatever was running: no business of the guest's. */
	if (si->si_code <= 0 || !t || pc - t->code >= t->code_size) {
		pass_on(sig, si, ctx);
		return;
	}
	t->fault_pc = pc;
	t->fault_vector = (uint8_t)g[REG_TRAPNO];
	t->fault_flags = (uint64_t)g[REG_EFL];
	/* Leave as if the instruction had been an exit. */
	g[REG_RIP] = (greg_t)t->exit_pc;
	g[REG_R9] = (greg_t)t->exit_r9;
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < CAUGHT; i++)
		sigdelset(&sa.sa_mask, caught[i]);
	for (unsigned i = 0; i < CAUGHT; i++)
		if (sigaction(caught[i], &sa, &previous[i]))
			install_error = -errno;
}

int signal_install(void)
{
	pthread_once(&once, install);
	return install_error;
}

static bool have_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
}

static unsigned long get_gs(void)
{
	unsigned long base = 0;

	if (have_fsgsbase())
		__asm__ volatile("rdgsbase %0" : "=r"(base));
	else
		syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	return base;
}

static int set_gs(unsigned long base)
{
	if (have_fsgsbase()) {
		__asm__ volatile("wrgsbase %0" : : "r"(base));
		return 0;
	}
	return syscall(SYS_arch_prctl, ARCH_SET_GS, base) ? -errno : 0;
}

int signal_thread_enter(struct signal_thread *t, void *gs, struct signal_target *target)
{
	unsigned long min = getauxval(AT_MINSIGSTKSZ);
	stack_t ss = { 0 };
	sigset_t set;
	int err;

	t->stack_size = 65536 + (min > 4096 ? min : 4096);
	t->stack_size = (t->stack_size + 4095) & ~4095ul;
	t->stack = mmap(NULL, t->stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->stack == MAP_FAILED)
		return -errno;
	ss.ss_sp = t->stack;
	ss.ss_size = t->stack_size;
	ss.ss_flags = (int)SS_AUTODISARM;
	if (sigaltstack(&ss, NULL)) {
		err = -errno;
		munmap(t->stack, t->stack_size);
		return err;
	}
	sigemptyset(&set);
	for (unsigned i = 0; i < CAUGHT; i++)
		sigaddset(&set, caught[i]);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	t->old_gs = get_gs();
	current_target = target;
	err = set_gs((unsigned long)(uintptr_t)gs);
	if (err)
		signal_thread_leave(t);
	return err;
}

void signal_thread_leave(struct signal_thread *t)
{
	stack_t off = { .ss_flags = SS_DISABLE };

	set_gs(t->old_gs);
	current_target = NULL;
	sigaltstack(&off, NULL);
	munmap(t->stack, t->stack_size);
}
