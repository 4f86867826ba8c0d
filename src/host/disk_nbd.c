/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that another program serves, by the network block device protocol:
 * qemu-nbd for qcow2 and other formats, nbdkit for nearly everything else.
 * libnbd speaks the protocol; here is what it must be told.
 *
 * Requests go through memory of our own, never straight into the guest's: the
 * server may be slow or stop altogether, and a guest that resets its device
 * meanwhile wants its memory back. Long ones are cut into chunks, and there are
 * at most BUDGET bytes under way, so that a guest cannot make us use more.
 *
 *   submit(): queue -> pump(): chunks on their way -> chunk_done() ... -> done()
 *
 * libnbd calls chunk_done() while one of our calls to it is running. Nothing may
 * be handed to libnbd from there.
 *
 * A connection that ends fails all that is under way and all that comes later
 * with EIO, and that is all: the guest's file system knows what to do.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/eventloop.h"
#include "host/iov.h"

#define CHUNK_MAX  (1u << 20)
#define RANGE_MAX  (1u << 30) /* of one command without data */
#define BUDGET     (16u << 20)
#define CONNECT_S  20
#define PATIENCE_S 5 /* for what is under way when the guest resets the device */

/*
 * libnbd is loaded when it is wanted: it brings twenty other libraries along,
 * which would cost 4 ms at each start of lguest.
 */
#define LIBRARY "libnbd.so.0"
#define FUNCTIONS(X)             \
	X(nbd_aio_connect_uri)   \
	X(nbd_aio_disconnect)    \
	X(nbd_aio_flush)         \
	X(nbd_aio_get_direction) \
	X(nbd_aio_get_fd)        \
	X(nbd_aio_is_closed)     \
	X(nbd_aio_is_dead)       \
	X(nbd_aio_is_ready)      \
	X(nbd_aio_notify_read)   \
	X(nbd_aio_notify_write)  \
	X(nbd_aio_pread)         \
	X(nbd_aio_pwrite)        \
	X(nbd_aio_trim)          \
	X(nbd_aio_zero)          \
	X(nbd_can_flush)         \
	X(nbd_can_trim)          \
	X(nbd_can_zero)          \
	X(nbd_close)             \
	X(nbd_create)            \
	X(nbd_get_block_size)    \
	X(nbd_get_error)         \
	X(nbd_get_size)          \
	X(nbd_is_read_only)      \
	X(nbd_poll)              \
	X(nbd_set_pread_initialize)

struct library {
#define X(name) __typeof__(name) *name;
	FUNCTIONS(X)
#undef X
};

/* Stays loaded until the end: not all of those libraries can be unloaded. */
static bool load_library(struct library *lib, char *err, size_t errlen)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		snprintf(err, errlen, "%s (Debian's package libnbd0 has it)", dlerror());
		return false;
	}
#define X(name) lib->name = (__typeof__(name) *)dlsym(handle, #name);
	FUNCTIONS(X)
#undef X
#define X(name) || !lib->name
	if (false FUNCTIONS(X)) {
		snprintf(err, errlen, LIBRARY " is too old (1.14 will do)");
		return false;
	}
#undef X
	return true;
}

struct nbd_request {
	struct disk_request *req;
	struct nbd_request *next;
	uint64_t sent;    /* bytes that are on their way or done */
	unsigned pending; /* chunks, and one for being in the queue */
	int error;
};

struct nbd_disk {
	struct disk disk;
	struct disk_client client;
	struct library lib;
	struct nbd_handle *nbd;
	struct event_source source; /* a duplicate: libnbd closes its descriptor when it likes */
	bool registered;
	bool can_flush, can_zero;
	uint32_t chunk_max;
	struct nbd_request *first, *last; /* not all of it sent yet */
	unsigned in_flight;               /* chunks */
	size_t in_flight_bytes;
};

/* One command of the protocol. */
struct chunk {
	struct nbd_disk *disk;
	struct nbd_request *r;
	uint64_t at; /* in the request */
	size_t len;
	uint8_t data[];
};

/* ---- requests and their chunks ---- */

