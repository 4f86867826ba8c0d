/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a file as a disk: what it is, whether somebody else has it, how
 * large it is, and what it likes. Whatever cannot be used is told in one line
 * that says what to do about it.
 *
 * Locks are those of open file descriptions (OFD), on the whole file: they
 * last until the last descriptor is closed, so that no crash leaves one behind,
 * and QEMU's and qemu-img's locks on the same file are seen as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "host/disk_file.h"

static void warn(const struct disk_options *options, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void warn(const struct disk_options *options, const char *format, ...)
{
	char line[PATH_MAX + 200];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (options->warn)
		options->warn(options->warn_opaque, line);
}

/* ---- is it a disk? ---- */

static bool right_type(const char *path, mode_t mode, char *err, size_t errlen)
{
	const char *what;

	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK: return true;
	case S_IFDIR: what = "a directory"; break;
	case S_IFIFO: what = "a pipe"; break;
	case S_IFSOCK: what = "a socket"; break;
	default: what = "a character device"; break;
	}
	snprintf(err, errlen, "%s: is %s (an image file or a block device is wanted)", path, what);
	return false;
}

static void explain_open(const char *path, bool writable, int error, char *err, size_t errlen)
{
	const char *remedy = "";

	if (error == ENOENT)
		remedy = " (truncate -s 10G makes an empty image)";
	else if (error == EBUSY)
		remedy = " (mounted, or in use by another program; use ,ro or ,cow)";
	else if (writable && (error == EACCES || error == EPERM || error == EROFS))
		remedy = " for writing (use ,ro or ,cow)";
	snprintf(err, errlen, "%s: %s%s", path, strerror(error), remedy);
}

/* A descriptor of the right kind of file, or -1. */
static int open_path(const char *path, int flags, char *err, size_t errlen)
{
	struct stat st = { 0 };
	int fd;

	/* First, since opening a pipe waits and opening a tape rewinds it. */
	if (stat(path, &st) == 0 && !right_type(path, st.st_mode, err, errlen))
		return -1;
	/* A block device that is mounted, or part of something, is not for two (open(2), O_EXCL). */
	if (S_ISBLK(st.st_mode) && (flags & O_ACCMODE) == O_RDWR)
		flags |= O_EXCL;
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		explain_open(path, (flags & O_ACCMODE) == O_RDWR, errno, err, errlen);
	return fd;
}

/*
 * Linux has locks that belong to descriptors rather than to processes since
 * 3.15; flock() does the same on older hosts (EINVAL), though not over NFS, and each is
 * blind to the other. There, who has the lock shows when readers would get it.
 */
