/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes that lie in several pieces (struct iovec), seen as one row. How they
 * are cut says nothing; an end of the pieces before the end of the row is no
 * error: iov_read() and iov_write() return how many bytes they moved.
 */
#ifndef LGUEST_HOST_IOV_H
#define LGUEST_HOST_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* From [@offset, @offset + @len) of @iov to @buf. */
size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len);
/* From @buf to [@offset, ...) of @iov. */
size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len);
/*
 * Cuts @drop bytes off the front, in place: returns the first element that is
 * left and stores how many there are in *@count.
 */
struct iovec *iov_skip(struct iovec *iov, unsigned *count, size_t drop);
/* Describes [@from, @from + @len) of @iov in @to, which has room for @count pieces; how many that took. */
unsigned iov_slice(const struct iovec *iov, unsigned count, size_t from, size_t len, struct iovec *to);

#endif
