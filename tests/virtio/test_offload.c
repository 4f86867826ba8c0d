/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums, segments and fragments in software, against slow and obvious ways
 * to compute the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "host/offload.h"

#define MAX 65549

static uint32_t seed = 1;

static uint32_t rnd(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void put16(uint8_t *p, unsigned val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* As RFC 1071 says it: big-endian words, carries added back. */
static unsigned slow_sum(const uint8_t *p, size_t len, unsigned sum)
{
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static unsigned pseudo(const uint8_t *frame, const struct offload_frame *f, size_t len)
{
	unsigned sum = f->version == 4 ? slow_sum(frame + 26, 8, 0) : slow_sum(frame + 22, 32, 0);

	return sum + (unsigned)(len - f->transport) + f->protocol;
}

/* A frame with @payload bytes behind IP header and, for TCP, @options bytes of them; sums are right. */
static size_t make(uint8_t *frame, int version, uint8_t protocol, unsigned options, size_t payload)
{
	unsigned transport = version == 4 ? 34 : 54, header = protocol == IPPROTO_TCP ? 20 + options : 8;
	size_t len = transport + header + payload;
	struct offload_frame f = { .version = (uint8_t)version,
				   .protocol = protocol,
				   .transport = transport };
	uint8_t *ip = frame + 14, *t = frame + transport;

	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)rnd();
	put16(frame + 12, version == 4 ? 0x0800 : 0x86dd);
	if (version == 4) {
		ip[0] = 0x45;
		put16(ip + 2, (unsigned)(len - 14));
		put16(ip + 6, 0);
		ip[9] = protocol;
		put16(ip + 10, 0);
		put16(ip + 10, 0xffff ^ slow_sum(ip, 20, 0));
	} else {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)(len - transport));
		ip[6] = protocol;
	}
	if (protocol == IPPROTO_TCP) {
		t[12] = (uint8_t)((20 + options) / 4 << 4);
		t[13] = 0x10;
		put16(t + 16, 0);
		put16(t + 16, 0xffff ^ slow_sum(t, len - transport, pseudo(frame, &f, len)));
	}
	return len;
}

static void check_tcp_sum(const uint8_t *frame, size_t len)
{
	struct offload_frame f;

	assert_true(offload_parse(frame, len, &f));
	assert_int_equal(slow_sum(frame + f.transport, len - f.transport, pseudo(frame, &f, len)), 0xffff);
}

static void test_sum(void **state)
{
	uint8_t *p = malloc(MAX + 8);

	for (unsigned i = 0; i < 3000; i++) {
		size_t len = rnd() % (i % 100 ? 300 : MAX), at = rnd() % 8;
		uint16_t sum;

		for (size_t k = 0; k < len; k++)
			p[at + k] = i % 7 ? (uint8_t)rnd() : 0xff;
		sum = offload_fold(offload_sum(p + at, len));
		assert_int_equal(get16((uint8_t *)&sum), slow_sum(p + at, len, 0));
	}
	free(p);
}

static void test_complete(void **state)
{
	uint8_t frame[100] = { 0 };

	for (unsigned i = 0; i < 100; i++)
		frame[i] = (uint8_t)rnd();
	assert_true(offload_complete(frame, 100, 34, 16));
	/* Whatever stood in the field is part of the sum: what comes out is the complement of all. */
	assert_false(offload_complete(frame, 100, 34, 65));
	assert_true(offload_complete(frame, 100, 34, 64));
	assert_false(offload_complete(frame, 100, 99, 0));
	assert_false(offload_complete(frame, 100, 101, 0));
	assert_false(offload_complete(frame, 100, 65535, 65535));
	memset(frame, 0, sizeof(frame));
	memset(frame + 40, 0xff, 2);
	assert_true(offload_complete(frame, 60, 34, 0));
	assert_int_equal(get16(frame + 34), 0xffff);
}