static void put(struct nbd_request *r, int error)
{
	struct disk_request *req = r->req;

	if (error && !r->error)
		r->error = error;
	if (--r->pending)
		return;
	error = r->error;
	free(r);
	req->done(req, error);
}

static int chunk_done(void *opaque, int *error)
{
	struct chunk *c = opaque;
	struct nbd_disk *d = c->disk;
	struct disk_request *req = c->r->req;

	if (!*error && req->op == DISK_READ)
		iov_write(req->iov, req->count, c->at, c->data, c->len);
	d->in_flight--;
	d->in_flight_bytes -= c->len;
	/* Whatever the server says or does not say any more, a disk has errors of one kind. */
	put(c->r, *error == ENOSPC ? -ENOSPC : *error ? -EIO : 0);
	free(c);
	return 1; /* libnbd need not keep the result */
}

static bool has_data(const struct nbd_disk *d, const struct disk_request *req)
{
	return req->op == DISK_READ || req->op == DISK_WRITE || (req->op == DISK_ZERO && !d->can_zero);
}

static int64_t issue(struct nbd_disk *d, struct chunk *c)
{
	struct disk_request *req = c->r->req;
	uint64_t offset = req->offset + c->at;
	uint64_t rest = req->length - c->at;
	nbd_completion_callback done = { .callback = chunk_done, .user_data = c };

	if (rest > RANGE_MAX)
		rest = RANGE_MAX;
	switch (req->op) {
	case DISK_READ: return d->lib.nbd_aio_pread(d->nbd, c->data, c->len, offset, done, 0);
	case DISK_WRITE:
		iov_read(req->iov, req->count, c->at, c->data, c->len);
		return d->lib.nbd_aio_pwrite(d->nbd, c->data, c->len, offset, done, 0);
	case DISK_FLUSH: return d->lib.nbd_aio_flush(d->nbd, done, 0);
	case DISK_DISCARD: return d->lib.nbd_aio_trim(d->nbd, rest, offset, done, 0);
	case DISK_ZERO: break;
	}
	if (d->can_zero)
		return d->lib.nbd_aio_zero(d->nbd, rest, offset, done,
					   req->unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
	memset(c->data, 0, c->len);
	return d->lib.nbd_aio_pwrite(d->nbd, c->data, c->len, offset, done, 0);
}

/* Sends the next piece of @r; false when it has to wait. */
static bool send_chunk(struct nbd_disk *d, struct nbd_request *r)
{
	struct disk_request *req = r->req;
	uint64_t rest = req->length - r->sent;
	size_t len = 0;
	struct chunk *c;

	if (has_data(d, req))
		len = rest < d->chunk_max ? rest : d->chunk_max;
	if (len && d->in_flight_bytes && d->in_flight_bytes + len > BUDGET)
		return false;
	c = malloc(sizeof(*c) + len);
	if (!c) {
		r->error = -ENOMEM;
		r->sent = req->length;
		return true;
	}
	*c = (struct chunk){ .disk = d, .r = r, .at = r->sent, .len = len };
	r->sent += len ? len : rest < RANGE_MAX ? rest : RANGE_MAX;
	r->pending++;
	d->in_flight++;
	d->in_flight_bytes += len;
	if (issue(d, c) < 0) {
		int error = EIO;

		chunk_done(c, &error);
		r->sent = req->length;
	}
	return true;
}

/* Hands libnbd as much as may be under way. Never from chunk_done(). */
static void pump(struct nbd_disk *d)
{
	uint32_t events = EPOLLIN | EPOLLONESHOT;

	while (d->first) {
		struct nbd_request *r = d->first;

		/* At least once, since a flush has no bytes. */
		do {
			if (!send_chunk(d, r))
				goto out;
		} while (r->sent < r->req->length);
		d->first = r->next;
		put(r, 0);
	}
out:
	/* One shot, since a dead connection is readable for ever. */
	if (d->lib.nbd_aio_is_dead(d->nbd) > 0 || d->lib.nbd_aio_is_closed(d->nbd) > 0)
		return;
	if (d->lib.nbd_aio_get_direction(d->nbd) & LIBNBD_AIO_DIRECTION_WRITE)
		events |= EPOLLOUT;
	eventloop_rearm(d->client.loop, &d->source, events);
}

static void nbd_submit(struct disk *disk, struct disk_request *req)
{
	struct nbd_disk *d = (struct nbd_disk *)disk;
	struct nbd_request *r;

	if (req->op == DISK_FLUSH && !d->can_flush) {
		req->done(req, 0);
		return;
	}
	r = malloc(sizeof(*r));
	if (!r) {
		req->done(req, -ENOMEM);
		return;
	}
	*r = (struct nbd_request){ .req = req, .pending = 1 };
	if (d->first)
		d->last->next = r;
	else
		d->first = r;
	d->last = r;
}

static void nbd_kick(struct disk *disk)
{
	struct nbd_disk *d = (struct nbd_disk *)disk;

	if (d->first)
		pump(d);
}

/* Lets libnbd do what its descriptor is ready for, after at most @timeout ms. */
static void progress(struct nbd_disk *d, int timeout)
{
	unsigned direction = d->lib.nbd_aio_get_direction(d->nbd);
	struct pollfd fd = { .fd = d->source.fd };

	if (direction & LIBNBD_AIO_DIRECTION_READ)
		fd.events |= POLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		fd.events |= POLLOUT;
	if (!fd.events || poll(&fd, 1, timeout) <= 0)
		return;
	/* Their results show in the state and in what chunk_done() was told. */
	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (fd.revents & (POLLIN | POLLHUP | POLLERR)))
		d->lib.nbd_aio_notify_read(d->nbd);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (fd.revents & (POLLOUT | POLLERR)))
		d->lib.nbd_aio_notify_write(d->nbd);
}

