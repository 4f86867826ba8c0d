/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-console and the host's console behind it, driven from the guest's
 * side, between two pipes or on a pseudo terminal: slow and vanished readers,
 * who gets the input, the size of the window.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "host/console.h"
#include "host/tty.h"
#include "virtio/devices.h"

#define RX 0
#define TX 1

struct bench {
	struct driver d;
	struct console console;
	struct tty tty;
	int keys, screen; /* our ends: input goes in, output comes out */
	int fds[4];       /* the console's ends */
	unsigned warnings;
	char warning[200];
	unsigned uart_inputs;
	char typed[64]; /* at the serial port */
	bool reads_uart;
};

static void on_escape(void *opaque)
{
	fail();
}

static void on_warn(void *opaque, const char *line)
{
	struct bench *b = opaque;

	b->warnings++;
	snprintf(b->warning, sizeof(b->warning), "%s", line);
}

/* The serial port takes all that it is offered. */
static void on_uart_input(void *opaque)
{
	struct bench *b = opaque;
	size_t len = strlen(b->typed);

	b->uart_inputs++;
	if (b->reads_uart)
		console_read(&b->console, CONSOLE_UART, (uint8_t *)b->typed + len,
			     sizeof(b->typed) - 1 - len);
}

static const struct console_ops ops = { .escape = on_escape, .warn = on_warn };
static const struct console_port_ops uart_ops = { .input = on_uart_input };

static void start_on(struct bench *b, int in, int out, struct tty *tty, enum console_port preferred)
{
	struct virtio_device *dev;
	char err[100];

	driver_init(&b->d, 8 << 20);
	assert_int_equal(console_create(&b->console, &b->d.loop, in, out, tty, &ops, b), 0);
	console_prefer(&b->console, preferred);
	console_attach(&b->console, CONSOLE_UART, &uart_ops, b);
	dev = virtio_console_create(&b->console, &b->d.env, err, sizeof(err));
	assert_non_null(dev);
	assert_int_equal(dev->ops->id, VIRTIO_ID_CONSOLE);
	b->d.dev = dev;
}

static void create(struct bench *b, enum console_port preferred)
{
	int in[2], out[2];

	memset(b, 0, sizeof(*b));
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	b->fds[0] = in[0];
	b->fds[1] = out[1];
	b->fds[2] = b->fds[3] = -1;
	b->keys = in[1];
	b->screen = out[0];
	fcntl(b->screen, F_SETFL, O_NONBLOCK);
	start_on(b, in[0], out[1], NULL, preferred);
	/* The only writer must be the console. */
	close(out[1]);
	b->fds[1] = -1;
}

static void create_on_terminal(struct bench *b, enum console_port preferred)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	struct termios raw;
	int master, slave;

	memset(b, 0, sizeof(*b));
	assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	b->keys = b->screen = master;
	b->fds[0] = slave;
	b->fds[1] = b->fds[2] = b->fds[3] = -1;
	/* Not tty_open(): a test needs no guard. */
	b->tty.present = true;
	b->tty.fd = slave;
	start_on(b, slave, slave, &b->tty, preferred);
}

static void start(struct bench *b, enum console_port preferred)
{
	create(b, preferred);
	assert_true(driver_start(&b->d, b->d.dev, 0));
	virtio_console_settle(b->d.dev);
}

static void stop(struct bench *b)
{
	/* The device first: the console outlives it, the loop both. */
	virtio_reset(b->d.dev);
	b->d.dev->ops->destroy(b->d.dev);
	b->d.dev = NULL;
	console_destroy(&b->console);
	driver_destroy(&b->d);
	for (unsigned i = 0; i < 4; i++)
		if (b->fds[i] >= 0)
			close(b->fds[i]);
	if (b->keys >= 0)
		close(b->keys);
	if (b->screen >= 0 && b->screen != b->keys)
		close(b->screen);
}

/* The event loop for a while: all that is due comes. */
static void run(struct bench *b)
{
	for (unsigned i = 0; i < 5; i++)
		eventloop_run_once(&b->d.loop, 5);
}

