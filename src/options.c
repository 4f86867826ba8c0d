/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line:
 *
 *	lguest [options] <mem-in-mb> <kernel> [kernel args...]
 *
 * Options end where the memory size begins, and everything behind the kernel
 * file belongs to the guest: no word of it is looked at here. That is why
 * getopt(3) is not used: it keeps global state, sorts words around unless it
 * is told not to, and prints its own messages, without a remedy.
 *
 * To add an option: a member in config.h, a line in option_table, a paragraph
 * in lguest.1 and a line in both files under completions/. A test compares
 * the four. What the values of devices look like inside: device_options.c.
 */
#include "options.h"
#include "config.h"
#include "device_options.h"
#include "memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Less cannot hold any kernel that we know, unpacked, and its page tables. */
#define MEMORY_MIN (16ull << 20)

enum option_kind {
	OPTION_SET,    /* true when given */
	OPTION_CLEAR,  /* false when given, else true */
	OPTION_STRING, /* any value that is not empty */
	OPTION_CHOICE, /* one of the words of @argument, split at | */
	OPTION_NUMBER, /* the same, as its number: an unsigned, 0 for the first */
	/* Append to config.device */
	OPTION_BLOCK,
	OPTION_TUNNET,
	OPTION_NET,
	OPTION_RNG,
	OPTION_HELP,
	OPTION_VERSION,
};

enum option_group { GROUP_GUEST, GROUP_DEVICES, GROUP_ENGINE, GROUP_OTHER, GROUP_COUNT };

static const char *const group_names[GROUP_COUNT] = {
	[GROUP_GUEST] = "Guest",
	[GROUP_DEVICES] = "Devices, in this order (each option can be given several times)",
	[GROUP_ENGINE] = "Engine",
	[GROUP_OTHER] = "Information",
};

struct option_desc {
	enum option_group group;
	enum option_kind kind;
	char short_name; /* 0: none */
	const char *name;
	const char *argument; /* of OPTION_STRING and OPTION_CHOICE */
	const char *initial;  /* what holds without the option, NULL: nothing worth saying */
	size_t offset;        /* the member of struct config */
	const char *help;
};

/* clang-format off: one option, one glance */
static const struct option_desc option_table[] = {
	{ GROUP_GUEST, OPTION_STRING, 'i', "initrd", "FILE", "none", offsetof(struct config, initrd),
	  "load FILE as the initial RAM disk" },
	{ GROUP_GUEST, OPTION_SET, 0, "no-reboot", NULL, "restart the guest",
	  offsetof(struct config, no_reboot), "end lguest when the guest resets itself" },
	{ GROUP_GUEST, OPTION_CLEAR, 0, "no-host-decompress", NULL, "unpack on the host",
	  offsetof(struct config, host_decompress), "let a bzImage unpack itself inside the guest" },
	{ GROUP_GUEST, OPTION_NUMBER, 0, "escape", "both|ctrl-a|interrupts|none", "both",
	  offsetof(struct config, escape), "which keys end lguest: ^A x, or three times ^C" },
	{ GROUP_DEVICES, OPTION_BLOCK, 'b', "block", "FILE[,SETTING...]", NULL, 0,
	  "a disk (settings: ro, cow, direct, serial=NAME)" },
	{ GROUP_DEVICES, OPTION_NET, 0, "net", "user|tap:NAME[,SETTING...]", NULL, 0,
	  "a network (settings: mac=MAC, hostfwd=tcp:ADDR:PORT-:PORT)" },
	{ GROUP_DEVICES, OPTION_TUNNET, 't', "tunnet", "IP|bridge:NAME[:MAC]", NULL, 0,
	  "a network through a tap interface of its own (needs root)" },
	{ GROUP_DEVICES, OPTION_RNG, 'r', "rng", NULL, NULL, 0, "a source of random numbers" },
	{ GROUP_GUEST, OPTION_CHOICE, 0, "platform", "pc|lguest", "pc", offsetof(struct config, platform),
	  "what is around the CPU: a PC, or what old lguest kernels expect" },
	{ GROUP_ENGINE, OPTION_CHOICE, 0, "engine", "auto|soft|lguest", "auto",
	  offsetof(struct config, engine), "how the guest's instructions are executed" },
	{ GROUP_ENGINE, OPTION_SET, 0, "perf-map", NULL, "off", offsetof(struct config, perf_map),
	  "write /tmp/perf-PID.map, which names translated code for perf(1)" },
	{ GROUP_ENGINE, OPTION_STRING, 0, "soft-disable", "LIST", "none",
	  offsetof(struct config, soft_disable),
	  "do without optimizations, to find one at fault (lguest.1 has the list)" },
	{ GROUP_OTHER, OPTION_SET, 'v', "verbose", NULL, "off", offsetof(struct config, verbose),
	  "say what happens, print statistics at exit" },
	{ GROUP_OTHER, OPTION_HELP, 'h', "help", NULL, NULL, 0, "print this text" },
	{ GROUP_OTHER, OPTION_VERSION, 'V', "version", NULL, NULL, 0, "print the version" },
};
/* clang-format on */

