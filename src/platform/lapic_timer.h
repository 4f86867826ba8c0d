/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the local APIC: what its registers ask of its timer. @now is the
 * guest's TSC throughout. Only lapic.c includes this.
 */
#ifndef LGUEST_PLATFORM_LAPIC_TIMER_H
#define LGUEST_PLATFORM_LAPIC_TIMER_H

#include <stdint.h>

struct lapic;

/* A new LVT timer entry, already masked to its writable bits. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t val, uint64_t now);
/* Initial count: starts (or, with 0, stops) the one-shot or periodic timer. */
void lapic_timer_set_count(struct lapic *l, uint32_t count, uint64_t now);
void lapic_timer_set_divider(struct lapic *l, uint32_t tdcr, uint64_t now);
/* The current count register. */
uint32_t lapic_timer_count(const struct lapic *l, uint64_t now);
/* IA32_TSC_DEADLINE. */
void lapic_timer_set_tsc(struct lapic *l, uint64_t deadline);
uint64_t lapic_timer_get_tsc(const struct lapic *l, uint64_t now);

#endif
