/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a device (virtio 1.2, 2.1, 3.1):
 *
 *   reset -> ACKNOWLEDGE -> DRIVER -> features -> FEATURES_OK -> queues
 *         -> DRIVER_OK: start() ... notify() ... -> reset: stop()
 *
 * A driver that leaves out a step does not get the next one: the bit that it
 * writes does not stick. One that breaks the rules of a queue makes the device
 * stop and ask for a reset (NEEDS_RESET, 2.1.2), which costs one line on the
 * user's terminal and nothing else.
 */
#include "virtio/device.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

/* The guest may break a device and reset it for ever; the user's terminal is not the guest's. */
#define MAX_WARNINGS 5

#define OUR_FEATURES                                                             \
	(1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX | \
	 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_ANY_LAYOUT)

/* What the driver may write into the status; NEEDS_RESET is ours. */
#define DRIVER_BITS                                                                           \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

static bool bit(uint64_t features, unsigned which)
{
	return features >> which & 1;
}

/* ---- for devices ---- */

void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const struct virtio_env *env,
		 const char *name, uint64_t features, unsigned config_len, uint16_t queue_size)
{
	assert(ops->queues <= VIRTIO_MAX_QUEUES && config_len <= VIRTIO_CONFIG_MAX);
	assert(queue_size && queue_size <= VIRTQ_MAX_SIZE && !(queue_size & (queue_size - 1)));

	memset(dev, 0, sizeof(*dev));
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->env = env;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	dev->device_features = features | OUR_FEATURES;
	dev->config_len = config_len;
	for (unsigned i = 0; i < ops->queues; i++)
		virtq_init(&dev->queue[i], env->ram, queue_size);
}

void virtio_fini(struct virtio_device *dev)
{
	pthread_mutex_destroy(&dev->lock);
}

bool virtio_has(const struct virtio_device *dev, unsigned feature_bit)
{
	/* Drivers from before version 1 say DRIVER_OK only. */
	return (dev->s.status & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)) &&
	       bit(dev->s.driver_features, feature_bit);
}

int virtio_pop(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain)
{
	struct virtq *vq = &dev->queue[queue];
	int ret;

	if (!dev->running)
		return vq->broken ? -EPROTO : 0;
	ret = virtq_pop(vq, chain);
	if (ret < 0)
		virtio_break(dev, queue, vq->broken);
	return ret;
}

void virtio_flush(struct virtio_device *dev, unsigned queue)
{
	if (dev->running && virtq_wants_interrupt(&dev->queue[queue]))
		dev->transport.interrupt(dev->transport.transport, queue);
}

static void stop(struct virtio_device *dev)
{
	if (!dev->running)
		return;
	/* First, so that what stop() still completes interrupts nobody. */
	dev->running = false;
	dev->ops->stop(dev);
}

static void warn(struct virtio_device *dev, unsigned queue, const char *reason)
{
	char line[160];

	if (dev->warnings > MAX_WARNINGS)
		return;
	if (dev->warnings++ < MAX_WARNINGS)
		snprintf(line, sizeof(line), "%s: queue %u: %s (the device waits for the guest to reset it)",
			 dev->name, queue, reason);
	else
		snprintf(line, sizeof(line), "%s: further warnings are left out", dev->name);
	if (dev->env->warn)
		dev->env->warn(dev->env->opaque, line);
}

static void tell_config_changed(struct virtio_device *dev)
{
	/* Not before DRIVER_OK (3.1.1, 2.1.2). */
	if ((dev->s.status & VIRTIO_CONFIG_S_DRIVER_OK) && dev->transport.config_changed)
		dev->transport.config_changed(dev->transport.transport);
}

