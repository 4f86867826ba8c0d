/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Crossing between fast C, with the guest's vector and x87 registers live,
 * and ordinary C, which uses them itself.
 *
 *   fpu_park(c);
 *   val = c->bus.mmio_read(...);
 *   fpu_unpark(c);
 *
 * Nests: only the outermost pair saves and restores.
 */
#ifndef LGUEST_SOFT_FPU_H
#define LGUEST_SOFT_FPU_H

struct soft_cpu;

void fpu_park(struct soft_cpu *c);
void fpu_unpark(struct soft_cpu *c);

#endif
