// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From a memory operand to a host address.
 *
 * The check that nearly all the cost of the engine is made of
 * (soft-engine-notes.md 1a, "big20"):
 *
 *	lea	r11, [operand]
 *	mov	r10d, r11d
 *	shr	r10d, 12			index: linear address bits 12..31
 *	sub	r11, gs:[r10*8 + tag]		offset in the page, if it is the page
 *	cmp	r11, 4096 - size		one compare: right page, and not crossing
 *	ja	cold
 *	add	r11, gs:[r10*8 + host]
 *	op	[r11]
 *
 * With a slot (struct access_slot), which knows one page, the access itself adds the addend:
 *
 *	lea	r11, [rdi + 16]
 *	sub	r11, slot.tag
 *	cmp	r11, 4096 - size
 *	ja	cold			to a thunk that fills the slot from the TLB (thunk.c)
 *	mov	r11, slot.addend
 *	op	[rdi + r11 + 16]
 *
 * The cold stub leaves for C, which undoes the subtraction. C comes back to `op` with R11 pointing either into RAM or at a bounce
 * buffer (an access that crosses a page, MMIO). Stores to a bounce buffer need
 * something done afterwards: C runs a copy of `op` that leaves again, the
 * store trampoline.
 */
#include "engine/soft/translate.h"

#include <stdlib.h>

void emit_rel32(struct xlat *x, uint32_t target)
{
	e32(x->o, target - (cache_off(x, x->o->p) + 4));
}

static void emit_jmp_to(struct xlat *x, uint32_t target)
{
	e8(x->o, 0xe9);
	emit_rel32(x, target);
}

static struct desc *new_site(struct xlat *x, enum desc_kind kind)
{
	struct translator *t = x->t;
	struct desc *d;

	if (x->sites == SITES_MAX)
		abort(); /* a bug */
	d = &t->sites[x->sites];
	*d = (struct desc){
		.id = site_id(meta_off(x->engine, x->block), x->sites++),
		.kind = kind,
		.len = x->in->len,
		.group = (uint8_t)x->r9_group,
		.off = x->in->off,
	};
	if (kind == DESC_SYSOP || kind == DESC_STRING) {
		struct sysop *op = &t->sysops[x->block->sysop_count++];

		memset(op, 0, sizeof(*op));
		sysop_fill(x, x->in, op);
	}
	return d;
}

/* mov r9d, id; jmp thunk: 11 bytes */
static void emit_leave_to(struct xlat *x, uint32_t id, uint32_t thunk)
{
	emit_mov_imm(x->o, SCRATCH2, id);
	emit_jmp_to(x, thunk);
}

uint32_t emit_stub(struct xlat *x, unsigned number)
{
	struct emitter *c = &x->cold, *o = x->o;
	uint32_t at = cache_off(x, c->p);

	if (x->tail && at + 5 - x->tail <= 128) {
		/* mov r9b, number; jmp tail */
		eput(c, 0xeb00b141ull | number << 16 | (uint64_t)((x->tail - (at + 5)) & 0xff) << 32, 5);
		return at;
	}
	eput(c, 0xb141 | number << 16, 3); /* mov r9b, number */
	x->tail = cache_off(x, c->p);
	eput(c, 0xc98141c9b60f45, 7); /* movzx r9d, r9b; or r9d, id of the block */
	e32(c, site_id(meta_off(x->engine, x->block), 0));
	x->o = c;
	emit_jmp_to(x, x->engine->thunk_exit);
	x->o = o;
	return at;
}

struct desc *emit_leave(struct xlat *x, enum desc_kind kind)
{
	struct desc *d = new_site(x, kind);

	if (x->o == &x->cold)
		emit_stub(x, d->id & 255);
	else
		emit_leave_to(x, d->id, x->engine->thunk_exit);
	return d;
}

struct desc *emit_leave_by(struct xlat *x, uint32_t thunk, enum desc_kind kind)
{
	struct desc *d = new_site(x, kind);

	emit_leave_to(x, d->id, thunk);
	return d;
}

