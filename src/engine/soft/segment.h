/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors, and what event delivery, far transfers and segment loads have
 * in common (SDM vol. 3, chapters 3, 5 and 6; APM vol. 2, chapter 4). Fast C.
 *
 * All functions that can fail return 0, or -1 with c->fault set and the
 * guest's registers untouched. @ext is bit 0 of a selector error code: 1 when
 * the access is part of delivering an event that is no INT instruction.
 */
#ifndef LGUEST_SOFT_SEGMENT_H
#define LGUEST_SOFT_SEGMENT_H

#include "engine/soft/cpu.h"

/* System descriptor types (SDM vol. 3, table 3-2) */
#define SYS_TSS16_AVAIL 0x1
#define SYS_LDT         0x2
#define SYS_TSS16_BUSY  0x3
#define SYS_CALL16      0x4
#define SYS_TASK_GATE   0x5
#define SYS_INT16       0x6
#define SYS_TRAP16      0x7
#define SYS_TSS_AVAIL   0x9
#define SYS_TSS_BUSY    0xb
#define SYS_CALL        0xc
#define SYS_INT         0xe
#define SYS_TRAP        0xf

/* Type bits of code and data segments */
#define TYPE_ACCESSED    0x1
#define TYPE_WRITE       0x2 /* data */
#define TYPE_READ        0x2 /* code */
#define TYPE_EXPAND_DOWN 0x4 /* data */
#define TYPE_CONFORMING  0x4 /* code */
#define TYPE_CODE        0x8

/* One descriptor, copied from the guest's table. */
struct desc {
	uint64_t lo;
	uint64_t hi;   /* second half of a 16-byte system descriptor; else 0 */
	uint64_t addr; /* linear, to set the accessed or busy bit */
};

static inline uint16_t desc_attr(const struct desc *d)
{
	return (d->lo >> 40) & 0xf0ff;
}

static inline unsigned attr_type(uint16_t attr)
{
	return attr & SEG_ATTR_TYPE;
}

static inline unsigned attr_dpl(uint16_t attr)
{
	return (attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

static inline bool attr_is_code(uint16_t attr)
{
	return (attr & (SEG_ATTR_S | TYPE_CODE)) == (SEG_ATTR_S | TYPE_CODE);
}

static inline bool attr_is_conforming(uint16_t attr)
{
	return attr_is_code(attr) && (attr & TYPE_CONFORMING);
}

static inline bool attr_is_writable(uint16_t attr)
{
	return (attr & (SEG_ATTR_S | TYPE_CODE | TYPE_WRITE)) == (SEG_ATTR_S | TYPE_WRITE);
}

static inline bool attr_is_readable(uint16_t attr)
{
	return (attr & SEG_ATTR_S) && (!(attr & TYPE_CODE) || (attr & TYPE_READ));
}

static inline uint32_t desc_base(const struct desc *d)
{
	return ((d->lo >> 16) & 0xffffff) | ((d->lo >> 32) & 0xff000000);
}

static inline uint32_t desc_limit(const struct desc *d)
{
	uint32_t limit = (d->lo & 0xffff) | ((d->lo >> 32) & 0xf0000);

	return desc_attr(d) & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
}

static inline bool sel_is_null(uint16_t sel)
{
	return !(sel & ~3u);
}

/* Is @cs code that runs in 64-bit mode? */
static inline bool attr_is_code64(const struct soft_cpu *c, uint16_t attr)
{
	return cpu_long_mode(c) && (attr & SEG_ATTR_L);
}

/* Raises @vector with @sel and @ext as its error code. */
static inline int desc_fault(struct soft_cpu *c, uint8_t vector, uint16_t sel, unsigned ext)
{
	soft_raise(c, vector, true, (sel & ~3u) | ext);
	return -1;
}

/* Reads 8 bytes; beyond the table's limit: @vector(@sel | @ext). @sel is not null. */
int desc_read(struct soft_cpu *c, uint16_t sel, struct desc *d, uint8_t vector, unsigned ext);

/* The same without a fault for a bad selector: 1 when there is no such descriptor. */
int desc_try_read(struct soft_cpu *c, uint16_t sel, struct desc *d);

/* The upper half of a system descriptor in long mode, which must have type 0. */
int desc_read_high(struct soft_cpu *c, uint16_t sel, struct desc *d, uint8_t vector, unsigned ext);

/* Sets the accessed bit in memory and in @d if it is clear. */
int desc_set_accessed(struct soft_cpu *c, struct desc *d);

/* The register image of a code or data descriptor, or of a null selector. */
void seg_from_desc(struct x86_seg *seg, uint16_t sel, const struct desc *d);
void seg_set_null(struct x86_seg *seg, uint16_t sel);

/* A null SS, which 64-bit code below CPL 3 may have. Its DPL still is the CPL. */
static inline void seg_set_null_stack(struct x86_seg *ss, uint16_t sel)
{
	seg_set_null(ss, sel);
	ss->attr = (sel & 3u) << SEG_ATTR_DPL_SHIFT;
}

/* May @len bytes at offset @ea be accessed so? For 16- and 32-bit code. */
bool seg_allows(const struct x86_seg *seg, uint32_t ea, unsigned len, bool write);

/* Checks the selector for, and loads, one of ES SS DS FS GS. */
int seg_load(struct soft_cpu *c, unsigned seg, uint16_t sel, struct x86_seg *out);

/*
 * The stack segment that belongs to code of level @cpl: IRET, far RET (faults
 * are @vector = #GP) and switches to an inner level (@vector = #TS). The
 * caller has dealt with null selectors.
 */
int seg_load_stack(struct soft_cpu *c, uint16_t sel, unsigned cpl, uint8_t vector, unsigned ext,
		   struct x86_seg *out);

/* SS:SP for level @cpl from a 16- or 32-bit TSS, checked. */
int tss_stack(struct soft_cpu *c, unsigned cpl, unsigned ext, struct x86_seg *ss, uint32_t *sp);

/* A quadword of the 64-bit TSS: RSP0..2 at 4 + 8 * cpl, IST1..7 at 0x24 + 8 * (n - 1). */
int tss64_stack(struct soft_cpu *c, unsigned offset, unsigned ext, uint64_t *sp);

/*
 * Pushes @n items of @size bytes (2 or 4), items[0] first, on @ss:*sp, and
 * updates *sp. @how as for soft_write(). Stack faults are #SS(@error).
 */
int stack_push_items(struct soft_cpu *c, const struct x86_seg *ss, uint32_t *sp, const uint32_t *items,
		     unsigned n, unsigned size, unsigned how, unsigned error);

/* Is @rip inside code segment @cs (canonical, in 64-bit mode)? Else #GP(@ext). */
int code_check_rip(struct soft_cpu *c, const struct x86_seg *cs, uint64_t rip, unsigned ext);

/* After a return to an outer level: drops data segments that it may not see. */
void seg_drop_inner(struct soft_cpu *c, unsigned new_cpl);

/* Makes @cs the code segment and @cpl the privilege level; the mode word is the caller's. */
static inline void cpu_enter_code(struct soft_cpu *c, const struct x86_seg *cs, unsigned cpl, uint64_t rip)
{
	c->s.seg[SEG_CS] = *cs;
	c->s.seg[SEG_CS].sel = (cs->sel & ~3u) | cpl;
	c->cpl = cpl;
	c->s.rip = rip;
}

#endif
