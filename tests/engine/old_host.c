/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a program as on an old kernel: system calls that are younger get
 * ENOSYS, by a seccomp filter. New ones have been numbered as they came, so an age is a number:
 *
 *	old-host 298 PROGRAM ARGUMENT...	Linux 2.6.31 (perf_event_open is its youngest)
 *	old-host 313 PROGRAM ARGUMENT...	Linux 3.12 (finit_module)
 *
 * Some have got new flags instead: O_TMPFILE (3.11), holes by fallocate (2.6.38), and locks of open files by
 * fcntl (3.15) fail as they did then. The first hosts of engine_lguest are this old; other engines must do without, too.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <fcntl.h> has it together with O_DIRECTORY. */
#define TMPFILE_BIT 020000000u
#define PUNCH_HOLE  2u
#define FINIT       313u
/* F_OFD_GETLK to F_OFD_SETLKW */
#define OFD_FIRST 36u
#define OFD_LAST  38u

#define LOAD(field)      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define FAIL(error)      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define UNLESS(op, k, n) BPF_JUMP(BPF_JMP | (op) | BPF_K, (k), 0, (n))

static int filter(unsigned youngest)
{
	struct sock_filter code[] = {
		LOAD(arch),
		UNLESS(BPF_JEQ, AUDIT_ARCH_X86_64, 19),
		LOAD(nr),
		UNLESS(BPF_JGT, youngest, 1),
		FAIL(ENOSYS),
		UNLESS(BPF_JEQ, SYS_openat, 4),
		LOAD(args[2]),
		UNLESS(BPF_JSET, TMPFILE_BIT, 1),
		FAIL(EISDIR),
		ALLOW,
		UNLESS(BPF_JEQ, SYS_fallocate, 4),
		LOAD(args[1]),
		UNLESS(BPF_JSET, PUNCH_HOLE, 1),
		/* Since 2.6.38; all of 3.x has it. */
		youngest < FINIT ? (struct sock_filter)FAIL(EOPNOTSUPP) : (struct sock_filter)ALLOW,
		ALLOW,
		UNLESS(BPF_JEQ, SYS_fcntl, 5),
		LOAD(args[1]),
		UNLESS(BPF_JGE, OFD_FIRST, 3),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, OFD_LAST, 2, 0),
		FAIL(EINVAL),
		ALLOW,
		ALLOW,
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	int error;

	if (argc < 3) {
		fprintf(stderr, "old-host NUMBER PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	/* execve() is old enough. */
	error = filter((unsigned)strtoul(argv[1], NULL, 10));
	if (!error) {
		execvp(argv[2], argv + 2);
		error = -errno;
	}
	fprintf(stderr, "old-host: %s: %s\n", argv[2], strerror(-error));
	return 77;
}
