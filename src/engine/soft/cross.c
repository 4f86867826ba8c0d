// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Links between pages of user code. Fast C.
 *
 * The kernel's blocks know where they are and are linked across pages as they
 * stand. User code does not: its blocks are shared by all processes, and by all places
 * that a page is mapped at, and what lies in the next page is each process's own affair. So
 * such a link carries a proof. Each page with code has a place in vcpu.page_va that
 * says where the page was entered last, since an address space has last lost
 * anything; the link compares that with where it leads:
 *
 *	mov	r11, gs:[vbase]
 *	lea	r11, [r11 + distance of the pages]
 *	cmp	r11, gs:[page_va of the target's page]
 *	jne	stub
 *	mov	gs:[vbase], r11
 *	jmp	target
 *
 * What is in page_va is what a jump cache entry would say: this page of RAM is
 * mapped at that address, for the user to execute. Therefore whoever takes entries from the
 * user's jump cache takes them from page_va as well (jc_flush(), jc_forget_page()).
 *
 * Where it does not match, C looks and either notes the page or, if another page is
 * mapped there, links the exit anew. What can never be linked looks into the jump cache.
 */
#include "engine/soft/cross.h"

/* In the piece of code above. */
#define SLOT_AT 17 /* the displacement of page_va */
#define JNE_AT  22 /* the rel8 to the stub */
#define JUMP_AT 31 /* the rel32 of the jump */
#define END     35 /* three bytes are left for the look-up */

void cross_emit(struct emitter *o, int32_t target)
{
	emit_load(o, REG_R11, VOFF(vbase));
	emit_mem(o, true, 0x8d, REG_R11, REG_R11, EMIT_NOREG, 1, target & -PAGE_SIZE);
	emit_vcpu(o, true, 0x3b, REG_R11, VOFF(page_va));
	e8(o, 0x75); /* jne stub */
	e8(o, CROSS_LEN - JNE_AT - 1);
	emit_store(o, REG_R11, VOFF(vbase));
	e8(o, 0xe9); /* jmp target */
	e32(o, 0);
	eput(o, 0xcccccc, CROSS_LEN - END);
}

/* The cache offset of that code. */
static uint32_t cross_code(const struct block_exit *x)
{
	return exit_block(x)->cold + x->stub - CROSS_LEN;
}

uint32_t cross_link(struct soft_engine *e, const struct block_exit *x, const struct block *to)
{
	uint32_t at = cross_code(x), rel = block_direct_entry(to) - (at + JUMP_AT + 4),
		 slot = vcpu_rel(code_emitter(e, at, 0).vcpu, VOFF(page_va) + 8 * page_va_slot(e, to->phys),
				 e->code_rw + at + SLOT_AT + 4);

	/* Nobody executes it: the exit leads to the stub still. */
	__builtin_memcpy(e->code_rw + at + SLOT_AT, &slot, sizeof(slot));
	__builtin_memcpy(e->code_rw + at + JUMP_AT, &rel, sizeof(rel));
	return at;
}

uint32_t cross_look_up(struct soft_engine *e, const struct block_exit *x)
{
	uint32_t at = cross_code(x), jc = VOFF(jc[VIEW_USER]);
	uint8_t *stub = e->code_rw + at + CROSS_LEN;
	struct emitter o = code_emitter(e, at, CROSS_LEN);

	emit_load(&o, REG_R11, VOFF(vbase));
	emit_mem(&o, true, 0x8d, REG_R11, REG_R11, EMIT_NOREG, 1, x->target);
	emit_jump_index(&o);
	emit_gs_index8(&o, true, 0x3b, REG_R11, REG_R10, jc + (uint32_t)offsetof(struct jump_cache, tag));
	e8(&o, 0x75); /* jne stub */
	e8(&o, (unsigned)(stub - (o.p + 1)));
	emit_jump_host(&o, jc + (uint32_t)offsetof(struct jump_cache, host));
	return at;
}

/* ---- what is mapped where ---- */

bool page_va_differs(const struct soft_vcpu *v, uint64_t phys, uint64_t lin)
{
	uint64_t va = v->page_va[page_va_slot(v->c.engine, phys)];

	return va != PAGE_VA_NONE && va != (lin & PAGE_MASK);
}

static void note(struct soft_vcpu *v, uint32_t slot, uint64_t va)
{
	if (v->page_va[slot] == PAGE_VA_NONE) {
		if (v->page_va_count < PAGE_VA_LOG)
			v->page_va_log[v->page_va_count] = (uint16_t)slot;
		/* One past the size: the log is not complete. */
		if (v->page_va_count <= PAGE_VA_LOG)
			v->page_va_count++;
	}
	v->page_va[slot] = va;
	jc_note_page(v, VIEW_USER, va);
	v->jc_nonglobal[VIEW_USER] = true;
}

bool page_va_note(struct soft_vcpu *v, uint64_t phys, uint64_t lin)
{
	uint32_t slot = page_va_slot(v->c.engine, phys);

	/* In the upper half there may be global pages, which INVLPG takes from all PCIDs. */
	if (!slot || lin >> 63)
		return false;
	if (v->page_va[slot] != (lin & PAGE_MASK))
		note(v, slot, lin & PAGE_MASK);
	return true;
}

void page_va_flush(struct soft_vcpu *v)
{
	if (v->page_va_count > PAGE_VA_LOG) {
		for (unsigned i = 0; i < PAGE_VAS && i < v->c.engine->code_page_next; i++)
			v->page_va[i] = PAGE_VA_NONE;
	} else {
		for (unsigned n = 0; n < v->page_va_count; n++)
			v->page_va[v->page_va_log[n]] = PAGE_VA_NONE;
	}
	v->page_va_count = 0;
}

void page_va_forget(struct soft_vcpu *v, unsigned bit)
{
	bool whole = v->page_va_count > PAGE_VA_LOG;
	unsigned kept = 0, count = v->page_va_count;

	if (whole)
		count = v->c.engine->code_page_next < PAGE_VAS ? v->c.engine->code_page_next : PAGE_VAS;
	for (unsigned n = 0; n < count; n++) {
		uint16_t slot = whole ? (uint16_t)n : v->page_va_log[n];

		if (v->page_va[slot] != PAGE_VA_NONE && jc_page_bit(v->page_va[slot]) == bit)
			v->page_va[slot] = PAGE_VA_NONE;
		else if (!whole)
			v->page_va_log[kept++] = slot;
	}
	if (!whole)
		v->page_va_count = kept;
}

unsigned page_va_save(const struct soft_vcpu *v, struct saved_page *to, unsigned max)
{
	const struct soft_engine *e = v->c.engine;
	unsigned count = v->page_va_count, n = 0;

	if (count > PAGE_VA_LOG)
		return 0;
	/* The newest. */
	for (unsigned i = count > max ? count - max : 0; i < count; i++) {
		unsigned slot = v->page_va_log[i];

		if (v->page_va[slot] != PAGE_VA_NONE)
			to[n++] = (struct saved_page){ slot, e->code_page_pool[slot].page, v->page_va[slot] };
	}
	return n;
}

void page_va_restore(struct soft_vcpu *v, const struct saved_page *from, unsigned n)
{
	const struct soft_engine *e = v->c.engine;

	for (unsigned i = 0; i < n; i++)
		if (e->code_pages[from[i].page] == from[i].slot)
			note(v, from[i].slot, from[i].va);
}
