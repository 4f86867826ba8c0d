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
#define PLAIN             .engine = "auto", .platform = "pc", .host_decompress = true
/* What stands behind the options that the case is about */
#define GUEST .memory = MIB(64), .kernel = "k", .cmdline = ""
#define DISK(...)                                              \
	{                                                      \
		.kind = DEVICE_BLOCK, .block = { __VA_ARGS__ } \
	}
#define NET(...)                                           \
	{                                                  \
		.kind = DEVICE_NET, .net = { __VA_ARGS__ } \
	}
#define RNG                        \
	{                          \
		.kind = DEVICE_RNG \
	}
#define MAC(...) .has_mac = true, .mac = { __VA_ARGS__ }

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
	  { .engine = "soft",
	    .platform = "pc",
	    .host_decompress = true,
	    .memory = MIB(64),
	    .kernel = "k",
	    .cmdline = "" } },
	{ GOOD("--engine", "auto", "64", "k"), { PLAIN, .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--no-host-decompress", "64", "k"),
	  { .engine = "auto", .platform = "pc", .memory = MIB(64), .kernel = "k", .cmdline = "" } },
	{ GOOD("--platform=lguest", "--engine=lguest", "64", "k"),
	  { .engine = "lguest", .platform = "lguest", .host_decompress = true, GUEST } },
	{ GOOD("--escape=none", "64", "k"), { PLAIN, .escape = ESCAPE_NONE, GUEST } },
	{ GOOD("--escape", "interrupts", "64", "k"), { PLAIN, .escape = ESCAPE_INTERRUPTS, GUEST } },
	{ GOOD("--escape=none", "--escape=ctrl-a", "64", "k"), { PLAIN, .escape = ESCAPE_CTRL_A, GUEST } },
	{ GOOD("--perf-map", "--no-reboot", "-v", "--", "64", "k"),
	  { PLAIN, .perf_map = true, .no_reboot = true, .verbose = true, .memory = MIB(64), .kernel = "k",
	    .cmdline = "" } },

	{ GOOD("--soft-disable=groups,jump2", "64", "k"), { PLAIN, .soft_disable = "groups,jump2", GUEST } },

	/* Devices, in their order. */
	{ GOOD("--block=f", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { DISK(.path = (char *)"f") } } },
	{ GOOD("-b", "f", "-bg", "--block", "h", "64", "k"),
	  { PLAIN, GUEST, .devices = 3,
	    .device = { DISK(.path = (char *)"f"), DISK(.path = (char *)"g"), DISK(.path = (char *)"h") } } },
	{ GOOD("-r", "-b", "f", "--net=user", "--rng", "64", "k"),
	  { PLAIN, GUEST, .devices = 4,
	    .device = { RNG, DISK(.path = (char *)"f"), NET(.kind = NET_USER), RNG } } },
	{ GOOD("--block=f,ro", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { DISK(.path = (char *)"f", .read_only = true) } } },
	{ GOOD("--block=f,serial=a-b_C.9,direct,cow", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { DISK(.path = (char *)"f", .cow = true, .direct = true, .serial = "a-b_C.9") } } },
	{ GOOD("--block=f,serial=12345678901234567890", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { DISK(.path = (char *)"f", .serial = "12345678901234567890") } } },
	{ GOOD("--block=a,,b,,,ro", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { DISK(.path = (char *)"a,b,", .read_only = true) } } },
	{ GOOD("--block=,,", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { DISK(.path = (char *)",") } } },
	{ GOOD("--block=nbd+unix:///x?socket=/s,cow", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { DISK(.path = (char *)"nbd+unix:///x?socket=/s", .cow = true) } } },
	{ BAD("--block: needs a value (write --block=FILE[,SETTING...])", "--block") },
	{ BAD("--block=: no file is named", "--block=", "64", "k") },
	{ BAD("--block=,ro: no file is named", "--block=,ro", "64", "k") },
	{ BAD("--block=f,: \"\" is no setting of a disk (there are ro,", "--block=f,", "64", "k") },
	{ BAD("--block=f,rw: \"rw\" is no setting", "--block=f,rw", "64", "k") },
	{ BAD("\"ro=1\" is no setting", "--block=f,ro=1", "64", "k") },
	{ BAD("\"roo\" is no setting", "--block=f,roo,cow", "64", "k") },
	{ BAD("--block=f,ro,cow: ro and cow together", "--block=f,ro,cow", "64", "k") },
	{ BAD("serial number is empty (write serial=NAME)", "--block=f,serial=", "64", "k") },
	{ BAD("serial number is too long (at most 20 characters)", "--block=f,serial=123456789012345678901",
	      "64", "k") },
	{ BAD("visible ASCII", "--block=f,serial=a b", "64", "k") },
	{ BAD("visible ASCII", "--block=f,serial=\xc3\xa4", "64", "k") },

	{ GOOD("--net=user,mac=02:0:00:aB:Cd:7", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { NET(.kind = NET_USER, MAC(2, 0, 0, 0xab, 0xcd, 7)) } } },
	{ GOOD("--net=user,hostfwd=tcp::80-:8080,hostfwd=udp:127.0.0.1:53-:5353", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { NET(.kind = NET_USER, .forwards = 2,
			    .forward = { { .host_port = 80, .guest_port = 8080 },
					 { .udp = true,
					   .host_addr = "127.0.0.1",
					   .host_port = 53,
					   .guest_port = 5353 } }) } } },
	{ GOOD("--net=user,hostfwd=tcp:[::1]:65535-:1", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { NET(.kind = NET_USER, .forwards = 1,
			    .forward = { { .host_addr = "::1", .host_port = 65535, .guest_port = 1 } }) } } },
	{ GOOD("--net=tap:tap-0", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { NET(.kind = NET_TAP, .name = "tap-0") } } },
	{ GOOD("--net=tap:fifteen-letters,mac=02:00:00:00:00:01", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { NET(.kind = NET_TAP, .name = "fifteen-letters", MAC(2, 0, 0, 0, 0, 1)) } } },
	{ BAD("--net=usr: \"usr\" is no kind of network (write --net=user or --net=tap:NAME", "--net=usr",
	      "64", "k") },
	{ BAD("--net: needs a value", "--net") },
	{ BAD("is no kind of network", "--net=", "64", "k") },
	{ BAD("is no kind of network", "--net=,user", "64", "k") },
	{ BAD("the name of the interface is empty", "--net=tap:", "64", "k") },
	{ BAD("cannot be the name of an interface", "--net=tap:sixteen-letters-", "64", "k") },
	{ BAD("cannot be the name of an interface", "--net=tap:a/b", "64", "k") },
	{ BAD("cannot be the name of an interface", "--net=tap:..", "64", "k") },
	{ BAD("\"hostfwd=tcp::1-:1\" is no setting of this network (there are mac=MAC)",
	      "--net=tap:t,hostfwd=tcp::1-:1", "64", "k") },
	{ BAD("\"\" is no setting of this network", "--net=user,", "64", "k") },
	{ BAD("\"02:00:00:00:00\" is no MAC address (write 02:", "--net=user,mac=02:00:00:00:00", "64",
	      "k") },
	{ BAD("is no MAC address", "--net=user,mac=", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=02:00:00:00:00:01:02", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=02:00:00:00:00:", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=02::00:00:00:01", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=02:00:00:00:00:100", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=02-00-00-00-00-01", "64", "k") },
	{ BAD("is no MAC address", "--net=user,mac=0g:00:00:00:00:01", "64", "k") },
	{ BAD("is a multicast address", "--net=user,mac=01:00:5e:00:00:01", "64", "k") },
	{ BAD("the MAC address is zero", "--net=user,mac=0:0:0:0:0:0", "64", "k") },
	{ BAD("hostfwd: neither tcp nor udp", "--net=user,hostfwd=sctp::1-:1", "64", "k") },
	{ BAD("hostfwd: neither tcp nor udp", "--net=user,hostfwd=", "64", "k") },
	{ BAD("hostfwd: \"localhost\" is no address of this host", "--net=user,hostfwd=tcp:localhost:1-:1",
	      "64", "k") },
	{ BAD("hostfwd: \"\" is no address", "--net=user,hostfwd=tcp:[]:1-:1", "64", "k") },
	{ BAD("the address in brackets does not end", "--net=user,hostfwd=tcp:[::1:1-:1", "64", "k") },
	{ BAD("\"0\" is no port", "--net=user,hostfwd=tcp::0-:1", "64", "k") },
	{ BAD("\"65536\" is no port (1 to 65535)", "--net=user,hostfwd=tcp::65536-:1", "64", "k") },
	{ BAD("\"99999999999999999999\" is no port", "--net=user,hostfwd=tcp::1-:99999999999999999999", "64",
	      "k") },
	{ BAD("\"\" is no port", "--net=user,hostfwd=tcp::-:1", "64", "k") },
	{ BAD("hostfwd: no port of the guest", "--net=user,hostfwd=tcp::1", "64", "k") },
	{ BAD("hostfwd: no port of the guest", "--net=user,hostfwd=tcp::1-10.0.2.15:1", "64", "k") },

	{ GOOD("--tunnet=192.168.19.1", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { NET(.kind = NET_TUN_IP, .ip = 0xc0a81301) } } },
	{ GOOD("-t", "10.0.0.1:02:00:00:00:00:09", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { NET(.kind = NET_TUN_IP, .ip = 0x0a000001, MAC(2, 0, 0, 0, 0, 9)) } } },
	{ GOOD("--tunnet=bridge:br0", "64", "k"),
	  { PLAIN, GUEST, .devices = 1, .device = { NET(.kind = NET_TUN_BRIDGE, .name = "br0") } } },
	{ GOOD("--tunnet=bridge:br0:02:00:00:00:00:0a", "64", "k"),
	  { PLAIN, GUEST, .devices = 1,
	    .device = { NET(.kind = NET_TUN_BRIDGE, .name = "br0", MAC(2, 0, 0, 0, 0, 10)) } } },
	{ BAD("\"192.168.19\" is no IPv4 address (write --tunnet=192.168.19.1", "--tunnet=192.168.19", "64",
	      "k") },
	{ BAD("is no IPv4 address", "--tunnet=", "64", "k") },
	{ BAD("is no IPv4 address", "--tunnet=1.2.3.256", "64", "k") },
	{ BAD("\"br0\" is no IPv4 address", "--tunnet=br0", "64", "k") },
	{ BAD("0.0.0.0 cannot be the host's address", "--tunnet=0.0.0.0", "64", "k") },
	{ BAD("cannot be the host's address", "--tunnet=224.0.0.1", "64", "k") },
	{ BAD("is no MAC address", "--tunnet=10.0.0.1:", "64", "k") },
	{ BAD("is no MAC address", "--tunnet=10.0.0.1:7", "64", "k") },
	{ BAD("the name of the interface is empty", "--tunnet=bridge:", "64", "k") },
	{ BAD("is no MAC address", "--tunnet=bridge:br0:", "64", "k") },

	{ BAD("--rng=yes: takes no value", "--rng=yes", "64", "k") },
	{ BAD("(did you mean --tunnet?)", "--tunet=10.0.0.1", "64", "k") },
	{ BAD("(did you mean --block?)", "--blok=f", "64", "k") },

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
	{ BAD("--engine: needs a value (write --engine=auto|soft|lguest)", "--engine") },
	{ BAD("--initrd: the value is empty", "--initrd=", "512", "k") },
	{ BAD("--initrd: the value is empty", "-i", "", "512", "k") },

	/* Options in the wrong place, with wrong values, or unknown. */
	{ BAD("-v: an option behind the memory size", "512", "-v", "k") },
	{ BAD("is ./--initrd=x", "512", "--initrd=x", "k") },
	{ BAD("--verbose=3: takes no value (write just --verbose)", "--verbose=3", "512", "k") },
	{ BAD("--engine=kvm: no such choice (write --engine=auto|soft|lguest)", "--engine=kvm", "512", "k") },
	{ BAD("--engine=aut: no such choice", "--engine=aut", "512", "k") },
	{ BAD("--engine=: no such choice", "--engine=", "512", "k") },
	{ BAD("--engine=auto|soft|lguest: no such choice", "--engine=auto|soft|lguest", "512", "k") },
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

static bool same_device(const struct device_config *a, const struct device_config *b)
{
	const struct block_config *x = &a->block, *y = &b->block;

	if (a->kind != b->kind)
		return false;
	if (a->kind == DEVICE_BLOCK)
		return same_string(x->path, y->path) && strcmp(x->serial, y->serial) == 0 &&
		       x->read_only == y->read_only && x->cow == y->cow && x->direct == y->direct;
	/* All of it, padding too: zeroed on both sides. */
	if (a->kind == DEVICE_NET)
		return memcmp(&a->net, &b->net, sizeof(a->net)) == 0;
	return true;
}

static bool same_devices(const struct config *a, const struct config *b)
{
	if (a->devices != b->devices)
		return false;
	for (unsigned i = 0; i < a->devices; i++)
		if (!same_device(&a->device[i], &b->device[i]))
			return false;
	return true;
}

static bool same_config(const struct config *a, const struct config *b)
{
	return a->memory == b->memory && same_string(a->kernel, b->kernel) &&
	       same_string(a->cmdline, b->cmdline) && same_string(a->initrd, b->initrd) &&
	       same_string(a->engine, b->engine) && a->verbose == b->verbose &&
	       a->no_reboot == b->no_reboot && a->host_decompress == b->host_decompress &&
	       a->perf_map == b->perf_map && a->escape == b->escape &&
	       same_string(a->platform, b->platform) && same_string(a->soft_disable, b->soft_disable) &&
	       same_devices(a, b);
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

static bool check_too_many(const char *option, unsigned count, enum options_result wanted)
{
	char *argv[CONFIG_MAX_DEVICES + 4] = { (char *)"lguest" };
	char err[OPTIONS_ERROR_SIZE];
	struct config cfg;
	bool ok;

	for (unsigned i = 0; i < count; i++)
		argv[1 + i] = (char *)option;
	argv[1 + count] = (char *)"64";
	argv[2 + count] = (char *)"k";
	ok = options_parse(&cfg, (int)count + 3, argv, err, sizeof(err)) == wanted;
	if (wanted == OPTIONS_BAD)
		ok = ok && strstr(err, ": too many devices (a guest has room for 30)") &&
		     strncmp(err, option, strlen(option)) == 0;
	options_release(&cfg);
	if (!ok)
		fprintf(stderr, "%s: %u devices fail: %s\n", __FILE__, count, err);
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

	failed += !check_too_many("--rng", CONFIG_MAX_DEVICES, OPTIONS_RUN);
	failed += !check_too_many("--block=f", CONFIG_MAX_DEVICES, OPTIONS_RUN);
	failed += !check_too_many("--rng", CONFIG_MAX_DEVICES + 1, OPTIONS_BAD);
	failed += !check_too_many("--block=f,serial=x", CONFIG_MAX_DEVICES + 1, OPTIONS_BAD);

	for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++)
		failed += !check(&expectations[i]);
	options_print_help(stdout);
	return failed != 0;
}
