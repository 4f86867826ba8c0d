/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptor tables, segment register images, limits, and the stacks that a
 * TSS names: see segment.h. Fast C.
 *
 * The accessed and busy bits are set with a plain byte store, not a locked
 * one: the guest itself must not edit a live descriptor anyway (SDM vol. 3,
 * 8.1.4), and the store changes nothing but that byte.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

/* Linear address of descriptor @sel, or false beyond the end of its table. */
static bool desc_address(const struct soft_cpu *c, uint16_t sel, unsigned len, uint64_t *addr)
{
	const struct x86_state *s = &c->s;
	uint32_t offset = sel & ~7u;

	if (sel & 4) {
		if (!(s->ldtr.attr & SEG_ATTR_P) || offset + len - 1 > s->ldtr.limit)
			return false;
		*addr = s->ldtr.base + offset;
	} else {
		if (offset + len - 1 > s->gdtr.limit)
			return false;
		*addr = s->gdtr.base + offset;
	}
	if (!cpu_long_mode(c))
		*addr = (uint32_t)*addr;
	return true;
}

int desc_try_read(struct soft_cpu *c, uint16_t sel, struct desc *d)
{
	if (c->bus.gdt && !(sel & 4)) {
		if (sel >> 3 >= c->bus.gdt_entries)
			return 1;
		*d = (struct desc){ .lo = c->bus.gdt[sel >> 3] };
		return 0;
	}
	if (!desc_address(c, sel, 8, &d->addr))
		return 1;
	d->hi = 0;
	return soft_read(c, d->addr, &d->lo, 8, MEM_READ | MEM_SYSTEM);
}

int desc_read(struct soft_cpu *c, uint16_t sel, struct desc *d, uint8_t vector, unsigned ext)
{
	int err = desc_try_read(c, sel, d);

	return err > 0 ? desc_fault(c, vector, sel, ext) : err;
}

int desc_read_high(struct soft_cpu *c, uint16_t sel, struct desc *d, uint8_t vector, unsigned ext)
{
	uint64_t addr;

	if (!desc_address(c, sel, 16, &addr))
		return desc_fault(c, vector, sel, ext);
	if (soft_read(c, addr + 8, &d->hi, 8, MEM_READ | MEM_SYSTEM))
		return -1;
	if ((d->hi >> 40) & 0x1f)
		return desc_fault(c, vector, sel, ext);
	return 0;
}

int desc_set_accessed(struct soft_cpu *c, struct desc *d)
{
	uint8_t type = (uint8_t)(d->lo >> 40) | TYPE_ACCESSED;

	if (d->lo & (1ull << 40))
		return 0;
	if (soft_write(c, d->addr + 5, &type, 1, MEM_WRITE | MEM_SYSTEM))
		return -1;
	d->lo |= 1ull << 40;
	return 0;
}

void seg_from_desc(struct x86_seg *seg, uint16_t sel, const struct desc *d)
{
	seg->sel = sel;
	seg->attr = desc_attr(d);
	seg->limit = desc_limit(d);
	seg->base = desc_base(d);
}

void seg_set_null(struct x86_seg *seg, uint16_t sel)
{
	*seg = (struct x86_seg){ .sel = sel };
}

bool seg_allows(const struct x86_seg *seg, uint32_t ea, unsigned len, bool write)
{
	uint64_t last = (uint64_t)ea + len - 1;

	if (!(seg->attr & SEG_ATTR_P))
		return false;
	if (write ? !attr_is_writable(seg->attr) : !attr_is_readable(seg->attr))
		return false;
	if (!(seg->attr & TYPE_CODE) && (seg->attr & TYPE_EXPAND_DOWN)) {
		uint32_t top = seg->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff;

		return ea > seg->limit && last <= top;
	}
	return last <= seg->limit;
}

int seg_load(struct soft_cpu *c, unsigned seg, uint16_t sel, struct x86_seg *out)
{
	unsigned rpl = sel & 3;
	struct desc d;
	uint16_t attr;

	if (!(c->s.cr0 & CR0_PE)) {
		/* Real-address mode (SDM vol. 3, 21.1.1): a base, and nothing to check. */
		*out = (struct x86_seg){ .sel = sel,
					 .base = (uint64_t)sel << 4,
					 .limit = 0xffff,
					 .attr = SEG_ATTR_P | SEG_ATTR_S | TYPE_WRITE | TYPE_ACCESSED };
		return 0;
	}
	if (sel_is_null(sel)) {
		if (seg != SEG_SS) {
			seg_set_null(out, sel);
			return 0;
		}
		/* 64-bit code below CPL 3 needs no stack segment (SDM vol. 3, 5.4.1.1). */
		if (!(c->mode & MODE_CS64) || c->cpl == 3 || rpl != c->cpl)
			return desc_fault(c, VEC_GP, 0, 0);
		seg_set_null_stack(out, sel);
		return 0;
	}
	if (seg == SEG_SS) {
		if (rpl != c->cpl)
			return desc_fault(c, VEC_GP, sel, 0);
		return seg_load_stack(c, sel, c->cpl, VEC_GP, 0, out);
	}
	if (desc_read(c, sel, &d, VEC_GP, 0))
		return -1;
	attr = desc_attr(&d);
	if (!attr_is_readable(attr))
		return desc_fault(c, VEC_GP, sel, 0);
	if (!attr_is_conforming(attr) && (rpl > attr_dpl(attr) || c->cpl > attr_dpl(attr)))
		return desc_fault(c, VEC_GP, sel, 0);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_NP, sel, 0);
	if (desc_set_accessed(c, &d))
		return -1;
	seg_from_desc(out, sel, &d);
	return 0;
}

