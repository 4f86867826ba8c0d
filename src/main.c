/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lguest: boots a Linux kernel in a virtual machine, on any x86-64 host, with
 * or without virtualization hardware.
 *
 * The journey starts here and is short: the words of the command line become
 * a struct config (options.c), of which machine.c makes a guest, runs it, and
 * says how it ended. docs/tour.md leads through the rest.
 */
#include "config.h"
#include "machine.h"
#include "options.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A full disk behind standard output is an error as well. */
static int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_POWER_OFF;
	fprintf(stderr, "lguest: standard output: %s\n", strerror(errno));
	return EXIT_HOST;
}

/* Before main() there was little but the dynamic linker, and that waits for nobody. */
static uint64_t program_start(void)
{
	struct timespec now, used;

	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)(now.tv_sec - used.tv_sec) * 1000000000u + (uint64_t)(now.tv_nsec - used.tv_nsec);
}

int main(int argc, char **argv)
{
	char err[OPTIONS_ERROR_SIZE];
	struct config cfg;
	int status = EXIT_USAGE;
	uint64_t started = program_start();
	struct tsc_moment first = tsc_moment_now();

	/*
	 * Large pieces come and go with each reboot of the guest. By default
	 * malloc() learns to keep such pieces between the small ones, where they
	 * do not fit the next time: half a MiB more with each reboot.
	 */
#ifdef M_MMAP_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
	switch (options_parse(&cfg, argc, argv, err, sizeof(err))) {
	case OPTIONS_RUN:
		cfg.started = started;
		cfg.first = first;
		status = machine_run(&cfg);
		break;
	case OPTIONS_HELP:
		options_print_help(stdout);
		status = finish_output();
		break;
	case OPTIONS_VERSION:
		puts("lguest " LGUEST_VERSION);
		status = finish_output();
		break;
	case OPTIONS_BAD: fprintf(stderr, "lguest: %s\n", err); break;
	}
	options_release(&cfg);
	return status;
}
