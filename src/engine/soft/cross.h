/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links between pages of user code: see cross.c. Fast C, but for cross_emit(),
 * which the translator calls.
 */
#ifndef LGUEST_SOFT_CROSS_H
#define LGUEST_SOFT_CROSS_H

#include "engine/soft/block.h"
#include "engine/soft/emit.h"

/* Bytes of the code that a linked exit goes through. It lies in cold code, right before the exit's stub. */
#define CROSS_LEN 38

/* Writes that code, for an exit to @target (from the page of the block), not linked yet. */
void cross_emit(struct emitter *o, int32_t target);
/* Makes it lead to @to, where its page is mapped. Returns its cache offset, for the exit to jump to. */
uint32_t cross_link(struct soft_engine *e, const struct block_exit *x, const struct block *to);
/* Makes it look into the jump cache instead, for ever. Returns its cache offset. */
uint32_t cross_look_up(struct soft_engine *e, const struct block_exit *x);

/* Is the page at @phys, which has code, known to be mapped elsewhere than at @lin? */
bool page_va_differs(const struct soft_vcpu *v, uint64_t phys, uint64_t lin);
/* A walk has just led from @lin to @phys, to execute. False: there is no place to note that. */
bool page_va_note(struct soft_vcpu *v, uint64_t phys, uint64_t lin);
void page_va_flush(struct soft_vcpu *v);
/* Forgets all pages with @bit in the user's jc_pages. */
void page_va_forget(struct soft_vcpu *v, unsigned bit);
/* Copies the newest, at most @max, for a PCID that is left; returns how many. */
unsigned page_va_save(const struct soft_vcpu *v, struct saved_page *to, unsigned max);
/* Puts back those that are pages with code still. */
void page_va_restore(struct soft_vcpu *v, const struct saved_page *from, unsigned n);

#endif