static void nbd_reap(struct disk *disk)
{
	struct nbd_disk *d = (struct nbd_disk *)disk;

	progress(d, 0);
	pump(d);
}

static void nbd_drain(struct disk *disk)
{
	struct nbd_disk *d = (struct nbd_disk *)disk;
	struct timespec now, begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	pump(d);
	while (d->first || d->in_flight) {
		progress(d, 100);
		pump(d);
		clock_gettime(CLOCK_MONOTONIC, &now);
		/* The socket is the same one, and libnbd takes that for the end. */
		if (now.tv_sec - begin.tv_sec > PATIENCE_S)
			shutdown(d->source.fd, SHUT_RDWR);
	}
}

static void nbd_destroy(struct disk *disk)
{
	struct nbd_disk *d = (struct nbd_disk *)disk;

	if (d->registered)
		eventloop_remove(d->client.loop, &d->source);
	if (d->nbd && d->lib.nbd_aio_is_ready(d->nbd) > 0)
		d->lib.nbd_aio_disconnect(d->nbd, 0);
	if (d->nbd)
		d->lib.nbd_close(d->nbd);
	if (d->source.fd >= 0)
		close(d->source.fd);
	free(d);
}

static const struct disk_ops nbd_ops = {
	.submit = nbd_submit,
	.kick = nbd_kick,
	.reap = nbd_reap,
	.drain = nbd_drain,
	.destroy = nbd_destroy,
};

/* ---- opening ---- */

static void on_ready(void *opaque, uint32_t events)
{
	struct nbd_disk *d = opaque;

	d->client.wake(d->client.opaque);
}

/* @err gets the rest of the line. */
static bool connect_uri(struct nbd_disk *d, const char *uri, char *err, size_t errlen)
{
	struct timespec now, begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (d->lib.nbd_aio_connect_uri(d->nbd, uri) < 0)
		goto fail;
	while (d->lib.nbd_aio_is_ready(d->nbd) <= 0) {
		if (d->lib.nbd_aio_is_dead(d->nbd) > 0 || d->lib.nbd_aio_is_closed(d->nbd) > 0)
			goto fail;
		if (d->lib.nbd_poll(d->nbd, 1000) < 0)
			goto fail;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - begin.tv_sec > CONNECT_S) {
			snprintf(err, errlen, "the server does not answer");
			return false;
		}
	}
	return true;
