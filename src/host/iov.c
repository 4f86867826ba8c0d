/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len)
{
	uint8_t *to = buf;
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t piece;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		piece = iov[i].iov_len - offset;
		if (piece > len - done)
			piece = len - done;
		memcpy(to + done, (const uint8_t *)iov[i].iov_base + offset, piece);
		done += piece;
		offset = 0;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t piece;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		piece = iov[i].iov_len - offset;
		if (piece > len - done)
			piece = len - done;
		memcpy((uint8_t *)iov[i].iov_base + offset, from + done, piece);
		done += piece;
		offset = 0;
	}
	return done;
}

struct iovec *iov_skip(struct iovec *iov, unsigned *count, size_t drop)
{
	while (*count && drop >= iov->iov_len) {
		drop -= iov->iov_len;
		iov++;
		(*count)--;
	}
	if (*count && drop) {
		iov->iov_base = (uint8_t *)iov->iov_base + drop;
		iov->iov_len -= drop;
	}
	return iov;
}

unsigned iov_slice(const struct iovec *iov, unsigned count, size_t from, size_t len, struct iovec *to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count && len; i++) {
		size_t piece = iov[i].iov_len;

		if (from >= piece) {
			from -= piece;
			continue;
		}
		piece -= from;
		if (piece > len)
			piece = len;
		to[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + from, piece };
		from = 0;
		len -= piece;
	}
	return n;
}
