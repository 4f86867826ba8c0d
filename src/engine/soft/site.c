// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What translated code says when it leaves for C, packed. There are about
 * four sites in each block and hardly one in a hundred is ever used, so they
 * are to be small rather than quick to read: one to three words each, of
 * no fixed length, found by walking through those before.
 *
 *	all		kind 4, length 4, group 4, page offset 12, size of the access 8 bits
 *	access		resume 16, access_kind 2, segment 3, align 1, stay 1, direct 1
 *	  a store	op_len 8, host_flags 8
 *	segment		resume 16, write 2, segment 3
 *	sysop, string	resume 16; the struct sysops follow each other elsewhere
 *	jump		undo 32
 *	group		resume 16, access_kind 2, all_write 1, exit 8, stack 1
 *			span 16, own 16
 *
 * `resume` is an offset from the block's hot code. Exits and the poll need no words at all.
 */
#include "engine/soft/block.h"
#include "engine/soft/sysop.h"

unsigned site_pack(const struct block *b, const struct desc *d, uint32_t *w)
{
	uint32_t resume = (d->resume - b->hot) & 0xffff;

	w[0] = d->kind | (uint32_t)d->len << 4 | (uint32_t)d->group << 8 | (uint32_t)d->off << 12;
	switch ((enum desc_kind)d->kind) {
	case DESC_ACCESS:
	case DESC_SEGMENT:
		w[0] |= (uint32_t)d->access.size << 24;
		w[1] = resume | (uint32_t)d->access.write << 16 | (uint32_t)d->access.seg << 18 |
		       (uint32_t)d->access.align << 21 | (uint32_t)d->access.stay << 22 |
		       (uint32_t)d->access.direct << 23;
		if (d->kind == DESC_SEGMENT || d->access.write == ACCESS_READ)
			return 2;
		w[2] = d->access.op_len | (uint32_t)d->access.host_flags << 8;
		return 3;
	case DESC_GROUP:
		w[0] |= (uint32_t)d->check.size << 24;
		w[1] = resume | (uint32_t)d->check.write << 16 | (uint32_t)d->check.all_write << 18 |
		       (uint32_t)d->check.exit << 19 | (uint32_t)d->check.stack << 27;
		w[2] = d->check.span | (uint32_t)d->check.own << 16;
		return 3;
	case DESC_JUMP: w[1] = (uint32_t)d->jump.undo; return 2;
	default: w[1] = resume; return 2;
	}
}

static unsigned words_of(const uint32_t *w)
{
	enum desc_kind kind = w[0] & 15;

	return kind == DESC_GROUP || (kind == DESC_ACCESS && (w[1] >> 16 & 3) != ACCESS_READ) ? 3 : 2;
}

static const struct sysop *block_sysops(const struct block *b)
{
	const struct block_second *second = block_second(b);

	return second ? (const struct sysop *)(second + 1)
		      : (const struct sysop *)((const uint64_t *)block_rest(b) + b->absolute);
}

const uint32_t *block_sites(const struct block *b)
{
	return (const uint32_t *)(block_sysops(b) + b->sysop_count);
}

void site_read(const struct soft_engine *e, uint32_t id, struct desc *d)
{
	unsigned number = id & 255;
	const struct sysop *op;
	const struct block *b;
	const uint32_t *w;

	*d = (struct desc){ .id = id & ~SITE_STORED };
	if (id <= 255) {
		d->kind = (uint8_t)number;
		return;
	}
	d->block = (id & ~SITE_STORED) >> 8 << 3;
	b = meta_at(e, d->block);
	if (number == SITE_POLL) {
		d->kind = DESC_POLL;
		d->off = b->phys & (PAGE_SIZE - 1);
		return;
	}
	if (SITE_EXIT - number < b->exit_count) {
		d->kind = DESC_EXIT;
		d->exit.exit = (uint8_t)(SITE_EXIT - number);
		return;
	}
	w = block_sites(b);
	op = block_sysops(b);
	while (--number) {
		if ((w[0] & 15) == DESC_SYSOP || (w[0] & 15) == DESC_STRING)
			op++;
		w += words_of(w);
	}
	d->kind = w[0] & 15;
	d->len = w[0] >> 4 & 15;
	d->group = w[0] >> 8 & 15;
	d->off = w[0] >> 12 & 0xfff;
	d->resume = b->hot + (w[1] & 0xffff);
	switch ((enum desc_kind)d->kind) {
	case DESC_ACCESS:
	case DESC_SEGMENT:
		d->access.size = (uint8_t)(w[0] >> 24);
		d->access.write = w[1] >> 16 & 3;
		d->access.seg = w[1] >> 18 & 7;
		d->access.align = w[1] >> 21 & 1;
		d->access.stay = w[1] >> 22 & 1;
		d->access.direct = w[1] >> 23 & 1;
		if (d->kind == DESC_ACCESS && d->access.write != ACCESS_READ) {
			d->access.op_len = (uint8_t)w[2];
			d->access.host_flags = (uint8_t)(w[2] >> 8);
		}
		break;
	case DESC_GROUP:
		d->check.size = (uint8_t)(w[0] >> 24);
		d->check.write = w[1] >> 16 & 3;
		d->check.all_write = w[1] >> 18 & 1;
		d->check.exit = (uint8_t)(w[1] >> 19);
		d->check.stack = w[1] >> 27 & 1;
		d->check.span = (uint16_t)w[2];
		d->check.own = (uint16_t)(w[2] >> 16);
		break;
	case DESC_JUMP: d->jump.undo = (int32_t)w[1]; break;
	default: d->sys.op = op; break;
	}
	if (id & SITE_STORED)
		d->kind = DESC_STORED;
}
