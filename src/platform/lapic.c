/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers, priorities and interrupts of the local APIC. The timer's
 * arithmetic is in lapic_timer.c.
 *
 * An interrupt passes through three stages:
 *
 *   lapic_post()     any thread     mailbox (atomic)
 *   collect()        vCPU thread    IRR, when the APIC is enabled
 *   lapic_accept()   vCPU thread    ISR, and the engine delivers it
 *
 * and ends at the guest's EOI, which for level-triggered vectors goes on to
 * the I/O APIC.
 */
#include "platform/lapic.h"
#include "platform/lapic_timer.h"

#include <string.h>

/* Version 0x14: an integrated APIC; six LVT entries; no EOI-broadcast suppression. */
#define VERSION (0x14u | (LVT_COUNT - 1) << 16)

#define APIC_BASE_ADDRESS 0x000ffffffffff000ull

/* Bits of each LVT entry that the guest may write (SDM vol. 3, figure 10-8). */
static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERF] = 0x000107ff,
	[LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff,   [LVT_ERROR] = 0x000100ff,
};

static bool x2apic(const struct lapic *l)
{
	return l->s.apic_base & APIC_BASE_X2APIC;
}

/* Enabled both globally (APIC base) and by software (spurious vector register). */
static bool accepting(const struct lapic *l)
{
	return (l->s.apic_base & APIC_BASE_ENABLE) && (l->s.svr & SVR_ENABLE);
}

static void bit_set(uint64_t map[4], uint8_t v)
{
	map[v / 64] |= 1ull << (v % 64);
}

static void bit_clear(uint64_t map[4], uint8_t v)
{
	map[v / 64] &= ~(1ull << (v % 64));
}

static bool bit_test(const uint64_t map[4], uint8_t v)
{
	return map[v / 64] >> (v % 64) & 1;
}

static int highest(const uint64_t map[4])
{
	for (int i = 3; i >= 0; i--)
		if (map[i])
			return i * 64 + 63 - __builtin_clzll(map[i]);
	return -1;
}

static uint32_t map_word(const uint64_t map[4], unsigned i)
{
	return (uint32_t)(map[i / 2] >> (i % 2 * 32));
}

/* The part of a reset that INIT shares: all but the base register and the id. */
static void reset_registers(struct lapic *l)
{
	struct lapic_state old = l->s;

	memset(&l->s, 0, sizeof(l->s));
	l->s.apic_base = old.apic_base;
	l->s.id = old.id;
	l->s.dfr = 0xffffffff;
	l->s.svr = 0xff;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->s.lvt[i] = LVT_MASKED;
	for (unsigned i = 0; i < 4; i++) {
		atomic_store(&l->post_edge[i], 0);
		atomic_store(&l->post_level[i], 0);
	}
	atomic_store(&l->posted, false);
}

void lapic_reset(struct lapic *l)
{
	l->s.id = l->index;
	l->s.apic_base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (l->index == 0 ? APIC_BASE_BSP : 0);
	reset_registers(l);
}

void lapic_init(struct lapic *l, unsigned index, uint32_t tsc_khz, const struct lapic_ops *ops, void *opaque)
{
	memset(l, 0, sizeof(*l));
	l->index = index;
	l->tsc_khz = tsc_khz;
	l->ops = ops;
	l->opaque = opaque;
	lapic_reset(l);
}

/* Errors gather in a hidden register until a write to ESR shows them (10.5.3). */
static void error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = l->s.lvt[LVT_ERROR];

	l->s.esr_pending |= bit;
	/* An illegal vector in the error LVT itself must not recurse. */
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_post(l, lvt & 0xff, false);
}

void lapic_post(struct lapic *l, uint8_t vector, bool level)
{
	_Atomic uint64_t *box = level ? l->post_level : l->post_edge;

	atomic_fetch_or_explicit(&box[vector / 64], 1ull << (vector % 64), memory_order_relaxed);
	/* Sequentially consistent: pairs with the sleeper's check in machine.c, too. */
	atomic_store(&l->posted, true);
}

