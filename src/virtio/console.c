/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-console (virtio 1.2, 5.3): the guest's /dev/hvc0, on the same terminal
 * as the serial port, with one exit per line and not several per byte. One port,
 * without the multiport feature: a terminal is all that there is on the host's side.
 *
 *   queue 0, receive    the driver puts up empty buffers, input fills them
 *   queue 1, transmit   full buffers, which go to host/console.c
 *
 * Output: what the host has room for is taken on the vCPU's thread, in notify().
 * When a slow reader has filled the host's buffer, the chain stays here, half
 * done, and the main thread goes on with it when there is room: nothing is lost
 * and nobody waits with a lock held. (Linux's driver spins until the chain comes
 * back, interrupts off. That is its choice.)
 *
 * Input comes on the main thread. What the driver has no buffers for stays in
 * the host's buffer. So does all that was typed before Linux's driver, which
 * fills the queue first and enters the port into its list last, is ready: it
 * throws away what comes in between. How we learn that it is: at DRIVER_OK we tell
 * it of a change of the configuration, which the kernel keeps back until the driver
 * has started; then it reads the size of the window. Other drivers, and old ones,
 * get some time.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "host/console.h"
#include "host/eventloop.h"
#include "virtio/device.h"
#include "virtio/devices.h"

#define RECEIVE  0
#define TRANSMIT 1
#define QUEUES   2

/* A direct chain cannot be longer than this. */
#define PIECES_MAX VIRTQ_DEFAULT_SIZE

/* From DRIVER_OK to the first input at the latest; the same for drivers from before version 1. */
#define SETTLE_S         2
#define SETTLE_LEGACY_NS 300000000ll
/*
 * Between interrupts that say "your output is gone". Linux asks for them and has
 * always seen it before they come, so it counts them as nobody's, and switches the
 * interrupt off when there are 100,000 of them less than 0.1 s apart.
 */
#define SENT_NS 200000000ll

struct virtio_console {
	struct virtio_device dev;
	struct console *console;
	unsigned columns, rows;
	struct event_source timer;
	/*
	 * The driver has had time to get ready. While the device runs and this is not so, the timer is armed, or
	 * has expired and on_timer() waits for the lock: start() arms it, and whoever takes that back settles.
	 */
	bool settled;
	bool silent;  /* it has not been told yet what was sent; the timer will */
	int64_t told; /* when it was, ns */
	/* The chain of output that waits for room, from byte @sent on. */
	struct iovec iov[PIECES_MAX];
	struct virtq_chain chain;
	uint64_t sent;
	bool waiting;
};

static struct virtio_console *of(struct virtio_device *dev)
{
	return (struct virtio_console *)dev;
}

/* ---- output ---- */

