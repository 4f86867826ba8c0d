/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line asked for, and how the program answers to its caller.
 * Filled by options.c, read by main.c and machine.c. Strings point into argv.
 */
#ifndef LGUEST_CONFIG_H
#define LGUEST_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct config {
	uint64_t memory;     /* bytes of guest RAM */
	const char *kernel;  /* path of the kernel image */
	const char *cmdline; /* kernel command line, owned (malloc) */
	const char *initrd;  /* path or NULL */
	const char *engine;  /* "auto" or an engine's name */
	bool verbose;
	bool no_reboot;       /* a guest reset ends lguest */
	bool host_decompress; /* default true; --no-host-decompress */
	bool perf_map;        /* --perf-map: for perf(1) */
};

/* Exit status of lguest; README.md and lguest.1 document the same table. */
enum exit_status {
	EXIT_POWER_OFF = 0,
	EXIT_USAGE = 1,        /* bad usage: option, memory size, missing argument */
	EXIT_HOST = 2,         /* host error: file, memory, missing CPU feature */
	EXIT_GUEST_PANIC = 3,  /* the guest reported a panic through pvpanic */
	EXIT_RESET = 4,        /* the guest reset itself under --no-reboot */
	EXIT_TRIPLE_FAULT = 5, /* the guest's CPU shut down */
	EXIT_KILLED = 6,       /* ended by the user: SIGINT, SIGTERM, SIGHUP, escape */
};

#endif
