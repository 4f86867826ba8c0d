/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line. One table in options.c describes every option: it is what
 * parses them and what prints --help, so the two cannot disagree.
 */
#ifndef LGUEST_OPTIONS_H
#define LGUEST_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

struct config;

enum options_result {
	OPTIONS_RUN,     /* *cfg is complete: start the guest */
	OPTIONS_HELP,    /* --help was asked for */
	OPTIONS_VERSION, /* --version was asked for */
	OPTIONS_BAD,     /* a mistake, described in the error buffer */
};

/* Long enough for every message that is not stretched by a silly argument. */
#define OPTIONS_ERROR_SIZE 512

/*
 * Reads argv[1] .. argv[argc - 1] into @cfg, whose previous contents are
 * ignored. Strings in @cfg point into @argv, but for the command line, which
 * is allocated. After OPTIONS_BAD @err holds one line without a newline: what
 * is wrong, why, and the remedy in parentheses. It is cut to @errlen, which
 * must not be 0. Prints nothing and keeps no state. Whatever the result is,
 * options_release() may and must be called after it.
 */
enum options_result options_parse(struct config *cfg, int argc, char *const argv[], char *err, size_t errlen);

/* Frees what options_parse() allocated in @cfg. */
void options_release(struct config *cfg);

void options_print_help(FILE *out);

#endif
