/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the loader share. Whoever loads a guest has one struct boot_job for what he
 * finds out on the way; struct boot_loading, which it points to, lives on beside the guest
 * as long as there are files to read.
 */
#ifndef LGUEST_BOOT_JOB_H
#define LGUEST_BOOT_JOB_H

#include <asm/bootparam.h>

#include "boot/boot.h"
#include "memory.h"

/* Bytes of @packed_len at @packed_off of a file that unpack to the next BOOT_BLOCK bytes, or to the rest. */
struct boot_block {
	uint64_t packed_off;
	uint32_t packed_len;
};

#define BOOT_BLOCK      (8u << 20) /* of the legacy frame of lz4 (lz4_Frame_format.md, "Legacy frame") */
#define BOOT_PACKED_MAX (BOOT_BLOCK + BOOT_BLOCK / 255 + 16) /* LZ4_COMPRESSBOUND() */

/* Where a block is unpacked */
struct boot_space {
	uint8_t bytes[BOOT_BLOCK];
	uint8_t packed[BOOT_PACKED_MAX];
	struct boot_space *next;
};

/*
 * An image: a file, or bytes in memory. Everything reads through
 * boot_file_read() or comes to its place by boot_file_place(), so a file of 700 MB
 * with debug information never gets copied as a whole.
 */
struct boot_file {
	const char *name;    /* for messages */
	int fd;              /* -1: @data counts */
	const uint8_t *data; /* the same as @buffer, or whoever made this owns it */
	uint64_t size;
	/*
	 * With blocks, fd or data hold what has to be unpacked, @size is that of
	 * the result, and boot_file_read() unpacks.
	 */
	struct boot_block *block; /* owned */
	unsigned blocks;
	/*
	 * With a stream, data is filled from the beginning as far as boot_stream_until()
	 * was told to; boot_file_read() tells it.
	 */
	struct boot_stream *stream; /* owned */
	uint8_t *buffer;            /* owned, of @size: what data points to. Or NULL */
	bool borrowed;              /* fd is another one's */
};

/* A guest-physical range in use, end exclusive. @what is a string constant. */
struct boot_claim {
	uint64_t start, end;
	const char *what;
};

#define BOOT_MAX_CLAIMS 128

enum boot_mode { BOOT_MODE_LINUX64, BOOT_MODE_LINUX32, BOOT_MODE_PVH };

struct boot_job {
	struct guest_memory *mem;
	const struct boot_input *in;
	char *err;
	size_t errlen;

	unsigned nr_claims;
	struct boot_claim claim[BOOT_MAX_CLAIMS];

	/* Found out from the kernel image */
	enum boot_mode mode;
	uint64_t entry;          /* guest-physical */
	struct setup_header hdr; /* the image's own, or one made up for a vmlinux */
	uint64_t cmdline_max;    /* bytes without the NUL */

	uint64_t initrd_addr, initrd_size; /* size 0: none */

	/* Owns the files, and puts them into memory: at once or later. */
	struct boot_loading *loading;
};

