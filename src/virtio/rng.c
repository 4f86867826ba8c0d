/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-rng (virtio 1.2, 5.4), the smallest device there is, and so the one
 * to read first: one queue, no features, no configuration. The driver puts up
 * empty buffers, the device fills them with random numbers of the host's kernel.
 *
 * getrandom(2) takes 2 us for 256 bytes, less than waking up another thread:
 * the work is done on the vCPU's thread, in notify(). A request may be answered
 * with fewer bytes than it has room for (5.4.6), which keeps a guest that asks
 * for megabytes from spending all of its time there with the device's lock held.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "virtio/device.h"
#include "virtio/devices.h"

#define REQUEST_MAX 4096 /* bytes per request */
#define PIECES_MAX  64   /* of one request */

struct rng {
	struct virtio_device dev;
	int urandom; /* /dev/urandom on hosts without getrandom(2), before Linux 3.17; else -1 */
};

/* How many bytes it gave: all, unless the host's kernel refuses. */
static size_t fill(const struct rng *rng, uint8_t *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = rng->urandom < 0 ? getrandom(to + done, len - done, 0)
					     : read(rng->urandom, to + done, len - done);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR) /* our timer's signal, above 256 bytes */
			break;
	}
	return done;
}

/* How many bytes were written into the pieces of @chain. */
static uint32_t serve(const struct rng *rng, const struct virtq_chain *chain)
{
	const struct iovec *iov = chain->iov + chain->out_count;
	size_t done = 0;

	for (unsigned i = 0; i < chain->in_count && done < REQUEST_MAX; i++) {
		size_t len = iov[i].iov_len, n;

		if (len > REQUEST_MAX - done)
			len = REQUEST_MAX - done;
		n = fill(rng, iov[i].iov_base, len);
		done += n;
		if (n < len)
			break;
	}
	return (uint32_t)done;
}

static void rng_notify(struct virtio_device *dev, unsigned queue)
{
	struct iovec iov[PIECES_MAX];
	struct virtq_chain chain = { .iov = iov, .capacity = PIECES_MAX };

	while (virtio_pop(dev, queue, &chain) > 0) {
		/* 5.4.6.1 */
		if (chain.out_count || !chain.in_count) {
			virtio_break(dev, queue, "a request that is not all writable");
			return;
		}
		virtq_push(&dev->queue[queue], &chain, serve((const struct rng *)dev, &chain));
	}
	virtio_flush(dev, queue);
}

/* Nothing is ever under way when notify() has returned. */
static void rng_start(struct virtio_device *dev)
{
}

static void rng_stop(struct virtio_device *dev)
{
}

static void rng_destroy(struct virtio_device *dev)
{
	struct rng *rng = (struct rng *)dev;

	virtio_fini(dev);
	if (rng->urandom >= 0)
		close(rng->urandom);
	free(rng);
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.queues = 1,
	.start = rng_start,
	.stop = rng_stop,
	.notify = rng_notify,
	.destroy = rng_destroy,
};

struct virtio_device *virtio_rng_create(unsigned index, const struct virtio_env *env, char *err,
					size_t errlen)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	char name[16], byte;

	if (!rng) {
		snprintf(err, errlen, "--rng: %s", strerror(ENOMEM));
		return NULL;
	}
	rng->urandom = -1;
	if (getrandom(&byte, 1, GRND_NONBLOCK) < 0 && errno == ENOSYS) {
		rng->urandom = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
		if (rng->urandom < 0) {
			snprintf(err, errlen, "--rng: /dev/urandom: %s", strerror(errno));
			free(rng);
			return NULL;
		}
	}
	snprintf(name, sizeof(name), "rng%u", index);
	virtio_init(&rng->dev, &rng_ops, env, name, 0, 0, VIRTQ_DEFAULT_SIZE);
	return &rng->dev;
}
