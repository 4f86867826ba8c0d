/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-mode networking without a guest: the test is the network card, and says
 * what a guest's kernel would say in ARP and TCP. All connections go to
 * loopback.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "host/eventloop.h"
#include "host/network.h"
#include "host/offload.h"

#define BIT(feature) (1ull << (feature))
#define ALL          (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))
#define FRAMES       64

static const uint8_t guest_mac[6] = { 2, 'l', 'g', 1, 2, 3 };

struct card {
	pthread_mutex_t lock;
	struct eventloop loop;
	struct network *net;
	bool accept; /* take frames when told of them */
	struct {
		struct virtio_net_hdr hdr;
		uint8_t *data;
		size_t len;
	} frame[FRAMES];
	unsigned frames, seen, writables, warnings;
	uint32_t seq, ack; /* of our TCP connection, host byte order */
	uint16_t port, peer;
};

static uint8_t buffer[NETWORK_FRAME_MAX];

static void readable(void *opaque)
{
	struct card *c = opaque;
	struct virtio_net_hdr hdr;
	struct iovec iov[3] = { { &hdr, sizeof(hdr) },
				{ buffer, 100 },
				{ buffer + 100, sizeof(buffer) - 100 } };
	size_t len;

	while (c->accept && (len = c->net->ops->receive(c->net, iov, 3))) {
		assert_true(c->frames < FRAMES);
		c->frame[c->frames].hdr = hdr;
		c->frame[c->frames].data = malloc(len);
		memcpy(c->frame[c->frames].data, buffer, len);
		c->frame[c->frames++].len = len;
	}
	if (!c->accept)
		c->net->ops->want_read(c->net, false);
}

static void writable(void *opaque)
{
	((struct card *)opaque)->writables++;
}

static void done(void *opaque)
{
}

static void warn(void *opaque, const char *line)
{
	((struct card *)opaque)->warnings++;
}

static struct card *begin(const struct net_config *cfg, uint64_t features)
{
	struct card *c = calloc(1, sizeof(*c));
	struct network_user user = { .lock = &c->lock,
				     .readable = readable,
				     .writable = writable,
				     .done = done,
				     .warn = warn,
				     .opaque = c };
	char err[200] = "";

	pthread_mutex_init(&c->lock, NULL);
	assert_int_equal(eventloop_create(&c->loop), 0);
	c->net = network_open(cfg, &c->loop, &user, err, sizeof(err));
	assert_non_null(c->net);
	c->accept = true;
	c->net->ops->start(c->net, features);
	return c;
}

static void forget(struct card *c)
{
	for (unsigned i = 0; i < c->frames; i++)
		free(c->frame[i].data);
	c->frames = c->seen = 0;
}

static void end(struct card *c)
{
	c->net->ops->destroy(c->net);
	eventloop_destroy(&c->loop);
	pthread_mutex_destroy(&c->lock);
	forget(c);
	free(c);
}

static void transmit(struct card *c, const uint8_t *frame, size_t len, uint16_t csum_start)
{
	struct virtio_net_hdr hdr = { .flags = csum_start ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
				      .csum_start = csum_start,
				      .csum_offset = 16 };
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)frame, len } };

	pthread_mutex_lock(&c->lock);
	assert_int_equal(c->net->ops->send(c->net, iov, 2, len), 0);
	c->net->ops->flush(c->net);
	pthread_mutex_unlock(&c->lock);
}

/* Index of the next frame, which the loop has a second to bring; -1: none came. */
static int next_frame(struct card *c)
{
	for (unsigned i = 0; c->seen == c->frames && i < 100; i++)
		assert_int_equal(eventloop_run_once(&c->loop, 10), 0);
	return c->seen == c->frames ? -1 : (int)c->seen++;
}

static void arp_request(struct card *c)
{
	static const uint8_t rest[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
	uint8_t f[60] = { 0 };

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 12, rest, sizeof(rest));
	memcpy(f + 22, guest_mac, 6);
	inet_pton(AF_INET, "10.0.2.15", f + 28);
	inet_pton(AF_INET, "10.0.2.2", f + 38);
	transmit(c, f, sizeof(f), 0);
}

