/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole program on a kernel of the test's own: __wrap_...() in
 * fake_kernel.c are /dev/lguest, and its guest is a function in fake_guest.c that runs in a
 * thread, drives the devices by their memory, and asks for things as a guest does.
 */
#ifndef LGUEST_TESTS_ENGINE_FAKE_KERNEL_H
#define LGUEST_TESTS_ENGINE_FAKE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_kernel;

/* fake_guest.c: the guest's life; @cmdline is what the launcher has put there. Must not return. */
void fake_guest(struct fake_kernel *k, const char *cmdline) __attribute__((noreturn));

/* For the guest: its memory, its size without the device area. */
void *fake_memory(struct fake_kernel *k, uint32_t phys);
uint32_t fake_ram(const struct fake_kernel *k);
/* NOTIFY: comes back when the launcher has seen it, or an eventfd has it. */
void fake_notify(struct fake_kernel *k, uint32_t value);
/* Has the launcher an eventfd for it? */
bool fake_has_eventfd(const struct fake_kernel *k, uint32_t value);
/* HALT until one of @irqs (bits) is pending: those that were, which are not any more. 0: 10 seconds have gone by. */
uint32_t fake_halt(struct fake_kernel *k, uint32_t irqs);
/* The end. */
void fake_die(struct fake_kernel *k, const char *reason) __attribute__((noreturn));
void fake_restart(struct fake_kernel *k) __attribute__((noreturn));

#endif