/* Hands on the rest of the chain. False: there is no room for all of it. */
static bool send(struct virtio_console *vc)
{
	uint64_t offset = vc->sent;

	for (unsigned i = 0; i < vc->chain.out_count; i++) {
		const struct iovec *iov = &vc->iov[i];
		size_t left, taken;

		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		left = iov->iov_len - offset;
		taken = console_write(vc->console, (const uint8_t *)iov->iov_base + offset, left);
		vc->sent += taken;
		if (taken < left)
			return false;
		offset = 0;
	}
	return true;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void set_timer(struct virtio_console *vc, int64_t ns)
{
	const struct itimerspec when = { .it_value = { ns / 1000000000, ns % 1000000000 } };

	timerfd_settime(vc->timer.fd, 0, &when, NULL);
}

static void tell_sent(struct virtio_console *vc)
{
	int64_t now = now_ns();

	if (vc->silent)
		return;
	if (vc->settled && now - vc->told >= SENT_NS) {
		vc->told = now;
		virtio_flush(&vc->dev, TRANSMIT);
		return;
	}
	vc->silent = true;
	/* Before that the timer runs already. */
	if (vc->settled)
		set_timer(vc, SENT_NS);
}

static void transmit(struct virtio_console *vc)
{
	struct virtio_device *dev = &vc->dev;
	bool more = false;

	/* A guest that adds as fast as we take must not keep the main thread here. */
	for (unsigned chains = 0;; chains++) {
		if (chains == VIRTQ_DEFAULT_SIZE) {
			more = true;
			break;
		}
		if (!vc->waiting) {
			vc->chain = (struct virtq_chain){ .iov = vc->iov, .capacity = PIECES_MAX };
			vc->sent = 0;
			if (virtio_pop(dev, TRANSMIT, &vc->chain) <= 0)
				break;
		}
		vc->waiting = !send(vc);
		if (vc->waiting)
			break;
		virtq_push(&dev->queue[TRANSMIT], &vc->chain, 0);
	}
	tell_sent(vc);
	/* Before that the timer runs already. */
	if (more && vc->settled)
		set_timer(vc, 1);
}

/* ---- input ---- */

static void receive(struct virtio_console *vc)
{
	struct virtio_device *dev = &vc->dev;
	struct iovec iov[PIECES_MAX];
	struct virtq_chain chain = { .iov = iov, .capacity = PIECES_MAX };

	while (vc->settled && console_ready(vc->console, CONSOLE_HVC) &&
	       virtio_pop(dev, RECEIVE, &chain) > 0) {
		uint32_t done = 0;

		for (unsigned i = chain.out_count; i < chain.out_count + chain.in_count; i++) {
			size_t n = console_read(vc->console, CONSOLE_HVC, iov[i].iov_base, iov[i].iov_len);

			done += (uint32_t)n;
			if (n < iov[i].iov_len)
				break;
		}
		if (!chain.in_count) {
			virtio_break(dev, RECEIVE, "a buffer for input that is not writable");
			return;
		}
		/* The serial port has got hold of it. */
		if (!done) {
			virtq_unpop(&dev->queue[RECEIVE], 1);
			break;
		}
		virtq_push(&dev->queue[RECEIVE], &chain, done);
	}
	virtio_flush(dev, RECEIVE);
}

/* ---- the host's side: main thread ---- */

static void on_input(void *opaque)
{
	struct virtio_console *vc = opaque;

	virtio_lock(&vc->dev);
	if (vc->dev.running)
		receive(vc);
	virtio_unlock(&vc->dev);
}

static void on_room(void *opaque)
{
	struct virtio_console *vc = opaque;

	virtio_lock(&vc->dev);
	if (vc->dev.running)
		transmit(vc);
	virtio_unlock(&vc->dev);
}

/* Lock held. */
static void settle(struct virtio_console *vc)
{
	vc->settled = true;
	receive(vc);
	transmit(vc);
	vc->silent = false;
	vc->told = now_ns();
	virtio_flush(&vc->dev, TRANSMIT);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct virtio_console *vc = opaque;
	uint64_t expirations;

	virtio_lock(&vc->dev);
	/* Not when stop() has taken back the timer meanwhile. */
	if (read(vc->timer.fd, &expirations, sizeof(expirations)) > 0 && vc->dev.running)
		settle(vc);
	virtio_unlock(&vc->dev);
}

void virtio_console_settle(struct virtio_device *dev)
{
	virtio_lock(dev);
	if (dev->running)
		settle(of(dev));
	virtio_unlock(dev);
}

/* 5.3.4; little-endian like us. */
static void fill_config(struct virtio_console *vc)
{
	const struct virtio_console_config config = { .cols = (uint16_t)vc->columns,
						      .rows = (uint16_t)vc->rows,
						      .max_nr_ports = 1 };

	memcpy(vc->dev.config, &config, sizeof(config));
}

static void on_resized(void *opaque)
{
	struct virtio_console *vc = opaque;
	unsigned columns, rows;

	if (!console_size(vc->console, &columns, &rows))
		return;
	virtio_lock(&vc->dev);
	if (vc->columns != columns || vc->rows != rows) {
		vc->columns = columns;
		vc->rows = rows;
		fill_config(vc);
		virtio_config_change(&vc->dev);
	}
	virtio_unlock(&vc->dev);
}

static const struct console_port_ops port_ops = { .input = on_input, .room = on_room, .resized = on_resized };

/* ---- the guest's side ---- */

static void console_device_start(struct virtio_device *dev)
{
	struct virtio_console *vc = of(dev);

	/*
	 * Linux looks at the size only when it is told of a change. Its drivers
	 * from before version 1 must not be told while they start, they would
	 * resize a console that they do not have yet.
	 */
	if (virtio_has(dev, VIRTIO_F_VERSION_1)) {
		virtio_config_change(dev);
		set_timer(vc, SETTLE_S * 1000000000ll);
	} else {
		set_timer(vc, SETTLE_LEGACY_NS);
	}
	console_listen(vc->console, CONSOLE_HVC, true);
}

/* The answer to the change that start() has told. */
static void console_device_config_read(struct virtio_device *dev, unsigned offset, unsigned size)
{
	struct virtio_console *vc = of(dev);

	if (!dev->running || vc->settled || offset != offsetof(struct virtio_console_config, cols))
		return;
	set_timer(vc, 0);
	settle(vc);
}

static void console_device_stop(struct virtio_device *dev)
{
	struct virtio_console *vc = of(dev);

	set_timer(vc, 0);
	vc->settled = vc->silent = vc->waiting = false;
	console_listen(vc->console, CONSOLE_HVC, false);
}

static void console_device_notify(struct virtio_device *dev, unsigned queue)
{
	if (queue == TRANSMIT)
		transmit(of(dev));
	else
		receive(of(dev));
}

/* A character from a driver that has no queues yet (5.3.4), or is past using them: if there is room. */
static void console_device_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	const unsigned emergency = offsetof(struct virtio_console_config, emerg_wr);
	struct virtio_console *vc = of(dev);

	if (offset == emergency)
		console_write(vc->console, &dev->config[emergency], 1);
	/* Nothing else is the driver's to write. */
	fill_config(vc);
}