static void type(struct bench *b, const char *text)
{
	assert_int_equal(write(b->keys, text, strlen(text)), strlen(text));
	run(b);
}

static uint64_t put(struct bench *b, const char *text)
{
	uint64_t at = driver_alloc(&b->d, strlen(text) + 1, 1);

	strcpy(driver_ptr(&b->d, at, strlen(text) + 1), text);
	return at;
}

static void say(struct bench *b, const char *text)
{
	driver_add(&b->d.q[TX], &(struct driver_buf){ put(b, text), (uint32_t)strlen(text), false }, 1);
	virtio_notify(b->d.dev, TX);
}

static void assert_shown(struct bench *b, const char *text)
{
	char got[256] = "";

	run(b);
	assert_true(read(b->screen, got, sizeof(got) - 1) >= 0);
	assert_string_equal(got, text);
}

static uint64_t offer(struct bench *b, uint32_t len)
{
	uint64_t at = driver_alloc(&b->d, len + 1, 1);

	driver_add(&b->d.q[RX], &(struct driver_buf){ at, len, true }, 1);
	virtio_notify(b->d.dev, RX);
	return at;
}

static void assert_received(struct bench *b, uint64_t at, const char *text)
{
	uint32_t len;

	assert_true(driver_get_used(&b->d.q[RX], NULL, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(driver_ptr(&b->d, at, len + 1), text, len + 1);
}

/* ---- output ---- */

static void test_output(void **state)
{
	struct bench b;
	uint64_t x, y, z;

	start(&b, CONSOLE_UART);
	say(&b, "hello\n");
	x = put(&b, "one ");
	y = put(&b, "two ");
	z = put(&b, "three");
	driver_add(
		&b.d.q[TX],
		(struct driver_buf[]){ { x, 4, false }, { y, 0, false }, { y, 4, false }, { z, 5, false } },
		4);
	virtio_notify(b.d.dev, TX);
	assert_true(driver_get_used(&b.d.q[TX], NULL, NULL));
	assert_true(driver_get_used(&b.d.q[TX], NULL, NULL));
	assert_shown(&b, "hello\none two three");
	stop(&b);
}

/* Nothing is lost when nobody reads; nobody waits; what does not fit comes back later. */
static void test_slow_reader(void **state)
{
	const unsigned count = 100, size = 4000; /* 400,000 bytes */
	unsigned back = 0, got = 0, early;
	uint64_t at[100];
	struct bench b;
	uint8_t *text;

	start(&b, CONSOLE_UART);
	for (unsigned i = 0; i < count; i++) {
		at[i] = driver_alloc(&b.d, size, 1);
		text = driver_ptr(&b.d, at[i], size);
		for (unsigned j = 0; j < size; j++)
			text[j] = (uint8_t)((i * size + j) * 7 + ((i * size + j) >> 8));
		driver_add(&b.d.q[TX],
			   (struct driver_buf[]){ { at[i], 1, false }, { at[i] + 1, size - 1, false } }, 2);
		virtio_notify(b.d.dev, TX);
		while (driver_get_used(&b.d.q[TX], NULL, NULL))
			back++;
	}
	early = back;
	run(&b);
	/* The host's buffer, the pipe, and no more. */
	assert_in_range(early, CONSOLE_OUT / size - 1, (CONSOLE_OUT + 8192) / size + 2);

	while (got < count * size) {
		uint8_t buf[3000];
		ssize_t n = read(b.screen, buf, sizeof(buf));

		eventloop_run_once(&b.d.loop, n > 0 ? 0 : 5);
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], (uint8_t)(got * 7 + (got >> 8)));
	}
	while (driver_get_used(&b.d.q[TX], NULL, NULL))
		back++;
	assert_int_equal(back, count);
	stop(&b);
}

