/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap interface: the other end of it is a network interface of the host's
 * kernel. Three ways to come by one:
 *
 *   --tunnet=IP           we create it and give the host that address on it
 *   --tunnet=bridge:NAME  we create it and plug it into a bridge
 *   --net=tap:NAME        somebody made it for us: no privileges needed
 *
 * With IFF_VNET_HDR the kernel's packets carry the header that network.h
 * describes, so a large segment of the guest's TCP crosses the host in one
 * piece, and may come out at the other guest's end still whole. Headers are
 * checked before (virtio/net_tx.c), and by the kernel, which trusts nobody.
 */
#include "host/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "host/eventloop.h"

#define BIT(feature) (1ull << (feature))

struct tap {
	struct network net;
	struct network_user user;
	struct eventloop *loop;
	struct event_source source; /* fd is ours */
	char name[IFNAMSIZ];
	bool started, gone;
	bool want_read, want_write;
	uint32_t armed; /* what the loop waits for */
};

static struct tap *to_tap(struct network *net)
{
	return (struct tap *)net;
}

/* ---- packets ---- */

static void arm(struct tap *t)
{
	uint32_t events = 0;

	if (t->started && !t->gone)
		events = (t->want_read ? EPOLLIN : 0) | (t->want_write ? EPOLLOUT : 0);
	if (events == t->armed)
		return;
	t->armed = events;
	eventloop_rearm(t->loop, &t->source, events);
}

/* Somebody has deleted the interface. */
static void lose(struct tap *t, int error)
{
	char line[128];

	if (t->gone)
		return;
	t->gone = true;
	arm(t);
	snprintf(line, sizeof(line), "network interface %s: %s (the guest goes on without)", t->name,
		 strerror(error));
	t->user.warn(t->user.opaque, line);
	t->user.lost(t->user.opaque);
}

static void on_event(void *opaque, uint32_t events)
{
	struct tap *t = opaque;

	pthread_mutex_lock(t->user.lock);
	if (t->started && (events & EPOLLOUT) && t->want_write) {
		t->want_write = false;
		t->user.writable(t->user.opaque);
	}
	if (t->started && t->want_read && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		t->user.readable(t->user.opaque);
	if (t->started)
		t->user.done(t->user.opaque);
	if (events & (EPOLLERR | EPOLLHUP))
		lose(t, ENODEV);
	arm(t);
	pthread_mutex_unlock(t->user.lock);
}

static int tap_send(struct network *net, const struct iovec *iov, unsigned count, size_t len)
{
	struct tap *t = to_tap(net);
	ssize_t n;

	if (t->gone)
		return -ENODEV;
	do
		n = writev(t->source.fd, iov, (int)count);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno != EAGAIN)
		return -errno; /* EIO: the interface is down */
	t->want_write = true;
	arm(t);
	return -EAGAIN;
}

static void tap_flush(struct network *net)
{
}

static size_t tap_receive(struct network *net, const struct iovec *iov, unsigned count)
{
	struct tap *t = to_tap(net);
	ssize_t n;

	if (t->gone)
		return 0;
	do
		n = readv(t->source.fd, iov, (int)count);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		lose(t, errno);
	return n > (ssize_t)sizeof(struct virtio_net_hdr) ? (size_t)n - sizeof(struct virtio_net_hdr) : 0;
}

static void tap_want_read(struct network *net, bool want)
{
	struct tap *t = to_tap(net);

	t->want_read = want;
	arm(t);
}

static void tap_wake(struct network *net)
{
	struct tap *t = to_tap(net);

	/* It is, nearly always, at once. */
	t->want_write = true;
	arm(t);
}

/* ---- start and stop ---- */

