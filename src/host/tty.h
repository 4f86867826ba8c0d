/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal that lguest was started on, lent to the guest: raw, so that
 * line editing and ^C are the guest's, and put back on every way out. For the
 * ways on which we get no say (SIGKILL, a crash) a small child process, the
 * guard, watches over it.
 *
 * The user's way out: three times ^C within a second, as in the original
 * lguest, or Ctrl-a x. Ctrl-a Ctrl-a sends one Ctrl-a. Either can be switched
 * off; then its keys are the guest's like all others.
 */
#ifndef LGUEST_HOST_TTY_H
#define LGUEST_HOST_TTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

struct tty {
	int fd;
	bool present; /* @fd is a terminal, and ours to use */
	bool raw;
	struct termios saved, raw_modes;
	pid_t guard;  /* 0: none */
	int guard_fd; /* our end of its pipe */
	/* Escape detection */
	bool ctrl_a, interrupts;
	bool prefix;         /* Ctrl-a was the last byte */
	uint64_t intr_ms[2]; /* when the last two ^C came */
	unsigned intrs;
};

/*
 * Looks at @fd; when it is a terminal, remembers its modes and starts the
 * guard. Never fails: without a guard it just goes on. Call it while the
 * process has one thread and little memory.
 */
void tty_open(struct tty *tty, int fd);

/* Which of the two escapes are on: Ctrl-a x; three times ^C. At the start both. */
void tty_set_escapes(struct tty *tty, bool ctrl_a, bool interrupts);

/* Raw modes; again after a stop and continue. Nothing happens in the background. */
void tty_make_raw(struct tty *tty);

/* The modes of the start. Idempotent. */
void tty_restore(struct tty *tty);

/* tty_restore(), and the guard goes home. */
void tty_close(struct tty *tty);

#define TTY_FILTER_ROOM(n) (2 * (n))

/*
 * Passes typed bytes through the escape detection: @out, with room for
 * TTY_FILTER_ROOM(@n) bytes, gets what the guest is to see and *@out_len how
 * much. @now_ms is any clock in milliseconds. True: the user wants to end.
 */
bool tty_filter(struct tty *tty, const uint8_t *in, size_t n, uint8_t *out, size_t *out_len, uint64_t now_ms);

#endif
