/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices with both of their threads at work, as in a machine: the guest's
 * driver on one (doorbells, resets with requests in flight), the event loop on
 * the other (what completes later, input, room for output). No request may be
 * lost, none answered with other data, and nobody may wait for ever.
 *
 * Worth a run under ThreadSanitizer after changes: meson setup build-tsan
 * -Db_sanitize=thread -Db_lundef=false, then this test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "config.h"
#include "driver.h"
#include "host/console.h"
#include "virtio/devices.h"

#define ROUNDS  60
#define BATCHES 40

struct machine {
	struct driver d;
	_Atomic bool stop;
	/* The event loop's thread is the main one, as in a machine; the guest's ends with this text. */
	const char *failed;
	void *opaque;
};

static void loop_until_stopped(struct machine *m, void *(*guest)(void *))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, guest, m), 0);
	while (!m->stop)
		eventloop_run_once(&m->d.loop, 10);
	pthread_join(thread, NULL);
	if (m->failed)
		fail_msg("%s", m->failed);
	assert_int_equal(m->d.warnings, 0);
}

/* The event loop is not ours here: sleeps a little between looks. */
static bool wait_used(struct driver_queue *q, uint32_t *head)
{
	for (unsigned i = 0; i < 200000; i++) {
		if (driver_get_used(q, head, NULL))
			return true;
		usleep(50);
	}
	return false;
}

/* ---- a disk: each slot has a part of its own, and knows what it wrote there last ---- */

#define SLOTS       32
#define SLOT_SECTOR 64u
#define DATA        4096u

struct slot {
	uint64_t header, data, status;
	uint32_t seed, written; /* of the request under way; of the last one that was answered */
	uint32_t offset;        /* in sectors */
	bool busy, write, known;
};

static void fill(uint8_t *data, uint32_t seed)
{
	for (unsigned i = 0; i < DATA; i++)
		data[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
}

static void submit(struct driver *d, struct slot *slot, unsigned n, unsigned *random, int head_to_slot[])
{
	struct virtio_blk_outhdr header = { .sector = n * SLOT_SECTOR };
	int head;

	slot->write = !slot->known || rand_r(random) % 2;
	slot->seed = (uint32_t)rand_r(random);
	header.type = slot->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	memcpy(driver_ptr(d, slot->header, 16), &header, 16);
	*(uint8_t *)driver_ptr(d, slot->status, 1) = 0xff;
	if (slot->write)
		fill(driver_ptr(d, slot->data, DATA), slot->seed);
	else
		memset(driver_ptr(d, slot->data, DATA), 0, DATA);
	head = driver_add(&d->q[0],
			  (struct driver_buf[]){ { slot->header, 16, false },
						 { slot->data, DATA / 2, !slot->write },
						 { slot->data + DATA / 2, DATA / 2, !slot->write },
						 { slot->status, 1, true } },
			  4);
	head_to_slot[head] = (int)n;
	slot->busy = true;
}

static const char *answered(struct driver *d, struct slot *slot)
{
	uint8_t expected[DATA];

	if (!slot->busy)
		return "an answer to nothing";
	slot->busy = false;
	if (*(uint8_t *)driver_ptr(d, slot->status, 1) != VIRTIO_BLK_S_OK)
		return "a request failed";
	if (slot->write) {
		slot->written = slot->seed;
		slot->known = true;
		return NULL;
	}
	fill(expected, slot->written);
	return memcmp(expected, driver_ptr(d, slot->data, DATA), DATA) == 0 ? NULL : "other data was read";
}

static const char *disk_round(struct driver *d, struct slot *slot, unsigned *random)
{
	int head_to_slot[VIRTQ_MAX_SIZE];
	const char *failed = NULL;
	unsigned busy = 0;
	uint32_t head;

	for (unsigned batch = 0; batch < BATCHES && !failed; batch++) {
		for (unsigned n = 0; n < SLOTS; n++)
			if (!slot[n].busy && rand_r(random) % 3) {
				submit(d, &slot[n], n, random, head_to_slot);
				busy++;
			}
		virtio_notify(d->dev, 0);
		while (!failed && busy && (rand_r(random) % 16 || busy == SLOTS)) {
			if (!wait_used(&d->q[0], &head))
				return "a request was lost";
			busy--;
			failed = answered(d, &slot[head_to_slot[head]]);
		}
	}
	/* A reset with the rest in flight; what those have written nobody knows. */
	virtio_reset(d->dev);
	for (unsigned n = 0; n < SLOTS; n++) {
		if (slot[n].busy && slot[n].write)
			slot[n].known = false;
		slot[n].busy = false;
	}
	return failed;
}

static void *disk_guest(void *arg)
{
	struct machine *m = arg;
	struct slot slot[SLOTS] = { 0 };
	unsigned random = 1;

	for (unsigned round = 0; round < ROUNDS && !m->failed; round++) {
		m->d.next = 4096;
		if (!driver_start(&m->d, m->d.dev, 0)) {
			m->failed = "the device does not start";
			break;
		}
		for (unsigned n = 0; n < SLOTS; n++) {
			slot[n].header = driver_alloc(&m->d, 16, 16);
			slot[n].data = driver_alloc(&m->d, DATA, 512);
			slot[n].status = driver_alloc(&m->d, 1, 1);
		}
		m->failed = disk_round(&m->d, slot, &random);
	}
	m->stop = true;
	return NULL;
}

static void disk(bool cow, bool direct)
{
	struct machine m = { 0 };
	char path[] = "/var/tmp/lguest-threads-XXXXXX", err[200] = "";
	struct block_config cfg = { .path = path, .cow = cow, .direct = direct };
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SLOTS * SLOT_SECTOR * 512), 0);
	close(fd);
	driver_init(&m.d, 1 << 20);
	m.d.dev = virtio_block_create(&cfg, 0, &m.d.env, err, sizeof(err));
	unlink(path);
	assert_string_equal(err, "");
	loop_until_stopped(&m, disk_guest);
	driver_destroy(&m.d);
}