int seg_load_stack(struct soft_cpu *c, uint16_t sel, unsigned cpl, uint8_t vector, unsigned ext,
		   struct x86_seg *out)
{
	struct desc d;
	uint16_t attr;

	if ((sel & 3u) != cpl)
		return desc_fault(c, vector, sel, ext);
	if (desc_read(c, sel, &d, vector, ext))
		return -1;
	attr = desc_attr(&d);
	if (!attr_is_writable(attr) || attr_dpl(attr) != cpl)
		return desc_fault(c, vector, sel, ext);
	if (!(attr & SEG_ATTR_P))
		return desc_fault(c, VEC_SS, sel, ext);
	if (desc_set_accessed(c, &d))
		return -1;
	seg_from_desc(out, sel, &d);
	return 0;
}

static int tss_read(struct soft_cpu *c, unsigned offset, void *buf, unsigned len, unsigned ext)
{
	const struct x86_seg *tr = &c->s.tr;
	uint64_t addr = tr->base + offset;

	if (!(tr->attr & SEG_ATTR_P) || offset + len - 1 > tr->limit)
		return desc_fault(c, VEC_TS, tr->sel, ext);
	if (!cpu_long_mode(c))
		addr = (uint32_t)addr;
	return soft_read(c, addr, buf, len, MEM_READ | MEM_SYSTEM);
}

int tss_stack(struct soft_cpu *c, unsigned cpl, unsigned ext, struct x86_seg *ss, uint32_t *sp)
{
	uint16_t sel;

	if (attr_type(c->s.tr.attr) & 8) {
		uint32_t pair[2];

		if (tss_read(c, 4 + 8 * cpl, pair, 8, ext))
			return -1;
		*sp = pair[0];
		sel = (uint16_t)pair[1];
	} else {
		uint16_t pair[2];

		if (tss_read(c, 2 + 4 * cpl, pair, 4, ext))
			return -1;
		*sp = pair[0];
		sel = pair[1];
	}
	if (sel_is_null(sel))
		return desc_fault(c, VEC_TS, 0, ext);
	return seg_load_stack(c, sel, cpl, VEC_TS, ext, ss);
}

int tss64_stack(struct soft_cpu *c, unsigned offset, unsigned ext, uint64_t *sp)
{
	if (tss_read(c, offset, sp, 8, ext))
		return -1;
	if (!soft_canonical(*sp))
		return desc_fault(c, VEC_SS, 0, ext);
	return 0;
}

int stack_push_items(struct soft_cpu *c, const struct x86_seg *ss, uint32_t *sp, const uint32_t *items,
		     unsigned n, unsigned size, unsigned how, unsigned error)
{
	uint32_t mask = ss->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff;
	uint32_t to = *sp;

	for (unsigned i = 0; i < n; i++) {
		to = (to - size) & mask;
		if (!seg_allows(ss, to, size, true)) {
			soft_raise(c, VEC_SS, true, error);
			return -1;
		}
		if (soft_write(c, (uint32_t)(ss->base + to), &items[i], size, how))
			return -1;
	}
	*sp = to;
	return 0;
}

int code_check_rip(struct soft_cpu *c, const struct x86_seg *cs, uint64_t rip, unsigned ext)
{
	if (attr_is_code64(c, cs->attr) ? !soft_canonical(rip) : rip > cs->limit)
		return desc_fault(c, VEC_GP, 0, ext);
	return 0;
}

void seg_drop_inner(struct soft_cpu *c, unsigned new_cpl)
{
	static const uint8_t which[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned i = 0; i < sizeof(which); i++) {
		struct x86_seg *seg = &c->s.seg[which[i]];

		/*
		 * Of null selectors 1 to 3 the RPL gets lost. Their base does
		 * not: in long mode that of FS and GS lives its own life.
		 */
		if (!(seg->attr & SEG_ATTR_P))
			seg->sel = 0;
		else if (!attr_is_conforming(seg->attr) && attr_dpl(seg->attr) < new_cpl)
			seg_set_null(seg, 0);
	}
}