#define OPTION_COUNT (sizeof(option_table) / sizeof(option_table[0]))

struct parser {
	struct config *cfg;
	int argc;
	char *const *argv;
	int next; /* index of the word to read next */
	char *err;
	size_t errlen;
};

__attribute__((format(printf, 2, 3))) static enum options_result bad(struct parser *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	return OPTIONS_BAD;
}

static bool takes_value(const struct option_desc *o)
{
	switch (o->kind) {
	case OPTION_STRING:
	case OPTION_CHOICE:
	case OPTION_NUMBER:
	case OPTION_BLOCK:
	case OPTION_TUNNET:
	case OPTION_NET: return true;
	default: return false;
	}
}

static const struct option_desc *find_long(const char *name, size_t len)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strlen(option_table[i].name) == len && memcmp(option_table[i].name, name, len) == 0)
			return &option_table[i];
	return NULL;
}

static const struct option_desc *find_short(char c)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (option_table[i].short_name == c)
			return &option_table[i];
	return NULL;
}

/* Levenshtein's distance; SIZE_MAX when a word is too long to be a typing error of ours. */
static size_t edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t row[32];

	if (blen >= sizeof(row) / sizeof(row[0]) || alen >= sizeof(row) / sizeof(row[0]))
		return SIZE_MAX;
	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[blen];
}

/* The option that was probably meant: what @name begins, or what it resembles. NULL: none. */
static const struct option_desc *guess_long(const char *name, size_t len)
{
	const struct option_desc *best = NULL;
	size_t best_distance = len / 3 + 2;

	for (size_t i = 0; len > 0 && i < OPTION_COUNT; i++) {
		const struct option_desc *o = &option_table[i];
		size_t distance = edit_distance(name, len, o->name, strlen(o->name));

		if (strncmp(o->name, name, len) == 0)
			distance = 0;
		if (distance < best_distance) {
			best = o;
			best_distance = distance;
		}
	}
	return best;
}

static enum options_result unknown(struct parser *p, const char *shown, const char *name, size_t len)
{
	const struct option_desc *o = guess_long(name, len);

	if (o)
		return bad(p, "%s: unknown option (did you mean --%s?)", shown, o->name);
	return bad(p, "%s: unknown option (lguest --help lists them)", shown);
}

/* The number of @value among @choices, or -1. */
static int find_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0;; i++) {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, value, n) == 0)
			return i;
		if (!choices[n])
			return -1;
		choices += n + 1;
	}
}

static enum options_result add_device(struct parser *p, const struct option_desc *o, const char *value)
{
	struct config *cfg = p->cfg;
	struct device_config *dev = &cfg->device[cfg->devices];
	bool ok = true;

	if (cfg->devices == CONFIG_MAX_DEVICES)
		return bad(p, "--%s%s%s: too many devices (a guest has room for %d)", o->name,
			   value ? "=" : "", value ? value : "", CONFIG_MAX_DEVICES);
	/* Counted first: options_release() frees what a failed attempt has allocated. */
	cfg->devices++;
	switch (o->kind) {
	case OPTION_BLOCK:
		dev->kind = DEVICE_BLOCK;
		ok = parse_block(&dev->block, value, p->err, p->errlen);
		break;
	case OPTION_TUNNET:
		dev->kind = DEVICE_NET;
		ok = parse_tunnet(&dev->net, value, p->err, p->errlen);
		break;
	case OPTION_NET:
		dev->kind = DEVICE_NET;
		ok = parse_net(&dev->net, value, p->err, p->errlen);
		break;
	default: dev->kind = DEVICE_RNG; break;
	}
	return ok ? OPTIONS_RUN : OPTIONS_BAD;
}

/* @value is NULL for options that take none. OPTIONS_RUN means: go on. */
static enum options_result apply(struct parser *p, const struct option_desc *o, const char *value)
{
	void *member = (char *)p->cfg + o->offset;
	int choice;

