/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The console between two pipes: input comes when the fuzzer says so, output is read slowly or not at all. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/console.h"
#include "virtio/devices.h"

struct terminal {
	struct console console;
	int in[2], out[2];
};

static void on_escape(void *opaque)
{
}

static void on_warn(void *opaque, const char *line)
{
}

static const struct console_ops ops = { .escape = on_escape, .warn = on_warn };

static struct virtio_device *create(struct fuzz *f)
{
	struct terminal *t = calloc(1, sizeof(*t));
	struct virtio_device *dev;
	char err[200];

	if (!t || pipe2(t->in, O_CLOEXEC | O_NONBLOCK) || pipe2(t->out, O_CLOEXEC | O_NONBLOCK) ||
	    console_create(&t->console, &f->d.loop, t->in[0], dup(t->out[1]), NULL, &ops, t)) {
		perror("console");
		exit(2);
	}
	fcntl(t->out[1], F_SETPIPE_SZ, 4096);
	console_prefer(&t->console, CONSOLE_HVC);
	dev = virtio_console_create(&t->console, &f->d.env, err, sizeof(err));
	if (!dev)
		fprintf(stderr, "%s\n", err);
	f->opaque = t;
	return dev;
}

static void destroyed(struct fuzz *f)
{
	struct terminal *t = f->opaque;

	console_destroy(&t->console);
	for (unsigned i = 0; i < 2; i++) {
		close(t->in[i]);
		close(t->out[i]);
	}
	free(t);
}

static void request(struct fuzz *f)
{
	unsigned queue = fuzz_pick(f, 2), count = 1 + fuzz_pick(f, 4);
	struct driver_buf buf[4];

	for (unsigned i = 0; i < count; i++) {
		uint32_t len = (uint32_t)fuzz_take(f, 1) << fuzz_pick(f, 9);

		buf[i] = (struct driver_buf){ fuzz_buffer(f, len), len, queue == 0 };
	}
	fuzz_chain(f, queue, buf, count);
	virtio_notify(f->d.dev, queue);
}

static void from_host(struct fuzz *f)
{
	struct terminal *t = f->opaque;
	uint8_t how = (uint8_t)fuzz_take(f, 1), bytes[256];

	switch (how & 3) {
	case 0:
	case 1:
		memset(bytes, how, sizeof(bytes));
		if (write(t->in[1], bytes, how) < 0)
			break; /* full, as a terminal may be */
		break;
	case 2:
		for (unsigned i = 0; i < how; i++)
			if (read(t->out[0], bytes, sizeof(bytes)) <= 0)
				break;
		break;
	case 3:
		console_flush(&t->console);
		virtio_console_settle(f->d.dev);
		break;
	}
	eventloop_run_once(&f->d.loop, 0);
}

const struct fuzz_target fuzz_target = {
	.create = create, .destroyed = destroyed, .request = request, .host = from_host, .lives = 64
};
