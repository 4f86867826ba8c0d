/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conversions between clocks: products of 64-bit numbers that need 128 bits
 * on the way.
 */
#ifndef LGUEST_SCALE_H
#define LGUEST_SCALE_H

#include <stdint.h>

/* @a * @b / @c, rounded down; UINT64_MAX when that is too large. @c is not 0. */
static inline uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 q = (unsigned __int128)a * b / c;

	return q > UINT64_MAX ? UINT64_MAX : (uint64_t)q;
#else
	/* On 32-bit hosts: the product in two halves, then a long division, bit by bit. */
	uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
	uint64_t mid = ah * bl + (al * bl >> 32), cross = al * bh + (uint32_t)mid;
	uint64_t hi = ah * bh + (mid >> 32) + (cross >> 32), lo = cross << 32 | (uint32_t)(al * bl);

	if (hi >= c)
		return UINT64_MAX;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t carry = hi >> 63;

		hi = hi << 1 | lo >> 63;
		lo <<= 1;
		if (carry || hi >= c) {
			hi -= c;
			lo |= 1;
		}
	}
	return lo;
#endif
}

#endif