	switch (o->kind) {
	case OPTION_SET: *(bool *)member = true; break;
	case OPTION_CLEAR: *(bool *)member = false; break;
	case OPTION_STRING:
		if (!*value)
			return bad(p, "--%s: the value is empty (write --%s=%s)", o->name, o->name,
				   o->argument);
		*(const char **)member = value;
		break;
	case OPTION_CHOICE:
	case OPTION_NUMBER:
		choice = find_choice(o->argument, value);
		if (choice < 0)
			return bad(p, "--%s=%s: no such choice (write --%s=%s)", o->name, value, o->name,
				   o->argument);
		if (o->kind == OPTION_CHOICE)
			*(const char **)member = value;
		else
			*(unsigned *)member = (unsigned)choice;
		break;
	case OPTION_BLOCK:
	case OPTION_TUNNET:
	case OPTION_NET:
	case OPTION_RNG: return add_device(p, o, value);
	case OPTION_HELP: return OPTIONS_HELP;
	case OPTION_VERSION: return OPTIONS_VERSION;
	}
	return OPTIONS_RUN;
}

/* The value of @o that stands in a word of its own. NULL: there is none, *res says so. */
static const char *next_word(struct parser *p, const struct option_desc *o, enum options_result *res)
{
	if (p->next < p->argc)
		return p->argv[p->next++];
	*res = bad(p, "--%s: needs a value (write --%s=%s)", o->name, o->name, o->argument);
	return NULL;
}

/* --name, --name=value, --name value */
static enum options_result parse_long(struct parser *p, const char *word)
{
	const char *name = word + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct option_desc *o = find_long(name, len);
	enum options_result res = OPTIONS_BAD;

	if (!o)
		return unknown(p, word, name, len);
	if (value && !takes_value(o))
		return bad(p, "--%s: takes no value (write just --%s)", word + 2, o->name);
	if (!value && takes_value(o)) {
		value = next_word(p, o, &res);
		if (!value)
			return res;
	}
	return apply(p, o, value);
}

/* -v, -iFILE, -i FILE and several in one word: -vi FILE */
static enum options_result parse_short(struct parser *p, const char *word)
{
	for (const char *c = word + 1; *c; c++) {
		const struct option_desc *o = find_short(*c);
		enum options_result res = OPTIONS_BAD;
		const char *value = NULL;

		/* A long option with one dash (-verbose) deserves an answer about the whole word. */
		if (!o)
			return unknown(p, word, word + 1, strcspn(word + 1, "="));
		if (takes_value(o)) {
			value = c[1] ? c + 1 : next_word(p, o, &res);
			if (!value)
				return res;
		}
		res = apply(p, o, value);
		if (res != OPTIONS_RUN || takes_value(o))
			return res;
	}
	return OPTIONS_RUN;
}

/* 512 and 512M are MiB, 2G is GiB. */
static enum options_result parse_memory(struct parser *p, const char *word)
{
	unsigned long long n;
	unsigned shift = 20;
	char *end;

	/* strtoull() would take white space, signs and so -1 as a huge number. */
	if (*word < '0' || *word > '9')
		return bad(p, "memory size \"%s\": not a number (write 512, 512M or 2G)", word);
	errno = 0;
	n = strtoull(word, &end, 10);
	if (*end == 'M' || *end == 'm') {
		end++;
	} else if (*end == 'G' || *end == 'g') {
		shift = 30;
		end++;
	}
	if (*end)
		return bad(p, "memory size \"%s\": not a number of MiB or GiB (write 512, 512M or 2G)", word);
	if (errno == ERANGE || n > GUEST_RAM_MAX >> shift)
		return bad(p, "memory size \"%s\": more than a guest can have (at most %lluG)", word,
			   GUEST_RAM_MAX >> 30);
	if (n << shift < MEMORY_MIN)
		return bad(p, "memory size \"%s\": too small for any kernel (at least %lluM)", word,
			   MEMORY_MIN >> 20);
	p->cfg->memory = n << shift;
	return OPTIONS_RUN;
}

/* The rest of the words, joined by single spaces, whatever they are. */
static char *join_words(int count, char *const words[])
{
	size_t size = 1;
	char *line, *to;

	for (int i = 0; i < count; i++)
		size += strlen(words[i]) + 1;
	line = malloc(size);
	if (!line)
		return NULL;
	to = line;
	for (int i = 0; i < count; i++) {
		if (i > 0)
			*to++ = ' ';
		to = stpcpy(to, words[i]);
	}
	*to = 0;
	return line;
}

/* Everything from the memory size on. */
static enum options_result parse_guest(struct parser *p)
{
	enum options_result res;