/* A reset in the middle of a chain that waits; then the device works as before. */
static void test_reset_while_waiting(void **state)
{
	struct bench b;
	uint64_t at;
	char buf[4096];

	start(&b, CONSOLE_UART);
	at = driver_alloc(&b.d, 1 << 20, 1);
	driver_add(&b.d.q[TX], &(struct driver_buf){ at, 1 << 20, false }, 1);
	virtio_notify(b.d.dev, TX);
	assert_false(driver_get_used(&b.d.q[TX], NULL, NULL));
	virtio_reset(b.d.dev);
	for (unsigned i = 0; i < 100; i++) {
		while (read(b.screen, buf, sizeof(buf)) > 0)
			;
		run(&b);
		if (!b.console.out_count)
			break;
	}
	while (read(b.screen, buf, sizeof(buf)) > 0)
		;
	assert_true(driver_start(&b.d, b.d.dev, 0));
	say(&b, "again");
	assert_true(driver_get_used(&b.d.q[TX], NULL, NULL));
	assert_shown(&b, "again");
	stop(&b);
}

static void test_reader_gone(void **state)
{
	struct bench b;

	signal(SIGPIPE, SIG_IGN);
	start(&b, CONSOLE_UART);
	close(b.screen);
	b.screen = -1;
	assert_false(console_lost(&b.console));
	for (unsigned i = 0; i < 200; i++) {
		say(&b, "into the void");
		run(&b);
		assert_true(driver_get_used(&b.d.q[TX], NULL, NULL));
	}
	assert_true(console_lost(&b.console));
	assert_int_equal(b.warnings, 1);
	assert_non_null(strstr(b.warning, "standard output: Broken pipe"));
	assert_int_equal(b.d.warnings, 0);
	stop(&b);
}

/* Linux counts an interrupt that tells it nothing new as nobody's: see SENT_NS. */
static void test_few_interrupts(void **state)
{
	struct timespec pause = { .tv_nsec = 250000000 }, begin, end;
	struct bench b;
	unsigned some;

	start(&b, CONSOLE_UART);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned i = 0; i < 1000; i++) {
		say(&b, "x");
		assert_true(driver_get_used(&b.d.q[TX], NULL, NULL));
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	some = b.d.interrupts[TX];
	/* Five in a second at most, however long that has taken here. */
	assert_true(some <= 3 + 5 * (end.tv_sec - begin.tv_sec + 1));
	assert_true(some < 500);
	/* But none is forgotten. */
	say(&b, "x");
	nanosleep(&pause, NULL);
	run(&b);
	assert_true(b.d.interrupts[TX] > some);
	stop(&b);
}

/* 5.3.4: also before the driver has set up anything. */
static void test_emergency(void **state)
{
	struct bench b;

	create(&b, CONSOLE_UART);
	assert_true(virtio_get_device_features(b.d.dev, 0) & 1u << VIRTIO_CONSOLE_F_EMERG_WRITE);
	virtio_config_write(b.d.dev, 8, 4, '!');
	virtio_config_write(b.d.dev, 8, 1, '\n');
	assert_shown(&b, "!\n");
	/* Not writable: the rest. */
	virtio_config_write(b.d.dev, 0, 2, 99);
	virtio_config_write(b.d.dev, 4, 4, 99);
	virtio_config_write(b.d.dev, 8, 8, 99);
	assert_int_equal(virtio_config_read(b.d.dev, 0, 2), 0);
	assert_int_equal(virtio_config_read(b.d.dev, 4, 4), 1);
	assert_int_equal(virtio_config_read(b.d.dev, 8, 4), 0);
	stop(&b);
}

/* ---- input ---- */

static void test_input(void **state)
{
	struct bench b;
	uint64_t x, y;

	start(&b, CONSOLE_HVC);
	x = offer(&b, 64);
	type(&b, "abc");
	assert_received(&b, x, "abc");
	assert_int_equal(b.d.interrupts[RX], 1);

	/* Without a buffer it waits; the next ones are filled to the brim. */
	type(&b, "0123456789");
	assert_false(driver_get_used(&b.d.q[RX], NULL, NULL));
	x = offer(&b, 4);
	y = offer(&b, 64);
	assert_received(&b, x, "0123");
	assert_received(&b, y, "456789");
	assert_int_equal(b.uart_inputs, 0);
	stop(&b);
}