static unsigned offloads(uint64_t features)
{
	unsigned flags = 0;

	if (!(features & BIT(VIRTIO_NET_F_GUEST_CSUM)))
		return 0;
	flags |= TUN_F_CSUM;
	if (features & BIT(VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (features & BIT(VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (flags != TUN_F_CSUM && (features & BIT(VIRTIO_NET_F_GUEST_ECN)))
		flags |= TUN_F_TSO_ECN;
	return flags;
}

/*
 * What the interface has queued is for an earlier driver, with other offloads
 * perhaps. The bound is against a sender who is faster.
 */
static void drain(struct tap *t)
{
	char header[sizeof(struct virtio_net_hdr) + NETWORK_FRAME_MIN];

	for (unsigned i = 0; i < 2000; i++)
		if (read(t->source.fd, header, sizeof(header)) < 0 && errno != EINTR)
			return;
}

static void tap_start(struct network *net, uint64_t features)
{
	struct tap *t = to_tap(net);

	if (t->gone)
		return;
	ioctl(t->source.fd, TUNSETOFFLOAD, offloads(features));
	drain(t);
	t->started = true;
	t->want_read = true;
	t->want_write = false;
	arm(t);
}

static void tap_set_offloads(struct network *net, uint64_t features)
{
	ioctl(to_tap(net)->source.fd, TUNSETOFFLOAD, offloads(features));
}

static void tap_stop(struct network *net)
{
	struct tap *t = to_tap(net);

	t->started = false;
	/* Who comes next, another driver or another program, may not know of them. */
	ioctl(t->source.fd, TUNSETOFFLOAD, 0);
	arm(t);
}

static void tap_destroy(struct network *net)
{
	struct tap *t = to_tap(net);

	eventloop_remove(t->loop, &t->source);
	close(t->source.fd);
	free(t);
}

static const struct network_ops tap_ops = {
	.start = tap_start,
	.set_offloads = tap_set_offloads,
	.stop = tap_stop,
	.send = tap_send,
	.flush = tap_flush,
	.receive = tap_receive,
	.want_read = tap_want_read,
	.wake = tap_wake,
	.destroy = tap_destroy,
};

/* ---- opening ---- */

/* Where errors go, and what they are about. */
struct opening {
	struct tap *tap;
	const struct net_config *cfg;
	int sock; /* for ioctls on interfaces */
	char what[48];
	char *err;
	size_t errlen;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct opening *o, const char *format, ...)
{
	va_list ap;
	int n = snprintf(o->err, o->errlen, "%s: ", o->what);

	va_start(ap, format);
	if (n >= 0 && (size_t)n < o->errlen)
		vsnprintf(o->err + n, o->errlen - (size_t)n, format, ap);
	va_end(ap);
	return false;
}

static void set_name(struct ifreq *req, const char *name)
{
	memset(req, 0, sizeof(*req));
	snprintf(req->ifr_name, sizeof(req->ifr_name), "%s", name);
}

static bool open_device(struct opening *o)
{
	o->tap->source.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (o->tap->source.fd >= 0)
		return true;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return fail(o, "/dev/net/tun: %s (load the tun module: modprobe tun)", strerror(errno));
	return fail(o, "/dev/net/tun: %s (chmod 666 /dev/net/tun, as root, or use --net=user)",
		    strerror(errno));
}

/* TUNSETIFF would create what does not exist, were we root. */
static bool check_exists(struct opening *o, const char *name)
{
	struct ifreq req;

	set_name(&req, name);
	if (ioctl(o->sock, SIOCGIFINDEX, &req) == 0)
		return true;
	return fail(o,
		    "there is no such interface (ip tuntap add dev %s mode tap user \"$USER\" && "
		    "ip link set %s up, as root)",
		    name, name);
}

static bool attach(struct opening *o, const char *name)
{
	struct tap *t = o->tap;
	struct ifreq req;
	int error;

	set_name(&req, name);
	req.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	error = ioctl(t->source.fd, TUNSETIFF, &req) < 0 ? errno : 0;
	if (error == EINVAL) {
		/* Made with multi_queue, perhaps: one queue of it will do. */
		req.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
		error = ioctl(t->source.fd, TUNSETIFF, &req) < 0 ? errno : 0;
	}
	if (!error) {
		memcpy(t->name, req.ifr_name, sizeof(t->name));
		t->name[sizeof(t->name) - 1] = 0;
		return true;
	}
	if (o->cfg->kind != NET_TAP && error == EPERM)
		return fail(o,
			    "creating a tap interface: %s (run as root, or use --net=user or an existing "
			    "interface with --net=tap:NAME)",
			    strerror(error));
	switch (error) {
	case EPERM:
		return fail(o,
			    "not yours (ip tuntap del dev %s mode tap; ip tuntap add dev %s mode tap user "
			    "\"$USER\", as root)",
			    name, name);
	case EBUSY: return fail(o, "another program uses it (one guest for each interface)");
	case EINVAL: return fail(o, "no tap interface (make one: ip tuntap add dev NAME mode tap)");
	default: return fail(o, "attaching to a tap interface: %s", strerror(error));
	}
}

/* Which interface has that address already? NULL: none. @name: IFNAMSIZ bytes */
static const char *owner_of(uint32_t ip, char *name)
{
	struct ifaddrs *list, *i;
	const char *owner = NULL;

	if (getifaddrs(&list) < 0)
		return NULL;
	for (i = list; i; i = i->ifa_next) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)i->ifa_addr;

		if (in && in->sin_family == AF_INET && in->sin_addr.s_addr == htonl(ip)) {
			snprintf(name, IFNAMSIZ, "%s", i->ifa_name);
			owner = name;
			break;
		}
	}
	freeifaddrs(list);
	return owner;
}

static bool set_address(struct opening *o)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(o->cfg->ip) };
	char name[IFNAMSIZ];
	struct ifreq req;

	if (owner_of(o->cfg->ip, name))
		return fail(o, "address already in use by interface %s (choose one of another network)",
			    name);
	set_name(&req, o->tap->name);
	memcpy(&req.ifr_addr, &in, sizeof(in));
	if (ioctl(o->sock, SIOCSIFADDR, &req) < 0)
		return fail(o, "setting the address of %s: %s (choose a unicast IPv4 address)", o->tap->name,
			    strerror(errno));
	return true;
}

