/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums are computed in the byte order of memory throughout: the sum of
 * RFC 1071 comes out in the order in which it went in, so nothing is swapped.
 */
#include "host/offload.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define ETH_LEN  14
#define IP6_LEN  40
#define FRAG_LEN 8 /* fragment header of version 6 (RFC 8200, 4.5) */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

static void put32(uint8_t *p, uint32_t val)
{
	put16(p, val >> 16);
	put16(p + 2, val);
}

/* ---- checksums ---- */

uint64_t offload_sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	/* Four sums of halves: no carries to wait for, and room for 4 GiB of data. */
	uint64_t low = 0, high = 0, low2 = 0, high2 = 0, a, b;
	uint16_t last;

	for (; len >= 16; p += 16, len -= 16) {
		memcpy(&a, p, 8);
		memcpy(&b, p + 8, 8);
		low += (uint32_t)a;
		high += a >> 32;
		low2 += (uint32_t)b;
		high2 += b >> 32;
	}
	for (; len >= 2; p += 2, len -= 2) {
		memcpy(&last, p, 2);
		low += last;
	}
	if (len) {
		last = 0;
		memcpy(&last, p, 1);
		low += last;
	}
	return offload_fold(low + high) + (uint64_t)offload_fold(low2 + high2);
}

uint16_t offload_fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	return (uint16_t)((sum >> 16) + (uint16_t)sum);
}

static void store_sum(uint8_t *p, uint16_t sum)
{
	memcpy(p, &sum, 2);
}

bool offload_complete(uint8_t *frame, size_t len, unsigned start, unsigned offset)
{
	uint16_t sum;

	if (start > len || len - start < 2 || offset > len - start - 2)
		return false;
	sum = (uint16_t)~offload_fold(offload_sum(frame + start, len - start));
	/* Zero would mean "none" to UDP; the two are the same number otherwise. */
	store_sum(frame + start + offset, sum ? sum : 0xffff);
	return true;
}

/* ---- what it is ---- */

bool offload_parse(const uint8_t *frame, size_t len, struct offload_frame *f)
{
	const uint8_t *ip = frame + ETH_LEN;
	unsigned header;

	*f = (struct offload_frame){ .network = ETH_LEN };
	if (len < ETH_LEN + 20)
		return false;
	switch (get16(frame + 12)) {
	case 0x0800:
		header = (ip[0] & 15) * 4u;
		if (ip[0] >> 4 != 4 || header < 20)
			return false;
		f->protocol = ip[9];
		f->fragment = (get16(ip + 6) & 0x3fff) != 0;
		break;
	case 0x86dd:
		header = IP6_LEN;
		if (ip[0] >> 4 != 6 || len < ETH_LEN + IP6_LEN)
			return false;
		f->protocol = ip[6];
		f->fragment = ip[6] == IPPROTO_FRAGMENT;
		break;
	default: return false;
	}
	if (len < ETH_LEN + header)
		return false;
	f->version = ip[0] >> 4;
	f->transport = ETH_LEN + header;
	return true;
}

static bool is_tcp(const uint8_t *frame, size_t len, struct offload_frame *f)
{
	return offload_parse(frame, len, f) && f->protocol == IPPROTO_TCP && !f->fragment &&
	       len >= f->transport + 20u;
}

/* ---- TCP ---- */

static void raise_option(uint8_t *tcp, uint8_t *value, uint16_t mss)
{
	uint16_t old, new = htons(mss), sum;
	unsigned total;

	if (get16(value) >= mss)
		return;
	/* RFC 1624: sum' = ~(~sum + ~old + new). At an odd offset both count swapped. */
	memcpy(&old, value, 2);
	memcpy(&sum, tcp + 16, 2);
	memcpy(value, &new, 2);
	if ((value - tcp) & 1) {
		old = (uint16_t)(old << 8 | old >> 8);
		new = (uint16_t)(new << 8 | new >> 8);
	}
	total = (uint16_t)~sum + (uint16_t)~old + (unsigned)new;
	store_sum(tcp + 16, (uint16_t)~offload_fold(total));
}

