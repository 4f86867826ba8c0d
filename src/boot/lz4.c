/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One block of lz4, unpacked through a window.
 *
 * The library wants all of a block's output in one piece of memory, 8 MiB in a kernel. Fresh memory
 * is what a start has least of: 2 MiB took 0.2 to 6 ms on a machine whose host had to find
 * them first. But no match reaches farther back than 64 KiB (lz4_Block_format.md, "Sequences"),
 * so what lies behind can be handed on and forgotten; and who needs the beginning of a block
 * reads no more of the file than that.
 *
 * A sequence is a token, literals, and a match: so many bytes from so far back. Most are short and
 * lie in the midst of both buffers: quick() does those, with copies of a fixed length that write beyond their end
 * (there is room for that: SLACK). All others, one piece at a time, careful().
 */
#include <string.h>

#include "boot/lz4.h"

#define SLACK     192
#define MIN_MATCH 4u
#define QUICK     64u /* literals or bytes of a match in a short sequence */

/* Besides 0 and negative numbers. LAST: the block ends here; FULL: there is all that is wanted. */
enum { CORRUPT = LZ4_CORRUPT, LAST, FULL };

struct block {
	struct lz4_buffers *b;
	const struct lz4_io *io;
	uint64_t off, left; /* packed bytes that are not read yet */
	const uint8_t *in, *in_end;
	uint8_t *out, *room; /* the next byte; the end of what may be unpacked now */
	uint8_t *fresh;      /* what has not been handed on */
	uint64_t done, want; /* bytes handed on, and to hand on */
};

/* More packed bytes behind those that are there. Stays as it is when there are none. */
static int read_more(struct block *z)
{
	size_t have = (size_t)(z->in_end - z->in), n = LZ4_SLICE - have;
	int error;

	if (n > z->left)
		n = z->left;
	memmove(z->b->in, z->in, have);
	z->in = z->b->in;
	z->in_end = z->in + have + n;
	error = n ? z->io->read(z->io->opaque, z->off, z->b->in + have, n) : 0;
	z->off += n;
	z->left -= n;
	return error;
}

static int next_byte(struct block *z, uint8_t *byte)
{
	int error = z->in == z->in_end ? read_more(z) : 0;

	if (error)
		return error;
	if (z->in == z->in_end)
		return CORRUPT;
	*byte = *z->in++;
	return 0;
}

/* Hands on what is there, and makes room behind the window. */
static int hand_on(struct block *z)
{
	size_t n = (size_t)(z->out - z->fresh);
	int error = n ? z->io->take(z->io->opaque, z->done, z->fresh, n) : 0;

	z->done += n;
	if (z->out - z->b->out > LZ4_WINDOW) {
		memmove(z->b->out, z->out - LZ4_WINDOW, LZ4_WINDOW);
		z->out = z->b->out + LZ4_WINDOW;
	}
	z->fresh = z->out;
	z->room = z->out + (z->want - z->done < LZ4_ROOM ? z->want - z->done : LZ4_ROOM);
	return error;
}

/* How many bytes fit now, of @n; when it is none, after handing on. 0: there will never be more. */
static int find_room(struct block *z, uint64_t n, size_t *fit)
{
	int error = z->out == z->room ? hand_on(z) : 0;

	*fit = n < (uint64_t)(z->room - z->out) ? (size_t)n : (size_t)(z->room - z->out);
	return error;
}

/* The rest of a length whose four bits in the token are all set. */
static int read_length(struct block *z, uint64_t *length)
{
	uint8_t byte;
	int error;

	do {
		error = next_byte(z, &byte);
		if (error)
			return error;
		*length += byte;
	} while (byte == 255);
	return 0;
}

static int copy_literals(struct block *z, uint64_t n)
{
	while (n) {
		size_t fit, have;
		int error = find_room(z, n, &fit);

		if (!error && z->in == z->in_end)
			error = read_more(z);
		if (error)
			return error;
		have = (size_t)(z->in_end - z->in);
		if (have > fit)
			have = fit;
		if (!have)
			return fit ? CORRUPT : FULL;
		memcpy(z->out, z->in, have);
		z->in += have;
		z->out += have;
		n -= have;
	}
	return 0;
}