static bool join_bridge(struct opening *o)
{
	const char *bridge = o->cfg->name;
	struct ifreq req;
	int index;

	set_name(&req, o->tap->name);
	if (ioctl(o->sock, SIOCGIFINDEX, &req) < 0)
		return fail(o, "interface %s: %s", o->tap->name, strerror(errno));
	index = req.ifr_ifindex;
	set_name(&req, bridge);
	req.ifr_ifindex = index;
	if (ioctl(o->sock, SIOCBRADDIF, &req) == 0)
		return true;
	switch (errno) {
	case ENODEV:
		return fail(o, "there is no such interface (ip link add %s type bridge && ip link set %s up)",
			    bridge, bridge);
	case EOPNOTSUPP:
	case EINVAL: return fail(o, "%s is no bridge (ip link add NAME type bridge makes one)", bridge);
	default: return fail(o, "joining the bridge: %s", strerror(errno));
	}
}

static bool bring_up(struct opening *o)
{
	struct ifreq req;

	set_name(&req, o->tap->name);
	if (ioctl(o->sock, SIOCGIFFLAGS, &req) == 0) {
		req.ifr_flags |= IFF_UP;
		if (ioctl(o->sock, SIOCSIFFLAGS, &req) == 0)
			return true;
	}
	return fail(o, "bringing %s up: %s", o->tap->name, strerror(errno));
}