static int try_lock(int fd, bool writable, bool *by_writer)
{
	struct flock whole = { .l_type = writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };
	int error;

	if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	if (errno == EINVAL) {
		if (flock(fd, (writable ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
			return 0;
		error = errno;
		*by_writer = !writable || flock(fd, LOCK_SH | LOCK_NB) < 0;
		return error;
	}
	error = errno;
	whole = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET };
	*by_writer = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type == F_WRLCK;
	return error;
}

static bool lock(int fd, const char *path, bool writable, const struct disk_options *options, char *err,
		 size_t errlen)
{
	bool by_writer = false;
	int error = try_lock(fd, writable, &by_writer);

	if (error == 0)
		return true;
	if (error != EAGAIN && error != EACCES) {
		warn(options, "%s: cannot be locked (%s): see to it that nobody else uses it", path,
		     strerror(error));
		return true;
	}
	/* Any reader is in the way of a writer, but which of both it is the user wants to know. */
	if (by_writer)
		snprintf(err, errlen,
			 "%s: is in use as a writable disk, by another lguest, --block or program%s", path,
			 writable ? "" : " (even ,ro and ,cow want it to hold still)");
	else
		snprintf(err, errlen,
			 "%s: is in use as a read-only disk or below a ,cow (use ,ro or ,cow here, too)",
			 path);
	return false;
}

/* Whoever gives us one of these means what is inside. */
static bool raw_format(int fd, const char *path, char *err, size_t errlen)
{
	static const struct {
		char magic[9], name[6];
	} formats[] = {
		{ "QFI\xfb", "qcow2" }, { "KDMV", "vmdk" }, { "vhdxfile", "vhdx" }, { "<<< ", "vdi" }
	};
	char head[8] = "";

	if (pread(fd, head, sizeof(head), 0) < (ssize_t)sizeof(head))
		return true;
	for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (memcmp(head, formats[i].magic, strlen(formats[i].magic)) != 0)
			continue;
		snprintf(
			err, errlen,
			"%s: is a %s image (serve it with qemu-nbd --socket=/path/sock and use nbd+unix:///?socket=/path/sock)",
			path, formats[i].name);
		return false;
	}
	return true;
}

/* ---- what is it like? ---- */

static bool measure_device(struct file_disk *d, const char *path, char *err, size_t errlen)
{
	uint64_t size;
	int logical;
	unsigned physical, optimal;

	if (ioctl(d->fd, BLKGETSIZE64, &size) < 0 || ioctl(d->fd, BLKSSZGET, &logical) < 0) {
		snprintf(err, errlen, "%s: cannot learn its size: %s", path, strerror(errno));
		return false;
	}
	d->block_device = true;
	d->disk.size = size;
	d->disk.logical_block = (uint32_t)logical;
	d->disk.physical_block = (uint32_t)logical;
	if (ioctl(d->fd, BLKPBSZGET, &physical) == 0 && physical > d->disk.logical_block)
		d->disk.physical_block = physical;
	if (ioctl(d->fd, BLKIOOPT, &optimal) == 0)
		d->disk.optimal_io = optimal;
	return true;
}

static void measure_file(struct file_disk *d, const struct stat *st)
{
	struct statfs fs;

	d->disk.size = (uint64_t)st->st_size;
	/* Images have partition tables and file systems made for 512; what the file system likes is a hint. */
	d->disk.logical_block = DISK_SECTOR;
	d->disk.physical_block = 4096;
	d->in_memory = fstatfs(d->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static bool measure(struct file_disk *d, const char *path, const struct disk_options *options, char *err,
		    size_t errlen)
{
	struct stat st;
	uint64_t odd;

	if (fstat(d->fd, &st) < 0) {
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		return false;
	}
	if (S_ISBLK(st.st_mode)) {
		if (!measure_device(d, path, err, errlen))
			return false;
	} else {
		measure_file(d, &st);
	}
	d->data_size = d->disk.size;
	odd = d->disk.size % DISK_SECTOR;
	if (odd && d->disk.read_only) {
		/* All of it is of interest, for example when it is an archive: zeroes fill the last sector up. */
		d->disk.size += DISK_SECTOR - odd;
	} else if (odd) {
		/* Files do not grow because a guest writes. */
		warn(options, "%s: its last %u bytes are no whole sector, and out of the guest's reach", path,
		     (unsigned)odd);
		d->disk.size -= odd;
	}
	if (d->disk.size)
		return true;
	snprintf(err, errlen, "%s: is empty (truncate -s 10G makes it a disk)", path);
	return false;
}

/* ---- direct I/O ---- */

static bool open_direct(struct file_disk *d, const char *path, char *err, size_t errlen)
{
	char link[40];
	int flags = d->disk.read_only ? O_RDONLY : O_RDWR;

	/* The same file, whatever happened to its name; a lock belongs to the first descriptor. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", d->fd);
	d->buffered_fd = d->fd;
	d->fd = open(link, flags | O_DIRECT | O_CLOEXEC);
	if (d->fd < 0)
		goto fail;
	d->memory_align = d->offset_align = 4096;
	if (d->block_device)
		d->memory_align = d->offset_align = d->disk.logical_block;
#ifdef STATX_DIOALIGN
	struct statx sx = { 0 };

	if (statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && (sx.stx_mask & STATX_DIOALIGN)) {
		if (!sx.stx_dio_offset_align) {
			errno = EINVAL;
			goto fail;
		}
		d->memory_align = sx.stx_dio_mem_align;
		d->offset_align = sx.stx_dio_offset_align;
	}
#endif
	d->direct = true;
	return true;
fail:
	snprintf(err, errlen, "%s: its file system does not do direct I/O: %s (leave out ,direct)", path,
		 strerror(errno));
	return false;
}

/* ---- from a descriptor to a disk ---- */

static struct file_disk *new_disk(bool read_only)
{
	struct file_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->disk.ops = &disk_file_ops;
	d->disk.read_only = read_only;
	d->disk.discards = !read_only;
	d->fd = d->buffered_fd = -1;
	d->zero_mode[false] = ZERO_BY_RANGE;
	d->zero_mode[true] = ZERO_BY_PUNCHING;
	/* Who has written to the image before us may not have flushed it. */
	d->writes = 1;
	return d;
}

static bool start_aio(struct file_disk *d, const char *path, const struct disk_options *options,
		      const struct disk_client *client, char *err, size_t errlen)
{
	int error = 0;

	d->aio = aio_create(client, options->no_uring, &error);
	if (d->aio && d->block_device && !d->disk.read_only)
		d->slow = aio_threads_create(client, &error);
	if (d->aio && (d->slow || !d->block_device || d->disk.read_only))
		return true;
	snprintf(err, errlen, "%s: neither io_uring nor threads: %s", path, strerror(-error));
	return false;
}

struct disk *disk_file_open(const char *path, const struct disk_options *options,
			    const struct disk_client *client, char *err, size_t errlen)
{
	bool read_only = options->read_only || options->cow;
	struct file_disk *d = new_disk(read_only);

	if (!d) {
		snprintf(err, errlen, "%s: out of memory", path);
		return NULL;
	}
	d->fd = open_path(path, read_only ? O_RDONLY : O_RDWR, err, errlen);
	if (d->fd >= 0 && lock(d->fd, path, !read_only, options, err, errlen) &&
	    raw_format(d->fd, path, err, errlen) && measure(d, path, options, err, errlen) &&
	    (!options->direct || open_direct(d, path, err, errlen)) &&
	    start_aio(d, path, options, client, err, errlen))
		return &d->disk;
	disk_file_ops.destroy(&d->disk);
	return NULL;
}

/* A name, for a moment. */
static int named_temporary(const char *dir)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/lguest-XXXXXX", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

struct disk *disk_file_temporary(uint64_t size, const struct disk_options *options,
				 const struct disk_client *client, char *err, size_t errlen)
{
	const char *dir = getenv("TMPDIR");
	struct file_disk *d = new_disk(false);

	if (!dir || !*dir)
		dir = "/var/tmp"; /* on a disk, other than /tmp in many places */
	if (!d) {
		snprintf(err, errlen, "%s: out of memory", dir);
		return NULL;
	}
	d->fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	/* Kernels before 3.11 take it for an attempt to write to a directory; some file systems have none. */
	if (d->fd < 0 && (errno == EISDIR || errno == EOPNOTSUPP))
		d->fd = named_temporary(dir);
	if (d->fd < 0 || ftruncate(d->fd, (off_t)size) < 0)
		snprintf(
			err, errlen,
			"%s: cannot make a temporary file for what the guest writes: %s (TMPDIR names another directory)",
			dir, strerror(errno));
	else if (measure(d, dir, options, err, errlen) && start_aio(d, dir, options, client, err, errlen))
		return &d->disk;
	disk_file_ops.destroy(&d->disk);
	return NULL;
}

struct disk *disk_open(const char *path, const struct disk_options *options, const struct disk_client *client,
		       char *err, size_t errlen)
{
	struct disk *disk;

	if (strncmp(path, "nbd", 3) == 0 && strstr(path, "://"))
		disk = disk_nbd_open(path, options, client, err, errlen);
	else
		disk = disk_file_open(path, options, client, err, errlen);
	if (disk && options->cow)
		disk = disk_cow_open(disk, options, client, err, errlen);
	return disk;
}