	if (p->next >= p->argc)
		return bad(p,
			   "no memory size given (lguest [options] <mem-in-mb> <kernel> [kernel args...])");
	res = parse_memory(p, p->argv[p->next]);
	if (res != OPTIONS_RUN)
		return res;
	p->next++;
	if (p->next >= p->argc)
		return bad(p, "no kernel given (lguest [options] <mem-in-mb> <kernel> [kernel args...])");
	p->cfg->kernel = p->argv[p->next++];
	if (p->cfg->kernel[0] == '-')
		return bad(
			p,
			"%s: an option behind the memory size (options go before it; a kernel file of that "
			"name is ./%s)",
			p->cfg->kernel, p->cfg->kernel);
	if (!p->cfg->kernel[0])
		return bad(p, "kernel: the file name is empty");
	p->cfg->cmdline = join_words(p->argc - p->next, p->argv + p->next);
	if (!p->cfg->cmdline)
		return bad(p, "kernel command line: %s", strerror(ENOMEM));
	return OPTIONS_RUN;
}

static void set_defaults(struct config *cfg)
{
	memset(cfg, 0, sizeof(*cfg));
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_desc *o = &option_table[i];
		void *member = (char *)cfg + o->offset;

		if (o->kind == OPTION_CLEAR)
			*(bool *)member = true;
		else if (o->kind == OPTION_CHOICE)
			*(const char **)member = o->initial;
	}
}

enum options_result options_parse(struct config *cfg, int argc, char *const argv[], char *err, size_t errlen)
{
	struct parser p = { .cfg = cfg, .argc = argc, .argv = argv, .next = 1, .err = err, .errlen = errlen };

	err[0] = 0;
	set_defaults(cfg);
	while (p.next < argc && argv[p.next][0] == '-' && argv[p.next][1]) {
		const char *word = argv[p.next++];
		enum options_result res;

		if (strcmp(word, "--") == 0)
			break;
		res = word[1] == '-' ? parse_long(&p, word) : parse_short(&p, word);
		if (res != OPTIONS_RUN)
			return res;
	}
	return parse_guest(&p);
}

void options_release(struct config *cfg)
{
	free((char *)cfg->cmdline);
	cfg->cmdline = NULL;
	for (unsigned i = 0; i < cfg->devices; i++)
		if (cfg->device[i].kind == DEVICE_BLOCK)
			free(cfg->device[i].block.path);
	cfg->devices = 0;
}

static void print_option(FILE *out, const struct option_desc *o)
{
	char left[60];
	int n = 0;

	if (o->short_name)
		n = snprintf(left, sizeof(left), "-%c, ", o->short_name);
	else
		n = snprintf(left, sizeof(left), "    ");
	snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", o->name, o->argument ? "=" : "",
		 o->argument ? o->argument : "");
	/* What is too long for its column gets a line of its own. */
	if (strlen(left) < 26)
		fprintf(out, "  %-26s%s", left, o->help);
	else
		fprintf(out, "  %s\n%28s%s", left, "", o->help);
	if (o->initial)
		fprintf(out, " [default: %s]", o->initial);
	fputc('\n', out);
}

void options_print_help(FILE *out)
{
	fputs("Usage: lguest [options] <mem-in-mb> <kernel> [kernel args...]\n"
	      "Boots a Linux kernel (bzImage or vmlinux) in a virtual machine on this terminal.\n"
	      "\n"
	      "  <mem-in-mb>   the guest's memory: 512, 512M or 2G\n"
	      "  <kernel>      the kernel image\n"
	      "  kernel args   the guest's command line, passed on as it is\n",
	      out);
	for (int g = 0; g < GROUP_COUNT; g++) {
		fprintf(out, "\n%s:\n", group_names[g]);
		for (size_t i = 0; i < OPTION_COUNT; i++)
			if (option_table[i].group == (enum option_group)g)
				print_option(out, &option_table[i]);
	}
	fprintf(out,
		"\n"
		"Exit status:\n"
		"  %d  the guest powered off      %d  the guest reset itself under --no-reboot\n"
		"  %d  bad usage                  %d  the guest's CPU shut down (triple fault)\n"
		"  %d  error on the host          %d  ended by the user\n"
		"  %d  the guest panicked\n"
		"\n"
		"Example:\n"
		"  lguest --initrd=initramfs.cpio.gz 512 vmlinuz console=ttyS0\n",
		EXIT_POWER_OFF, EXIT_RESET, EXIT_USAGE, EXIT_TRIPLE_FAULT, EXIT_HOST, EXIT_KILLED,
		EXIT_GUEST_PANIC);
}
