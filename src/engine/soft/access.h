/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dispatcher's helper for memory accesses, and what both need to say where
 * the guest is. @b is the block that has just been left, by site @d.
 */
#ifndef LGUEST_ENGINE_SOFT_ACCESS_H
#define LGUEST_ENGINE_SOFT_ACCESS_H

#include "engine/soft/block.h"
#include "engine/soft/event.h"

/* Which way on? */
enum after {
	RESUME,   /* at *@pc, in translated code */
	DISPATCH, /* at s.rip */
	STOP,     /* there is no way on */
};

static inline uint64_t wrap_ip(const struct soft_cpu *c, uint64_t rip)
{
	return c->mode & MODE_CS64 ? rip : c->mode & MODE_CS32 ? (uint32_t)rip : (uint16_t)rip;
}

/* RIP at page offset @off of @b, which is the block that runs now. */
static inline uint64_t block_rip(const struct soft_vcpu *v, const struct block *b, uint64_t off)
{
	uint64_t lin = (b->absolute ? block_page_va(b) : v->vbase) + off;

	if (v->c.mode & MODE_CS64)
		return lin;
	return (uint32_t)(lin - v->c.s.seg[SEG_CS].base);
}

static inline void deliver_fault(struct soft_vcpu *v)
{
	v->stats.faults++;
	event_fault(&v->c);
}

/* Delivers c->fault as one of the instruction at @d. */
enum after fault_at(struct soft_vcpu *v, const struct block *b, const struct desc *d);
/* The check of an access has failed. v->x9, x10 and x11 are what R9 to R11 held. */
enum after access_slow(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc);
/* A trampoline has run its store; the instruction is complete. */
enum after access_stored(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc);
/*
 * The check for a group of accesses has failed. If the page of the first of
 * them was just not in the TLB, the check is made again; else this goes on in a
 * block that checks each access by itself, and the check leads there from now on.
 */
enum after group_slow(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc);
/* An interrupt came in @b: its user code is worth slots from now on. */
void note_hot(struct soft_vcpu *v, const struct block *b);

#endif
