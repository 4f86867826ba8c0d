/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guard is a forked child that does nothing but wait for the end of a
 * pipe whose other end only we hold. When we vanish without a word, it puts
 * the terminal back. A signal handler for fatal signals would do for crashes,
 * but not for SIGKILL; it would need global state; and those signals belong
 * to the engine, which uses them for the guest's faults.
 */
#include "host/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CTRL_A    0x01
#define CTRL_C    0x03
#define ESCAPE_MS 1000

static bool foreground(const struct tty *tty)
{
	return tcgetpgrp(tty->fd) == getpgrp();
}

static bool same_modes(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
	       memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* Hosts before Linux 5.9 have no close_range(2). We have opened next to nothing yet. */
static void close_from_to(int first, int last)
{
	long max = sysconf(_SC_OPEN_MAX);

	if (syscall(SYS_close_range, first, last, 0) == 0 || errno != ENOSYS)
		return;
	for (int fd = first; fd <= last && fd < (max > 0 && max < 4096 ? max : 4096); fd++)
		close(fd);
}

/* The child: holds the terminal and its end of the pipe, nothing else. */
static _Noreturn void guard_main(const struct tty *tty, int pipe_end)
{
	struct termios now;
	char done;
	ssize_t n;
	int fds[2] = { tty->fd, pipe_end };

	prctl(PR_SET_NAME, "lguest-tty");
	if (fds[0] > fds[1]) {
		fds[0] = pipe_end;
		fds[1] = tty->fd;
	}
	/* Above all not standard output: whoever reads it waits for its end. */
	if (fds[0] > 0)
		close_from_to(0, fds[0] - 1);
	if (fds[1] > fds[0] + 1)
		close_from_to(fds[0] + 1, fds[1] - 1);
	close_from_to(fds[1] + 1, INT_MAX);
	do {
		n = read(pipe_end, &done, 1);
	} while (n < 0 && errno == EINTR);
	/* Unless somebody, like the shell, has changed the modes meanwhile. */
	if (n == 0 && tcgetattr(tty->fd, &now) == 0 && same_modes(&now, &tty->raw_modes))
		tcsetattr(tty->fd, TCSANOW, &tty->saved);
	_exit(0);
}

static void start_guard(struct tty *tty)
{
	sigset_t all, old;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	/* The guard outlives signals to the group, and may touch the terminal from the background. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	tty->guard = fork();
	if (tty->guard == 0) {
		close(fds[1]);
		guard_main(tty, fds[0]);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fds[0]);
	tty->guard_fd = fds[1];
	if (tty->guard < 0) {
		close(fds[1]);
		tty->guard = 0;
	}
}

void tty_open(struct tty *tty, int fd)
{
	memset(tty, 0, sizeof(*tty));
	tty->fd = fd;
	tty_set_escapes(tty, true, true);
	if (!isatty(fd) || tcgetattr(fd, &tty->saved) < 0)
		return;
	tty->present = true;
	tty->raw_modes = tty->saved;
	cfmakeraw(&tty->raw_modes);
	start_guard(tty);
}

void tty_set_escapes(struct tty *tty, bool ctrl_a, bool interrupts)
{
	tty->ctrl_a = ctrl_a;
	tty->interrupts = interrupts;
}

void tty_make_raw(struct tty *tty)
{
	if (!tty->present || !foreground(tty))
		return;
	if (tcsetattr(tty->fd, TCSANOW, &tty->raw_modes) == 0)
		tty->raw = true;
}

void tty_restore(struct tty *tty)
{
	if (tty->raw && foreground(tty))
		tcsetattr(tty->fd, TCSANOW, &tty->saved);
	tty->raw = false;
}

void tty_close(struct tty *tty)
{
	static const char done = 1;

	tty_restore(tty);
	if (!tty->guard)
		return;
	if (write(tty->guard_fd, &done, 1) < 0)
		kill(tty->guard, SIGKILL);
	close(tty->guard_fd);
	while (waitpid(tty->guard, NULL, 0) < 0 && errno == EINTR)
		;
	tty->guard = 0;
}

/* True for the third ^C within a second. */
static bool third_intr(struct tty *tty, uint64_t now_ms)
{
	bool third = tty->intrs >= 2 && now_ms - tty->intr_ms[0] < ESCAPE_MS;

	tty->intr_ms[0] = tty->intr_ms[1];
	tty->intr_ms[1] = now_ms;
	if (tty->intrs < 2)
		tty->intrs++;
	return third;
}

bool tty_filter(struct tty *tty, const uint8_t *in, size_t n, uint8_t *out, size_t *out_len, uint64_t now_ms)
{
	size_t len = 0;
	bool end = false;

	for (size_t i = 0; i < n && !end; i++) {
		uint8_t c = in[i];

		if (tty->prefix) {
			tty->prefix = false;
			if (c == 'x') {
				end = true;
				break;
			}
			/* Ctrl-a Ctrl-a is one; before any other key it was meant for the guest. */
			out[len++] = CTRL_A;
			if (c == CTRL_A)
				continue;
		} else if (tty->ctrl_a && c == CTRL_A) {
			tty->prefix = true;
			continue;
		}
		if (tty->interrupts && c == CTRL_C)
			end = third_intr(tty, now_ms);
		else
			tty->intrs = 0;
		out[len++] = c;
	}
	*out_len = len;
	return end;
}