static void check_arp_reply(struct card *c)
{
	int i = next_frame(c);
	const uint8_t *f;

	assert_true(i >= 0);
	f = c->frame[i].data;
	assert_memory_equal(f, guest_mac, 6);
	assert_memory_equal(f + 12, "\x08\x06", 2);
	assert_int_equal(f[21], 2);
}

/* ---- tests ---- */

static void test_at_once(void **state)
{
	const struct net_config cfg = { .kind = NET_USER };
	struct card *c = begin(&cfg, ALL);

	arp_request(c);
	/* Without a turn of the loop. */
	assert_int_equal(c->frames, 1);
	check_arp_reply(c);
	end(c);
}

static void test_no_room(void **state)
{
	const struct net_config cfg = { .kind = NET_USER };
	struct card *c = begin(&cfg, ALL);

	c->accept = false;
	arp_request(c);
	arp_request(c);
	assert_int_equal(next_frame(c), -1);
	c->accept = true;
	pthread_mutex_lock(&c->lock);
	c->net->ops->want_read(c->net, true);
	pthread_mutex_unlock(&c->lock);
	check_arp_reply(c);
	check_arp_reply(c);
	assert_int_equal(next_frame(c), -1);
	end(c);
}

static void test_stopped(void **state)
{
	const struct net_config cfg = { .kind = NET_USER };
	struct card *c = begin(&cfg, ALL);

	c->accept = false;
	arp_request(c);
	c->accept = true;
	c->net->ops->stop(c->net);
	for (unsigned i = 0; i < 5; i++)
		eventloop_run_once(&c->loop, 10);
	assert_int_equal(c->frames, 0);
	c->net->ops->start(c->net, ALL);
	/* What waited was for somebody else. */
	assert_int_equal(next_frame(c), -1);
	arp_request(c);
	check_arp_reply(c);
	end(c);
}

static void test_wake(void **state)
{
	const struct net_config cfg = { .kind = NET_USER };
	struct card *c = begin(&cfg, ALL);

	c->net->ops->wake(c->net);
	assert_int_equal(c->writables, 0);
	for (unsigned i = 0; i < 20 && !c->writables; i++)
		eventloop_run_once(&c->loop, 10);
	assert_int_equal(c->writables, 1);
	end(c);
}

static int listener(uint16_t *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 5), 0);
	getsockname(fd, (struct sockaddr *)&at, &len);
	*port = ntohs(at.sin_port);
	return fd;
}

