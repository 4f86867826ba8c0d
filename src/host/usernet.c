/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-mode networking: libslirp plays the rest of the world for the guest (a
 * router, a DHCP and a DNS server) and turns its connections into sockets of
 * ours. No privileges, no interface.
 *
 *   10.0.2.0/24    .2 router and host's loopback, .3 DNS, .15 guest (by DHCP)
 *   fec0::/64      ::2 and ::3 likewise; the guest finds its own by router advertisement
 *
 * Threads. The guest's packets go into slirp on the vCPU's thread, and slirp
 * answers from inside; sockets are looked after on the event loop's. The
 * card's lock is what keeps them apart. The sockets stand in an epoll set of their
 * own, which is one source of the loop: a change of it by the vCPU's thread
 * needs no wake-up of the other.
 *
 * Speed. Slirp knows packets only, but takes large ones: a 64 KiB segment
 * costs it hardly more than a small one. So the guest may leave checksums and
 * segmentation to us (offload.c does the sums), and gets packets of up to 32 KiB
 * back. For the latter slirp must believe that the MTU is that of loopback and
 * that the guest takes such segments (we write that into its SYNs, of which slirp 4.7
 * forgets what they say when the connection takes its time). What comes of it is
 * handed over as large segments to be cut, at the guest's true MTU, or is cut here.
 */
#include "host/network.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <glib.h>
#include <libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "host/eventloop.h"
#include "host/offload.h"
#include "host/pollset.h"

#define BIT(feature) (1ull << (feature))

#define MTU       1500
#define SLIRP_MTU 65521 /* the largest that slirp takes */
/* What the guest's SYN says instead of 1460: the largest segment that slirp makes. */
#define LARGE_MSS 32768
/* Frames that wait for the guest to give buffers; more are lost, as on a wire. */
#define QUEUE_MAX (1u << 20)
/* How often the vCPU's thread looks after sockets in one doorbell. */
#define EAGER 2
#define NEVER INT64_MAX

struct usernet_frame {
	struct usernet_frame *next;
	struct virtio_net_hdr hdr;
	size_t len;
	uint8_t data[];
};

/* What we use of libslirp, loaded when it is needed: most guests start faster without. */
#define LIBRARY "libslirp.so.0"
#define FUNCTIONS(X)          \
	X(slirp_new)          \
	X(slirp_cleanup)      \
	X(slirp_pollfds_fill) \
	X(slirp_pollfds_poll) \
	X(slirp_input)        \
	X(slirp_handle_timer) \
	X(slirp_add_hostxfwd) \
	X(g_log_set_handler)
struct slirp_library {
#define X(name) __typeof__(name) *name;
	FUNCTIONS(X)
#undef X
};

/* Slirp's only timer: router advertisements. */
struct usernet_timer {
	struct usernet *usernet;
	SlirpTimerId id;
	void *opaque;
	int64_t due; /* ms, or NEVER */
};

struct usernet {
	struct network net;
	struct network_user user;
	struct eventloop *loop;
	struct net_config cfg;
	struct slirp_library lib;
	Slirp *slirp;
	bool started, want_read;
	bool used; /* by a driver: the next one gets a fresh world */
	bool writable_due;
	uint64_t features;

	struct pollset set;              /* slirp's descriptors */
	struct event_source poll_source; /* set.epoll */
	uint32_t poll_armed;
	struct event_source timer_source; /* timerfd, ours */
	int64_t timer_armed;              /* ms, or NEVER */
	struct usernet_timer *timer;

	/* On its way to the guest: the frame that slirp has in its hand, or the first of the queue. */
	const uint8_t *current;
	size_t current_len;
	struct virtio_net_hdr current_hdr;
	struct usernet_frame *first, **last;
	size_t queued;
	uint32_t fragment_id;

	uint8_t out[NETWORK_FRAME_MAX];  /* a packet of the guest, in one piece */
	uint8_t half[NETWORK_FRAME_MAX]; /* less than that, where slirp does not take all of it */
	uint8_t in[NETWORK_FRAME_MAX];   /* one of slirp's that had to be changed */
	uint8_t piece[MTU + 64];         /* a fragment of it */
};