void offload_raise_mss(uint8_t *frame, size_t len, uint16_t mss)
{
	struct offload_frame f;
	unsigned header, i;
	uint8_t *tcp;

	/* RFC 9293, 3.1: flags in byte 13, SYN is 2; the data offset in byte 12 */
	if (!is_tcp(frame, len, &f) || !(frame[f.transport + 13] & 2))
		return;
	tcp = frame + f.transport;
	header = (tcp[12] >> 4) * 4u;
	if (header > len - f.transport)
		return;
	for (i = 20; i < header && tcp[i] != 0;) {
		if (tcp[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= header || tcp[i + 1] < 2 || tcp[i + 1] > header - i)
			return;
		if (tcp[i] == 2 && tcp[i + 1] == 4)
			raise_option(tcp, tcp + i + 2, mss);
		i += tcp[i + 1];
	}
}

/* Bytes up to the data; 0: no TCP, or no data, or no room for any in @mtu. */
static unsigned headers_of(const uint8_t *frame, size_t len, uint16_t mtu, struct offload_frame *f)
{
	unsigned headers;

	if (!is_tcp(frame, len, f))
		return 0;
	headers = (unsigned)(frame[f->transport + 12] >> 4) * 4 + f->transport;
	return headers >= f->transport + 20u && headers < len && headers - ETH_LEN < mtu ? headers : 0;
}

/* The pseudo-header: addresses, length, protocol (RFC 9293, 3.1; RFC 8200, 8.1). */
static uint64_t pseudo_header(const uint8_t *frame, size_t len, const struct offload_frame *f)
{
	uint64_t sum = f->version == 4 ? offload_sum(frame + ETH_LEN + 12, 8)
				       : offload_sum(frame + ETH_LEN + 8, 32);

	return sum + htons((uint16_t)(len - f->transport)) + htons(IPPROTO_TCP);
}

bool offload_large_segment(uint8_t *frame, size_t len, uint16_t mtu, struct virtio_net_hdr *hdr)
{
	struct offload_frame f;
	unsigned headers = headers_of(frame, len, mtu, &f);

	if (!headers)
		return false;
	store_sum(frame + f.transport + 16, offload_fold(pseudo_header(frame, len, &f)));
	*hdr = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = f.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = (uint16_t)headers,
		.gso_size = (uint16_t)(mtu - (headers - ETH_LEN)),
		.csum_start = (uint16_t)f.transport,
		.csum_offset = 16,
	};
	return true;
}

bool offload_segment(const uint8_t *frame, size_t len, uint16_t mtu, uint8_t *room,
		     void (*emit)(void *opaque, const uint8_t *frame, size_t len), void *opaque)
{
	struct offload_frame f;
	const unsigned headers = headers_of(frame, len, mtu, &f);
	uint8_t *ip = room + ETH_LEN, *tcp = room + f.transport;
	unsigned count = 0;
	uint32_t seq;
	size_t at, piece;

	if (!headers)
		return false;
	memcpy(&seq, frame + f.transport + 4, 4);
	for (at = headers; at < len; at += piece) {
		piece = len - at < mtu - (headers - ETH_LEN) ? len - at : mtu - (headers - ETH_LEN);
		memcpy(room, frame, headers);
		memcpy(room + headers, frame + at, piece);
		if (f.version == 4) {
			put16(ip + 2, (unsigned)(headers - ETH_LEN + piece));
			put16(ip + 4, get16(frame + ETH_LEN + 4) + count++);
			store_sum(ip + 10, 0);
			store_sum(ip + 10, (uint16_t)~offload_fold(offload_sum(ip, f.transport - ETH_LEN)));
		} else {
			put16(ip + 4, (unsigned)(headers - f.transport + piece));
		}
		put32(tcp + 4, ntohl(seq) + (uint32_t)(at - headers));
		/* FIN and PSH belong to the last one. */
		if (at + piece < len)
			tcp[13] &= (uint8_t)~0x09;
		store_sum(tcp + 16, offload_fold(pseudo_header(room, headers + piece, &f)));
		offload_complete(room, headers + piece, f.transport, 16);
		emit(opaque, room, headers + piece);
	}
	return true;
}

