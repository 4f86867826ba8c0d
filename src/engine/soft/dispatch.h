/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The soft engine's run loop: see dispatch.c. */
#ifndef LGUEST_SOFT_DISPATCH_H
#define LGUEST_SOFT_DISPATCH_H

#include "engine/soft/vcpu.h"

/* The enter thunk: runs translated code at @host_pc, returns the id of the site where it left. */
typedef uint64_t enter_fn(struct soft_vcpu *v, uint64_t host_pc);

/* Runs the guest until something ends it. GS points at @v, signals have their own stack. */
enum vcpu_exit soft_run(struct soft_vcpu *v);

/* engine.c, ordinary C: the first block is translated and about to be entered. */
void soft_note_first_run(struct soft_engine *e);

#endif