void virtio_break(struct virtio_device *dev, unsigned queue, const char *reason)
{
	if (dev->s.status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	dev->queue[queue].broken = reason;
	dev->s.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	warn(dev, queue, reason);
	stop(dev);
	tell_config_changed(dev);
}

void virtio_config_change(struct virtio_device *dev)
{
	dev->s.config_generation++;
	tell_config_changed(dev);
}

/* ---- status and features ---- */

static void reset(struct virtio_device *dev)
{
	stop(dev);
	dev->s = (struct virtio_state){ 0 };
	for (unsigned i = 0; i < dev->ops->queues; i++)
		virtq_reset(&dev->queue[i]);
}

static bool enable(struct virtio_device *dev, unsigned queue)
{
	struct virtq *vq = &dev->queue[queue];
	uint64_t features = dev->s.driver_features;

	if (virtq_enable(vq, bit(features, VIRTIO_RING_F_EVENT_IDX),
			 bit(features, VIRTIO_RING_F_INDIRECT_DESC)))
		return true;
	virtio_break(dev, queue, vq->broken);
	return false;
}

static bool features_ok(const struct virtio_device *dev, bool legacy)
{
	if (dev->s.driver_features & ~dev->device_features)
		return false;
	return legacy || bit(dev->s.driver_features, VIRTIO_F_VERSION_1);
}

/* DRIVER_OK */
static void start(struct virtio_device *dev)
{
	/* Queues may have been enabled before the features were settled (all old drivers do). */
	for (unsigned i = 0; i < dev->ops->queues; i++) {
		if (!dev->queue[i].s.enabled)
			continue;
		if (!enable(dev, i))
			return;
		virtq_suppress(&dev->queue[i], false);
	}
	dev->running = true;
	dev->ops->start(dev);

	/* What came before DRIVER_OK was not listened to. */
	for (unsigned i = 0; i < dev->ops->queues; i++)
		if (dev->running && virtq_has_work(&dev->queue[i]))
			dev->ops->notify(dev, i);
}

static void set_status(struct virtio_device *dev, uint8_t status, bool legacy)
{
	const uint8_t found = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	uint8_t added = status & DRIVER_BITS & ~dev->s.status;

	/* 2.2.2, 3.1.1: each step wants the one before, in the same write at the latest. */
	if (((dev->s.status | added) & found) != found)
		added &= ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !features_ok(dev, legacy))
		added &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!legacy && !((dev->s.status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	dev->s.status |= added;

	/* The driver has given up: nothing of its memory is safe to touch. */
	if (added & VIRTIO_CONFIG_S_FAILED)
		stop(dev);
	if (!(added & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	/* Old drivers are not asked again whether their features will do. */
	dev->s.driver_features &= dev->device_features;
	if (!(dev->s.status & (VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET)))
		start(dev);
}

uint8_t virtio_get_status(struct virtio_device *dev)
{
	uint8_t status;

	virtio_lock(dev);
	status = dev->s.status;
	virtio_unlock(dev);
	return status;
}

void virtio_set_status(struct virtio_device *dev, uint8_t status, bool legacy)
{
	virtio_lock(dev);
	if (status == 0)
		reset(dev);
	else
		set_status(dev, status, legacy);
	virtio_unlock(dev);
}

void virtio_reset(struct virtio_device *dev)
{
	virtio_set_status(dev, 0, false);
}

static uint32_t half(uint64_t features, unsigned select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

uint32_t virtio_get_device_features(struct virtio_device *dev, unsigned select)
{
	return half(dev->device_features, select); /* never changes */
}

uint32_t virtio_get_driver_features(struct virtio_device *dev, unsigned select)
{
	uint32_t val;

	virtio_lock(dev);
	val = half(dev->s.driver_features, select);
	virtio_unlock(dev);
	return val;
}

void virtio_set_driver_features(struct virtio_device *dev, unsigned select, uint32_t val)
{
	if (select > 1)
		return;
	virtio_lock(dev);
	if (!(dev->s.status & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK))) {
		dev->s.driver_features &= ~(0xffffffffull << (32 * select));
		dev->s.driver_features |= (uint64_t)val << (32 * select);
	}
	virtio_unlock(dev);
}

/* ---- queues ---- */

void virtio_queue_set(struct virtio_device *dev, unsigned queue, enum virtio_queue_field field, uint64_t val)
{
	struct virtq_state *s;

	if (queue >= dev->ops->queues)
		return;
	virtio_lock(dev);
	s = &dev->queue[queue].s;
	if (!s->enabled && !(dev->s.status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		switch (field) {
		case VIRTIO_QUEUE_SIZE: s->size = val <= VIRTQ_MAX_SIZE ? (uint16_t)val : 0; break;
		case VIRTIO_QUEUE_DESC: s->desc = val; break;
		case VIRTIO_QUEUE_AVAIL: s->avail = val; break;
		case VIRTIO_QUEUE_USED: s->used = val; break;
		}
	}
	virtio_unlock(dev);
}

struct virtq_state virtio_queue_get(struct virtio_device *dev, unsigned queue)
{
	struct virtq_state s = { 0 };

	if (queue >= dev->ops->queues)
		return s;
	virtio_lock(dev);
	s = dev->queue[queue].s;
	virtio_unlock(dev);
	return s;
}

void virtio_queue_enable(struct virtio_device *dev, unsigned queue)
{
	if (queue >= dev->ops->queues)
		return;
	virtio_lock(dev);
	if (!dev->queue[queue].s.enabled && !(dev->s.status & VIRTIO_CONFIG_S_DRIVER_OK))
		enable(dev, queue);
	virtio_unlock(dev);
}

void virtio_notify(struct virtio_device *dev, unsigned queue)
{
	if (queue >= dev->ops->queues)
		return;
	virtio_lock(dev);
	if (dev->running && dev->queue[queue].s.enabled)
		dev->ops->notify(dev, queue);
	virtio_unlock(dev);
}

/* ---- configuration ---- */

static bool in_config(const struct virtio_device *dev, unsigned offset, unsigned size)
{
	return size <= 8 && offset <= dev->config_len && size <= dev->config_len - offset;
}

uint64_t virtio_config_read(struct virtio_device *dev, unsigned offset, unsigned size)
{
	uint64_t val = 0;

	virtio_lock(dev);
	if (in_config(dev, offset, size)) {
		if (dev->ops->config_read)
			dev->ops->config_read(dev, offset, size);
		memcpy(&val, dev->config + offset, size);
	}
	virtio_unlock(dev);
	return val;
}

void virtio_config_write(struct virtio_device *dev, unsigned offset, unsigned size, uint64_t val)
{
	virtio_lock(dev);
	if (dev->ops->config_written && in_config(dev, offset, size)) {
		memcpy(dev->config + offset, &val, size);
		dev->ops->config_written(dev, offset, size);
	}
	virtio_unlock(dev);
}

uint32_t virtio_config_generation(struct virtio_device *dev)
{
	uint32_t generation;

	virtio_lock(dev);
	generation = dev->s.config_generation;
	virtio_unlock(dev);
	return generation;
}