/* What has been copied repeats with any multiple of the distance: twice as much with each turn. */
static void repeat(uint8_t *to, size_t distance, size_t n)
{
	const uint8_t *from = to - distance;

	while (n) {
		size_t have = (size_t)(to - from), some = n < have ? n : have;

		memcpy(to, from, some);
		to += some;
		n -= some;
	}
}

static int copy_match(struct block *z, size_t distance, uint64_t n)
{
	/* Also when the window has moved: then it is full. */
	if (!distance || distance > (size_t)(z->out - z->b->out))
		return CORRUPT;
	while (n) {
		size_t fit;
		int error = find_room(z, n, &fit);

		if (error)
			return error;
		if (!fit)
			return FULL;
		repeat(z->out, distance, fit);
		z->out += fit;
		n -= fit;
	}
	return 0;
}

/* One sequence. The last one ends with its literals. */
static int careful(struct block *z)
{
	uint8_t token, low, high;
	uint64_t literals, match;
	int error = next_byte(z, &token);

	if (error)
		return error;
	literals = token >> 4;
	if (literals == 15)
		error = read_length(z, &literals);
	if (!error)
		error = copy_literals(z, literals);
	if (!error && z->in == z->in_end)
		error = read_more(z);
	if (error)
		return error;
	if (z->in == z->in_end)
		return LAST;
	error = next_byte(z, &low);
	if (!error)
		error = next_byte(z, &high);
	match = token & 15;
	if (!error && match == 15)
		error = read_length(z, &match);
	return error ? error : copy_match(z, low | (size_t)high << 8, match + MIN_MATCH);
}

/* @distance is 8 at least; writes up to 24 bytes, or @n rounded up to a multiple of 8. */
static inline void copy_short(uint8_t *to, size_t distance, size_t n)
{
	const uint8_t *from = to - distance;

	memcpy(to, from, 8);
	memcpy(to + 8, from + 8, 8);
	memcpy(to + 16, from + 16, 8);
	for (size_t i = 24; i < n; i += 8)
		memcpy(to + i, from + i, 8);
}

/*
 * As many sequences as are short, of matches not from too near, and far from the ends of both buffers.
 * False: corrupt.
 */
static bool quick(struct block *z)
{
	const uint8_t *in = z->in;
	uint8_t *out = z->out;

	while (z->in_end - in >= SLACK && z->room - out >= SLACK) {
		size_t literals = *in >> 4, match = *in & 15, distance;
		const uint8_t *next = in + 1;

		if (literals == 15) {
			literals += *next++;
			if (literals > QUICK)
				break;
			for (size_t i = 0; i < literals; i += 16)
				memcpy(out + i, next + i, 16);
		} else {
			memcpy(out, next, 16);
		}
		next += literals;
		distance = next[0] | (size_t)next[1] << 8;
		next += 2;
		if (match == 15) {
			match += *next++;
			if (match > QUICK)
				break;
		}
		if (distance < 8)
			break;
		out += literals;
		if (distance > (size_t)(out - z->b->out))
			return false;
		copy_short(out, distance, match + MIN_MATCH);
		out += match + MIN_MATCH;
		in = next;
	}
	z->in = in;
	z->out = out;
	return true;
}

int lz4_unpack(struct lz4_buffers *b, const struct lz4_io *io, uint64_t off, uint64_t len, uint64_t want,
	       struct lz4_end *end)
{
	struct block z = { .b = b, .io = io, .off = off, .left = len, .want = want };
	int how, error;

	z.in = z.in_end = b->in;
	z.out = z.fresh = b->out;
	how = hand_on(&z);
	while (!how) {
		if (z.in_end - z.in < SLACK)
			how = read_more(&z);
		if (!how)
			how = quick(&z) ? careful(&z) : CORRUPT;
	}
	if (how != LAST && how != FULL)
		return how;
	error = hand_on(&z);
	*end = (struct lz4_end){ .taken = z.done, .whole = how == LAST };
	return error;
}
