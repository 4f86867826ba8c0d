/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks of the host's side: a size, a few properties, and requests that are
 * answered by a callback, at once or later.
 *
 *   disk_file.c   a raw image or a block device of the host
 *   disk_cow.c    on top of another disk: writes go to a private temporary file
 *   disk_nbd.c    a server that speaks the network block device protocol
 *
 *   disk->ops->submit(disk, &req);    any number of times; may call req.done() at once
 *   disk->ops->kick(disk);            what was not done at once starts now
 *   ...                               client->wake() says that something is done
 *   disk->ops->reap(disk);            calls done() of what it is
 *
 * Who is quick enough is answered inside submit(), on the thread of the vCPU
 * that rang the doorbell: waking another thread costs more (20 us) than most
 * requests to a file that is in the host's page cache (1 to 60 us).
 *
 * Nothing that was written stays in this process: a write that is done is in
 * the host's page cache at least, so that it survives the death of lguest, and
 * a flush that is done is on the medium.
 *
 * The owner of a disk serialises all calls (virtio/block.c: the lock of the
 * device), on whatever thread. Only client->wake() comes without.
 */
#ifndef LGUEST_HOST_DISK_H
#define LGUEST_HOST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR 512u /* offsets and lengths are multiples of it */

struct disk;
struct eventloop;

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,   /* all writes that were done before it was submitted */
	DISK_DISCARD, /* what is there afterwards is anybody's guess, and costs nothing */
	DISK_ZERO,    /* reads as zero afterwards */
};

/* The submitter's, as well as @iov and what it points to, until done(). */
struct disk_request {
	enum disk_op op;
	bool unmap; /* DISK_ZERO: the space may be given back */
	uint64_t offset,
		length; /* bytes, inside the disk (the submitter has checked), length > 0 but for a flush */
	const struct iovec *iov; /* DISK_READ, DISK_WRITE: @length bytes in all. Never changed */
	unsigned count;          /* at most 1024 */
	/*
	 * @error: 0 or a negative errno. @req is the submitter's again. What is
	 * submitted from here needs a kick() later.
	 */
	void (*done)(struct disk_request *req, int error);
};

struct disk_ops {
	void (*submit)(struct disk *disk, struct disk_request *req);
	void (*kick)(struct disk *disk);
	/* Calls done() of all that is complete. */
	void (*reap)(struct disk *disk);
	/*
	 * Waits until nothing is in flight; all done() are called. Bounded by
	 * what the host's kernel needs; a server on the network gets some seconds.
	 */
	void (*drain)(struct disk *disk);
	/* Nothing is in flight. Main thread. */
	void (*destroy)(struct disk *disk);
};

/* Who is told that reap() has something to do. */
struct disk_client {
	struct eventloop *loop;
	void (*wake)(void *opaque); /* main thread */
	void *opaque;
};

struct disk {
	const struct disk_ops *ops;
	uint64_t size; /* bytes; a multiple of DISK_SECTOR, not 0 */
	bool read_only;
	bool discards; /* DISK_DISCARD may have an effect */
	/* What the guest should know to be fast (never what it must obey): powers of two. */
	uint32_t logical_block;  /* at least DISK_SECTOR */
	uint32_t physical_block; /* at least logical_block */
	uint32_t optimal_io;     /* bytes, 0: unknown */
};

struct disk_options {
	bool read_only, cow, direct;
	bool no_uring; /* threads even where io_uring works: for tests */
	/* Is told things that the user should know, one line without newline; may be NULL. */
	void (*warn)(void *opaque, const char *line);
	void *warn_opaque;
};

/*
 * Opens @path: a file, a block device, or an nbd URI. NULL, with one line
 * about it in @err, if it cannot be used. Main thread. A writable image is
 * locked against all others, one that is only read against writers.
 */
struct disk *disk_open(const char *path, const struct disk_options *options, const struct disk_client *client,
		       char *err, size_t errlen);

/* The kinds; disk_open() picks. */
struct disk *disk_file_open(const char *path, const struct disk_options *options,
			    const struct disk_client *client, char *err, size_t errlen);
struct disk *disk_nbd_open(const char *uri, const struct disk_options *options,
			   const struct disk_client *client, char *err, size_t errlen);
/* Takes @base over, also when it fails. */
struct disk *disk_cow_open(struct disk *base, const struct disk_options *options,
			   const struct disk_client *client, char *err, size_t errlen);
/* A disk of @size zero bytes in a file without a name, in $TMPDIR or /var/tmp. */
struct disk *disk_file_temporary(uint64_t size, const struct disk_options *options,
				 const struct disk_client *client, char *err, size_t errlen);

#endif