/* More than all buffers between here and there hold: the pipe's writer waits, nothing is lost. */
static void test_much_input(void **state)
{
	const unsigned total = 200000;
	unsigned sent = 0, got = 0;
	struct bench b;
	uint64_t at;

	start(&b, CONSOLE_HVC);
	fcntl(b.keys, F_SETFL, O_NONBLOCK);
	at = driver_alloc(&b.d, 1000, 1);
	while (got < total) {
		uint8_t data[5000];
		uint32_t len;

		for (unsigned i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)((sent + i) * 5 + ((sent + i) >> 8));
		if (sent < total) {
			ssize_t n = write(b.keys, data,
					  sizeof(data) < total - sent ? sizeof(data) : total - sent);

			sent += n > 0 ? (unsigned)n : 0;
		}
		eventloop_run_once(&b.d.loop, 0);
		driver_add(&b.d.q[RX], &(struct driver_buf){ at, 1000, true }, 1);
		virtio_notify(b.d.dev, RX);
		eventloop_run_once(&b.d.loop, 0);
		while (driver_get_used(&b.d.q[RX], NULL, &len)) {
			const uint8_t *p = driver_ptr(&b.d, at, 1000);

			for (unsigned i = 0; i < len; i++, got++)
				assert_int_equal(p[i], (uint8_t)(got * 5 + (got >> 8)));
		}
	}
	assert_int_equal(got, total);
	stop(&b);
}

/* Linux's driver loses what comes before it is ready: it is when it reads the size of the window. */
static void test_early_input(void **state)
{
	struct bench b;
	uint64_t at;

	create(&b, CONSOLE_HVC);
	type(&b, "early");
	assert_int_equal(virtio_config_read(b.d.dev, 0, 2), 0);
	assert_true(driver_start(&b.d, b.d.dev, 0));
	assert_int_equal(b.d.config_changes, 1);
	at = offer(&b, 64);
	run(&b);
	assert_false(driver_get_used(&b.d.q[RX], NULL, NULL));
	virtio_config_read(b.d.dev, 0, 2);
	assert_received(&b, at, "early");
	stop(&b);
}

/* A driver that reads nothing gets it later. */
static void test_settling_time(void **state)
{
	struct timespec pause = { .tv_sec = 2 };
	struct bench b;
	uint64_t at;

	create(&b, CONSOLE_HVC);
	type(&b, "early");
	assert_true(driver_start(&b.d, b.d.dev, 0));
	at = offer(&b, 64);
	nanosleep(&pause, NULL);
	run(&b);
	assert_received(&b, at, "early");
	stop(&b);
}

static void test_nothing_writable(void **state)
{
	struct bench b;
	uint64_t at;

	start(&b, CONSOLE_HVC);
	at = put(&b, "mine");
	driver_add(&b.d.q[RX], &(struct driver_buf){ at, 4, false }, 1);
	virtio_notify(b.d.dev, RX);
	type(&b, "abc");
	assert_int_equal(b.d.warnings, 1);
	assert_non_null(strstr(b.d.warning, "console: queue 0: a buffer for input that is not writable"));
	assert_memory_equal(driver_ptr(&b.d, at, 5), "mine", 5);
	/* The input is still there. */
	assert_true(driver_start(&b.d, b.d.dev, 0));
	virtio_console_settle(b.d.dev);
	at = offer(&b, 64);
	assert_received(&b, at, "abc");
	stop(&b);
}

