/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <stdio.h>

#include "virtio/devices.h"

static struct virtio_device *create(struct fuzz *f)
{
	char err[200];
	struct virtio_device *dev = virtio_rng_create(0, &f->d.env, err, sizeof(err));

	if (!dev)
		fprintf(stderr, "%s\n", err);
	return dev;
}

static void request(struct fuzz *f)
{
	struct driver_buf buf[3];
	unsigned count = 1 + fuzz_pick(f, 3);

	for (unsigned i = 0; i < count; i++)
		buf[i] = (struct driver_buf){ fuzz_buffer(f, 8192), (uint32_t)fuzz_take(f, 2) % 8192, true };
	fuzz_chain(f, 0, buf, count);
	virtio_notify(f->d.dev, 0);
}

const struct fuzz_target fuzz_target = { .create = create, .request = request, .lives = 64 };