/* Writes the message, returns -@error. */
int boot_fail(struct boot_job *job, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Fails because @what would need memory up to @end. */
int boot_fail_room(struct boot_job *job, const char *name, const char *what, uint64_t end);

/*
 * Takes [@addr, @addr + @size) of low RAM for @what. Fails, with a message that
 * begins with @name, when it is not all RAM or somebody has a part of it.
 */
int boot_claim(struct boot_job *job, const char *name, uint64_t addr, uint64_t size, const char *what);

/* file.c. Messages are complete; the caller only passes the error on. */
int boot_file_open(struct boot_job *job, struct boot_file *f, const char *name);
void boot_file_close(struct boot_file *f);
/* @what names the part for the message about a truncated file. */
int boot_file_check(struct boot_job *job, const struct boot_file *f, uint64_t off, uint64_t len,
		    const char *what);
int boot_file_read(struct boot_job *job, const struct boot_file *f, uint64_t off, void *buf, size_t len,
		   const char *what);
/*
 * Copies [@off, @off + @len) to @dst, guest memory that is zero: pages of
 * zeroes in the file are left alone, so that the host need not allocate them.
 * boot_file_check() was content. With blocks, the range lies in one of them and
 * @block has that; else it is NULL.
 */
int boot_file_copy(struct boot_job *job, const struct boot_file *f, const struct guest_memory *mem,
		   uint64_t off, uint8_t *dst, uint64_t len, const struct boot_space *block,
		   const char *what);
/* The first @want bytes of block @i, or all, to space->bytes. */
int boot_file_unpack(struct boot_job *job, const struct boot_file *f, unsigned i, size_t want,
		     struct boot_space *space);

/* decompress.c: unpacks up to @end, and with @end the size checks that it ends there. One at a time. */
int boot_stream_until(struct boot_job *job, struct boot_stream *s, uint64_t end);
void boot_stream_free(struct boot_stream *s);

/* ---- loading.c ---- */

enum boot_file_id { BOOT_KERNEL, BOOT_PAYLOAD, BOOT_INITRD, BOOT_FILES };

/*
 * Lends a space, from job->loading, which keeps it for the next one: its pages cost as much
 * as the unpacking. NULL: out of memory. Any thread.
 */
struct boot_space *boot_space_get(struct boot_job *job);
void boot_space_put(struct boot_job *job, struct boot_space *space);

struct boot_file *boot_loading_file(struct boot_loading *l, enum boot_file_id id);
/*
 * [@off, @off + @len) of the file will be at guest-physical @addr, which is
 * claimed, in low RAM and zero.
 */
int boot_file_place(struct boot_job *job, enum boot_file_id id, uint64_t off, uint64_t addr, uint64_t len,
		    const char *what);

/* NULL: out of memory. Free: ends the thread if there is one, closes the files. */
struct boot_loading *boot_loading_new(const struct guest_memory *mem);
void boot_loading_free(struct boot_loading *l);
/* All is noted: loads everything, or begins and lets @mem know. */
int boot_loading_all(struct boot_job *job);
int boot_loading_start(struct boot_job *job, struct guest_memory *mem);

/* load.c: makes job->loading and opens the files of job->in. boot_loading_free() is due also when it fails. */
int boot_open(struct boot_job *job);

/*
 * load.c: finds out what kind of kernel it is and loads that; puts the initrd
 * as high as hdr.initrd_addr_max and the claims allow.
 */
int boot_load_kernel(struct boot_job *job);
int boot_load_initrd(struct boot_job *job);

/* bzimage.c, elf.c: fill mode, entry, hdr, cmdline_max. */
int boot_load_bzimage(struct boot_job *job);
int boot_load_elf(struct boot_job *job, enum boot_file_id id);

/*
 * file.c: memory for a large image, zeroed. @advice: MADV_HUGEPAGE, for page faults would be a third
 * of the time of unpacking a kernel, or MADV_NOHUGEPAGE. Not malloc(), which likes to keep
 * such blocks: its pages go back to the host when it is freed. NULL when there is none.
 */
uint8_t *boot_buffer_new(size_t len, int advice);
void boot_buffer_free(uint8_t *buf, size_t len);

/*
 * decompress.c: makes @elf what is packed in [@off, @off + @len) of @f, which stays open: lz4 in
 * blocks, of which each can be unpacked by itself when its turn comes; the other formats as
 * streams. After an error as well @elf wants boot_file_close().
 */
int boot_open_payload(struct boot_job *job, const struct boot_file *f, uint64_t off, size_t len,
		      struct boot_file *elf);
/* What the bytes are packed with, by their magic, or NULL. */
const char *boot_compression_name(const uint8_t *in, size_t len);

/* e820.c: returns the number of entries, at most @max, or a negative errno with a message. */
int boot_memory_map(struct boot_job *job, struct boot_e820_entry *map, unsigned max);

/* params.c, pvh.c: write the structure that the kernel's entry point gets. */
int boot_write_params(struct boot_job *job);
int boot_write_pvh(struct boot_job *job);

/* entry.c: GDT, page tables, CPU state. */
void boot_cpu_state(struct boot_job *job, struct x86_state *state);

#endif
