/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks of all kinds for tests, in a directory of their own, and requests that
 * are waited for. Ends the program when the host refuses.
 */
#ifndef LGUEST_TESTS_HOST_DISK_FIXTURE_H
#define LGUEST_TESTS_HOST_DISK_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/disk.h"
#include "host/eventloop.h"

enum kind {
	KIND_URING,
	KIND_THREADS,
	KIND_DIRECT,
	KIND_DIRECT_THREADS,
	KIND_COW,
	KIND_NBD,
	KIND_NBD_COW,
	KINDS
};

struct fixture {
	char dir[64];
	char path[128]; /* of the image */
	struct eventloop loop;
	struct disk_client client;
	struct disk_options options;
	struct disk *disk;
	unsigned wakes, warnings;
	char err[400];
	char warning[400];
	pid_t server; /* of KIND_NBD, or 0 */
	char uri[200];
};

const char *kind_name(enum kind kind);
/* A directory, an image of @size bytes with byte i = pattern(i). */
void fixture_init(struct fixture *f, uint64_t size);
void fixture_destroy(struct fixture *f);
uint8_t pattern(uint64_t offset);

/* Opens f->path with f->options; false with f->err. */
bool fixture_open(struct fixture *f);
/* The same as @kind; false when the host lacks what it needs (a program, direct I/O). */
bool fixture_open_kind(struct fixture *f, enum kind kind);
void fixture_close(struct fixture *f);

/* Submits one request and waits for it: its error. */
int disk_do(struct fixture *f, enum disk_op op, uint64_t offset, uint64_t length, void *data);
/* The event loop until *@pending is 0. Fails the test after some seconds. */
void wait_for(struct fixture *f, const unsigned *pending);

#endif