/* More than one round's worth at once. */
static void test_long_queue(void **state)
{
	struct bench b;
	unsigned back = 0;
	uint64_t at;

	start(&b, CONSOLE_UART);
	at = put(&b, "x");
	for (unsigned i = 0; i < 3 * VIRTQ_DEFAULT_SIZE; i++) {
		while (driver_add(&b.d.q[TX], &(struct driver_buf){ at, 1, false }, 1) < 0) {
			virtio_notify(b.d.dev, TX);
			run(&b);
			while (driver_get_used(&b.d.q[TX], NULL, NULL))
				back++;
		}
	}
	virtio_notify(b.d.dev, TX);
	run(&b);
	while (driver_get_used(&b.d.q[TX], NULL, NULL))
		back++;
	assert_int_equal(back, 3 * VIRTQ_DEFAULT_SIZE);
	stop(&b);
}

static unsigned fill_and_drain(struct bench *b, uint64_t at)
{
	unsigned back = 0;

	while (driver_add(&b->d.q[TX], &(struct driver_buf){ at, 1, false }, 1) >= 0)
		;
	virtio_notify(b->d.dev, TX);
	while (driver_get_used(&b->d.q[TX], NULL, NULL))
		back++;
	return back;
}

/*
 * A whole round before the driver has settled: what would be done later by the timer is done by the one
 * that runs then, or by the answer that stops it, whichever comes.
 */
static void test_long_queue_early(void **state)
{
	const struct timespec moment = { .tv_nsec = 20000000 };

	for (unsigned by_answer = 0; by_answer < 2; by_answer++) {
		struct bench b;
		uint64_t at;

		create(&b, CONSOLE_HVC);
		/* With an index it would want no interrupt for what it has seen already. */
		assert_true(driver_start(&b.d, b.d.dev, 1ull << VIRTIO_RING_F_EVENT_IDX));
		at = put(&b, "x");
		assert_int_equal(fill_and_drain(&b, at), VIRTQ_DEFAULT_SIZE);
		nanosleep(&moment, NULL);
		run(&b);
		assert_int_equal(b.d.interrupts[TX], 0);
		assert_int_equal(fill_and_drain(&b, at), VIRTQ_DEFAULT_SIZE);
		if (by_answer)
			virtio_config_read(b.d.dev, 0, 2);
		for (unsigned i = 0; !by_answer && !b.d.interrupts[TX] && i < 150; i++) {
			nanosleep(&moment, NULL);
			run(&b);
		}
		assert_int_equal(b.d.interrupts[TX], 1);
		/* And behind it. */
		assert_int_equal(fill_and_drain(&b, at), VIRTQ_DEFAULT_SIZE);
		for (unsigned i = 0; b.d.interrupts[TX] < 2 && i < 50; i++) {
			nanosleep(&moment, NULL);
			run(&b);
		}
		assert_int_equal(b.d.interrupts[TX], 2);
		stop(&b);
	}
}

static void test_end_of_input(void **state)
{
	struct bench b;
	uint64_t at;

	start(&b, CONSOLE_HVC);
	at = offer(&b, 64);
	assert_int_equal(write(b.keys, "last", 4), 4);
	close(b.keys);
	b.keys = -1;
	run(&b);
	assert_received(&b, at, "last");
	run(&b);
	assert_int_equal(b.warnings, 1);
	assert_non_null(strstr(b.warning, "standard input has ended"));
	say(&b, "still here");
	assert_shown(&b, "still here");
	assert_int_equal(b.warnings, 1);
	stop(&b);
}

/* ---- who gets it ---- */

/* From a pipe: the preferred console or nobody. */
static void test_pipe_waits(void **state)
{
	struct bench b;
	uint64_t at;

	create(&b, CONSOLE_HVC);
	b.reads_uart = true;
	console_listen(&b.console, CONSOLE_UART, true);
	type(&b, "for hvc0");
	assert_int_equal(b.uart_inputs, 0);
	assert_true(driver_start(&b.d, b.d.dev, 0));
	virtio_console_settle(b.d.dev);
	at = offer(&b, 64);
	assert_received(&b, at, "for hvc0");
	stop(&b);

	start(&b, CONSOLE_UART);
	b.reads_uart = true;
	offer(&b, 64);
	type(&b, "for ttyS0");
	assert_false(driver_get_used(&b.d.q[RX], NULL, NULL));
	assert_string_equal(b.typed, "for ttyS0");
	stop(&b);
}