void emit_page_address(struct xlat *x, unsigned reg, int64_t off)
{
	struct emitter *o = x->o;

	if (x->absolute) {
		emit_mov_imm(o, reg, x->page_va + (uint64_t)off);
		return;
	}
	emit_load(o, reg, VOFF(vbase));
	if (off > INT32_MAX || off < INT32_MIN) {
		emit_lea(o, true, reg, reg, off > 0 ? INT32_MAX : INT32_MIN);
		off -= off > 0 ? INT32_MAX : INT32_MIN;
	}
	if (off || !is_code64(x))
		emit_lea(o, is_code64(x), reg, reg, (int32_t)off);
}

/* A guest register as a base or index: itself, or loaded into @scratch. */
static unsigned address_reg(struct xlat *x, ZydisRegister r, unsigned scratch)
{
	unsigned n;

	if (r == ZYDIS_REGISTER_NONE)
		return EMIT_NOREG;
	n = gpr_number(r);
	if (!is_stolen(n))
		return n;
	emit_load(x->o, scratch, REG_SLOT(n));
	return scratch;
}

void emit_effective(struct xlat *x, const ZydisDecodedOperand *mem, int32_t extra)
{
	struct emitter *o = x->o;
	unsigned width = x->in->zi.address_width;
	int64_t disp = mem->mem.disp.has_displacement ? mem->mem.disp.value : 0;
	unsigned base, index;
	bool w = width == 64;

	if (disp + extra == (int32_t)(disp + extra)) {
		disp += extra;
		extra = 0;
	}
	if (mem->mem.base == ZYDIS_REGISTER_RIP || mem->mem.base == ZYDIS_REGISTER_EIP) {
		emit_page_address(x, SCRATCH0, (int64_t)x->in->off + x->in->len + disp);
		if (!w)
			emit_mov32(o, SCRATCH0, SCRATCH0);
		return;
	}
	base = address_reg(x, mem->mem.base, SCRATCH0);
	index = address_reg(x, mem->mem.index, SCRATCH1);
	if (base == EMIT_NOREG && index == EMIT_NOREG) {
		uint64_t a = (uint64_t)disp;

		if (width == 32)
			a = (uint32_t)a;
		else if (width == 16)
			a = (uint16_t)a;
		emit_mov_imm(o, SCRATCH0, a);
		return;
	}
	if (index == EMIT_NOREG && disp == 0) {
		if (w)
			emit_mov(o, SCRATCH0, base);
		else
			emit_mov32(o, SCRATCH0, base);
	} else {
		emit_mem(o, w, 0x8d, SCRATCH0, base, index, mem->mem.scale ? mem->mem.scale : 1,
			 (int32_t)disp);
	}
	if (extra)
		emit_lea(o, w, SCRATCH0, SCRATCH0, extra);
	if (width == 16) {
		emit_zext16(o, SCRATCH0);
	}
}

void emit_segment(struct xlat *x, unsigned seg, unsigned size, bool write)
{
	struct emitter *o = x->o;

	x->access_seg = seg;
	if (is_code64(x)) {
		if (seg == SEG_FS || seg == SEG_GS)
			emit_vcpu(o, true, 0x03, SCRATCH0, SEG_BASE_SLOT(seg));
		return;
	}
	if ((x->mode & MODE_CHECK(seg)) || (seg == SEG_CS && write)) {
		struct desc *d;

		save_r9(x, o);
		d = emit_leave(x, DESC_SEGMENT);
		d->access.seg = (uint8_t)seg & 7;
		d->access.size = (uint8_t)size;
		d->access.write = write;
		d->resume = cache_off(x, o->p);
		return;
	}
	if (seg == SEG_FS || seg == SEG_GS || (seg == SEG_CS && (x->mode & MODE_CSBASE)) ||
	    (seg == SEG_ES && (x->mode & MODE_BASE_ES)) || (seg == SEG_SS && (x->mode & MODE_BASE_SS)) ||
	    (seg == SEG_DS && (x->mode & MODE_BASE_DS)))
		emit_vcpu(o, false, 0x03, SCRATCH0, SEG_BASE_SLOT(seg));
}