fail:
	snprintf(err, errlen, "%s",
		 d->lib.nbd_get_error() ? d->lib.nbd_get_error() : "the connection was closed");
	return false;
}

static bool power_of_two(int64_t n)
{
	return n > 0 && !(n & (n - 1));
}

static bool measure(struct nbd_disk *d, const struct disk_options *options, char *err, size_t errlen)
{
	bool read_only = options->read_only || options->cow;
	int64_t size = d->lib.nbd_get_size(d->nbd);
	int64_t minimum = d->lib.nbd_get_block_size(d->nbd, LIBNBD_SIZE_MINIMUM);
	int64_t preferred = d->lib.nbd_get_block_size(d->nbd, LIBNBD_SIZE_PREFERRED);
	int64_t maximum = d->lib.nbd_get_block_size(d->nbd, LIBNBD_SIZE_MAXIMUM);

	if (size < (int64_t)DISK_SECTOR) {
		snprintf(err, errlen, "the server's disk is smaller than a sector");
		return false;
	}
	if (!read_only && d->lib.nbd_is_read_only(d->nbd) > 0) {
		snprintf(err, errlen, "the server serves it for reading only (use ,ro or ,cow)");
		return false;
	}
	d->disk.read_only = read_only;
	d->disk.logical_block = DISK_SECTOR;
	if (power_of_two(minimum) && minimum > DISK_SECTOR && minimum <= 65536)
		d->disk.logical_block = (uint32_t)minimum;
	d->disk.physical_block = d->disk.logical_block;
	if (power_of_two(preferred) && preferred > d->disk.physical_block && preferred <= 65536)
		d->disk.physical_block = (uint32_t)preferred;
	d->disk.size = (uint64_t)size & ~(uint64_t)(d->disk.logical_block - 1);
	d->disk.discards = !read_only && d->lib.nbd_can_trim(d->nbd) > 0;
	d->can_flush = d->lib.nbd_can_flush(d->nbd) > 0;
	d->can_zero = d->lib.nbd_can_zero(d->nbd) > 0;
	d->chunk_max = CHUNK_MAX;
	if (maximum >= (int64_t)DISK_SECTOR && maximum < CHUNK_MAX)
		d->chunk_max = (uint32_t)maximum & ~(d->disk.logical_block - 1);
	return true;
}

static bool watch(struct nbd_disk *d, char *err, size_t errlen)
{
	int error;

	d->source = (struct event_source){ .fd = fcntl(d->lib.nbd_aio_get_fd(d->nbd), F_DUPFD_CLOEXEC, 0),
					   .ready = on_ready,
					   .opaque = d };
	error = d->source.fd < 0 ? -errno : eventloop_add(d->client.loop, &d->source, EPOLLIN | EPOLLONESHOT);
	d->registered = error == 0;
	if (error)
		snprintf(err, errlen, "cannot wait for the server: %s", strerror(-error));
	return error == 0;
}

struct disk *disk_nbd_open(const char *uri, const struct disk_options *options,
			   const struct disk_client *client, char *err, size_t errlen)
{
	struct nbd_disk *d = calloc(1, sizeof(*d));
	char why[256] = "out of memory";

	if (!d)
		goto fail;
	d->disk.ops = &nbd_ops;
	d->client = *client;
	d->source.fd = -1;
	if (options->direct) {
		snprintf(why, sizeof(why), "direct is for files (the server decides how it reads its own)");
		goto fail;
	}
	if (!load_library(&d->lib, why, sizeof(why)))
		goto fail;
	d->nbd = d->lib.nbd_create();
	if (!d->nbd)
		goto fail;
	/* Memory that a failed read leaves as it was is never looked at. */
	d->lib.nbd_set_pread_initialize(d->nbd, false);
	if (connect_uri(d, uri, why, sizeof(why)) && measure(d, options, why, sizeof(why)) &&
	    watch(d, why, sizeof(why)))
		return &d->disk;
fail:
	if (d)
		nbd_destroy(&d->disk);
	snprintf(err, errlen, "%s: %s", uri, why);
	return NULL;
}