/* Empties the mailbox into IRR. */
static void collect(struct lapic *l)
{
	uint64_t illegal = 0;

	if (!atomic_load_explicit(&l->posted, memory_order_relaxed))
		return;
	atomic_store(&l->posted, false);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t edge = atomic_exchange(&l->post_edge[i], 0);
		uint64_t level = atomic_exchange(&l->post_level[i], 0);

		/* 10.4.7.2: a disabled APIC takes no new interrupts. */
		if (!accepting(l))
			continue;
		if (i == 0) {
			illegal = (edge | level) & 0xffff;
			edge &= ~0xffffull;
			level &= ~0xffffull;
		}
		l->s.irr[i] |= edge | level;
		l->s.tmr[i] = (l->s.tmr[i] & ~edge) | level;
	}
	if (illegal)
		error(l, ESR_RECEIVED_ILLEGAL);
}

/* Processor priority (10.8.3.1). */
static uint32_t ppr(const struct lapic *l)
{
	int isrv = highest(l->s.isr);
	uint32_t in_service = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;

	return (l->s.tpr & 0xf0) >= in_service ? l->s.tpr : in_service;
}

int lapic_pending(struct lapic *l)
{
	int v;

	collect(l);
	v = highest(l->s.irr);
	if (v < 0 || ((uint32_t)v & 0xf0) <= (ppr(l) & 0xf0) || !(l->s.apic_base & APIC_BASE_ENABLE))
		return -1;
	return v;
}

int lapic_accept(struct lapic *l)
{
	int v = lapic_pending(l);

	if (v >= 0) {
		bit_clear(l->s.irr, (uint8_t)v);
		bit_set(l->s.isr, (uint8_t)v);
	}
	return v;
}

static void end_of_interrupt(struct lapic *l)
{
	int v = highest(l->s.isr);

	if (v < 0)
		return;
	bit_clear(l->s.isr, (uint8_t)v);
	if (bit_test(l->s.tmr, (uint8_t)v))
		l->ops->eoi(l->opaque, (uint8_t)v);
}

static uint32_t logical_id(const struct lapic *l)
{
	/* 10.12.10.2: derived from the id, cluster above 16 bits of position. */
	return x2apic(l) ? (l->s.id >> 4) << 16 | 1u << (l->s.id & 15) : l->s.ldr;
}

bool lapic_matches(const struct lapic *l, uint32_t dest, bool logical, bool from_x2apic)
{
	uint32_t ldr;

	if (!(l->s.apic_base & APIC_BASE_ENABLE))
		return false;
	if (dest == (from_x2apic ? 0xffffffffu : 0xffu))
		return true;
	if (!logical)
		return dest == l->s.id;
	ldr = logical_id(l);
	if (x2apic(l))
		return (dest >> 16) == (ldr >> 16) && (dest & ldr & 0xffff);
	ldr >>= 24;
	if (l->s.dfr >> 28 == 0xf) /* flat model */
		return dest & ldr & 0xff;
	return (dest & 0xf0) == (ldr & 0xf0) && (dest & ldr & 0x0f);
}

