/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host signals that copied instructions raise (division by zero, misaligned
 * SSE, x87 and SIMD exceptions), turned into an exit of translated code.
 * Signals from anywhere else go to whoever handled them before.
 */
#ifndef LGUEST_SOFT_SIGNAL_H
#define LGUEST_SOFT_SIGNAL_H

#include <stdint.h>

/*
 * What a handler must know of translated code. (Not the vCPU itself:
 * <signal.h> and cpu/state.h have different plans for the name REG_RAX.)
 */
struct signal_target {
	uint64_t code, code_size;  /* where translated code lies */
	uint64_t exit_pc, exit_r9; /* a fault there goes on here, with this in R9 */
	/* and leaves here what happened: */
	uint64_t fault_pc;
	uint64_t fault_flags; /* the host's RFLAGS */
	uint8_t fault_vector; /* the exception, as the CPU raised it */
};

/* What one thread needs to run translated code; on its stack in vcpu_run(). */
struct signal_thread {
	void *stack; /* the alternate stack, owned */
	unsigned long stack_size;
	unsigned long old_gs;
};

/*
 * Installs the process-wide handlers (once is enough; more is harmless).
 * Returns 0 or a negative errno.
 */
int signal_install(void);

/*
 * Gives the calling thread an alternate signal stack that works while RSP
 * belongs to the guest, and points GS at @gs. @target must live until
 * signal_thread_leave(). 0 or a negative errno.
 */
int signal_thread_enter(struct signal_thread *t, void *gs, struct signal_target *target);
void signal_thread_leave(struct signal_thread *t);

#endif