/* ---- fragments ---- */

/* RFC 791, 2.3: offsets in units of 8 bytes; a fragment may be cut once more. */
static bool fragment4(const uint8_t *frame, size_t len, const struct offload_frame *f, uint16_t mtu,
		      uint8_t *room, void (*emit)(void *opaque, const uint8_t *frame, size_t len),
		      void *opaque)
{
	const unsigned header = f->transport - ETH_LEN;
	const unsigned word = get16(frame + ETH_LEN + 6);
	unsigned first = word & 0x1fff, piece, at, left = get16(frame + ETH_LEN + 2);
	uint8_t *ip = room + ETH_LEN;

	/* Options would have to be dropped from all but the first: nobody sends any. */
	if ((word & 0x4000) || header != 20 || left < header || left > len - ETH_LEN || mtu < header + 8)
		return false;
	left -= header;
	for (at = 0; left; at += piece, left -= piece) {
		bool last = left + header <= mtu;

		piece = last ? left : (mtu - header) & ~7u;
		memcpy(room, frame, ETH_LEN + header);
		put16(ip + 2, header + piece);
		put16(ip + 6, (last ? word & 0x2000 : 0x2000) | (first + at / 8));
		store_sum(ip + 10, 0);
		store_sum(ip + 10, (uint16_t)~offload_fold(offload_sum(ip, header)));
		memcpy(ip + header, frame + f->transport + at, piece);
		emit(opaque, room, ETH_LEN + header + piece);
	}
	return true;
}

/* RFC 8200, 4.5: a header of its own behind the fixed one. */
static bool fragment6(const uint8_t *frame, size_t len, const struct offload_frame *f, uint16_t mtu,
		      uint32_t id, uint8_t *room,
		      void (*emit)(void *opaque, const uint8_t *frame, size_t len), void *opaque)
{
	unsigned left = get16(frame + ETH_LEN + 4), piece, at;
	uint8_t *ip = room + ETH_LEN, *frag = ip + IP6_LEN;

	if (f->fragment || left > len - f->transport || mtu < IP6_LEN + FRAG_LEN + 8)
		return false;
	for (at = 0; left; at += piece, left -= piece) {
		bool last = left + IP6_LEN + FRAG_LEN <= mtu;

		piece = last ? left : (mtu - IP6_LEN - FRAG_LEN) & ~7u;
		memcpy(room, frame, ETH_LEN + IP6_LEN);
		put16(ip + 4, FRAG_LEN + piece);
		ip[6] = IPPROTO_FRAGMENT;
		frag[0] = f->protocol;
		frag[1] = 0;
		put16(frag + 2, at | !last);
		memcpy(frag + 4, &id, 4);
		memcpy(frag + FRAG_LEN, frame + f->transport + at, piece);
		emit(opaque, room, ETH_LEN + IP6_LEN + FRAG_LEN + piece);
	}
	return true;
}

bool offload_fragment(const uint8_t *frame, size_t len, uint16_t mtu, uint32_t id, uint8_t *room,
		      void (*emit)(void *opaque, const uint8_t *frame, size_t len), void *opaque)
{
	struct offload_frame f;

	if (!offload_parse(frame, len, &f))
		return false;
	if (f.version == 4)
		return fragment4(frame, len, &f, mtu, room, emit, opaque);
	return fragment6(frame, len, &f, mtu, id, room, emit, opaque);
}
