/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line asked for, and how the program answers to its caller.
 * Filled by options.c, read by main.c and machine.c. Strings point into argv,
 * unless said otherwise.
 */
#ifndef LGUEST_CONFIG_H
#define LGUEST_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/tsc.h"

/* --block=FILE[,ro][,cow][,serial=NAME][,direct] */
struct block_config {
	char *path;      /* a file, a block device, or an nbd:// or nbd+unix:// URI; owned (malloc) */
	char serial[21]; /* empty: none given */
	bool read_only, cow, direct;
};

/* --tunnet=IP[:MAC], --tunnet=bridge:NAME[:MAC], --net=tap:NAME[,mac=MAC], --net=user[,hostfwd=...][,mac=MAC] */
enum net_kind { NET_TUN_IP, NET_TUN_BRIDGE, NET_TAP, NET_USER };
#define NET_MAX_FORWARDS 16
struct net_forward {
	bool udp;
	char host_addr[46]; /* empty: all addresses */
	uint16_t host_port, guest_port;
};
struct net_config {
	enum net_kind kind;
	uint32_t ip;   /* NET_TUN_IP: the host's address, host byte order */
	char name[16]; /* of the tap or the bridge */
	bool has_mac;
	uint8_t mac[6];
	struct net_forward forward[NET_MAX_FORWARDS];
	unsigned forwards;
};

/* Devices in command-line order. */
enum device_kind { DEVICE_BLOCK, DEVICE_NET, DEVICE_RNG };
#define CONFIG_MAX_DEVICES 30 /* PCI slots, less host bridge and console */
struct device_config {
	enum device_kind kind;
	union {
		struct block_config block;
		struct net_config net;
	};
};

/* Which keys end lguest, of the two that there are (tty.h). */
enum escape_keys { ESCAPE_BOTH, ESCAPE_CTRL_A, ESCAPE_INTERRUPTS, ESCAPE_NONE };

struct config {
	uint64_t memory;      /* bytes of guest RAM */
	const char *kernel;   /* path of the kernel image */
	const char *cmdline;  /* kernel command line, owned (malloc) */
	const char *initrd;   /* path or NULL */
	const char *engine;   /* "auto" or an engine's name */
	const char *platform; /* "pc" or "lguest" */
	bool verbose;
	bool no_reboot;           /* a guest reset ends lguest */
	bool host_decompress;     /* default true; --no-host-decompress */
	bool perf_map;            /* --perf-map: for perf(1) */
	const char *soft_disable; /* list of words, or NULL */
	uint64_t started;         /* when the program began, CLOCK_MONOTONIC in ns; set by main() */
	struct tsc_moment first;  /* of main(); zero: not known */
	unsigned escape;          /* enum escape_keys */
	struct device_config device[CONFIG_MAX_DEVICES];
	unsigned devices;
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
