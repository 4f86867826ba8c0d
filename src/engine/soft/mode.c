/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mode word and RFLAGS. Fast C.
 *
 * The mode word is part of the key of each translated block, so it is kept
 * canonical: a bit that makes no difference for the current kind of code is
 * clear. 64-bit code ignores segment bases (but those of FS and GS, which
 * blocks always add), limits and types; supervisor code alone minds AC.
 */
#include "engine/soft/segment.h"
#include "engine/soft/sysop.h"

#define SYSFLAGS                                                                                       \
	(FLAG_TF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | \
	 FLAG_ID)

#define DR7_ENABLES 0xffu

void cpu_set_rflags(struct soft_cpu *c, uint64_t rflags)
{
	uint8_t lahf = (rflags & (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)) | FLAG_ONE;

	c->aflags = (uint16_t)(lahf << 8 | (rflags & FLAG_OF ? 1 : 0));
	c->sysflags = rflags & SYSFLAGS;
	c->iflag = rflags & FLAG_IF ? 1 : 0;
	if (c->iflag && c->irq_waiting)
		c->exit_request = 1;
}

/*
 * Can an access through this segment go wrong in any other way than by paging?
 * CS is never writable, so its bit stands for fetches and reads; who writes
 * through CS checks in any case.
 */
static bool seg_needs_check(const struct x86_seg *seg, bool cs)
{
	if (!(seg->attr & SEG_ATTR_P) || seg->limit != 0xffffffff)
		return true;
	if (cs)
		return !attr_is_readable(seg->attr);
	return !attr_is_writable(seg->attr) || (seg->attr & TYPE_EXPAND_DOWN);
}

static uint32_t legacy_segment_bits(const struct x86_state *s)
{
	uint32_t mode = 0;

	if (s->seg[SEG_CS].attr & SEG_ATTR_DB)
		mode |= MODE_CS32;
	if (s->seg[SEG_SS].attr & SEG_ATTR_DB)
		mode |= MODE_SS32;
	if ((uint32_t)s->seg[SEG_CS].base)
		mode |= MODE_CSBASE;
	if ((uint32_t)s->seg[SEG_ES].base)
		mode |= MODE_BASE_ES;
	if ((uint32_t)s->seg[SEG_SS].base)
		mode |= MODE_BASE_SS;
	if ((uint32_t)s->seg[SEG_DS].base)
		mode |= MODE_BASE_DS;
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		if (seg_needs_check(&s->seg[i], i == SEG_CS))
			mode |= MODE_CHECK(i);
	}
	return mode;
}

void cpu_update_mode(struct soft_cpu *c)
{
	const struct x86_state *s = &c->s;
	uint32_t mode;

	if (attr_is_code64(c, s->seg[SEG_CS].attr))
		mode = MODE_CS64;
	else
		mode = legacy_segment_bits(s);

	if (c->cpl == 0)
		mode |= MODE_CPL0;
	if (c->cpl != 3 && (s->cr4 & CR4_SMAP))
		mode |= MODE_SMAP;
	if (c->cpl == 3)
		mode |= MODE_USER;
	else if (!(s->cr4 & CR4_SMAP) || (c->sysflags & FLAG_AC))
		mode |= MODE_AC;

	if (c->cpl && (s->cr4 & CR4_TSD))
		mode |= MODE_TSD;
	if (c->sysflags & FLAG_TF)
		mode |= MODE_TF;
	if (c->sysflags & FLAG_DF)
		mode |= MODE_DF;
	if (c->sysflags & FLAG_VM)
		mode |= MODE_VM86;

	if (s->cr0 & (CR0_EM | CR0_TS))
		mode |= MODE_NOFPU;
	if (s->cr0 & CR0_EM)
		mode |= MODE_EM;
	if ((s->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		mode |= MODE_WAIT_NM;
	if (!(s->cr4 & CR4_OSFXSR))
		mode |= MODE_NOSSE;
	if (!(s->cr4 & CR4_OSXSAVE) || (s->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX))
		mode |= MODE_NOAVX;
	if (s->dr[7] & DR7_ENABLES)
		mode |= MODE_HWBP;

	c->mode = mode;
}

enum soft_next sysop_mode_changed(struct soft_cpu *c)
{
	uint32_t old = c->mode;

	cpu_update_mode(c);
	if (c->mode == old)
		return NEXT_CONTINUE;
	c->s.rip = c->next_rip;
	return NEXT_DISPATCH;
}