static void test_complete_is_right(void **state)
{
	uint8_t *frame = malloc(MAX);

	for (int version = 4; version <= 6; version += 2) {
		for (unsigned i = 0; i < 50; i++) {
			size_t len = make(frame, version, IPPROTO_TCP, 0, rnd() % (i % 10 ? 3000 : 60000));
			struct offload_frame f;
			unsigned sum;

			assert_true(offload_parse(frame, len, &f));
			/* What a driver leaves: the sum of the pseudo-header, not complemented. */
			sum = pseudo(frame, &f, len);
			put16(frame + f.transport + 16, (sum & 0xffff) + (sum >> 16));
			assert_true(offload_complete(frame, len, f.transport, 16));
			check_tcp_sum(frame, len);
		}
	}
	free(frame);
}

static void test_raise_mss(void **state)
{
	static const uint8_t option[4] = { 2, 4, 0x05, 0xb4 };
	uint8_t frame[200];

	for (int version = 4; version <= 6; version += 2) {
		for (unsigned at = 0; at <= 8; at++) {
			unsigned t = version == 4 ? 34 : 54;
			size_t len = make(frame, version, IPPROTO_TCP, 12, 0);
			struct offload_frame f;

			assert_true(offload_parse(frame, len, &f));
			memset(frame + t + 20, 1, 12);
			memcpy(frame + t + 20 + at, option, 4);
			frame[t + 13] = 2;
			put16(frame + t + 16, 0);
			put16(frame + t + 16, 0xffff ^ slow_sum(frame + t, len - t, pseudo(frame, &f, len)));
			offload_raise_mss(frame, len, 16384);
			assert_int_equal(get16(frame + t + 22 + at), 16384);
			check_tcp_sum(frame, len);
			offload_raise_mss(frame, len, 1000);
			assert_int_equal(get16(frame + t + 22 + at), 16384);
		}
	}
}

/* Options that lie about their length, other packets: nothing changes. */
static void test_raise_nothing(void **state)
{
	uint8_t frame[200], before[200];

	for (unsigned i = 0; i < 20000; i++) {
		size_t len = make(frame, i & 1 ? 4 : 6, IPPROTO_TCP, 4 * (rnd() % 11), rnd() % 8);
		unsigned t = i & 1 ? 34 : 54;

		if (i % 3 == 0)
			frame[t + 12] = (uint8_t)rnd();
		if (i % 5 == 0)
			len = rnd() % (len + 1);
		if (i % 2 == 0)
			frame[t + 13] = 2;
		else
			frame[t + 13] &= 0xfd;
		memcpy(before, frame, sizeof(frame));
		offload_raise_mss(frame, len, 16384);
		assert_memory_equal(before + len, frame + len, sizeof(frame) - len);
		if (i % 2)
			assert_memory_equal(before, frame, len);
	}
}