static void console_device_destroy(struct virtio_device *dev)
{
	struct virtio_console *vc = of(dev);

	console_attach(vc->console, CONSOLE_HVC, NULL, NULL);
	eventloop_remove(dev->env->loop, &vc->timer);
	close(vc->timer.fd);
	virtio_fini(dev);
	free(vc);
}

static const struct virtio_ops console_device_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.queues = QUEUES,
	.start = console_device_start,
	.stop = console_device_stop,
	.notify = console_device_notify,
	.config_read = console_device_config_read,
	.config_written = console_device_config_written,
	.destroy = console_device_destroy,
};

struct virtio_device *virtio_console_create(struct console *console, const struct virtio_env *env, char *err,
					    size_t errlen)
{
	uint64_t features = 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
	struct virtio_console *vc = calloc(1, sizeof(*vc));
	int error;

	if (!vc) {
		snprintf(err, errlen, "console: %s", strerror(ENOMEM));
		return NULL;
	}
	vc->timer = (struct event_source){ .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
					   .ready = on_timer,
					   .opaque = vc };
	error = vc->timer.fd < 0 ? -errno : eventloop_add(env->loop, &vc->timer, EPOLLIN);
	if (error) {
		snprintf(err, errlen, "console: timer: %s", strerror(-error));
		if (vc->timer.fd >= 0)
			close(vc->timer.fd);
		free(vc);
		return NULL;
	}
	vc->console = console;
	/* Without a terminal the size is for the guest to choose. */
	if (console_size(console, &vc->columns, &vc->rows))
		features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
	virtio_init(&vc->dev, &console_device_ops, env, "console", features,
		    sizeof(struct virtio_console_config), VIRTQ_DEFAULT_SIZE);
	fill_config(vc);
	console_attach(console, CONSOLE_HVC, &port_ops, vc);
	return &vc->dev;
}
