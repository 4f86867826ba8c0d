/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network of the host, as a network card sees it: where frames go and come
 * from. Two kinds: a tap interface (tap.c) and user-mode networking (usernet.c).
 *
 * Each packet has a struct virtio_net_hdr in front (virtio 1.2, 5.1.6: ten
 * bytes, without num_buffers), by which sender and receiver leave work to each
 * other: a checksum that is not there yet, a large TCP segment still to be cut.
 * The user checks the headers that it sends, for the guest wrote them.
 *
 * All of it runs under the user's lock. The back end takes the lock itself when
 * the host has something (on the event loop's thread); ops are called with it
 * held, on any thread, and never wait.
 */
#ifndef LGUEST_HOST_NETWORK_H
#define LGUEST_HOST_NETWORK_H

#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct eventloop;
struct net_config;
struct network;

/* Ethernet header with VLAN tag, and all that an IP packet can hold. */
#define NETWORK_FRAME_MAX (18 + 65535)
#define NETWORK_FRAME_MIN 14

/* The network card. Its functions are called with @lock held. */
struct network_user {
	pthread_mutex_t *lock;
	/*
	 * Packets may wait: take them with receive(). Also from inside send(), for
	 * a user-mode network answers at once.
	 */
	void (*readable)(void *opaque);
	/* After send() said -EAGAIN, or wake(): send may work now. */
	void (*writable)(void *opaque);
	/* The last readable() or writable() of a row: time to interrupt the guest. */
	void (*done)(void *opaque);
	/* There will be no packets any more. */
	void (*lost)(void *opaque);
	/* One line for the user of the program. */
	void (*warn)(void *opaque, const char *line);
	void *opaque;
};

struct network_ops {
	/*
	 * The guest's driver is there. @features: bits (1 << VIRTIO_NET_F_...) of
	 * what was negotiated. Forgets what came before.
	 */
	void (*start)(struct network *net, uint64_t features);
	/* The guest wants fewer or more offloads of received packets: bits of GUEST_CSUM, GUEST_TSO4... */
	void (*set_offloads)(struct network *net, uint64_t features);
	/* Nothing is called until the next start(). Fine from inside readable() and send(). */
	void (*stop)(struct network *net);
	/*
	 * Sends one packet: iov[0] is the header, the rest the frame, @len bytes of it
	 * (NETWORK_FRAME_MIN to NETWORK_FRAME_MAX). 0; -EAGAIN: not now, writable()
	 * will be called; other -errno: lost. The frame may be in guest memory.
	 */
	int (*send)(struct network *net, const struct iovec *iov, unsigned count, size_t len);
	/* After the last send() of a row. */
	void (*flush)(struct network *net);
	/*
	 * The next packet, in the same form. Length of the frame, which may be more
	 * than fits into @iov (the rest is lost); 0: none waits, or it was broken.
	 */
	size_t (*receive)(struct network *net, const struct iovec *iov, unsigned count);
	/* False: no room for packets, do not call readable() until true. Starts as true. */
	void (*want_read)(struct network *net, bool want);
	/* Calls writable() on the event loop's thread, soon. */
	void (*wake)(struct network *net);
	/* Main thread. */
	void (*destroy)(struct network *net);
};

struct network {
	const struct network_ops *ops;
	/* Features that it can do: CSUM, GUEST_CSUM, HOST_TSO4... */
	uint64_t features;
	uint16_t mtu;
	/* What makes this network another one than others on this host; for default MAC addresses. */
	char identity[32];
};

/*
 * Opens what @cfg asks for. @user is copied, its lock need not be initialised
 * before the loop runs. NULL with one line in @err.
 */
struct network *network_open(const struct net_config *cfg, struct eventloop *loop,
			     const struct network_user *user, char *err, size_t errlen);

/* The two kinds. */
struct network *tap_open(const struct net_config *cfg, struct eventloop *loop,
			 const struct network_user *user, char *err, size_t errlen);
struct network *usernet_open(const struct net_config *cfg, struct eventloop *loop,
			     const struct network_user *user, char *err, size_t errlen);

/*
 * A locally administered address for card number @index on @net that is the
 * same in each run, and another one on each network that guests could meet on.
 */
void network_default_mac(const struct network *net, unsigned index, uint8_t mac[6]);

#endif