void emit_linear(struct xlat *x, const ZydisDecodedOperand *mem, unsigned size, bool write, int32_t extra)
{
	emit_effective(x, mem, extra);
	emit_segment(x, segment_number(mem->mem.segment), size, write);
}

/* A slot for the access that is being emitted, or -1: it is to be looked up in the TLB. */
static int take_slot(struct xlat *x, bool write)
{
	struct soft_engine *e = x->engine;
	uint64_t phys = (x->block->phys & PAGE_MASK) + x->in->off, bit;
	int slot;

	if (!x->may_slot)
		return -1;
	x->may_slot = false;
	if (mode_view(x->mode) != VIEW_USER || !is_code64(x) || x->single || x->ungrouped || x->page2 ||
	    (e->disable & SOFT_NO_SLOTS))
		return -1;
	/* Giving the slot up starts the instruction again, which would lose an interrupt shadow. */
	if (x->in > x->t->insns && x->in[-1].shadow)
		return -1;
	if (!(e->disable & SOFT_NO_SAMPLING) && !(*slot_hot(e, phys, &bit) & bit))
		return -1;
	if (*slot_refused(e, phys, &bit) & bit)
		return -1;
	slot = (int)(e->next_slot[write]++ % (SLOTS / 2) + (write ? SLOTS / 2 : 0));
	e->vcpu->slot_budget[slot] = SLOT_BUDGET;
	x->slotted = true;
	return slot;
}

#define SLOT_STUB_LEN 11

/* Where the check of an access with a slot fails to: a record for the thunk. */
static struct slot_record *emit_slot_stub(struct xlat *x, uint32_t thunk)
{
	struct emitter *c = &x->cold;
	struct slot_record *record;

	emit_mov_imm(c, SCRATCH2, cache_off(x, c->p) + SLOT_STUB_LEN);
	e8(c, 0xe9); /* jmp thunk */
	emit_rel32(x, thunk);
	record = (struct slot_record *)c->p;
	for (unsigned i = 0; i < sizeof(*record); i++)
		e8(c, 0);
	return record;
}

void emit_access_direct(struct xlat *x, const struct access *own, uint32_t from, enum access_kind kind,
			struct address *a)
{
	*a = (struct address){ SCRATCH0, EMIT_NOREG, 0, 0 };
	if (!(is_stolen(own->reg) || own->reg == ACCESS_RIP || (own->scale && is_stolen(own->index)))) {
		x->direct = own;
		x->check = from;
	}
	emit_access(x, own->size, kind);
	if (!x->direct)
		return;
	x->direct = NULL;
	if (own->scale)
		*a = (struct address){ SCRATCH0, own->index, own->disp, own->scale };
	else
		*a = (struct address){ own->reg, SCRATCH0, own->disp, 1 };
}