static void disk_plain(void **state)
{
	disk(false, false);
}

static void disk_cow(void **state)
{
	disk(true, false);
}

static void disk_direct(void **state)
{
	disk(false, true);
}

/* ---- the console: a slow reader gets every byte, in order ---- */

struct terminal {
	struct console console;
	int in[2], out[2];
	uint64_t received;
	bool wrong;
	struct event_source source;
};

#define OUTPUT (600u << 10)

static uint8_t letter(uint64_t n)
{
	return (uint8_t)("0123456789abcdefghijklmnopqrstuvw\n"[n % 34]);
}

static void take_output(void *opaque, uint32_t events)
{
	struct terminal *t = opaque;
	uint8_t bytes[700];
	ssize_t n = read(t->out[0], bytes, sizeof(bytes));

	for (ssize_t i = 0; i < n; i++)
		if (bytes[i] != letter(t->received++))
			t->wrong = true;
}

static void *console_guest(void *arg)
{
	struct machine *m = arg;
	struct driver_queue *q = &m->d.q[1];
	uint64_t buffers, sent = 0;
	unsigned random = 3;

	if (!driver_start(&m->d, m->d.dev, 0))
		m->failed = "the device does not start";
	buffers = driver_alloc(&m->d, 64 * 1024, 1);
	while (!m->failed && sent < OUTPUT) {
		unsigned added = 0;

		for (unsigned i = 0; i < 64 && sent < OUTPUT; i++, added++) {
			uint32_t len = 1 + (uint32_t)rand_r(&random) % 1000;
			uint8_t *p = driver_ptr(&m->d, buffers + 1024 * i, len);

			if (len > OUTPUT - sent)
				len = (uint32_t)(OUTPUT - sent);
			for (unsigned k = 0; k < len; k++)
				p[k] = letter(sent++);
			driver_add(q, &(struct driver_buf){ buffers + 1024 * i, len, false }, 1);
			if (rand_r(&random) % 2)
				virtio_notify(m->d.dev, 1);
		}
		virtio_notify(m->d.dev, 1);
		while (added && !m->failed) {
			if (!wait_used(q, NULL))
				m->failed = "output was lost, or is stuck";
			added--;
		}
	}
	m->stop = true;
	return NULL;
}

static void on_warn(void *opaque, const char *line)
{
	print_message("%s\n", line);
}

static void console_output(void **state)
{
	static const struct console_ops ops = { .warn = on_warn };
	struct machine m = { 0 };
	struct terminal *t = calloc(1, sizeof(*t));
	char err[200] = "";

	driver_init(&m.d, 1 << 20);
	assert_int_equal(pipe2(t->in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(t->out, O_CLOEXEC), 0);
	fcntl(t->out[1], F_SETPIPE_SZ, 4096);
	assert_int_equal(console_create(&t->console, &m.d.loop, t->in[0], dup(t->out[1]), NULL, &ops, t), 0);
	m.d.dev = virtio_console_create(&t->console, &m.d.env, err, sizeof(err));
	assert_string_equal(err, "");
	t->source = (struct event_source){ .fd = t->out[0], .ready = take_output, .opaque = t };
	assert_int_equal(eventloop_add(&m.d.loop, &t->source, EPOLLIN), 0);

	loop_until_stopped(&m, console_guest);
	for (unsigned i = 0; i < 3000 && t->received < OUTPUT; i++)
		eventloop_run_once(&m.d.loop, 10);
	assert_int_equal(t->received, OUTPUT);
	assert_false(t->wrong);

	virtio_reset(m.d.dev);
	m.d.dev->ops->destroy(m.d.dev);
	m.d.dev = NULL;
	eventloop_remove(&m.d.loop, &t->source);
	console_destroy(&t->console);
	for (unsigned i = 0; i < 2; i++) {
		close(t->in[i]);
		close(t->out[i]);
	}
	free(t);
	driver_destroy(&m.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_plain),
		cmocka_unit_test(disk_cow),
		cmocka_unit_test(disk_direct),
		cmocka_unit_test(console_output),
	};

	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
