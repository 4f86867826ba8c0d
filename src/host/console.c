/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU thread must never sit in write(): the reader may be a pager that
 * nobody scrolls. Descriptors that can block get a second open file
 * description of their own in non-blocking mode; setting the flag on the one
 * that we were given would set it for the shell as well.
 */
#include "host/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_DELAY_NS 2000000
#define FLUSH_AT       (CONSOLE_OUT / 2)

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- output ---- */

static void schedule_flush(struct console *c)
{
	struct itimerspec when = { .it_value.tv_nsec = FLUSH_DELAY_NS };

	c->scheduled = true;
	timerfd_settime(c->timer_source.fd, 0, &when, NULL);
}

static ssize_t write_some(struct console *c, const uint8_t *data, size_t len)
{
	struct pollfd p = { .fd = c->out_fd, .events = POLLOUT };

	if (c->out_socket)
		return send(c->out_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!c->out_nonblock) {
		/* A device that we could not open anew: ask first, write little. */
		if (poll(&p, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		if (len > 512)
			len = 512;
	}
	return write(c->out_fd, data, len);
}

/* The reader takes no more now: come back when it does. Lock held. */
static void wait_for_reader(struct console *c)
{
	c->scheduled = true;
	if (!c->can_wait_out || eventloop_rearm(c->loop, &c->out_source, EPOLLOUT | EPOLLONESHOT) < 0)
		schedule_flush(c);
}

/* Whoever waits on the main thread's side: it looks at room_wanted and at new listeners. */
static void wake(struct console *c)
{
	eventfd_write(c->wake_source.fd, 1);
}

/*
 * The pipe is closed, or the disk is full. The guest is not ended for that: it
 * may have files open that deserve a proper end. Lock held, any thread.
 */
static void lose_reader(struct console *c, int error)
{
	c->reader_gone = true;
	c->lost = error;
	c->out_count = 0;
	wake(c);
}

/* Main thread: say so, once. */
static void report_loss(struct console *c)
{
	char line[128];

	if (!c->lost || c->loss_reported)
		return;
	c->loss_reported = true;
	snprintf(line, sizeof(line), "standard output: %s (the guest goes on, its output is lost)",
		 strerror(c->lost));
	c->ops->warn(c->opaque, line);
}

static void offer_room(struct console *c)
{
	if (!atomic_exchange(&c->room_wanted, false))
		return;
	for (unsigned i = 0; i < CONSOLE_PORTS; i++)
		if (c->port[i].ops && c->port[i].ops->room)
			c->port[i].ops->room(c->port[i].opaque);
}

void console_flush(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->writing) {
		pthread_mutex_unlock(&c->lock);
		return;
	}
	c->writing = true;
	while (c->out_count) {
		unsigned first = c->out_first, len = c->out_count;
		ssize_t n;
		int error;

		if (len > CONSOLE_OUT - first)
			len = CONSOLE_OUT - first;
		pthread_mutex_unlock(&c->lock);
		n = write_some(c, c->out + first, len);
		error = errno;
		pthread_mutex_lock(&c->lock);
		if (n < 0 && error == EINTR)
			continue;
		if (n < 0 && error == EAGAIN) {
			wait_for_reader(c);
			break;
		}
		if (n < 0) {
			lose_reader(c, error);
		} else {
			c->out_first = (first + (unsigned)n) % CONSOLE_OUT;
			c->out_count -= (unsigned)n;
		}
		pthread_cond_broadcast(&c->room);
		if (c->room_wanted)
			wake(c);
	}
	c->writing = false;
	if (!c->out_count)
		c->scheduled = false;
	pthread_mutex_unlock(&c->lock);
}

size_t console_write(struct console *c, const uint8_t *data, size_t len)
{
	bool flush = false;
	size_t taken = 0;

	pthread_mutex_lock(&c->lock);
	if (c->reader_gone)
		taken = len; /* into the void, gladly */
	while (taken < len && c->out_count < CONSOLE_OUT) {
		unsigned end = (c->out_first + c->out_count) % CONSOLE_OUT;
		size_t n = CONSOLE_OUT - c->out_count;

		if (n > CONSOLE_OUT - end)
			n = CONSOLE_OUT - end;
		if (n > len - taken)
			n = len - taken;
		memcpy(c->out + end, data + taken, n);
		/* Not again for each piece when the reader is slow: it is scheduled then. */
		flush |= c->out_count < FLUSH_AT && c->out_count + n >= FLUSH_AT;
		c->out_count += (unsigned)n;
		taken += n;
	}
	if (taken < len)
		c->room_wanted = true;
	if (c->out_count && !c->scheduled)
		schedule_flush(c);
	pthread_mutex_unlock(&c->lock);
	if (flush)
		console_flush(c);
	return taken;
}

bool console_put(struct console *c, uint8_t byte)
{
	bool ok = true, flush = false;

	pthread_mutex_lock(&c->lock);
	if (c->reader_gone) {
		/* As above. */
	} else if (c->out_count == CONSOLE_OUT) {
		ok = false;
	} else {
		c->out[(c->out_first + c->out_count++) % CONSOLE_OUT] = byte;
		flush = c->out_count == FLUSH_AT;
		if (!c->scheduled)
			schedule_flush(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (flush)
		console_flush(c);
	return ok;
}

bool console_wait(struct console *c)
{
	bool stopping;

	console_flush(c);
	pthread_mutex_lock(&c->lock);
	while (c->out_count == CONSOLE_OUT && !c->stopping)
		pthread_cond_wait(&c->room, &c->lock);
	stopping = c->stopping;
	pthread_mutex_unlock(&c->lock);
	return !stopping;
}

void console_stop(struct console *c, bool stop)
{
	pthread_mutex_lock(&c->lock);
	c->stopping = stop;
	pthread_cond_broadcast(&c->room);
	pthread_mutex_unlock(&c->lock);
}

void console_finish(struct console *c, bool (*abort)(void *opaque), void *opaque)
{
	struct pollfd p = { .fd = c->out_fd, .events = POLLOUT };

	for (;;) {
		console_flush(c);
		report_loss(c);
		offer_room(c);
		if ((c->out_count == 0 && !c->room_wanted) || abort(opaque))
			return;
		poll(&p, 1, 100);
	}
}

static void on_timer(void *opaque, uint32_t events)
{
	struct console *c = opaque;
	uint64_t expirations;

	if (read(c->timer_source.fd, &expirations, sizeof(expirations)) > 0)
		console_flush(c);
}

static void on_writable(void *opaque, uint32_t events)
{
	console_flush(opaque);
}

/* ---- input ---- */

size_t console_read(struct console *c, enum console_port port, uint8_t *data, size_t len)
{
	bool resume = false;
	size_t n = 0;

	if (!console_ready(c, port))
		return 0;
	pthread_mutex_lock(&c->lock);
	while (n < len && c->in_count) {
		data[n++] = c->in[c->in_first];
		c->in_first = (c->in_first + 1) % CONSOLE_IN;
		c->in_count--;
	}
	if (c->in_paused && c->in_count <= CONSOLE_IN / 2) {
		c->in_paused = false;
		resume = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (resume)
		wake(c);
	return n;
}

int console_get(struct console *c, enum console_port port)
{
	uint8_t byte;

	return console_read(c, port, &byte, 1) ? byte : -1;
}

static void offer_input(struct console *c)
{
	enum console_port port = console_listener(c);

	if (c->in_count && c->port[port].ops)
		c->port[port].ops->input(c->port[port].opaque);
}

void console_listen(struct console *c, enum console_port port, bool listens)
{
	/* What was typed before may have found its reader. */
	if (atomic_exchange(&c->port[port].listens, listens) != listens && c->in_count)
		wake(c);
}

void console_prefer(struct console *c, enum console_port port)
{
	c->preferred = port;
}

void console_attach(struct console *c, enum console_port port, const struct console_port_ops *ops,
		    void *opaque)
{
	c->port[port].ops = ops;
	c->port[port].opaque = opaque;
	c->port[port].listens = false;
}

static bool is_null_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static void end_of_input(struct console *c)
{
	c->in_eof = true;
	if (c->in_pollable)
		eventloop_remove(c->loop, &c->in_source);
	/* Who gives us /dev/null knows that there is nothing in it. */
	if (!is_null_device(c->in_fd))
		c->ops->warn(c->opaque, "standard input has ended (the guest goes on without input)");
}

static void store_input(struct console *c, const uint8_t *data, size_t len)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < len; i++)
		c->in[(c->in_first + c->in_count++) % CONSOLE_IN] = data[i];
	pthread_mutex_unlock(&c->lock);
	offer_input(c);
}

/*
 * Reads once, no more than there is room for. False: leave the descriptor
 * alone until on_wake() or console_resume().
 */
static bool read_input(struct console *c)
{
	bool filter = c->tty && c->tty->present, end = false;
	uint8_t raw[CONSOLE_IN / 2], data[TTY_FILTER_ROOM(sizeof(raw))];
	size_t room, len;
	ssize_t n;

	if (c->in_eof)
		return false;
	pthread_mutex_lock(&c->lock);
	room = CONSOLE_IN - c->in_count;
	if (room < CONSOLE_IN / 2) {
		c->in_paused = true;
		room = 0;
	}
	pthread_mutex_unlock(&c->lock);
	if (room == 0)
		return false;
	room /= 2; /* the filter may double it */
	n = read(c->in_fd, raw, room < sizeof(raw) ? room : sizeof(raw));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return c->in_pollable;
	/* We are in the background. (Or the terminal hung up, and SIGHUP ends us.) */
	if (n < 0 && errno == EIO && filter)
		return false;
	if (n <= 0) {
		end_of_input(c);
		return false;
	}
	if (filter) {
		end = tty_filter(c->tty, raw, (size_t)n, data, &len, now_ms());
		store_input(c, data, len);
	} else {
		store_input(c, raw, (size_t)n);
	}
	if (end)
		c->ops->escape(c->opaque);
	return !end;
}

/* One shot each: a pipe whose writer is gone is ready for ever, even when we have no room. */
#define INPUT_EVENTS (EPOLLIN | EPOLLONESHOT)

static void on_readable(void *opaque, uint32_t events)
{
	struct console *c = opaque;

	if (read_input(c))
		eventloop_rearm(c->loop, &c->in_source, INPUT_EVENTS);
}

void console_resume(struct console *c)
{
	if (c->in_pollable && !c->in_eof && !c->in_paused)
		eventloop_rearm(c->loop, &c->in_source, INPUT_EVENTS);
}

/* There is room again, for input or output, or somebody new to listen. */
static void on_wake(void *opaque, uint32_t events)
{
	struct console *c = opaque;
	eventfd_t count;

	eventfd_read(c->wake_source.fd, &count);
	report_loss(c);
	offer_room(c);
	offer_input(c);
	if (c->in_eof)
		return;
	if (c->in_pollable)
		eventloop_rearm(c->loop, &c->in_source, INPUT_EVENTS);
	else
		while (read_input(c))
			;
}

/* ---- the window ---- */

bool console_size(struct console *c, unsigned *columns, unsigned *rows)
{
	struct winsize size;

	if (ioctl(c->in_fd, TIOCGWINSZ, &size) < 0 &&
	    (c->out_fd < 0 || ioctl(c->out_fd, TIOCGWINSZ, &size) < 0))
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}

void console_resized(struct console *c)
{
	for (unsigned i = 0; i < CONSOLE_PORTS; i++)
		if (c->port[i].ops && c->port[i].ops->resized)
			c->port[i].ops->resized(c->port[i].opaque);
}

/* ---- construction ---- */

static int open_output(struct console *c, int fd)
{
	struct stat st;
	char path[32];

	if (fstat(fd, &st) < 0) {
		/* Closed: the guest talks to itself. */
		c->reader_gone = true;
		c->out_fd = -1;
		return 0;
	}
	c->out_socket = S_ISSOCK(st.st_mode);
	/* Regular files never block for long. */
	c->out_nonblock = S_ISREG(st.st_mode);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		c->out_fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		c->out_nonblock = c->out_fd >= 0;
		if (c->out_nonblock)
			return 0;
	}
	c->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return c->out_fd < 0 ? -errno : 0;
}

static int watch(struct console *c, struct event_source *src, int fd, void (*ready)(void *, uint32_t),
		 uint32_t events)
{
	*src = (struct event_source){ .fd = fd, .ready = ready, .opaque = c };
	return eventloop_add(c->loop, src, events);
}

static int watch_input(struct console *c)
{
	int error = watch(c, &c->in_source, c->in_fd, on_readable, INPUT_EVENTS);

	c->in_pollable = error == 0;
	if (error == -EPERM) {
		/* A file: always ready. Start reading as if there were room again. */
		wake(c);
		return 0;
	}
	if (error == -EBADF) {
		c->in_eof = true;
		return 0;
	}
	return error;
}

int console_create(struct console *c, struct eventloop *loop, int in_fd, int out_fd, struct tty *tty,
		   const struct console_ops *ops, void *opaque)
{
	int error;

	memset(c, 0, sizeof(*c));
	c->loop = loop;
	c->in_fd = in_fd;
	c->out_fd = -1;
	c->tty = tty;
	c->ops = ops;
	c->opaque = opaque;
	c->timer_source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	c->wake_source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->room, NULL);
	if (c->timer_source.fd < 0 || c->wake_source.fd < 0) {
		error = -errno;
		goto fail;
	}
	error = open_output(c, out_fd);
	if (error)
		goto fail;
	error = watch(c, &c->timer_source, c->timer_source.fd, on_timer, EPOLLIN);
	if (error)
		goto fail;
	error = watch(c, &c->wake_source, c->wake_source.fd, on_wake, EPOLLIN);
	if (error)
		goto fail;
	/* Silent until wait_for_reader(); a file cannot be waited for, and need not. */
	c->can_wait_out = c->out_fd >= 0 &&
			  watch(c, &c->out_source, c->out_fd, on_writable, EPOLLONESHOT) == 0;
	error = watch_input(c);
	if (error)
		goto fail;
	return 0;
fail:
	console_destroy(c);
	return error;
}

void console_destroy(struct console *c)
{
	eventloop_remove(c->loop, &c->in_source);
	eventloop_remove(c->loop, &c->out_source);
	eventloop_remove(c->loop, &c->timer_source);
	eventloop_remove(c->loop, &c->wake_source);
	if (c->out_fd >= 0)
		close(c->out_fd);
	if (c->timer_source.fd >= 0)
		close(c->timer_source.fd);
	if (c->wake_source.fd >= 0)
		close(c->wake_source.fd);
	pthread_cond_destroy(&c->room);
	pthread_mutex_destroy(&c->lock);
}