static void test_large_segment(void **state)
{
	uint8_t *frame = malloc(MAX);

	for (int version = 4; version <= 6; version += 2) {
		size_t len = make(frame, version, IPPROTO_TCP, 12, 20000);
		unsigned t = version == 4 ? 34 : 54;
		struct virtio_net_hdr hdr;

		assert_true(offload_large_segment(frame, len, 1500, &hdr));
		assert_int_equal(hdr.gso_type,
				 version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
		assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(hdr.hdr_len, t + 32);
		assert_int_equal(hdr.gso_size, 1500 - (t + 32 - 14));
		assert_int_equal(hdr.csum_start, t);
		assert_int_equal(hdr.csum_offset, 16);
		/* Completed by the receiver it is right again. */
		assert_true(offload_complete(frame, len, hdr.csum_start, hdr.csum_offset));
		check_tcp_sum(frame, len);
		len = make(frame, version, IPPROTO_UDP, 0, 20000);
		assert_false(offload_large_segment(frame, len, 1500, &hdr));
	}
	free(frame);
}

/* Puts segments together again. */
struct stream {
	uint8_t data[MAX];
	size_t bytes;
	uint32_t seq;
	unsigned count, version, options;
	uint8_t flags;
};

static void collect_segment(void *opaque, const uint8_t *frame, size_t len)
{
	struct stream *s = opaque;
	const uint8_t *ip = frame + 14, *t = frame + (s->version == 4 ? 34 : 54);
	unsigned headers = (s->version == 4 ? 34 : 54) + 20 + s->options;

	assert_true(len <= 14 + 1500);
	check_tcp_sum(frame, len);
	if (s->version == 4)
		assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
	assert_int_equal(s->version == 4 ? get16(ip + 2) + 14 : get16(ip + 4) + 54, len);
	assert_int_equal(get16(t + 4) << 16 | get16(t + 6), s->seq + s->bytes);
	assert_int_equal(s->flags & 9, 0);
	s->flags = t[13];
	memcpy(s->data + s->bytes, frame + headers, len - headers);
	s->bytes += len - headers;
	s->count++;
}

static void test_segment(void **state)
{
	uint8_t *frame = malloc(MAX);
	struct stream *s = calloc(1, sizeof(*s));
	uint8_t room[1514];

	for (int version = 4; version <= 6; version += 2) {
		for (unsigned i = 0; i < 200; i++) {
			unsigned options = 4 * (rnd() % 11), t = version == 4 ? 34 : 54;
			size_t payload = 1 + rnd() % (i % 10 ? 10000 : 65000);
			size_t len = make(frame, version, IPPROTO_TCP, options, payload);

			memset(s, 0, sizeof(*s));
			s->version = (unsigned)version;
			s->options = options;
			s->seq = get16(frame + t + 4) << 16 | get16(frame + t + 6);
			frame[t + 13] = 0x19;
			assert_true(offload_segment(frame, len, 1500, room, collect_segment, s));
			assert_int_equal(s->flags, 0x19);
			assert_int_equal(s->bytes, payload);
			assert_memory_equal(s->data, frame + t + 20 + options, payload);
		}
		assert_false(offload_segment(frame, make(frame, version, IPPROTO_UDP, 0, 3000), 1500, room,
					     collect_segment, s));
	}
	free(s);
	free(frame);
}

/* Puts fragments together again. */
struct whole {
	uint8_t data[MAX];
	size_t end, bytes;
	unsigned count, version;
	bool last;
};

static void collect(void *opaque, const uint8_t *frame, size_t len)
{
	struct whole *w = opaque;
	const uint8_t *ip = frame + 14;
	unsigned header = w->version == 4 ? 20 : 48;
	unsigned offset = w->version == 4 ? (get16(ip + 6) & 0x1fff) * 8 : get16(ip + 42) & 0xfff8;
	bool more = w->version == 4 ? ip[6] & 0x20 : ip[43] & 1;

	assert_true(len <= 14 + 1500);
	assert_int_equal(w->version == 4 ? get16(ip + 2) : get16(ip + 4) + 40u, len - 14);
	if (w->version == 4)
		assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
	else
		assert_int_equal(ip[6], IPPROTO_FRAGMENT);
	assert_true(!more || (len - 14 - header) % 8 == 0);
	memcpy(w->data + offset, ip + header, len - 14 - header);
	w->bytes += len - 14 - header;
	if (!more) {
		w->last = true;
		w->end = offset + len - 14 - header;
	}
	w->count++;
}

static void test_fragment(void **state)
{
	uint8_t *frame = malloc(MAX);
	struct whole *w = calloc(1, sizeof(*w));
	uint8_t room[1514];

	for (int version = 4; version <= 6; version += 2) {
		for (unsigned i = 0; i < 200; i++) {
			size_t len = make(frame, version, IPPROTO_UDP, 0,
					  i ? 1473 + rnd() % 8000 : 65507 - 20);
			unsigned t = version == 4 ? 34 : 54;

			memset(w, 0, sizeof(*w));
			w->version = (unsigned)version;
			assert_true(offload_fragment(frame, len, 1500, i, room, collect, w));
			assert_true(w->last);
			assert_true(w->count >= 2);
			assert_int_equal(w->end, len - t);
			assert_int_equal(w->bytes, len - t);
			assert_memory_equal(w->data, frame + t, len - t);
		}
		/* "Do not fragment" is obeyed; lengths that lie are not believed. */
		make(frame, version, IPPROTO_UDP, 0, 5000);
		if (version == 4)
			frame[20] = 0x40;
		else
			put16(frame + 18, 6000);
		assert_false(offload_fragment(frame, 5000, 1500, 0, room, collect, w));
	}
	free(w);
	free(frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_complete_is_right),
		cmocka_unit_test(test_raise_mss),
		cmocka_unit_test(test_raise_nothing),
		cmocka_unit_test(test_large_segment),
		cmocka_unit_test(test_segment),
		cmocka_unit_test(test_fragment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