static void put16(uint8_t *p, unsigned val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

static void put32(uint8_t *p, uint32_t val)
{
	put16(p, val >> 16);
	put16(p + 2, val & 0xffff);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A segment of ours, with the checksum left to the network. */
static void tcp(struct card *c, uint8_t flags, const void *data, size_t len)
{
	uint8_t *f = calloc(1, 14 + 20 + 24 + len), *ip = f + 14, *t = ip + 20;
	unsigned header = flags & 2 ? 24 : 20;
	uint16_t sum;

	memcpy(f, "\x52\x55\x0a\x00\x02\x02", 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(20 + header + len));
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	inet_pton(AF_INET, "10.0.2.15", ip + 12);
	inet_pton(AF_INET, "10.0.2.2", ip + 16);
	sum = (uint16_t)~offload_fold(offload_sum(ip, 20));
	memcpy(ip + 10, &sum, 2);
	put16(t, c->port);
	put16(t + 2, c->peer);
	put32(t + 4, c->seq);
	put32(t + 8, c->ack);
	t[12] = (uint8_t)(header / 4 << 4);
	t[13] = flags;
	put16(t + 14, 65535);
	if (flags & 2)
		put32(t + 20, 0x020405b4); /* MSS 1460 */
	if (len)
		memcpy(t + header, data, len);
	sum = offload_fold(offload_sum(ip + 12, 8) + htons((uint16_t)(header + len)) + htons(IPPROTO_TCP));
	memcpy(t + 16, &sum, 2);
	transmit(c, f, 14 + 20 + header + len, 34);
	c->seq += (uint32_t)len + (flags & 3 ? 1 : 0);
	free(f);
}

/* The guest's side of a connection to @port on loopback; the socket of the other. */
static int tcp_connect(struct card *c, int listening, uint16_t port)
{
	int i;

	arp_request(c);
	check_arp_reply(c);
	c->port = 40000;
	c->peer = port;
	c->seq = 1000;
	tcp(c, 2, NULL, 0);
	i = next_frame(c);
	assert_true(i >= 0);
	assert_int_equal(c->frame[i].data[47], 0x12); /* SYN, ACK */
	c->ack = get32(c->frame[i].data + 38) + 1;
	tcp(c, 0x10, NULL, 0);
	return accept(listening, NULL, NULL);
}

/* Receives @len bytes of the connection into @data; the largest frame that came. */
static size_t tcp_receive(struct card *c, uint8_t *data, size_t len, bool large)
{
	size_t done = 0, largest = 0;

	while (done < len) {
		int i = next_frame(c);
		const uint8_t *f;
		size_t n;

		assert_true(i >= 0);
		f = c->frame[i].data;
		n = c->frame[i].len - 14 - 20 - (unsigned)(f[46] >> 4) * 4;
		if (f[23] != IPPROTO_TCP || !n)
			continue;
		assert_int_equal(get32(f + 38), c->ack);
		if (c->frame[i].len > 1514) {
			assert_true(large);
			assert_int_equal(c->frame[i].hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
			assert_int_equal(c->frame[i].hdr.gso_size, 1460);
		}
		assert_true(done + n <= len);
		memcpy(data + done, f + c->frame[i].len - n, n);
		done += n;
		c->ack += (uint32_t)n;
		if (c->frame[i].len > largest)
			largest = c->frame[i].len;
		if (c->seen == c->frames) {
			forget(c);
			tcp(c, 0x10, NULL, 0);
		}
	}
	return largest;
}

/* Large segments in both directions; with the guest's MSS only if it cannot take them. */
static void test_tcp(void **state)
{
	static const uint64_t features[] = { ALL, BIT(VIRTIO_NET_F_CSUM) };
	const struct net_config cfg = { .kind = NET_USER };
	uint8_t *data = malloc(60000), *got = malloc(60000);

	for (size_t i = 0; i < 60000; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8));
	for (unsigned k = 0; k < 2; k++) {
		struct card *c = begin(&cfg, features[k]);
		uint16_t port;
		int listening = listener(&port), fd = tcp_connect(c, listening, port);
		size_t largest;

		assert_true(fd >= 0);
		tcp(c, 0x18, data, 60000);
		assert_int_equal(recv(fd, got, 60000, MSG_WAITALL), 60000);
		assert_memory_equal(got, data, 60000);
		forget(c);
		assert_int_equal(send(fd, data, 60000, 0), 60000);
		largest = tcp_receive(c, got, 60000, k == 0);
		assert_memory_equal(got, data, 60000);
		if (k == 0)
			assert_true(largest > 10000);
		else
			assert_in_range(largest, 1000, 1514);
		close(fd);
		close(listening);
		end(c);
	}
	free(data);
	free(got);
}

/* ---- UDP, from the host to the guest ---- */

static uint16_t free_udp_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	getsockname(fd, (struct sockaddr *)&at, &len);
	close(fd);
	return ntohs(at.sin_port);
}

/* A host's program that talks to @port on loopback. */
static int udp_client(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* The guest's answer from @port to the router's @peer. A sum of 0 is none (RFC 768). */
static void udp(struct card *c, uint16_t port, uint16_t peer, const void *data, size_t len)
{
	uint8_t f[14 + 20 + 8 + 1472] = { 0 }, *ip = f + 14, *u = ip + 20;
	uint16_t sum;

	assert_true(len <= 1472);
	memcpy(f, "\x52\x55\x0a\x00\x02\x02", 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(28 + len));
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	inet_pton(AF_INET, "10.0.2.15", ip + 12);
	inet_pton(AF_INET, "10.0.2.2", ip + 16);
	sum = (uint16_t)~offload_fold(offload_sum(ip, 20));
	memcpy(ip + 10, &sum, 2);
	put16(u, port);
	put16(u + 2, peer);
	put16(u + 4, (unsigned)(8 + len));
	memcpy(u + 8, data, len);
	transmit(c, f, 42 + len, 0);
}

/* The next datagram to port @port of the guest is @data; the port that it came from. */
static uint16_t expect_udp(struct card *c, uint16_t port, const void *data, size_t len)
{
	const uint8_t *f;
	int i;

	do {
		i = next_frame(c);
		assert_true(i >= 0);
		f = c->frame[i].data;
	} while (f[12] != 8 || f[13] != 0 || f[23] != IPPROTO_UDP);
	assert_memory_equal(f, guest_mac, 6);
	assert_memory_equal(f + 30, "\x0a\x00\x02\x0f", 4);
	assert_int_equal(f[36] << 8 | f[37], port);
	assert_int_equal(f[38] << 8 | f[39], 8 + len);
	assert_true(c->frame[i].len >= 42 + len);
	assert_memory_equal(f + 42, data, len);
	return (uint16_t)(f[34] << 8 | f[35]);
}

static void test_udp_forward(void **state)
{
	struct net_config cfg = { .kind = NET_USER, .forwards = 2 };
	uint8_t large[1400], got[1500];
	uint16_t peer[2];
	struct card *c;
	int fd[2];

	for (unsigned i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 2; i++) {
		cfg.forward[i] = (struct net_forward){ .udp = true,
						       .host_addr = "127.0.0.1",
						       .host_port = free_udp_port(),
						       .guest_port = (uint16_t)(7000 + i) };
	}
	c = begin(&cfg, ALL);
	arp_request(c);
	check_arp_reply(c);
	/* Two programs at one port, and a port of its own for a third. */
	fd[0] = udp_client(cfg.forward[0].host_port);
	fd[1] = udp_client(cfg.forward[0].host_port);
	assert_int_equal(send(fd[0], "ping", 4, 0), 4);
	peer[0] = expect_udp(c, 7000, "ping", 4);
	assert_int_equal(send(fd[1], large, sizeof(large), 0), sizeof(large));
	peer[1] = expect_udp(c, 7000, large, sizeof(large));
	assert_int_not_equal(peer[0], peer[1]);
	udp(c, 7000, peer[1], large, sizeof(large));
	udp(c, 7000, peer[0], "pong", 4);
	assert_int_equal(recv(fd[0], got, sizeof(got), 0), 4);
	assert_memory_equal(got, "pong", 4);
	assert_int_equal(recv(fd[1], got, sizeof(got), 0), sizeof(large));
	assert_memory_equal(got, large, sizeof(large));
	/* Once more on the same way. */
	assert_int_equal(send(fd[0], "again", 5, 0), 5);
	assert_int_equal(expect_udp(c, 7000, "again", 5), peer[0]);
	close(fd[1]);
	fd[1] = udp_client(cfg.forward[1].host_port);
	assert_int_equal(send(fd[1], "other", 5, 0), 5);
	udp(c, 7001, expect_udp(c, 7001, "other", 5), "answer", 6);
	assert_int_equal(recv(fd[1], got, sizeof(got), 0), 6);
	assert_memory_equal(got, "answer", 6);
	close(fd[0]);
	close(fd[1]);
	end(c);
	/* The ports are free again. */
	c = begin(&cfg, ALL);
	end(c);
}

static void test_port_taken(void **state)
{
	struct net_config cfg = { .kind = NET_USER, .forwards = 1 };
	struct card c = { 0 };
	struct network_user user = { .lock = &c.lock,
				     .readable = readable,
				     .writable = writable,
				     .done = done,
				     .warn = warn,
				     .opaque = &c };
	char err[200] = "", wanted[200];
	int fd = listener(&cfg.forward[0].host_port);

	cfg.forward[0].guest_port = 80;
	snprintf(cfg.forward[0].host_addr, sizeof(cfg.forward[0].host_addr), "127.0.0.1");
	assert_int_equal(eventloop_create(&c.loop), 0);
	assert_null(network_open(&cfg, &c.loop, &user, err, sizeof(err)));
	snprintf(
		wanted, sizeof(wanted),
		"--net=user: hostfwd tcp 127.0.0.1 port %u: Address already in use (another program has that port: "
		"choose another one)",
		cfg.forward[0].host_port);
	assert_string_equal(err, wanted);
	close(fd);
	eventloop_destroy(&c.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),    cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_stopped),    cmocka_unit_test(test_wake),
		cmocka_unit_test(test_tcp),        cmocka_unit_test(test_udp_forward),
		cmocka_unit_test(test_port_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