static struct usernet *to_usernet(struct network *net)
{
	return (struct usernet *)net;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- the sockets that slirp waits for ---- */

static int add_poll(int fd, int events, void *opaque)
{
	struct usernet *u = opaque;
	uint32_t wanted = (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
			  (events & SLIRP_POLL_PRI ? EPOLLPRI : 0) |
			  (events & SLIRP_POLL_ERR ? EPOLLERR : 0) | (events & SLIRP_POLL_HUP ? EPOLLHUP : 0);

	return pollset_want(&u->set, fd, wanted) ? fd : -1;
}

/* Slirp reads on any error and ends the program when it has no room: it must hear of none that it did not ask for. */
static int get_ready(int fd, void *opaque)
{
	struct usernet *u = opaque;
	uint32_t ready = pollset_ready(&u->set, fd);

	return (ready & EPOLLIN ? SLIRP_POLL_IN : 0) | (ready & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (ready & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (ready & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (ready & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* A descriptor is new, or about to be closed. */
static void forget_poll(int fd, void *opaque)
{
	struct usernet *u = opaque;

	pollset_forget(&u->set, fd);
}

static void set_timer(struct usernet *u, int64_t due)
{
	struct itimerspec when = { 0 };

	if (u->timer && u->timer->due < due)
		due = u->timer->due;
	/* Too early costs less than setting it anew each time. */
	if (u->timer_armed <= due)
		return;
	u->timer_armed = due;
	if (due < 1)
		due = 1; /* zero would disarm */
	when.it_value.tv_sec = due / 1000;
	when.it_value.tv_nsec = due % 1000 * 1000000;
	timerfd_settime(u->timer_source.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* What slirp waits for has changed, perhaps. */
static void fill(struct usernet *u)
{
	uint32_t timeout = UINT32_MAX;

	pollset_begin(&u->set);
	u->lib.slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
	pollset_end(&u->set);
	if (timeout != UINT32_MAX)
		set_timer(u, now_ns() / 1000000 + timeout);
}

/* While frames wait for the guest, no more are made. */
static void arm_sockets(struct usernet *u)
{
	uint32_t events = u->started && u->want_read && !u->first ? EPOLLIN : 0;

	if (events == u->poll_armed)
		return;
	u->poll_armed = events;
	eventloop_rearm(u->loop, &u->poll_source, events);
}

/* From here on others may wait for what slirp wants. */
static void settle(struct usernet *u)
{
	pollset_arm(&u->set);
	arm_sockets(u);
}

/* Lock held. @sockets: look at them, too, not only at the time. */
static void work(struct usernet *u, bool sockets)
{
	if (sockets)
		pollset_take(&u->set);
	u->lib.slirp_pollfds_poll(u->slirp, !sockets, get_ready, u);
	fill(u);
	settle(u);
}

/* What has waited for the guest's buffers. The rest soon, if that was too much for one time. */
static void take_queue(struct usernet *u)
{
	if (u->first && u->want_read && u->started)
		u->user.readable(u->user.opaque);
	if (u->first && u->want_read && u->started)
		set_timer(u, 0);
}

static void on_sockets(void *opaque, uint32_t events)
{
	struct usernet *u = opaque;

	pthread_mutex_lock(u->user.lock);
	if (u->poll_armed) {
		work(u, true);
		if (u->started)
			u->user.done(u->user.opaque);
	}
	pthread_mutex_unlock(u->user.lock);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct usernet *u = opaque;
	uint64_t count;
	int64_t now;

	if (read(u->timer_source.fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(u->user.lock);
	u->timer_armed = NEVER;
	if (u->writable_due && u->started) {
		u->writable_due = false;
		u->user.writable(u->user.opaque);
	}
	take_queue(u);
	now = now_ns() / 1000000;
	if (u->timer && u->timer->due <= now) {
		u->timer->due = NEVER;
		u->lib.slirp_handle_timer(u->slirp, u->timer->id, u->timer->opaque);
	}
	work(u, false);
	if (u->started)
		u->user.done(u->user.opaque);
	pthread_mutex_unlock(u->user.lock);
}

/* ---- what slirp calls ---- */

static int64_t clock_get_ns(void *opaque)
{
	return now_ns();
}

static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct usernet *u = opaque;
	struct usernet_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort(); /* as all of slirp does */
	*t = (struct usernet_timer){ .usernet = u, .id = id, .opaque = cb_opaque, .due = NEVER };
	u->timer = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct usernet *u = opaque;

	if (u->timer == timer)
		u->timer = NULL;
	free(timer);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct usernet_timer *t = timer;

	t->due = expire_ms;
	set_timer(t->usernet, expire_ms);
}

/* Who calls slirp fills afterwards anyway. */
static void notify(void *opaque)
{
}

/* Slirp's opinion of a packet of the guest's: of no use to anybody. */
static void guest_error(const char *msg, void *opaque)
{
}

static void enqueue(struct usernet *u)
{
	struct usernet_frame *f;

	if (u->queued + u->current_len > QUEUE_MAX)
		return;
	f = malloc(sizeof(*f) + u->current_len);
	if (!f)
		return;
	f->next = NULL;
	f->hdr = u->current_hdr;
	f->len = u->current_len;
	memcpy(f->data, u->current, u->current_len);
	*u->last = f;
	u->last = &f->next;
	u->queued += u->current_len;
}

/* To the guest at once, or into the queue behind others. */
static void deliver(struct usernet *u, const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr)
{
	if (!u->started)
		return;
	u->current = frame;
	u->current_len = len;
	u->current_hdr = *hdr;
	if (!u->first && u->want_read)
		u->user.readable(u->user.opaque);
	if (u->current && u->started)
		enqueue(u);
	u->current = NULL;
}

/* Slirp has computed the sums: the guest need not do it again. */
static struct virtio_net_hdr plain_header(const struct usernet *u)
{
	bool valid = u->features & BIT(VIRTIO_NET_F_GUEST_CSUM);

	return (struct virtio_net_hdr){ .flags = valid ? VIRTIO_NET_HDR_F_DATA_VALID : 0 };
}

static void emit_piece(void *opaque, const uint8_t *frame, size_t len)
{
	struct usernet *u = opaque;
	struct virtio_net_hdr hdr = { 0 };

	deliver(u, frame, len, &hdr);
}

/* What slirp believes to fit, and does not: a segment for the guest to cut, or pieces. */
static void send_large(struct usernet *u, const uint8_t *frame, size_t len)
{
	const bool six = frame[12] == 0x86;
	struct virtio_net_hdr hdr;

	if (u->features & BIT(six ? VIRTIO_NET_F_GUEST_TSO6 : VIRTIO_NET_F_GUEST_TSO4)) {
		memcpy(u->in, frame, len);
		if (offload_large_segment(u->in, len, MTU, &hdr)) {
			deliver(u, u->in, len, &hdr);
			return;
		}
	}
	if (!offload_segment(frame, len, MTU, u->piece, emit_piece, u))
		offload_fragment(frame, len, MTU, ++u->fragment_id, u->piece, emit_piece, u);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct usernet *u = opaque;
	struct virtio_net_hdr hdr = plain_header(u);

	if (!u->started || len < NETWORK_FRAME_MIN || len > sizeof(u->in))
		return (ssize_t)len;
	if (len <= MTU + NETWORK_FRAME_MIN)
		deliver(u, buf, len, &hdr);
	else
		send_large(u, buf, len);
	return (ssize_t)len;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = forget_poll,
	.unregister_poll_fd = forget_poll,
	.notify = notify,
	.timer_new_opaque = timer_new,
};

/* ---- the world ---- */

static bool forward(struct usernet *u, const struct net_forward *f, char *err, size_t errlen)
{
	struct sockaddr_in host4 = { .sin_family = AF_INET, .sin_port = htons(f->host_port) };
	struct sockaddr_in guest4 = { .sin_family = AF_INET, .sin_port = htons(f->guest_port) };
	struct sockaddr_in6 host6 = { .sin6_family = AF_INET6, .sin6_port = htons(f->host_port) };
	struct sockaddr_in6 guest6 = { .sin6_family = AF_INET6, .sin6_port = htons(f->guest_port) };
	int flags = f->udp ? SLIRP_HOSTFWD_UDP : 0, ret;
	const char *remedy = "";

	/* What comes over IPv6 goes on over IPv6, to the address that slirp has seen of the guest. */
	if (inet_pton(AF_INET6, f->host_addr, &host6.sin6_addr) == 1) {
		ret = u->lib.slirp_add_hostxfwd(u->slirp, (struct sockaddr *)&host6, sizeof(host6),
						(struct sockaddr *)&guest6, sizeof(guest6),
						flags | SLIRP_HOSTFWD_V6ONLY);
	} else {
		if (f->host_addr[0])
			inet_pton(AF_INET, f->host_addr, &host4.sin_addr);
		ret = u->lib.slirp_add_hostxfwd(u->slirp, (struct sockaddr *)&host4, sizeof(host4),
						(struct sockaddr *)&guest4, sizeof(guest4), flags);
	}
	if (ret == 0)
		return true;
	if (errno == EADDRINUSE)
		remedy = " (another program has that port: choose another one)";
	else if (errno == EACCES)
		remedy = " (ports below 1024 need privileges: choose another one)";
	else if (errno == EADDRNOTAVAIL)
		remedy = " (no address of this host: 127.0.0.1, or leave it out for all)";
	snprintf(err, errlen, "--net=user: hostfwd %s %s port %u: %s%s", f->udp ? "udp" : "tcp",
		 f->host_addr[0] ? f->host_addr : "all addresses", f->host_port, strerror(errno), remedy);
	return false;
}

/* Its opinion of packets again, on standard error this time, which is not the guest's to fill. */
static void ignore_message(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
}

/* Never unloaded: glib does not like that. */
static bool load_library(struct slirp_library *lib, char *err, size_t errlen)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool ok = handle;

	if (!handle) {
		snprintf(err, errlen, "--net=user: %s (Debian's package libslirp0 has it)", dlerror());
		return false;
	}
#define X(name) ok = ok && (lib->name = (__typeof__(name) *)dlsym(handle, #name));
	FUNCTIONS(X)
#undef X
	if (ok)
		lib->g_log_set_handler("Slirp", G_LOG_LEVEL_MASK, ignore_message, NULL);
	else
		snprintf(err, errlen, "--net=user: %s is too old (4.7 is needed)", LIBRARY);
	return ok;
}

static void end_world(struct usernet *u)
{
	if (u->slirp)
		u->lib.slirp_cleanup(u->slirp);
	u->slirp = NULL;
	/* Closed descriptors have left the set already. */
	pollset_begin(&u->set);
	pollset_end(&u->set);
}

/* False, with a line in @err, when not all of it works. */
static bool begin_world(struct usernet *u, char *err, size_t errlen)
{
	SlirpConfig cfg = {
		.version = 4,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = "lguest",
		.if_mtu = SLIRP_MTU,
		.if_mru = SLIRP_MTU,
	};
	bool ok = true;

	inet_pton(AF_INET, "10.0.2.0", &cfg.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &cfg.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &cfg.vhost);
	inet_pton(AF_INET, "10.0.2.15", &cfg.vdhcp_start);
	inet_pton(AF_INET, "10.0.2.3", &cfg.vnameserver);
	inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
	inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
	u->slirp = u->lib.slirp_new(&cfg, &callbacks, u);
	if (!u->slirp) {
		snprintf(err, errlen, "--net=user: libslirp does not start");
		return false;
	}
	for (unsigned i = 0; ok && i < u->cfg.forwards; i++)
		ok = forward(u, &u->cfg.forward[i], err, errlen);
	fill(u);
	settle(u);
	return ok;
}

static void drop_queue(struct usernet *u)
{
	while (u->first) {
		struct usernet_frame *f = u->first;

		u->first = f->next;
		free(f);
	}
	u->last = &u->first;
	u->queued = 0;
}

/* ---- what the card calls ---- */

static void usernet_start(struct network *net, uint64_t features)
{
	struct usernet *u = to_usernet(net);
	char err[160];

	/* Connections of the kernel before are of no use to this one. */
	if (u->used) {
		end_world(u);
		if (!begin_world(u, err, sizeof(err)))
			u->user.warn(u->user.opaque, err);
	}
	u->features = features;
	u->started = u->used = u->want_read = true;
	arm_sockets(u);
}

static void usernet_set_offloads(struct network *net, uint64_t features)
{
	const uint64_t mine = BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
			      BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN);
	struct usernet *u = to_usernet(net);

	u->features = (u->features & ~mine) | features;
}

/* Perhaps called by slirp: it must live on. */
static void usernet_stop(struct network *net)
{
	struct usernet *u = to_usernet(net);

	u->started = u->writable_due = false;
	drop_queue(u);
	arm_sockets(u);
}

static void input_piece(void *opaque, const uint8_t *frame, size_t len)
{
	struct usernet *u = opaque;

	u->lib.slirp_input(u->slirp, frame, (int)len);
}

static int usernet_send(struct network *net, const struct iovec *iov, unsigned count, size_t len)
{
	struct usernet *u = to_usernet(net);
	const struct virtio_net_hdr *hdr = iov[0].iov_base;
	size_t at = 0;

	if (!u->slirp)
		return -ENETDOWN;
	for (unsigned i = 1; i < count && at < len; i++) {
		size_t n = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;

		memcpy(u->out + at, iov[i].iov_base, n);
		at += n;
	}
	/* First, for a sum that is to be completed is not there to be mended. */
	if ((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
	    !offload_complete(u->out, at, hdr->csum_start, hdr->csum_offset))
		return -EINVAL;
	if (u->features & BIT(VIRTIO_NET_F_GUEST_TSO4))
		offload_raise_mss(u->out, at, LARGE_MSS);
	/* Segments of IPv6 can be that large. */
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE || at <= SLIRP_MTU + NETWORK_FRAME_MIN ||
	    !offload_segment(u->out, at, SLIRP_MTU, u->half, input_piece, u))
		u->lib.slirp_input(u->slirp, u->out, (int)at);
	return 0;
}

static void usernet_flush(struct network *net)
{
	struct usernet *u = to_usernet(net);

	if (!u->slirp)
		return;
	fill(u);
	/*
	 * A receiver that has just made room, or a connection to this very host:
	 * what comes next is there already, most likely, and we are awake, which the
	 * event loop's thread is not.
	 */
	for (unsigned i = 0; i < EAGER && u->started && u->want_read && !u->first && pollset_peek(&u->set);
	     i++) {
		u->lib.slirp_pollfds_poll(u->slirp, 0, get_ready, u);
		fill(u);
	}
	settle(u);
}

static void put(const struct iovec *iov, unsigned count, const struct virtio_net_hdr *hdr,
		const uint8_t *frame, size_t len)
{
	memcpy(iov[0].iov_base, hdr, sizeof(*hdr));
	for (unsigned i = 1; i < count && len; i++) {
		size_t n = iov[i].iov_len < len ? iov[i].iov_len : len;

		memcpy(iov[i].iov_base, frame, n);
		frame += n;
		len -= n;
	}
}

static size_t usernet_receive(struct network *net, const struct iovec *iov, unsigned count)
{
	struct usernet *u = to_usernet(net);
	struct usernet_frame *f = u->first;
	size_t len = 0;

	if (f) {
		len = f->len;
		put(iov, count, &f->hdr, f->data, len);
		u->first = f->next;
		if (!u->first)
			u->last = &u->first;
		u->queued -= len;
		free(f);
	} else if (u->current) {
		len = u->current_len;
		put(iov, count, &u->current_hdr, u->current, len);
		u->current = NULL;
	}
	return len;
}

static void usernet_wake(struct network *net)
{
	struct usernet *u = to_usernet(net);

	u->writable_due = true;
	set_timer(u, 0);
}

static void usernet_want_read(struct network *net, bool want)
{
	struct usernet *u = to_usernet(net);

	u->want_read = want;
	if (want && u->first)
		set_timer(u, 0);
	arm_sockets(u);
}

static void usernet_destroy(struct network *net)
{
	struct usernet *u = to_usernet(net);

	end_world(u);
	drop_queue(u);
	eventloop_remove(u->loop, &u->poll_source);
	eventloop_remove(u->loop, &u->timer_source);
	if (u->timer_source.fd >= 0)
		close(u->timer_source.fd);
	pollset_destroy(&u->set);
	free(u);
}

static const struct network_ops usernet_ops = {
	.start = usernet_start,
	.set_offloads = usernet_set_offloads,
	.stop = usernet_stop,
	.send = usernet_send,
	.flush = usernet_flush,
	.receive = usernet_receive,
	.want_read = usernet_want_read,
	.wake = usernet_wake,
	.destroy = usernet_destroy,
};

static bool open_sources(struct usernet *u, char *err, size_t errlen)
{
	int error = pollset_create(&u->set);
	u->poll_source.fd = u->set.epoll;
	u->timer_source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!error && u->timer_source.fd < 0)
		error = -errno;
	if (!error)
		error = eventloop_add_shared(u->loop, &u->poll_source, 0);
	if (!error)
		error = eventloop_add(u->loop, &u->timer_source, EPOLLIN);
	if (error)
		snprintf(err, errlen, "--net=user: event sources: %s", strerror(-error));
	return !error;
}

struct network *usernet_open(const struct net_config *cfg, struct eventloop *loop,
			     const struct network_user *user, char *err, size_t errlen)
{
	struct usernet *u = calloc(1, sizeof(*u));

	if (!u) {
		snprintf(err, errlen, "--net=user: out of memory");
		return NULL;
	}
	u->net = (struct network){
		.ops = &usernet_ops,
		.features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
			    BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
			    BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
			    BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN),
		.mtu = MTU,
		.identity = "user",
	};
	u->user = *user;
	u->loop = loop;
	u->cfg = *cfg;
	u->last = &u->first;
	u->timer_armed = NEVER;
	u->set.epoll = -1;
	u->poll_source = (struct event_source){ .fd = -1, .ready = on_sockets, .opaque = u };
	u->timer_source = (struct event_source){ .fd = -1, .ready = on_timer, .opaque = u };
	if (load_library(&u->lib, err, errlen) && open_sources(u, err, errlen) && begin_world(u, err, errlen))
		return &u->net;
	usernet_destroy(&u->net);
	return NULL;
}