/* From a terminal: the other one while the preferred one does not listen. */
static void test_terminal_finds_a_listener(void **state)
{
	struct bench b;
	uint64_t at;

	create_on_terminal(&b, CONSOLE_HVC);
	b.reads_uart = true;
	/* Nobody listens: the preferred one's, and it waits. */
	type(&b, "1");
	assert_string_equal(b.typed, "");
	/* The serial port is opened first. */
	console_listen(&b.console, CONSOLE_UART, true);
	run(&b);
	assert_string_equal(b.typed, "1");
	/* Then the other one, too. */
	assert_true(driver_start(&b.d, b.d.dev, 0));
	virtio_console_settle(b.d.dev);
	at = offer(&b, 64);
	type(&b, "2");
	assert_received(&b, at, "2");
	assert_string_equal(b.typed, "1");
	/* And is closed. */
	virtio_reset(b.d.dev);
	type(&b, "3");
	assert_string_equal(b.typed, "13");
	stop(&b);

	create_on_terminal(&b, CONSOLE_UART);
	b.reads_uart = true;
	assert_true(driver_start(&b.d, b.d.dev, 0));
	virtio_console_settle(b.d.dev);
	at = offer(&b, 64);
	type(&b, "4");
	assert_received(&b, at, "4");
	console_listen(&b.console, CONSOLE_UART, true);
	offer(&b, 64);
	type(&b, "5");
	assert_string_equal(b.typed, "5");
	assert_false(driver_get_used(&b.d.q[RX], NULL, NULL));
	/* What waits when the serial port is closed finds the other one. */
	b.reads_uart = false;
	type(&b, "6");
	console_listen(&b.console, CONSOLE_UART, false);
	run(&b);
	assert_true(driver_get_used(&b.d.q[RX], NULL, NULL));
	stop(&b);
}

/* ---- the window ---- */

static void test_size(void **state)
{
	struct winsize size = { .ws_row = 50, .ws_col = 132 };
	struct bench b;
	unsigned changes;
	uint32_t generation;

	create(&b, CONSOLE_UART);
	assert_false(virtio_get_device_features(b.d.dev, 0) & 1u << VIRTIO_CONSOLE_F_SIZE);
	stop(&b);

	create_on_terminal(&b, CONSOLE_UART);
	assert_true(virtio_get_device_features(b.d.dev, 0) & 1u << VIRTIO_CONSOLE_F_SIZE);
	assert_int_equal(virtio_config_read(b.d.dev, 0, 2), 80);
	assert_int_equal(virtio_config_read(b.d.dev, 2, 2), 24);
	assert_true(driver_start(&b.d, b.d.dev, 0));
	/* Linux looks only when it is told to. */
	assert_int_equal(b.d.config_changes, 1);

	changes = b.d.config_changes;
	generation = virtio_config_generation(b.d.dev);
	console_resized(&b.console);
	assert_int_equal(b.d.config_changes, changes);
	ioctl(b.screen, TIOCSWINSZ, &size);
	console_resized(&b.console);
	assert_int_equal(b.d.config_changes, changes + 1);
	assert_int_not_equal(virtio_config_generation(b.d.dev), generation);
	assert_int_equal(virtio_config_read(b.d.dev, 0, 2), 132);
	assert_int_equal(virtio_config_read(b.d.dev, 2, 2), 50);
	stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_reset_while_waiting),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_few_interrupts),
		cmocka_unit_test(test_emergency),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_much_input),
		cmocka_unit_test(test_early_input),
		cmocka_unit_test(test_settling_time),
		cmocka_unit_test(test_nothing_writable),
		cmocka_unit_test(test_long_queue),
		cmocka_unit_test(test_long_queue_early),
		cmocka_unit_test(test_end_of_input),
		cmocka_unit_test(test_pipe_waits),
		cmocka_unit_test(test_terminal_finds_a_listener),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
