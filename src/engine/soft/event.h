/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt and exception delivery through the guest's IDT (SDM vol. 3,
 * chapter 6): 64-bit gates with IST, 32- and 16-bit gates, stack switches.
 * Fast C.
 */
#ifndef LGUEST_SOFT_EVENT_H
#define LGUEST_SOFT_EVENT_H

#include "engine/soft/cpu.h"

/*
 * Delivers c->fault at s.rip. Faults during delivery become #DF, and then
 * shut the CPU down (c->shutdown). Afterwards s.rip and the mode word tell
 * where the guest goes on. Sets CR2 for #PF and the DR6/RF details.
 */
void event_fault(struct soft_cpu *c);

/* An external interrupt. The caller has checked IF and the shadow. */
void event_interrupt(struct soft_cpu *c, uint8_t vector);

/*
 * INT n, INT3, INTO, INT1: @software, so that the gate's DPL is checked.
 * @next_rip is what gets pushed. May set c->fault and return NEXT_FAULT
 * (to be delivered at s.rip, the INT instruction).
 */
enum soft_next event_software(struct soft_cpu *c, uint8_t vector, bool check_dpl);

/* Lets a platform with vcpu_bus.enter() change the state before the guest goes on. */
void event_enter(struct soft_cpu *c);

/* struct engine's. */
void event_park(struct vcpu *vcpu);
void event_unpark(struct vcpu *vcpu);

#endif
