/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line parser: what each line means, and what each mistake is
 * answered with. Also run under valgrind (meson.build), since the parser walks
 * words of any length.
 */
#include "config.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16
#define MIB(n)    ((uint64_t)(n) << 20)

struct expectation {
	int line;
	const char *words[WORDS_MAX]; /* behind the program's name, ends with NULL */
	enum options_result result;
	const char *error;    /* of OPTIONS_BAD: a part of the message */
	struct config config; /* of OPTIONS_RUN */
};

#define GOOD(...)         __LINE__, { __VA_ARGS__, NULL }, OPTIONS_RUN, NULL
#define BAD(message, ...) __LINE__, { __VA_ARGS__, NULL }, OPTIONS_BAD, message
#define PLAIN             .engine = "auto", .host_decompress = true

/* clang-format off: one line, one case */
static const struct expectation expectations[] = {
	{ GOOD("512", "k"), { PLAIN, .memory = MIB(512), .kernel = "k", .cmdline = "" } },
	{ GOOD("512M", "k"), { PLAIN, .memory = MIB(512), .kernel = "k", .cmdline = "" } },
	{ GOOD("2G", "k"), { PLAIN, .memory = MIB(2048), .kernel = "k", .cmdline = "" } },
	{ GOOD("3g", "k"), { PLAIN, .memory = MIB(3072), .kernel = "k", .cmdline = "" } },
	{ GOOD("16", "k"), { PLAIN, .memory = MIB(16), .kernel = "k", .cmdline = "" } },
	{ GOOD("64G", "k"), { PLAIN, .memory = MIB(65536), .kernel = "k", .cmdline = "" } },
	{ GOOD("65536", "k"), { PLAIN, .memory = MIB(65536), .kernel = "k", .cmdline = "" } },

	/* The kernel's words are the guest's, whatever they look like. */
	{ GOOD("64", "k", "a", "-v", "--initrd=x", "--", "", "b  c"),
	  { PLAIN, .memory = MIB(64), .kernel = "k", .cmdline = "a -v --initrd=x --  b  c" } },
	{ GOOD("64", "k", "\xff\x01"), { PLAIN, .memory = MIB(64), .kernel = "k", .cmdline = "\xff\x01" } },
	{ GOOD("64", "k", ""), { PLAIN, .memory = MIB(64), .kernel = "k", .cmdline = "" } },

	/* Each option, each spelling, any order. */
	{ GOOD("-v", "64", "k"),
	  { PLAIN, .verbose = true, .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--verbose", "64", "k"),
	  { PLAIN, .verbose = true, .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("-i", "f", "64", "k"),
	  { PLAIN, .initrd = "f", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("-if", "64", "k"), { PLAIN, .initrd = "f", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--initrd", "f", "64", "k"),
	  { PLAIN, .initrd = "f", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--initrd=f=g", "64", "k"),
	  { PLAIN, .initrd = "f=g", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("-vi", "-f", "64", "k"),
	  { PLAIN, .verbose = true, .initrd = "-f", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("-vif", "64", "k"),
	  { PLAIN, .verbose = true, .initrd = "f", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("-ia", "-ib", "64", "k"),
	  { PLAIN, .initrd = "b", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--engine=soft", "64", "k"),
	  { .engine = "soft", .host_decompress = true, .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--engine", "auto", "64", "k"), { PLAIN, .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--no-host-decompress", "64", "k"),
	  { .engine = "auto", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--perf-map", "--no-reboot", "-v", "--", "64", "k"),
	  { PLAIN, .perf_map = true, .no_reboot = true, .verbose = true, .memory = MIB(64), .kernel = "k",
	    .cmdline = "" } },

	/* Memory sizes that are none. */
	{ BAD("memory size \"0\": too small", "0", "k") },
	{ BAD("memory size \"15\": too small", "15", "k") },
	{ BAD("(at least 16M)", "000", "k") },
	{ BAD("memory size \"12x\": not a number of MiB", "12x", "k") },
	{ BAD("not a number of MiB", "12MB", "k") },
	{ BAD("not a number of MiB", "512K", "k") },
	{ BAD("not a number of MiB", "5.5G", "k") },
	{ BAD("not a number of MiB", "0x200", "k") },
	{ BAD("memory size \"\": not a number (write 512, 512M or 2G)", "", "k") },
	{ BAD("memory size \" 512\": not a number", " 512", "k") },
	{ BAD("memory size \"+512\": not a number", "+512", "k") },
	{ BAD("memory size \"-\": not a number", "-", "k") },
	{ BAD("memory size \"-512\": not a number", "--", "-512", "k") },
	{ BAD("memory size \"vmlinuz\": not a number", "vmlinuz", "512") },
	{ BAD("(at most 64G)", "65537", "k") },
	{ BAD("(at most 64G)", "65G", "k") },
	{ BAD("(at most 64G)", "18446744073709551615", "k") },
	{ BAD("(at most 64G)", "18446744073709551616", "k") },
	{ BAD("(at most 64G)", "99999999999999999999999G", "k") },
	{ BAD("(at most 64G)", "17592186044416", "k") },

	/* Words that are missing. */
	{ BAD("no memory size given (lguest [options]", NULL) },
	{ BAD("no memory size given", "-v") },
	{ BAD("no memory size given", "--") },
	{ BAD("no kernel given (lguest [options]", "512") },
	{ BAD("kernel: the file name is empty", "512", "") },
	{ BAD("--initrd: needs a value (write --initrd=FILE)", "--initrd") },
	{ BAD("--initrd: needs a value (write --initrd=FILE)", "-i") },
	{ BAD("--engine: needs a value (write --engine=auto|soft)", "--engine") },
	{ BAD("--initrd: the value is empty", "--initrd=", "512", "k") },
	{ BAD("--initrd: the value is empty", "-i", "", "512", "k") },

	/* Options in the wrong place, with wrong values, or unknown. */
	{ BAD("-v: an option behind the memory size", "512", "-v", "k") },
	{ BAD("is ./--initrd=x", "512", "--initrd=x", "k") },
	{ BAD("--verbose=3: takes no value (write just --verbose)", "--verbose=3", "512", "k") },
	{ BAD("--engine=kvm: no such choice (write --engine=auto|soft)", "--engine=kvm", "512", "k") },
	{ BAD("--engine=aut: no such choice", "--engine=aut", "512", "k") },
	{ BAD("--engine=: no such choice", "--engine=", "512", "k") },
	{ BAD("--engine=auto|soft: no such choice", "--engine=auto|soft", "512", "k") },
	{ BAD("--initd=x: unknown option (did you mean --initrd?)", "--initd=x", "512", "k") },
	{ BAD("--init: unknown option (did you mean --initrd?)", "--init", "x", "512", "k") },
	{ BAD("(did you mean --no-reboot?)", "--noreboot", "512", "k") },
	{ BAD("(did you mean --no-reboot?)", "--no-rebot", "512", "k") },
	{ BAD("(did you mean --no-host-decompress?)", "--no-host", "512", "k") },
	{ BAD("-verbose: unknown option (did you mean --verbose?)", "-verbose", "512", "k") },
	{ BAD("--quux: unknown option (lguest --help lists them)", "--quux", "512", "k") },
	{ BAD("-x: unknown option", "-x", "512", "k") },
	{ BAD("-vx: unknown option", "-vx", "512", "k") },
	{ BAD("--=x: unknown option", "--=x", "512", "k") },

	/* These two answer as soon as they are read. */
	{ __LINE__, { "-h", NULL }, OPTIONS_HELP, NULL },
	{ __LINE__, { "--help", "--quux", NULL }, OPTIONS_HELP, NULL },
	{ __LINE__, { "-vh", NULL }, OPTIONS_HELP, NULL },
	{ __LINE__, { "-V", NULL }, OPTIONS_VERSION, NULL },
	{ __LINE__, { "-v", "--version", "512", NULL }, OPTIONS_VERSION, NULL },
};
/* clang-format on */

static bool same_string(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_config(const struct config *a, const struct config *b)
{
	return a->memory == b->memory && same_string(a->kernel, b->kernel) &&
	       same_string(a->cmdline, b->cmdline) && same_string(a->initrd, b->initrd) &&
	       same_string(a->engine, b->engine) && a->verbose == b->verbose &&
	       a->no_reboot == b->no_reboot && a->host_decompress == b->host_decompress &&
	       a->perf_map == b->perf_map;
}

static bool check(const struct expectation *e)
{
	char *argv[WORDS_MAX + 1] = { (char *)"lguest" };
	char err[OPTIONS_ERROR_SIZE];
	struct config cfg;
	int argc = 1;
	bool ok;

	/* Words of their own size in memory of their own: valgrind sees each byte behind them. */
	for (; e->words[argc - 1]; argc++)
		argv[argc] = strdup(e->words[argc - 1]);
	memset(&cfg, 0xa5, sizeof(cfg));
	ok = options_parse(&cfg, argc, argv, err, sizeof(err)) == e->result;
	if (e->result == OPTIONS_RUN)
		ok = ok && same_config(&cfg, &e->config);
	if (e->result == OPTIONS_BAD)
		ok = ok && strstr(err, e->error) && !strchr(err, '\n');
	if (!ok)
		fprintf(stderr, "%s:%d: fails, message \"%s\"\n", __FILE__, e->line, err);
	options_release(&cfg);
	while (--argc > 0)
		free(argv[argc]);
	return ok;
}

/* A word of a megabyte must neither overflow the message nor get lost. */
static bool check_long_words(void)
{
	size_t len = 1 << 20;
	char *word = malloc(len + 1);
	char err[16];
	struct config cfg;
	bool ok;

	memset(word, 'a', len);
	word[len] = 0;

	char *good[] = { (char *)"lguest", (char *)"64", (char *)"k", word, word };
	ok = options_parse(&cfg, 5, good, err, sizeof(err)) == OPTIONS_RUN &&
	     strlen(cfg.cmdline) == 2 * len + 1;
	options_release(&cfg);

	char *no_size[] = { (char *)"lguest", word };
	ok = ok && options_parse(&cfg, 2, no_size, err, sizeof(err)) == OPTIONS_BAD &&
	     strlen(err) == sizeof(err) - 1;
	options_release(&cfg);

	word[0] = word[1] = '-';
	ok = ok && options_parse(&cfg, 2, no_size, err, sizeof(err)) == OPTIONS_BAD;
	options_release(&cfg);
	free(word);
	if (!ok)
		fprintf(stderr, "%s: long words fail\n", __FILE__);
	return ok;
}

/* argv without even a program name is what execve(2) may hand over. */
static bool check_no_words(void)
{
	char *argv[] = { NULL };
	char err[OPTIONS_ERROR_SIZE];
	struct config cfg;
	bool ok = options_parse(&cfg, 0, argv, err, sizeof(err)) == OPTIONS_BAD;

	options_release(&cfg);
	return ok;
}

int main(void)
{
	int failed = !check_long_words() + !check_no_words();

	for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++)
		failed += !check(&expectations[i]);
	options_print_help(stdout);
	return failed != 0;
}