void emit_access(struct xlat *x, unsigned size, enum access_kind kind)
{
	struct emitter *o = x->o;
	enum tlb_view view = mode_view(x->mode);
	bool write = kind != ACCESS_READ;
	uint32_t tag = write ? VOFF(tlb[0].tag_w) : VOFF(tlb[0].tag_r);
	uint32_t host = VOFF(tlb[0].host);
	int slot = take_slot(x, write);
	const struct access *direct = slot >= 0 ? x->direct : (x->direct = NULL);
	unsigned offset = slot >= 0 && !direct ? SCRATCH1 : SCRATCH0;
	struct slot_record *record = NULL;
	struct desc *d;
	uint32_t stub;

	tag += (uint32_t)(view * sizeof(struct tlb_view_table));
	host += (uint32_t)(view * sizeof(struct tlb_view_table));

	if (slot >= 0) {
		if (!direct)
			emit_mov(o, offset, SCRATCH0);
		emit_vcpu(o, true, 0x2b, offset, VOFF(slot[slot].tag));
	} else {
		emit_mov32(o, SCRATCH1, SCRATCH0);
		emit_shift32(o, 5, SCRATCH1, PAGE_SHIFT);
		emit_gs_index8(o, true, 0x2b, SCRATCH0, SCRATCH1, tag);
	}
	e8(o, 0x49); /* cmp r11, 4096 - size */
	e8(o, 0x81);
	e8(o, 0xf8 | (offset & 7));
	e32(o, PAGE_SIZE - size);

	/* cold: leave; C undoes the subtraction */
	x->o = &x->cold;
	stub = cache_off(x, x->cold.p);
	save_r9(x, &x->cold);
	if (offset != SCRATCH0)
		emit_mov(&x->cold, SCRATCH0, offset);
	if (slot >= 0)
		record = emit_slot_stub(x, x->engine->thunk_slot[write]);
	d = emit_leave(x, DESC_ACCESS);
	x->o = o;

	e8(o, 0x0f); /* ja stub */
	e8(o, 0x87);
	emit_rel32(x, stub);
	if (slot >= 0) {
		/* Registers and addend are added by the access itself: it waits for no check. */
		emit_vcpu(o, true, direct ? 0x8b : 0x03, SCRATCH0, VOFF(slot[slot].addend));
		*record = (struct slot_record){ .resume = direct ? x->check : cache_off(x, o->p),
						.slot = (uint16_t)(2 * slot),
						.addend = (uint16_t)addend_slot(x, x->r9_group),
						.size = (uint8_t)size };
	} else {
		emit_gs_index8(o, true, 0x03, SCRATCH0, SCRATCH1, host);
	}

	d->access.size = (uint8_t)size;
	d->access.write = (uint8_t)kind & 3;
	d->access.seg = (uint8_t)x->access_seg & 7;
	d->access.align = insn_alignment(x->in, size) != 0;
	d->access.direct = direct;
	d->resume = cache_off(x, o->p);
	if (direct && direct->scale)
		emit_mem(o, true, 0x8d, SCRATCH0, direct->reg, SCRATCH0, 1, 0);
	if (write) {
		x->store = d;
		o->movable = true; /* for trampoline_make() */
	}
}

void emit_prefetch(struct xlat *x)
{
	struct emitter *o = x->o;
	enum tlb_view view = mode_view(x->mode);
	uint32_t table = (uint32_t)(view * sizeof(struct tlb_view_table));
	static const uint8_t over[] = { 0x49, 0x81, 0xfb, 0xff, 0x0f, 0, 0, /* cmp r11, 4095 */
					0x77, 9 + 4 };                      /* ja past the prefetch */
	static const uint8_t prefetch[] = { 0x41, 0x0f };

	if (!is_code64(x) || (x->engine->disable & SOFT_NO_PREFETCH) ||
	    (x->in->live_in & x->host_valid & ~x->mem_valid))
		return;
	x->host_valid = 0;
	emit_linear(x, insn_memory(x->in), 1, false, 0);
	emit_mov32(o, SCRATCH1, SCRATCH0);
	emit_shift32(o, 5, SCRATCH1, PAGE_SHIFT);
	emit_gs_index8(o, true, 0x2b, SCRATCH0, SCRATCH1, VOFF(tlb[0].tag_r) + table);
	ebytes(o, over, sizeof(over));
	emit_gs_index8(o, true, 0x03, SCRATCH0, SCRATCH1, VOFF(tlb[0].host) + table);
	ebytes(o, prefetch, sizeof(prefetch));
	e8(o, x->in->zi.opcode);
	e8(o, (unsigned)(x->in->zi.raw.modrm.reg << 3) | (SCRATCH0 & 7)); /* [r11] */
}

void emit_access_done(struct xlat *x)
{
	if (!x->store)
		return;
	x->store->access.op_len = (uint8_t)(cache_off(x, x->hot.p) - x->store->resume);
	x->store->access.host_flags = flags_pack(x->host_valid & ~x->mem_valid);
	x->store = NULL;
	x->hot.movable = false;
}
