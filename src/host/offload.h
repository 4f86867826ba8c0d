/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What network cards do for their drivers, in software: checksums, large TCP
 * segments, IP fragments. For back ends that speak plain Ethernet.
 *
 * A frame is @len bytes from its Ethernet header on. VLAN tags and IP version 6
 * extension headers are not looked behind: such a frame is "something else".
 */
#ifndef LGUEST_HOST_OFFLOAD_H
#define LGUEST_HOST_OFFLOAD_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sum of RFC 1071 over @len bytes, not yet folded; add up as you like. */
uint64_t offload_sum(const void *data, size_t len);
/* Folds it, in the byte order of memory. Not complemented. */
uint16_t offload_fold(uint64_t sum);

/*
 * Completes the checksum at @start + @offset over [@start, @len), where the sum
 * of the pseudo-header stands already. False when that is outside.
 */
bool offload_complete(uint8_t *frame, size_t len, unsigned start, unsigned offset);

/* What kind of frame is it, and where are its parts? */
struct offload_frame {
	uint8_t version;             /* 4, 6; 0: something else */
	uint8_t protocol;            /* IPPROTO_TCP, ... */
	bool fragment;               /* one of several: what follows the IP header may be anything */
	unsigned network, transport; /* offsets of the IP header and of what follows it */
};
/* False: something else, or cut short. */
bool offload_parse(const uint8_t *frame, size_t len, struct offload_frame *f);

/*
 * Is it the first packet of a TCP connection with a maximum segment size below
 * @mss? Sets that to @mss and mends the checksum.
 */
void offload_raise_mss(uint8_t *frame, size_t len, uint16_t mss);

/*
 * Makes of a TCP frame that is larger than @mtu allows a large segment with
 * header @hdr, to be cut by the receiver: NEEDS_CSUM, the pseudo-header's sum
 * in place. False: no TCP.
 */
bool offload_large_segment(uint8_t *frame, size_t len, uint16_t mtu, struct virtio_net_hdr *hdr);

/*
 * Cuts a TCP frame into segments that fit into @mtu, with all their sums, and
 * hands each to @emit, built in @room (at least @mtu + 14 bytes). False: no TCP.
 */
bool offload_segment(const uint8_t *frame, size_t len, uint16_t mtu, uint8_t *room,
		     void (*emit)(void *opaque, const uint8_t *frame, size_t len), void *opaque);

/*
 * Cuts an IP packet into fragments that fit into @mtu and hands each to @emit,
 * built in @room (at least @mtu + 14 bytes). @id: of the packet, for version 6.
 * False: it cannot be cut.
 */
bool offload_fragment(const uint8_t *frame, size_t len, uint16_t mtu, uint32_t id, uint8_t *room,
		      void (*emit)(void *opaque, const uint8_t *frame, size_t len), void *opaque);

#endif
