/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How each device comes into being: from its part of struct config and the
 * machine's environment to a struct virtio_device with all host resources
 * open. On failure NULL, with one line in @err: what, why, and the remedy.
 * Main thread, before the guest runs. Ended by dev->ops->destroy(dev).
 */
#ifndef LGUEST_VIRTIO_DEVICES_H
#define LGUEST_VIRTIO_DEVICES_H

#include <stddef.h>

struct block_config;
struct net_config;
struct console;
struct virtio_device;
struct virtio_env;

/* @index counts devices of this kind from 0: names ("block0"), default MAC addresses, serials. */
struct virtio_device *virtio_block_create(const struct block_config *cfg, unsigned index,
					  const struct virtio_env *env, char *err, size_t errlen);
struct virtio_device *virtio_net_create(const struct net_config *cfg, unsigned index,
					const struct virtio_env *env, char *err, size_t errlen);
struct virtio_device *virtio_rng_create(unsigned index, const struct virtio_env *env, char *err,
					size_t errlen);
/* @console is the machine's terminal, which outlives the device. */
struct virtio_device *virtio_console_create(struct console *console, const struct virtio_env *env, char *err,
					    size_t errlen);
/* For tests, which cannot wait: the driver has had the time that it gets before the first input. */
void virtio_console_settle(struct virtio_device *dev);

#endif
