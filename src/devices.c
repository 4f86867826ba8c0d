/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio devices of the machine. They live as long as it does: a reset of
 * the guest resets their guest-visible side and leaves files and networks open,
 * so that a reboot cannot fail for want of something that was there before.
 */
#include "machine_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "virtio/devices.h"

static void on_warn(void *opaque, const char *line)
{
	machine_warn(opaque, line);
}

static void on_notice(void *opaque, const char *line)
{
	machine_notice(opaque, line);
}

/* @index counts devices of the same kind. */
static struct virtio_device *create(const struct device_config *cfg, unsigned index,
				    const struct virtio_env *env, char *err, size_t errlen)
{
	switch (cfg->kind) {
	case DEVICE_BLOCK: return virtio_block_create(&cfg->block, index, env, err, errlen);
	case DEVICE_NET: return virtio_net_create(&cfg->net, index, env, err, errlen);
	case DEVICE_RNG: return virtio_rng_create(index, env, err, errlen);
	}
	return NULL;
}

/* Takes @dev, also when it fails; NULL has failed already. */
static bool plug(struct machine *m, struct virtio_device *dev, const char *err)
{
	int error;

	if (!dev) {
		fprintf(stderr, "lguest: %s\n", err);
		return false;
	}
	m->device[m->devices++] = dev;
	error = m->platform->plug(m, dev);
	if (error)
		fprintf(stderr, "lguest: %s: cannot be plugged in: %s\n", dev->name,
			error == -ENOSPC ? "there are too many devices" : strerror(-error));
	return error == 0;
}

bool devices_create(struct machine *m)
{
	unsigned index[] = { [DEVICE_BLOCK] = 0, [DEVICE_NET] = 0, [DEVICE_RNG] = 0 };
	char err[512];

	m->env = (struct virtio_env){
		.ram = &m->memory, .loop = &m->loop, .warn = on_warn, .notice = on_notice, .opaque = m
	};
	for (unsigned i = 0; i < m->cfg->devices; i++) {
		const struct device_config *cfg = &m->cfg->device[i];

		if (!plug(m, create(cfg, index[cfg->kind]++, &m->env, err, sizeof(err)), err))
			return false;
	}
	/* Last, as in the original. */
	return plug(m, virtio_console_create(&m->console, &m->env, err, sizeof(err)), err);
}

void devices_reset(struct machine *m)
{
	for (unsigned i = 0; i < m->devices; i++)
		virtio_reset(m->device[i]);
}

void devices_destroy(struct machine *m)
{
	while (m->devices) {
		struct virtio_device *dev = m->device[--m->devices];

		dev->ops->destroy(dev);
	}
}