static void send_ipi(struct lapic *l, uint32_t icr, uint32_t dest)
{
	uint32_t mode = icr & ICR_MODE;

	if ((mode == ICR_MODE_FIXED || mode == ICR_MODE_LOWEST) && (icr & ICR_VECTOR) < 16) {
		error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if ((icr & ICR_SHORTHAND) == ICR_TO_SELF && mode == ICR_MODE_FIXED)
		lapic_post(l, icr & ICR_VECTOR, false);
	else
		l->ops->ipi(l->opaque, l->index, icr, dest);
}

static void write_svr(struct lapic *l, uint32_t val)
{
	l->s.svr = val & (SVR_ENABLE | 0xff);
	if (val & SVR_ENABLE)
		return;
	/* 10.4.7.2: software-disabled, all LVT entries get and keep their mask. */
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->s.lvt[i] |= LVT_MASKED;
}

static void write_lvt(struct lapic *l, unsigned i, uint32_t val, uint64_t now)
{
	val &= lvt_writable[i];
	if (!(l->s.svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (i == LVT_TIMER)
		lapic_timer_set_lvt(l, val, now);
	else
		l->s.lvt[i] = val;
}

/* False: there is no such register to read. */
static bool read_register(struct lapic *l, uint32_t reg, uint32_t *val, uint64_t now)
{
	unsigned word = reg >> 4 & 7;

	switch (reg) {
	case LAPIC_ID: *val = x2apic(l) ? l->s.id : l->s.id << 24; break;
	case LAPIC_VERSION: *val = VERSION; break;
	case LAPIC_TPR: *val = l->s.tpr; break;
	case LAPIC_PPR: *val = ppr(l); break;
	case LAPIC_LDR: *val = logical_id(l); break;
	case LAPIC_SVR: *val = l->s.svr; break;
	case LAPIC_ISR ... LAPIC_ISR + 0x70: *val = map_word(l->s.isr, word); break;
	case LAPIC_TMR ... LAPIC_TMR + 0x70: *val = map_word(l->s.tmr, word); break;
	case LAPIC_IRR ... LAPIC_IRR + 0x70:
		collect(l);
		*val = map_word(l->s.irr, word);
		break;
	case LAPIC_ESR: *val = l->s.esr; break;
	case LAPIC_ICR: *val = l->s.icr; break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: *val = l->s.lvt[(reg - LAPIC_LVT_TIMER) >> 4]; break;
	case LAPIC_TMICT: *val = l->s.tmict; break;
	case LAPIC_TMCCT: *val = lapic_timer_count(l, now); break;
	case LAPIC_TDCR: *val = l->s.tdcr; break;
	default: return false;
	}
	return true;
}

/* False: there is no such register to write. Not for ICR: its width depends on the mode. */
static bool write_register(struct lapic *l, uint32_t reg, uint32_t val, uint64_t now)
{
	switch (reg) {
	case LAPIC_TPR: l->s.tpr = val & 0xff; break;
	case LAPIC_EOI: end_of_interrupt(l); break;
	case LAPIC_SVR: write_svr(l, val); break;
	case LAPIC_ESR:
		l->s.esr = l->s.esr_pending;
		l->s.esr_pending = 0;
		break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: write_lvt(l, (reg - LAPIC_LVT_TIMER) >> 4, val, now); break;
	case LAPIC_TMICT: lapic_timer_set_count(l, val, now); break;
	case LAPIC_TDCR: lapic_timer_set_divider(l, val & 0xb, now); break;
	default: return false;
	}
	return true;
}

bool lapic_claims(const struct lapic *l, uint64_t addr)
{
	return (l->s.apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
	       (addr & ~(uint64_t)(LAPIC_MMIO_SIZE - 1)) == (l->s.apic_base & APIC_BASE_ADDRESS);
}

/*
 * The architecture promises aligned 32-bit accesses only (10.4.1). Narrower
 * reads get their part of the register, other writes nothing.
 */
uint64_t lapic_mmio_read(struct lapic *l, uint32_t offset, unsigned size, uint64_t now)
{
	uint32_t reg = offset & 0xff0, within = offset & 0xf, val = 0;

	if (within + size > 4 && !(within == 0 && size == 8))
		return 0;
	switch (reg) {
	case LAPIC_DFR: val = l->s.dfr; break;
	case LAPIC_ICR2: val = l->s.icr2; break;
	case LAPIC_APR:
	case LAPIC_RRD:
	case LAPIC_EOI: break;
	default:
		if (!read_register(l, reg, &val, now))
			error(l, ESR_ILLEGAL_REGISTER);
	}
	return val >> (within * 8);
}

void lapic_mmio_write(struct lapic *l, uint32_t offset, unsigned size, uint64_t val64, uint64_t now)
{
	uint32_t reg = offset & 0xff0, val = (uint32_t)val64;

	if ((offset & 0xf) || size < 4)
		return;
	switch (reg) {
	case LAPIC_ID: l->s.id = val >> 24; break;
	case LAPIC_LDR: l->s.ldr = val & 0xff000000; break;
	case LAPIC_DFR: l->s.dfr = val | 0x0fffffff; break;
	case LAPIC_ICR2: l->s.icr2 = val & 0xff000000; break;
	case LAPIC_ICR:
		l->s.icr = val & 0x000ccfff;
		send_ipi(l, l->s.icr, l->s.icr2 >> 24);
		break;
	default:
		if (!write_register(l, reg, val, now))
			error(l, ESR_ILLEGAL_REGISTER);
	}
}

void lapic_tpr_write(struct lapic *l, uint8_t tpr)
{
	l->s.tpr = tpr;
}

/* 10.12.5: which changes of mode the hardware allows. */
static bool write_base(struct lapic *l, uint64_t val)
{
	uint64_t enabled = APIC_BASE_ENABLE, x2 = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	uint64_t old_mode = l->s.apic_base & x2, mode = val & x2;

	if (val & ~(APIC_BASE_ADDRESS | APIC_BASE_BSP | x2))
		return false;
	if (mode == APIC_BASE_X2APIC || (old_mode == x2 && mode == enabled) || (old_mode == 0 && mode == x2))
		return false;
	l->s.apic_base = (val & ~(uint64_t)APIC_BASE_BSP) | (l->s.apic_base & APIC_BASE_BSP);
	if (mode == 0) {
		l->s.id = l->index;
		reset_registers(l);
	} else if (mode == x2) {
		l->s.id = l->index; /* no longer writable: back to the initial one */
		l->s.icr2 = 0;
	}
	return true;
}

static bool x2apic_read(struct lapic *l, uint32_t reg, uint64_t *val, uint64_t now)
{
	uint32_t word;

	if (!x2apic(l))
		return false;
	if (reg == LAPIC_ICR) {
		*val = (uint64_t)l->s.icr2 << 32 | l->s.icr;
		return true;
	}
	if (!read_register(l, reg, &word, now))
		return false;
	*val = word;
	return true;
}

/* Bits above those that a register has must be zero (10.12.1.3). */
static bool x2apic_reserved(uint32_t reg, uint32_t val)
{
	switch (reg) {
	case LAPIC_EOI:
	case LAPIC_ESR: return val != 0;
	case LAPIC_TPR: return val & ~0xffu;
	case LAPIC_SVR: return val & ~(SVR_ENABLE | 0xffu);
	case LAPIC_TDCR: return val & ~0xbu;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
		/* Delivery status and remote IRR are read-only, not reserved. */
		return val & ~(lvt_writable[(reg - LAPIC_LVT_TIMER) >> 4] | 0x5000u);
	}
	return false;
}

static bool x2apic_write(struct lapic *l, uint32_t reg, uint64_t val, uint64_t now)
{
	if (!x2apic(l))
		return false;
	if (reg == LAPIC_ICR) {
		if (val & 0xfff32000u)
			return false;
		l->s.icr = (uint32_t)val & 0x000ccfff;
		l->s.icr2 = (uint32_t)(val >> 32);
		send_ipi(l, l->s.icr, l->s.icr2);
		return true;
	}
	if (val >> 32 || x2apic_reserved(reg, (uint32_t)val))
		return false;
	if (reg == LAPIC_SELF_IPI) {
		if (val > 0xff)
			return false;
		send_ipi(l, ICR_TO_SELF | (uint32_t)val, 0);
		return true;
	}
	return write_register(l, reg, (uint32_t)val, now);
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val, uint64_t now)
{
	switch (msr) {
	case MSR_APIC_BASE: *val = l->s.apic_base; return true;
	case MSR_TSC_DEADLINE: *val = lapic_timer_get_tsc(l, now); return true;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST: return x2apic_read(l, (msr & 0xff) << 4, val, now);
	}
	return false;
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val, uint64_t now)
{
	switch (msr) {
	case MSR_APIC_BASE: return write_base(l, val);
	case MSR_TSC_DEADLINE: lapic_timer_set_tsc(l, val); return true;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST: return x2apic_write(l, (msr & 0xff) << 4, val, now);
	}
	return false;
}