/* How the interface is: its MTU, and whether packets will go anywhere. */
static void look(struct opening *o)
{
	struct tap *t = o->tap;
	struct ifreq req;
	char line[128];

	t->net.mtu = 1500;
	set_name(&req, t->name);
	if (ioctl(o->sock, SIOCGIFMTU, &req) == 0 && req.ifr_mtu >= 68 && req.ifr_mtu <= 65535)
		t->net.mtu = (uint16_t)req.ifr_mtu;
	set_name(&req, t->name);
	if (ioctl(o->sock, SIOCGIFFLAGS, &req) == 0 && !(req.ifr_flags & IFF_UP)) {
		snprintf(line, sizeof(line), "%s: the interface is down (ip link set %s up, as root)",
			 o->what, t->name);
		t->user.warn(t->user.opaque, line);
	}
}

static bool set_up(struct opening *o)
{
	struct tap *t = o->tap;
	int size = sizeof(struct virtio_net_hdr);
	const unsigned all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	switch (o->cfg->kind) {
	case NET_TUN_IP:
		if (!open_device(o) || !attach(o, "tap%d") || !set_address(o) || !bring_up(o))
			return false;
		break;
	case NET_TUN_BRIDGE:
		if (!open_device(o) || !attach(o, "tap%d") || !join_bridge(o) || !bring_up(o))
			return false;
		break;
	default:
		if (!check_exists(o, o->cfg->name) || !open_device(o) || !attach(o, o->cfg->name))
			return false;
	}
	/* Hosts before Linux 2.6.35 do not know the request (EINVAL), and no other size than this one. */
	if (ioctl(t->source.fd, TUNSETVNETHDRSZ, &size) < 0 && errno != EINVAL)
		return fail(o, "packet headers: %s", strerror(errno));
	t->net.features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
			  BIT(VIRTIO_NET_F_HOST_ECN);
	if (ioctl(t->source.fd, TUNSETOFFLOAD, all) == 0)
		t->net.features |= BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
				   BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN);
	ioctl(t->source.fd, TUNSETOFFLOAD, 0);
	look(o);
	return true;
}

static void describe(struct opening *o)
{
	struct in_addr in = { htonl(o->cfg->ip) };
	char ip[INET_ADDRSTRLEN];

	switch (o->cfg->kind) {
	case NET_TUN_IP:
		inet_ntop(AF_INET, &in, ip, sizeof(ip));
		snprintf(o->what, sizeof(o->what), "--tunnet=%s", ip);
		snprintf(o->tap->net.identity, sizeof(o->tap->net.identity), "%s", ip);
		break;
	case NET_TUN_BRIDGE: snprintf(o->what, sizeof(o->what), "--tunnet=bridge:%s", o->cfg->name); break;
	default: snprintf(o->what, sizeof(o->what), "--net=tap:%s", o->cfg->name);
	}
}

struct network *tap_open(const struct net_config *cfg, struct eventloop *loop,
			 const struct network_user *user, char *err, size_t errlen)
{
	struct tap *t = calloc(1, sizeof(*t));
	struct opening o = { .tap = t, .cfg = cfg, .err = err, .errlen = errlen };
	bool ok;

	if (!t) {
		snprintf(err, errlen, "network: out of memory");
		return NULL;
	}
	t->net.ops = &tap_ops;
	t->user = *user;
	t->loop = loop;
	t->source = (struct event_source){ .fd = -1, .ready = on_event, .opaque = t };
	describe(&o);
	o.sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ok = o.sock >= 0 ? set_up(&o) : fail(&o, "socket: %s", strerror(errno));
	if (o.sock >= 0)
		close(o.sock);
	/* Guests on one bridge have taps with different names. */
	if (!t->net.identity[0])
		snprintf(t->net.identity, sizeof(t->net.identity), "%s", t->name);
	if (ok) {
		int error = eventloop_add_shared(loop, &t->source, 0);

		if (!error)
			return &t->net;
		fail(&o, "event loop: %s", strerror(-error));
	}
	if (t->source.fd >= 0)
		close(t->source.fd);
	free(t);
	return NULL;
}
