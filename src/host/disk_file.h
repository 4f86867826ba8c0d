/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What opening a file as a disk (disk_open.c) and using it (disk_file.c)
 * share. For nobody else.
 */
#ifndef LGUEST_HOST_DISK_FILE_H
#define LGUEST_HOST_DISK_FILE_H

#include "host/aio.h"
#include "host/disk.h"

/* How zeroes get there, from the cheapest way to the one that always works. */
enum zero_mode {
	ZERO_BY_PUNCHING, /* only when the space may be given back */
	ZERO_BY_RANGE,
	ZERO_BY_WRITING,
};

struct file_disk {
	struct disk disk;
	int fd;          /* owned; O_DIRECT with @direct */
	int buffered_fd; /* owned; with @direct: the same file for requests that are not aligned; else -1 */
	bool direct, block_device;
	bool in_memory;                      /* tmpfs: reads need not ask whether they would wait */
	bool no_nowait;                      /* the file system cannot say whether they would */
	uint32_t memory_align, offset_align; /* with @direct */
	uint64_t data_size;                  /* what is in the file, at most disk.size: zeroes follow */
	struct aio *aio;
	struct aio *slow; /* block devices: for AIO_DISCARD; else NULL */

	/* Counts changes, and how many of them a flush has covered. */
	uint64_t writes, flushed;
	uint64_t batch;       /* bytes asked for inside submit() since the last kick() */
	uint64_t avoid_until; /* CLOCK_MONOTONIC: no writes inside submit() before */
	unsigned watched;     /* writes to be watched more closely */
	int zero_mode[2];     /* enum zero_mode to begin with, without and with @unmap */
	uint8_t *zeroes;      /* owned, NULL until needed */
};

extern const struct disk_ops disk_file_ops;

#endif
